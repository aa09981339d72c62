//! What a route lets through of the Model Context Protocol, by the headers that repeat the body (MCP 2026-07-28), and which pages may ask (R-M-01).

use holdfast::verify::rejection::Rejection::{
    McpHeaders, McpRefused, McpVersion, OriginUnlisted, ScopeInsufficient,
};
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::table::{Heard, Heard::Passed, Heard::Refused, hear};

/// A server with three tools, one of which takes a scope of its own, and a route that takes pages of one origin.
pub const ROUTES: &str = "  - name: mcp
    match: { path: /mcp, methods: [POST] }
    upstream: echo
    resource: { path: /mcp }
    require:
      scopes: [mcp]
      mcp:
        allow:
          - { methods: [tools/list] }
          - { methods: [tools/call], names: [search, größe] }
          - { methods: [tools/call], names: [drop], scopes: [admin, danger] }
  - { name: paged, match: { path_prefix: /paged }, upstream: echo, require: { origins: [https://app.example.com] } }
  - { name: pageless, match: { path_prefix: /pageless }, upstream: echo, require: { origins: [] } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// A header line.
type Line = (&'static str, &'static str);

/// A call with these header lines besides the version, and these scopes.
fn call(house: &House, lines: &[Line], scope: &str) -> Scene {
    let mut scene = Scene::at(house, "/mcp");
    scene.using("POST");
    scene.body = "{}".into();
    scene.token_claims["scope"] = json!(scope);
    let lines = lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    scene.headers.extend(lines);
    scene
}

const VERSION: Line = ("mcp-protocol-version", "2026-07-28");

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_let_through_by_method_name_and_scope() {
    let house = house().await;
    let rows: [(&[Line], &str, Heard); 18] = [
        (&[VERSION, ("Mcp-Method", "tools/list")], "mcp", Passed),
        (&[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "search")], "mcp", Passed),
        (&[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?Z3LDtsOfZQ==?=")], "mcp", Passed),
        (&[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "drop")], "mcp admin danger", Passed),
        (
            &[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "drop")],
            "mcp admin",
            Refused(ScopeInsufficient),
        ),
        (
            &[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "drop")],
            "admin danger",
            Refused(ScopeInsufficient),
        ),
        (&[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "other")], "mcp", Refused(McpRefused)),
        (&[VERSION, ("Mcp-Method", "resources/read"), ("Mcp-Name", "search")], "mcp", Refused(McpRefused)),
        (&[VERSION, ("Mcp-Method", "tools/call")], "mcp", Refused(McpHeaders)),
        (&[VERSION], "mcp", Refused(McpHeaders)),
        (&[VERSION, ("Mcp-Method", "tools/list"), ("Mcp-Method", "tools/list")], "mcp", Refused(McpHeaders)),
        (&[VERSION, ("Mcp-Method", "tools/list, x"), ("Mcp-Name", "search")], "mcp", Refused(McpRefused)),
        (
            &[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "search"), ("Mcp-Name", "drop")],
            "mcp",
            Refused(McpHeaders),
        ),
        (&[("Mcp-Method", "tools/list")], "mcp", Refused(McpVersion)),
        (&[VERSION, VERSION, ("Mcp-Method", "tools/list")], "mcp", Refused(McpVersion)),
        (&[("mcp-protocol-version", "2025-11-25"), ("Mcp-Method", "tools/list")], "mcp", Refused(McpVersion)),
        // What Connection names is taken out on the way, and the server would compare nothing.
        (
            &[VERSION, ("Mcp-Method", "tools/list"), ("Connection", "close, mcp-protocol-version")],
            "mcp",
            Refused(McpHeaders),
        ),
        (&[VERSION, ("Mcp-Method", "tools/list"), ("Connection", "Mcp-Name")], "mcp", Refused(McpHeaders)),
    ];
    for (lines, scope, expected) in rows {
        let answer = hear(&house, &call(&house, lines, scope), &format!("{lines:?} {scope}"), expected).await;
        if expected == Refused(ScopeInsufficient) {
            // All that this call takes, at once, or the caller would come three times.
            let line = answer.all("www-authenticate")[0];
            assert!(line.contains(", scope=\"mcp admin danger\""), "{line}");
            assert!(line.contains("resource_metadata=\""), "{line}");
        }
    }
    // Who has no token hears that first, with the way to one, and is not asked for the scopes of calls it may never make.
    let mut stranger = call(&house, &[], "mcp");
    stranger.credentials = Some(Vec::new());
    let answer = stranger.send(&house).await;
    assert_eq!(answer.status, 401);
    assert!(answer.all("www-authenticate")[0].contains("scope=\"mcp\""));
    let mut listening = call(&house, &[], "mcp");
    listening.using("GET");
    let answer = listening.send(&house).await;
    assert_eq!((answer.status, answer.one("allow")), (405, "POST"));
    assert!(house.seen().is_empty());
}

