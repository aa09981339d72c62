//! What an issuer signs or encrypts for the gateway: answers to introspection (RFC 9701), and access tokens (RFC 9068 §4).

use std::collections::HashSet;

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{self, *};
use josekit::jwe::{self, ECDH_ES, ECDH_ES_A256KW, JweEncrypter, JweHeader};
use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use serde_json::{Value, json};

use crate::asked::{AskedIssuer, Said};
use crate::house::{House, ISSUER, Plan};
use crate::introspection::{active, opaque};
use crate::scene::Scene;
use crate::signer::Signer;
use crate::table::{Heard, hear, heard};

const TYPE: &str = "application/token-introspection+jwt";
const ENCRYPTION: &str = "    encryption: { keys: [{ key: { file: next.pem }, id: next }, { key: { file: decryption.pem }, id: ours }], tokens: optional }\n";

/// A key of the gateway's, or of someone else's.
fn new_key() -> EcKeyPair {
    EcKeyPair::generate(EcCurve::P256).expect("a key")
}

fn pem(key: &EcKeyPair) -> String {
    String::from_utf8(key.to_pem_private_key()).expect("PEM")
}

fn seal_by(text: &str, encrypter: &dyn JweEncrypter, header: &Value) -> String {
    let header = JweHeader::from_bytes(header.to_string().as_bytes()).expect("a header");
    jwe::serialize_compact(text.as_bytes(), &header, encrypter).expect("a JWE")
}

/// What is encrypted to `key`.
fn seal(text: &str, key: &EcKeyPair, header: &Value) -> String {
    seal_by(text, &ECDH_ES.encrypter_from_jwk(&key.to_jwk_public_key()).expect("a key"), header)
}

fn plain() -> Value {
    json!({"enc": "A256GCM", "cty": "JWT"})
}

fn plain_with(name: &str, value: Value) -> Value {
    let mut header = plain();
    header[name] = value;
    header
}

async fn house_of(issuer: &AskedIssuer, form: &str, more: &str, key: &EcKeyPair) -> House {
    let more = format!(
        "      client_secret: {{ file: client-secret }}\n      answer: {form}\n      cache_inactive: 0s\n{more}"
    );
    let files = vec![
        ("client-secret", "secret".to_owned()),
        ("decryption.pem", pem(key)),
        ("next.pem", pem(&new_key())),
    ];
    House::built(Plan { issuer: issuer.configured("http", &more), files, ..Plan::default() }).await
}

/// An answer that is right in everything.
struct Signed {
    header: Value,
    claims: Value,
}

impl Signed {
    fn right(house: &House, scene: &Scene) -> Self {
        Self {
            header: json!({"typ": "token-introspection+jwt", "alg": "ES256", "kid": "one"}),
            claims: json!({"iss": ISSUER, "aud": "gate:way", "iat": house.now(), "token_introspection": active(scene)}),
        }
    }

    fn by(&self, signer: &Signer) -> String {
        signer.sign(self.header.to_string().as_bytes(), self.claims.to_string().as_bytes())
    }
}

type Break = fn(&mut Signed);

const UNTRUSTED: Heard = Heard::Refused(IntrospectionUntrusted);

