//! What the gateway says of its resources, and that challenges point there (RFC 9728; R-K-01, R-K-02, R-C-12, T-MET, T-CHL-07).

use holdfast::verify::rejection::Rejection;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::house::{ASKS_FOR_CERTIFICATES, HOST, House, ISSUER, OTHER_HOST, Plan};
use crate::scene::Scene;
use crate::wire::{Answer, Client};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

const ROUTES: &str = "  - name: mcp
    match: { path_prefix: /mcp }
    upstream: echo
    require: { scopes: [mcp:use] }
    resource: { path: /mcp }
  - { name: mcp-admin, match: { path_prefix: /mcp/admin, methods: [POST] }, upstream: echo, require: { scopes: [mcp:use, mcp:admin], binding: dpop } }
  - name: deep
    match: { path: \"/mcp/deep/{id}\" }
    upstream: echo
    require: { binding: mtls }
    resource: { path: /mcp/deep, scopes: [a, b] }
  - name: one-host
    match: { host: api2.example.com, path_prefix: /one }
    upstream: echo
    require: { binding: dpop }
    resource: { path: /one }
  - { name: open-to-all, match: { path_prefix: /.well-known }, upstream: echo, public: true }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

/// A request without credentials.
async fn ask(house: &House, method: &str, host: &str, path: &str) -> Answer {
    let mut scene = Scene::at(house, path);
    scene.using(method);
    (scene.host, scene.sni) = (host.to_owned(), host.to_owned());
    scene.credentials = Some(Vec::new());
    let answer = scene.send(house).await;
    if path.strip_prefix(WELL_KNOWN).is_some_and(|rest| !rest.starts_with('s')) {
        assert!(house.seen().is_empty(), "{method} {host}{path} reached the upstream");
    }
    answer
}

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_say_what_is_enforced() {
    let house = house().await;
    let algorithms = json!(["ES256", "ES384", "PS256", "EdDSA", "Ed25519"]);
    for (host, path, expected) in [
        (
            HOST,
            "/mcp",
            json!({
                "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"],
                "scopes_supported": ["mcp:use", "mcp:admin"], "dpop_signing_alg_values_supported": algorithms,
                "dpop_bound_access_tokens_required": false, "tls_client_certificate_bound_access_tokens": true,
            }),
        ),
        (
            OTHER_HOST,
            "/mcp/deep",
            json!({
                "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"],
                "scopes_supported": ["a", "b"],
                "dpop_bound_access_tokens_required": false, "tls_client_certificate_bound_access_tokens": true,
            }),
        ),
        (
            OTHER_HOST,
            "/one",
            json!({
                "authorization_servers": [ISSUER], "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": algorithms,
                "dpop_bound_access_tokens_required": true, "tls_client_certificate_bound_access_tokens": false,
            }),
        ),
    ] {
        let answer = ask(&house, "GET", host, &format!("{WELL_KNOWN}{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        let mut expected = expected;
        expected["resource"] = json!(format!("https://{host}{path}"));
        assert_eq!(document(&answer), expected, "{path}");
        assert_eq!(answer.one("content-type"), "application/json");
        assert_eq!(answer.one("cache-control"), "public, max-age=60");
        assert_eq!(answer.one("access-control-allow-origin"), "*");
        assert_eq!(answer.all("x-request-id").len(), 1);
        assert!(answer.all("www-authenticate").is_empty());
    }
}

/// Without a listener that asks for certificates, `binding: any` is DPoP and nothing else, and the document says so; and `/` is the origin alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_listener_can_see_is_not_offered() {
    let listener = "    tls:\n      certificates: [{ chain: server.pem, key: server.key }]\n";
    assert!(ASKS_FOR_CERTIFICATES.starts_with(listener));
    let routes = "  - { name: root, match: { path: / }, upstream: echo, resource: { path: / } }\n";
    let house = House::built(Plan { listener, routes, catch_all: "/rest", ..Plan::default() }).await;
    let found = document(&ask(&house, "GET", HOST, WELL_KNOWN).await);
    assert_eq!(found["resource"], json!(format!("https://{HOST}")));
    assert_eq!(found["dpop_bound_access_tokens_required"], json!(true));
    assert_eq!(found["tls_client_certificate_bound_access_tokens"], json!(false));
    // Everything is below it.
    assert_eq!(found["scopes_supported"], json!(["accounts:read", "accounts:write"]));
    let challenge = ask(&house, "GET", HOST, "/rest/x").await;
    assert!(challenge.text().contains("credentials_missing"));
    for line in challenge.all("www-authenticate") {
        assert!(line.contains(&format!("resource_metadata=\"https://{HOST}{WELL_KNOWN}\"")), "{line}");
    }
}

