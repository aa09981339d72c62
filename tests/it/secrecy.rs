//! Invariant 6: what the real binary writes at its most talkative, and that no token, proof or key is in it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::house::{HOST, House, Plan};
use crate::http2;
use crate::process::{Process, wait};
use crate::scene::{Scene, thumbprint};

/// 32 bytes that occur nowhere else.
const NONCE_KEY: [u8; 32] = *b"nonce-key-that-nobody-ever-reads";

const RULES: &str = "dpop: { nonce_keys: { file: nonce-keys } }
replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }
";
const ROUTES: &str =
    "  - { name: nonce, match: { path_prefix: /nonce }, upstream: echo, require: { nonce: required } }\n";

/// What must be in the line of one request.
struct Told {
    decision: &'static str,
    reason: Option<String>,
    status: u16,
    route: Option<&'static str>,
    client: Option<&'static str>,
    jkt: Option<String>,
    certificate: Option<String>,
    path: String,
}

/// The house, what has to be logged for each request id, and what must not be found anywhere.
struct Watch {
    house: House,
    told: HashMap<String, Told>,
    secrets: Vec<String>,
}

impl Watch {
    /// Sends the scene, over HTTP/2 or HTTP/1, and notes what is expected of its line.
    async fn play(&mut self, scene: &Scene, over_http2: bool, mut told: Told) {
        let credentials = scene.credentials(&self.house);
        for (_, value) in &credentials {
            // The whole, each part of it, and what a part says.
            let compact = value.rsplit(' ').next().unwrap_or_default();
            self.secrets.push(compact.to_owned());
            self.secrets.extend(compact.split('.').filter(|part| part.len() > 20).map(str::to_owned));
        }
        let sent = Scene { credentials: Some(credentials), ..scene_like(scene) };
        let (status, reason, id) = if over_http2 {
            let mut sender = http2::connect(&self.house, &sent.sni, sent.certificate).await;
            let request = http2::request(&sent, &self.house, http2::Frames::default());
            let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
            let body = http_body_util::BodyExt::collect(body).await.expect("a body").to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = parts.headers["x-request-id"].to_str().expect("text").to_owned();
            (parts.status.as_u16(), body["reason"].as_str().map(str::to_owned), id)
        } else {
            let answer = sent.send(&self.house).await;
            let reason = Some(answer.reason()).filter(|reason| !reason.is_empty());
            (answer.status, reason, answer.one("x-request-id").to_owned())
        };
        assert_eq!((status, &reason), (told.status, &told.reason));
        told.path = scene.target.split('?').next().unwrap_or_default().to_owned();
        assert!(self.told.insert(id, told).is_none(), "an id came twice");
    }
}

/// A scene is sent with credentials that were made once, so that they are known.
fn scene_like(scene: &Scene) -> Scene {
    Scene {
        method: scene.method.clone(),
        target: scene.target.clone(),
        host: scene.host.clone(),
        sni: scene.sni.clone(),
        scheme: scene.scheme.clone(),
        token_header: scene.token_header.clone(),
        token_claims: scene.token_claims.clone(),
        proof_header: scene.proof_header.clone(),
        proof_claims: scene.proof_claims.clone(),
        key: holdfast::caller::key::DpopKey::generate().expect("a key"),
        certificate: scene.certificate,
        edit_token: Box::new(|token| token),
        edit_proof: Box::new(|proof| proof),
        credentials: None,
        headers: scene.headers.clone(),
        body: scene.body.clone(),
    }
}

fn forwarded(scene: &Scene) -> Told {
    Told {
        decision: "forwarded",
        reason: None,
        status: 200,
        route: Some("any"),
        client: Some("app"),
        jkt: scene.token_claims["cnf"]["jkt"].as_str().map(str::to_owned),
        certificate: scene.token_claims["cnf"]["x5t#S256"].as_str().map(str::to_owned),
        path: String::new(),
    }
}

fn refused(reason: &str, client: Option<&'static str>) -> Told {
    Told {
        decision: "refused",
        reason: Some(reason.to_owned()),
        status: 401,
        route: Some("any"),
        client,
        jkt: None,
        certificate: None,
        path: String::new(),
    }
}