/// T-INT-15, R-I-07: what is broken in an answer, and what is heard.
const ANSWERS: &[(&str, Heard, Break)] = &[
    ("right", Heard::Passed, |_| {}),
    ("typ JWT", UNTRUSTED, |a| a.header["typ"] = json!("JWT")),
    ("none", UNTRUSTED, |a| a.header["alg"] = json!("none")),
    ("for another client", UNTRUSTED, |a| a.claims["aud"] = json!("other")),
    ("of an impostor", UNTRUSTED, |a| a.claims["iss"] = json!("https://evil.example")),
    ("an old one", UNTRUSTED, |a| {
        a.claims["iat"] = json!(a.claims["iat"].as_i64().unwrap_or_default() - 66);
    }),
    ("an unknown key", UNTRUSTED, |a| a.header["kid"] = json!("two")),
    ("inactive", Heard::Refused(TokenInactive), |a| {
        a.claims["token_introspection"]["active"] = json!(false);
    }),
    ("active outside", Heard::Refused(TokenActivityUnclear), |a| {
        a.claims["active"] = json!(true);
        a.claims["token_introspection"] = json!({});
    }),
    ("bound to another key", Heard::Refused(KeyMismatch), |a| {
        let other = DpopKey::generate().expect("a key").thumbprint().to_base64url();
        a.claims["token_introspection"]["cnf"]["jkt"] = json!(other);
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_signed() {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let house = house_of(&issuer, "jwt", "", &new_key()).await;
    let signer = Signer::es256(&house.issuer);
    for (what, expected, break_it) in ANSWERS {
        let scene = opaque(Scene::right(&house));
        let mut answer = Signed::right(&house, &scene);
        break_it(&mut answer);
        issuer.say(Said::Raw(200, TYPE, answer.by(&signer)));
        hear(&house, &scene, what, *expected).await;
        assert_eq!(issuer.heard().remove(0).headers["accept"], TYPE, "{what}");
        // A good one in between, so that the endpoint is not left alone for its failures.
        let other = opaque(Scene::right(&house));
        issuer.say(Said::Raw(200, TYPE, Signed::right(&house, &other).by(&signer)));
        hear(&house, &other, "a good one", Heard::Passed).await;
        issuer.heard();
    }
    let scene = opaque(Scene::right(&house));
    let right = Signed::right(&house, &scene);
    let malformed = Heard::Refused(IntrospectionMalformed);
    let json = active(&scene);
    for (what, said, expected) in [
        ("another signer", Said::Raw(200, TYPE, right.by(&Signer::new("ES256"))), UNTRUSTED),
        ("plain JSON", Said::Json(json.clone()), malformed),
        ("plain JSON that is called a JWT", Said::Raw(200, TYPE, json.to_string()), malformed),
        ("called JSON", Said::Raw(200, "application/json", right.by(&signer)), malformed),
    ] {
        issuer.say(said);
        hear(&house, &scene, what, expected).await;
    }
    // T-INT-16, R-I-08: such an answer is no access token, whatever is in it.
    let mut scene = Scene::right(&house);
    let mut answer = Signed::right(&house, &scene);
    for (name, value) in scene.token_claims.as_object().expect("an object") {
        answer.claims[name] = value.clone();
    }
    let token = answer.by(&signer);
    scene.edit_token = Box::new(move |_| token.clone());
    issuer.heard();
    hear(&house, &scene, "an answer as a token", Heard::Refused(TokenTyp)).await;
    assert!(issuer.heard().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_encrypted() {
    let (issuer, key) = (AskedIssuer::start(Said::Nothing).await, new_key());
    let house = house_of(&issuer, "encrypted-jwt", ENCRYPTION, &key).await;
    let scene = opaque(Scene::right(&house));
    let signed = Signed::right(&house, &scene).by(&Signer::es256(&house.issuer));
    // It names its key, since the gateway has two.
    let plain = || plain_with("kid", json!("ours"));
    let plain_with = |name: &str, value: Value| {
        let mut header = plain();
        header[name] = value;
        header
    };
    let unsigned = seal(&active(&scene).to_string(), &key, &plain());
    for (what, answer, expected) in [
        ("only signed", signed.clone(), UNTRUSTED),
        ("zip", seal(&signed, &key, &plain_with("zip", json!("DEF"))), UNTRUSTED),
        ("to someone else", seal(&signed, &new_key(), &plain()), UNTRUSTED),
        ("not signed", unsigned, Heard::Refused(IntrospectionMalformed)),
        ("encrypted and signed", seal(&signed, &key, &plain()), Heard::Passed),
    ] {
        issuer.say(Said::Raw(200, TYPE, answer));
        hear(&house, &scene, what, expected).await;
    }
}

/// A house that is given a key to decrypt tokens with.
async fn decrypting(tokens: &str, key: &EcKeyPair) -> House {
    let issuer = format!(
        "    keys: {{ jwks_file: issuer.jwks.json }}
    encryption: {{ keys: [{{ key: {{ file: decryption.pem }}, id: ours }}], tokens: {tokens} }}\n"
    );
    let files = vec![("decryption.pem", pem(key))];
    House::built(Plan { issuer: issuer.leak(), files, ..Plan::default() }).await
}

/// The right scene, its token made another by `edit`.
fn scene_of(house: &House, edit: impl Fn(String) -> String + Send + Sync + 'static) -> Scene {
    let mut scene = Scene::right(house);
    scene.edit_token = Box::new(edit);
    scene
}

/// The right scene, its token encrypted to `key`.
fn sealed(house: &House, key: &EcKeyPair, header: Value) -> Scene {
    let key = key.clone();
    scene_of(house, move |token| seal(&token, &key, &header))
}

/// Encryption differs each time, so the proof is made for the very bytes that are sent.
async fn play(house: &House, scene: &Scene, what: &str, expected: Heard) {
    let bytes = scene.bytes(house);
    let answer = scene.send_bytes(house, &bytes).await;
    heard(house, scene, &answer, what, expected);
}

/// RFC 9068 §4, R-H-15, R-H-16, T-JWT-20 to T-JWT-22.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_encrypted() {
    let key = new_key();
    let house = decrypting("required", &key).await;
    let named = json!({"enc": "A128CBC-HS256", "cty": "JWT", "typ": "at+jwt", "kid": "ours"});
    play(&house, &sealed(&house, &key, named), "named", Heard::Passed).await;
    play(&house, &sealed(&house, &key, plain()), "not named", Heard::Passed).await;
    let public = key.to_jwk_public_key();
    let wrapped = scene_of(&house, move |token| {
        seal_by(&token, &ECDH_ES_A256KW.encrypter_from_jwk(&public).expect("a key"), &plain())
    });
    play(&house, &wrapped, "a wrapped key", Heard::Passed).await;

    let refused = Heard::Refused(TokenUndecryptable);
    for (what, scene) in [
        ("zip", sealed(&house, &key, plain_with("zip", json!("DEF")))),
        ("a kid that is not ours", sealed(&house, &key, plain_with("kid", json!("theirs")))),
        ("something else inside", sealed(&house, &key, plain_with("cty", json!("text")))),
        ("to someone else", sealed(&house, &new_key(), plain())),
        ("no JWE", scene_of(&house, |token| format!("{token}.AA.AA"))),
    ] {
        play(&house, &scene, what, refused).await;
    }
    play(&house, &Scene::right(&house), "not encrypted", Heard::Refused(TokenUnencrypted)).await;
    // Where some are, both work; where none are, nothing inside is looked at.
    let house = decrypting("optional", &key).await;
    play(&house, &Scene::right(&house), "not encrypted, and need not be", Heard::Passed).await;
    play(&house, &sealed(&house, &key, plain()), "encrypted", Heard::Passed).await;
    let house = House::usual().await;
    let malformed = Heard::Refused(TokenMalformed);
    play(&house, &sealed(&house, &key, plain()), "nobody here decrypts", malformed).await;
}

/// The same rules for what is inside: anyone can encrypt.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_inside_is_judged_as_ever() {
    let key = new_key();
    let house = decrypting("required", &key).await;
    let mut expired = sealed(&house, &key, plain());
    expired.token_claims["exp"] = json!(house.now() - 5);
    play(&house, &expired, "expired", Heard::Refused(TokenExpired)).await;
    let mut stolen = sealed(&house, &key, plain());
    let other = DpopKey::generate().expect("a key").thumbprint().to_base64url();
    stolen.token_claims["cnf"]["jkt"] = json!(other);
    play(&house, &stolen, "bound to another key", Heard::Refused(KeyMismatch)).await;
    let (own, stranger) = (key.clone(), Signer::new("ES256"));
    let forged = scene_of(&house, move |token| seal(&stranger.respell(&token, |_, _| {}), &own, &plain()));
    play(&house, &forged, "signed by a stranger", Heard::Refused(TokenSignature)).await;
    let own = key.clone();
    let twice = scene_of(&house, move |token| seal(&seal(&token, &own, &plain()), &own, &plain()));
    play(&house, &twice, "encrypted twice", Heard::Refused(TokenMalformed)).await;
    let unsigned = scene_of(&house, move |_| seal("{\"active\":true}", &key, &plain()));
    play(&house, &unsigned, "not signed", Heard::Refused(TokenMalformed)).await;
}

/// For `refusals.rs`.
pub async fn every_refusal(told: &mut HashSet<Rejection>) {
    let (issuer, key) = (AskedIssuer::start(Said::Raw(200, TYPE, "e30.e30.AA".into())).await, new_key());
    let asking = house_of(&issuer, "jwt", "", &key).await;
    play(&asking, &opaque(Scene::right(&asking)), "no answer of the issuer's", UNTRUSTED).await;
    let house = decrypting("required", &key).await;
    play(&house, &Scene::right(&house), "not encrypted", Heard::Refused(TokenUnencrypted)).await;
    let scene = scene_of(&house, |_| "e30.a.b.c.d".to_owned());
    play(&house, &scene, "no key", Heard::Refused(TokenUndecryptable)).await;
    told.extend([IntrospectionUntrusted, TokenUnencrypted, TokenUndecryptable]);
}
