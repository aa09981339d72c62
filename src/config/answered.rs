//! Every file is answered: with a configuration, or with all complaints in order, in any format, without a panic and without a secret.

use proptest::prelude::*;

use super::Format;
use super::broken::said;
use super::fixture::{EXAMPLE, Fixture, REFERENCE};

#[test]
fn whole_parts_that_are_missing() {
    let fixture = Fixture::new();
    assert_eq!(
        said(&fixture, "", Format::Yaml),
        ["1:1 `listeners` is missing", "1:1 `routes` is missing", "1:1 `upstreams` is missing"]
    );
    assert_eq!(said(&fixture, "[]", Format::Yaml), ["1:1 a list where a mapping of settings is expected"]);
    let closed = "listeners: [{ name: a, address: '127.0.0.1:0', public_urls: [http://a], tls: plaintext }]\n\
                  upstreams: { u: { servers: [http://127.0.0.1:2] } }\n\
                  routes: [{ name: r, match: { path_prefix: / }, upstream: u }]\n";
    assert_eq!(
        said(&fixture, closed, Format::Yaml),
        ["1:1 there is no issuer, so no token could be accepted"]
    );
    assert!(
        said(&fixture, &closed.replace("upstream: u", "upstream: u, public: true"), Format::Yaml).is_empty()
    );
}

/// Equal matches are two routes as long as no request is for both: the methods decide.
#[test]
fn matches_of_different_methods_are_two_routes() {
    let text = Fixture::example_with("{ path: /healthz }", "{ path_prefix: /accounts, methods: [METHOD] }");
    let fixture = Fixture::new();
    assert!(said(&fixture, &text.replace("METHOD", "PUT"), Format::Yaml).is_empty());
    assert_eq!(
        said(&fixture, &text.replace("METHOD", "PUT, POST"), Format::Yaml),
        ["82:12 the match on line 66 is for the same requests"]
    );
}

#[test]
fn everything_is_said_at_once_and_in_order() {
    let text = EXAMPLE
        .replace("address: 127.0.0.1:8443", "adress: 127.0.0.1:8443")
        .replace("key: certs/server.key", "key: certs/other.key")
        .replace("leeway: 5s", "leeway: 1h")
        .replace("max_age: 60s", "max_age: 5")
        .replace("    upstream: accounts\n    require", "    upstream: acounts\n    require")
        .replace("level: info", "level: loud");
    let shown = Fixture::new().read(&text, Format::Yaml).expect_err("broken").to_string();
    let places: Vec<usize> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("gateway.yaml:")?.split(':').next()?.parse().ok())
        .collect();
    assert_eq!(places, [10, 11, 18, 36, 46, 67, 87], "{shown}");
    assert!(
        shown.contains("did you mean `address`?") && shown.contains("did you mean `accounts`?"),
        "{shown}"
    );
    assert!(shown.contains("\n   11 |     adress: 127.0.0.1:8443\n      |     ^^^^^^\n"), "{shown}");
}

#[test]
fn the_other_formats_point_at_their_own_lines() {
    let fixture = Fixture::new();
    let json = "{\n\t\"listeners\": [],\n\t\"upstream\": {}\n}";
    assert_eq!(
        said(&fixture, json, Format::Json),
        [
            "1:1 `routes` is missing",
            "1:1 `upstreams` is missing",
            "2:15 an empty list: at least one is needed here",
            "3:2 unknown key `upstream`"
        ]
    );
    let toml =
        "routes = []\n[[listeners]]\nname = 'é a'\ntls.min_version = '1.1'\n[upstreams.u]\nservers = 7\n";
    assert_eq!(
        said(&fixture, toml, Format::Toml),
        [
            "1:10 an empty list: at least one is needed here",
            "2:1 `address` is missing",
            "2:1 `public_urls` is missing",
            "3:8 `é a` is no name",
            "4:1 `certificates` is missing",
            "4:19 `1.1` is none of the words for this",
            "6:11 a single value where a list is expected",
        ]
    );
}

/// A complaint ends up in logs: it never repeats a secret, wherever an operator put it.
#[test]
fn secrets_are_not_repeated() {
    let fixture = Fixture::new();
    fixture.write("secrets/wrong", b"hunter2\n");
    for (from, to) in [
        ("{ file: secrets/nonce-keys }", "hunter2"),
        ("{ file: secrets/nonce-keys }", "[hunter2]"),
        ("{ file: secrets/nonce-keys }", "{ file: secrets/wrong }"),
        ("https://accounts.internal:9443", "https://user:hunter2@accounts.internal:9443"),
        ("rediss://valkey.internal:6379", "rediss://user:hunter2@valkey.internal:6379"),
        ("rediss://valkey.internal:6379", "rediss://valkey.internal:6379?password=hunter2"),
        ("rediss://valkey.internal:6379", "unix:/run/redis.sock?password=hunter2"),
        ("rediss://valkey.internal:6379", "\"valkey.internal:6379,password=hunter2,ssl=True\""),
        ("rediss://valkey.internal:6379", "\"rediss://valkey.internal:6379,password=hunter2\""),
        ("rediss://valkey.internal:6379", "redis://user:hunter2"),
        ("rediss://valkey.internal:6379", "redis://user:hunter2:valkey.internal:6379"),
        ("rediss://valkey.internal:6379", "redis://user:hunter2/valkey.internal:6379"),
        ("rediss://valkey.internal:6379", "redis://valkey.internal/hunter2"),
        ("rediss://valkey.internal:6379", "valkey.internal 6379 hunter2"),
        ("rediss://valkey.internal:6379", "[\"redis://user:hunter2@valkey.internal\"]"),
        ("url: rediss://valkey.internal:6379", "urls: redis://user:hunter2@valkey.internal"),
        ("url: rediss://valkey.internal:6379", "cluster: { servers: redis://user:hunter2@valkey.internal }"),
        (
            "{ jwks_url: https://login.example.net/jwks }",
            "{ jwks_url: \"https://user:hunter2@login.example.net/jwks\" }",
        ),
        ("issuer: https://as.example.com ", "issuer: https://user:hunter2@as.example.com "),
    ] {
        assert_eq!(REFERENCE.matches(from).count(), 1, "{from}");
        let shown = fixture.read(&REFERENCE.replace(from, to), Format::Yaml).expect_err(to).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

proptest! {
    /// Whatever stands in the file, the answer is a configuration or complaints that can be shown.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let fixture = tempfile::tempdir().expect("a directory");
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            for format in [Format::Yaml, Format::Toml, Format::Json] {
                if let Err(complaints) = super::read(text, format, "f", fixture.path(), &|_| None) {
                    prop_assert!(!complaints.to_string().is_empty());
                }
            }
        }
    }

    /// The same, near to what is right: pieces of the reference, cut, repeated and put together in another order.
    #[test]
    fn any_mixture_of_settings_is_answered(
        cuts in proptest::collection::vec((0..REFERENCE.len(), 0..400_usize), 0..12),
        noise in "[-:{}\\[\\],&*#|>'\"%@!?$ \t\n~a-c0]{0,40}",
    ) {
        let fixture = tempfile::tempdir().expect("a directory");
        let mut text = String::new();
        for (from, length) in cuts {
            let end = (from + length).min(REFERENCE.len());
            text.push_str(&String::from_utf8_lossy(&REFERENCE.as_bytes()[from..end]));
            text.push_str(&noise);
        }
        for format in [Format::Yaml, Format::Toml, Format::Json] {
            if let Err(complaints) = super::read(&text, format, "f", fixture.path(), &|_| None) {
                prop_assert!(!complaints.to_string().is_empty());
            }
        }
    }
}