/// What was judged is what the server gets, and nothing beside it that it could take for that.
#[tokio::test(flavor = "multi_thread")]
async fn the_headers_that_were_judged_are_forwarded() {
    let house = house().await;
    let lines = [
        VERSION,
        ("Mcp-Method", "tools/call"),
        ("MCP-NAME", "=?base64?c2VhcmNo?="),
        ("Mcp_Name", "drop"),
        ("mcp.method", "tools/list"),
        ("mcp_protocol_version", "2025-03-26"),
        ("Mcp-Param-Region", "eu"),
    ];
    assert_eq!(call(&house, &lines, "mcp").send(&house).await.status, 200);
    let seen = house.seen().remove(0).headers;
    let mut mcp: Vec<_> = seen.iter().filter(|(name, _)| name.as_str().starts_with("mcp")).collect();
    mcp.sort_by_key(|(name, _)| name.as_str());
    let mcp: Vec<_> = mcp.into_iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(
        mcp,
        [
            ("mcp-method", "tools/call"),
            ("mcp-name", "=?base64?c2VhcmNo?="),
            ("mcp-param-region", "eu"),
            ("mcp-protocol-version", "2026-07-28"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_refused_whatever_they_bring() {
    let house = house().await;
    let rows: [(&str, &[&str], Heard); 9] = [
        ("/paged", &[], Passed),
        ("/paged", &["https://app.example.com"], Passed),
        ("/paged", &["https://evil.example"], Refused(OriginUnlisted)),
        ("/paged", &["null"], Refused(OriginUnlisted)),
        ("/paged", &["https://app.example.com", "https://evil.example"], Refused(OriginUnlisted)),
        // Not even the gateway's own name: a page there is a page like any other.
        ("/paged", &["https://api.example.com"], Refused(OriginUnlisted)),
        ("/pageless", &[], Passed),
        ("/pageless", &["https://app.example.com"], Refused(OriginUnlisted)),
        ("/", &["https://evil.example"], Passed),
    ];
    for (path, origins, expected) in rows {
        let mut scene = Scene::at(&house, path);
        scene.headers.extend(origins.iter().map(|origin| ("origin".to_owned(), (*origin).to_owned())));
        hear(&house, &scene, &format!("{path} {origins:?}"), expected).await;
        // Without a token it is the same refusal: a page learns nothing of what a token would do.
        if expected == Refused(OriginUnlisted) {
            scene.credentials = Some(Vec::new());
            let answer = scene.send(&house).await;
            assert_eq!((answer.status, answer.reason().as_str()), (403, "origin_unlisted"));
        }
    }
}

/// HTTP/2 has no lines that end here, and everything else is the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_in_http_2() {
    let house = house().await;
    for (lines, status) in [
        (&[VERSION, ("mcp-method", "tools/list")][..], 200),
        (&[VERSION, ("mcp-method", "tools/call"), ("mcp-name", "search"), ("mcp-name", "drop")], 400),
        (&[VERSION, ("mcp-method", "tools/list"), ("origin", "https://evil.example")], 200),
        (&[VERSION, ("mcp-method", "tools/call"), ("mcp-name", "other")], 403),
    ] {
        let scene = call(&house, lines, "mcp");
        let client = house.connect_h2(None).await;
        let answer =
            client.exchange(scene.request_with(&scene.credentials(&house))).await.expect("an answer");
        assert_eq!(answer.status, status, "{lines:?}");
    }
}
