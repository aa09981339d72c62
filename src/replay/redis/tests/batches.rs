//! What a batch makes of the replies to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::Kind;
use super::super::batch::{Answer, Batch, Claim, Judge, Phrases, Redirect, Wish, retention};
use super::super::bounds::Bounds;
use super::super::memory::{Identity, Memory, Names};
use super::super::resp::Reply;
use super::super::serve::Serving;
use super::super::state::ServerState;
use super::super::trouble::Trouble;
use super::super::vet::{Pace, Vetted};
use crate::clock::Clock;
use crate::config::{Redis, RedisServer, RedisServers, RedisWire};

const MARKER: &[u8] = b"17:60,10,600,2000:run:history:0";
const OK: Reply<'static> = Reply::Simple(b"OK");

fn settings(replicas: usize) -> Redis {
    let servers = RedisServers::Alone(RedisServer::Unix("/nowhere".into()));
    Redis { replicas, ..super::settings(servers, RedisWire::Plain) }
}

fn vetted(clock: &Clock) -> Vetted {
    let identity = Identity::new(b"run", b"history", b"0");
    Vetted {
        memory: Memory {
            identity,
            key: b"hf:since".to_vec(),
            value: MARKER.to_vec(),
            begins: 17,
            bounds: bounds(),
        },
        ahead: 0,
        pace: Pace::from(17_000, clock),
    }
}

const fn bounds() -> Bounds {
    Bounds { max_age: 60, max_future: 10, nonce: 600, clock_difference: 2000 }
}

fn judge<'s>(settings: &'s Redis, kind: Kind, clock: &'s Clock) -> Judge<'s> {
    Judge { settings, bounds: bounds(), kind, vetted: vetted(clock), clock }
}

type Answered = oneshot::Receiver<Answer>;

/// A batch of claims, of which some follow an `ASK`, and what it has written.
fn batch(settings: &Redis, asking: &[bool]) -> (Batch, Vec<Answered>, Vec<u8>) {
    let mut answers = Vec::new();
    let mut claims: Vec<_> = asking
        .iter()
        .map(|&asking| {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            Claim {
                key: *b"0123456789abcdef",
                keep: 65_000,
                wish: Wish::Take,
                asking,
                since: Instant::now(),
                answer,
            }
        })
        .collect();
    let clock = Clock::system();
    let phrases = Phrases::new(&judge(settings, Kind::Alone, &clock), &Names::new("hf:", ""));
    let mut output = Vec::new();
    let batch = Batch::of_claims(&mut claims, Instant::now(), &phrases, &mut output);
    (batch, answers, output)
}

/// Hands it these replies. `true` when it was whole.
fn replies(batch: &mut Batch, settings: &Redis, kind: Kind, replies: &[Reply<'_>]) -> Result<bool, Trouble> {
    let clock = Clock::system();
    let mut judge = judge(settings, kind, &clock);
    replies.iter().try_fold(false, |_, reply| batch.take(reply, &mut judge))
}

#[tokio::test]
async fn what_goes_out() {
    let (_, _, output) = batch(&settings(2), &[false, true]);
    let set = "*6\\r\\n$3\\r\\nSET\\r\\n$19\\r\\nhf:0123456789abcdef\\r\\n$1\\r\\n1\\r\\n$2\\r\\nNX\\r\\n$2\\r\\nPX\\r\\n$5\\r\\n65000\\r\\n";
    let asking = "*1\\r\\n$6\\r\\nASKING\\r\\n";
    let proof = "*2\\r\\n$3\\r\\nGET\\r\\n$8\\r\\nhf:since\\r\\n*3\\r\\n$4\\r\\nWAIT\\r\\n$1\\r\\n2\\r\\n$3\\r\\n187\\r\\n";
    assert_eq!(output.escape_ascii().to_string(), format!("{set}{asking}{set}{proof}"));
}

#[tokio::test]
async fn claims_count_once_all_is_right() {
    let settings = settings(1);
    let (mut batch, mut answers, _) = batch(&settings, &[false, true, false, false]);
    let moved = Reply::Error(b"MOVED 3999 10.0.0.1:6381");
    let first = [OK, OK, Reply::Nil, moved, OK, Reply::Bulk(MARKER)];
    assert_eq!(replies(&mut batch, &settings, Kind::Node, &first), Ok(false));
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "nothing is answered before");
    assert_eq!(replies(&mut batch, &settings, Kind::Node, &[Reply::Integer(1)]), Ok(true));
    batch.answer();
    let answers: Vec<_> = answers.iter_mut().map(|answer| answer.try_recv().expect("an answer")).collect();
    let moved = Answer::Elsewhere(Redirect::Moved("10.0.0.1:6381".into()));
    assert_eq!(answers, [Answer::Taken, Answer::Replayed, moved, Answer::Taken]);
}

