//! Broken shared memories: rows as in `broken.rs`, and which change of one makes another.

use std::sync::Arc;

use super::broken::{judge, said};
use super::fixture::{Fixture, REFERENCE};
use super::{Format, Redis};

const URL: &str = "url: rediss://valkey.internal:6379";
const PASSWORD: &str = "password: { file: secrets/redis }     #";

#[test]
fn servers() {
    judge(
        REFERENCE,
        &[
            (URL, "#", "user: holdfast                        #", "no server to remember proofs"),
            (
                URL,
                "url: rediss://valkey.internal\n    cluster: { servers: [rediss://node-1.internal] }",
                "{ servers: [rediss://node-1.internal] }",
                "two places for one memory",
            ),
            (
                URL,
                "sentinel: { name: a, servers: [rediss://a] }\n    cluster: { servers: [rediss://b] }",
                "{ servers: [rediss://b] }",
                "two places for one memory",
            ),
            (
                URL,
                "url: valkey.internal:6379",
                "valkey.internal:6379",
                "`valkey.internal:6379` is no address of a server",
            ),
            (
                URL,
                "url: http://valkey.internal",
                "http:",
                "`http://valkey.internal` is no address of a server",
            ),
            (URL, "url: rediss://", "rediss:", "`rediss://` is no address of a server"),
            (URL, "url: \"rediss://a b\"", "\"rediss:", "this is no address of a server"),
            (URL, "url: rediss://a/1", "rediss:", "this has something behind its port"),
            (URL, "url: rediss://a?db=1", "rediss:", "this has something behind its address"),
            (
                URL,
                "url: unix:/run/redis.sock?password=hunter2",
                "unix:",
                "this has something behind its address",
            ),
            (URL, "url: rediss://a:0", "rediss:", "`rediss://a:0` has port 0"),
            (URL, "url: unix:redis.sock", "unix:", "`unix:redis.sock` is no path of a socket"),
            (URL, "url: rediss://u:p@a", "rediss:", "this has a user or password in it"),
            (
                URL,
                "url: redis://valkey.internal",
                "redis://valkey.internal",
                "`valkey.internal` is neither spoken to over TLS nor a loopback address",
            ),
            (
                URL,
                "cluster: { servers: [rediss://a, redis://127.0.0.1] }",
                "redis://127.0.0.1",
                "some of these servers are spoken to over TLS and some are not",
            ),
            (
                URL,
                "cluster: { servers: [rediss://a, rediss://A:6379] }",
                "rediss://A",
                "this stands here twice",
            ),
            (URL, "cluster: { servers: [] }", "[]", "an empty list"),
            (
                URL,
                "cluster: { servers: [\"unix:/run/redis.sock\"] }",
                "\"unix:",
                "a group is not reached through a socket",
            ),
            (URL, "sentinel: { servers: [rediss://a] }", "{ servers: [rediss://a] }", "`name` is missing"),
            (URL, "sentinel: { name: a }", "{ name: a }", "`servers` is missing"),
            (
                URL,
                "sentinel: { name: a, servers: [rediss://a], user: b }",
                "b }",
                "`user` has no effect without a `password`",
            ),
        ],
    );
}

