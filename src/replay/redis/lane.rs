//! The lanes to one server, and what a lane does: connect, vet, work, and after the first thing that is wrong, wait a little and begin again.
//!
//! This is the breaker. A claim is given to a lane that works, or refused at once; one that a lane has already is sent within `timeout` or refused, and answered within another. So a server that is away holds a
//! claim for at most twice `timeout`, and later requests not at all, and it is asked again as soon as a lane has vetted it, by itself.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Kind;
use super::batch::{Answer, Claim, Judge, Wish};
use super::bounds::Bounds;
use super::clocks::Pace;
use super::connect::Connector;
use super::link::Stream;
use super::memory::{Known, Memory, Names};
use super::past::Past;
use super::sentinel::Whereabouts;
use super::serve::{End, Serving};
use super::state::{Absences, Server, ServerState, Tally};
use super::trouble::Trouble;
use super::vet::{self, Vetted};
use crate::clock::Clock;
use crate::config::{self, RedisEndpoint, RedisServer};

/// Claims that may wait for a lane. A server that takes a hundred thousand a second is through with them in 20 ms.
const WAITING: usize = 2048;
/// The pause before the second attempt; it doubles, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What all lanes of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What the operator wants.
    pub(super) settings: Arc<config::Redis>,
    /// The way to its servers.
    pub(super) connector: Connector,
    /// Ours.
    pub(super) clock: Clock,
    /// What is counted.
    pub(super) tally: Arc<Tally>,
    /// What nonces are sealed by: the latest line of any memory, and whether a server is away.
    pub(super) absences: Arc<Absences>,
    /// What this gateway counts on.
    pub(super) bounds: Bounds,
    /// What was learnt of its memories, by whatever way.
    pub(super) past: Arc<Past>,
    /// Ends everything that is done for it.
    pub(super) end: CancellationToken,
}

impl Shared {
    pub(super) fn new(settings: Arc<config::Redis>, bounds: Bounds, clock: Clock, past: Arc<Past>) -> Self {
        let connector = Connector::new(&settings);
        let (tally, absences) = (Arc::default(), Arc::default());
        Self { settings, bounds, connector, clock, past, tally, absences, end: CancellationToken::new() }
    }

    /// Draws the line behind the beginning of a memory, unless it lies later already.
    fn draw(&self, memory: &Memory, server: &RedisServer) {
        // Before the line: who has seen that sees this too.
        let is_news = self.past.learn(memory);
        let line = memory.line();
        self.absences.standing().draw(line);
        let until = line.plus(i64::try_from(self.past.max_future()).unwrap_or(i64::MAX));
        let still = until.since(self.clock.now());
        if is_news && still >= 0 {
            info!(
                %server,
                for_seconds = still.saturating_add(1),
                "the replay store begins a new memory: until then proofs without a nonce are asked for one, since they may have been used before"
            );
        }
    }
}

/// How a lane learns where its server is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// It is always there.
    At(RedisServer),
    /// Wherever the sentinels say the master of the group is.
    Master(Whereabouts),
    /// There, for as long as the cluster's map says so, which is looked at anew when something is wrong.
    Node(RedisServer, Arc<Notify>),
}

impl Place {
    async fn find(&self) -> Result<RedisServer, Trouble> {
        match self {
            Place::At(server) | Place::Node(server, _) => Ok(server.clone()),
            Place::Master(whereabouts) => whereabouts.master().await.map(RedisServer::Network),
        }
    }

    /// Its name, where a store has several servers.
    const fn node(&self) -> Option<&RedisEndpoint> {
        match self {
            Place::Node(RedisServer::Network(endpoint), _) => Some(endpoint),
            Place::Node(RedisServer::Unix(_), _) | Place::At(_) | Place::Master(_) => None,
        }
    }

    /// Does `work` with the server that was found, for as long as that is the one.
    ///
    /// # Errors
    /// [`Trouble::Replaced`]
    async fn during<T>(&self, found: &RedisServer, work: impl Future<Output = T>) -> Result<T, Trouble> {
        match (self, found) {
            (Place::Master(whereabouts), RedisServer::Network(master)) => {
                whereabouts.during(master, work).await.ok_or(Trouble::Replaced)
            }
            (Place::At(_) | Place::Node(..), _) | (Place::Master(_), RedisServer::Unix(_)) => Ok(work.await),
        }
    }

    /// Something was wrong with the server that was found; perhaps it is no longer the one.
    fn doubt(&self) {
        match self {
            Place::At(_) => {}
            Place::Master(whereabouts) => whereabouts.doubt(),
            Place::Node(_, doubted) => doubted.notify_one(),
        }
    }
}

/// The lanes to one server. Dropped, it ends them.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    state: Arc<ServerState>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Lane {
    queue: mpsc::Sender<Claim>,
    serving: Arc<AtomicBool>,
}