#[tokio::test]
async fn nothing_counts_when_anything_is_wrong() {
    let other = Reply::Bulk(b"18:60,10,600,2000:run:history:0");
    let marker = Reply::Bulk(MARKER);
    for (kind, said, trouble) in [
        (Kind::Alone, vec![OK, OK, Reply::Nil], Trouble::MemoryLost),
        (Kind::Alone, vec![OK, OK, other], Trouble::MemoryLost),
        (Kind::Alone, vec![OK, OK, OK], Trouble::NotRedis),
        (Kind::Node, vec![OK, OK, Reply::Error(b"MOVED 1 a:1")], Trouble::NoSlot),
        (Kind::Alone, vec![OK, OK, marker.clone(), Reply::Integer(0)], Trouble::TooFewReplicas),
        (Kind::Alone, vec![OK, OK, marker.clone(), Reply::Nil], Trouble::NotRedis),
        (Kind::Alone, vec![OK, OK, marker, Reply::Integer(1), OK], Trouble::NotRedis),
        (Kind::Alone, vec![OK, Reply::Error(b"OOM command not allowed")], Trouble::Full),
        (Kind::Alone, vec![OK, Reply::Error(b"MISCONF Redis is")], Trouble::CannotPersist),
        (Kind::Alone, vec![OK, Reply::Error(b"READONLY You can't")], Trouble::ReadOnly),
        (Kind::Alone, vec![OK, Reply::Error(b"LOADING Redis is")], Trouble::Loading),
        (Kind::Alone, vec![OK, Reply::Error(b"NOREPLICAS Not")], Trouble::TooFewReplicas),
        (Kind::Node, vec![OK, Reply::Error(b"CLUSTERDOWN Hash")], Trouble::ClusterDown),
        (Kind::Alone, vec![OK, Reply::Error(b"MOVED 1 a:1")], Trouble::NoSlot),
        (Kind::Alone, vec![OK, Reply::Integer(1)], Trouble::NotRedis),
        (Kind::Alone, vec![Reply::Bulk(b"OK")], Trouble::NotRedis),
    ] {
        let settings = settings(1);
        let (mut batch, mut answers, _) = batch(&settings, &[false, false]);
        assert_eq!(replies(&mut batch, &settings, kind, &said), Err(trouble), "{said:?}");
        drop(batch);
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "{said:?}");
    }
}

#[test]
fn a_claim_is_kept_for_longer_than_any_clock_lets_its_proof_pass() {
    let kept = |seconds| retention(Duration::from_secs(seconds), Duration::from_secs(2));
    assert_eq!(kept(60), 65_000);
    assert_eq!(kept(0), 5_000);
    assert_eq!(kept(u64::MAX), 1 << 53, "no number that a server refuses");
}

/// What has waited for as long as an answer may take is refused, and not sent behind its time.
#[tokio::test(start_paused = true)]
async fn what_has_waited_for_too_long_is_not_sent() {
    let settings = settings(0);
    let start = std::time::SystemTime::now();
    let clock = Clock::new(move || start);
    let state = ServerState::new("nowhere".into(), 1, Arc::default(), Arc::default(), clock.clone());
    let (near, mut far) = tokio::io::duplex(4096);
    let (queue, mut waiting) = mpsc::channel(2);
    let mut answers = Vec::new();
    for key in [b"too late too lat", b"just in time jus"] {
        let (answer, answered) = oneshot::channel();
        answers.push(answered);
        let claim =
            Claim { key: *key, keep: 65_000, wish: Wish::Take, asking: false, since: Instant::now(), answer };
        queue.send(claim).await.expect("room");
        tokio::time::advance(settings.timeout / 2).await;
    }
    let serving =
        Serving::new(Box::new(near), judge(&settings, Kind::Alone, &clock), &Names::new("hf:", ""), &state);
    let (mut sent, mut room) = (Vec::new(), [0; 4096]);
    tokio::select! {
        end = serving.run(&mut waiting) => panic!("{end:?}"),
        count = far.read(&mut room) => sent.extend_from_slice(&room[..count.expect("open")]),
    }
    let sent = sent.escape_ascii().to_string();
    assert!(sent.contains("hf:just in time jus") && !sent.contains("too late"), "{sent}");
    assert!(answers.remove(0).try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
}
