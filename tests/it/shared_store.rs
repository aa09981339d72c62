//! Replicas with one memory of used proofs, a real redis-server, and what happens without it (T-RPL-08, T-RPL-15, T-NON-20).

mod kept;
mod told;
mod ways;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use holdfast::verify::nonce::NonceRing;
use holdfast::verify::rejection::Rejection::{self, *};
use holdfast::verify::time::UnixTime;
use serde_json::json;
use tokio::task::JoinSet;

use crate::house::{House, NONCE_KEY, Plan};
use crate::process::wait;
use crate::redis::server::Server;
use crate::scene::{Scene, renew, without_nonce};
use crate::scripted::nobody;
use crate::served::leaked;
use crate::table::Heard::{Passed, Refused};
use crate::table::{hear, heard};
use crate::wire::Answer;

const ROUTES: &str =
    "  - { name: nonce, match: { path_prefix: /nonce }, upstream: echo, require: { nonce: required } }\n";

/// A gateway that shares what is at `url`.
pub fn sharing(url: &str, more: &str) -> Plan {
    let rules = format!(
        "dpop: {{ max_future: 1s, nonce_keys: {{ file: ring }} }}\nreplay: {{ redis: {{ url: \"{url}\"{more} }} }}\n"
    );
    Plan {
        rules: leaked(rules),
        routes: ROUTES,
        files: vec![("ring", NONCE_KEY.to_owned())],
        ticks: true,
        ..Plan::default()
    }
}

/// One whose store nobody answers for.
async fn without(on_failure: &str) -> Plan {
    let url = format!("redis://{}", nobody().await);
    sharing(&url, &format!(", prefix: \"unreachable:\", on_failure: {on_failure}"))
}

/// Sends a new proof again and again until it passes: the store is there. Each has the nonce that the one before was answered with, as a client's has; the scene keeps the last.
pub async fn until_in_use(house: &House, scene: &mut Scene) {
    until_passed(house, scene, |scene, answer| {
        if let Some(nonce) = answer.all("dpop-nonce").last() {
            scene.proof_claims["nonce"] = json!(nonce);
        }
    })
    .await;
}

/// The same without nonces: nothing of before is in doubt any more, which takes some seconds.
pub async fn until_it_passes(house: &House, scene: &mut Scene) {
    without_nonce(scene);
    until_passed(house, scene, |_, _| {}).await;
}

async fn until_passed(house: &House, scene: &mut Scene, learn: impl Fn(&mut Scene, &Answer)) {
    wait("the store is back", async || {
        renew(scene, house, None);
        let answer = scene.send(house).await;
        learn(scene, &answer);
        answer.status == 200
    })
    .await;
    house.seen();
}

/// The refusals that only a shared store has. For `refusals`.
pub async fn every_refusal(heard_of: &mut HashSet<Rejection>) {
    let refusing = House::built(without("refuse").await).await;
    let answer = hear(&refusing, &Scene::right(&refusing), "no store", Refused(ReplayStoreUnavailable)).await;
    assert!(answer.one("retry-after").parse::<u64>().is_ok());
    let asking = House::built(without("nonce").await).await;
    hear(&asking, &Scene::right(&asking), "no store", Refused(NonceElsewhere)).await;
    let server = Server::start(&[]);
    let fresh = House::built(sharing(&server.url(), "")).await;
    let mut old = Scene::right(&fresh);
    old.proof_claims["iat"] = json!(fresh.now() - 30);
    until_in_use(&fresh, &mut Scene::right(&fresh)).await;
    hear(&fresh, &old, "older than the memory", Refused(ProofBeforeMemory)).await;
    heard_of.extend([ReplayStoreUnavailable, NonceElsewhere, ProofBeforeMemory]);
}