/// Invariant 6, R-L-10, R-C-09, T-PXY-22, T-CLM-04.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_and_nothing_is_given_away() {
    let files = vec![("nonce-keys", format!("{}\n", URL_SAFE_NO_PAD.encode(NONCE_KEY)))];
    let mut house = House::built(Plan { rules: RULES, routes: ROUTES, files, ..Plan::default() }).await;
    let process = Process::instead_of(&mut house, "{ level: trace, access: json }").await;
    let server_key = std::fs::read_to_string(house.directory.path().join("server.key")).expect("a key");
    let mut secrets = vec![
        URL_SAFE_NO_PAD.encode(NONCE_KEY),
        String::from_utf8(NONCE_KEY.to_vec()).expect("text"),
        STANDARD.encode(NONCE_KEY),
        server_key.lines().nth(1).expect("PEM").to_owned(),
        "s3cret-of-the-query".to_owned(),
        "s3cret-of-the-cookie".to_owned(),
        "s3cret-of-the-body".to_owned(),
        "PRIVATE KEY".to_owned(),
    ];
    secrets.extend(house.certificates.iter().map(|(_, key)| STANDARD.encode(key)));
    let mut watch = Watch { house, told: HashMap::new(), secrets };

    for over_http2 in [false, true] {
        let mut scene = Scene::at(&watch.house, "/a/b?token=s3cret-of-the-query");
        scene.headers = vec![("cookie".into(), "session=s3cret-of-the-cookie".into())];
        if !over_http2 {
            scene.using("POST");
            scene.body = "s3cret-of-the-body".into();
        }
        watch.play(&scene, over_http2, forwarded(&scene)).await;

        let scene = Scene::with_certificate(&watch.house);
        watch.play(&scene, over_http2, forwarded(&scene)).await;

        let mut scene = Scene::right(&watch.house);
        scene.certificate = Some(0);
        scene.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&watch.house, 0));
        watch.play(&scene, over_http2, forwarded(&scene)).await;

        let mut scene = Scene::right(&watch.house);
        scene.key = holdfast::caller::key::DpopKey::generate().expect("a key");
        watch.play(&scene, over_http2, refused("proof_signature", Some("app"))).await;

        let mut scene = Scene::right(&watch.house);
        scene.scheme = "Bearer".into();
        watch.play(&scene, over_http2, refused("bearer_for_dpop", Some("app"))).await;

        let mut scene = Scene::right(&watch.house);
        scene.token_header["kid"] = json!("\r\nINFO ok {\"decision\":\"forwarded\"}");
        watch.play(&scene, over_http2, refused("token_key_unknown", None)).await;

        let mut scene = Scene::right(&watch.house);
        scene.proof_claims["jti"] = json!("\r\nINFO ok");
        scene.proof_claims["htm"] = json!("\r\nINFO ok");
        watch.play(&scene, over_http2, refused("proof_htm", None)).await;

        let mut scene = Scene::right(&watch.house);
        scene.credentials = Some(vec![("authorization".into(), "Basic czNjcmV0LW9mLWEtcGFzc3dvcmQ=".into())]);
        watch.play(&scene, over_http2, refused("credentials_missing", None)).await;

        let scene = Scene::at(&watch.house, "/nonce");
        let told = Told { route: Some("nonce"), ..refused("nonce_missing", Some("app")) };
        watch.play(&scene, over_http2, told).await;

        let mut scene = Scene::at(&watch.house, "/%zz");
        scene.target = "/%zz".into();
        let told = Told { status: 400, route: None, ..refused("path_invalid", None) };
        watch.play(&scene, over_http2, told).await;
    }

    // The client's name is the token's word: it stays a string.
    let mut scene = Scene::right(&watch.house);
    scene.token_claims["client_id"] = json!("app\",\"decision\":\"x\r\n{}");
    scene.target = "/dpop".into();
    scene.go_to("/dpop");
    let told =
        Told { route: Some("dpop"), client: Some("app\",\"decision\":\"x\r\n{}"), ..forwarded(&scene) };
    watch.play(&scene, false, told).await;

    // A head that is no request has a line without an id, and nothing of what it said.
    let mut client = watch.house.connect(HOST, None).await;
    let answer = client
        .exchange(b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: DPoP s3cret-of-a-head\x01\r\n\r\n")
        .await;
    assert_eq!(answer.expect("an answer").status, 400);
    watch.secrets.push("s3cret-of-a-head".into());
    watch.secrets.push("czNjcmV0LW9mLWEtcGFzc3dvcmQ=".into());

    let lines = watch.told.len() + 1;
    wait("every line is written", async || process.stdout().lines().count() >= lines).await;
    let stdout = process.stdout();
    assert_eq!(stdout.lines().count(), lines, "{stdout}");
    for line in stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match line["request_id"].as_str().expect("an id") {
            "" => {
                assert_eq!(
                    (&line["decision"], &line["reason"]),
                    (&json!("refused"), &json!("request_malformed"))
                );
                assert_eq!(
                    (&line["method"], &line["path"], line.get("host")),
                    (&json!(""), &json!(""), None)
                );
            }
            id => {
                let told = watch.told.remove(id);
                judge(&line, &told.unwrap_or_else(|| panic!("nobody was told this id, or twice: {line}")));
            }
        }
    }

    let metrics = watch.house.ask_admin("/metrics").await.1;
    // Let what is said after the last answer be said too.
    drop(client);
    process.signal("TERM");
    let mut process = process;
    assert_eq!(process.ended().await.code(), Some(0));
    wait("it has said its last", async || process.stderr().contains("stopped")).await;
    let stderr = process.stderr();
    assert!(
        stderr.contains("TRACE") || stderr.contains("DEBUG"),
        "this was to be its most talkative: {stderr}"
    );
    for (name, text) in [("stdout", &stdout), ("stderr", &stderr), ("/metrics", &metrics)] {
        for secret in &watch.secrets {
            if let Some(at) = text.find(secret.as_str()) {
                panic!(
                    "{name} has {secret}: {}",
                    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..at])
                );
            }
        }
    }
}

