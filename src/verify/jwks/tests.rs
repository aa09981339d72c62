use serde_json::{Value, json};

use super::signing::{SigningKey, claims, key_set};
use super::{KID_BYTES, KeyError, KeySet, NotAKeySet, PassedOver};
use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::json::Object;
use crate::verify::jwk::PublicKey;
use crate::verify::jws::{Compact, to_base64url};

fn all() -> Algorithms {
    Algorithms::new(&Algorithm::ALL)
}

fn read(keys: &[Value]) -> (KeySet, PassedOver) {
    KeySet::read(key_set(keys).as_bytes(), &all()).unwrap()
}

fn verify(set: &KeySet, kid: Option<&str>, algorithm: Algorithm, token: &str) -> Result<(), KeyError> {
    let jws = Compact::read(token).unwrap();
    set.verify(kid, algorithm, jws.signing_input.as_bytes(), &jws.signature)
}

/// Every algorithm, against an independent verifier: aws-lc-rs, and p256 for ES256. They agree on what is right and on what is not.
#[test]
fn josekit_agrees_with_aws_lc_and_p256() {
    let rsa = SigningKey::new(Algorithm::Ps256, "k");
    for algorithm in Algorithm::ALL {
        let key = match algorithm.name().as_bytes() {
            [b'P' | b'R', ..] => SigningKey::of(rsa.private(), algorithm, "k"),
            _ => SigningKey::new(algorithm, "k"),
        };
        let (set, passed_over) = read(&[key.public()]);
        assert_eq!(passed_over, PassedOver::default(), "{algorithm}");
        let jwk = key.public().to_string();
        let independent = PublicKey::read(&Object::read(jwk.as_bytes()).unwrap(), algorithm).unwrap();
        let token = key.token(&claims());
        let jws = Compact::read(&token).unwrap();
        let (message, signature) = (jws.signing_input.as_bytes(), jws.signature.as_slice());

        let length = signature.len();
        let changed = |at: usize, bit: u8| {
            let mut signature = signature.to_vec();
            signature[at] ^= bit;
            signature
        };
        let mut cases = vec![
            signature.to_vec(),
            changed(0, 1),
            changed(0, 0x80),
            changed(length / 2, 1),
            changed(length - 1, 1),
            changed(length - 1, 0x80),
            signature[..length - 1].to_vec(),
            [signature, &[0]].concat(),
            [&[0], signature].concat(),
            vec![0; length],
            vec![0xff; length],
            vec![0],
        ];
        // The halves of r‖s, each zero or put in the other's place, and the whole as DER.
        cases.push([&signature[length / 2..], &signature[..length / 2]].concat());
        cases.push([&vec![0; length / 2], &signature[length / 2..]].concat());
        cases.push([&signature[..length / 2], &vec![0; length - length / 2]].concat());
        if algorithm == Algorithm::Es256 {
            let der = p256::ecdsa::Signature::from_slice(signature).unwrap().to_der();
            cases.push(der.as_bytes().to_vec());
        }
        for (number, case) in cases.iter().enumerate() {
            let ours = set.verify(Some("k"), algorithm, message, case).is_ok();
            let theirs = independent.verify(algorithm, message, case).is_ok();
            assert_eq!(ours, theirs, "{algorithm}, signature {number}");
            assert_eq!(ours, number == 0, "{algorithm}, signature {number}");
            if algorithm == Algorithm::Es256 {
                assert_eq!(ours, p256_verifies(&key.public(), message, case), "p256, signature {number}");
            }
        }
        let other = [message, b"A"].concat();
        assert_eq!(
            set.verify(Some("k"), algorithm, &other, signature),
            Err(KeyError::Signature),
            "{algorithm}"
        );
        assert!(independent.verify(algorithm, &other, signature).is_err(), "{algorithm}");
    }
}

