//! How the store is: what metrics, readiness and the log tell of it. Nothing here decides about a proof.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::condition::Condition;
use super::trouble::Trouble;
use crate::clock::Clock;
use crate::config::OnFailure;
use crate::verify::nonce::Standing;
use crate::verify::time::UnixTime;

/// A look at the whole store.
#[derive(Clone, Debug)]
pub struct State {
    /// Each server that is used, or ought to be.
    pub servers: Vec<Server>,
    /// Up to this second a proof may have been used before the store's memory begins. `None`: no server was vetted yet.
    pub line: Option<UnixTime>,
    /// While not all of it can be asked: what becomes of the proofs that it cannot be asked about.
    pub meanwhile: Option<OnFailure>,
    /// What became of claims, and how long the servers took.
    pub counts: Counts,
}

/// A look at one server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is; no user, no password.
    pub place: String,
    /// Whether it can be asked.
    pub health: Health,
    /// How far its clock was ahead of ours when last asked, in milliseconds; negative where it was behind. `None`: not asked yet.
    pub clock_difference: Option<i64>,
}

impl fmt::Display for Server {
    /// Where it is and how, for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.health {
            Health::Connecting => write!(f, "{}: no answer yet", self.place),
            Health::Usable => write!(f, "{}: in use", self.place),
            Health::Away { since, trouble } => {
                // A clock before 1970 is set wrong, and has no such form.
                let since = humantime::format_rfc3339_seconds((*since).max(SystemTime::UNIX_EPOCH));
                write!(f, "{}: away since {since}: {trouble}", self.place)
            }
        }
    }
}

/// Whether a server can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not reached yet, nor has that failed yet.
    Connecting,
    /// It is asked.
    Usable,
    /// It is not asked, since when and why.
    Away {
        /// Since when
        since: SystemTime,
        /// Why, as it was found out last
        trouble: Trouble,
    },
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claims that were taken
    pub taken: u64,
    /// Claims of proofs that were used before
    pub replayed: u64,
    /// Claims without an answer that could be trusted: refused, and perhaps spent
    pub unavailable: u64,
    /// What nobody has counted for limits, and one gateway alone therefore
    pub uncounted: u64,
    /// How often each [`Trouble`] ended or prevented a connection, was found in a look at a cluster, or kept a claim from being sent, in the order of [`Trouble::LABELS`]
    pub troubles: [u64; Trouble::LABELS.len()],
    /// Round trips of claims, those that go out together as one: so many took no longer than each of [`ROUND_TRIPS`], and longer than the one before; the last are all others
    pub round_trips: [u64; ROUND_TRIPS.len() + 1],
    /// What they took together
    pub round_trips_sum: Duration,
}

/// The bounds by which round trips are counted, in microseconds.
pub const ROUND_TRIPS: [u64; 10] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000, 1_000_000];

impl State {
    /// Whether every server can be asked.
    pub fn is_usable(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.health == Health::Usable)
    }
}

/// [`Counts`] while they grow.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) taken: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) uncounted: AtomicU64,
    troubles: [AtomicU64; Trouble::LABELS.len()],
    round_trips: [AtomicU64; ROUND_TRIPS.len() + 1],
    /// In microseconds.
    round_trips_sum: AtomicU64,
}

impl Tally {
    /// The counts so far.
    pub(super) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            taken: read(&self.taken),
            replayed: read(&self.replayed),
            unavailable: read(&self.unavailable),
            uncounted: read(&self.uncounted),
            troubles: self.troubles.each_ref().map(read),
            round_trips: self.round_trips.each_ref().map(read),
            round_trips_sum: Duration::from_micros(read(&self.round_trips_sum)),
        }
    }

    /// Counts one more of them.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether anything was ever wrong.
    pub(super) fn has_troubles(&self) -> bool {
        self.troubles.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Counts a trouble.
    pub(super) fn count_trouble(&self, trouble: &Trouble) {
        Self::count(&self.troubles[trouble.number()]);
    }

    /// Counts a round trip.
    pub(super) fn count_round_trip(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = ROUND_TRIPS.partition_point(|bound| *bound < micros);
        Self::count(&self.round_trips[place]);
        self.round_trips_sum.fetch_add(micros, Ordering::Relaxed);
    }
}

