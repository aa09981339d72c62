//! What a batch makes of the replies to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::Kind;
use super::super::batch::{Answer, Batch, Claim, Judge, Phrases, Redirect, Wish, retention};
use super::super::clocks::Pace;
use super::super::memory::{Identity, Memory, Names};
use super::super::resp::Reply;
use super::super::serve::{End, Serving};
use super::super::state::{ServerState, Tally};
use super::super::trouble::Trouble;
use super::super::vet::Vetted;
use super::bounds;
use crate::clock::Clock;
use crate::config::{Redis, RedisServer, RedisServers, RedisWire};

const MARKER: &[u8] = b"17:60,10,600,1000,250:run:history:0";
const OK: Reply<'static> = Reply::Simple(b"OK");

fn settings(replicas: usize) -> Redis {
    let servers = RedisServers::Alone(RedisServer::Unix("/nowhere".into()));
    Redis { replicas, ..super::settings(servers, RedisWire::Plain) }
}

fn vetted(settings: &Redis, clock: &Clock) -> Vetted {
    let identity = Identity::new(b"run", b"history", b"0");
    Vetted {
        memory: Memory {
            identity,
            key: b"hf:since".to_vec(),
            value: MARKER.to_vec(),
            begins: 17,
            bounds: bounds(settings),
        },
        ahead: 0,
        pace: Pace::from(17_000, clock),
    }
}

fn judge<'s>(settings: &'s Redis, kind: Kind, clock: &'s Clock) -> Judge<'s> {
    Judge { settings, bounds: bounds(settings), kind, vetted: vetted(settings, clock), clock }
}

type Answered = oneshot::Receiver<Answer>;

const TAKE: (Wish, bool) = (Wish::Take, false);
/// A claim that another node has sent here for this once.
const ASKING: (Wish, bool) = (Wish::Take, true);
const COUNT: (Wish, bool) = (Wish::Count, false);

fn wish(key: &[u8; 16], (wish, asking): (Wish, bool)) -> (Claim, Answered) {
    let (answer, answered) = oneshot::channel();
    (Claim { key: *key, keep: 65_000, wish, asking, since: Instant::now(), answer }, answered)
}

/// A batch of these wishes, and what it has written.
fn batch(settings: &Redis, wishes: &[(Wish, bool)]) -> (Batch, Vec<Answered>, Vec<u8>) {
    let (mut claims, answers): (Vec<_>, _) = wishes.iter().map(|of| wish(b"0123456789abcdef", *of)).unzip();
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
    let (_, _, output) = batch(&settings(2), &[TAKE, ASKING, COUNT]);
    let set = "*6\\r\\n$3\\r\\nSET\\r\\n$19\\r\\nhf:0123456789abcdef\\r\\n$1\\r\\n1\\r\\n$2\\r\\nNX\\r\\n$2\\r\\nPX\\r\\n$5\\r\\n65000\\r\\n";
    let asking = "*1\\r\\n$6\\r\\nASKING\\r\\n";
    let proof = "*2\\r\\n$3\\r\\nGET\\r\\n$8\\r\\nhf:since\\r\\n*3\\r\\n$4\\r\\nWAIT\\r\\n$1\\r\\n2\\r\\n$3\\r\\n187\\r\\n";
    let opening = set.replace("$1\\r\\n1\\r", "$1\\r\\n0\\r");
    let count = "*2\\r\\n$4\\r\\nINCR\\r\\n$19\\r\\nhf:0123456789abcdef\\r\\n";
    assert_ne!(opening, set);
    assert_eq!(output.escape_ascii().to_string(), format!("{set}{asking}{set}{opening}{count}{proof}"));
}

