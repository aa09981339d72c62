//! Nonces: T-NON, R-D and the nonce cases of T-TIM. The house's clock stands still and is moved to the edges of a nonce's periods.

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use crate::house::{House, NONCE_KEY, OTHER_NONCE_KEY, Plan};
use crate::scene::{Scene, renew, thumbprint};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{hear, heard};
use crate::wire::Answer;

const ROUTES: &str = "  - { name: nonce, match: { path_prefix: /nonce }, upstream: echo, require: { nonce: required } }
  - { name: nonce-scoped, match: { path_prefix: /nonce/scoped }, upstream: echo, require: { nonce: required, scopes: [x] } }
  - { name: nonce-kept, match: { path_prefix: /nonce/kept }, upstream: echo, require: { nonce: required }, forward: { credentials: keep } }
";
/// How long a nonce's period is, in seconds: the default.
const PERIOD: i64 = 300;
const WITH_RING: &str = "dpop: { nonce_keys: { file: ring } }
replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }
";
const WITH_RING_AND_FENCE: &str = "dpop: { nonce_keys: { file: ring } }
replay: { memory: { capacity: 1000, per_key: 500, after_restart: refuse } }
";

fn plan() -> Plan {
    Plan { routes: ROUTES, ..Plan::default() }
}

fn with_ring(rules: &'static str, keys: &[&str]) -> Plan {
    Plan { rules, files: vec![("ring", keys.concat())], ..plan() }
}

/// A scene on a route that requires a nonce, with a token that outlives every clock in here.
fn scene(house: &House) -> Scene {
    let mut scene = Scene::at(house, "/nonce");
    scene.token_claims["exp"] = json!(house.now() + 100_000);
    scene
}

/// Asks for a nonce as a client does.
async fn ask(house: &House, scene: &Scene) -> String {
    let answer = hear(house, scene, "without a nonce", Refused(NonceMissing)).await;
    challenge(&answer).to_owned()
}

/// The nonce of a nonce challenge, whose form is held to R-D-01, R-D-02, R-D-08 and T-NON-01.
fn challenge(answer: &Answer) -> &str {
    let line = answer.one("www-authenticate");
    assert!(line.starts_with("DPoP error=\"use_dpop_nonce\", error_description=\"nonce_"), "{line}");
    assert!(line.ends_with(", algs=\"ES256 ES384 PS256 EdDSA Ed25519\""), "{line}");
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    nonce_of(answer)
}

fn nonce_of(answer: &Answer) -> &str {
    let nonce = answer.one("dpop-nonce");
    let nqchar = |b: u8| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b);
    assert!(!nonce.is_empty() && nonce.bytes().all(nqchar), "{nonce}");
    nonce
}

/// Moves the clock to the first second of a period.
fn to_period_start(house: &House) {
    house.pass_time(PERIOD - house.now().rem_euclid(PERIOD));
}

/// T-NON-01, T-NON-08, R-D-02, R-D-04, R-D-06, T-RPL-11: the whole flow.
#[tokio::test(flavor = "multi_thread")]
async fn asked_for_then_given() {
    let house = House::built(plan()).await;
    let mut scene = scene(&house);
    let nonce = ask(&house, &scene).await;
    // The refused try has not used up its jti.
    scene.proof_claims["nonce"] = json!(nonce);
    let bytes = scene.bytes(&house);
    let answer = scene.send_bytes(&house, &bytes).await;
    heard(&house, &scene, &answer, "with it", Passed);
    assert!(answer.all("dpop-nonce").is_empty(), "the current one needs no successor: {answer:?}");
    // T-NON-19: the same proof, and another with the same jti.
    let answer = scene.send_bytes(&house, &bytes).await;
    heard(&house, &scene, &answer, "again", Refused(ProofReplayed));
    nonce_of(&answer);
    scene.proof_claims["iat"] = json!(house.now() + 1);
    hear(&house, &scene, "the same jti", Refused(ProofReplayed)).await;
    // One nonce serves many proofs.
    for _ in 0..3 {
        renew(&mut scene, &house, None);
        hear(&house, &scene, "another jti", Passed).await;
    }
    // R-D-04: and there is no way back.
    let mut without = Scene::at(&house, "/nonce");
    (without.key, without.token_claims) = (scene.key, scene.token_claims);
    without.proof_header = scene.proof_header;
    hear(&house, &without, "without", Refused(NonceMissing)).await;
}

