//! The samples in `deploy/` are what the gateway reads: the example loads as it is written, in three formats, and the reference has every
//! setting and no other, with the defaults that hold.

use std::collections::BTreeSet;
use std::time::Duration;

use super::complaint::Complaints;
use super::document::{self, Format, Node, Value};
use super::fixture::{EXAMPLE, Fixture, REFERENCE};
use super::{
    Access, AfterRestart, ClientAuthentication, ClientCertificates, ClientTrust, Config, CorsOrigins,
    Credentials, Identity, KeySource, ListenerTls, OnFailure, PathMatch, RedisServer, RedisServers,
    RedisWire, Segment, Server, settings,
};
use crate::verify::policy::{BindingRule, NonceRule};

fn loaded(text: &str, format: Format) -> Config {
    Fixture::new().read(text, format).unwrap_or_else(|complaints| panic!("{complaints}"))
}

fn tree(text: &str) -> Node {
    document::read(text, Format::Yaml, &mut Complaints::about("test")).expect("a document")
}

/// The path of every key, with `[]` for list items, and every node that stands there. Names that the operator gives are `*`.
fn walk(node: &Node, path: &str, into: &mut Vec<(String, Node)>) {
    match &node.value {
        Value::Nothing | Value::Refused | Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), into)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                let is_named = path == "upstreams" || path.ends_with("forward.claims");
                let name = if is_named { "*" } else { &key.text };
                let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                // The place of a secret is one value: there are two ways to write it.
                let secrets = [
                    ".nonce_keys",
                    ".client_secret",
                    ".client_key",
                    "assertions.keys",
                    "].encryption.keys[].key",
                    ".redis.password",
                    ".sentinel.password",
                ];
                if !secrets.iter().any(|secret| path.ends_with(secret)) {
                    into.push((below.clone(), value.clone()));
                    walk(value, &below, into);
                }
            }
        }
    }
}

/// How lines of the reference begin that are comments, since what they say cannot stand beside what is there.
const AFTER_RESTART: &[&str] = &["    # after_restart: refuse"];
const REGION: &[&str] = &["  # nonce_region: eu-north"];
const SENTINEL: &[&str] = &[
    "    # sentinel: ",
    "    #   name: holdfast ",
    "    #   servers: [rediss://sentinel-1",
    "    #   user: holdfast ",
    "    #   password: { file: secrets/redis }",
];
const CLUSTER: &[&str] = &["    # cluster:\n", "    #   servers: [rediss://node-1"];

/// The text with the one line that begins so, or is `line`, as no comment.
fn uncommented(text: &str, line: &str) -> String {
    assert_eq!(text.matches(line).count(), 1, "{line}");
    text.replace(line, &line.replacen("# ", "", 1))
}

/// A tree as JSON, which is also how a list or scalar is compared without its place.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Nothing | Value::Refused => serde_json::Value::Null,
        Value::Scalar(scalar) => match scalar.text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => text.parse::<u64>().map_or_else(|_| text.into(), Into::into),
        },
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// A tree as TOML: inline, one line for each key at the top.
fn toml(node: &Node) -> String {
    fn value(json: &serde_json::Value) -> String {
        match json {
            serde_json::Value::Object(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, json)| format!("{key} = {}", value(json))).collect();
                format!("{{ {} }}", entries.join(", "))
            }
            serde_json::Value::Array(items) => {
                format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", "))
            }
            scalar => scalar.to_string(),
        }
    }
    let serde_json::Value::Object(entries) = json(node) else { panic!("a mapping") };
    entries.iter().map(|(key, json)| format!("{key} = {}\n", value(json))).collect()
}