/// T-RPL-08, R-E-03: whichever replica, one proof passes once.
#[tokio::test(flavor = "multi_thread")]
async fn one_proof_passes_once_among_replicas() {
    let server = Server::start(&[]);
    let first = Arc::new(House::built(sharing(&server.url(), "")).await);
    let second = Arc::new(first.twin(sharing(&server.url(), "")).await);
    let mut scene = Scene::right(&first);
    until_in_use(&first, &mut scene).await;
    for round in 0..20 {
        if round == 10 {
            until_it_passes(&first, &mut scene).await;
        }
        renew(&mut scene, &first, None);
        let bytes: Arc<[u8]> = scene.bytes(&first).into();
        let mut all = JoinSet::new();
        for at in 0..20 {
            let (house, bytes) = (Arc::clone(if at % 2 == 0 { &first } else { &second }), Arc::clone(&bytes));
            all.spawn(async move {
                let mut client = house.connect(crate::house::HOST, None).await;
                let answer = client.exchange(&bytes).await.expect("an answer");
                (answer.status, answer.reason())
            });
        }
        let answers = all.join_all().await;
        let replayed = (401, ProofReplayed.label().to_owned());
        assert_eq!(answers.iter().filter(|answer| answer.0 == 200).count(), 1, "{round}: {answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == replayed).count(), 19, "{round}: {answers:?}");
        assert_eq!(first.seen().len() + second.seen().len(), 1, "{round}");
    }
    assert!(server.holds().iter().filter(|held| held.hash().is_some()).count() >= 21);
}

/// `on_failure: refuse`: 503, and the proof is as good as it was, since nothing was asked.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_passes_and_it_returns_by_itself() {
    let mut server = Server::start(&[]);
    let house = House::built(sharing(&server.url(), "")).await;
    let mut scene = Scene::right(&house);
    until_it_passes(&house, &mut scene).await;
    renew(&mut scene, &house, None);
    let used = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &used).await.status, 200);
    house.seen();
    server.kill();
    renew(&mut scene, &house, None);
    let meanwhile = scene.bytes(&house);
    for _ in 0..3 {
        let answer = scene.send_bytes(&house, &meanwhile).await;
        heard(&house, &scene, &answer, "the store is dead", Refused(ReplayStoreUnavailable));
    }
    // What needs no proof goes on.
    let with_certificate = Scene::with_certificate(&house);
    hear(&house, &with_certificate, "a certificate", Passed).await;
    // It comes back with an empty memory: what may have been used before is not taken, by anybody.
    // The operator reads why, and that no other replica would do better.
    let (status, readiness) = house.ask_admin("/readyz").await;
    assert_eq!(status, 200);
    let place = server.url().replace("redis://", "");
    assert!(readiness.contains(&format!("replay store {place}: away since ")), "{readiness}");
    assert!(readiness.contains("it cannot be reached"), "{readiness}");
    let metrics = house.ask_admin("/metrics").await.1;
    assert!(
        metrics.contains(&format!("holdfast_replay_store_usable{{server=\"{place}\"}} 0\n")),
        "{metrics}"
    );
    server.restart();
    until_in_use(&house, &mut scene).await;
    let twin = house.twin(sharing(&server.url(), "")).await;
    for replica in [&house, &twin] {
        for bytes in [&used, &meanwhile] {
            assert_eq!(scene.send_bytes(replica, bytes).await.status, 401);
        }
        assert!(replica.seen().is_empty());
    }
    let readiness = house.ask_admin("/readyz").await.1;
    assert!(readiness.contains(&format!("replay store {place}: in use\n")), "{readiness}");
}

/// A proof that is older than the store's memory is asked for a nonce, and passes with it, on a route that asks for none too.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_shows_that_a_proof_is_new() {
    let server = Server::start(&[]);
    let house = House::built(sharing(&server.url(), "")).await;
    let mut scene = Scene::right(&house);
    until_in_use(&house, &mut scene).await;
    // A caller whose clock is behind: every proof of his looks as if it were from before.
    without_nonce(&mut scene);
    renew(&mut scene, &house, None);
    scene.proof_claims["iat"] = json!(house.now() - 30);
    let answer = hear(&house, &scene, "looks old", Refused(ProofBeforeMemory)).await;
    renew(&mut scene, &house, Some(answer.one("dpop-nonce")));
    scene.proof_claims["iat"] = json!(house.now() - 30);
    let bytes = scene.bytes(&house);
    let answer = scene.send_bytes(&house, &bytes).await;
    heard(&house, &scene, &answer, "with a nonce", Passed);
    let answer = scene.send_bytes(&house, &bytes).await;
    heard(&house, &scene, &answer, "again", Refused(ProofReplayed));
    // Without a shared store a nonce that is none of ours is ignored there (T-NON-13). Here it could be one that another replica has sealed for itself alone.
    renew(&mut scene, &house, Some("of-an-issuer"));
    hear(&house, &scene, "a foreign nonce", Refused(NonceStale)).await;
}

