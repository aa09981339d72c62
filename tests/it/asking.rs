//! How the gateway shows an issuer who it is, without a secret that both know: by a signature (RFC 7523), by a certificate (RFC 8705 §2).

use std::sync::Arc;

use holdfast::caller::key::DpopKey;
use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::jwks::KeySet;
use holdfast::verify::rejection::Rejection::IntrospectionUnreachable;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};

use crate::asked::{AskedIssuer, Heard as Question, Said};
use crate::house::{House, ISSUER, Plan};
use crate::introspection::{active, opaque};
use crate::scene::Scene;
use crate::signer::decoded;
use crate::table::{Heard, hear};

fn field<'q>(question: &'q Question, name: &str) -> &'q str {
    let mut found = question.form.iter().filter(|(own, _)| own == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {name}: {question:?}"));
    assert!(found.next().is_none(), "{name} twice");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_signature() {
    let key = DpopKey::generate().expect("a key");
    let set = format!("{{\"keys\":[{}]}}", key.public_jwk());
    let (keys, _) = KeySet::read(set.as_bytes(), &Algorithms::new(&[Algorithm::Es256])).expect("a key set");
    for (more, to_endpoint) in [("", false), ("      assertion_audience: endpoint\n", true)] {
        let issuer = AskedIssuer::start(Said::Nothing).await;
        let more = format!(
            "      authentication: private_key_jwt\n      client_key: {{ file: client.pem }}\n      client_key_id: k-1\n{more}"
        );
        let files = vec![("client.pem", key.to_pkcs8_pem().to_string())];
        let house =
            House::built(Plan { issuer: issuer.configured("http", &more), files, ..Plan::default() }).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let scene = opaque(Scene::right(&house));
            issuer.say(Said::Json(active(&scene)));
            hear(&house, &scene, "asked with an assertion", Heard::Passed).await;
            let question = issuer.heard().remove(0);
            assert!(!question.headers.contains_key("authorization"));
            assert_eq!(field(&question, "client_id"), "gate:way");
            assert_eq!(
                field(&question, "client_assertion_type"),
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            let (input, signature) = field(&question, "client_assertion").rsplit_once('.').expect("a JWS");
            let verified = keys.verify(None, Algorithm::Es256, input.as_bytes(), &decoded(signature));
            assert_eq!(verified, Ok(()));
            let (header, claims) = input.split_once('.').expect("two parts");
            let read = |part: &str| serde_json::from_slice::<Value>(&decoded(part)).expect("JSON");
            assert_eq!(read(header), json!({"typ": "JWT", "alg": "ES256", "kid": "k-1"}));
            let claims = read(claims);
            let endpoint = format!("http://{}/introspect", issuer.address);
            assert_eq!(claims["aud"], if to_endpoint { &endpoint } else { ISSUER });
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gate:way"), &json!("gate:way")));
            assert_eq!((&claims["iat"], &claims["exp"]), (&json!(house.now()), &json!(house.now() + 60)));
            ids.push(claims["jti"].as_str().expect("a string").to_owned());
        }
        assert!(ids[0] != ids[1] && ids[0].len() == 22, "{ids:?}");
    }
}

/// R-I-01, and an impostor: neither another client nor another server gets anything.
#[tokio::test(flavor = "multi_thread")]
async fn by_a_certificate() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (server, client, stranger) = (made("127.0.0.1"), made("gateway.example"), made("gateway.example"));
    let mut known = RootCertStore::empty();
    known.add(CertificateDer::clone(client.cert.der())).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(known), Arc::clone(&provider));
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(
            vec![server.cert.der().clone()],
            PrivateKeyDer::try_from(server.signing_key.serialize_der()).expect("a key"),
        )
        .expect("a certificate and its key");
    let issuer = AskedIssuer::behind_tls(Said::Nothing, tls).await;
    for (shown, trusted, passes) in
        [(&client, &server, true), (&stranger, &server, false), (&client, &stranger, false)]
    {
        let more = "      authentication: tls
      client_certificate: { chain: client.pem, key: client.key }
    trust: { ca: ca.pem }
";
        let files = vec![
            ("client.pem", shown.cert.pem()),
            ("client.key", shown.signing_key.serialize_pem()),
            ("ca.pem", trusted.cert.pem()),
        ];
        let house =
            House::built(Plan { issuer: issuer.configured("https", more), files, ..Plan::default() }).await;
        let scene = opaque(Scene::right(&house));
        issuer.say(Said::Json(active(&scene)));
        if passes {
            hear(&house, &scene, "the client's own", Heard::Passed).await;
            let question = issuer.heard().remove(0);
            assert_eq!(field(&question, "client_id"), "gate:way");
            assert!(!question.headers.contains_key("authorization"));
        } else {
            hear(&house, &scene, "an impostor", Heard::Refused(IntrospectionUnreachable)).await;
            assert!(issuer.heard().is_empty());
        }
    }
}
