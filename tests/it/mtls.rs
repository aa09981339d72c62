//! Certificate-bound tokens (RFC 8705): whose certificate it is, where it comes from, and what cannot stand in for it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::handshake::{bound_to, held};
use crate::house::{ASKS_FOR_CERTIFICATES, HOST, House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::wire::{Answer, Client};

fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

/// T-MTL-01 to T-MTL-09, T-MTL-15, R-F-02, R-F-03, R-F-05, R-F-06, R-F-08, R-G-03.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_says_of_its_certificate() {
    let house = House::usual().await;
    let right = thumbprint(&house, 0);
    let raw = URL_SAFE_NO_PAD.decode(&right).expect("base64url");
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let colons = raw.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let sha1 = "x5t".to_owned();
    let jkt = Scene::right(&house).key.thumbprint().to_base64url();
    for (cnf, certificate, scheme, reason) in [
        (json!({"x5t#S256": right}), Some(0), "Bearer", ""),
        (json!({"x5t#S256": right}), Some(0), "bearer", ""),
        (json!({"x5t#S256": right, "foo": {"jwk": 1}}), Some(0), "Bearer", ""),
        (json!({"x5t#S256": right}), None, "Bearer", "certificate_missing"),
        (json!({"x5t#S256": right}), Some(1), "Bearer", "certificate_mismatch"),
        (json!({"x5t#S256": thumbprint(&house, 1)}), Some(0), "Bearer", "certificate_mismatch"),
        (json!({"x5t#S256": right}), Some(0), "DPoP", "dpop_for_certificate"),
        (json!({"x5t#S256": right, "jkt": jkt}), Some(0), "Bearer", "bearer_for_dpop"),
        (json!({sha1: "bwcK0esc3ACC3DB2Y5_lESsXE8o"}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"X5T#S256": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#s256": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": hex}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": colons}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": URL_SAFE.encode(&raw)}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": format!(" {right}")}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": right[..42]}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": format!("{right}A")}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": ""}), None, "Bearer", "token_confirmation"),
        (json!({"x5t#S256": null}), None, "Bearer", "token_confirmation"),
        (json!({"x5t#S256": 5}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": [right]}), Some(0), "Bearer", "token_confirmation"),
        (json!({}), Some(0), "Bearer", "token_confirmation"),
        (json!(right), Some(0), "Bearer", "token_confirmation"),
        (json!(null), Some(0), "Bearer", "token_confirmation"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.token_claims["cnf"] = cnf.clone();
        (scene.certificate, scene.scheme) = (certificate, scheme.into());
        let answer = scene.send(&house).await;
        let status = if reason.is_empty() { 200 } else { 401 };
        assert_eq!(verdict(&answer), (status, reason.to_owned()), "{cnf} {certificate:?} {scheme}");
        assert_eq!(house.seen().len(), usize::from(reason.is_empty()), "{cnf}");
        assert!(
            reason.is_empty() || answer.all("www-authenticate").concat().contains("error=\"invalid_token\"")
        );
    }
    // T-MTL-05: a certificate binds nothing that does not name it.
    let mut scene = Scene::with_certificate(&house);
    scene.token_claims.as_object_mut().expect("an object").remove("cnf");
    assert_eq!(verdict(&scene.send(&house).await), (401, "token_unbound".into()));
    // A stray proof beside a certificate-bound token is ignored.
    let mut scene = Scene::with_certificate(&house);
    scene.headers = vec![("dpop".into(), "nonsense".into())];
    assert_eq!(scene.send(&house).await.status, 200);
}

/// T-BND-16, T-BND-17, R-G-03: a token bound to both needs both.
#[tokio::test(flavor = "multi_thread")]
async fn both_means_both() {
    let routes =
        "  - { name: both, match: { path_prefix: /both }, upstream: echo, require: { binding: both } }
  - { name: mtls, match: { path_prefix: /mtls }, upstream: echo, require: { binding: mtls } }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    let with = |path: &str, certificate, bound: &[&str]| {
        let mut scene = Scene::at(&house, path);
        scene.certificate = certificate;
        let jkt = scene.key.thumbprint().to_base64url();
        scene.token_claims["cnf"] = bound
            .iter()
            .map(|name| {
                (name.to_string(), json!(if *name == "jkt" { jkt.clone() } else { thumbprint(&house, 0) }))
            })
            .collect();
        scene
    };
    for (path, certificate, bound, reason) in [
        ("/", Some(0), &["jkt", "x5t#S256"][..], ""),
        ("/", None, &["jkt", "x5t#S256"], "certificate_missing"),
        ("/", Some(1), &["jkt", "x5t#S256"], "certificate_mismatch"),
        ("/both", Some(0), &["jkt", "x5t#S256"], ""),
        ("/both", None, &["jkt", "x5t#S256"], "certificate_missing"),
        ("/both", Some(0), &["jkt"], "binding_insufficient"),
        ("/both", Some(0), &["x5t#S256"], "dpop_for_certificate"),
        ("/dpop", Some(0), &["jkt", "x5t#S256"], ""),
        ("/dpop", Some(0), &["jkt"], ""),
        ("/mtls", Some(0), &["jkt"], "binding_insufficient"),
        ("/mtls", Some(0), &["jkt", "x5t#S256"], "binding_insufficient"),
    ] {
        let answer = with(path, certificate, bound).send(&house).await;
        assert_eq!(answer.reason(), reason, "{path} {certificate:?} {bound:?}");
        assert_eq!(house.seen().len(), usize::from(reason.is_empty()));
    }
    for (path, reason) in
        [("/mtls", ""), ("/both", "binding_insufficient"), ("/dpop", "binding_insufficient")]
    {
        let mut scene = Scene::with_certificate(&house);
        scene.go_to(path);
        assert_eq!(scene.send(&house).await.reason(), reason, "{path}");
    }
    // The wrong certificate beside the right proof spends nothing: with the right one the same proof passes.
    let scene = with("/", Some(0), &["jkt", "x5t#S256"]);
    let bytes = scene.bytes(&house);
    for (certificate, status) in [(1, 401), (0, 200), (0, 401)] {
        let mut client = house.connect(HOST, Some(certificate)).await;
        assert_eq!(client.exchange(&bytes).await.expect("an answer").status, status);
    }
}

/// T-MTL-19, R-F-01: the certificate is the connection's, whoever else has one.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_one_certificate() {
    let house = House::usual().await;
    let mine = Scene::with_certificate(&house);
    let theirs = bound_to(&house, &held(&house, 1));
    for (connection, own, other) in [(0, &mine, &theirs), (1, &theirs, &mine)] {
        let mut client = house.connect(HOST, Some(connection)).await;
        for (scene, status) in [(own, 200), (other, 401), (own, 200), (other, 401)] {
            assert_eq!(client.exchange(&scene.bytes(&house)).await.expect("an answer").status, status);
        }
    }
    // A connection without one beside them.
    let mut client = house.connect(HOST, None).await;
    for scene in [&mine, &theirs] {
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(answer.reason(), "certificate_missing");
    }
}

/// T-MTL-22, T-MTL-23, R-F-09: RFC 9440 from a trusted proxy, to the letter; from anyone else nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_reports_certificates_and_nobody_else_does() {
    let listener = "    tls: plaintext
    trusted_proxies: [127.0.0.0/8]
    client_certificate_header: client-cert
";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    let der = &house.certificates[0].0;
    let encoded = STANDARD.encode(der);
    let right = format!(":{encoded}:");
    let pem = format!("-----BEGIN CERTIFICATE-----{encoded}-----END CERTIFICATE-----");
    let unpadded = format!(":{}:", encoded.trim_end_matches('='));
    let mut longer = der.clone();
    longer.push(0);
    let one = |value: &str| vec![value.to_owned()];
    for (what, lines, status, reason) in [
        ("right", one(&right), 200, ""),
        ("white space around", one(&format!("  {right} ")), 200, ""),
        ("none", Vec::new(), 401, "certificate_missing"),
        (
            "another",
            one(&format!(":{}:", STANDARD.encode(&house.certificates[1].0))),
            401,
            "certificate_mismatch",
        ),
        ("twice", vec![right.clone(), right.clone()], 400, "client_cert_invalid"),
        ("a list", one(&format!("{right}, {right}")), 400, "client_cert_invalid"),
        ("no colons", one(&encoded), 400, "client_cert_invalid"),
        ("one colon", one(&format!(":{encoded}")), 400, "client_cert_invalid"),
        ("PEM", one(&pem), 400, "client_cert_invalid"),
        ("URL-encoded", one(&right.replace('+', "%2B").replace(':', "%3A")), 400, "client_cert_invalid"),
        ("parameters", one(&format!("{right};a=b")), 400, "client_cert_invalid"),
        ("empty", one(""), 400, "client_cert_invalid"),
        ("an empty sequence", one("::"), 400, "client_cert_invalid"),
        ("no certificate", one(&format!(":{}:", STANDARD.encode("hello"))), 400, "client_cert_invalid"),
        ("something behind it", one(&format!(":{}:", STANDARD.encode(&longer))), 400, "client_cert_invalid"),
        (
            "cut off",
            one(&format!(":{}:", STANDARD.encode(&der[..der.len() - 1]))),
            400,
            "client_cert_invalid",
        ),
        ("too large", one(&format!(":{}:", "A".repeat(24_000))), 400, "client_cert_invalid"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.headers = lines.into_iter().map(|line| ("Client-Cert".to_owned(), line)).collect();
        let mut client = Client::plain(house.address).await.expect("a connection");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(verdict(&answer), (status, reason.to_owned()), "{what}: {answer:?}");
        let seen = house.seen();
        assert_eq!(seen.len(), usize::from(status == 200), "{what}");
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("client-cert")), "{what}");
    }
    // RFC 8941 §4.2.7 lets a parser take base64 without padding. Either answer is sound; none may be a pass for another certificate.
    let mut scene = Scene::with_certificate(&house);
    scene.headers = vec![("Client-Cert".to_owned(), unpadded)];
    let mut client = Client::plain(house.address).await.expect("a connection");
    let status = client.exchange(&scene.bytes(&house)).await.expect("an answer").status;
    assert!([200, 400].contains(&status));

    // A stranger at a listener that trusts somebody else, and one at a listener that trusts nobody.
    let elsewhere = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
    trusted_proxies: [10.0.0.0/8]
    client_certificate_header: client-cert
";
    for listener in [elsewhere, ASKS_FOR_CERTIFICATES] {
        let house = House::built(Plan { listener, ..Plan::default() }).await;
        let said = format!(":{}:", STANDARD.encode(&house.certificates[0].0));
        let mut scene = Scene::with_certificate(&house);
        scene.headers = vec![("Client-Cert".to_owned(), said.clone()), ("Client-Cert".to_owned(), said)];
        scene.certificate = None;
        assert_eq!(scene.send(&house).await.reason(), "certificate_missing");
        scene.certificate = Some(1);
        assert_eq!(scene.send(&house).await.reason(), "certificate_mismatch");
        // Its own certificate counts as ever.
        scene.certificate = Some(0);
        assert_eq!(scene.send(&house).await.status, 200);
    }

    // The proxy's own certificate does not stand in for its caller's.
    let behind = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
    trusted_proxies: [127.0.0.1/32]
    client_certificate_header: client-cert
";
    let house = House::built(Plan { listener: behind, ..Plan::default() }).await;
    assert_eq!(Scene::with_certificate(&house).send(&house).await.reason(), "certificate_missing");
}
