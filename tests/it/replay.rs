//! One proof, one request: T-RPL, T-PRF-36 and R-E.

use std::sync::Arc;

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::house::{House, OTHER_HOST, Plan};
use crate::scene::{Scene, thumbprint};
use crate::signer::{Signer, malleated, replace, respell_proof};
use crate::table::Heard::{Passed, Refused};
use crate::table::{hear, heard};
use crate::wire::Answer;

/// How many proofs the store holds, as `/metrics` says.
async fn live_claims(house: &House) -> u64 {
    let (status, text) = house.ask_admin("/metrics").await;
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix("holdfast_replay_live_claims "));
    line.expect("the number").parse().expect("a number")
}

/// Gives `scene` the key and the token of `other`.
fn as_caller_of(scene: &mut Scene, other: &Scene) {
    scene.key = DpopKey::from_pem(&other.key.to_pkcs8_pem()).expect("its own PEM");
    scene.proof_header = other.proof_header.clone();
    scene.token_claims = other.token_claims.clone();
}

/// T-RPL-01, -02, -03, -04, R-E-01, R-E-02: what is used up is the pair of key and jti, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_and_one_jti_make_one_request() {
    type Change = fn(&mut Scene, &House);
    let house = House::usual().await;
    let cases: [(&str, Result<(), Rejection>, Change); 10] = [
        ("T-RPL-01 the same", Err(ProofReplayed), |_, _| {}),
        ("T-RPL-02 another key", Ok(()), |s, house| {
            let other = Scene::right(house);
            as_caller_of(s, &other);
        }),
        ("T-RPL-03 another path", Err(ProofReplayed), |s, _| s.go_to("/other")),
        ("T-RPL-03 another method", Err(ProofReplayed), |s, _| s.using("POST")),
        ("T-RPL-03 another host", Err(ProofReplayed), |s, _| {
            (s.host, s.sni) = (OTHER_HOST.into(), OTHER_HOST.into());
            s.go_to("/");
        }),
        ("T-RPL-03 another route", Err(ProofReplayed), |s, _| s.go_to("/dpop")),
        ("T-RPL-04 another iat", Err(ProofReplayed), |s, house| {
            s.proof_claims["iat"] = json!(house.now() - 5)
        }),
        ("R-E-02 another token of the same key", Err(ProofReplayed), |s, _| {
            s.token_claims["jti"] = json!("another")
        }),
        ("R-E-02 another claim", Err(ProofReplayed), |s, _| s.proof_claims["foo"] = json!(1)),
        ("another jti", Ok(()), |s, _| s.proof_claims["jti"] = json!("another")),
    ];
    for (what, expected, change) in cases {
        let mut scene = Scene::right(&house);
        hear(&house, &scene, what, Passed).await;
        change(&mut scene, &house);
        hear(&house, &scene, what, expected.map_or_else(Refused, |()| Passed)).await;
    }
}

/// T-RPL-19: bytes are compared, once JSON has been read.
#[tokio::test(flavor = "multi_thread")]
async fn a_jti_is_its_bytes() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    // Each is another: case, composed and decomposed, white space, look-alikes, text that would run together with its neighbour.
    for jti in [
        "jti",
        "JTI",
        "jti ",
        " jti",
        "jti\t",
        "é",
        "e\u{301}",
        "jtі",
        "j",
        "jt",
        "jtij",
        "0",
        "00",
        "\u{feff}jti",
    ] {
        scene.proof_claims["jti"] = json!(jti);
        hear(&house, &scene, jti, Passed).await;
    }
    // One escape more is the same one.
    respell_proof(&mut scene, |_, claims| replace(claims, "\"jti\":\"", "\"jti\":\"\\u006A"));
    scene.proof_claims["jti"] = json!("ti");
    hear(&house, &scene, "escaped", Refused(ProofReplayed)).await;
}

/// R-E-02: the same proof under every other spelling of its request.
#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_the_request_is_the_same_request() {
    let house = House::usual().await;
    let mut scene = Scene::at(&house, "/~me");
    let credentials = scene.credentials(&house);
    scene.credentials = Some(credentials);
    hear(&house, &scene, "first", Passed).await;
    let spellings: [fn(&mut Scene); 8] = [
        |s| s.target = "/~me?x=1".into(),
        |s| s.target = "/%7Eme".into(),
        |s| s.target = "/%7e%6d%65".into(),
        |s| s.target = "https://api.example.com/~me".into(),
        |s| s.host = "api.example.com:443".into(),
        |s| s.host = "API.EXAMPLE.COM".into(),
        |s| s.headers.push(("x-forwarded-host".into(), "evil.example".into())),
        |s| s.certificate = Some(0),
    ];
    for respell in spellings {
        let credentials = scene.credentials.clone();
        let mut again = Scene::at(&house, "/~me");
        again.credentials = credentials;
        respell(&mut again);
        hear(&house, &again, &again.target.clone(), Refused(ProofReplayed)).await;
    }
    // Over HTTP/2 too.
    let client = house.connect_h2(None).await;
    let answer = client.exchange(scene.request_with(&scene.credentials(&house))).await.expect("an answer");
    heard(&house, &scene, &answer, "HTTP/2", Refused(ProofReplayed));
}

