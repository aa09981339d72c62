//! Tokens that only their issuer can read: asked about, judged as JWTs are, and remembered for a while (RFC 7662).

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast::caller::key::{DpopKey, random_base64url};
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};

use crate::asked::{AskedIssuer, Said};
use crate::house::{House, ISSUER, Plan};
use crate::scene::{Scene, thumbprint};
use crate::scripted::nobody;
use crate::sealed;
use crate::table::{Heard, hear};

/// Everything that a form and a header spell otherwise.
const SECRET: &str = "p:w %+";

async fn house(issuer: &AskedIssuer, more: &str) -> House {
    let issuer = issuer.configuration(more);
    House::built(Plan { issuer, files: vec![("client-secret", format!("{SECRET}\n"))], ..Plan::default() })
        .await
}

async fn usual() -> (AskedIssuer, House) {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let house = house(&issuer, "      cache_inactive: 0s\n      timeout: 2s\n").await;
    (issuer, house)
}

/// What the issuer says of the scene's token: what would be in it, were it a JWT.
pub fn active(scene: &Scene) -> Value {
    let mut answer = scene.token_claims.clone();
    answer["active"] = json!(true);
    answer["token_type"] = json!(if scene.scheme == "DPoP" { "DPoP" } else { "Bearer" });
    answer
}

/// The right scene with a token that says nothing.
pub fn opaque(mut scene: Scene) -> Scene {
    let token = format!("op.a~que/{}==", random_base64url::<16>().expect("randomness"));
    scene.edit_token = Box::new(move |_| token.clone());
    scene
}

