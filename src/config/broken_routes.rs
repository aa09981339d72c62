//! Broken routes, and what routes rely on, each with everything that is said of it and where: see `broken.rs`.

use super::broken::judge;
use super::fixture::{EXAMPLE, REFERENCE};

#[test]
fn routes_and_what_they_rely_on() {
    judge(
        EXAMPLE,
        &[
            (
                "name: health",
                "name: accounts",
                "accounts\n    match: { path: /healthz",
                "the route on line 65 has this name too",
            ),
            (
                "    upstream: accounts\n    require",
                "    upstream: acounts\n    require",
                "acounts",
                "there is no upstream `acounts`",
            ),
            (
                "{ path: /healthz }",
                "{ path_prefix: /accounts }",
                "{ path_prefix: /accounts }  ",
                "the match on line 66 is for the same requests",
            ),
            (
                "{ path: /healthz }",
                "{ path: /healthz, path_prefix: /h }",
                "/h }",
                "both `path` and `path_prefix`",
            ),
            (
                "{ path: /healthz }",
                "{ methods: [GET] }",
                "{ methods: [GET] }",
                "neither `path` nor `path_prefix`",
            ),
            ("{ path: /healthz }", "{ path: /a/../b }", "/a/../b", "`/a/../b` has dots"),
            ("{ path: /healthz }", "{ path: \"/a{b}\" }", "\"/a{b}\"", "`/a{b}` is no pattern"),
            ("{ path: /healthz }", "{ path: /a//b }", "/a//b", "`/a//b` has an empty segment"),
            ("{ path: /healthz }", "{ path_prefix: /a/ }", "/a/ }", "`/a/` ends with a slash"),
            (
                "{ path: /healthz }",
                "{ path: /healthz, host: apj.example.com }",
                "apj",
                "no listener has the host `apj.example.com`",
            ),
            (
                "public: true ",
                "public: true\n    require: { scopes: [a] } ",
                "{ scopes: [a] }",
                "a public route requires nothing",
            ),
            (
                "public: true ",
                "public: true\n    forward: { identity: headers } ",
                "headers }",
                "a public route knows no identity",
            ),
            (
                "public: true ",
                "public: true\n    enforcement: report-only ",
                "report-only ",
                "a public route looks at no token",
            ),
            (
                "public: true ",
                "public: true\n    enforcement: enforce ",
                "enforce ",
                "a public route looks at no token",
            ),
            (
                "    upstream: accounts\n    require",
                "    upstream: accounts\n    enforcement: report-only\n    limits: { rate: 1/s, burst: 1, by: key }\n    require",
                "key }",
                "an unbound token has no key",
            ),
            (
                "    upstream: accounts\n    require",
                "    upstream: accounts\n    enforcement: report\n    require",
                "report\n",
                "`report` is none of the words",
            ),
            ("identity: headers ", "identity: assertion ", "assertion ", "an assertion for nobody"),
            (
                "identity: headers ",
                "identity: headers\n      audience: https://b.internal ",
                "https://b.internal",
                "nothing here has an audience",
            ),
            (
                "identity: headers ",
                "identity: assertion\n      audience: https://b.internal ",
                "assertion",
                "there is no key to sign an assertion with",
            ),
            (
                "public: true ",
                "public: true\n    forward: { end_at_expiry: true } ",
                "true } ",
                "a public route has no token that could expire",
            ),
            (
                "identity: headers ",
                "identity: headers\n      upgrade: [websocket, H2C] ",
                "H2C",
                "`H2C` would carry requests past the gateway",
            ),
            (
                "identity: headers ",
                "identity: headers\n      upgrade: [\"web socket\"] ",
                "\"web socket",
                "`web socket` is no protocol",
            ),
            (
                "{ path: /healthz }",
                "{ path: /healthz, methods: [PUT] }\n    forward: { upgrade: [WebSocket] }",
                "[WebSocket] }",
                "a WebSocket begins with GET",
            ),
            ("# nonce_lifetime: 5m", "nonce_lifetime: 5m", "5m", "no route asks for a nonce"),
            (
                "# nonce_keys: { file: /run/secrets/nonce-keys }",
                "nonce_keys: { file: secrets/nonce-keys }",
                "{ file: secrets",
                "no route asks for a nonce",
            ),
            (
                "binding: any ",
                "binding: mtls\n      nonce: required ",
                "required  ",
                "a nonce is in a DPoP proof",
            ),
        ],
    );
    judge(
        REFERENCE,
        &[
            (
                "# nonce_region: eu-north",
                "nonce_region: north",
                "north",
                "route `account` takes proofs without a nonce, which pass once in every region",
            ),
            ("# nonce_region: eu-north", "nonce_region: \"a b\"", "\"a b", "`a b` is no name"),
            (
                "{ file: secrets/assertion-keys.pem }",
                "{ file: certs/server.pem }",
                "{ file: certs/server.pem }",
                "this secret is not 1 to 16 private keys of P-256",
            ),
            (
                "identity: assertion\n      audience: https://accounts.internal ",
                "identity: headers # ",
                "issuer: https://api.example.com",
                "no route makes an assertion",
            ),
        ],
    );
    judge(
        EXAMPLE,
        &[
            (
                "nonce: none                             #",
                "nonce: required\n  nonce_region: north #",
                "north",
                "without `nonce_keys` no other process opens the nonces of this one",
            ),
            (
                "identity: headers ",
                "report: [x-forwarded, forwarded, x-forwarded] # ",
                "x-forwarded] #",
                "this stands here twice",
            ),
            ("identity: headers ", "report: [via] # ", "via] #", "`via` is none of the words for this"),
        ],
    );
    let without_certificates = EXAMPLE
        .replace("      client_certificates:  ", "      # ")
        .replace("        request: optional", "#")
        .replace("        trust: any ", "# ");
    judge(
        &without_certificates,
        &[
            ("binding: any ", "binding: mtls ", "mtls  ", "this route wants a client certificate"),
            ("binding: any ", "binding: both ", "both  ", "this route wants a client certificate"),
            (
                "identity: headers ",
                "report: [client-cert] # ",
                "client-cert] #",
                "there is no client certificate to report",
            ),
        ],
    );
    let over_http2 = EXAMPLE.replace("    servers: [", "    protocol: http2\n    servers: [");
    judge(
        &over_http2,
        &[(
            "identity: headers ",
            "identity: headers\n      upgrade: [websocket] ",
            "[websocket] ",
            "an HTTP/2 upstream switches to no other protocol",
        )],
    );
    // The reference grows with every setting, so the line is looked for rather than written down.
    let taken = r#"match: { path: "/accounts/{id}" }"#;
    let line = 1 + REFERENCE.lines().position(|line| line.contains(taken)).expect("the route is there");
    judge(
        REFERENCE,
        &[(
            "\"/accounts/{id}\" }",
            "\"/accounts/{id}\" }\n    upstream: accounts\n  - name: again\n    match: { path: \"/%61ccounts/{other}\" }",
            "{ path: \"/%61",
            &format!("the match on line {line} is for the same requests"),
        )],
    );
}

