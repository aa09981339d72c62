//! Algorithms of proofs: T-ALG, R-A-05, R-A-06, R-C-04 and R-H-06.

use aws_lc_rs::hmac;
use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{Signer, encoded, hold, mac, resign};
use crate::table::Heard::{Passed, Refused};
use crate::table::{Row, hear, play};

/// Every name that anyone might try: the registered signatures and MACs (RFC 7518, 8037, 8812, 9864, 9964), and `none`.
const NAMES: [&str; 24] = [
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
    "EdDSA",
    "Ed25519",
    "Ed448",
    "ES256K",
    "ESP256",
    "ESB256",
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
    "HS256",
    "HS384",
    "HS512",
    "RS1",
    "none",
    "dir",
];

const ROWS: &[Row] = &[
    ("T-ALG-05 R-A-05", "none without a signature", Refused(ProofMalformed), |s, _| {
        s.proof_header["alg"] = json!("none");
        s.edit_proof = Box::new(|proof| resign(&proof, |_| Vec::new()));
    }),
    ("T-ALG-05", "none with a signature", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("none")),
    ("T-ALG-06", "None", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("None")),
    ("T-ALG-06", "nOnE", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("nOnE")),
    ("T-ALG-06", "a space and none", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!(" none")),
    ("T-ALG-06", "empty", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("")),
    ("R-A-05", "es256", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("es256")),
    ("R-A-05", "ES256 and a space", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("ES256 ")),
    ("R-A-05", "two names", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("ES256 PS256")),
    ("T-ALG-09", "a number", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!(-7)),
    ("T-ALG-09", "null", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!(null)),
    ("T-ALG-09", "in an array", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!(["ES256"])),
    ("T-ALG-09", "no alg", Refused(ProofAlg), |s, _| {
        s.proof_header.as_object_mut().expect("an object").remove("alg");
    }),
    ("T-ALG-10", "PS256 with an EC key", Refused(ProofKey), |s, _| s.proof_header["alg"] = json!("PS256")),
    ("T-ALG-10", "EdDSA with an EC key", Refused(ProofKey), |s, _| s.proof_header["alg"] = json!("EdDSA")),
    ("T-ALG-10", "RS256 with an EC key", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("RS256")),
    ("T-ALG-11 R-A-06", "ES384 with a P-256 key", Refused(ProofKey), |s, _| {
        s.proof_header["alg"] = json!("ES384")
    }),
    ("T-ALG-11", "ES256 with a P-384 key", Refused(ProofKey), |s, _| as_if(s, "ES384", "ES256")),
    ("T-ALG-11", "ES256 with a P-521 key", Refused(ProofKey), |s, _| as_if(s, "ES512", "ES256")),
    ("T-ALG-10", "ES256 with an Ed25519 key", Refused(ProofKey), |s, _| as_if(s, "EdDSA", "ES256")),
    ("T-ALG-10", "ES256 with an RSA key", Refused(ProofKey), |s, _| as_if(s, "PS256", "ES256")),
    ("T-ALG-10", "PS256 with an Ed25519 key", Refused(ProofKey), |s, _| as_if(s, "EdDSA", "PS256")),
    ("T-ALG-10", "EdDSA with an RSA key", Refused(ProofKey), |s, _| as_if(s, "PS256", "EdDSA")),
    ("T-ALG-10", "a PKCS#1 signature as PS256", Refused(ProofSignature), |s, _| as_if(s, "RS256", "PS256")),
    ("T-ALG-10", "a PSS signature of another hash as PS256", Refused(ProofSignature), |s, _| {
        as_if(s, "PS384", "PS256")
    }),
    ("T-ALG-14 R-H-06", "EdDSA with an Ed448 key", Refused(ProofKey), |s, _| as_if(s, "Ed448", "EdDSA")),
    ("T-ALG-14", "Ed448", Refused(ProofAlg), |s, _| as_if(s, "Ed448", "Ed448")),
    ("R-A-06", "an X25519 key", Refused(ProofKey), |s, _| {
        as_if(s, "EdDSA", "EdDSA");
        s.proof_header["jwk"]["crv"] = json!("X25519");
    }),
    ("R-A-06", "an Ed25519 key that is too short", Refused(ProofKey), |s, _| {
        as_if(s, "EdDSA", "EdDSA");
        s.proof_header["jwk"]["x"] = json!(encoded(&[7; 31]));
    }),
    ("R-A-06", "an Ed25519 key that is too long", Refused(ProofKey), |s, _| {
        as_if(s, "EdDSA", "EdDSA");
        s.proof_header["jwk"]["x"] = json!(encoded(&[7; 33]));
    }),
    ("R-A-06", "an RSA key of 1024 bits", Refused(ProofKey), |s, _| {
        as_if(s, "PS256", "PS256");
        s.proof_header["jwk"]["n"] = json!(encoded(&[0xc5; 128]));
    }),
    ("R-A-06", "an RSA key of 2047 bits", Refused(ProofKey), |s, _| {
        as_if(s, "PS256", "PS256");
        s.proof_header["jwk"]["n"] = json!(encoded(&[0x45; 256]));
    }),
    ("R-A-06", "an RSA key that is dear to use", Refused(ProofKey), |s, _| {
        as_if(s, "PS256", "PS256");
        s.proof_header["jwk"]["n"] = json!(encoded(&[0xc5; 1024]));
    }),
    ("R-A-06", "e is 1", Refused(ProofKey), |s, _| exponent(s, "AQ")),
    ("R-A-06", "e is even", Refused(ProofKey), |s, _| exponent(s, "AQAA")),
    ("R-A-06", "e is zero", Refused(ProofKey), |s, _| exponent(s, "AA")),
    ("R-A-06", "e is empty", Refused(ProofKey), |s, _| exponent(s, "")),
    ("R-G-06", "e with a leading zero", Refused(ProofKey), |s, _| exponent(s, "AAEAAQ")),
    ("R-A-06", "e of 16 bytes", Refused(ProofKey), |s, _| exponent(s, "_____________________w")),
    ("R-G-06", "n with a leading zero", Refused(ProofKey), |s, _| {
        as_if(s, "PS256", "PS256");
        let n = crate::signer::decoded(s.proof_header["jwk"]["n"].as_str().expect("text"));
        s.proof_header["jwk"]["n"] = json!(encoded(&[&[0], &n[..]].concat()));
    }),
    ("R-A-06", "no n", Refused(ProofKey), |s, _| {
        as_if(s, "PS256", "PS256");
        s.proof_header["jwk"].as_object_mut().expect("an object").remove("n");
    }),
];