#[test]
fn the_example_loads_as_it_is_written() {
    let config = loaded(EXAMPLE, Format::Yaml);
    let [listener] = &config.listeners[..] else { panic!("one listener") };
    assert_eq!((listener.name.as_str(), listener.address.port()), ("public", 8443));
    assert_eq!(listener.origins[0].to_string(), "https://api.example.com");
    let ListenerTls::Tls(tls) = &listener.tls else { panic!("TLS") };
    assert!(!tls.only_tls13);
    assert_eq!(tls.certificates[0].names, ["api.example.com", "*.example.com", "127.0.0.1"]);
    assert!(tls.certificates[0].expires().is_some());
    let ClientCertificates::Asked { required: false, trust: ClientTrust::Any } = tls.client_certificates
    else {
        panic!("optional, any")
    };
    let [issuer] = &config.issuers[..] else { panic!("one issuer") };
    assert_eq!(issuer.rules.algorithms.to_string(), "ES256 PS256 RS256 EdDSA Ed25519");
    assert_eq!(issuer.rules.required_claims, ["sub", "client_id", "iat", "jti"]);
    assert!(
        matches!(&issuer.keys, KeySource::File(path) if path.is_absolute() && path.ends_with("certs/issuer.jwks.json"))
    );
    assert_eq!(
        (issuer.refetch_cooldown.as_secs(), issuer.refresh.as_secs(), issuer.keep_stale.as_secs()),
        (30, 300, 3600)
    );
    assert_eq!((config.dpop.max_age, config.dpop.max_future, config.dpop.nonce_lifetime), (60, 10, 300));
    assert_eq!((config.replay.capacity, config.replay.per_key), (1_000_000, 100_000));
    assert_eq!(config.replay.after_restart, AfterRestart::Refuse);
    let [accounts, health] = &config.routes[..] else { panic!("two routes") };
    let Access::Bound(policy) = &accounts.access else { panic!("bound") };
    assert_eq!((policy.binding, policy.nonce), (BindingRule::Any, NonceRule::None));
    assert_eq!(policy.scopes, ["accounts:read"]);
    assert_eq!(accounts.matches.path, PathMatch::Prefix(vec![Segment::Literal("accounts".to_owned())]));
    assert_eq!(accounts.matches.methods, [http::Method::GET, http::Method::POST]);
    let told = Identity::Headers(Box::default());
    assert_eq!(
        (&accounts.forward.identity, &accounts.forward.credentials),
        (&told, &Credentials::Kept(Vec::new()))
    );
    assert!(matches!(health.access, Access::Public) && health.forward.identity == Identity::None);
    let Server::Origin(server) = &config.upstreams[accounts.upstream].servers[0] else { panic!("http") };
    assert_eq!(server.to_string(), "http://127.0.0.1:9000");
    assert_eq!(config.admin.map(|admin| admin.address.port()), Some(9901));
    assert_eq!((config.limits.header_bytes, config.limits.body_bytes), (32 << 10, 10 << 20));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
}

/// The keys that stand in the example as comments and are built in this version.
#[test]
fn the_example_loads_with_its_comments_turned_on() {
    let mut text = EXAMPLE
        .replace(
            "keys: { jwks_file: certs/issuer.jwks.json }",
            "keys: { jwks_url: https://as.example.com/jwks }",
        )
        .replace("/run/secrets/nonce-keys", "secrets/nonce-keys")
        .replace("/run/secrets/introspection", "secrets/introspection");
    for key in [
        "introspection:",
        "  url: https://as.example.com/introspect",
        "  authentication: client_secret_basic",
        "  client_id: gateway",
        "  client_secret: {",
        "  cache: 30s",
        "trust: { ca: certs/issuer-ca.pem }",
        "refetch_cooldown:",
        "nonce_lifetime:",
        "nonce_keys:",
        "audiences: [https://api.example.com/accounts]",
        "nonce: required",
        "cors: { origins",
    ] {
        let commented = format!("# {key}");
        assert_eq!(text.matches(&commented).count(), 1, "{key}");
        text = text.replace(&commented, key);
    }
    let config = loaded(&text, Format::Yaml);
    assert!(config.issuers[0].trust.is_some());
    let asked = config.issuers[0].introspection.as_ref().expect("introspection");
    let ClientAuthentication::Basic(secret) = &asked.client.authentication else { panic!("a secret") };
    assert_eq!((secret.text(), asked.client.client_id.as_str(), asked.cache), ("hunter2", "gateway", 30));
    assert!(!format!("{asked:?}").contains("hunter2"));
    assert_eq!(config.dpop.nonce_keys.0, [[1; 32], [2; 32]]);
    assert_eq!(format!("{:?}", config.dpop.nonce_keys), "NonceKeys(2)");
    let Access::Bound(policy) = &config.routes[0].access else { panic!("bound") };
    assert_eq!(policy.nonce, NonceRule::Required);
    assert_eq!(policy.audiences, ["https://api.example.com/accounts"]);
    let cors = config.routes[0].cors.as_ref().expect("cors");
    assert!(
        matches!(&cors.origins, CorsOrigins::Listed(origins) if origins[0].to_string() == "https://app.example.com")
    );
    assert_eq!((cors.headers.len(), cors.expose.len(), cors.credentials, cors.max_age), (3, 0, false, 600));
}