#[tokio::test]
async fn claims_count_once_all_is_right() {
    let settings = settings(1);
    let (mut batch, mut answers, _) = batch(&settings, &[TAKE, ASKING, TAKE, TAKE]);
    let moved = Reply::Error(b"MOVED 3999 10.0.0.1:6381");
    let first = [OK, OK, Reply::Nil, moved, OK, Reply::Bulk(MARKER)];
    assert_eq!(replies(&mut batch, &settings, Kind::Node, &first), Ok(false));
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "nothing is answered before");
    assert_eq!(replies(&mut batch, &settings, Kind::Node, &[Reply::Integer(1)]), Ok(true));
    assert_eq!(batch.answer(), None);
    let answers: Vec<_> = answers.iter_mut().map(|answer| answer.try_recv().expect("an answer")).collect();
    let moved = Answer::Elsewhere(Redirect::Moved("10.0.0.1:6381".into()));
    assert_eq!(answers, [Answer::Taken, Answer::Replayed, moved, Answer::Taken]);
}

/// Limits are counted in the same batches. A count that the server does not make is unknown, and the claims before and behind it are what they are.
#[tokio::test]
async fn counts_go_with_claims_and_are_in_nobodys_way() {
    let one = Reply::Integer(1);
    let moved = Reply::Error(b"MOVED 3999 10.0.0.1:6381");
    let elsewhere = Answer::Elsewhere(Redirect::Moved("10.0.0.1:6381".into()));
    let forbidden = b"NOPERM this user has no permissions to run the 'incr' command";
    let strange = b"WRONGTYPE Operation against a key holding the wrong kind of value";
    for (kind, [opening, count], counted, why) in [
        (Kind::Alone, [OK, one.clone()], Some(Answer::Counted(1)), None),
        (Kind::Alone, [Reply::Nil, Reply::Integer(7)], Some(Answer::Counted(7)), None),
        (Kind::Alone, [Reply::Nil, Reply::Integer(-7)], None, None),
        (Kind::Node, [moved.clone(), moved.clone()], Some(elsewhere.clone()), None),
        (Kind::Node, [OK, moved], Some(elsewhere), None),
        (Kind::Alone, [OK, Reply::Error(forbidden)], None, Some("not_permitted")),
        (Kind::Node, [Reply::Nil, Reply::Error(strange)], None, Some("broken")),
    ] {
        let settings = settings(0);
        let (mut batch, mut answers, _) = batch(&settings, &[TAKE, COUNT, TAKE]);
        let said = [OK, opening, count, Reply::Nil, Reply::Bulk(MARKER)];
        assert_eq!(replies(&mut batch, &settings, kind, &said), Ok(true), "{said:?}");
        assert_eq!(batch.answer().map(|trouble| trouble.label()), why, "{said:?}");
        let answers: Vec<_> = answers.iter_mut().map(|answer| answer.try_recv().ok()).collect();
        assert_eq!(answers, [Some(Answer::Taken), counted, Some(Answer::Replayed)], "{said:?}");
    }
}

/// What is wrong with the server for everyone is so when a count finds it out too.
#[tokio::test]
async fn a_count_may_show_that_the_server_is_wrong() {
    let moved = Reply::Error(b"MOVED 1 a:1");
    for (said, trouble) in [
        ([OK, Reply::Nil], Trouble::NotRedis),
        ([OK, OK], Trouble::NotRedis),
        ([OK, Reply::Bulk(b"1")], Trouble::NotRedis),
        ([OK, Reply::Error(b"READONLY You can't")], Trouble::ReadOnly),
        ([OK, Reply::Error(b"OOM command not allowed")], Trouble::Full),
        ([OK, Reply::Error(b"MISCONF Redis is")], Trouble::CannotPersist),
        ([OK, Reply::Error(b"LOADING Redis is")], Trouble::Loading),
        ([OK, Reply::Error(b"NOREPLICAS Not")], Trouble::TooFewReplicas),
        ([OK, Reply::Error(b"CLUSTERDOWN Hash")], Trouble::ClusterDown),
        ([OK, Reply::Error(b"NOAUTH Auth")], Trouble::WrongPassword("NOAUTH Auth".into())),
        ([OK, moved.clone()], Trouble::NoSlot),
        ([moved, OK], Trouble::NoSlot),
        // Without its end a count would stay for ever, and whoever may not SET may not claim either.
        ([Reply::Error(b"NOPERM set"), Reply::Integer(1)], Trouble::NotPermitted("NOPERM set".into())),
        ([Reply::Integer(1), Reply::Integer(1)], Trouble::NotRedis),
    ] {
        let settings = settings(0);
        let (mut batch, mut answers, _) = batch(&settings, &[TAKE, COUNT]);
        let whole = [[OK].as_slice(), &said].concat();
        assert_eq!(replies(&mut batch, &settings, Kind::Alone, &whole), Err(trouble), "{said:?}");
        drop(batch);
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "{said:?}");
    }
}