/// T-NON-03, T-NON-04: what is taken for no nonce, and what makes the proof no proof.
#[tokio::test(flavor = "multi_thread")]
async fn nonces_that_are_none() {
    let house = House::built(plan()).await;
    for value in [json!(null), json!(""), json!(" "), json!("\t")] {
        let mut scene = scene(&house);
        scene.proof_claims["nonce"] = value.clone();
        challenge(&hear(&house, &scene, &format!("{value}"), Refused(NonceMissing)).await);
    }
    for value in [json!(1), json!({}), json!([]), json!(true), json!(["x"])] {
        let mut scene = scene(&house);
        scene.proof_claims["nonce"] = value.clone();
        nonce_of(&hear(&house, &scene, &format!("{value}"), Refused(ProofClaims)).await);
    }
}

/// T-NON-05, T-NON-09, T-NON-12, R-D-03: what is not one of ours, to the last character. Each is answered with one that is.
#[tokio::test(flavor = "multi_thread")]
async fn nonces_of_someone_else() {
    let house = House::built(plan()).await;
    let mut scene = scene(&house);
    let nonce = ask(&house, &scene).await;
    let changed = |at: usize| {
        let mut bytes = nonce.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("ASCII")
    };
    let mut others: Vec<String> = [0, 5, 10, 11, 15, nonce.len() / 2, nonce.len() - 1].map(changed).to_vec();
    others.extend(
        ["garbage", "eyJ7S_zG.eyJH0-Z.HX4w-7v", "0", "-1", "null", "é", "a\"b", "A\nB"].map(String::from),
    );
    others.extend([
        nonce.to_uppercase(),
        format!("{nonce}A"),
        format!("{nonce}="),
        format!(" {nonce}"),
        nonce[1..].to_owned(),
    ]);
    others.extend(["A".repeat(32), "x".repeat(513), "x".repeat(4000)]);
    for other in others {
        renew(&mut scene, &house, Some(&other));
        let answer = hear(&house, &scene, &other, Refused(NonceStale)).await;
        renew(&mut scene, &house, Some(challenge(&answer)));
        hear(&house, &scene, "the one that was given", Passed).await;
    }
}

/// T-NON-07, R-D-05: good for its period and the next, to the second; refreshed in the second.
#[tokio::test(flavor = "multi_thread")]
async fn the_current_and_the_previous_period() {
    let house = House::built(plan()).await;
    for sealed_at in [0, 150, PERIOD - 1] {
        let mut scene = scene(&house);
        to_period_start(&house);
        house.pass_time(sealed_at);
        renew(&mut scene, &house, None);
        let nonce = ask(&house, &scene).await;
        house.pass_time(PERIOD - 1 - sealed_at);
        renew(&mut scene, &house, Some(&nonce));
        let answer = hear(&house, &scene, "the last second of its period", Passed).await;
        assert!(answer.all("dpop-nonce").is_empty());
        for seconds in [1, PERIOD - 1] {
            house.pass_time(seconds);
            renew(&mut scene, &house, Some(&nonce));
            let answer = hear(&house, &scene, "the next period", Passed).await;
            let fresh = nonce_of(&answer).to_owned();
            assert_eq!(answer.all("cache-control"), ["no-store"], "R-D-08");
            assert_ne!(fresh, nonce);
            renew(&mut scene, &house, Some(&fresh));
            let answer = hear(&house, &scene, "its successor", Passed).await;
            assert!(answer.all("dpop-nonce").is_empty());
        }
        house.pass_time(1);
        renew(&mut scene, &house, Some(&nonce));
        challenge(&hear(&house, &scene, "the period after", Refused(NonceStale)).await);
        house.pass_time(86_400);
        renew(&mut scene, &house, Some(&nonce));
        challenge(&hear(&house, &scene, "a day later", Refused(NonceStale)).await);
    }
}

/// T-NON-11: sealed for one key.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_its_keys() {
    let house = House::built(plan()).await;
    let (first, mut second) = (scene(&house), scene(&house));
    let nonce = ask(&house, &first).await;
    renew(&mut second, &house, Some(&nonce));
    let answer = hear(&house, &second, "another key", Refused(NonceStale)).await;
    renew(&mut second, &house, Some(challenge(&answer)));
    hear(&house, &second, "its own", Passed).await;
}

