//! Real keys, texts sealed by josekit, and what anyone can do to them.

use josekit::jwe::{self, A256KW, Dir, ECDH_ES_A128KW, JweEncrypter, PBES2_HS256_A128KW, RSA_OAEP, enc};
use josekit::jwk::Jwk;
use serde_json::{Value, json};

use super::*;
use crate::verify::jws::to_base64url;

const TEXT: &str = "e30.e30.AA";

fn seal(header: &Value, encrypter: &dyn JweEncrypter) -> String {
    let header = JweHeader::from_bytes(header.to_string().as_bytes()).unwrap();
    jwe::serialize_compact(TEXT.as_bytes(), &header, encrypter).unwrap()
}

fn header(enc: &str) -> Value {
    json!({"enc": enc, "cty": "JWT"})
}

fn opened(text: &str, key: &DecryptionKey) -> Option<String> {
    Sealed::read(text)?.open(key).map(|opened| opened.text().to_owned())
}

fn key(jwk: &Jwk) -> DecryptionKey {
    DecryptionKey::new(jwk.clone(), Some("one".into())).unwrap()
}

fn ec() -> Jwk {
    Jwk::generate_ec_key(josekit::jwk::P_256).unwrap()
}

fn rsa() -> Jwk {
    Jwk::generate_rsa_key(2048).unwrap()
}

#[test]
fn every_algorithm_opens() {
    let (rsa, ec, other) = (rsa(), ec(), ec());
    for enc in ["A128GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"] {
        for (jwk, encrypter) in [
            (&rsa, Box::new(RSA_OAEP_256.encrypter_from_jwk(&rsa).unwrap()) as Box<dyn JweEncrypter>),
            (&ec, Box::new(ECDH_ES.encrypter_from_jwk(&ec).unwrap())),
            (&ec, Box::new(ECDH_ES_A256KW.encrypter_from_jwk(&ec).unwrap())),
        ] {
            let sealed = seal(&header(enc), &*encrypter);
            assert_eq!(
                opened(&sealed, &key(jwk)).as_deref(),
                Some(TEXT),
                "{enc} {}",
                encrypter.algorithm().name()
            );
            assert_eq!(opened(&sealed, &key(&other)), None);
        }
    }
    for curve in [josekit::jwk::P_384, josekit::jwk::P_521] {
        let jwk = Jwk::generate_ec_key(curve).unwrap();
        let sealed = seal(&header("A256GCM"), &ECDH_ES.encrypter_from_jwk(&jwk).unwrap());
        assert_eq!(opened(&sealed, &key(&jwk)).as_deref(), Some(TEXT));
    }
}

/// R-H-16, T-JWT-21: what is not on the list is not opened, and costs nothing.
#[test]
fn what_is_not_taken() {
    let (rsa, ec, oct) = (rsa(), ec(), Jwk::generate_oct_key(32).unwrap());
    let password = PBES2_HS256_A128KW.encrypter_from_bytes(b"password").unwrap();
    #[expect(deprecated, reason = "it is what must not be taken")]
    let rsa1_5 = jwe::RSA1_5.encrypter_from_jwk(&rsa).unwrap();
    let others: [Box<dyn JweEncrypter>; 6] = [
        Box::new(RSA_OAEP.encrypter_from_jwk(&rsa).unwrap()),
        Box::new(rsa1_5),
        Box::new(password),
        Box::new(A256KW.encrypter_from_jwk(&oct).unwrap()),
        Box::new(Dir.encrypter_from_jwk(&oct).unwrap()),
        Box::new(ECDH_ES_A128KW.encrypter_from_jwk(&ec).unwrap()),
    ];
    for encrypter in others {
        assert!(
            Sealed::read(&seal(&header("A256GCM"), &*encrypter)).is_none(),
            "{}",
            encrypter.algorithm().name()
        );
    }
    let encrypter = ECDH_ES.encrypter_from_jwk(&ec).unwrap();
    for (name, value) in [
        ("zip", json!("DEF")),
        ("cty", json!("json")),
        ("cty", json!(1)),
        ("enc", json!("A192GCM")),
        ("kid", json!("x".repeat(257))),
    ] {
        let mut header = header("A256GCM");
        header[name] = value.clone();
        let sealed = seal_or_forge(&header, &encrypter);
        assert!(Sealed::read(&sealed).is_none(), "{name}: {value}");
    }
    for (name, value) in [
        ("crit", json!(["x"])),
        ("p2c", json!(2_147_483_647)),
        ("p2s", json!("AA")),
        ("alg", json!("PBES2-HS256+A128KW")),
        ("alg", json!("none")),
    ] {
        let sealed =
            with_header(&seal(&header("A256GCM"), &encrypter), |header| header[name] = value.clone());
        assert!(Sealed::read(&sealed).is_none(), "{name}: {value}");
    }
    let sealed = seal(&header("A256GCM"), &encrypter);
    assert!(
        Sealed::read(&with_header(&sealed, |header| drop(header.as_object_mut().unwrap().remove("cty"))))
            .is_none()
    );
    for text in
        ["", "....", &format!("{sealed}."), &format!("{sealed}.AA"), "e30.e30.e30.e30.e30", &".".repeat(9999)]
    {
        assert!(Sealed::read(text).is_none(), "{text}");
    }
}

