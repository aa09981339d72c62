//! What is wrong with what an upstream is told of callers: rows as in `broken.rs`.

use super::broken::judge;
use super::fixture::{EXAMPLE, REFERENCE};

/// What an upstream is told, and by which names.
#[test]
fn names_that_the_operator_gives() {
    const HEADERS: &str = "identity: headers ";
    let row = |more: &str, blamed: &'static str, said: &'static str| {
        // A row lives as long as its test.
        let to: &'static str = format!("identity: headers\n      {more} ").leak();
        (HEADERS, to, blamed, said)
    };
    let kept = |instead: &'static str, blamed: &'static str, said: &'static str| {
        ("credentials: strip ", instead, blamed, said)
    };
    judge(
        EXAMPLE,
        &[
            row("identity_headers: { subject: Host }", "Host }", "`Host` means something else to upstreams"),
            row(
                "identity_headers: { subject: x_forwarded_for }",
                "x_forwarded_for",
                "`x_forwarded_for` means something else",
            ),
            row(
                "identity_headers: { scope: Cookie }",
                "Cookie }",
                "`Cookie` means something between callers and servers",
            ),
            row(
                "identity_headers: { scope: \"X User\" }",
                "\"X User",
                "`X User` is no name of a header here",
            ),
            row("identity_headers: { scope: yes }", "yes }", "`yes` is a boolean to some"),
            row(
                "identity_headers: { subject: X-Auth-Scope }",
                "X-Auth-Scope",
                "`x-auth-scope` is the gateway's name for something else",
            ),
            row(
                "identity_headers: { subject: X-Auth-Assertion }",
                "X-Auth-Assertion",
                "`x-auth-assertion` is the gateway's name",
            ),
            row("identity_headers: { subject: X-User, scope: x_user }", "x_user", "the name on line "),
            row("identity_headers: { user: X-User }", "user", "unknown key `user`"),
            row(
                "identity_headers: { subject: X-A }\n      claims: { x-a: tenant }",
                "x-a: ",
                "the name on line ",
            ),
            row("claims: { X-Tenant: tenant, x_tenant: team }", "x_tenant", "the name on line "),
            row(
                "claims: { X-Auth-Subject: tenant }",
                "X-Auth-Subject",
                "`x-auth-subject` is the gateway's name",
            ),
            row("claims: { Authorization: tenant }", "Authorization", "`Authorization` means something else"),
            row("claims: { \"X Tenant\": tenant }", "\"X Tenant", "`X Tenant` is no name"),
            row("claims: { X-Tenant: sub }", "sub }", "`sub` means something to the gateway itself"),
            row("claims: { X-Tenant: /cnf/jkt }", "/cnf/jkt", "`cnf` means something to the gateway itself"),
            row("claims: { X-Tenant: /a~2 }", "/a~2", "`/a~2` is no JSON pointer"),
            row("claims: { }", "{ } ", "an empty mapping"),
            (
                "public: true ",
                "public: true\n    forward: { identity_headers: { subject: X-User } } ",
                "{ subject",
                "without identity headers this has no effect",
            ),
            (
                "public: true ",
                "public: true\n    forward: { claims: { X-Tenant: tenant } } ",
                "{ X-Tenant",
                "without identity headers this has no effect",
            ),
            kept("credentials: []", "[] ", "an empty list"),
            kept("credentials: [authorization, authorization]", "authorization] ", "this stands here twice"),
            kept("credentials: [cookie]", "cookie]", "`cookie` is none of the words"),
            kept("credentials: pass", "pass ", "`pass` is none of the words"),
            kept(
                "credentials: { dpop: true }",
                "{ dpop: true }",
                "a mapping where a word, or a list of headers, is expected",
            ),
        ],
    );
}

/// Whose tokens are exchanged, and what for.
#[test]
fn tokens_that_are_exchanged() {
    const TARGET: &str = "exchange:                           # required with `credentials: exchange`; one of resource and audience at least\n        resource: https://ledger.internal # the upstream's URL, as the issuer knows it (RFC 8707)\n        audience: ledger                  # its name at the issuer\n";
    judge(
        EXAMPLE,
        &[
            (
                "credentials: strip ",
                "credentials: exchange\n      exchange: { audience: ledger } #",
                "exchange\n",
                "the issuer on line ",
            ),
            (
                "credentials: strip ",
                "exchange: { audience: ledger }\n      credentials: strip ",
                "{ audience: ledger }",
                "nothing is exchanged here",
            ),
            (
                "public: true ",
                "public: true\n    forward: { credentials: exchange } ",
                "exchange } ",
                "a public route has no token that could be exchanged",
            ),
            (
                "    leeway: 5s",
                "    exchange: { client_id: gateway, client_secret: { file: secrets/introspection } }\n    leeway: 5s",
                "{ client_id: gateway",
                "no route exchanges tokens of this issuer",
            ),
        ],
    );
    judge(
        REFERENCE,
        &[
            (TARGET, "exchange:\n", "scopes: [\"ledger:read\"]", "an exchanged token for nobody"),
            (
                "resource: https://ledger.internal",
                "resource: ledger.internal",
                "ledger.internal #",
                "a resource is a URL",
            ),
            (
                "resource: https://ledger.internal",
                "resource: https://ledger.internal/#x",
                "https://ledger.internal/#x",
                "a resource is a URL",
            ),
            ("scopes: [\"ledger:read\"]", "scopes: []", "[]", "an empty list"),
            ("audience: ledger ", "audience: \"\" ", "\"\"", "`` is empty"),
            (
                "      url: https://as.example.com/token",
                "      url: http://as.example.com/token",
                "http://as.example.com/token",
                "`http://as.example.com/token` is neither https nor a loopback address",
            ),
            ("cache_refused: 5s", "cache_refused: 2m", "2m", "`2m` is out of range"),
            (
                "      client_key: { env: CLIENT_KEY }\n      client_key_id: gateway-1\n      client_key_algorithm",
                "      client_key: { env: EMPTY }\n      client_key_id: gateway-1\n      client_key_algorithm",
                "{ env: EMPTY }",
                "no usable private key in this secret",
            ),
        ],
    );
}