/// T-PRF-36: ECDSA has two signatures for one proof; it is one proof still, in either order.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_signature_of_a_used_proof() {
    let house = House::usual().await;
    for malleated_first in [false, true] {
        let mut scene = Scene::right(&house);
        let mut lines = scene.credentials(&house);
        let mut other = lines.clone();
        other[1].1 = malleated(&lines[1].1);
        assert_ne!(other, lines);
        if malleated_first {
            std::mem::swap(&mut lines, &mut other);
        }
        scene.credentials = Some(lines);
        hear(&house, &scene, "one", Passed).await;
        scene.credentials = Some(other);
        hear(&house, &scene, "the other", Refused(ProofReplayed)).await;
    }
    // A key that signs at random makes as many signatures as it likes.
    let mut scene = Scene::right(&house);
    let signer = Signer::es256(&scene.key);
    scene.edit_proof = Box::new(move |proof| signer.respell(&proof, |_, _| {}));
    let token = scene.token(&house);
    assert_ne!(scene.proof(&token), scene.proof(&token), "a fresh signature each time");
    hear(&house, &scene, "one", Passed).await;
    hear(&house, &scene, "another", Refused(ProofReplayed)).await;
}

/// How many were forwarded; the rest must be replays.
fn forwarded(answers: &[Answer]) -> usize {
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let replayed = answers.iter().filter(|answer| answer.reason() == ProofReplayed.label()).count();
    assert_eq!(passed + replayed, answers.len(), "{answers:?}");
    passed
}

/// T-RPL-06, R-E-03: from connections of their own, all ready before the first byte is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn fifty_at_once_over_fifty_connections() {
    let house = House::usual().await;
    for _ in 0..4 {
        let scene = Scene::right(&house);
        let bytes = scene.bytes(&house);
        let barrier = Arc::new(Barrier::new(50));
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let mut client = house.connect(&scene.sni, None).await;
            let (bytes, barrier) = (bytes.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                client.exchange(&bytes).await.expect("an answer")
            });
        }
        assert_eq!(forwarded(&tasks.join_all().await), 1);
        assert_eq!(house.seen().len(), 1);
    }
}

/// T-RPL-06: and as streams of one HTTP/2 connection, and of several.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn fifty_at_once_over_http2() {
    let house = House::usual().await;
    for connections in [1, 1, 5] {
        let scene = Scene::right(&house);
        let lines = scene.credentials(&house);
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(house.connect_h2(None).await);
        }
        let barrier = Arc::new(Barrier::new(50));
        let mut tasks = JoinSet::new();
        for number in 0..50 {
            let client = clients[number % connections].clone();
            let (request, barrier) = (scene.request_with(&lines), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                client.exchange(request).await.expect("an answer")
            });
        }
        assert_eq!(forwarded(&tasks.join_all().await), 1);
        assert_eq!(house.seen().len(), 1);
    }
}

/// T-RPL-07: nobody is mixed up with anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn ten_keys_twenty_times_each() {
    let house = House::usual().await;
    let mut requests = Vec::new();
    for caller in 0..10 {
        let mut scene = Scene::right(&house);
        scene.token_claims["sub"] = json!(format!("caller-{caller}"));
        for number in 0..20 {
            // Every key uses the same twenty.
            scene.proof_claims["jti"] = json!(format!("jti-{number}"));
            requests.push((caller, scene.request_with(&scene.credentials(&house))));
        }
    }
    let clients = [house.connect_h2(None).await, house.connect_h2(None).await, house.connect_h2(None).await];
    let barrier = Arc::new(Barrier::new(requests.len()));
    let mut tasks = JoinSet::new();
    for (number, (_, request)) in requests.into_iter().enumerate() {
        let (client, barrier) = (clients[number % clients.len()].clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            client.exchange(request).await.expect("an answer")
        });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let mut arrived = [0; 10];
    for seen in house.seen() {
        let subject = seen.headers["x-auth-subject"].to_str().expect("ASCII").to_owned();
        arrived[subject.trim_start_matches("caller-").parse::<usize>().expect("a number")] += 1;
    }
    assert_eq!(arrived, [20; 10]);
    assert_eq!(live_claims(&house).await, 200);
}