#[test]
fn toml_and_json_of_the_same_shape_mean_the_same() {
    let fixture = Fixture::new();
    for sample in [EXAMPLE, REFERENCE] {
        let read = |text: &str, format| {
            let config =
                fixture.read(text, format).unwrap_or_else(|complaints| panic!("{format:?}: {complaints}"));
            format!("{config:?}")
        };
        let yaml = read(sample, Format::Yaml);
        let compact = json(&tree(sample)).to_string();
        let pretty = serde_json::to_string_pretty(&json(&tree(sample))).expect("JSON").replace("  ", "\t");
        assert_eq!(read(&compact, Format::Json), yaml);
        assert_eq!(read(&pretty, Format::Json), yaml);
        assert_eq!(read(&toml(&tree(sample)), Format::Toml), yaml);
    }
}

#[test]
fn what_may_be_left_out_is_what_the_reference_says() {
    let smallest = "
listeners: [{ name: a, address: '127.0.0.1:0', public_urls: [http://localhost], tls: plaintext }]
issuers: [{ issuer: http://127.0.0.1:1, audiences: [a], keys: { discovery: true } }]
upstreams: { u: { servers: [http://127.0.0.1:2] } }
routes: [{ name: r, match: { path_prefix: / }, upstream: u }]
";
    let small = loaded(smallest, Format::Yaml);
    let full = loaded(EXAMPLE, Format::Yaml);
    assert!(small.admin.is_none());
    assert_eq!(format!("{:?}", small.limits), format!("{:?}", full.limits));
    assert_eq!(format!("{:?}", small.replay), format!("{:?}", full.replay));
    assert_eq!(format!("{:?}", small.dpop), format!("{:?}", full.dpop));
    assert_eq!(format!("{:?}", small.log), format!("{:?}", full.log));
    assert_eq!(small.issuers[0].rules.algorithms, full.issuers[0].rules.algorithms);
    let Access::Bound(policy) = &small.routes[0].access else {
        panic!("a route without `require` wants a bound token")
    };
    assert_eq!((policy.binding, policy.scopes.len()), (BindingRule::Any, 0));
}

/// Invariant 8, and the promise of the reference's first line.
#[test]
fn the_reference_has_every_setting_and_no_other() {
    // What only some builds can do is written as a comment, so that each build can load it.
    let mut reference = REFERENCE.replacen("      # cel: ", "      cel: ", 1);
    loaded(if cfg!(feature = "cel") { &reference } else { REFERENCE }, Format::Yaml);
    // So is what cannot stand beside something else that is there once.
    for line in [AFTER_RESTART, REGION, SENTINEL, CLUSTER].concat() {
        reference = uncommented(&reference, line);
    }
    let mut written = Vec::new();
    walk(&tree(&reference), "", &mut written);
    let in_reference: BTreeSet<&str> = written.iter().map(|(path, _)| path.as_str()).collect();
    let known = settings();
    let in_decoder: BTreeSet<&str> = known.iter().map(|setting| setting.path.as_str()).collect();
    // Names are no settings.
    let in_reference: BTreeSet<&str> =
        in_reference.into_iter().filter(|path| !path.ends_with(".*")).collect();
    assert_eq!(in_reference, in_decoder);
    for setting in &known {
        assert!(!setting.meaning.is_empty(), "{}", setting.path);
        let Some(default) = setting.default.filter(|default| *default != "{}") else { continue };
        let default = json(&tree(default));
        let shown = written.iter().any(|(path, node)| *path == setting.path && json(node) == default);
        assert!(
            shown || setting.path == "issuers",
            "{}: the default {default} is not in the reference",
            setting.path
        );
    }
}

/// The three places of a shared memory; the reference is loaded with one of them elsewhere.
#[test]
fn the_reference_loads_with_each_kind_of_shared_memory() {
    const URL: &str = "    url: rediss://valkey.internal:6379\n";
    let other = |lines: &[&str]| {
        let without = REFERENCE.replace(URL, "").replace("    replicas: 1\n", "");
        let text = lines.iter().fold(without, |text, line| uncommented(&text, line));
        loaded(&text, Format::Yaml).redis.expect("a shared memory")
    };
    let alone =
        loaded(&REFERENCE.replace("    replicas: 1\n", ""), Format::Yaml).redis.expect("a shared memory");
    let RedisServers::Alone(RedisServer::Network(server)) = &alone.servers else { panic!("one server") };
    assert_eq!((server.to_string().as_str(), alone.replicas), ("valkey.internal:6379", 0));
    let login = alone.login.as_ref().expect("a login");
    assert_eq!((login.user.as_deref(), login.password.text()), (Some("holdfast"), "hunter3"));
    assert!(!format!("{alone:?}").contains("hunter3"));
    let RedisWire::Tls(tls) = &alone.wire else { panic!("TLS") };
    assert!(tls.trust.is_some() && tls.client_certificate.is_some() && tls.server_name.is_some());
    assert_eq!((alone.timeout, alone.connect_timeout), (Duration::from_millis(250), Duration::from_secs(1)));
    assert_eq!((alone.prefix.as_str(), alone.connections, alone.on_failure), ("hf:", 2, OnFailure::Refuse));
    assert_eq!(alone.clock_difference, Duration::from_secs(1));
    let watched = other(SENTINEL);
    let RedisServers::Sentinel(sentinel) = &watched.servers else { panic!("sentinels") };
    assert_eq!((sentinel.name.as_str(), sentinel.servers[2].port, watched.replicas), ("holdfast", 26379, 1));
    assert_eq!(sentinel.login, watched.login);
    let cluster = other(CLUSTER);
    let RedisServers::Cluster(nodes) = &cluster.servers else { panic!("nodes") };
    assert_eq!((nodes[1].to_string().as_str(), cluster.replicas), ("node-2.internal:6379", 1));
}

#[test]
fn secrets_come_from_files_or_the_environment() {
    let text = Fixture::example_with("nonce: none                             #", "nonce: required #")
        .replace("# nonce_keys: { file: /run/secrets/nonce-keys }", "nonce_keys: { env: NONCE_KEYS }");
    assert_eq!(loaded(&text, Format::Yaml).dpop.nonce_keys.0, [[3; 32]]);
}

#[test]
fn variables_are_text_wherever_they_stand() {
    let text = Fixture::example_with(
        "public_urls: [https://api.example.com]",
        "public_urls: [\"https://${HOST}:${PORT:-8443}\"]",
    );
    assert_eq!(
        loaded(&text, Format::Yaml).listeners[0].origins[0].to_string(),
        "https://api.example.com:8443"
    );
}
