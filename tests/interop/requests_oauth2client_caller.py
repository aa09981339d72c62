"""A caller built on requests-oauth2client: gets a DPoP-bound token, sends one request with it, and prints
the thumbprint of its key and the status of the answer.

The nonces that both servers demand are the library's business; nothing here speaks of them.
"""

import os
import sys

import requests
from requests_oauth2client import OAuth2Client

TIMEOUT = 20


def main(issuer: str, resource: str, algorithm: str, url: str) -> None:
    session = requests.Session()
    client = OAuth2Client.from_discovery_endpoint(
        issuer=issuer,
        client_id=os.environ["CLIENT_ID"],
        client_secret=os.environ["CLIENT_SECRET"],
        session=session,
        dpop_bound_access_tokens=True,
        dpop_alg=algorithm,
    )
    token = client.client_credentials(scope="accounts:read", resource=resource)
    print(token.dpop_key.dpop_jkt)
    print(session.get(url, auth=token, timeout=TIMEOUT).status_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