#[test]
fn what_pages_of_other_origins_may_do() {
    const WRITTEN: &str = "# cors: { origins: [https://app.example.com], headers: [authorization, dpop, content-type], max_age: 10m }";
    judge(
        EXAMPLE,
        &[
            (WRITTEN, "cors: {}", "{}", "`origins` is missing"),
            (WRITTEN, "cors: { origins: [] }", "[] }", "an empty list"),
            (WRITTEN, "cors: { origins: ['null'] }", "'null'", "`null` is what pages without an origin say"),
            (
                WRITTEN,
                "cors: { origins: ['https://*.example.com'] }",
                "'https://*",
                "`https://*.example.com` is a pattern",
            ),
            (
                WRITTEN,
                "cors: { origins: [https://app.example.com/page] }",
                "https://app",
                "`https://app.example.com/page` has a path",
            ),
            (
                WRITTEN,
                "cors: { origins: [app.example.com] }",
                "app.example.com] }",
                "`app.example.com` is not an origin",
            ),
            (WRITTEN, "cors: { origins: [https://app.example.com, '*'] }", "'*'", "`*` is every origin"),
            (
                WRITTEN,
                "cors: { origins: ['*'], credentials: true }",
                "true }",
                "with `*` any page could use a visitor's cookies",
            ),
            (
                WRITTEN,
                "cors: { origins: ['*'], headers: ['*'] }",
                "'*'] }",
                "`*` does not stand for every header here",
            ),
            (WRITTEN, "cors: { origins: ['*'], expose: [a b] }", "a b] }", "`a b` is no header name"),
            (WRITTEN, "cors: { origins: ['*'], max_age: 25h }", "25h", "`25h` is out of range"),
        ],
    );
}