impl Lanes {
    /// Starts `connections` lanes. Waits for nothing.
    pub(super) fn start(place: Place, kind: Kind, names: Names, shared: &Arc<Shared>) -> Self {
        let name = match &place {
            Place::At(server) | Place::Node(server, _) => server.to_string(),
            Place::Master(whereabouts) => whereabouts.to_string(),
        };
        let count = shared.settings.connections.max(1);
        let state = Arc::new(ServerState::new(
            name,
            count,
            Arc::clone(&shared.tally),
            Arc::clone(&shared.absences),
            shared.clock.clone(),
            shared.settings.on_failure,
        ));
        let least = shared.past.least(place.node());
        let lanes = (0..count).map(|number| {
            let (queue, waiting) = mpsc::channel(WAITING);
            let serving = Arc::<AtomicBool>::default();
            let least = Arc::clone(&least);
            let task = Task {
                number,
                place: place.clone(),
                kind,
                names: names.clone(),
                shared: Arc::clone(shared),
                state: Arc::clone(&state),
                serving: Arc::clone(&serving),
                least,
            };
            // It ends when its queue does, or when the store does.
            tokio::spawn(shared.end.clone().run_until_cancelled_owned(task.run(waiting)));
            Lane { queue, serving }
        });
        Self { lanes: lanes.collect(), state: Arc::clone(&state), shared: Arc::clone(shared) }
    }

    /// Whether one of them works.
    pub(super) fn is_usable(&self) -> bool {
        self.lanes.iter().any(|lane| lane.serving.load(Ordering::Acquire))
    }

    /// Makes a claim. `None`: it could not be sent, or nobody can say what came of it. It is never sent a second time.
    pub(super) async fn claim(&self, key: [u8; 16], keep: u64, asking: bool) -> Option<Answer> {
        self.ask(key, keep, Wish::Take, asking).await
    }

    /// Counts one more. `None` as above.
    pub(super) async fn count(&self, key: [u8; 16], keep: u64) -> Option<Answer> {
        self.ask(key, keep, Wish::Count, false).await
    }

    async fn ask(&self, key: [u8; 16], keep: u64, wish: Wish, asking: bool) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        // The same proof goes to the same lane while that works; which one does not matter.
        let first = usize::from(key[0]) % self.lanes.len();
        let (before, after) = self.lanes.split_at(first);
        let lane = after.iter().chain(before).find(|lane| lane.serving.load(Ordering::Acquire))?;
        if let Err(mpsc::error::TrySendError::Full(_)) =
            lane.queue.try_send(Claim { key, keep, wish, asking, since: Instant::now(), answer })
        {
            self.shared.tally.count_trouble(&Trouble::Overloaded);
            return None;
        }
        answered.await.ok()
    }

    /// How the server is.
    pub(super) fn server(&self) -> Server {
        self.state.server()
    }
}

/// One lane's own part.
struct Task {
    number: usize,
    place: Place,
    kind: Kind,
    names: Names,
    shared: Arc<Shared>,
    state: Arc<ServerState>,
    serving: Arc<AtomicBool>,
    /// The memory of this server begins no earlier, by what any lane to it has learnt.
    least: Arc<AtomicU64>,
}

impl Task {
    async fn run(self, mut queue: mpsc::Receiver<Claim>) {
        let mut pause = Duration::ZERO;
        // It outlives connections, since that a clock was set is a reason to end one, and lanes: a reload may come while nobody gets through.
        let mut pace = self.shared.past.pace();
        loop {
            let mut place = None;
            let Some(ready) = refusing(&mut queue, self.prepare(&mut place, &mut pace)).await else { return };
            let trouble = match ready {
                Ok((stream, vetted, server)) => {
                    let since = Instant::now();
                    match self.work(stream, vetted, &server, &mut queue, &mut pace).await {
                        End::Closed => return,
                        End::Trouble(trouble) => {
                            // What has worked for a while may have been lost by chance: try again at once, and then with pauses.
                            pause = if since.elapsed() > LONGEST_PAUSE { Duration::ZERO } else { PAUSE };
                            trouble
                        }
                    }
                }
                Err(trouble) => trouble,
            };
            if let Some(pace) = pace {
                self.shared.past.keep_pace(pace);
            }
            self.state.failed(self.number, place.as_deref(), trouble);
            self.place.doubt();
            if refusing(&mut queue, tokio::time::sleep(scattered(pause))).await.is_none() {
                return;
            }
            pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        }
    }

