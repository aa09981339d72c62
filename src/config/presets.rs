//! What presets set and refuse, and that a printed configuration says what the file says.

use std::time::Duration;

use super::broken::said;
use super::fixture::{EXAMPLE, Fixture, REFERENCE};
use super::{Access, Config, Format, Profile, load, print};
use crate::verify::policy::Pages;

/// A file that says nothing which has a default.
const SMALL: &str = "
listeners: [{ name: a, address: '127.0.0.1:0', public_urls: [https://a.example], tls: plaintext }]
issuers: [{ issuer: https://as.example, audiences: [a], keys: { discovery: true } }]
upstreams: { u: { servers: [http://127.0.0.1:2] } }
routes:
  - { name: r, match: { path: /mcp }, upstream: u }
  - { name: open, match: { path_prefix: / }, upstream: u, public: true }
";

fn small(with: &str, route: &str) -> String {
    format!("{with}\n{}", SMALL.replace("path: /mcp }", &format!("path: /mcp }}{route}")))
}

fn loaded(text: &str) -> Config {
    Fixture::new().read(text, Format::Yaml).unwrap_or_else(|complaints| panic!("{complaints}"))
}

/// All of one route that a preset of routes sets: pages, metadata, interaction id, idle timeout, end at expiry.
fn set_on_route(config: &Config) -> (Pages, Option<&str>, bool, Option<Duration>, bool) {
    let route = &config.routes[0];
    let Access::Bound(policy) = &route.access else { panic!("bound") };
    let resource = route.resource.as_ref().map(|resource| resource.path.as_str());
    let streams = &route.streams;
    (
        policy.pages.clone(),
        resource,
        route.forward.interaction_id,
        streams.idle_timeout,
        streams.end_at_expiry,
    )
}

/// R-M-01, R-M-02 (300 s at most), R-M-03.
#[test]
fn each_sets_what_its_specification_asks_for() {
    let plain = loaded(SMALL);
    assert_eq!(set_on_route(&plain), (Pages::Any, None, false, None, false));

    let fapi2 = loaded(&small("profile: fapi2", ""));
    assert_eq!(fapi2.dpop.algorithms.to_string(), "ES256 PS256 EdDSA Ed25519");
    let rules = &fapi2.issuers[0].rules;
    assert_eq!(rules.algorithms.to_string(), "ES256 PS256 EdDSA Ed25519");
    assert_eq!((rules.max_lifetime, rules.leeway), (Some(3600), 10));
    assert_eq!(set_on_route(&fapi2), (Pages::Any, None, true, None, false));

    let mcp = loaded(&small("profile: mcp", ""));
    assert_eq!((mcp.dpop.max_age, mcp.issuers[0].rules.max_lifetime), (300, None));
    let fifteen = Some(Duration::from_secs(900));
    assert_eq!(set_on_route(&mcp), (Pages::Of([].into()), Some("/mcp"), false, fifteen, true));
    // The public route has nothing of it.
    assert!(mcp.routes[1].resource.is_none() && mcp.routes[1].streams.idle_timeout.is_none());
}

/// A bank's API and an MCP server behind one gateway: a route says whose rules are its own.
#[test]
fn a_route_may_have_another_than_the_file() {
    let both = loaded(&small("profile: fapi2", ", profile: mcp"));
    assert_eq!((both.profile, both.routes[0].profile), (Profile::Fapi2, Profile::Mcp));
    assert_eq!((both.dpop.max_age, both.issuers[0].rules.max_lifetime), (60, Some(3600)));
    let (pages, resource, interaction_id, ..) = set_on_route(&both);
    assert_eq!((pages, resource, interaction_id), (Pages::Of([].into()), Some("/mcp"), false));
    let (pages, ..) = set_on_route(&loaded(&small("profile: mcp", ", profile: none")));
    assert_eq!(pages, Pages::Any);
    // What is for the whole file is not a route's to set, so it has to be written.
    let fixture = Fixture::new();
    let wrong = said(&fixture, &small("", ", profile: fapi2"), Format::Yaml);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong.iter().any(|one| one.contains("`ES384` of dpop is no algorithm")), "{wrong:?}");
    assert!(wrong.iter().any(|one| one.contains("`RS256` of the issuer is no algorithm")), "{wrong:?}");
    assert!(wrong.iter().any(|one| one.contains("tokens live shortly")), "{wrong:?}");
}

/// A default of a preset is a default.
#[test]
fn what_is_written_stays() {
    let written = ", require: { origins: [https://app.example] }, resource: { path: / }, forward: { idle_timeout: 1h, end_at_expiry: false }";
    let mcp = loaded(&small("profile: mcp\ndpop: { max_age: 30s }", written));
    assert_eq!(mcp.dpop.max_age, 30);
    let pages = Pages::Of(["https://app.example".to_owned()].into());
    assert_eq!(set_on_route(&mcp), (pages.clone(), Some(""), false, Some(Duration::from_secs(3600)), false));
    // Pages that may read may send.
    let cors = small("profile: mcp", ", cors: { origins: [https://app.example] }");
    assert_eq!(set_on_route(&loaded(&cors)).0, pages);
    // Metadata of a route above holds for those below it.
    let below = small("profile: mcp", ", resource: { path: / }")
        .replace("upstream: u, public: true", "upstream: u, forward: { identity: headers }");
    assert!(loaded(&below).routes[1].resource.is_none());
    let fapi2 =
        small("profile: fapi2\ndpop: { algorithms: [PS256] }", ", forward: { interaction_id: false }");
    assert!(!loaded(&fapi2).routes[0].forward.interaction_id);
}

#[test]
fn what_a_specification_rules_out_is_refused() {
    let fixture = Fixture::new();
    for (with, route, message) in [
        ("profile: fapi", "", "`fapi` is none of the words"),
        ("profile: fapi2\ndpop: { algorithms: [ES256, ES384] }", "", "`ES384` of dpop is no algorithm"),
        ("profile: fapi2\ndpop: { max_future: 9s }", "", "`profile: fapi2` takes what is dated"),
        ("profile: fapi2", ", enforcement: report-only", "under `profile: fapi2` tokens are bound"),
        ("profile: mcp", ", enforcement: report-only", "under `profile: mcp` tokens are bound"),
        ("profile: mcp", ", forward: { credentials: keep }", "under `profile: mcp` no token is passed on"),
        ("profile: mcp", ", forward: { credentials: [dpop] }", "under `profile: mcp` no token is passed on"),
        (
            "profile: mcp",
            ", require: { scopes: [a, offline_access] }",
            "no resource asks for `offline_access`",
        ),
        (
            "profile: mcp",
            ", require: { any_scopes: [offline_access] }",
            "no resource asks for `offline_access`",
        ),
        (
            "profile: mcp",
            ", resource: { path: /mcp, scopes: [offline_access] }",
            "no resource asks for `offline_access`",
        ),
        ("profile: mcp", ", cors: { origins: ['*'] }", "pages that `require.origins` does not list"),
    ] {
        let wrong = said(&fixture, &small(with, route), Format::Yaml);
        assert!(wrong.len() == 1 && wrong[0].contains(message), "{with}{route}: {wrong:?}");
    }
    let issuer = small("profile: fapi2", "").replace("audiences: [a]", "audiences: [a], algorithms: [RS256]");
    let wrong = said(&fixture, &issuer, Format::Yaml);
    assert!(wrong.len() == 1 && wrong[0].contains("`RS256` of the issuer"), "{wrong:?}");
    // A path that is no identifier has no metadata by itself.
    let unnamed = small("profile: mcp", "").replace("path: /mcp", "path: '/{tenant}/mcp'");
    let wrong = said(&fixture, &unnamed, Format::Yaml);
    assert!(wrong.len() == 1 && wrong[0].contains("callers must find metadata"), "{wrong:?}");
}

/// The text, printed, and the configuration that the printed file is.
fn reprinted(fixture: &Fixture, name: &str, text: &str) -> (String, String, String) {
    fixture.write(name, text.as_bytes());
    let environment = &|name: &str| fixture.environment(name);
    let printed = print(&fixture.base().join(name), environment).unwrap_or_else(|wrong| panic!("{wrong}"));
    let config = |name: &str| {
        load(&fixture.base().join(name), environment).unwrap_or_else(|wrong| panic!("{wrong}\n{printed}"))
    };
    let before = format!("{:?}", config(name));
    fixture.write("printed.yaml", printed.as_bytes());
    (before, format!("{:?}", config("printed.yaml")), printed)
}

#[test]
fn a_printed_file_is_the_file() {
    let fixture = Fixture::new();
    let texts = [
        EXAMPLE.to_owned(),
        REFERENCE.to_owned(),
        SMALL.to_owned(),
        small("profile: mcp", ""),
        small("profile: fapi2", ""),
        small("profile: fapi2", ", profile: mcp, cors: { origins: [https://app.example] }"),
        small(
            "reload: { watch: none }",
            ", require: { claims: [{ claim: a, one_of: [2, '2', true, -1.5, \"x: #y\\\"é\\u2028\"] }] }",
        ),
        small("dpop: { nonce: required }", ""),
        Fixture::example_with("https://as.example.com ", "\"https://${AS:-as.example.com}\" "),
    ];
    for text in texts {
        let (before, after, printed) = reprinted(&fixture, "gateway.yaml", &text);
        assert_eq!(before, after, "{printed}");
        // And it stays so.
        let (_, again, _) = reprinted(&fixture, "again.yaml", &printed);
        assert_eq!(again, before);
    }
    let json = "{\"listeners\": [{\"name\": \"a\", \"address\": \"127.0.0.1:0\", \"public_urls\": [\"https://a.example\"], \"tls\": \"plaintext\"}],
        \"upstreams\": {\"u\": {\"servers\": [\"http://127.0.0.1:2\"]}},
        \"routes\": [{\"name\": \"r\", \"match\": {\"path_prefix\": \"/\"}, \"upstream\": \"u\", \"public\": true}]}";
    let (before, after, _) = reprinted(&fixture, "gateway.json", json);
    assert_eq!(before, after);
}

#[test]
fn a_printed_file_says_who_has_set_what_and_no_secret() {
    let fixture = Fixture::new();
    let (_, _, printed) = reprinted(&fixture, "gateway.yaml", &small("profile: mcp", ""));
    for (setting, author) in [
        ("profile: mcp", "line 1"),
        ("max_age: 5m", "profile mcp"),
        ("max_future: 10s", "default"),
        ("origins: []", "profile mcp"),
        ("idle_timeout: 15m", "profile mcp"),
        ("path: \"/mcp\"", "profile mcp"),
        ("binding: any", "default"),
        ("# nonce_lifetime: 5m", "default, without effect here"),
        ("servers: [http://127.0.0.1:2]", "line 5"),
    ] {
        let found = printed.lines().any(|line| {
            line.split_once(" # ").is_some_and(|(text, by)| text.trim() == setting && by == author)
                || line
                    .trim_start()
                    .strip_prefix("# ")
                    .and_then(|line| line.split_once(" # "))
                    .is_some_and(|(text, by)| Some(text.trim()) == setting.strip_prefix("# ") && by == author)
        });
        assert!(found, "{setting} # {author}\n{printed}");
    }
    let (_, _, printed) = reprinted(&fixture, "gateway.yaml", REFERENCE);
    assert!(printed.contains("file: secrets/introspection") && !printed.contains("hunter2"), "{printed}");
    // What the environment holds is not for a terminal.
    let text = Fixture::example_with("client_id, iat, jti]", "client_id, iat, \"${LEVEL}\"]");
    let (_, _, printed) = reprinted(&fixture, "gateway.yaml", &text);
    assert!(printed.contains("\"${LEVEL}\"") && !printed.contains("loud"), "{printed}");
    // What is wrong is said as ever.
    fixture.write("gateway.yaml", b"listeners: 1");
    assert!(print(&fixture.base().join("gateway.yaml"), &|name| fixture.environment(name)).is_err());
}