#[test]
fn resources_and_who_claims_them() {
    const WRITTEN: &str = "# resource: { path: /accounts, scopes: [accounts:read] }";
    const HEALTH: &str = "match: { path: /healthz }             # exact; {name} stands for one segment\n    upstream: accounts\n    public: true";
    judge(
        EXAMPLE,
        &[
            (WRITTEN, "resource: {}", "{}", "`path` is missing"),
            (WRITTEN, "resource: { path: accounts }", "accounts }", "`accounts` does not begin with a slash"),
            (WRITTEN, "resource: { path: /accounts/ }", "/accounts/ }", "`/accounts/` ends with a slash"),
            (WRITTEN, "resource: { path: \"/{id}\" }", "\"/{id}\"", "`/{id}` is no single resource"),
            (WRITTEN, "resource: { path: /a?b }", "/a?b", "`/a?b` is no path"),
            (
                WRITTEN,
                "resource: { path: /account }",
                "/account }",
                "the requests of this route are not all below `/account`",
            ),
            (
                WRITTEN,
                "resource: { path: /accounts/7 }",
                "/accounts/7",
                "the requests of this route are not all below",
            ),
            (WRITTEN, "resource: { path: /accounts, scopes: [] }", "[] }", "an empty list"),
            (
                WRITTEN,
                "resource: { path: /accounts, scopes: [other] }",
                "[other] }",
                "the scope `accounts:read` of route `accounts` is not listed",
            ),
            (
                "public: true ",
                "public: true\n    resource: { path: /healthz } ",
                "{ path: /healthz } ",
                "a public route needs no token",
            ),
        ],
    );
    let with = EXAMPLE.replace(WRITTEN, "resource: { path: / }");
    judge(
        &with,
        &[
            (
                HEALTH,
                "match: { path: /healthz }\n    upstream: accounts\n    resource: { path: / }",
                "/ }   ",
                "the route with `resource` on line 74 claims this identifier too",
            ),
            (
                "match: { path: /healthz } ",
                "match: { path_prefix: /.well-known/oauth-protected-resource/x } ",
                "{ path_prefix: /.well",
                "the metadata of the resource on line 74 is here",
            ),
        ],
    );
}

#[test]
fn what_callers_must_show() {
    const WRITTEN: &str = "# nonce: required                   # otherwise as dpop.nonce says";
    judge(
        EXAMPLE,
        &[
            (WRITTEN, "any_scopes: []", "[]", "an empty list"),
            (WRITTEN, "any_scopes: [a b]", "a b]", "`a b` is more than one scope"),
            (WRITTEN, "clients: []", "[]", "an empty list"),
            (WRITTEN, "clients: [app, other, app]", "app]", "this stands here twice"),
            (WRITTEN, "subjects: [yes]", "yes]", "`yes` is a boolean to some"),
            (WRITTEN, "acr: [a b]", "a b]", "`a b` is no acr"),
            (WRITTEN, "acr: [\"a\\\"b\"]", "\"a", "`a\\\"b` is no acr"),
            (WRITTEN, "max_age: 0s", "0s", "`0s` is out of range"),
            (WRITTEN, "max_age: 500ms", "500ms", "`500ms` is not whole seconds"),
            (WRITTEN, "authorization_details: []", "[]", "an empty list"),
            (WRITTEN, "claims: [{ equals: a }]", "{ equals", "`claim` is missing"),
            (WRITTEN, "claims: [{ claim: a }]", "{ claim: a }", "not one test of this claim"),
            (
                WRITTEN,
                "claims: [{ claim: a, equals: 1, matches: b }]",
                "{ claim: a",
                "not one test of this claim",
            ),
            (WRITTEN, "claims: [{ claim: a, one_of: [] }]", "[] }", "an empty list"),
            (WRITTEN, "claims: [{ claim: a, equals: no }]", "no }", "`no` is a boolean to some"),
            (WRITTEN, "claims: [{ claim: a, equals: [1] }]", "[1] }", "a list where a single value"),
            (
                WRITTEN,
                "claims: [{ claim: a, equals: 9007199254740993 }]",
                "9007",
                "`9007199254740993` is not exact",
            ),
            (
                WRITTEN,
                "claims: [{ claim: a, one_of: [1, -9007199254740993] }]",
                "-9007",
                "`-9007199254740993` is not exact",
            ),
            (WRITTEN, "claims: [{ claim: /a/~, equals: 1 }]", "/a/~", "`/a/~` is no JSON pointer"),
            (WRITTEN, "claims: [{ claim: /, matches: '(' }]", "'('", "`(` is no pattern"),
            (WRITTEN, "claims: [{ claim: a, matches: 'a)|(?:b' }]", "'a)", "`a)|(?:b` is no pattern"),
            (WRITTEN, "claims: [{ claim: scope, equals: a }]", "scope, equals", "`scope` means something"),
            (WRITTEN, "claims: [{ claim: /cnf/jkt, equals: a }]", "/cnf", "`cnf` means something"),
            (WRITTEN, "claims: [{ claim: exp, equals: 1 }]", "exp, equals", "`exp` means something"),
            // In a build without CEL any condition.
            (WRITTEN, "cel: 'claim.tier == 2'", "'claim.tier", "this condition cannot be compiled"),
        ],
    );
}