    /// Connects and vets. `place` becomes where the server is, once that is known; `pace` is how its clock went when it was looked at last, or farther ahead if ours is: while nobody gets
    /// through to it (the certificates of both have ended by clocks that are ahead), ours tells what its clock may show, by which claims end. Where ours alone was ahead, that begins a new memory
    /// for nothing, once.
    async fn prepare(
        &self,
        place: &mut Option<String>,
        pace: &mut Option<Pace>,
    ) -> Result<(Box<dyn Stream>, Vetted, RedisServer), Trouble> {
        let Shared { settings, bounds, connector, clock, .. } = &*self.shared;
        let seen = *pace;
        *pace = seen.map(|seen| seen.farther(Pace::differing(0, clock)));
        let server = self.place.find().await?;
        *place = Some(server.to_string());
        let ready = async {
            let mut link = connector.connect(&server).await?;
            let known = Known { latest: self.shared.past.began(), least: self.least.load(Ordering::Relaxed) };
            let bounds = self.shared.past.longest(*bounds);
            let vetted = vet::vet(&mut link, settings, self.kind, &self.names, known, bounds, clock).await?;
            Ok::<_, Trouble>((link.into_stream(), vetted))
        };
        let ready = self.place.during(&server, ready).await?;
        if let Err(Trouble::ClockDiffers(ahead)) = &ready {
            // It has told what it shows, so nothing has to be guessed this time.
            let now = Pace::differing(*ahead, clock);
            *pace = Some(seen.map_or(now, |seen| seen.farther(now)));
        }
        let (stream, vetted) = ready?;
        let now = vetted.pace;
        if let Some(before) = pace.replace(now)
            && now.is_set_back_since(&before, settings)
            && now.has_begun_before(vetted.memory.begins, &before)
        {
            self.least.fetch_max(vetted.memory.begins.saturating_add(1), Ordering::Relaxed);
            return Err(Trouble::MemoryLost);
        }
        Ok((stream, vetted, server))
    }

    async fn work(
        &self,
        stream: Box<dyn Stream>,
        vetted: Vetted,
        server: &RedisServer,
        queue: &mut mpsc::Receiver<Claim>,
        pace: &mut Option<Pace>,
    ) -> End {
        let Shared { settings, bounds, clock, .. } = &*self.shared;
        // The line first: whoever sees this lane work has to see the line of its memory.
        self.shared.draw(&vetted.memory, server);
        let (begins, longest) = (vetted.memory.begins, vetted.memory.bounds);
        self.least.fetch_max(begins, Ordering::Relaxed);
        self.state.serving(self.number, &server.to_string(), vetted.ahead);
        self.serving.store(true, Ordering::Release);
        let judge = Judge { settings, bounds: *bounds, kind: self.kind, vetted, clock };
        let mut serving = Serving::new(stream, judge, &self.names, &self.state);
        let working = async {
            tokio::select! {
                biased;
                end = serving.run(queue) => end,
                // What is claimed here would end before a proof does at a replica that is known of by another server.
                () = self.shared.past.outgrown(longest) => End::Trouble(Trouble::MemoryLost),
            }
        };
        let end = self.place.during(server, working).await.unwrap_or_else(End::Trouble);
        self.serving.store(false, Ordering::Release);
        *pace = Some(serving.pace());
        if matches!(end, End::Trouble(Trouble::MemoryLost)) {
            // Should its marker be there again, then without what was claimed meanwhile.
            self.least.fetch_max(begins.saturating_add(1), Ordering::Relaxed);
        }
        end
    }
}

/// Does `work`, and meanwhile refuses claims that come too late to see that the lane does not work. `None`: there will be no more claims.
async fn refusing<T>(queue: &mut mpsc::Receiver<Claim>, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            claim = queue.recv() => drop(claim?),
        }
    }
}

/// Between half of a pause and all of it, so that replicas that lost a server together do not come back together.
fn scattered(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    pause / 2 + pause / 2 * u32::try_from(chance).unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::condition::tests::heard;
    use super::super::memory::Identity;
    use super::super::tests::{bounds, settings};
    use super::*;
    use crate::config::{RedisServers, RedisWire};

    /// A line that moves is why callers are suddenly asked for nonces, so it stands in the log, once for all lanes; one that nobody notices does not.
    #[test]
    fn a_new_memory_is_said_once() {
        let (lines, _guard) = heard();
        let clock = Clock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let server = RedisServer::Network(RedisEndpoint { host: "one".into(), port: 6379 });
        let settings = settings(RedisServers::Alone(server.clone()), RedisWire::Plain);
        let bounds = bounds(&settings);
        let shared = Shared::new(Arc::new(settings), bounds, clock, Past::begin(bounds.max_future));
        let draw = |begins| {
            let identity = Identity::new(b"r", b"h", b"0");
            shared.draw(&Memory { identity, key: Vec::new(), value: Vec::new(), begins, bounds }, &server);
            shared.absences.standing().line().map(|line| line.seconds())
        };
        assert_eq!(draw(900), Some(903));
        assert_eq!(lines.take(), Vec::<String>::new(), "too old to be noticed");
        assert_eq!(draw(999), Some(1_002));
        let said = lines.take();
        let [line] = &said[..] else { panic!("{said:?}") };
        assert!(
            line.contains("begins a new memory") && line.ends_with("server=one:6379 for_seconds=13"),
            "{line}"
        );
        assert_eq!((draw(999), draw(990)), (Some(1_002), Some(1_002)));
        assert_eq!(lines.take(), Vec::<String>::new(), "said by another lane");
        draw(u64::MAX);
        assert_eq!(lines.take().len(), 1, "whatever a marker says");
    }
}