fn seal_or_forge(header: &Value, encrypter: &dyn JweEncrypter) -> String {
    let parsed = JweHeader::from_bytes(header.to_string().as_bytes());
    let sealed =
        parsed.ok().and_then(|parsed| jwe::serialize_compact(TEXT.as_bytes(), &parsed, encrypter).ok());
    sealed.unwrap_or_else(|| {
        with_header(&seal(&self::header("A256GCM"), encrypter), |own| {
            for (name, value) in header.as_object().unwrap() {
                own[name] = value.clone();
            }
        })
    })
}

fn with_header(sealed: &str, edit: impl FnOnce(&mut Value)) -> String {
    let (protected, rest) = sealed.split_once('.').unwrap();
    let mut header: Value = serde_json::from_slice(&from_base64url(protected).unwrap()).unwrap();
    edit(&mut header);
    format!("{}.{rest}", to_base64url(header.to_string().as_bytes()))
}

/// Every byte of every part is covered, and no length of any part does harm: josekit's unwrapping would panic, and GCM would take a short tag.
#[test]
fn nothing_can_be_changed() {
    let ec = ec();
    let key = key(&ec);
    for enc in ["A128GCM", "A128CBC-HS256"] {
        let sealed = seal(&header(enc), &ECDH_ES_A256KW.encrypter_from_jwk(&ec).unwrap());
        assert!(opened(&sealed, &key).is_some());
        let parts: Vec<Vec<u8>> = sealed.split('.').map(|part| from_base64url(part).unwrap()).collect();
        let joined =
            |parts: &[Vec<u8>]| parts.iter().map(|part| to_base64url(part)).collect::<Vec<_>>().join(".");
        for at in 1..5 {
            for length in 0..parts[at].len() + 20 {
                let mut cut = parts.clone();
                cut[at].resize(length, 7);
                assert_eq!(
                    opened(&joined(&cut), &key).is_some(),
                    length == parts[at].len(),
                    "{enc} {at} {length}"
                );
            }
            for byte in 0..parts[at].len() {
                let mut flipped = parts.clone();
                flipped[at][byte] ^= 1;
                assert_eq!(opened(&joined(&flipped), &key), None, "{enc} {at} {byte}");
            }
        }
        let respelled = with_header(&sealed, |header| header["more"] = json!(1));
        assert!(Sealed::read(&respelled).is_some());
        assert_eq!(opened(&respelled, &key), None);
    }
}

/// RFC 7518 §4.6: where the agreed key is the content's own, there is no other beside it, and nothing in its place is looked at.
#[test]
fn a_key_beside_the_agreed_one() {
    let ec = ec();
    let sealed = seal(&header("A256GCM"), &ECDH_ES.encrypter_from_jwk(&ec).unwrap());
    let beside = sealed.replacen("..", &format!(".{}.", to_base64url(&[7; 40])), 1);
    assert!(opened(&sealed, &key(&ec)).is_some());
    assert!(!Sealed::read(&beside).unwrap().fits(&key(&ec)));
    assert_eq!(opened(&beside, &key(&ec)), None);
}

/// The key that the sender made for the agreement is read by josekit: whatever it is, nothing opens and nothing panics.
#[test]
fn keys_for_the_agreement() {
    let ec = ec();
    let sealed = seal(&header("A256GCM"), &ECDH_ES.encrypter_from_jwk(&ec).unwrap());
    for epk in [
        json!(null),
        json!({}),
        json!({"kty": "EC", "crv": "P-256"}),
        json!({"kty": "EC", "crv": "P-256", "x": "", "y": ""}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43)}),
        json!({"kty": "EC", "crv": "P-256", "x": to_base64url(&[1; 32]), "y": to_base64url(&[1; 32])}),
        json!({"kty": "EC", "crv": "P-384", "x": to_base64url(&[1; 48]), "y": to_base64url(&[1; 48])}),
        json!({"kty": "OKP", "crv": "X25519", "x": to_base64url(&[9; 32])}),
        json!({"kty": 1, "crv": "P-256", "x": 2, "y": []}),
    ] {
        let forged = with_header(&sealed, |header| header["epk"] = epk.clone());
        assert_eq!(opened(&forged, &key(&ec)), None, "{epk}");
    }
}

#[test]
fn one_key_is_chosen() {
    let (ec, other) = (ec(), ec());
    let with_kid = |kid: &str| {
        let mut header = header("A256GCM");
        header["kid"] = json!(kid);
        seal(&header, &ECDH_ES.encrypter_from_jwk(&ec).unwrap())
    };
    assert!(opened(&with_kid("one"), &key(&ec)).is_some());
    assert!(opened(&with_kid("two"), &key(&ec)).is_none());
    assert!(opened(&with_kid("two"), &DecryptionKey::new(ec.clone(), None).unwrap()).is_some());
    assert!(!Sealed::read(&with_kid("two")).unwrap().fits(&key(&other)));
    for unfit in [
        Jwk::generate_rsa_key(1024).unwrap(),
        Jwk::generate_oct_key(32).unwrap(),
        Jwk::generate_ed_key(josekit::jwk::Ed25519).unwrap(),
    ] {
        assert!(DecryptionKey::new(unfit, None).is_none());
    }
    assert_eq!(format!("{:?}", key(&ec)), "DecryptionKey(…)");
    assert_eq!(enc::A128GCM.key_len(), Content::A128Gcm.lengths().0);
}