#[test]
fn how_often_callers_may_come() {
    const WRITTEN: &str = "# resource: { path: /accounts, scopes: [accounts:read] }";
    judge(
        EXAMPLE,
        &[
            (WRITTEN, "limits: { rate: 1/s, burst: 1 }", "{ rate", "`by` is missing"),
            (WRITTEN, "limits: { burst: 1, by: key }", "{ burst", "`rate` is missing"),
            (
                WRITTEN,
                "limits: { rate: 1/s, burst: 1, by: address, shared: true }",
                "true }",
                "addresses are counted before anything is known of a caller",
            ),
            (
                WRITTEN,
                "limits: { rate: 1/s, burst: 1, by: key, shared: true }",
                "true }",
                "without `replay.redis` no replica counts with another",
            ),
            (WRITTEN, "limits: { rate: 1/s, burst: 0, by: key }", "0, by", "`0` is out of range"),
            (WRITTEN, "limits: { rate: 10, burst: 1, by: key }", "10, b", "`10` is no rate"),
            (WRITTEN, "limits: { rate: 10/d, burst: 1, by: key }", "10/d", "`10/d` is no rate"),
            (WRITTEN, "limits: { rate: 0/s, burst: 1, by: key }", "0/s", "`0/s` is out of range"),
            (WRITTEN, "limits: { rate: 1/s, burst: 1, by: user }", "user", "`user` is none of the words"),
            (
                "public: true ",
                "public: true\n    limits: { rate: 1/s, burst: 1, by: client } ",
                "client }",
                "a public route knows no client",
            ),
        ],
    );
}

#[test]
fn pages_and_mcp() {
    const WRITTEN: &str = "# audiences: [https://api.example.com/accounts]   # narrows";
    const POSTS: &str = "path_prefix: /accounts, methods: [GET, POST] }   # whole segments: not /accountsx
    upstream: accounts
    require:
      binding: any                        # any (as the token's cnf says) | dpop | mtls | both";
    let with = |mcp: &str| {
        format!(
            "path_prefix: /accounts, methods: [POST] }}\n    upstream: accounts\n    require:\n      mcp: {mcp} #"
        )
    };
    let rows: Vec<(String, &str, &str)> = [
        ("{ versions: ['2026-07-28'] }", "{ versions", "`allow` is missing"),
        ("{ allow: [] }", "[] }", "an empty list"),
        ("{ allow: [{ names: [a] }] }", "{ names", "`methods` is missing"),
        ("{ allow: [{ methods: [] }] }", "[] }", "an empty list"),
        ("{ allow: [{ methods: [tools/call], names: [] }] }", "[] }", "an empty list"),
        ("{ allow: [{ methods: [tools/call], scopes: ['a b'] }] }", "'a b'", "`a b` is more than one scope"),
        (
            "{ allow: [{ methods: [tools/call, tools/list], names: [a] }] }",
            "[a] }",
            "`tools/list` has no name",
        ),
        ("{ versions: [], allow: [{ methods: [a] }] }", "[], ", "an empty list"),
        (
            "{ versions: ['2025-11-25'], allow: [{ methods: [a] }] }",
            "'2025",
            "`2025-11-25` is a revision in which",
        ),
        ("{ versions: [DRAFT-2026], allow: [{ methods: [a] }] }", "DRAFT", "`DRAFT-2026` is no revision"),
    ]
    .into_iter()
    .map(|(mcp, needle, message)| (with(mcp), needle, message))
    .collect();
    let rows: Vec<_> =
        rows.iter().map(|(to, needle, message)| (POSTS, to.as_str(), *needle, *message)).collect();
    judge(EXAMPLE, &rows);
    judge(
        EXAMPLE,
        &[
            (WRITTEN, "mcp: { allow: [{ methods: [a] }] } #", "{ allow", "only the headers of a POST"),
            (WRITTEN, "origins: ['*'] #", "'*'", "`*` is not an origin"),
            (
                WRITTEN,
                "origins: [https://a.example/x] #",
                "https://a.example/x",
                "`https://a.example/x` has a path",
            ),
            (
                WRITTEN,
                "origins: []\n    cors: { origins: [https://a.example] } #",
                "https://a.example",
                "pages that `require.origins` does not list",
            ),
            (
                WRITTEN,
                "origins: [https://a.example]\n    cors: { origins: ['*'] } #",
                "'*'",
                "pages that `require.origins` does not list",
            ),
            ("    leeway: 5s", "    leeway: 5s\n    max_lifetime: 0s", "0s", "`0s` is out of range"),
        ],
    );
}
