//! Broken configurations, each with everything that is said of it and where.
//!
//! A row takes something that is right, the example or the reference, and breaks one thing in it.

use super::Format;
use super::fixture::{EXAMPLE, Fixture, REFERENCE};

/// The complaints about a text, as `line:column message`.
pub(super) fn said(fixture: &Fixture, text: &str, format: Format) -> Vec<String> {
    match fixture.read(text, format) {
        Ok(_) => Vec::new(),
        Err(complaints) => {
            complaints.iter().map(|c| format!("{}:{} {}", c.span.line, c.span.column, c.message)).collect()
        }
    }
}

/// Where `needle` stands in `text`, from byte `from` on or else anywhere, as `line:column`.
fn place(text: &str, from: usize, needle: &str) -> String {
    let behind = text[from..].find(needle).map(|at| from + at);
    let at = behind.or_else(|| text.find(needle)).unwrap_or_else(|| panic!("{needle:?} is not in the text"));
    let line = text[..at].matches('\n').count() + 1;
    let column = text[..at].rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// Rows of: what is replaced in the sample, by what, what the complaint points at, how its message begins. Nothing else may be said.
type Row<'r> = (&'r str, &'r str, &'r str, &'r str);

pub(super) fn judge(sample: &str, rows: &[Row<'_>]) {
    let fixture = Fixture::new();
    fixture.write("certs/not.pem", b"nothing");
    fixture.write("certs/bad-base64.pem", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    fixture.write("certs/bad-der.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    fixture.write("secrets/short", b"AAAA\n");
    fixture.write("secrets/again", &b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n".repeat(2));
    fixture.write("secrets/empty-line", b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n\n\n");
    fixture.write("secrets/binary", &[0xff; 44]);
    let mut wrong = Vec::new();
    for (from, to, needle, message) in rows {
        assert_eq!(sample.matches(from).count(), 1, "{from:?} is not in the sample exactly once");
        let text = sample.replace(from, to);
        let expected = format!("{} {message}", place(&text, sample.find(from).unwrap_or_default(), needle));
        let said = said(&fixture, &text, Format::Yaml);
        if said.len() != 1 || !said[0].starts_with(&expected) {
            wrong.push(format!("{to:?}\n  expected {expected}\n  said     {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn how_it_is_written() {
    judge(
        EXAMPLE,
        &[
            (
                "    address: 127.0.0.1:8443",
                "    adress: 127.0.0.1:8443\n    address: 127.0.0.1:8443",
                "adress",
                "unknown key `adress`",
            ),
            ("    address: 127.0.0.1:8443\n", "", "name: public", "`address` is missing"),
            (
                "address: 127.0.0.1:8443",
                "address: localhost:8443",
                "localhost:8443",
                "`localhost:8443` is not an address",
            ),
            ("leeway: 5s", "leeway: 5", "5\n    # introspection", "`5` is not a duration"),
            ("leeway: 5s", "leeway: 6m", "6m", "`6m` is out of range"),
            ("leeway: 5s", "leeway: 500ms", "500ms", "`500ms` is not whole seconds"),
            ("leeway: 5s", "leeway:", "leeway:", "`leeway` has no value"),
            ("leeway: 5s", "leeway: [5s]", "[5s]", "a list where a single value"),
            (
                "leeway: 5s",
                "leeway: 5s\n    leeway: 6s",
                "leeway: 6s",
                "`leeway` stands here for the second time",
            ),
            ("leeway: 5s", "leeway: ${UNSET}", "${UNSET}", "the environment has no `UNSET`"),
            ("level: info", "level: ${LEVEL}", "${LEVEL}", "`${LEVEL}`, replaced, is none of the words"),
            ("max_age: 60s", "max_age: 0s", "0s ", "`0s` is out of range"),
            ("max_future: 10s", "max_future: 61s", "61s", "`61s` is out of range"),
            ("header_bytes: 32KiB", "header_bytes: 32KB", "32KB", "`32KB` is not a size"),
            ("header_bytes: 32KiB", "header_bytes: 4KiB", "4KiB", "`4KiB` is out of range"),
            ("body_bytes: 10MiB", "body_bytes: 0", "0\n  connections", "`0` is out of range"),
            (
                "address: 127.0.0.1:9901",
                "names: ['10.0.0.1']\n  address: 127.0.0.1:9901",
                "'10.0.0.1'",
                "`10.0.0.1` is no DNS name",
            ),
            (
                "address: 127.0.0.1:9901",
                "names: ['gateway:9901']\n  address: 127.0.0.1:9901",
                "'gateway:9901'",
                "`gateway:9901` is no DNS name",
            ),
            ("connections: 10000", "connections: many", "many", "`many` is not a whole number"),
            ("public: true ", "public: yes ", "yes   ", "`yes` is neither `true` nor `false`"),
            ("name: health", "name: on", "on\n    match: { path: /healthz", "`on` is a boolean to some"),
            ("name: health", "name: a b", "a b", "`a b` is no name"),
            ("level: info", "level: off", "off", "`off` is none of the words"),
            ("access: json", "access: jsno", "jsno", "`jsno` is none of the words"),
            ("min_version: \"1.2\"", "min_version: \"1.1\"", "\"1.1\"", "`1.1` is none of the words"),
            (
                "trusted_proxies: []",
                "trusted_proxies: 10.0.0.0/8",
                "10.0.0.0/8",
                "a single value where a list",
            ),
            (
                "    audiences: [https://api.example.com]  #",
                "    audiences: []  #",
                "[]  # at least",
                "an empty list",
            ),
            ("    audiences: [https://api.example.com]  #", "    audiences: ['']  #", "''", "`` is empty"),
            (
                "scopes: [accounts:read]             # all",
                "scopes: [\"a b\"] # all",
                "\"a b\"",
                "`a b` is more than one scope",
            ),
            ("methods: [GET, POST] }", "methods: [] }", "[] }", "an empty list"),
            ("methods: [GET, POST] }", "methods: [get] }", "get]", "`get` is no method"),
            ("methods: [GET, POST] }", "methods: [CONNECT] }", "CONNECT", "`CONNECT` is never forwarded"),
            ("methods: [GET, POST] }", "methods: [\"G T\"] }", "\"G T\"", "`G T` is no method"),
            (
                "algorithms: [ES256, PS256, RS256, EdDSA]",
                "algorithms: [ES256, none]",
                "none]",
                "`none` is no signature",
            ),
            ("algorithms: [ES256, PS256, RS256, EdDSA]", "algorithms: [HS256]", "HS256", "`HS256` is a MAC"),
            (
                "algorithms: [ES256, ES384, PS256, EdDSA]",
                "algorithms: [es256]",
                "es256",
                "`es256` is not a known algorithm",
            ),
            ("algorithms: [ES256, ES384, PS256, EdDSA]", "algorithms: []", "[]        #", "an empty list"),
            (
                "algorithms: [ES256, ES384, PS256, EdDSA]",
                "algorithms: [ES256, ML-DSA-65]",
                "ML-DSA-65]",
                "a proof with ML-DSA-65 is longer than limits.proof_bytes",
            ),
            (
                "servers: [http://127.0.0.1:9000]",
                "servers: [http://127.0.0.1:9000/x]",
                "http://127.0.0.1:9000/x",
                "`http://127.0.0.1:9000/x` has a path",
            ),
            (
                "servers: [http://127.0.0.1:9000]",
                "servers: [ftp://127.0.0.1]",
                "ftp:",
                "`ftp://127.0.0.1` is not an origin",
            ),
            ("servers: [http://127.0.0.1:9000]", "servers: []", "[]\n\nroutes", "an empty list"),
            (
                "public_urls: [https://api.example.com]",
                "public_urls: [https://api.example.com/v1]",
                "https://api.example.com/v1",
                "`https://api.example.com/v1` has a path",
            ),
        ],
    );
}

#[test]
fn listeners_and_their_files() {
    judge(
        EXAMPLE,
        &[
            (
                "public_urls: [https://api.example.com]",
                "public_urls: [http://api.example.com]",
                "http://api.example.com",
                "`http://api.example.com` is not what callers of a TLS listener see",
            ),
            (
                "public_urls: [https://api.example.com]",
                "public_urls: [https://api.example.com, \"https://API.example.com:443/\"]",
                "\"https://API",
                "`https://api.example.com` stands here twice",
            ),
            ("key: certs/server.key", "key: certs/none.key", "certs/none.key", "`"),
            ("key: certs/server.key", "key: certs", "certs }", "`"),
            ("key: certs/server.key", "key: certs/other.key", "certs/other.key", "this key does not belong"),
            ("key: certs/server.key", "key: certs/server.pem", "certs/server.pem }", "no usable private key"),
            (
                "chain: certs/server.pem",
                "chain: certs/not.pem",
                "certs/not.pem",
                "no certificate in this file",
            ),
            (
                "chain: certs/server.pem",
                "chain: certs/bad-base64.pem",
                "certs/bad-base64.pem",
                "this file is not PEM",
            ),
            (
                "chain: certs/server.pem",
                "chain: certs/bad-der.pem",
                "certs/bad-der.pem",
                "the first certificate in this file cannot be parsed",
            ),
            ("trust: any  ", "trust: all #", "all #", "`all` is nothing to trust"),
            ("trust: any  ", "trust: { ca: certs/none.pem } #", "certs/none.pem", "`"),
            (
                "trust: any  ",
                "trust: { ca: certs/server.key } #",
                "certs/server.key } #",
                "no certificate in this file",
            ),
            (
                "trust: any  ",
                "trust: { ca: certs/bad-der.pem } #",
                "certs/bad-der.pem",
                "a certificate in this file cannot be parsed",
            ),
            (
                "trusted_proxies: []",
                "trusted_proxies: [0.0.0.0/0]",
                "0.0.0.0/0",
                "`0.0.0.0/0` trusts everyone",
            ),
            ("trusted_proxies: []", "trusted_proxies: [\"::/0\"]", "\"::/0\"", "`::/0` trusts everyone"),
            (
                "trusted_proxies: []",
                "trusted_proxies: [0.0.0.0/1, 128.0.0.0/1]",
                "[0.0.0.0/1",
                "together these ranges trust everyone",
            ),
            (
                "trusted_proxies: []",
                "trusted_proxies: [10.0.0.1/8]",
                "10.0.0.1/8",
                "`10.0.0.1/8` has bits set behind its prefix",
            ),
            (
                "client_certificate_header: none ",
                "client_certificate_header: client-cert ",
                "client-cert  ",
                "this header is believed from no one",
            ),
            (
                "client_certificate_header: none ",
                "client_certificate_header: xfcc ",
                "xfcc  ",
                "this header is believed from no one",
            ),
            (
                "proxy_protocol: none ",
                "proxy_protocol: required ",
                "required  ",
                "the PROXY protocol is believed from no one: `trusted_proxies` is empty, so every connection",
            ),
            (
                "proxy_protocol: none ",
                "forwarded_header: forwarded #",
                "forwarded #",
                "these headers are believed from no one",
            ),
            (
                "  connections: 10000",
                "  connections: 100\n  connections_per_address: 101",
                "101",
                "there are 100 connections at most, over all addresses",
            ),
            (
                "address: 127.0.0.1:9901",
                "address: 127.0.0.1:8443",
                "127.0.0.1:8443                 # /livez",
                "the listener on line 11 has this address",
            ),
        ],
    );
    judge(
        REFERENCE,
        &[
            (
                "name: sidecar",
                "name: public",
                "public\n    address: 127.0.0.1:8080",
                "the listener on line 24 has this name too",
            ),
            (
                "    tls: plaintext\n    trusted",
                "    tls: off\n    trusted",
                "off\n",
                "`off` is no way to listen",
            ),
            ("127.0.0.1:8080", "0.0.0.0:8443", "0.0.0.0:8443", "the listener on line 25 has this address"),
        ],
    );
}

#[test]
fn issuers_and_upstreams() {
    judge(
        EXAMPLE,
        &[
            (
                "  - issuer: https://as.example.com ",
                "  - issuer: http://as.example.com ",
                "http://as.example.com",
                "`http://as.example.com` is neither https nor a loopback address",
            ),
            (
                "  - issuer: https://as.example.com ",
                "  - issuer: https://as.example.com?x ",
                "https://as.example.com?x",
                "`https://as.example.com?x` has a query",
            ),
            (
                "  - issuer: https://as.example.com ",
                "  - issuer: https://as.example.com#x ",
                "https://as.example.com#x",
                "`https://as.example.com#x` has a fragment",
            ),
            ("  - issuer: https://as.example.com ", "  - issuer: as ", "as  ", "`as` is not a URL"),
            ("{ jwks_file: certs/issuer.jwks.json }", "{ }", "{ }", "no source of keys"),
            ("{ jwks_file: certs/issuer.jwks.json }", "{ discovery: false }", "false", "no source of keys"),
            (
                "{ jwks_file: certs/issuer.jwks.json }",
                "{ discovery: true, jwks_url: https://as }",
                "https://as }",
                "a second source of keys",
            ),
            (
                "{ jwks_file: certs/issuer.jwks.json }",
                "{ jwks_url: http://as.example.com/ }",
                "http://as",
                "`http://as.example.com/` is neither https nor",
            ),
            (
                "certs/issuer.jwks.json",
                "certs/server.pem",
                "certs/server.pem }   #",
                "this file is not a JWK set",
            ),
            (
                "certs/issuer.jwks.json",
                "certs/empty.jwks.json",
                "certs/empty",
                "this JWK set cannot be used: no key",
            ),
            (
                "certs/issuer.jwks.json",
                "certs/unfit.jwks.json",
                "certs/unfit",
                "this JWK set cannot be used: no key",
            ),
            ("certs/issuer.jwks.json", "certs/no.jwks.json", "certs/no.jwks", "`"),
            (
                "    # trust: { ca: certs/issuer-ca.pem }",
                "    trust: { ca: certs/issuer-ca.pem }",
                "{ ca: certs/issuer-ca.pem }",
                "nothing is fetched from this issuer",
            ),
            (
                "    leeway: 5s",
                "    leeway: 5s\n    keep_stale: 1m",
                "1m",
                "`keep_stale` is shorter than `refresh`",
            ),
            (
                "    servers: [http://127.0.0.1:9000]",
                "    servers: [http://127.0.0.1:9000]\n    trust: { ca: certs/issuer-ca.pem }",
                "{ ca: certs/issuer-ca.pem }\n\nroutes",
                "no server of this upstream is https",
            ),
            (
                "upstreams:\n",
                "upstreams:\n  spare: { servers: [http://127.0.0.1:9] }\n",
                "spare",
                "no route uses the upstream `spare`",
            ),
            ("capacity: 1000000 ", "capacity: 1000 ", "100000 ", "`per_key` (100000) is more than"),
            ("per_key: 100000 ", "per_key: 1000001 ", "1000001", "`per_key` (1000001) is more than"),
        ],
    );
    // The reference grows with every setting, so the line is looked for rather than written down.
    let taken = "issuer: https://as.example.com";
    let line = 1 + REFERENCE.lines().position(|line| line.contains(taken)).expect("the issuer is there");
    judge(
        REFERENCE,
        &[
            (
                "issuer: https://id.example.org",
                "issuer: https://as.example.com",
                "https://as.example.com\n    audiences: [https://api.example.com]\n    keys: { discovery",
                &format!("the issuer on line {line} is the same"),
            ),
            ("{ file: secrets/nonce-keys }", "{ file: secrets/none }", "{ file: secrets/none }", "`"),
            ("  watch: files", "  watch: none", "30s ", "no file is watched, so this has no effect"),
            (
                "{ file: secrets/nonce-keys }",
                "{ file: secrets/short }",
                "{ file: secrets/short }",
                "line 1 of this secret",
            ),
            (
                "{ file: secrets/nonce-keys }",
                "{ file: secrets/again }",
                "{ file: secrets/again }",
                "line 2 of this secret is an earlier one again",
            ),
            (
                "{ file: secrets/nonce-keys }",
                "{ file: secrets/empty-line }",
                "{ file: secrets/empty-line }",
                "line 2 of this secret",
            ),
            (
                "{ file: secrets/nonce-keys }",
                "{ file: secrets/binary }",
                "{ file: secrets/binary }",
                "this secret is not UTF-8",
            ),
            (
                "{ file: secrets/nonce-keys }",
                "{ env: UNSET }",
                "{ env: UNSET }",
                "the environment has no `UNSET`",
            ),
            ("{ file: secrets/nonce-keys }", "{ }", "{ }", "no place for the secret"),
            (
                "{ file: secrets/nonce-keys }",
                "{ file: secrets/nonce-keys, env: A }",
                "A }",
                "two places for one secret",
            ),
        ],
    );
}
