//! Broken upstreams, and broken ways on to them. Each row says what is replaced in the reference, by what, and what is said of it, where.

use super::broken::judge;
use super::fixture::REFERENCE;

#[test]
fn upstreams() {
    const SERVERS: &str = "servers: [https://accounts.internal:9443]";
    judge(
        REFERENCE,
        &[
            (
                SERVERS,
                "servers: [\"unix:run/app.sock\"]",
                "\"unix:",
                "`unix:run/app.sock` is no path of a socket",
            ),
            (SERVERS, "servers: [\"unix:\"]", "\"unix:", "`unix:` is no path of a socket"),
            (
                SERVERS,
                "servers: [https://a.internal/x]",
                "https://a.internal/x",
                "`https://a.internal/x` has a path",
            ),
            ("protocol: http1", "protocol: h2", "h2", "`h2` is none of the words for this"),
            (
                "server_name: accounts.internal",
                "server_name: accounts.internal:443",
                "accounts.internal:443",
                "`accounts.internal:443` is no name of a server",
            ),
            (
                "      key: certs/server.key               # required\n    # The name",
                "      key: certs/other.key\n    # The name",
                "certs/other.key",
                "this key does not belong",
            ),
            ("retries: 1", "retries: 11", "11", "`11` is out of range"),
            ("connections: 1024 ", "connections: 0 ", "0 ", "`0` is out of range"),
            ("timeout: 2s ", "timeout: 6s ", "6s", "a check may take longer than until the next one"),
            ("interval: 5s ", "interval: 1s ", "2s", "a check may take longer than until the next one"),
            ("path: /healthz ", "path: healthz ", "healthz", "`healthz` is no path"),
            ("path: /healthz ", "path: \"/health z\" ", "\"/health z\"", "`/health z` is no path"),
            ("status: [] ", "status: [99] ", "99", "`99` is out of range"),
        ],
    );
}

/// What only https servers need is a mistake where there are none.
#[test]
fn tls_settings_without_tls() {
    let text =
        REFERENCE.replace("servers: [https://accounts.internal:9443]", "servers: [\"unix:/run/a.sock\"]");
    let said = super::broken::said(&super::fixture::Fixture::new(), &text, super::Format::Yaml);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|said| said.ends_with("no server of this upstream is https")), "{said:?}");
}

#[test]
fn ways_on() {
    const STRIP: &str = "strip_prefix: /accounts           # required; `/` for none";
    judge(
        REFERENCE,
        &[
            (
                STRIP,
                "strip_prefix: /account",
                "/account\n",
                "the match of this route does not begin with `/account`",
            ),
            (
                STRIP,
                "strip_prefix: /accounts/x",
                "/accounts/x",
                "the match of this route does not begin with",
            ),
            (STRIP, "strip_prefix: \"/{any}\"", "\"/{any}\"", "the match of this route does not begin with"),
            (STRIP, "strip_prefix: accounts", "accounts\n", "`accounts` does not begin with a slash"),
            (STRIP, "strip_prefix: /accounts/", "/accounts/", "`/accounts/` ends with a slash"),
            (STRIP, "strip_prefix: /accounts/..", "/accounts/..", "`/accounts/..` has dots"),
            ("replace: /v2 ", "replace: //evil.example ", "//evil.example", "`//evil.example`"),
            ("replace: /v2 ", "replace: \"/v2/{id}\" ", "\"/v2/{id}\"", "a name stands for no segment here"),
            ("replace: /v2 ", "replace: /v2/ ", "/v2/", "`/v2/` ends with a slash"),
            ("replace: /v2 ", "replace: /v2/../x ", "/v2/../x", "`/v2/../x` has dots"),
            ("replace: /v2 ", "replace: /v2?x ", "/v2?x", "`/v2?x`"),
            (
                "allow_empty_segments: false ",
                "allow_empty_segments: true ",
                "strip_prefix",
                "a path with empty segments cannot be rewritten safely",
            ),
            ("host: caller", "host: \"app internal\"", "\"app internal\"", "`app internal` is no host"),
            (
                "host: caller",
                "host: https://app.internal",
                "https://app.internal",
                "`https://app.internal` is no host",
            ),
        ],
    );
}