#[test]
fn login_and_figures() {
    judge(
        REFERENCE,
        &[
            (PASSWORD, "#", "holdfast                        #", "`user` has no effect without a `password`"),
            (PASSWORD, "password: hunter2 #", "hunter2", "a secret is never written into the configuration"),
            (PASSWORD, "password: { env: EMPTY } #", "{ env: EMPTY }", "this secret is empty"),
            (PASSWORD, "password: { file: secrets/none } #", "{ file: secrets/none }", "`"),
            ("{ ca: certs/redis-ca.pem }", "{ ca: certs/none }", "certs/none", "`"),
            (
                "client_certificate: { chain: certs/server.pem, key: certs/server.key }\n    # The name",
                "client_certificate: { chain: certs/server.pem, key: certs/other.key }\n    # The name",
                "certs/other.key",
                "this key does not belong",
            ),
            (
                "server_name: valkey.internal",
                "server_name: valkey:6379",
                "valkey:6379",
                "`valkey:6379` is no name of a server",
            ),
            ("prefix: \"hf:\" ", "prefix: \"{hf}:\" ", "\"{hf}", "`{hf}:` is no prefix of keys"),
            ("prefix: \"hf:\" ", "prefix: \"hf*\" ", "\"hf*", "`hf*` is no prefix of keys"),
            ("prefix: \"hf:\" ", "prefix: \"\" ", "\"\"", "`` is no prefix of keys"),
            ("connections: 2 ", "connections: 0 ", "0 ", "`0` is out of range"),
            ("timeout: 250ms", "timeout: 11s", "11s", "`11s` is out of range"),
            ("connect_timeout: 1s ", "connect_timeout: 1ms ", "1ms", "`1ms` is out of range"),
            ("replicas: 1\n", "replicas: 17\n", "17", "`17` is out of range"),
            ("clock_difference: 1s", "clock_difference: 0s", "0s", "`0s` is out of range"),
            (
                "on_failure: refuse",
                "on_failure: accept",
                "accept\n",
                "`accept` is none of the words for this",
            ),
            (
                "    # after_restart: refuse",
                "    after_restart: refuse",
                "refuse\n  # Left out",
                "this has no effect beside `redis`",
            ),
            (
                "  nonce_keys: { file: secrets/nonce-keys }  ",
                "  # ",
                "url: rediss",
                "other replicas cannot open the nonces of this one",
            ),
        ],
    );
}

/// What only TLS needs is a mistake without it.
#[test]
fn tls_settings_without_tls() {
    for to in [
        "url: \"unix:/run/redis.sock\"",
        "url: redis://localhost",
        "cluster: { servers: [\"redis://[::1]\"] }",
    ] {
        let said = said(&Fixture::new(), &REFERENCE.replace(URL, to), Format::Yaml);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().all(|said| said.ends_with("this server is not spoken to over TLS")), "{said:?}");
    }
}

/// Nonces are given out where no route asks for one, so their settings have an effect.
#[test]
fn nonces_beside_a_shared_memory() {
    let text = Fixture::example_with("  # redis: {", "  redis: { url: redis://127.0.0.1 } # {")
        .replace("    after_restart: refuse ", "    # ")
        .replace("  # nonce_lifetime:", "  nonce_lifetime:")
        .replace("  # nonce_keys: { file: /run/", "  nonce_keys: { file: ");
    assert_eq!(said(&Fixture::new(), &text, Format::Yaml), Vec::<String>::new());
    // What cannot be read may be what they are for, so that is all that is said.
    for unread in ["null", "[]", "redis://127.0.0.1", "{ url: redis://127.0.0.1, tiemout: 1s }"] {
        let text = text.replace("  redis: { url: redis://127.0.0.1 }", &format!("  redis: {unread}"));
        let said = said(&Fixture::new(), &text, Format::Yaml);
        assert_eq!(said.len(), 1, "{unread}: {said:?}");
    }
}

/// Where no route takes proofs and none counts together with other replicas, a shared memory has nothing to remember.
#[test]
fn of_no_use() {
    const UNUSED: &str = "no route takes proofs, so there is nothing to remember";
    let fixture = Fixture::new();
    let unused =
        |text: &str| said(&fixture, text, Format::Yaml).iter().filter(|said| said.contains(UNUSED)).count();
    let proofs = Fixture::example_with("  # redis: {", "  redis: { url: redis://127.0.0.1 } # {");
    let certificates = proofs.replace("binding: any ", "binding: mtls ");
    assert_ne!(certificates, proofs);
    let counted = certificates.replace(
        "    upstream: accounts\n    require:",
        "    upstream: accounts\n    limits: { rate: 1/s, burst: 1, by: key, shared: true }\n    require:",
    );
    assert_ne!(counted, certificates);
    assert_eq!([proofs, certificates, counted].map(|text| unused(&text)), [0, 1, 0]);
}

