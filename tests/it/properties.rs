//! Every parser: any bytes are answered without a panic, and what is printed is read back as the same.

use holdfast::verify::algorithm::Algorithm;
use holdfast::verify::confirmation::Confirmation;
use holdfast::verify::credential::Presented;
use holdfast::verify::digest::{Certificate, Digest, Key};
use holdfast::verify::htu::{self, Authority, Origin, Path, Scheme};
use holdfast::verify::json::{Object, Value};
use holdfast::verify::jwk::{Curve, PublicKey};
use holdfast::verify::jws::{self, Compact};
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::time::UnixTime;
use http::HeaderValue;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::presented::Request;

const NOW: i64 = 1_700_000_000;

/// JSON values that the strict reader takes: no NUL, numbers that a double holds exactly.
fn json_value() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-(1_i64 << 53)..1 << 53).prop_map(Json::from),
        any::<i32>().prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
        "[^\0]{0,12}".prop_map(Json::from),
    ];
    scalar.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Json::from),
            btree_map("[^\0]{0,8}", inner, 0..8)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

fn json_object() -> impl Strategy<Value = Json> {
    btree_map("[^\0]{0,8}", json_value(), 0..40)
        .prop_map(|members| Json::Object(members.into_iter().collect()))
}

/// What the strict reader read, as `serde_json` has it.
fn to_json(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Number(number) => json!(number),
        Value::String(text) => json!(text),
        Value::Array(elements) => elements.iter().map(to_json).collect(),
        Value::Object(object) => object_to_json(object),
    }
}

fn object_to_json(object: &Object<'_>) -> Json {
    Json::Object(object.members().map(|(name, value)| (name.to_owned(), to_json(value))).collect())
}

/// Every number as a double, since that is how the strict reader has them.
fn with_doubles(value: &Json) -> Json {
    match value {
        Json::Number(number) => json!(number.as_f64().expect("a double")),
        Json::Array(elements) => elements.iter().map(with_doubles).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), with_doubles(value))).collect()
        }
        Json::Null | Json::Bool(_) | Json::String(_) => value.clone(),
    }
}

fn digest<Of>() -> impl Strategy<Value = Digest<Of>> {
    any::<[u8; 16]>().prop_map(|seed| Digest::of(&seed))
}

/// The required members in lexicographic order (RFC 7638 §3.2).
fn jwk_of(key: &PublicKey) -> Json {
    match key {
        PublicKey::Ec { curve, point } => {
            let (name, half) = match curve {
                Curve::P256 => ("P-256", 32),
                Curve::P384 => ("P-384", 48),
                Curve::P521 => ("P-521", 66),
            };
            let coordinate = |at: usize| jws::to_base64url(&point[at..at + half]);
            json!({"crv": name, "kty": "EC", "x": coordinate(1), "y": coordinate(1 + half)})
        }
        PublicKey::Ed25519(x) => json!({"crv": "Ed25519", "kty": "OKP", "x": jws::to_base64url(x)}),
        PublicKey::Rsa { n, e } => {
            json!({"e": jws::to_base64url(e), "kty": "RSA", "n": jws::to_base64url(n)})
        }
        PublicKey::MlDsa { .. } => unreachable!("none is generated here"),
    }
}