/// A nonce of one replica is every replica's, and the proof that holds it is used at all of them when it is used at one: also when the store has forgotten it.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_one_replica_passes_at_another_and_its_proof_once() {
    let server = Server::start(&[]);
    let first = House::built(sharing(&server.url(), "")).await;
    let second = first.twin(sharing(&server.url(), "")).await;
    let mut other = Scene::right(&first);
    for house in [&first, &second] {
        until_in_use(house, &mut other).await;
    }
    let mut scene = Scene::at(&first, "/nonce");
    let answer = hear(&first, &scene, "without", Refused(NonceMissing)).await;
    let nonce = answer.one("dpop-nonce").to_owned();
    renew(&mut scene, &first, Some(&nonce));
    hear(&second, &scene, "a nonce of the first", Passed).await;
    renew(&mut scene, &first, Some(&nonce));
    let used = scene.bytes(&first);
    let answer = scene.send_bytes(&first, &used).await;
    heard(&first, &scene, &answer, "at the first", Passed);
    // The third has seen nothing: it has to ask.
    let third = first.twin(sharing(&server.url(), "")).await;
    for house in [&second, &third] {
        let answer = scene.send_bytes(house, &used).await;
        heard(house, &scene, &answer, "used at the first", Refused(ProofReplayed));
    }
    server.order(&["FLUSHALL"]);
    let fourth = first.twin(sharing(&server.url(), "")).await;
    for house in [&first, &second, &third, &fourth] {
        until_in_use(house, &mut other).await;
        let answer = scene.send_bytes(house, &used).await;
        assert_eq!((answer.status, house.seen().len()), (401, 0), "{answer:?}");
    }
    let answer = scene.send_bytes(&fourth, &used).await;
    heard(&fourth, &scene, &answer, "forgotten", Refused(ProofBeforeMemory));
}

/// `on_failure: nonce`: what one replica vouches for by itself passes there once, and nowhere else, then and later.
#[tokio::test(flavor = "multi_thread")]
async fn alone_a_replica_vouches_for_its_own_nonces() {
    let first = House::built(without("nonce").await).await;
    let second = first.twin(without("nonce").await).await;
    for path in ["/", "/nonce"] {
        let mut scene = Scene::at(&first, path);
        let answer = scene.send(&first).await;
        assert_eq!((answer.status, first.seen().len()), (401, 0), "{path}");
        let nonce = answer.one("dpop-nonce").to_owned();
        renew(&mut scene, &first, Some(&nonce));
        let bytes = scene.bytes(&first);
        let answer = scene.send_bytes(&first, &bytes).await;
        heard(&first, &scene, &answer, path, Passed);
        let answer = scene.send_bytes(&first, &bytes).await;
        heard(&first, &scene, &answer, "again", Refused(ProofReplayed));
        // At another replica it is nobody's, and never ignored.
        let answer = scene.send_bytes(&second, &bytes).await;
        heard(&second, &scene, &answer, "elsewhere", Refused(NonceStale));
        renew(&mut scene, &first, Some("of-an-issuer"));
        hear(&first, &scene, "a foreign nonce", Refused(NonceStale)).await;
    }
}

/// The same replicas, one of which has the store again: what the other let through alone does not pass here.
#[tokio::test(flavor = "multi_thread")]
async fn what_passed_alone_passes_nowhere_when_the_store_is_back() {
    let mut server = Server::start(&[]);
    let plan = || sharing(&server.url(), ", on_failure: nonce");
    let first = House::built(plan()).await;
    let second = first.twin(plan()).await;
    let mut scene = Scene::right(&first);
    until_in_use(&first, &mut scene).await;
    server.kill();
    let mut nonce = String::new();
    wait("it stands alone", async || {
        renew(&mut scene, &first, None);
        let answer = scene.send(&first).await;
        let alone = answer.reason() == NonceElsewhere.label();
        if alone {
            answer.one("dpop-nonce").clone_into(&mut nonce);
        }
        alone
    })
    .await;
    renew(&mut scene, &first, Some(&nonce));
    let alone = scene.bytes(&first);
    let answer = scene.send_bytes(&first, &alone).await;
    heard(&first, &scene, &answer, "alone", Passed);
    server.restart();
    let mut other = Scene::right(&first);
    for house in [&first, &second] {
        until_in_use(house, &mut other).await;
    }
    let answer = scene.send_bytes(&first, &alone).await;
    heard(&first, &scene, &answer, "at the same replica", Refused(ProofReplayed));
    let answer = scene.send_bytes(&second, &alone).await;
    heard(&second, &scene, &answer, "at the other", Refused(NonceStale));
}