/// A proof by a key for `made`, which says it is `said`.
fn as_if(s: &mut Scene, made: &'static str, said: &str) {
    hold_new(s, made);
    s.proof_header["alg"] = json!(said);
}

fn hold_new(s: &mut Scene, algorithm: &'static str) {
    // RSA keys take long to make; one serves every row.
    static RSA: std::sync::LazyLock<Signer> = std::sync::LazyLock::new(|| Signer::new("PS256"));
    let signer = match algorithm {
        "PS256" | "PS384" | "PS512" | "RS256" | "RS384" | "RS512" => RSA.renamed(algorithm),
        other => Signer::new(other),
    };
    hold(s, &signer);
}

fn exponent(s: &mut Scene, e: &str) {
    as_if(s, "PS256", "PS256");
    s.proof_header["jwk"]["e"] = json!(e);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_keys_that_do_not_fit() {
    play(&House::usual().await, ROWS).await;
}

/// T-ALG-07: what everybody knows is no secret.
#[tokio::test(flavor = "multi_thread")]
async fn macs_with_a_public_secret() {
    let house = House::usual().await;
    let algorithms =
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
    for (name, algorithm) in algorithms {
        let mut scene = Scene::right(&house);
        let jwk = scene.proof_header["jwk"].to_string();
        scene.proof_header["alg"] = json!(name);
        for secret in
            [jwk.clone().into_bytes(), Vec::new(), b"secret".to_vec(), crate::signer::decoded("AAAA")]
        {
            scene.edit_proof = Box::new(move |proof| mac(&proof, algorithm, &secret));
            hear(&house, &scene, name, Refused(ProofAlg)).await;
        }
    }
}

/// T-ALG-13, RFC 9864: one key, two names, one thumbprint.
#[tokio::test(flavor = "multi_thread")]
async fn ed25519_under_both_names() {
    let house = House::usual().await;
    let key = Signer::new("EdDSA");
    for (name, member) in
        [("EdDSA", None), ("Ed25519", None), ("EdDSA", Some("Ed25519")), ("Ed25519", Some("EdDSA"))]
    {
        let mut scene = Scene::right(&house);
        hold(&mut scene, &key.renamed(name));
        assert_eq!(scene.token_claims["cnf"]["jkt"], key.jkt());
        if let Some(member) = member {
            scene.proof_header["jwk"]["alg"] = json!(member);
        }
        hear(&house, &scene, name, Passed).await;
    }
}

/// T-ALG-01, -02, -03, -14, -15, -17, R-C-04, T-BND-20: what the challenge lists is what passes, in every configuration; and a signature with one
/// bit changed passes in none.
#[tokio::test(flavor = "multi_thread")]
async fn the_challenge_lists_what_is_accepted() {
    let lists = [
        ("", "ES256 ES384 PS256 EdDSA Ed25519"),
        ("dpop: { algorithms: [RS256, PS512, ES512] }\n", "RS256 PS512 ES512"),
        ("dpop: { algorithms: [Ed25519] }\n", "EdDSA Ed25519"),
        ("dpop: { algorithms: [RS512, RS384, PS384, ES256] }\n", "RS512 RS384 PS384 ES256"),
    ];
    for (rules, expected) in lists {
        let house = House::built(Plan { rules, ..Plan::default() }).await;
        // Past the second of the start, whose proofs are refused.
        house.pass_time(1);
        let mut bare = Scene::right(&house);
        bare.credentials = Some(Vec::new());
        let answer = hear(&house, &bare, "bare", Refused(CredentialsMissing)).await;
        let challenge = answer.all("www-authenticate")[0].to_owned();
        let algs = challenge
            .strip_prefix("DPoP algs=\"")
            .and_then(|rest| rest.strip_suffix('"'))
            .expect("algs alone");
        assert_eq!(algs, expected);
        for name in NAMES {
            let listed = algs.split(' ').any(|alg| alg == name);
            let mut scene = Scene::right(&house);
            match name {
                "ES256K" | "ESP256" | "ESB256" => as_if(&mut scene, "ES256", name),
                "Ed448" => as_if(&mut scene, "Ed448", name),
                "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87" => {
                    scene.proof_header["alg"] = json!(name);
                    scene.proof_header["jwk"] =
                        json!({"kty": "AKP", "alg": name, "pub": encoded(&[7; 1312])});
                }
                "HS256" | "HS384" | "HS512" | "RS1" | "none" | "dir" => {
                    scene.proof_header["alg"] = json!(name)
                }
                _ => hold_new(&mut scene, name),
            }
            hear(&house, &scene, name, if listed { Passed } else { Refused(ProofAlg) }).await;
            if listed {
                scene.proof_claims["jti"] = json!("another");
                let sign = std::mem::replace(&mut scene.edit_proof, Box::new(|proof| proof));
                scene.edit_proof = Box::new(move |proof| {
                    resign(&sign(proof), |mut signature| {
                        *signature.last_mut().expect("a byte") ^= 1;
                        signature
                    })
                });
                hear(&house, &scene, name, Refused(ProofSignature)).await;
            }
        }
    }
}