/// Nothing below the well-known path reaches an upstream, however it is spelt, although a public route is there (T-MET-06).
#[tokio::test(flavor = "multi_thread")]
async fn the_well_known_path_belongs_to_the_gateway() {
    let house = house().await;
    for (method, host, path, status) in [
        ("HEAD", HOST, "/mcp", 200),
        ("GET", HOST, "/mcp?x=1", 200),
        ("POST", HOST, "/mcp", 405),
        ("OPTIONS", HOST, "/mcp", 405),
        ("GET", HOST, "", 404),
        ("GET", HOST, "/", 404),
        ("GET", HOST, "/mcp/", 404),
        ("GET", HOST, "/mcp/deep/7", 404),
        ("GET", HOST, "/MCP", 404),
        ("GET", HOST, "/mcp;x", 404),
        ("GET", HOST, "/one", 404),
        ("GET", HOST, "//mcp", 404),
        ("POST", HOST, "/nothing", 404),
        ("GET", "evil.example", "/mcp", 421),
    ] {
        let answer = ask(&house, method, host, &format!("{WELL_KNOWN}{path}")).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        if status == 405 {
            assert_eq!(answer.one("allow"), "GET, HEAD");
        }
        // A page has to be able to read that there is nothing.
        assert_eq!(answer.all("access-control-allow-origin").len(), usize::from(status != 421), "{path}");
    }
    for path in [
        "/.well-known;x/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource;x=1/mcp",
        "/.well-known/oauth-protected-resource;/mcp",
    ] {
        let answer = ask(&house, "GET", HOST, path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "path_ambiguous"), "{path}");
        assert!(house.seen().is_empty(), "{path}");
    }
    for path in ["/.well-known/oauth-protected-resources", "/.well-known/other", "/.well-known"] {
        assert_eq!(ask(&house, "GET", HOST, path).await.status, 200, "{path}");
        assert_eq!(house.seen().len(), 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_pages() {
    let house = house().await;
    let path = format!("{WELL_KNOWN}/mcp");
    let length = ask(&house, "GET", HOST, &path).await.body.len().to_string();
    let head = ask(&house, "HEAD", HOST, &path).await;
    assert_eq!((head.one("content-length"), head.body.len()), (length.as_str(), 0));
    let mut scene = Scene::at(&house, &path);
    scene.using("OPTIONS");
    scene.credentials = Some(Vec::new());
    scene.headers = [
        ("origin", "https://anyone.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "mcp-protocol-version"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let preflight = scene.send(&house).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.one("access-control-allow-origin"), "*");
    assert_eq!(preflight.one("access-control-allow-methods"), "GET, HEAD");
    assert_eq!(preflight.one("access-control-allow-headers"), "*");
    // In HTTP/2 an answer to HEAD must not have a body either.
    let h2 = house.connect_h2(None).await;
    let request = Request::builder().method("HEAD").uri(format!("https://{HOST}{path}"));
    let answer = h2.exchange(request.body(Full::default()).expect("a request")).await.expect("an answer");
    assert_eq!((answer.status, answer.one("content-length"), answer.body.len()), (200, length.as_str(), 0));
    assert!(house.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_point_to_the_nearest_resource() {
    let house = house().await;
    for (host, path, at) in [
        (HOST, "/mcp", Some("/mcp")),
        (HOST, "/mcp/x/y", Some("/mcp")),
        (OTHER_HOST, "/mcp/x", Some("/mcp")),
        // Not what the deeper document is of: this one goes to the route of /mcp, and that is what it has to fulfil.
        (HOST, "/mcp/deep/7/x", Some("/mcp")),
        (HOST, "/mcp/deep", Some("/mcp")),
        (HOST, "/mcp/deep/7", Some("/mcp/deep")),
        (OTHER_HOST, "/one/x", Some("/one")),
        (HOST, "/one/x", None),
        (HOST, "/mcpx", None),
        (HOST, "/", None),
    ] {
        let answer = ask(&house, "GET", host, path).await;
        assert_eq!(answer.status, 401, "{path}");
        let lines = answer.all("www-authenticate");
        assert!(!lines.is_empty(), "{path}");
        for line in lines {
            match at {
                None => assert!(!line.contains("resource_metadata"), "{path}: {line}"),
                Some(at) => {
                    let url = format!("https://{host}{WELL_KNOWN}{at}");
                    assert!(line.contains(&format!("resource_metadata=\"{url}\"")), "{path}: {line}");
                    let followed = document(&ask(&house, "GET", host, &format!("{WELL_KNOWN}{at}")).await);
                    assert_eq!(followed["resource"], json!(format!("https://{host}{at}")));
                }
            }
        }
    }
    // The first challenge tells the scopes too; every later one still points there, and a 403 and a 400 do so as well.
    let answer = ask(&house, "GET", HOST, "/mcp").await;
    for line in answer.all("www-authenticate") {
        assert!(line.ends_with(", scope=\"mcp:use\"") && !line.contains("error"), "{line}");
    }
    let bare = answer.all("www-authenticate")[1];
    assert_eq!(
        bare,
        format!("Bearer resource_metadata=\"https://{HOST}{WELL_KNOWN}/mcp\", scope=\"mcp:use\"")
    );
    for (change, rejection) in [
        (json!(["scope", "other"]), Rejection::ScopeInsufficient),
        (json!(["aud", "https://other.example"]), Rejection::TokenAudience),
        (json!(["cnf", {}]), Rejection::TokenConfirmation),
    ] {
        let mut scene = Scene::at(&house, "/mcp");
        scene.token_claims[change[0].as_str().expect("a name")] = change[1].clone();
        let answer = scene.send(&house).await;
        assert_eq!(answer.reason(), rejection.label());
        for line in answer.all("www-authenticate") {
            assert!(line.contains("resource_metadata=\""), "{line}");
            assert!(line.matches("scope=\"").count() <= 1, "{line}");
        }
    }
    assert!(house.seen().is_empty());
}

/// Where no resource is configured, the path is like any other: an upstream may publish its own.
#[tokio::test(flavor = "multi_thread")]
async fn without_resources_the_path_is_like_any_other() {
    let routes = "  - { name: theirs, match: { path_prefix: /.well-known }, upstream: echo, public: true }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    let mut scene = Scene::at(&house, &format!("{WELL_KNOWN}/mcp"));
    scene.credentials = Some(Vec::new());
    assert_eq!(scene.send(&house).await.status, 200);
    assert_eq!(house.seen().len(), 1);
}

/// A reload changes documents with what is enforced.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_writes_the_documents_anew() {
    let house = House::built(Plan { routes: ROUTES, reloads: true, ..Plan::default() }).await;
    let path = format!("{WELL_KNOWN}/mcp");
    assert_eq!(ask(&house, "GET", HOST, &path).await.status, 200);
    let text = house.text().replace("mcp:admin", "mcp:root").replace("  - name: deep", "  - name: deeper");
    house.reload_with(&text).await;
    let found = document(&ask(&house, "GET", HOST, &path).await);
    assert_eq!(found["scopes_supported"], json!(["mcp:use", "mcp:root"]));
}

/// Two issuers, and routes that take the tokens of one of them: the document of a resource names those that its own routes take.
#[tokio::test(flavor = "multi_thread")]
async fn authorization_servers_are_those_whose_tokens_are_taken() {
    const RULES: &str = "  - { issuer: https://other.example.com, audiences: [https://api.example.com], algorithms: [ES256], keys: { jwks_file: issuer.jwks.json } }
replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }
";
    const ONE_EACH: &str = "  - name: theirs
    match: { path_prefix: /theirs }
    upstream: echo
    require: { issuer: https://other.example.com, authorization_details: [pay, read] }
    resource: { path: /theirs }
  - { name: theirs-too, match: { path_prefix: /theirs/too }, upstream: echo, require: { issuer: https://other.example.com, authorization_details: [pay] } }
  - { name: theirs-open, match: { path_prefix: /theirs/open }, upstream: echo, public: true }
  - { name: both, match: { path_prefix: /both }, upstream: echo, require: { issuer: https://other.example.com }, resource: { path: /both } }
  - { name: both-too, match: { path_prefix: /both/too }, upstream: echo, require: { issuer: https://as.example.com } }
  - { name: either, match: { path_prefix: /either }, upstream: echo, resource: { path: /either } }
  - { name: twin, match: { host: api.example.com, path_prefix: /twin }, upstream: echo, require: { scopes: [a] }, resource: { path: /twin } }
  - { name: twin-too, match: { host: api2.example.com, path_prefix: /twin }, upstream: echo, require: { scopes: [b] }, resource: { path: /twin } }
";
    let house = House::built(Plan { rules: RULES, routes: ONE_EACH, ..Plan::default() }).await;
    let other = "https://other.example.com";
    for (path, servers, details) in [
        ("/theirs", json!([other]), json!(["pay", "read"])),
        ("/both", json!([ISSUER, other]), Value::Null),
        ("/either", json!([ISSUER, other]), Value::Null),
    ] {
        let found = document(&ask(&house, "GET", HOST, &format!("{WELL_KNOWN}{path}")).await);
        assert_eq!(found["authorization_servers"], servers, "{path}");
        assert_eq!(found["authorization_details_types_supported"], details, "{path}");
    }
    for (host, scope) in [(HOST, "a"), (OTHER_HOST, "b")] {
        let found = document(&ask(&house, "GET", host, &format!("{WELL_KNOWN}/twin")).await);
        assert_eq!(found["scopes_supported"], json!([scope]));
    }
}

/// One public URL on two listeners, of which one sees certificates: each has its own document.
#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_own_document() {
    let listener = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
  - name: asking
    address: 127.0.0.1:0
    public_urls: [https://api.example.com]
    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
";
    let routes =
        "  - { name: mcp, match: { path_prefix: /mcp }, upstream: echo, resource: { path: /mcp } }\n";
    let house = House::built(Plan { listener, routes, ..Plan::default() }).await;
    let path = format!("{WELL_KNOWN}/mcp");
    for (address, certificates) in house.gateway.addresses().iter().zip([false, true]) {
        let mut client = Client::connect(*address, HOST, None).await.expect("the handshake");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let found = document(&client.exchange(request.as_bytes()).await.expect("an answer"));
        assert_eq!(found["tls_client_certificate_bound_access_tokens"], json!(certificates));
        assert_eq!(found["dpop_bound_access_tokens_required"], json!(!certificates));
    }
}