/// T-RPL-11, R-E-05: what was refused for another reason has not used up its jti, whatever the reason was.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_try_burns_nothing() {
    type Change = fn(&mut Scene, &House);
    let house = House::usual().await;
    let tries: [(&str, Rejection, Change); 14] = [
        ("bad ath", ProofAth, |s, _| s.proof_claims["ath"] = json!("AA")),
        ("bad signature", ProofSignature, |s, _| {
            s.edit_proof = Box::new(|proof| crate::signer::resign(&proof, |_| vec![1; 64]));
        }),
        ("another key's", ProofSignature, |s, _| s.key = DpopKey::generate().expect("a key")),
        ("bad htu", ProofHtu, |s, _| s.proof_claims["htu"] = json!("https://api.example.com/x")),
        ("bad htm", ProofHtm, |s, _| s.proof_claims["htm"] = json!("PUT")),
        ("too old", ProofTooOld, |s, house| s.proof_claims["iat"] = json!(house.now() - 61)),
        ("an expired token", TokenExpired, |s, _| s.token_claims["exp"] = json!(1)),
        ("another issuer", TokenIssuer, |s, _| s.token_claims["iss"] = json!("https://evil.example")),
        ("another key's token", KeyMismatch, |s, _| {
            s.token_claims["cnf"]["jkt"] = json!("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        }),
        ("no certificate", CertificateMissing, |s, house| {
            s.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(house, 0))
        }),
        ("a scope missing", ScopeInsufficient, |s, _| {
            s.token_claims["scope"] = json!("");
            s.go_to("/scoped");
        }),
        ("another audience", RouteAudience, |s, _| s.go_to("/narrow")),
        ("the path", PathAmbiguous, |s, _| s.target = "/a/../".into()),
        ("the body", BodyTooLarge, |s, _| {
            s.using("POST");
            s.headers.push(("content-length".into(), "99999999".into()));
        }),
    ];
    for (what, rejection, change) in tries {
        let right = Scene::right(&house);
        let mut broken = Scene::right(&house);
        as_caller_of(&mut broken, &right);
        broken.proof_claims = right.proof_claims.clone();
        change(&mut broken, &house);
        hear(&house, &broken, what, Refused(rejection)).await;
        hear(&house, &right, what, Passed).await;
        hear(&house, &right, what, Refused(ProofReplayed)).await;
    }
}

/// T-RPL-12, R-E-05: ten thousand bad proofs, of the kinds that come furthest, leave no trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_bad_proofs() {
    let house = House::usual().await;
    let mut good = Scene::right(&house);
    for number in 0..3 {
        good.proof_claims["jti"] = json!(format!("good-{number}"));
        hear(&house, &good, "good", Passed).await;
    }
    assert_eq!(live_claims(&house).await, 3);
    let kinds: [fn(&mut Scene, &House); 5] = [
        |s, _| s.edit_proof = Box::new(|proof| crate::signer::resign(&proof, |_| vec![1; 64])),
        |s, _| s.proof_claims["ath"] = json!("AA"),
        |s, _| s.token_claims["cnf"]["jkt"] = json!("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        |s, _| {
            s.token_claims["scope"] = json!("");
            s.go_to("/scoped");
        },
        |s, _| s.edit_token = Box::new(|token| crate::signer::resign(&token, |_| vec![1; 64])),
    ];
    let mut tasks = JoinSet::new();
    for (kind, change) in kinds.into_iter().enumerate() {
        let mut scene = Scene::right(&house);
        change(&mut scene, &house);
        // A hundred proofs, twenty times each: none is ever remembered, so each is as new as the first.
        let requests: Vec<Vec<u8>> = (0..100)
            .map(|number| {
                scene.proof_claims["jti"] = json!(format!("bad-{kind}-{number}"));
                scene.bytes(&house)
            })
            .collect();
        let mut client = house.connect(&scene.sni, None).await;
        tasks.spawn(async move {
            for _ in 0..20 {
                for request in &requests {
                    let answer = client.exchange(request).await.expect("an answer");
                    assert!(matches!(answer.status, 401 | 403), "{answer:?}");
                    assert_ne!(answer.reason(), ProofReplayed.label());
                }
            }
        });
    }
    tasks.join_all().await;
    assert!(house.seen().is_empty());
    assert_eq!(live_claims(&house).await, 3);
    hear(&house, &good, "what was remembered before", Refused(ProofReplayed)).await;
}