fn public_key() -> impl Strategy<Value = (Algorithm, PublicKey)> {
    prop_oneof![
        any::<[u8; 32]>().prop_filter_map("a scalar", |scalar| {
            let public = p256::SecretKey::from_slice(&scalar).ok()?.public_key();
            let point = public.to_sec1_bytes().to_vec();
            Some((Algorithm::Es256, PublicKey::Ec { curve: Curve::P256, point }))
        }),
        // On these curves the point is looked at when it is used.
        (vec(any::<u8>(), 96), vec(any::<u8>(), 132), any::<bool>()).prop_map(|(p384, p521, larger)| {
            let (algorithm, curve, xy) = if larger {
                (Algorithm::Es512, Curve::P521, p521)
            } else {
                (Algorithm::Es384, Curve::P384, p384)
            };
            (algorithm, PublicKey::Ec { curve, point: [vec![4], xy].concat() })
        }),
        any::<[u8; 32]>().prop_map(|x| (Algorithm::EdDsa, PublicKey::Ed25519(x))),
        (vec(any::<u8>(), 256..=512), 1..1_u32 << 31).prop_map(|(mut n, half)| {
            n[0] |= 0x80;
            let e = (2 * half + 1).to_be_bytes();
            let e = e.iter().copied().skip_while(|byte| *byte == 0).collect();
            (Algorithm::Ps256, PublicKey::Rsa { n, e })
        }),
    ]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_-]{1,10}(\\.[a-z0-9_-]{1,10}){0,3}\\.?",
        any::<[u16; 8]>().prop_map(|segments| { std::net::Ipv6Addr::from(segments).to_string() })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_any_bytes(bytes in vec(any::<u8>(), 0..400), like_json in "[\\[\\]{}\":,0-9eE.\\\\ untrfalsx+-]{0,200}") {
        let _ = Object::read(&bytes);
        // The strict reader takes nothing that the usual one does not.
        if let Some(object) = Object::read(like_json.as_bytes()) {
            let usual: Json = serde_json::from_str(&like_json).expect("what the strict reader took");
            prop_assert_eq!(object_to_json(&object), with_doubles(&usual));
        }
    }

    #[test]
    fn json_is_read_as_printed(value in json_object(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let object = Object::read(text.as_bytes()).expect("what was printed");
        prop_assert_eq!(object_to_json(&object), with_doubles(&value));
        let more = text + "x";
        prop_assert!(Object::read(more.as_bytes()).is_none());
    }

    #[test]
    fn a_repeated_member_is_never_read(value in json_object(), pick in any::<prop::sample::Index>()) {
        let members = value.as_object().expect("an object");
        prop_assume!(!members.is_empty());
        let name = members.keys().nth(pick.index(members.len())).expect("one of them");
        let text = value.to_string();
        let twice = format!("{},{}:0}}", text.strip_suffix('}').expect("the end"), json!(name));
        prop_assert!(Object::read(twice.as_bytes()).is_none(), "{twice}");
    }

    #[test]
    fn jws_of_any_text(text in any::<String>(), like_jws in "[A-Za-z0-9_.=+/-]{0,120}") {
        for text in [&text, &like_jws] {
            if let Some(jws) = Compact::read(text) {
                let _ = (jws.header(), jws.claims());
                let again = format!("{}.{}", jws.signing_input, jws::to_base64url(&jws.signature));
                prop_assert_eq!(&again, text, "one spelling only");
            }
            if let Some(bytes) = jws::from_base64url(text) {
                prop_assert_eq!(&jws::to_base64url(&bytes), text, "one spelling only");
            }
        }
    }

    #[test]
    fn jws_is_read_as_printed(header in json_object(), claims in json_object(), signature in vec(any::<u8>(), 1..200)) {
        let part = |bytes: &[u8]| jws::to_base64url(bytes);
        let (head, body) = (part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()));
        let text = format!("{head}.{body}.{}", part(&signature));
        let jws = Compact::read(&text).expect("what was printed");
        prop_assert_eq!(&jws.signature, &signature);
        prop_assert_eq!(jws.signing_input, format!("{head}.{body}"));
        prop_assert_eq!(jws.header().as_ref().map(object_to_json), Some(with_doubles(&header)));
        prop_assert_eq!(jws.claims().as_ref().map(object_to_json), Some(with_doubles(&claims)));
    }

    /// Members of the right names and any values: a key or none, never a panic, also when it then verifies something.
    #[test]
    fn jwk_of_any_members(
        kty in "EC|RSA|OKP|oct|[a-zA-Z]{0,4}", crv in "P-256|P-384|P-521|Ed25519|X25519|[A-Za-z0-9-]{0,6}",
        values in vec(prop_oneof![vec(any::<u8>(), 0..70).prop_map(|b| json!(jws::to_base64url(&b))), json_value()], 4),
        signature in vec(any::<u8>(), 0..140),
    ) {
        let jwk = json!({
            "kty": kty, "crv": crv, "x": values[0], "y": values[1], "n": values[2], "e": values[3],
        }).to_string();
        let jwk = Object::read(jwk.as_bytes()).expect("JSON");
        for algorithm in Algorithm::ALL {
            if let Some(key) = PublicKey::read(&jwk, algorithm) {
                let _ = key.thumbprint();
                prop_assert!(key.verify(algorithm, b"message", &signature).is_err());
            }
        }
    }

    #[test]
    fn jwk_is_read_as_printed((algorithm, key) in public_key(), signature in vec(any::<u8>(), 0..140)) {
        let mut jwk = jwk_of(&key);
        let text = jwk.to_string();
        let read = PublicKey::read(&Object::read(text.as_bytes()).expect("JSON"), algorithm);
        prop_assert_eq!(read.as_ref(), Some(&key));
        // RFC 7638 §3: the thumbprint is over exactly these members in this order, without white space.
        prop_assert_eq!(key.thumbprint(), Digest::of(text.as_bytes()));
        prop_assert!(key.verify(algorithm, b"message", &signature).is_err());
        jwk["d"] = Json::Null;
        let private = jwk.to_string();
        prop_assert!(PublicKey::has_private_member(&Object::read(private.as_bytes()).expect("JSON")));
    }

    #[test]
    fn paths_of_any_text(text in any::<String>(), like_path in "/([a-z.;%2e5cfFE/]|%[0-9a-fA-F]{2}){0,24}") {
        for text in [text, like_path] {
            if let Ok(path) = Path::read(&text) {
                // Normal already: reading again changes nothing, and `htu` of that path names it.
                let again = Path::read(path.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&path));
                let origin = Origin::read("https://a").expect("an origin");
                let claim = format!("https://a{text}");
                prop_assert!(htu::matches(&claim, &origin, &path));
                let raw = path.as_str().as_bytes();
                prop_assert!(raw.iter().all(|byte| byte.is_ascii_graphic() && !b"\\?#\"<>".contains(byte)));
            }
        }
    }

    #[test]
    fn authorities_of_any_text(text in any::<String>(), like_host in "[a-z0-9._:@%\\[\\]-]{0,30}") {
        for text in [text, like_host] {
            // An origin may have one `/` behind its authority, which is no part of that.
            let authority = Authority::read(text.strip_suffix('/').unwrap_or(&text));
            prop_assert_eq!(authority.is_some(), Origin::read(&format!("https://{text}")).is_some(), "{}", text);
            prop_assert!(authority.is_none_or(|authority| !authority.host.contains(['/', '@', '?', '#', '\\', '%'])));
        }
    }

    #[test]
    fn origins_are_read_as_printed(host in host(), port in any::<Option<u16>>(), https in any::<bool>()) {
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        let origin = Origin::new(scheme, &Authority { host, port });
        prop_assert_eq!(Origin::read(&origin.to_string()), Some(origin.clone()));
        let authority = Authority::read(origin.authority()).expect("what goes in Host");
        prop_assert!(origin.is_at(&authority));
    }

    #[test]
    fn htu_of_any_text(claim in any::<String>(), like_uri in "(https?://a)?[a-z0-9:/?#@.%\\[\\] ;-]{0,40}") {
        let (origin, path) = (Origin::read("https://a").expect("an origin"), Path::read("/b").expect("a path"));
        for claim in [claim, like_uri] {
            if htu::matches(&claim, &origin, &path) {
                prop_assert!(claim.to_ascii_lowercase().starts_with("https://a"), "{}", claim);
            }
        }
    }

    #[test]
    fn credentials_of_any_bytes(
        authorization in vec(vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'.')], 0..80), 0..3),
        scheme in "(DPoP |Bearer |dpop|)", proofs in vec(vec(any::<u8>(), 0..80), 0..3), query in any::<Option<String>>(),
    ) {
        let header = |bytes: &[u8]| HeaderValue::from_bytes(bytes).is_ok();
        let mut request = Request::new("GET", "https://a/b");
        for line in &authorization {
            let line = [scheme.as_bytes(), line].concat();
            request = if header(&line) { request.authorization(&line) } else { request };
        }
        for line in proofs.iter().filter(|line| header(line)) {
            request = request.proof(line);
        }
        if let Some(query) = query {
            request = request.query(&query);
        }
        // A proof of random bytes is none.
        if let Ok(presented) = request.read(NOW) {
            let beside = proofs.iter().any(|line| header(line));
            let is_so = match presented {
                Presented::Bearer { .. } => !beside,
                Presented::BearerBesideProof { .. } => beside,
                Presented::Dpop { proof, .. } => proof.is_err(),
            };
            prop_assert!(is_so);
        }
    }

    #[test]
    fn credentials_are_read_as_printed(token in "[A-Za-z0-9._~+/-]{1,200}={0,2}", dpop in any::<bool>(), spaces in 1..4_usize) {
        let scheme = if dpop { "dPoP" } else { "bEARER" };
        let line = format!("{scheme}{}{token}", " ".repeat(spaces));
        let request = Request::new("GET", "https://a/b").authorization(line.as_bytes()).proof(b"a.b.c");
        let presented = request.read(NOW).expect("one token68");
        prop_assert_eq!(presented.token().text(), &token);
        prop_assert_eq!(presented.token().digest(), Digest::of(token.as_bytes()));
        prop_assert_eq!(matches!(presented, Presented::Dpop { .. }), dpop);
        let printed = format!("{presented:?}");
        prop_assert!(token.len() < 8 || !printed.contains(&token), "a token is never printed");
    }

    #[test]
    fn nonces_of_any_text(text in any::<String>(), like_nonce in "[A-Za-z0-9_-]{32}", jkt in digest::<Key>(), now in 0..1_i64 << 40) {
        let ring = NonceRing::new(&[7; 32], &[[8; 32]], 300);
        for text in [text, like_nonce] {
            prop_assert!(ring.open(&text, jkt, UnixTime::from_seconds(now)).is_none());
        }
    }

    #[test]
    fn nonces_open_as_sealed(jkt in digest::<Key>(), at in 0..1_i64 << 40, later in 0..8_000_i64, lifetime in 1..3_600_i64) {
        let ring = NonceRing::new(&[7; 32], &[], lifetime);
        let (sealed, now) = (UnixTime::from_seconds(at), UnixTime::from_seconds(at + later));
        let nonce = ring.seal(jkt, sealed);
        match ring.open(nonce.as_str(), jkt, now) {
            Some(opened) => {
                prop_assert_eq!(opened.sealed, sealed);
                // The claim's last second is the nonce's: it opens then, and not a second later.
                prop_assert!(now <= opened.until && later < 2 * lifetime);
                prop_assert!(ring.open(nonce.as_str(), jkt, opened.until).is_some());
                prop_assert!(ring.open(nonce.as_str(), jkt, opened.until.plus(1)).is_none());
            }
            None => prop_assert!(later > lifetime, "good for one lifetime at least"),
        }
    }

    #[test]
    fn confirmations_of_any_members(cnf in json_value(), member in "jkt|x5t#S256|kid") {
        for cnf in [json!({"cnf": cnf}), json!({"cnf": {member: cnf}})] {
            let text = cnf.to_string();
            let read = Confirmation::read(&Object::read(text.as_bytes()).expect("JSON"));
            prop_assert!(read.is_err(), "{} is nothing we can check: {:?}", text, read);
        }
    }

    #[test]
    fn confirmations_are_read_as_printed(
        key in prop::option::of(digest::<Key>()), certificate in prop::option::of(digest::<Certificate>()), more in json_object(),
    ) {
        let mut cnf = more;
        if let Some(key) = key {
            cnf["jkt"] = json!(key.to_string());
        }
        if let Some(certificate) = certificate {
            cnf["x5t#S256"] = json!(certificate.to_string());
        }
        let text = json!({"cnf": cnf}).to_string();
        let read = Confirmation::read(&Object::read(text.as_bytes()).expect("JSON")).ok();
        let expected = match (key, certificate) {
            (Some(key), Some(certificate)) => Some(Confirmation::Both(key, certificate)),
            (Some(key), None) => Some(Confirmation::Key(key)),
            (None, Some(certificate)) => Some(Confirmation::Certificate(certificate)),
            (None, None) => None,
        };
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn digests_have_one_spelling(digest in digest::<Key>(), text in "[A-Za-z0-9_-]{43}") {
        prop_assert_eq!(Digest::from_base64url(&digest.to_string()), Some(digest));
        if let Some(read) = Digest::<Key>::from_base64url(&text) {
            prop_assert_eq!(read.to_string(), text);
        }
    }
}
