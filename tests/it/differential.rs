//! Second opinions: signatures by josekit (OpenSSL) and p256, `htu` by the plain reading of RFC 3986 in `rfc3986`.
//!
//! Whatever the input, two implementations must agree; where one of them accepts what the other does not, somebody can sign in two ways.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use holdfast::verify::algorithm::Algorithm;
use holdfast::verify::htu::{self, Origin, Path};
use holdfast::verify::json::Object;
use holdfast::verify::jwk::PublicKey;
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use josekit::jwk::alg::ed::EdCurve;
use josekit::jws::{
    ES256, ES384, ES512, EdDSA, JwsSigner, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512,
};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::ops::Neg;
use proptest::prelude::*;

use crate::rfc3986;

const MESSAGE: &[u8] = b"eyJ0eXAiOiJkcG9wK2p3dCJ9.e30";

/// One algorithm's key pair, as josekit holds it.
struct Opinion {
    algorithm: Algorithm,
    jwk: Jwk,
    signer: Box<dyn JwsSigner>,
    verifier: Box<dyn JwsVerifier>,
}

macro_rules! opinion {
    ($algorithm:ident, $josekit:expr, $jwk:expr) => {{
        let jwk: Jwk = $jwk;
        Opinion {
            algorithm: Algorithm::$algorithm,
            signer: Box::new($josekit.signer_from_jwk(&jwk).expect("a signer")),
            verifier: Box::new($josekit.verifier_from_jwk(&jwk).expect("a verifier")),
            jwk,
        }
    }};
}

fn opinions() -> Vec<Opinion> {
    let ec = |curve| Jwk::generate_ec_key(curve).expect("a key");
    let rsa = Jwk::generate_rsa_key(2048).expect("a key");
    vec![
        opinion!(Es256, ES256, ec(EcCurve::P256)),
        opinion!(Es384, ES384, ec(EcCurve::P384)),
        opinion!(Es512, ES512, ec(EcCurve::P521)),
        opinion!(Ps256, PS256, rsa.clone()),
        opinion!(Ps384, PS384, rsa.clone()),
        opinion!(Ps512, PS512, rsa.clone()),
        opinion!(Rs256, RS256, rsa.clone()),
        opinion!(Rs384, RS384, rsa.clone()),
        opinion!(Rs512, RS512, rsa),
        opinion!(EdDsa, EdDSA, Jwk::generate_ed_key(EdCurve::Ed25519).expect("a key")),
    ]
}

fn public_key(jwk: &Jwk, algorithm: Algorithm) -> PublicKey {
    let mut public = jwk.to_public_key().expect("a public key");
    // josekit puts `use` and `key_ops` of the private key on it.
    for name in ["use", "key_ops", "alg"] {
        public.set_parameter(name, None).expect("a member");
    }
    let text = serde_json::to_string(&public).expect("JSON");
    PublicKey::read(&Object::read(text.as_bytes()).expect("JSON"), algorithm).expect("a key that fits")
}

/// r ‖ s as a DER sequence of two integers, which JWS never has.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let mut bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        if bytes.first().is_none_or(|byte| *byte >= 0x80) {
            bytes.insert(0, 0);
        }
        [vec![2, bytes.len() as u8], bytes].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let body = [integer(r), integer(s)].concat();
    let head =
        if body.len() < 0x80 { vec![0x30, body.len() as u8] } else { vec![0x30, 0x81, body.len() as u8] };
    [head, body].concat()
}