#[tokio::test]
async fn nothing_counts_when_anything_is_wrong() {
    let other = Reply::Bulk(b"18:60,10,600,1000,250:run:history:0");
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
        let (mut batch, mut answers, _) = batch(&settings, &[TAKE, TAKE]);
        assert_eq!(replies(&mut batch, &settings, kind, &said), Err(trouble), "{said:?}");
        drop(batch);
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "{said:?}");
    }
}

#[test]
fn a_claim_is_kept_for_longer_than_any_clock_lets_its_proof_pass() {
    let settings = Redis {
        clock_difference: Duration::from_secs(2),
        timeout: Duration::from_millis(250),
        ..settings(0)
    };
    let kept = |seconds| retention(Duration::from_secs(seconds), &settings);
    // The last second, twice the difference of clocks, and by how much they may be set without being noticed.
    assert_eq!(kept(60), 60_000 + 1_000 + 4_000 + 4_250);
    assert_eq!(kept(0), 9_250);
    assert_eq!(kept(u64::MAX), 1 << 53, "no number that a server refuses");
}

/// A connection that was just vetted, and the server's end of it.
struct Line {
    settings: Redis,
    clock: Clock,
    now: SystemTime,
    tally: Arc<Tally>,
    state: ServerState,
    queue: (mpsc::Sender<Claim>, mpsc::Receiver<Claim>),
    near: Option<DuplexStream>,
    far: DuplexStream,
}

impl Line {
    fn new() -> Self {
        let now = SystemTime::now();
        let clock = Clock::new(move || now);
        let tally = Arc::<Tally>::default();
        let state = ServerState::new(
            "nowhere".into(),
            1,
            Arc::clone(&tally),
            Arc::default(),
            clock.clone(),
            settings(0).on_failure,
        );
        let (near, far) = tokio::io::duplex(4096);
        let (settings, queue) = (settings(0), mpsc::channel(8));
        Self { settings, clock, now, tally, state, queue, near: Some(near), far }
    }

    /// Sends claims to be made, and gives where they are answered.
    async fn claim(&self, key: &[u8; 16]) -> Answered {
        let (claim, answered) = wish(key, TAKE);
        self.queue.0.send(claim).await.expect("room");
        answered
    }

    /// Lets it work until the server has done its part, or until it ends.
    async fn work<T>(&mut self, server: impl AsyncFnOnce(&mut DuplexStream) -> T) -> Result<T, End> {
        let near = self.near.take().expect("it works once");
        let judge = judge(&self.settings, Kind::Alone, &self.clock);
        let mut serving = Serving::new(Box::new(near), judge, &Names::new("hf:", ""), &self.state);
        tokio::select! {
            biased;
            end = serving.run(&mut self.queue.1) => Err(end),
            done = server(&mut self.far) => Ok(done),
        }
    }

    fn round_trips(&self) -> u64 {
        self.tally.counts().round_trips.iter().sum()
    }
}

/// What is asked next, whole: a server has nothing else in its hand.
async fn heard(far: &mut DuplexStream) -> String {
    let mut room = [0; 4096];
    let count = far.read(&mut room).await.expect("open");
    room[..count].escape_ascii().to_string()
}