/// How many servers are away. While one is, some proofs cannot be asked about, and which ones nobody knows before: so this process counts as being on its own.
#[derive(Debug, Default)]
pub(super) struct Absences {
    count: AtomicUsize,
    standing: Standing,
}

impl Absences {
    /// What is told of it.
    pub(super) const fn standing(&self) -> &Standing {
        &self.standing
    }

    fn tell(&self) {
        // Who counts last may not be who tells last, so each looks again at what it has told.
        loop {
            let count = self.count.load(Ordering::SeqCst);
            self.standing.stand_alone(count > 0);
            if self.count.load(Ordering::SeqCst) == count {
                return;
            }
        }
    }
}

/// Something that proofs are asked about is away, for as long as this is there. What is used no more is missed no more.
#[derive(Debug)]
pub(super) struct Absence(Arc<Absences>);

impl Absence {
    /// One more is away.
    pub(super) fn new(absences: &Arc<Absences>) -> Self {
        absences.count.fetch_add(1, Ordering::SeqCst);
        absences.tell();
        Self(Arc::clone(absences))
    }
}

impl Drop for Absence {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.tell();
    }
}

/// What the lanes to one server know of it.
#[derive(Debug)]
pub(super) struct ServerState {
    tally: Arc<Tally>,
    absences: Arc<Absences>,
    clock: Clock,
    /// In milliseconds; [`UNKNOWN`](Self::UNKNOWN) before it was asked.
    ahead: AtomicI64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    condition: Condition,
    serving: Vec<bool>,
    /// While it is not usable.
    absence: Option<Absence>,
}

impl ServerState {
    const UNKNOWN: i64 = i64::MIN;

    /// A server that was not reached yet, with so many lanes to it.
    pub(super) fn new(
        place: String,
        lanes: usize,
        tally: Arc<Tally>,
        absences: Arc<Absences>,
        clock: Clock,
        on_failure: OnFailure,
    ) -> Self {
        let seen = Seen {
            condition: Condition::unknown(place, on_failure),
            serving: vec![false; lanes],
            absence: Some(Absence::new(&absences)),
        };
        Self { tally, absences, clock, ahead: AtomicI64::new(Self::UNKNOWN), seen: Mutex::new(seen) }
    }

    /// Nothing panics while this is held that would leave it half-written.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many claims waited for too long to be sent.
    pub(super) fn waited_for_too_long(&self, claims: usize) {
        for _ in 0..claims {
            self.tally.count_trouble(&Trouble::Overloaded);
        }
    }

    /// Claims were answered.
    pub(super) fn answered(&self, took: Duration) {
        self.tally.count_round_trip(took);
    }

    /// Something was not counted for limits.
    pub(super) fn uncounted(&self, why: &Trouble) {
        self.seen().condition.uncounted(why);
    }

    /// The server was looked at, and its clock is so far ahead.
    pub(super) fn looked(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
        self.seen().condition.settle(Some(ahead));
    }

    /// A lane has vetted the server at `place`, and asks it from now on.
    pub(super) fn serving(&self, lane: usize, place: &str, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
        let mut seen = self.seen();
        seen.serving[lane] = true;
        place.clone_into(&mut seen.condition.place);
        seen.condition.well(Some(ahead));
        seen.absence = None;
    }

    /// A lane has no connection for this reason.
    pub(super) fn failed(&self, lane: usize, place: Option<&str>, trouble: Trouble) {
        self.tally.count_trouble(&trouble);
        if let Trouble::ClockDiffers(ahead) = trouble {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let mut seen = self.seen();
        seen.serving[lane] = false;
        if let Some(place) = place {
            place.clone_into(&mut seen.condition.place);
        }
        if seen.serving.contains(&true) {
            return;
        }
        seen.absence.get_or_insert_with(|| Absence::new(&self.absences));
        seen.condition.wrong(trouble, None, &self.clock);
    }

    /// How the server is.
    pub(super) fn server(&self) -> Server {
        let seen = self.seen();
        let ahead = self.ahead.load(Ordering::Relaxed);
        Server {
            place: seen.condition.place.clone(),
            health: seen.condition.health().clone(),
            clock_difference: (ahead != Self::UNKNOWN).then_some(ahead),
        }
    }
}