/// What a signature can be turned into. None of these is one, except the first.
fn variants(signature: &[u8]) -> Vec<(String, Vec<u8>)> {
    let length = signature.len();
    let mut variants = vec![
        ("valid".to_owned(), signature.to_vec()),
        ("empty".to_owned(), Vec::new()),
        ("all zero".to_owned(), vec![0; length]),
        ("all one".to_owned(), vec![0xff; length]),
        ("truncated".to_owned(), signature[..length - 1].to_vec()),
        ("half".to_owned(), signature[..length / 2].to_vec()),
        ("one byte more".to_owned(), [signature, &[0]].concat()),
        ("one byte before".to_owned(), [&[0], signature].concat()),
        ("twice".to_owned(), [signature, signature].concat()),
        ("r zero".to_owned(), [&vec![0; length / 2], &signature[length / 2..]].concat()),
        ("s zero".to_owned(), [&signature[..length / 2], &vec![0; length - length / 2]].concat()),
        ("halves exchanged".to_owned(), [&signature[length / 2..], &signature[..length / 2]].concat()),
        ("DER".to_owned(), der(signature)),
    ];
    for bit in (0..length * 8).step_by(37) {
        let mut flipped = signature.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        variants.push((format!("bit {bit} flipped"), flipped));
    }
    variants
}

/// Every algorithm: josekit and we say the same of a signature, of what is nearly one, and of another message.
#[test]
fn signatures_by_josekit() {
    for Opinion { algorithm, jwk, signer, verifier } in opinions() {
        let key = public_key(&jwk, algorithm);
        let signature = signer.sign(MESSAGE).expect("a signature");
        let other = [MESSAGE, b"x"].concat();
        for (what, signature) in variants(&signature) {
            let ours = key.verify(algorithm, MESSAGE, &signature).is_ok();
            assert_eq!(ours, verifier.verify(MESSAGE, &signature).is_ok(), "{algorithm}: {what}");
            assert_eq!(ours, what == "valid", "{algorithm}: {what}");
            assert!(
                key.verify(algorithm, &other, &signature).is_err(),
                "{algorithm}: {what}, another message"
            );
        }
        if algorithm == Algorithm::EdDsa {
            assert_eq!(
                key.verify(Algorithm::Ed25519, MESSAGE, &signature),
                Ok(()),
                "RFC 9864: the same signature"
            );
        }
        for another in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let same = matches!(another, Algorithm::Ed25519) && algorithm == Algorithm::EdDsa;
            assert_eq!(key.verify(another, MESSAGE, &signature).is_ok(), same, "{algorithm} as {another}");
        }
    }
}

/// ES256 in all directions: signed by each of p256, josekit and aws-lc-rs, judged by all three.
#[test]
fn es256_by_three_libraries() {
    let jwk = Jwk::generate_ec_key(EcCurve::P256).expect("a key");
    let ours = public_key(&jwk, Algorithm::Es256);
    let PublicKey::Ec { point, .. } = &ours else { panic!("an EC key") };
    let josekit = ES256.verifier_from_jwk(&jwk).expect("a verifier");
    let p256_key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).expect("a point on the curve");

    let d = jwk.parameter("d").and_then(|d| d.as_str()).expect("a private key");
    let d = holdfast::verify::jws::from_base64url(d).expect("base64url");
    let p256_signer = p256::ecdsa::SigningKey::from_slice(&d).expect("a scalar");
    let aws = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, point)
        .expect("a key pair");
    assert_eq!(aws.public_key().as_ref(), point);

    let by_p256: p256::ecdsa::Signature = p256_signer.sign(MESSAGE);
    // The other s of the same signature: it verifies as well, which is why replay is judged by `jti` and never by the signature (T-PRF-36).
    let malleated =
        p256::ecdsa::Signature::from_scalars(by_p256.r().to_bytes(), by_p256.s().neg().to_bytes())
            .expect("scalars");
    let signatures = [
        ("p256", by_p256.to_bytes().to_vec()),
        ("p256, the other s", malleated.to_bytes().to_vec()),
        ("josekit", ES256.signer_from_jwk(&jwk).expect("a signer").sign(MESSAGE).expect("a signature")),
        ("aws-lc-rs", aws.sign(&SystemRandom::new(), MESSAGE).expect("a signature").as_ref().to_vec()),
    ];
    for (signer, signature) in signatures {
        for (what, signature) in variants(&signature) {
            let by_p256 = p256::ecdsa::Signature::from_slice(&signature)
                .is_ok_and(|signature| p256_key.verify(MESSAGE, &signature).is_ok());
            let by_ours = ours.verify(Algorithm::Es256, MESSAGE, &signature).is_ok();
            let by_josekit = josekit.verify(MESSAGE, &signature).is_ok();
            let expected = what == "valid";
            assert_eq!((by_ours, by_p256, by_josekit), (expected, expected, expected), "{signer}: {what}");
        }
    }
}