/// A region's nonces count in it alone, with the same keys, and so do the proofs that hold them.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_one_region_passes_in_no_other() {
    let in_region = |region: &str| Plan {
        rules: leaked(format!(
            "dpop: {{ nonce: required, nonce_keys: {{ file: ring }}, nonce_region: {region} }}\n"
        )),
        files: vec![("ring", NONCE_KEY.to_owned())],
        ..Plan::default()
    };
    let north = House::built(in_region("north")).await;
    let (also_north, south) = (north.twin(in_region("north")).await, north.twin(in_region("south")).await);
    for house in [&north, &also_north, &south] {
        house.pass_time(1);
    }
    let mut scene = Scene::right(&north);
    let answer = hear(&north, &scene, "without", Refused(NonceMissing)).await;
    renew(&mut scene, &north, Some(answer.one("dpop-nonce")));
    let bytes = scene.bytes(&north);
    let answer = scene.send_bytes(&south, &bytes).await;
    heard(&south, &scene, &answer, "in the south", Refused(NonceStale));
    let nonce = answer.one("dpop-nonce").to_owned();
    // A replica of the same region takes it: T-NON-20.
    let answer = scene.send_bytes(&also_north, &bytes).await;
    heard(&also_north, &scene, &answer, "in the north", Passed);
    renew(&mut scene, &north, Some(&nonce));
    hear(&south, &scene, "with its own nonce", Passed).await;
}

/// A replica whose clock is ahead takes no proofs, but seals nonces. One of these shows nothing, or a proof that was used would be younger than the next memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_a_clock_that_is_ahead_shows_nothing() {
    let server = Server::start(&[]);
    let first = House::built(sharing(&server.url(), "")).await;
    let second = first.twin(sharing(&server.url(), "")).await;
    let mut other = Scene::right(&first);
    for house in [&first, &second] {
        until_in_use(house, &mut other).await;
    }
    let mut scene = Scene::at(&first, "/nonce");
    let ahead = UnixTime::from_seconds(first.now() + 9);
    let nonce = NonceRing::new(&[1; 32], &[], 300).seal(scene.key.thumbprint(), ahead);
    renew(&mut scene, &first, Some(nonce.as_str()));
    let bytes = scene.bytes(&first);
    let used = scene.send_bytes(&first, &bytes).await;
    server.order(&["FLUSHALL"]);
    until_in_use(&second, &mut other).await;
    let again = scene.send_bytes(&second, &bytes).await;
    assert!(used.status != 200 || again.status != 200, "{used:?} {again:?}");
    heard(&first, &scene, &used, "ahead", Refused(ProofBeforeMemory));
    renew(&mut scene, &first, Some(used.one("dpop-nonce")));
    assert_eq!(
        scene.send(&second).await.reason(),
        ProofBeforeMemory.label(),
        "it was sealed before the loss"
    );
}

/// A rate of a route with this burst, by which replicas count in one window for the next minute.
fn slow_rate(burst: u32) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
    let lasts = |an_hour: &u32| {
        let window = (Duration::from_secs(3600) / *an_hour * burst).as_millis();
        now / window == (now + 60_000) / window
    };
    format!("{}/h", (6..14).find(lasts).expect("their windows do not all end in one minute"))
}