fn shared(fixture: &Fixture, text: &str) -> Redis {
    let config = fixture.read(text, Format::Yaml).unwrap_or_else(|complaints| panic!("{complaints}"));
    config.redis.expect("a shared memory")
}

/// A reload keeps what means the same, and nothing else.
#[test]
fn any_setting_makes_another_memory() {
    let fixture = Fixture::new();
    let before = shared(&fixture, REFERENCE);
    assert!(before.is_same(&shared(&fixture, REFERENCE)));
    // What is changed, by what, and whether claims that were made before are found after it.
    for (from, to, found) in [
        (URL, "url: rediss://valkey.internal:6380", false),
        (URL, "cluster: { servers: [rediss://valkey.internal:6379] }", false),
        ("prefix: \"hf:\"", "prefix: \"hf2:\"", false),
        (PASSWORD, "password: { file: secrets/introspection } #", true),
        ("    user: holdfast     ", "    user: gateway     ", true),
        ("    trust: { ca: certs/redis-ca.pem }\n", "", true),
        ("    server_name: valkey.internal\n", "", true),
        ("connections: 2 ", "connections: 3 ", true),
        ("    timeout: 250ms", "    timeout: 251ms", true),
        ("connect_timeout: 1s ", "connect_timeout: 2s ", true),
        ("replicas: 1\n", "replicas: 2\n", true),
        ("clock_difference: 1s", "clock_difference: 3s", true),
        ("on_failure: refuse", "on_failure: nonce", true),
    ] {
        assert_eq!(REFERENCE.matches(from).count(), 1, "{from}");
        let after = shared(&fixture, &REFERENCE.replace(from, to));
        assert!(!before.is_same(&after), "{from}");
        assert_eq!(after.has_memory_of(&before), found, "{from}");
    }
    // The same file names, and other content.
    let other = Fixture::new();
    for file in ["certs/redis-ca.pem", "secrets/redis"] {
        let kept = std::fs::read(fixture.base().join(file)).expect("it is there");
        let swapped = match file {
            "secrets/redis" => b"hunter4".to_vec(),
            _ => std::fs::read(other.base().join(file)).expect("it is there"),
        };
        fixture.write(file, &swapped);
        assert!(!before.is_same(&shared(&fixture, REFERENCE)), "{file}");
        fixture.write(file, &kept);
    }
    let mut shown = before.clone();
    let super::RedisWire::Tls(tls) = &mut shown.wire else { panic!("TLS") };
    let super::RedisWire::Tls(others) = shared(&other, REFERENCE).wire else { panic!("TLS") };
    tls.client_certificate = others.client_certificate.as_ref().map(Arc::clone);
    assert!(!before.is_same(&shown), "another certificate");
}

/// A group is the same whichever of its nodes are named.
#[test]
fn a_group_is_known_by_one_of_its_servers() {
    let fixture = Fixture::new();
    let of = |to: &str| shared(&fixture, &REFERENCE.replace(URL, to));
    let two = of("cluster: { servers: [rediss://a, rediss://b] }");
    assert!(of("cluster: { servers: [rediss://b, rediss://c] }").has_memory_of(&two));
    assert!(!of("cluster: { servers: [rediss://c] }").has_memory_of(&two));
    let watched = of("sentinel: { name: x, servers: [rediss://a, rediss://b] }");
    assert!(of("sentinel: { name: x, servers: [rediss://b] }").has_memory_of(&watched));
    assert!(!of("sentinel: { name: y, servers: [rediss://b] }").has_memory_of(&watched));
    assert!(!of("sentinel: { name: x, servers: [rediss://c] }").has_memory_of(&watched));
    assert!(!two.has_memory_of(&watched));
}