/// T-NON-15, T-NON-16: beside a proof that is broken there is a nonce where the token is good; and nothing for a token that is not, or for a key the
/// token is not bound to.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_beside_other_refusals() {
    type Change = fn(&mut Scene, &House);
    let house = House::built(plan()).await;
    let broken: [(&str, Heard, Change); 15] = [
        ("typ", Refused(ProofTyp), |s, _| s.proof_header["typ"] = json!("JWT")),
        ("alg", Refused(ProofAlg), |s, _| s.proof_header["alg"] = json!("none")),
        ("crit", Refused(ProofHeader), |s, _| s.proof_header["crit"] = json!([])),
        ("jwk", Refused(ProofKey), |s, _| s.proof_header["jwk"] = json!({})),
        ("d", Refused(ProofKeyPrivate), |s, _| s.proof_header["jwk"]["d"] = json!("AA")),
        ("jti", Refused(ProofJti), |s, _| s.proof_claims["jti"] = json!("")),
        ("claims", Refused(ProofClaims), |s, _| s.proof_claims["iat"] = json!("x")),
        ("htm", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("PUT")),
        ("htu", Refused(ProofHtu), |s, _| s.proof_claims["htu"] = json!("https://api.example.com/")),
        ("ath", Refused(ProofAth), |s, _| s.proof_claims["ath"] = json!("AA")),
        ("iat", Refused(ProofTooOld), |s, house| s.proof_claims["iat"] = json!(house.now() - 3601)),
        ("parts", Refused(ProofMalformed), |s, _| s.edit_proof = Box::new(|proof| proof + ".x")),
        ("size", Refused(ProofTooLarge), |s, _| s.proof_claims["pad"] = json!("x".repeat(9000))),
        ("absent", Refused(ProofMissing), |s, house| {
            s.credentials = Some(s.credentials(house)[..1].to_vec())
        }),
        ("twice", Refused(ProofRepeated), |s, house| {
            let lines = s.credentials(house);
            s.credentials = Some([&lines[..], &lines[1..]].concat());
        }),
    ];
    for (what, expected, change) in broken {
        let mut good = scene(&house);
        change(&mut good, &house);
        let nonce = nonce_of(&hear(&house, &good, what, expected).await).to_owned();
        // It is one that works.
        let mut mended = scene(&house);
        (mended.key, mended.token_claims) = (good.key, good.token_claims);
        mended.proof_header["jwk"] = serde_json::from_str(&mended.key.public_jwk()).expect("a JWK");
        mended.proof_claims["nonce"] = json!(nonce);
        hear(&house, &mended, "mended", Passed).await;
        // The proof's error first, and no nonce, when the token is no good either.
        let mut bad = scene(&house);
        bad.token_claims["exp"] = json!(1);
        change(&mut bad, &house);
        let answer = hear(&house, &bad, what, expected).await;
        assert!(answer.all("dpop-nonce").is_empty(), "{what}: {answer:?}");
    }

    // The signature is looked at once the nonce is right.
    let mut forged = scene(&house);
    let nonce = ask(&house, &forged).await;
    forged.key = DpopKey::generate().expect("a key");
    challenge(&hear(&house, &forged, "forged, without a nonce", Refused(NonceMissing)).await);
    forged.proof_claims["nonce"] = json!(nonce);
    nonce_of(&hear(&house, &forged, "forged, with it", Refused(ProofSignature)).await);

    let none: [(&str, Heard, Change); 8] = [
        ("nothing presented", Refused(CredentialsMissing), |s, _| s.credentials = Some(Vec::new())),
        ("a proof alone", Refused(CredentialsMissing), |s, house| {
            s.credentials = Some(s.credentials(house)[1..].to_vec())
        }),
        ("an expired token", Refused(TokenExpired), |s, _| s.token_claims["exp"] = json!(1)),
        ("an unknown token", Refused(TokenMalformed), |s, _| s.edit_token = Box::new(|_| "opaque".into())),
        ("a forged token", Refused(TokenSignature), |s, _| {
            s.edit_token = Box::new(|token| crate::signer::resign(&token, |_| vec![1; 64]));
        }),
        ("as Bearer", Refused(BearerForDpop), |s, _| s.scheme = "Bearer".into()),
        ("another key", Refused(KeyMismatch), |s, _| {
            s.key = DpopKey::generate().expect("a key");
            s.proof_header["jwk"] = serde_json::from_str(&s.key.public_jwk()).expect("a JWK");
        }),
        ("unbound", Refused(TokenUnbound), |s, _| {
            s.token_claims.as_object_mut().expect("an object").remove("cnf");
        }),
    ];
    for (what, expected, change) in none {
        let mut scene = scene(&house);
        change(&mut scene, &house);
        let answer = hear(&house, &scene, what, expected).await;
        assert!(answer.all("dpop-nonce").is_empty(), "{what}: {answer:?}");
    }
    let mut scoped = scene(&house);
    scoped.go_to("/nonce/scoped");
    scoped.proof_claims["nonce"] = json!(ask(&house, &scoped).await);
    let answer = hear(&house, &scoped, "without the scope", Refused(ScopeInsufficient)).await;
    assert!(answer.all("dpop-nonce").is_empty(), "{answer:?}");
}