fn marker() -> Vec<u8> {
    [format!("${}\r\n", MARKER.len()).as_bytes(), MARKER, b"\r\n"].concat()
}

/// What has waited for as long as an answer may take is refused, and not sent behind its time.
#[tokio::test(start_paused = true)]
async fn what_has_waited_for_too_long_is_not_sent() {
    let mut line = Line::new();
    let late = [line.claim(b"too late too lat").await, line.claim(b"too late as well").await];
    tokio::time::advance(line.settings.timeout / 2).await;
    let mut in_time = line.claim(b"just in time jus").await;
    tokio::time::advance(line.settings.timeout / 2).await;
    let sent = line.work(heard).await.expect("it works");
    assert!(sent.contains("hf:just in time jus") && !sent.contains("too late"), "{sent}");
    let closed = oneshot::error::TryRecvError::Closed;
    for mut late in late {
        assert_eq!(late.try_recv(), Err(closed.clone()));
    }
    assert!(in_time.try_recv().is_err());
    let overloaded = Trouble::Overloaded.number();
    assert_eq!(line.tally.counts().troubles[overloaded], 2, "each of them counts");
}

/// It would be taken for the reply to the next claim, and the next one's for that to the one behind it.
#[tokio::test(start_paused = true)]
async fn a_reply_that_nobody_asked_for_ends_the_connection() {
    for unasked in [b"+OK\r\n".as_slice(), b"$-1\r\n", b"-ERR Protocol error\r\n"] {
        let mut line = Line::new();
        let end = line
            .work(async |far| {
                far.write_all(unasked).await.expect("room");
                std::future::pending::<()>().await;
            })
            .await;
        assert!(matches!(end, Err(End::Trouble(Trouble::NotRedis))), "{end:?}");
    }
    // Behind the last reply that somebody has asked for.
    let mut line = Line::new();
    let mut first = line.claim(b"the first of two").await;
    let end = line
        .work(async |far| {
            heard(far).await;
            far.write_all(&[b"+OK\r\n", marker().as_slice(), b"+OK\r\n"].concat()).await.expect("room");
            std::future::pending::<()>().await;
        })
        .await;
    assert!(matches!(end, Err(End::Trouble(Trouble::NotRedis))), "{end:?}");
    assert_eq!(first.try_recv(), Ok(Answer::Taken));
}

/// A quiet gateway looks at its server once a second, and that says little of how long claims take.
#[tokio::test(start_paused = true)]
async fn round_trips_are_those_of_claims() {
    let mut line = Line::new();
    let info = "redis_version:7\r\ncluster_enabled:0\r\nrole:master\r\nmaxmemory_policy:noeviction\r\nrun_id:run\r\nmaster_replid:history\r\nevicted_keys:0\r\n";
    let now = line.now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let ahead = Duration::from_millis(200);
    let seconds = (now + ahead).as_secs().to_string();
    let micros = (now + ahead).subsec_micros().to_string();
    let mut answer = format!("${}\r\n{info}\r\n*2\r\n", info.len());
    for part in [&seconds, &micros] {
        answer += &format!("${}\r\n{part}\r\n", part.len());
    }
    let answer = [answer.as_bytes(), b"+OK\r\n", &marker()].concat();
    let quiet = line
        .work(async |far| {
            for _ in 0..3 {
                assert!(heard(far).await.contains("INFO"));
                far.write_all(&answer).await.expect("room");
            }
            heard(far).await
        })
        .await;
    assert!(quiet.is_ok(), "{quiet:?}");
    assert_eq!((line.round_trips(), line.state.server().clock_difference), (0, Some(200)));

    let mut line = Line::new();
    let taken = line.claim(b"0123456789abcdef").await;
    let answered = line
        .work(async |far| {
            heard(far).await;
            far.write_all(&[b"+OK\r\n", marker().as_slice()].concat()).await.expect("room");
            taken.await
        })
        .await;
    assert_eq!(answered.expect("it works"), Ok(Answer::Taken));
    assert_eq!(line.round_trips(), 1);
}