/// R-L-10: decision, reason, who and when.
fn judge(line: &Value, told: &Told) {
    assert_eq!(line["decision"], told.decision, "{line}");
    assert_eq!(line["status"], told.status, "{line}");
    assert_eq!(line["path"], told.path.as_str(), "{line}");
    assert_eq!(line["peer"], "127.0.0.1", "{line}");
    let binding = match (&told.jkt, &told.certificate) {
        (None, None) => None,
        (Some(_), None) => Some("dpop"),
        (None, Some(_)) => Some("mtls"),
        (Some(_), Some(_)) => Some("both"),
    };
    for (name, expected) in [
        ("reason", told.reason.as_deref()),
        ("route", told.route),
        ("client", told.client),
        ("binding", binding),
        ("jkt", told.jkt.as_deref()),
        ("x5t#S256", told.certificate.as_deref()),
    ] {
        assert_eq!(line.get(name).and_then(Value::as_str), expected, "{name} in {line}");
    }
    let time = line["time"].as_str().expect("a time");
    humantime::parse_rfc3339(time).unwrap_or_else(|error| panic!("{error}: {line}"));
    for name in ["verify_ms", "total_ms"] {
        assert!(line[name].as_f64().is_some_and(|time| (0.0..60_000.0).contains(&time)), "{name} in {line}");
    }
    assert!(line["verify_ms"].as_f64() <= line["total_ms"].as_f64(), "{line}");
    assert_eq!(line["decision"] == "forwarded", line["head_ms"].is_number(), "{line}");
    let known = [
        "method",
        "host",
        "time",
        "request_id",
        "decision",
        "status",
        "path",
        "peer",
        "verify_ms",
        "total_ms",
    ];
    let optional = [
        "reason",
        "route",
        "client",
        "binding",
        "jkt",
        "x5t#S256",
        "head_ms",
        "request_bytes",
        "response_bytes",
    ];
    for name in line.as_object().expect("an object").keys() {
        assert!(known.contains(&name.as_str()) || optional.contains(&name.as_str()), "{name} in {line}");
    }
}