/// T-TIM-08, T-NON-17, R-D-07: the nonce's time is the freshness; `iat` is bounded widely.
#[tokio::test(flavor = "multi_thread")]
async fn iat_with_a_nonce() {
    let house = House::built(plan()).await;
    for (seconds, expected) in [
        (-61, Passed),
        (301, Passed),
        (-301, Passed),
        (3600, Passed),
        (-3600, Passed),
        (3601, Refused(ProofInFuture)),
        (-3601, Refused(ProofTooOld)),
        (86_400, Refused(ProofInFuture)),
    ] {
        let mut scene = scene(&house);
        let nonce = ask(&house, &scene).await;
        renew(&mut scene, &house, Some(&nonce));
        scene.proof_claims["iat"] = json!(house.now() + seconds);
        hear(&house, &scene, &format!("{seconds:+}"), expected).await;
        // Without the nonce's word for it, the same refusals in the same order.
        scene.go_to("/");
        let refused = if seconds < 0 { ProofTooOld } else { ProofInFuture };
        hear(&house, &scene, "where no nonce is asked for", Refused(refused)).await;
    }
}

/// R-D-06, R-E-04: a proof with a nonce is remembered for as long as the nonce opens, not for as long as `iat` would say.
#[tokio::test(flavor = "multi_thread")]
async fn used_for_as_long_as_the_nonce_opens() {
    let house = House::built(plan()).await;
    for iat in [0, -3000, 3000] {
        let mut scene = scene(&house);
        to_period_start(&house);
        renew(&mut scene, &house, None);
        let nonce = ask(&house, &scene).await;
        renew(&mut scene, &house, Some(&nonce));
        scene.proof_claims["iat"] = json!(house.now() + iat);
        let bytes = scene.bytes(&house);
        heard(&house, &scene, &scene.send_bytes(&house, &bytes).await, "first", Passed);
        for seconds in [61, PERIOD - 61, PERIOD - 1] {
            house.pass_time(seconds);
            // Others come and go meanwhile, and with them what has expired.
            assert_eq!(Scene::right(&house).send(&house).await.status, 200);
            house.seen();
            let answer = scene.send_bytes(&house, &bytes).await;
            heard(&house, &scene, &answer, "again", Refused(ProofReplayed));
        }
        house.pass_time(1);
        let answer = scene.send_bytes(&house, &bytes).await;
        heard(&house, &scene, &answer, "when it opens no more", Refused(NonceStale));
    }
}

/// T-NON-13: where none is asked for, a nonce is nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_nonce_is_asked_for() {
    let house = House::built(plan()).await;
    let asked = scene(&house);
    let nonce = ask(&house, &asked).await;
    for value in [json!("garbage"), json!(""), json!(null), json!(nonce)] {
        let mut scene = Scene::right(&house);
        scene.proof_claims["nonce"] = value.clone();
        let answer = hear(&house, &scene, &format!("{value}"), Passed).await;
        assert!(answer.all("dpop-nonce").is_empty());
    }
    let mut old = Scene::right(&house);
    old.proof_claims["nonce"] = json!(nonce);
    old.proof_claims["iat"] = json!(house.now() - 61);
    hear(&house, &old, "nor does it lend any freshness", Refused(ProofTooOld)).await;
    // A certificate needs no proof, so no nonce.
    let mut bound = Scene::with_certificate(&house);
    bound.go_to("/nonce");
    hear(&house, &bound, "a certificate", Passed).await;
    // Both together need both.
    let mut both = scene(&house);
    both.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&house, 0));
    both.certificate = Some(0);
    both.proof_claims["nonce"] = json!(ask(&house, &both).await);
    hear(&house, &both, "both", Passed).await;
}

/// `dpop.nonce: required` is every route's, save one that says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn required_everywhere_but_here() {
    let rules =
        "dpop: { nonce: required, nonce_lifetime: 10s }\nreplay: { memory: { after_restart: accept } }\n";
    let routes =
        "  - { name: free, match: { path_prefix: /free }, upstream: echo, require: { nonce: none } }\n";
    let house = House::built(Plan { rules, routes, ..Plan::default() }).await;
    let mut scene = Scene::right(&house);
    let nonce = ask(&house, &scene).await;
    hear(&house, &Scene::at(&house, "/free"), "/free", Passed).await;
    house.pass_time(20);
    renew(&mut scene, &house, Some(&nonce));
    let answer = hear(&house, &scene, "a short lifetime", Refused(NonceStale)).await;
    renew(&mut scene, &house, Some(challenge(&answer)));
    hear(&house, &scene, "a new one", Passed).await;
}

