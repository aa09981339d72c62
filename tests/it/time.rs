//! Time: T-TIM, R-A-18 to R-A-20 and R-J-05. The house's clock stands still, so edges are hit to the second.

use std::time::{Duration, SystemTime};

use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{replace, respell_proof};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{hear, heard};

async fn with_iat(house: &House, seconds: i64, expected: Heard) {
    let mut scene = Scene::right(house);
    scene.proof_claims["iat"] = json!(house.now() + seconds);
    hear(house, &scene, &format!("iat {seconds:+}"), expected).await;
}

/// T-TIM-02 to -07, R-A-18.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_to_the_second() {
    let house = House::usual().await;
    for seconds in [-60, -59, -10, -1, 0, 1, 8, 9, 10] {
        with_iat(&house, seconds, Passed).await;
    }
    for seconds in [-61, -62, -300, -301, -3600, -86_400] {
        with_iat(&house, seconds, Refused(ProofTooOld)).await;
    }
    for seconds in [11, 12, 60, 61, 300, 3600, 86_400] {
        with_iat(&house, seconds, Refused(ProofInFuture)).await;
    }
}

/// R-A-18: as configured, at both ends of what can be.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_as_configured() {
    let windows = [
        (
            "dpop: { max_age: 300s, max_future: 60s }\nreplay: { memory: { after_restart: accept } }\n",
            300,
            60,
        ),
        ("dpop: { max_age: 1s, max_future: 0s }\nreplay: { memory: { after_restart: accept } }\n", 1, 0),
        ("dpop: { max_age: 5s }\nreplay: { memory: { after_restart: accept } }\n", 5, 10),
    ];
    for (rules, back, ahead) in windows {
        let house = House::built(Plan { rules, ..Plan::default() }).await;
        with_iat(&house, -back, Passed).await;
        with_iat(&house, -back - 1, Refused(ProofTooOld)).await;
        with_iat(&house, ahead, Passed).await;
        with_iat(&house, ahead + 1, Refused(ProofInFuture)).await;
    }
}

/// The same proof, while the clock moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_ages() {
    let house = House::usual().await;
    let (used, late) = (Scene::right(&house), Scene::right(&house));
    let (used_bytes, late_bytes) = (used.bytes(&house), late.bytes(&house));
    house.pass_time(60);
    heard(&house, &used, &used.send_bytes(&house, &used_bytes).await, "a minute later", Passed);
    house.pass_time(1);
    let answer = late.send_bytes(&house, &late_bytes).await;
    heard(&house, &late, &answer, "a second more", Refused(ProofTooOld));
    // T-RPL-10.
    let answer = used.send_bytes(&house, &used_bytes).await;
    heard(&house, &used, &answer, "used, and too old", Refused(ProofTooOld));
}

/// Fractions are cut, never rounded: no proof lives a part of a second longer than whole ones.
#[tokio::test(flavor = "multi_thread")]
async fn fractions_of_a_second() {
    let house = House::usual().await;
    let now = house.now();
    for (text, expected) in [
        (format!("{}.999", now - 60), Passed),
        (format!("{}.999", now - 61), Refused(ProofTooOld)),
        (format!("{}.999", now + 10), Passed),
        (format!("{}.001", now + 11), Refused(ProofInFuture)),
    ] {
        let mut scene = Scene::right(&house);
        let (from, to) = (format!("\"iat\":{now}"), format!("\"iat\":{text}"));
        respell_proof(&mut scene, move |_, claims| replace(claims, &from, &to));
        hear(&house, &scene, &text, expected).await;
    }
}

/// T-CLM-17, T-CLM-18, R-A-20: a proof's own limits hold within the window, and cannot widen it.
#[tokio::test(flavor = "multi_thread")]
async fn the_proofs_own_exp_and_nbf() {
    let house = House::usual().await;
    for (exp, nbf, iat, expected) in [
        (Some(300), Some(0), 0, Passed),
        (Some(1), None, 0, Passed),
        (Some(0), None, 0, Refused(ProofOutsideItsTime)),
        (Some(-1), None, 0, Refused(ProofOutsideItsTime)),
        (Some(-86_400), None, 0, Refused(ProofOutsideItsTime)),
        (None, Some(-300), 0, Passed),
        (None, Some(10), 0, Passed),
        (None, Some(11), 0, Refused(ProofOutsideItsTime)),
        (None, Some(86_400), 0, Refused(ProofOutsideItsTime)),
        (Some(86_400), Some(-86_400), -61, Refused(ProofTooOld)),
    ] {
        let mut scene = Scene::right(&house);
        scene.proof_claims["iat"] = json!(house.now() + iat);
        for (name, seconds) in [("exp", exp), ("nbf", nbf)] {
            if let Some(seconds) = seconds {
                scene.proof_claims[name] = json!(house.now() + seconds);
            }
        }
        hear(&house, &scene, &format!("exp {exp:?}, nbf {nbf:?}, iat {iat}"), expected).await;
    }
}

/// T-TIM-10, R-J-05: every answer carries a `Date`, by which callers set their clocks.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_date() {
    let house =
        House::built(Plan { answers: &[("date", "Thu, 01 Jan 1970 00:00:00 GMT")], ..Plan::default() }).await;
    let mut scenes =
        vec![Scene::right(&house), Scene::with_certificate(&house), Scene::at(&house, "/public")];
    let mut broken = |change: fn(&mut Scene)| {
        let mut scene = Scene::right(&house);
        change(&mut scene);
        scenes.push(scene);
    };
    broken(|s| s.credentials = Some(Vec::new()));
    broken(|s| s.credentials = Some(vec![("authorization".into(), "DPoP".into())]));
    broken(|s| s.proof_claims["iat"] = json!(0));
    broken(|s| s.token_claims["exp"] = json!(0));
    broken(|s| s.go_to("/a/../b"));
    broken(|s| s.using("TRACE"));
    broken(|s| (s.host, s.sni) = ("evil.example".into(), "evil.example".into()));
    broken(|s| s.headers.push(("bad name".into(), "x".into())));
    for scene in scenes {
        let answer = scene.send(&house).await;
        let date = httpdate::parse_http_date(answer.one("date")).expect("a date");
        let apart = SystemTime::now().duration_since(date).unwrap_or_else(|ahead| ahead.duration());
        // The upstream's own Date is passed on: it says when that answer was made (RFC 9110 §6.6.1).
        if answer.status != 200 {
            assert!(apart < Duration::from_secs(30), "{apart:?}: {answer:?}");
        }
    }
}
