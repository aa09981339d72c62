//! Who is calling, under names of the operator's choice: nobody else says them, on no route and in no spelling, and a claim arrives as the value it is.

use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::house::{House, Plan, Seen};
use crate::piped::{connect, fields, piped, request, soon, upstream};
use crate::reload;
use crate::scene::Scene;
use crate::wire::Answer;

const ROUTES: &str = "  - name: chosen
    match: { path_prefix: /chosen }
    upstream: echo
    forward:
      credentials: [authorization]
      identity: headers
      identity_headers: { subject: X-User-Id, key_thumbprint: SM_KEY }
      claims: { X-Tenant: tenant_id, X-Roles: /realm_access/roles, X-Auth-Level: level }
  - name: other
    match: { path_prefix: /other }
    upstream: echo
    forward: { credentials: [dpop], identity: headers, claims: { X-Team: team } }
";

async fn house() -> House {
    House::built(Plan { routes: ROUTES, ..Plan::default() }).await
}

fn the_one(house: &House, answer: &Answer) -> Seen {
    let mut seen = house.seen();
    assert_eq!((answer.status, seen.len()), (200, 1), "{answer:?}");
    seen.remove(0)
}

fn line(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Every spelling that some server takes for one of the chosen names.
const FORGED: &[&str] = &[
    "X-User-Id",
    "x_user_id",
    "X_USER-ID",
    "X.User.Id",
    "X~User~Id",
    "X%User%Id",
    "x!user-id",
    "SM_KEY",
    "SM-Key",
    "sm.key",
    "X-Tenant",
    "X_Tenant",
    "X.Tenant",
    "X-Roles",
    "x_roles",
    "X-Team",
    "x_team",
    "X-Auth-Level",
    "x_auth_level",
];

/// R-L-01 for names of the operator's: one that any route has is nobody else's on every route.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_says_a_chosen_name() {
    let house = house().await;
    for path in ["/chosen", "/other", "/", "/dpop", "/public", "/kept"] {
        let mut scene = Scene::at(&house, path);
        if path == "/public" {
            scene.credentials = Some(Vec::new());
        }
        scene.headers =
            FORGED.iter().flat_map(|name| [line(name, "evil"), line(name, "evil, twice")]).collect();
        scene.headers.extend([line("X-User-Idx", "fine"), line("X-User", "fine")]);
        // It takes no word of ours away either.
        scene.headers.push(line("Connection", "X-User-Id, SM_KEY, x-tenant"));
        scene.token_claims["tenant_id"] = json!("acme");
        let seen = the_one(&house, &scene.send(&house).await);
        for (name, value) in &seen.headers {
            assert!(!String::from_utf8_lossy(value.as_bytes()).contains("evil"), "{path}: {name}");
        }
        for kept in ["x-user-idx", "x-user"] {
            assert_eq!(seen.headers[kept], "fine", "{path}");
        }
        let told = path == "/chosen";
        for (name, value) in [
            ("x-user-id", "alice".to_owned()),
            ("sm_key", scene.key.thumbprint().to_base64url()),
            ("x-tenant", "acme".to_owned()),
        ] {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines, if told { vec![value.as_str()] } else { Vec::new() }, "{path}: {name}");
        }
        // What is called otherwise is not said twice; what is not, keeps its name.
        assert_eq!(seen.headers.contains_key("x-auth-subject"), matches!(path, "/" | "/other"), "{path}");
        assert_eq!(seen.headers.contains_key("x-auth-client-id"), told || matches!(path, "/" | "/other"));
    }
}

/// T-PXY-04 for names of the operator's: behind a body they have no place.
#[tokio::test(flavor = "multi_thread")]
async fn nor_behind_a_body() {
    let (tell, mut heard) = mpsc::channel::<Option<HeaderMap>>(4);
    let upstream = upstream(move |request| {
        let tell = tell.clone();
        async move {
            let body = request.into_body().collect().await.expect("a whole body");
            tell.send(body.trailers().cloned()).await.expect("heard");
            http::Response::new(piped().1)
        }
    })
    .await;
    let plan =
        Plan { upstream: Some(upstream), timeouts: ", protocol: http2", routes: ROUTES, ..Plan::default() };
    let house = House::built(plan).await;
    let mut gateway = connect(&house).await;
    for path in ["/chosen", "/dpop", "/public"] {
        let mut scene = Scene::at(&house, path);
        scene.using("POST");
        let (pen, paper) = piped();
        let answer = gateway.send_request(request(&house, &scene, paper));
        let sent = async {
            pen.write("question").await;
            let mut trailers = fields(
                &["x-user-id", "x_user_id", "x.tenant", "sm_key", "sm-key", "x-team", "x-roles"],
                "evil",
            );
            trailers.extend(fields(&["x-checksum"], "c"));
            pen.end(trailers).await;
        };
        let (answer, ()) = soon(async { tokio::join!(answer, sent) }).await;
        assert_eq!(answer.expect("an answer").status(), 200);
        assert_eq!(soon(heard.recv()).await, Some(Some(fields(&["x-checksum"], "c"))), "{path}");
    }
}