fn p256_verifies(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    use p256::ecdsa::signature::Verifier as _;
    let coordinate = |name: &str| crate::verify::jws::from_base64url(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    p256::ecdsa::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// R-H-06: both names of Ed25519, whichever the key has.
#[test]
fn ed25519_under_both_names() {
    let key = SigningKey::new(Algorithm::EdDsa, "k");
    let token = key.token(&claims());
    for alg in ["EdDSA", "Ed25519"] {
        let mut jwk = key.public();
        jwk["alg"] = json!(alg);
        let (set, _) =
            KeySet::read(key_set(&[jwk]).as_bytes(), &Algorithms::new(&[Algorithm::EdDsa])).unwrap();
        assert_eq!(set.len(), 1);
        assert_eq!(verify(&set, Some("k"), Algorithm::EdDsa, &token), Ok(()), "{alg}");
        assert_eq!(verify(&set, Some("k"), Algorithm::Ed25519, &token), Ok(()), "{alg}");
    }
}

/// T-JWK-09, T-JWT-17, R-H-09: what cannot be used is passed over and counted, and the rest is used.
#[test]
fn unusable_keys_are_passed_over() {
    let good = SigningKey::new(Algorithm::Es256, "good");
    let with = |name: &str, value: Value| {
        let mut jwk = good.public();
        jwk[name] = value;
        jwk
    };
    let short = josekit::jwk::Jwk::generate_rsa_key(1024).unwrap();
    let secret = [
        json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "good"}),
        with("d", json!("x")),
        with("d", Value::Null),
    ];
    let other_use = [
        with("use", json!("enc")),
        with("use", json!("wrong")),
        with("key_ops", json!(["encrypt"])),
        with("key_ops", json!("verify")),
    ];
    let unfit = [
        json!("not a key"),
        json!({}),
        json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": "AA", "kid": "new"}),
        json!({"kty": "OKP", "crv": "Ed448", "x": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": to_base64url(&[9; 32])}),
        with("crv", json!("secp256k1")),
        with("crv", json!("P-384")),
        with("alg", json!("ES384")),
        with("alg", json!("HS256")),
        with("alg", json!(256)),
        with("x", json!(to_base64url(&[1; 32]))),
        with("x", json!("AA")),
        with("kid", json!(5)),
        with("kid", json!("k".repeat(KID_BYTES + 1))),
        json!({"kty": "RSA", "n": short.parameter("n"), "e": short.parameter("e")}),
    ];
    let mut keys = [secret.as_slice(), &other_use, &unfit].concat();
    let counted = PassedOver { secret: secret.len(), other_use: other_use.len(), unfit: unfit.len() };
    assert_eq!(
        KeySet::read(key_set(&keys).as_bytes(), &all()).unwrap_err(),
        NotAKeySet::NoUsableKey(counted)
    );
    keys.push(with("x5c", json!(["AA"])));
    let (set, passed_over) = read(&keys);
    assert_eq!((set.len(), passed_over), (1, counted));
    assert_eq!(passed_over.total(), keys.len() - 1);
    assert_eq!(verify(&set, Some("good"), Algorithm::Es256, &good.token(&claims())), Ok(()));
}

/// A point off its curve is no key: for P-384 and P-521 it is OpenSSL that says so.
#[test]
fn points_off_their_curve() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let mut jwk = SigningKey::new(algorithm, "k").public();
        jwk["y"] = jwk["x"].clone();
        assert!(KeySet::read(key_set(&[jwk]).as_bytes(), &all()).is_err(), "{algorithm}");
    }
}