/// `limits.shared`: an allowance is everyone's, and a recorded request spends nothing of it; without the store each replica counts for itself.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_count_together() {
    const LIMITED: &str = "  - { name: limited, match: { path_prefix: /limited }, upstream: echo, limits: { rate: RATE, burst: 6, by: key, shared: true } }\n";
    let mut server = Server::start(&[]);
    let routes = leaked(LIMITED.replace("RATE", &slow_rate(6)));
    let plan = || Plan { routes, ..sharing(&server.url(), "") };
    let first = House::built(plan()).await;
    let second = first.twin(plan()).await;
    for house in [&first, &second] {
        until_it_passes(house, &mut Scene::right(house)).await;
    }
    let mut scene = Scene::at(&first, "/limited");
    let mut statuses = Vec::new();
    for round in 0..8 {
        let house = if round % 2 == 0 { &first } else { &second };
        renew(&mut scene, &first, None);
        let bytes = scene.bytes(house);
        let answer = scene.send_bytes(house, &bytes).await;
        if round < 6 {
            assert!(answer.one("ratelimit").contains(&format!("r={}", 5 - round)), "{round}: {answer:?}");
            // The same at the other: refused, and nobody's allowance.
            let other = if round % 2 == 0 { &second } else { &first };
            assert_eq!(scene.send_bytes(other, &bytes).await.reason(), ProofReplayed.label());
        } else {
            assert_eq!(answer.reason(), RateExceeded.label());
            assert!(answer.one("retry-after").parse::<u64>().is_ok_and(|wait| (1..=3600).contains(&wait)));
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(first.seen().len() + second.seen().len(), 6);
    // Another key has its own.
    let mut other = Scene::at(&second, "/limited");
    renew(&mut other, &second, None);
    assert_eq!(other.send(&second).await.status, 200);
    server.kill();
}

/// A nonce opens until the end of the next period, and periods of another lifetime end elsewhere: a claim is kept until no replica with this lifetime or a shorter one takes the nonce, not
/// only until this one does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_outlasts_its_nonce_at_every_replica() {
    const KEPT: &str = "local most = 0 for _, key in ipairs(redis.call('KEYS', 'hf:*')) do if #key == 19 then most = math.max(most, redis.call('PTTL', key)) end end return most";
    let server = Server::start(&[]);
    let house = House::built(sharing(&server.url(), "")).await;
    until_it_passes(&house, &mut Scene::right(&house)).await;
    let mut scene = Scene::at(&house, "/nonce");
    renew(&mut scene, &house, None);
    let answer = hear(&house, &scene, "without", Refused(NonceMissing)).await;
    renew(&mut scene, &house, Some(answer.one("dpop-nonce")));
    hear(&house, &scene, "with it", Passed).await;
    let kept = server.say(&["EVAL", KEPT, "0"]);
    let kept: u64 = kept.strip_prefix("(integer) ").expect(&kept).parse().expect("a number");
    // Two lifetimes of 300 s, the last second, four times `clock_difference`, and `timeout`; less what has passed since it was sealed.
    assert!((602_250..=605_250).contains(&kept), "{kept}");
}

/// A limit that each replica counts for itself: a request that was recorded at one spends nobody's allowance at the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_spends_no_allowance_elsewhere() {
    const LIMITED: &str = "  - { name: limited, match: { path_prefix: /limited }, upstream: echo, limits: { rate: 6/h, burst: 6, by: key } }\n";
    let server = Server::start(&[]);
    let plan = || Plan { routes: LIMITED, ..sharing(&server.url(), "") };
    let first = House::built(plan()).await;
    let second = first.twin(plan()).await;
    for house in [&first, &second] {
        until_it_passes(house, &mut Scene::right(house)).await;
    }
    let mut scene = Scene::at(&first, "/limited");
    renew(&mut scene, &first, None);
    let recorded = scene.bytes(&first);
    let answer = scene.send_bytes(&first, &recorded).await;
    heard(&first, &scene, &answer, "the caller", Passed);
    let answer = scene.send_bytes(&second, &recorded).await;
    heard(&second, &scene, &answer, "a thief", Refused(ProofReplayed));
    renew(&mut scene, &first, None);
    let answer = scene.send(&second).await;
    assert!(answer.one("ratelimit").contains("r=5"), "{answer:?}");
}

/// What this replica has seen it refuses by itself: the server is not asked, and could have no say.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_has_seen_it_refuses_by_itself() {
    const FORGET: &str = "for _, key in ipairs(redis.call('KEYS', 'hf:*')) do if #key == 19 then redis.call('DEL', key) end end return 1";
    let server = Server::start(&[]);
    let house = House::built(sharing(&server.url(), "")).await;
    let mut scene = Scene::right(&house);
    until_in_use(&house, &mut scene).await;
    renew(&mut scene, &house, None);
    let bytes = scene.bytes(&house);
    assert_eq!(scene.send_bytes(&house, &bytes).await.status, 200);
    assert_eq!(server.say(&["EVAL", FORGET, "0"]), "(integer) 1");
    assert_eq!(scene.send_bytes(&house, &bytes).await.reason(), ProofReplayed.label());
}
