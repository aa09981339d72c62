//! Callers and thieves at once: most requests go to two doors at the same time, and what was recorded is sent again later, to any door.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast::demo::token::IssuerKey;
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::caller::{ASKING, COUNTED, Caller};
use crate::connection::{Answer, Connection, Trust};
use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::tally::{Part, Tally};

/// Recorded requests; older ones are too old to pass anywhere by then.
const RECORDED: usize = 20_000;

/// Between two requests of one caller.
const PACE: Duration = Duration::from_millis(15);

const CALLERS: usize = 8;

/// One in so many requests of a caller that knows nonces comes after it has asked for another.
const RENEWED: usize = 16;

/// Connections to each door that send recorded requests once more.
const SWEEPERS: usize = 4;

/// New requests that have to pass before a gateway counts as well: as many as find a third of a cluster that is still away.
const IN_A_ROW: usize = 12;

/// Recorded requests, as a thief has them.
#[derive(Default)]
pub(crate) struct Records(Mutex<VecDeque<(Instant, Arc<[u8]>)>>);

impl Records {
    fn add(&self, request: Arc<[u8]>) {
        let mut records = self.0.lock().expect("no one panicked");
        if records.len() == RECORDED {
            records.pop_front();
        }
        records.push_back((Instant::now(), request));
    }

    fn any(&self, dice: &mut Dice) -> Option<Arc<[u8]>> {
        let records = self.0.lock().expect("no one panicked");
        if records.is_empty() { None } else { Some(Arc::clone(&records[dice.below(records.len())].1)) }
    }

    /// So many that are at least that old.
    pub(crate) fn old(&self, count: usize, age: Duration, dice: &mut Dice) -> Vec<Arc<[u8]>> {
        let records = self.0.lock().expect("no one panicked");
        let old = records.partition_point(|(at, _)| at.elapsed() >= age);
        let one = |_| Arc::clone(&records[dice.below(old)].1);
        if old == 0 { Vec::new() } else { (0..count).map(one).collect() }
    }

    /// The latest, newest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<Arc<[u8]>> {
        let records = self.0.lock().expect("no one panicked");
        records.iter().rev().take(count).map(|(_, request)| Arc::clone(request)).collect()
    }
}

/// What load runs against.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) doors: Vec<SocketAddr>,
    pub(crate) trust: Trust,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) records: Arc<Records>,
    pub(crate) issuer: Arc<IssuerKey>,
    /// Milliseconds that callers wait for an answer
    pub(crate) patience: Arc<AtomicU64>,
}

impl Group {
    /// A connection to each door.
    fn connections(&self) -> Vec<Connection> {
        let connection = |(number, door): (usize, &SocketAddr)| Connection::to(number, *door, &self.trust);
        self.doors.iter().enumerate().map(connection).collect()
    }

    /// Sends each of these recorded requests to every door once more, but to those that are left out, and gives what was said.
    pub(crate) async fn sweep(&self, requests: &[Arc<[u8]>], left_out: &[usize]) -> Part {
        let tally = Arc::new(Tally::default());
        let mut tasks = Vec::new();
        for (number, door) in self.doors.iter().enumerate().filter(|(number, _)| !left_out.contains(number)) {
            for some in requests.chunks(requests.len().div_ceil(SWEEPERS).max(1)) {
                let mut connection = Connection::to(number, *door, &self.trust);
                let (some, tally) = (some.to_vec(), Arc::clone(&tally));
                tasks.push(tokio::spawn(async move {
                    for request in some {
                        tally.count(&connection.send(&request).await, true);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.expect("no task panics");
        }
        tally.take()
    }
}

/// Load that runs until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    /// Starts callers, of which every other one knows nonces, and half of these call what asks for them.
    pub(crate) fn start(group: &Group, dice: &mut Dice) -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..CALLERS {
            let caller = Caller::new(&group.issuer)?;
            let knows = if number % 2 == 0 { Nonces::Known } else { Nonces::Unknown };
            let path = if number % 4 == 0 { ASKING } else { COUNTED };
            let work = work(group.clone(), (caller, knows, path), dice.another(), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move { work.await.map_err(|error| error.to_string()) }));
        }
        Ok(Self { stop, tasks })
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut self.tasks) {
            task.await??;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A scene that fails must not load the next one.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a caller does as RFC 9449 §8 has it, or never heard of nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nonces {
    Known,
    Unknown,
}

async fn work(
    group: Group,
    (caller, nonces, path): (Caller, Nonces, &str),
    mut dice: Dice,
    stop: Arc<AtomicBool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut connections = group.connections();
    let mut nonce = None;
    while !stop.load(Ordering::Relaxed) {
        // Nonces of every age are about: most are replaced when they end only.
        if nonces == Nonces::Known && dice.below(RENEWED) == 0 {
            let asking = caller.request_to(ASKING, group.ledger.number(), None);
            let door = dice.below(connections.len());
            nonce = connections[door].send(&asking.map_err(|error| error.to_string())?).await.nonce.or(nonce);
        }
        let number = group.ledger.number();
        let made = caller.request_to(path, number, nonce.as_deref()).map_err(|error| error.to_string())?;
        let request: Arc<[u8]> = made.into();
        group.records.add(Arc::clone(&request));
        let patience = Duration::from_millis(group.patience.load(Ordering::Relaxed));
        let (one, two) = dice.pair_below(connections.len());
        let answers = if dice.below(3) == 0 {
            // What a gateway has seen it refuses for ever, whatever the store has forgotten: so that something is left to find out later, some go to one door alone.
            vec![connections[one].send_within(&request, patience).await]
        } else {
            let [one, two] = connections.get_disjoint_mut([one, two])?;
            let (first, second) =
                tokio::join!(one.send_within(&request, patience), two.send_within(&request, patience));
            vec![first, second]
        };
        for (copy, told) in answers.into_iter().enumerate() {
            group.tally.count(&told, copy > 0);
            if nonces == Nonces::Known {
                nonce = told.nonce.or(nonce);
            }
        }
        // Half as many thefts as calls, of any age.
        if dice.below(2) == 0
            && let Some(stolen) = group.records.any(&mut dice)
        {
            let door = dice.below(connections.len());
            group.tally.count(&connections[door].send_within(&stolen, patience).await, true);
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

/// How long it takes until each of these doors lets new requests pass again, one like another, asked by a caller that knows nonces, or by one that does not.
pub(crate) async fn until_well(
    group: &Group,
    doors: &[usize],
    nonces: Nonces,
    patience: Duration,
) -> Outcome<Duration> {
    let began = std::time::Instant::now();
    let caller = Caller::new(&group.issuer)?;
    for door in doors {
        let mut connection = Connection::to(*door, group.doors[*door], &group.trust);
        let (mut nonce, mut passed) = (None, 0);
        while passed < IN_A_ROW {
            let request = caller.request(group.ledger.number(), nonce.as_deref())?;
            group.records.add(request.clone().into());
            let told = connection.send(&request).await;
            if told.answer == Answer::Passed {
                passed += 1;
                continue;
            }
            passed = 0;
            if began.elapsed() > patience {
                return Err(format!("gateway {door} lets nothing pass: {}", told.answer).into());
            }
            if nonces == Nonces::Known && told.nonce.is_some() {
                nonce = told.nonce;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(began.elapsed())
}