#[test]
fn what_is_no_key_set() {
    let key = SigningKey::new(Algorithm::Es256, "k").public().to_string();
    for text in [
        String::new(),
        "<html>".into(),
        "[]".into(),
        "{}".into(),
        r#"{"keys":{}}"#.into(),
        format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#),
        format!(r#"{{"keys":[{}]}}"#, key.replacen('{', r#"{"kid":"other","#, 1)),
        format!(r#"{{"keys":[{key}]}} {{}}"#),
    ] {
        assert_eq!(KeySet::read(text.as_bytes(), &all()), Err(NotAKeySet::Malformed), "{text}");
    }
    assert_eq!(KeySet::read(br#"{"keys":[]}"#, &all()), Err(NotAKeySet::NoUsableKey(PassedOver::default())));
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 101].join(","));
    assert_eq!(KeySet::read(many.as_bytes(), &all()), Err(NotAKeySet::TooManyKeys));
}

/// T-JWT-16, R-H-09: keys of one name are told apart by what they verify.
#[test]
fn keys_of_one_name() {
    let ec = SigningKey::new(Algorithm::Es256, "same");
    let rsa = SigningKey::new(Algorithm::Ps256, "same");
    let another = SigningKey::new(Algorithm::Es256, "same");
    let (set, _) = read(&[rsa.public(), ec.public(), another.public()]);
    for key in [&ec, &rsa, &another] {
        assert_eq!(verify(&set, Some("same"), key.algorithm, &key.token(&claims())), Ok(()));
    }
    assert_eq!(verify(&set, Some("same"), Algorithm::Rs256, &rsa.token(&claims())), Err(KeyError::Unknown));
}

/// R-H-04: a key with `alg` serves that one alone; an RSA key without serves the allowed ones.
#[test]
fn one_key_one_algorithm() {
    let ps = SigningKey::new(Algorithm::Ps256, "k");
    let rs = SigningKey::of(ps.private(), Algorithm::Rs256, "k");
    let (set, _) = read(&[ps.public()]);
    assert_eq!(verify(&set, Some("k"), Algorithm::Ps256, &ps.token(&claims())), Ok(()));
    assert_eq!(verify(&set, Some("k"), Algorithm::Rs256, &rs.token(&claims())), Err(KeyError::Unknown));
    let (set, _) = read(&[ps.bare()]);
    assert_eq!(verify(&set, Some("k"), Algorithm::Ps256, &ps.token(&claims())), Ok(()));
    assert_eq!(verify(&set, Some("k"), Algorithm::Rs256, &rs.token(&claims())), Ok(()));
    assert_eq!(verify(&set, Some("k"), Algorithm::Ps256, &rs.token(&claims())), Err(KeyError::Signature));
    let only_ps = Algorithms::new(&[Algorithm::Ps256]);
    let (set, _) = KeySet::read(key_set(&[ps.bare()]).as_bytes(), &only_ps).unwrap();
    assert_eq!(verify(&set, Some("k"), Algorithm::Rs256, &rs.token(&claims())), Err(KeyError::Unknown));
}

#[test]
fn without_a_kid_few_keys_are_tried_and_with_one_only_its_own() {
    let keys: Vec<SigningKey> =
        (0..5).map(|number| SigningKey::new(Algorithm::Es256, &number.to_string())).collect();
    let public: Vec<Value> = keys.iter().map(SigningKey::public).collect();
    let token = keys[3].token(&claims());
    let (four, _) = read(&public[..4]);
    assert_eq!(verify(&four, None, Algorithm::Es256, &token), Ok(()));
    assert_eq!(verify(&four, Some("3"), Algorithm::Es256, &token), Ok(()));
    assert_eq!(verify(&four, Some("2"), Algorithm::Es256, &token), Err(KeyError::Signature));
    for unknown in ["", "4", "../../etc/passwd", "3\r\n"] {
        assert_eq!(verify(&four, Some(unknown), Algorithm::Es256, &token), Err(KeyError::Unknown));
    }
    assert_eq!(verify(&four, None, Algorithm::Es384, &token), Err(KeyError::Unknown));
    assert_eq!(verify(&four, None, Algorithm::Es256, &keys[4].token(&claims())), Err(KeyError::Signature));
    let (five, _) = read(&public);
    assert_eq!(verify(&five, None, Algorithm::Es256, &token), Err(KeyError::Unknown));
    // A key that is published without a name is not the one a token names.
    let nameless = SigningKey::of(keys[0].private(), Algorithm::Es256, "");
    let (set, _) = read(&[nameless.public()]);
    assert_eq!(verify(&set, None, Algorithm::Es256, &keys[0].token(&claims())), Ok(()));
    assert_eq!(verify(&set, Some("0"), Algorithm::Es256, &keys[0].token(&claims())), Err(KeyError::Unknown));
}

/// What the cache of verified tokens depends on: sets differ when, and only when, some token could be judged differently.
#[test]
fn sets_are_equal_when_their_keys_are() {
    let (a, b) = (SigningKey::new(Algorithm::Es256, "a"), SigningKey::new(Algorithm::Es256, "b"));
    let mut decorated = a.public();
    decorated["x5t"] = json!("AA");
    assert_eq!(read(&[a.public()]).0, read(&[decorated, json!({"kty": "new"})]).0);
    let renamed = SigningKey::of(a.private(), Algorithm::Es256, "c");
    for other in [vec![a.public(), b.public()], vec![b.public()], vec![renamed.public()]] {
        assert_ne!(read(&[a.public()]).0, read(&other).0);
    }
    assert_eq!(format!("{:?}", read(&[a.public()]).0), "KeySet(1 keys)");
}