/// A claim arrives as the one value that it is, or the request goes nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn chosen_claims() {
    let house = house().await;
    let with = |name: &str, value: Value| {
        let mut scene = Scene::at(&house, "/chosen");
        scene.token_claims[name] = value;
        scene
    };
    for (claim, value, header, told) in [
        ("tenant_id", json!("a b, c"), "x-tenant", Some("a b, c")),
        ("tenant_id", json!(7), "x-tenant", Some("7")),
        ("tenant_id", json!(true), "x-tenant", Some("true")),
        ("tenant_id", json!(["a", "b"]), "x-tenant", Some("a,b")),
        ("realm_access", json!({"roles": ["teller", "auditor"]}), "x-roles", Some("teller,auditor")),
        ("level", json!(2.5), "x-auth-level", Some("2.5")),
        ("tenant_id", json!(null), "x-tenant", None),
        ("tenant_id", json!(""), "x-tenant", None),
        ("tenant_id", json!([]), "x-tenant", None),
        ("realm_access", json!({}), "x-roles", None),
        ("realm_access", json!("teller"), "x-roles", None),
        ("other", json!("x"), "x-tenant", None),
    ] {
        let mut scene = with(claim, value.clone());
        scene.headers = vec![line(header, "evil")];
        let seen = the_one(&house, &scene.send(&house).await);
        let lines: Vec<_> = seen.headers.get_all(header).iter().map(|value| value.as_bytes()).collect();
        assert_eq!(lines, told.map(str::as_bytes).into_iter().collect::<Vec<_>>(), "{value}");
    }
    for value in [
        json!({"id": 1}),
        json!(["a", 1]),
        json!(["a,b"]),
        json!(["a", " b"]),
        json!(["a", ""]),
        json!(9_007_199_254_740_993_u64),
        json!(" a"),
        json!("a\r\nX-User-Id: root"),
        json!(["a\nb"]),
    ] {
        let answer = with("tenant_id", value.clone()).send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "identity_unfit"), "{value}");
        assert!(house.seen().is_empty(), "{value}");
    }
}

/// R-B-13, by name: what the list names goes on as it came, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_by_name() {
    let house = house().await;
    for (path, kept) in [("/chosen", "authorization"), ("/other", "dpop")] {
        let scene = Scene::at(&house, path);
        let credentials = scene.credentials(&house);
        let seen = the_one(&house, &scene.send_bytes(&house, &scene.bytes_with(&credentials)).await);
        for (name, value) in &credentials {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines, if name == kept { vec![value.as_str()] } else { Vec::new() }, "{path}: {name}");
        }
    }
}

/// R-C-10: an upstream says something of what it has seen, and of nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn answers_about_credentials() {
    let answers: &[(&str, &str)] = &[("www-authenticate", "DPoP error=\"x\""), ("dpop-nonce", "theirs")];
    let house = House::built(Plan { routes: ROUTES, answers, ..Plan::default() }).await;
    for (path, told) in [
        ("/chosen", [true, false]),
        ("/other", [false, true]),
        ("/dpop", [false, false]),
        ("/kept", [true, true]),
    ] {
        let answer = Scene::at(&house, path).send(&house).await;
        let found = answers.iter().map(|(name, _)| answer.all(name).len() == 1).collect::<Vec<_>>();
        assert_eq!((answer.status, &found[..]), (200, &told[..]), "{path}");
    }
}

/// A name that a reload brings is nobody else's from that moment on, on a connection that is older too.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_a_name() {
    let house = reload::house(reload::ASKED).await;
    let mut client = house.connect(crate::house::HOST, None).await;
    let bytes = |path: &str| {
        let mut scene = Scene::at(&house, path);
        scene.headers = vec![line("x_user_id", "evil")];
        scene.bytes(&house)
    };
    let before = client.exchange(&bytes("/dpop")).await.expect("an answer");
    assert_eq!(the_one(&house, &before).headers["x_user_id"], "evil");
    let named = "identity: headers, identity_headers: { subject: X-User-Id } }";
    house.reload_with(&house.text().replace("identity: headers }", named)).await;
    for path in ["/dpop", "/"] {
        let after = client.exchange(&bytes(path)).await.expect("an answer");
        let seen = the_one(&house, &after);
        assert!(!seen.headers.contains_key("x_user_id"), "{path}");
        assert_eq!(seen.headers.contains_key("x-user-id"), path == "/");
    }
}
