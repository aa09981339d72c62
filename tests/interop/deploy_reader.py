"""Reads files of deploy/ as the tools they are for would, and prints them as JSON: `compose FILE`, or `kubernetes FILE...` (schemas of 1.33)."""
import json
import sys

import yaml

# The oldest with native sidecars enabled without a gate is 1.29; the schemas of a later one know every field that is used here.
KUBERNETES = "1.33"


def compose(path):
    import compose_spec

    with open(path, encoding="utf-8") as file:
        return compose_spec.PyCompose.from_yaml(file.read()).to_spec().model_dump(mode="json", exclude_none=True)


def kubernetes(paths):
    import kubernetes_validate

    resources = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            resources += list(yaml.safe_load_all(file))
    for resource in resources:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    return resources


what, *paths = sys.argv[1:]
print(json.dumps(compose(paths[0]) if what == "compose" else kubernetes(paths)))
