//! Proofs with ML-DSA (RFC 9964): T-ALG-15, R-H-06, R-M-05.

use std::sync::Arc;

use aws_lc_rs::signature::{
    KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair,
    PqdsaSigningAlgorithm,
};
use holdfast::verify::digest::{Digest, Key};
use holdfast::verify::rejection::Rejection::{
    KeyMismatch, ProofAlg, ProofKey, ProofKeyPrivate, ProofSignature, ProofTooLarge,
};
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{encoded, resign};
use crate::table::{Heard, Heard::Passed, Heard::Refused, hear};

const SETS: [(&str, &PqdsaSigningAlgorithm); 3] =
    [("ML-DSA-44", &ML_DSA_44_SIGNING), ("ML-DSA-65", &ML_DSA_65_SIGNING), ("ML-DSA-87", &ML_DSA_87_SIGNING)];

/// Makes one thing wrong.
type Break = fn(&mut Scene);

fn allowed() -> Plan {
    Plan {
        rules: "replay: { memory: { capacity: 1000, after_restart: accept, per_key: 500 } }
dpop: { algorithms: [ES256, ML-DSA-44, ML-DSA-65, ML-DSA-87] }
",
        more: "limits: { proof_bytes: 16KiB }\n",
        ..Plan::default()
    }
}

/// A scene whose token is bound to a new key, which makes the proof.
fn scene(house: &House, (name, scheme): (&'static str, &'static PqdsaSigningAlgorithm)) -> Scene {
    let pair = Arc::new(PqdsaKeyPair::generate(scheme).expect("a key"));
    let public = encoded(pair.public_key().as_ref());
    let mut scene = Scene::right(house);
    // RFC 7638 §3 with the members of RFC 9964 §6.
    let members = format!(r#"{{"alg":"{name}","kty":"AKP","pub":"{public}"}}"#);
    scene.token_claims["cnf"] = json!({"jkt": Digest::<Key>::of(members.as_bytes()).to_base64url()});
    scene.proof_header["alg"] = json!(name);
    scene.proof_header["jwk"] = json!({"kty": "AKP", "alg": name, "pub": public});
    scene.edit_proof = Box::new(move |proof| {
        let (message, _) = proof.rsplit_once('.').expect("a JWS");
        let mut signature = vec![0; scheme.signature_len()];
        let length = pair.sign(message.as_bytes(), &mut signature).expect("a signature");
        resign(&proof, |_| signature[..length].to_vec())
    });
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn they_pass_where_they_are_listed() {
    let house = House::built(allowed()).await;
    for set in SETS {
        hear(&house, &scene(&house, set), set.0, Passed).await;
        let proofs: [(&str, Heard, Break); 5] = [
            ("no alg in the key", Refused(ProofKey), |s| {
                s.proof_header["jwk"].as_object_mut().expect("an object").remove("alg");
            }),
            ("another alg in the key", Refused(ProofKey), |s| s.proof_header["jwk"]["alg"] = json!("ES256")),
            ("the private seed", Refused(ProofKeyPrivate), |s| {
                s.proof_header["jwk"]["priv"] = json!(encoded(&[1; 32]));
            }),
            ("a key that is too short", Refused(ProofKey), |s| s.proof_header["jwk"]["pub"] = json!("AAAA")),
            ("another one's token", Refused(KeyMismatch), |s| {
                s.token_claims["cnf"] = json!({"jkt": s.key.thumbprint().to_base64url()});
            }),
        ];
        for (what, expected, break_it) in proofs {
            let mut broken = scene(&house, set);
            break_it(&mut broken);
            hear(&house, &broken, &format!("{}: {what}", set.0), expected).await;
        }
        let mut broken = scene(&house, set);
        let sign = std::mem::replace(&mut broken.edit_proof, Box::new(|proof| proof));
        broken.edit_proof = Box::new(move |proof| {
            resign(&sign(proof), |mut signature| {
                signature[100] ^= 1;
                signature
            })
        });
        hear(&house, &broken, "a signature with a bit changed", Refused(ProofSignature)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_refused_where_they_are_not() {
    let house = House::usual().await;
    for (set, expected) in SETS.into_iter().zip([ProofAlg, ProofAlg, ProofTooLarge]) {
        hear(&house, &scene(&house, set), set.0, Refused(expected)).await;
    }
}