/// R-E-04, T-RPL-10: a proof is remembered to the last second in which it could pass, counted from its own date.
#[tokio::test(flavor = "multi_thread")]
async fn remembered_to_the_last_second() {
    let house = House::usual().await;
    for ahead in [10, 8, 0, -30, -60] {
        let mut scene = Scene::right(&house);
        scene.proof_claims["iat"] = json!(house.now() + ahead);
        let bytes = scene.bytes(&house);
        heard(&house, &scene, &scene.send_bytes(&house, &bytes).await, "first", Passed);
        for seconds in [0, (60 + ahead) / 2, 60 + ahead - (60 + ahead) / 2] {
            house.pass_time(seconds);
            // Someone else comes by, and sweeps what is over.
            assert_eq!(Scene::right(&house).send(&house).await.status, 200);
            house.seen();
            let answer = scene.send_bytes(&house, &bytes).await;
            heard(&house, &scene, &answer, &format!("dated {ahead:+}"), Refused(ProofReplayed));
        }
        house.pass_time(1);
        let answer = scene.send_bytes(&house, &bytes).await;
        heard(&house, &scene, &answer, "when the window has closed", Refused(ProofTooOld));
    }
}

/// T-RPL-14, R-E-06: who has used up a share is refused, others are not; nothing is forgotten to make room; room comes back with time.
#[tokio::test(flavor = "multi_thread")]
async fn shares_and_capacity() {
    let rules = "replay: { memory: { capacity: 8, per_key: 3, after_restart: accept } }\n";
    let house = House::built(Plan { rules, ..Plan::default() }).await;
    let mut greedy = Scene::right(&house);
    let mut used = Vec::new();
    for number in 0..3 {
        greedy.proof_claims["jti"] = json!(format!("{number}"));
        used.push(greedy.bytes(&house));
        heard(&house, &greedy, &greedy.send_bytes(&house, &used[number]).await, "a share of three", Passed);
    }
    greedy.proof_claims["jti"] = json!("3");
    let answer = hear(&house, &greedy, "a fourth", Refused(KeyShareExhausted)).await;
    assert!(answer.one("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    for number in 0..5 {
        let scene = Scene::right(&house);
        used.push(scene.bytes(&house));
        heard(&house, &scene, &scene.send_bytes(&house, &used[3 + number]).await, "others", Passed);
    }
    hear(&house, &Scene::right(&house), "no room", Refused(ReplayStoreFull)).await;
    // A certificate needs no room.
    hear(&house, &Scene::with_certificate(&house), "a certificate", Passed).await;
    for bytes in &used {
        let answer = greedy.send_bytes(&house, bytes).await;
        heard(&house, &greedy, &answer, "none was forgotten", Refused(ProofReplayed));
    }
    house.pass_time(61);
    greedy.proof_claims["iat"] = json!(house.now());
    hear(&house, &greedy, "when the others are over", Passed).await;
    hear(&house, &Scene::right(&house), "for all", Passed).await;
}

/// T-RPL-16, R-E-08: what was used before a restart is not used again after it. Where the operator accepts that, it is.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart() {
    let refuse = "replay: { memory: { after_restart: refuse } }\n";
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    let used = scene.bytes(&house);
    heard(&house, &scene, &scene.send_bytes(&house, &used).await, "before", Passed);
    house.gateway.stop();

    let restarted = house.twin(Plan { rules: refuse, ..Plan::default() }).await;
    for seconds in [0, 1, 30] {
        restarted.pass_time(seconds);
        let answer = scene.send_bytes(&restarted, &used).await;
        heard(&restarted, &scene, &answer, "after", Refused(ProofBeforeStart));
    }
    // To the second: the starting second is refused, the next is not.
    for (back, expected) in [(31, Refused(ProofBeforeStart)), (30, Passed), (0, Passed)] {
        scene.proof_claims["jti"] = json!(format!("{back}"));
        scene.proof_claims["iat"] = json!(restarted.now() - back);
        hear(&restarted, &scene, &format!("{back} s ago"), expected).await;
    }
    hear(&restarted, &Scene::with_certificate(&restarted), "a certificate", Passed).await;

    let accepting = house.twin(Plan::default()).await;
    let answer = scene.send_bytes(&accepting, &used).await;
    heard(&accepting, &scene, &answer, "accepted by choice", Passed);
}

/// A certificate is proven by each handshake, so a request bound to one alone can be repeated (RFC 8705 §3).
#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_no_proof_to_replay() {
    let house = House::usual().await;
    let scene = Scene::with_certificate(&house);
    for _ in 0..3 {
        hear(&house, &scene, "the same request", Passed).await;
    }
    assert_eq!(live_claims(&house).await, 0);
    let mut both = Scene::right(&house);
    both.certificate = Some(0);
    both.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&house, 0));
    hear(&house, &both, "both", Passed).await;
    hear(&house, &both, "both, again", Refused(ProofReplayed)).await;
}