/// T-NON-20, T-NON-21, R-D-09: replicas share a ring; a new key is added at the end everywhere, then moved to the front.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_ring() {
    let first = House::built(with_ring(WITH_RING, &[NONCE_KEY])).await;
    let same = first.twin(with_ring(WITH_RING, &[NONCE_KEY])).await;
    let adding = first.twin(with_ring(WITH_RING, &[NONCE_KEY, OTHER_NONCE_KEY])).await;
    let rotated = first.twin(with_ring(WITH_RING, &[OTHER_NONCE_KEY, NONCE_KEY])).await;
    let other = first.twin(with_ring(WITH_RING, &[OTHER_NONCE_KEY])).await;
    let own = first.twin(plan()).await;
    let mut scene = scene(&first);
    let by_one = ask(&first, &scene).await;
    assert_eq!(by_one, ask(&same, &scene).await, "nothing but the ring, the key and the second is in it");
    let by_two = ask(&rotated, &scene).await;
    for (house, nonce, what, expected) in [
        (&same, &by_one, "of a replica", Passed),
        (&adding, &by_one, "of a replica that has not got the new key", Passed),
        (&adding, &by_two, "of a replica that seals with the new key", Passed),
        (&rotated, &by_one, "of before the rotation", Passed),
        (&first, &by_two, "of a key that is not in the ring", Refused(NonceStale)),
        (&other, &by_one, "of a key that was taken out", Refused(NonceStale)),
        (&own, &by_one, "of another ring", Refused(NonceStale)),
    ] {
        renew(&mut scene, house, Some(nonce));
        hear(house, &scene, what, expected).await;
    }
}

/// R-E-08 and CASES.md: after a restart, proofs with a nonce from before it may have been used, so they need a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_makes_shared_nonces_old() {
    let before = House::built(with_ring(WITH_RING, &[NONCE_KEY])).await;
    let mut scene = scene(&before);
    let nonce = ask(&before, &scene).await;
    renew(&mut scene, &before, Some(&nonce));
    let used = scene.bytes(&before);
    heard(&before, &scene, &scene.send_bytes(&before, &used).await, "before", Passed);
    before.gateway.stop();

    let after = before.twin(with_ring(WITH_RING_AND_FENCE, &[NONCE_KEY])).await;
    let answer = scene.send_bytes(&after, &used).await;
    heard(&after, &scene, &answer, "the same proof", Refused(NonceStale));
    after.pass_time(1);
    let answer = scene.send_bytes(&after, &used).await;
    heard(&after, &scene, &answer, "the same proof, later", Refused(NonceStale));
    let fresh = challenge(&answer).to_owned();
    renew(&mut scene, &after, Some(&nonce));
    hear(&after, &scene, "a new proof with the old nonce", Refused(NonceStale)).await;
    renew(&mut scene, &after, Some(&fresh));
    // The fence is the nonce's, not that of `iat`.
    scene.proof_claims["iat"] = json!(after.now() - 30);
    hear(&after, &scene, "with the new one", Passed).await;
}

/// T-NON-24, T-NON-25, R-C-10: the upstream's own nonce never makes a second one.
#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_one() {
    let answers = &[
        ("dpop-nonce", "of-the-upstream"),
        ("DPoP-Nonce", "and-another"),
        ("www-authenticate", "DPoP error=\"use_dpop_nonce\""),
        ("cache-control", "public, max-age=60"),
    ];
    let house = House::built(Plan { answers, ..plan() }).await;
    for path in ["/nonce", "/nonce/kept"] {
        let mut scene = scene(&house);
        scene.go_to(path);
        to_period_start(&house);
        renew(&mut scene, &house, None);
        let nonce = ask(&house, &scene).await;
        house.pass_time(PERIOD);
        renew(&mut scene, &house, Some(&nonce));
        let answer = hear(&house, &scene, path, Passed).await;
        assert!(!nonce_of(&answer).contains("upstream"), "{answer:?}");
        assert_eq!(answer.all("cache-control"), ["no-store"], "{path}");
    }
    let answer = hear(&house, &Scene::right(&house), "no nonce of ours", Passed).await;
    assert!(answer.all("dpop-nonce").is_empty() && answer.all("www-authenticate").is_empty(), "{answer:?}");
}