/// A request's path, and a claim made of pieces that nearly name it: half of them do.
fn request_and_claim() -> impl Strategy<Value = (String, String)> {
    let origin = prop_oneof![
        20 => Just("https://a.example"),
        3 => Just("HTTPS://A.Example:443"),
        3 => Just("https://a.example:"),
        1 => Just("https://a.example:00443"),
        1 => Just("https://a.example:000443"),
        1 => Just("https://a.example:80"),
        1 => Just("https://a.example:65536"),
        1 => Just("https://a.example:+443"),
        1 => Just("https://a.example."),
        1 => Just("https://u@a.example"),
        1 => Just("https://a%2eexample"),
        1 => Just("https://b.example"),
        1 => Just("https://"),
        1 => Just("http://a.example:443"),
        1 => Just("ftp://a.example"),
        1 => Just("https:/a.example"),
        1 => Just("//a.example"),
        2 => Just("https://[0:0:0::1]"),
        1 => Just("https://[::1"),
    ];
    let tail = prop_oneof![
        6 => Just(""),
        1 => Just("?q=/../x"),
        1 => Just("#f"),
        1 => Just("?"),
        1 => Just("? "),
        1 => Just("#é"),
        1 => Just("/."),
        1 => Just("/x/.."),
    ];
    (raw_path(), prop::option::weighted(0.3, raw_path()), origin, tail).prop_map(
        |(path, other, origin, tail)| {
            let claim = format!("{origin}{}{tail}", other.as_ref().unwrap_or(&path));
            (path, claim)
        },
    )
}

fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => Just("/"), 4 => Just("a"), 2 => Just("b"), 1 => Just("."), 1 => Just(".."), 1 => Just("/../"), 1 => Just("%61"),
        1 => Just("%2e"), 1 => Just("%2F"), 1 => Just("%2f"), 1 => Just("%7E"), 1 => Just("~"), 1 => Just(";v=1"), 1 => Just("%c3%b1"),
        1 => Just("%zz"), 1 => Just("%"), 1 => Just(" "), 1 => Just("\\"), 1 => Just("é"), 1 => Just("%00"), 1 => Just("A"),
    ];
    prop_oneof![1 => Just(String::new()), 9 => prop::collection::vec(piece, 0..7).prop_map(|p| format!("/{}", p.concat()))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A claim names the request exactly when both URIs have one normal form.
    #[test]
    fn htu_by_the_plain_reading(
        (path, claim) in request_and_claim(), origin in prop_oneof![9 => Just("https://a.example"), 1 => Just("https://[::1]")],
    ) {
        let Ok(path) = Path::read(&path) else { return Ok(()) };
        let origin = Origin::read(origin).expect("an origin");
        let request = rfc3986::normal(&format!("{origin}{}", path.as_str()));
        // The request's path is in normal form already.
        prop_assert_eq!(request.as_ref().map(|(_, _, _, path)| path.as_str()), Some(path.as_str()));
        let expected = rfc3986::normal(&claim) == request;
        prop_assert_eq!(htu::matches(&claim, &origin, &path), expected, "{} for {}{}", claim, origin, path.as_str());
    }

    /// The same from the other end: of a request's URI the two agree on every spelling, and most are not vacuous.
    #[test]
    fn htu_of_the_request_itself(path in raw_path(), upper in any::<bool>(), dots in any::<bool>()) {
        let Ok(read) = Path::read(&path) else { return Ok(()) };
        let origin = Origin::read("https://a.example").expect("an origin");
        let host = if upper { "HTTPS://A.EXAMPLE:443" } else { "https://a.example" };
        let claim = format!("{host}{}{path}", if dots { "/x/.." } else { "" });
        prop_assert!(htu::matches(&claim, &origin, &read), "{}", claim);
        prop_assert_eq!(rfc3986::normal(&claim), rfc3986::normal(&format!("https://a.example{}", read.as_str())));
    }
}