fn token_of(scene: &Scene, house: &House) -> String {
    scene.credentials(house)[0].1.split(' ').next_back().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_passes_and_the_question_says_what_it_must() {
    let (issuer, house) = usual().await;
    for scene in [Scene::right(&house), Scene::with_certificate(&house)] {
        let scene = opaque(scene);
        issuer.say(Said::Json(active(&scene)));
        let answer = scene.send(&house).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = house.seen();
        assert_eq!(seen[0].headers["x-auth-subject"], "alice");
        assert_eq!(seen[0].headers["x-auth-issuer"], ISSUER);
        assert!(!seen[0].headers.contains_key("authorization"));

        let heard = issuer.heard();
        let [question] = &heard[..] else { panic!("one question: {heard:?}") };
        assert_eq!(question.path, "POST /introspect");
        let expected = [("token", token_of(&scene, &house)), ("token_type_hint", "access_token".into())];
        assert_eq!(question.form, expected.map(|(name, value)| (name.to_owned(), value)));
        // RFC 6749 §2.3.1: both are form-encoded before they are joined.
        let basic = format!("Basic {}", STANDARD.encode("gate%3Away:p%3Aw+%25%2B"));
        assert_eq!(question.headers["authorization"], basic);
        assert_eq!(question.headers["accept"], "application/json");
        assert_eq!(question.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(question.headers["host"], issuer.address.to_string());
        // R-B-07.
        assert!(!question.headers.contains_key("dpop"));
    }
    // JWTs of the same issuer work as ever, and it is not asked about them.
    assert_eq!(Scene::right(&house).send(&house).await.status, 200);
    let mut forged = Scene::right(&house);
    forged.token_header["kid"] = json!("two");
    assert_eq!(forged.send(&house).await.reason(), TokenKeyUnknown.label());
    assert!(issuer.heard().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_in_the_form() {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let house = house(&issuer, "      authentication: client_secret_post\n").await;
    let scene = opaque(Scene::right(&house));
    issuer.say(Said::Json(active(&scene)));
    assert_eq!(scene.send(&house).await.status, 200);
    let question = issuer.heard().remove(0);
    assert!(!question.headers.contains_key("authorization"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(question.form[2..], [pair("client_id", "gate:way"), pair("client_secret", SECRET)]);
}

type Change = fn(&mut Value, &House);

/// T-INT-02 to T-INT-08, R-I-02, R-I-03, R-B-05, R-B-06: one thing wrong in the answer, and 401 as for a JWT.
const ANSWERS: &[(&str, Rejection, Change)] = &[
    ("inactive", TokenInactive, |a, _| a["active"] = json!(false)),
    ("inactive and nothing else", TokenInactive, |a, _| *a = json!({"active": false})),
    ("active is a string", TokenActivityUnclear, |a, _| a["active"] = json!("true")),
    ("active is 1", TokenActivityUnclear, |a, _| a["active"] = json!(1)),
    ("active is missing", TokenActivityUnclear, |a, _| remove(a, "active")),
    ("another issuer", TokenIssuer, |a, _| a["iss"] = json!("https://as.example.com/")),
    ("expired", TokenExpired, |a, house| a["exp"] = json!(house.now() - 5)),
    ("not yet", TokenNotYetValid, |a, house| a["nbf"] = json!(house.now() + 6)),
    ("no end", TokenClaimMissing, |a, _| remove(a, "exp")),
    ("an end that is no number", TokenMalformed, |a, _| a["exp"] = json!("2038")),
    ("another audience", TokenAudience, |a, _| a["aud"] = json!("https://other.example.com")),
    ("no audience", TokenClaimMissing, |a, _| remove(a, "aud")),
    ("no cnf", TokenTypeMismatch, |a, _| remove(a, "cnf")),
    ("neither cnf nor type", TokenUnbound, |a, _| {
        remove(a, "cnf");
        remove(a, "token_type");
    }),
    ("a cnf nobody can check", TokenConfirmation, |a, _| a["cnf"] = json!({"kid": "x"})),
    ("another key", KeyMismatch, |a, _| {
        a["cnf"]["jkt"] = json!(DpopKey::generate().expect("a key").thumbprint().to_base64url());
    }),
    ("bound, and called Bearer", TokenTypeMismatch, |a, _| a["token_type"] = json!("Bearer")),
    ("a refresh token", TokenTypeMismatch, |a, _| a["token_type"] = json!("refresh_token")),
    ("a certificate beside the key", CertificateMissing, |a, house| {
        a["cnf"]["x5t#S256"] = json!(thumbprint(house, 0));
    }),
];

fn remove(answer: &mut Value, name: &str) {
    answer.as_object_mut().expect("an object").remove(name);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_issuer_says_is_judged_as_a_jwt_is() {
    let (issuer, house) = usual().await;
    for (what, rejection, change) in ANSWERS {
        let scene = opaque(Scene::right(&house));
        let mut answer = active(&scene);
        change(&mut answer, &house);
        issuer.say(Said::Json(answer));
        hear(&house, &scene, what, Heard::Refused(*rejection)).await;
        assert_eq!(issuer.heard().len(), 1, "{what}");
    }
    let mut scene = opaque(Scene::right(&house));
    scene.go_to("/scoped");
    let mut answer = active(&scene);
    answer["scope"] = json!("accounts:readall accounts:write");
    issuer.say(Said::Json(answer));
    hear(&house, &scene, "a scope that only looks alike", Heard::Refused(ScopeInsufficient)).await;
}

/// R-I-02, R-I-05: no answer that can be used, and 503: the token may be good. Nothing is followed, and no half of an answer is taken.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_gives_no_answer() {
    let elsewhere = AskedIssuer::start(Said::Nothing).await;
    let (issuer, house) = usual().await;
    let scene = opaque(Scene::right(&house));
    let good = active(&scene);
    elsewhere.say(Said::Json(good.clone()));
    let (json, text) = ("application/json", good.to_string());
    let twice = text.replacen('{', "{\"active\":false,", 1);
    let huge = format!("{}{}", " ".repeat(50 << 20), text);
    let to = format!("http://{}/introspect", elsewhere.address);
    for (what, said, rejection) in [
        ("HTML", Said::Raw(200, "text/html", text.clone()), IntrospectionMalformed),
        ("not JSON", Said::Raw(200, json, "active=true".into()), IntrospectionMalformed),
        ("two values", Said::Raw(200, json, twice), IntrospectionMalformed),
        ("an array", Said::Raw(200, json, format!("[{text}]")), IntrospectionMalformed),
        ("nothing", Said::Raw(200, json, String::new()), IntrospectionMalformed),
        ("50 MB", Said::Raw(200, json, huge), IntrospectionTooLarge),
        ("late", Said::Nothing, IntrospectionTooSlow),
        ("201", Said::Raw(201, json, text.clone()), IntrospectionRefused),
        ("a redirect", Said::Raw(307, json, to.clone()), IntrospectionRefused),
        ("a redirect to itself", Said::Raw(302, json, "/introspect".into()), IntrospectionRefused),
        ("401", Said::Raw(401, json, text.clone()), IntrospectionRefused),
        ("500", Said::Raw(500, json, text.clone()), IntrospectionRefused),
    ] {
        issuer.say(said);
        let answer = hear(&house, &scene, what, Heard::Refused(rejection)).await;
        assert!(answer.one("retry-after").parse::<u64>().is_ok(), "{what}");
        assert_eq!(issuer.heard().len(), 1, "{what}");
        // A good answer in between, so that the endpoint is not left alone for its failures.
        let other = opaque(Scene::right(&house));
        issuer.say(Said::Json(active(&other)));
        hear(&house, &other, "a good one", Heard::Passed).await;
        issuer.heard();
    }
    assert!(elsewhere.heard().is_empty());
    let parameter = Said::Raw(200, "Application/JSON; charset=utf-8", text);
    issuer.say(parameter);
    hear(&house, &scene, "a parameter", Heard::Passed).await;
}

/// T-INT-12: what is remembered is the token. Who may present it is looked at each time.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_and_the_proof_is_not() {
    let (issuer, house) = usual().await;
    let mut scene = opaque(Scene::right(&house));
    issuer.say(Said::Json(active(&scene)));
    let again =
        |scene: &mut Scene| scene.proof_claims["jti"] = json!(random_base64url::<16>().expect("randomness"));
    for _ in 0..3 {
        again(&mut scene);
        hear(&house, &scene, "the same token", Heard::Passed).await;
    }
    hear(&house, &scene, "the same proof", Heard::Refused(ProofReplayed)).await;
    again(&mut scene);
    let holder = std::mem::replace(&mut scene.key, DpopKey::generate().expect("a key"));
    let jwk: Value = serde_json::from_str(&scene.key.public_jwk()).expect("a JWK");
    let own = std::mem::replace(&mut scene.proof_header["jwk"], jwk);
    hear(&house, &scene, "a thief's key", Heard::Refused(KeyMismatch)).await;
    (scene.key, scene.proof_header["jwk"]) = (holder, own);
    assert_eq!(issuer.heard().len(), 1);
    // Revoked: not before the answer's time is over, and then at once.
    issuer.say(Said::Json(json!({"active": false})));
    house.pass_time(30);
    scene.proof_claims["iat"] = json!(house.now());
    again(&mut scene);
    hear(&house, &scene, "revoked", Heard::Refused(TokenInactive)).await;
}

/// R-I-06: what is no token68 or too long is refused without a question.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_not_asked_about() {
    let (issuer, house) = usual().await;
    for (token, rejection) in [
        ("a b", TokenMalformed),
        ("\"x\"", TokenMalformed),
        ("e30.x", TokenMalformed),
        ("e30.e30.e30.e30.e30", TokenMalformed),
    ] {
        let mut scene = Scene::right(&house);
        scene.edit_token = Box::new(move |_| token.to_owned());
        hear(&house, &scene, token, Heard::Refused(rejection)).await;
    }
    let mut long = Scene::right(&house);
    long.edit_token = Box::new(|_| "x".repeat(17_000));
    hear(&house, &long, "17 KB", Heard::Refused(TokenTooLarge)).await;
    assert!(issuer.heard().is_empty());
}

/// What only an issuer that is asked can make of a request, for `refusals.rs`.
pub async fn every_refusal(heard: &mut HashSet<Rejection>) {
    let issuer = AskedIssuer::start(Said::Nothing).await;
    let more = "      cache_inactive: 0s\n      timeout: 200ms\n      rate: 1000\n";
    let asking = house(&issuer, more).await;
    let scene = opaque(Scene::right(&asking));
    let (good, json) = (active(&scene), "application/json");
    let with = |name: &str, value: Value| {
        let mut answer = good.clone();
        answer[name] = value;
        Said::Json(answer)
    };
    for (rejection, said) in [
        (TokenInactive, with("active", json!(false))),
        (TokenActivityUnclear, with("active", json!("true"))),
        (TokenTypeMismatch, with("token_type", json!("Bearer"))),
        (IntrospectionTooSlow, Said::Nothing),
        (IntrospectionRefused, Said::Raw(503, json, String::new())),
        (IntrospectionTooLarge, Said::Raw(200, json, " ".repeat(70_000))),
        (IntrospectionMalformed, Said::Raw(200, json, "{".into())),
    ] {
        issuer.say(said);
        hear(&asking, &scene, rejection.label(), Heard::Refused(rejection)).await;
        heard.insert(rejection);
    }
    // The last four have failed; one more, and the endpoint is left alone.
    hear(&asking, &scene, "the fifth", Heard::Refused(IntrospectionMalformed)).await;
    hear(&asking, &scene, "left alone", Heard::Refused(IntrospectionPaused)).await;
    heard.insert(IntrospectionPaused);

    sealed::every_refusal(heard).await;
    let gone = AskedIssuer { address: nobody().await, ..issuer };
    let house = house(&gone, "      rate: 1\n").await;
    hear(&house, &scene_for(&house), "nobody there", Heard::Refused(IntrospectionUnreachable)).await;
    hear(&house, &scene_for(&house), "one in a second", Heard::Refused(IntrospectionBusy)).await;
    heard.extend([IntrospectionUnreachable, IntrospectionBusy]);
}

fn scene_for(house: &House) -> Scene {
    opaque(Scene::right(house))
}
