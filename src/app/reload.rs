//! Another configuration in the place of the one in force: read whole, checked whole, built whole, then put in place at once; or nothing changes.
//!
//! One task does it all, so reloads follow each other, whoever asks for them. Until everything is in hand, new addresses and new issuers' keys
//! included, requests know nothing of it; what can fail comes before what can be seen.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::lasting::Lasting;
use super::listeners::Listeners;
use super::operators::Operators;
use super::supervisor::Supervisor;
use super::watch::FileWatch;
use super::{Addresses, StartError};
use crate::admin::reload::{Asked, Outcome, Trigger};
use crate::config::{self, AfterRestart, Config, Files, OnFailure, Reading, Watch};
use crate::gateway::{Current, Gateway};
use crate::observe::metrics::Reloaded;
use crate::replay::redis::Redis;

/// How long a reload waits for the keys of an issuer that is new. After that it goes on without: its tokens are refused until the keys come, those
/// of others are not.
const KEYS_AT_LATEST: Duration = Duration::from_secs(10);

/// How long a reload waits for the shared replay store, where it is reached otherwise than before.
const MEMORY_AT_LATEST: Duration = Duration::from_secs(10);
/// How long a store that was replaced is there for requests that came before, and hold it for as long as their answers take: longer than from a head to its claim, unless an issuer
/// takes longer to tell of a token. Such a request is answered 503.
const MEMORY_STAYS: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The value of a variable, where it has one.
pub type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where the configuration is read from, each time.
#[derive(Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What `${NAME}` and `{ env: NAME }` mean.
    pub environment: Arc<Variables>,
    /// Puts `log.level` in force.
    pub set_log_level: Arc<dyn Fn(tracing::Level) + Send + Sync>,
    /// Who is told of reloads.
    pub supervisor: Supervisor,
}

impl Source {
    /// Reads the configuration as it is now, and every file it names. It blocks.
    pub fn read(&self) -> Reading {
        config::read_files(&self.path, &*self.environment)
    }
}

/// What a reload changes.
pub(super) struct Parts {
    pub(super) lasting: Lasting,
    pub(super) gateway: Arc<Current>,
    pub(super) listeners: Listeners,
    pub(super) operators: Operators,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) addresses: Arc<ArcSwap<Addresses>>,
    pub(super) after_restart: AfterRestart,
}

/// The task.
pub(super) struct Reloading {
    source: Source,
    parts: Parts,
    watch: Watch,
    /// What the configuration in force was read from.
    applied: Files,
    /// What was read last, whatever came of it: the same is not tried again by itself.
    tried: Files,
}

impl Reloading {
    pub(super) fn new(source: Source, parts: Parts, watch: Watch, files: Files) -> Self {
        Self { source, parts, watch, applied: files.clone(), tried: files }
    }

    /// Reloads whenever it is asked for or a file has changed, until the gateway stops.
    pub(super) async fn run(mut self, mut asked: Receiver<Asked>) {
        let stop = self.parts.stop.clone();
        loop {
            let mut watched = self.watched();
            let (trigger, answer) = tokio::select! {
                () = stop.cancelled() => return,
                Some(Asked { trigger, answer }) = asked.recv() => (trigger, Some(answer)),
                () = watched.changed(&self.tried) => (Trigger::Files, None),
            };
            drop(watched);
            self.source.supervisor.reloading();
            // Until everything is in hand nothing has changed, so a stop that comes meanwhile need not wait for an issuer that says nothing.
            let Some(outcome) = stop.run_until_cancelled(self.reload(trigger)).await else { return };
            let (label, status) = match &outcome {
                Outcome::Applied(_) => (Reloaded::Applied, "serving"),
                Outcome::Unchanged => (Reloaded::Unchanged, "serving"),
                Outcome::Refused(_) => {
                    (Reloaded::Refused, "serving the configuration from before a reload that was refused")
                }
            };
            self.parts.lasting.metrics.reloaded(label);
            self.source.supervisor.ready(status);
            if let Some(answer) = answer {
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            }
        }
    }

    fn watched(&self) -> Watched {
        match self.watch {
            Watch::None => Watched::Nothing,
            Watch::Files { poll } => {
                let mut ticks = interval(poll);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                // The first look is at once: what has changed since it was read, and before it was watched, would not be heard of.
                Watched::Files { watch: FileWatch::new(&self.tried), ticks }
            }
        }
    }

    /// Reads and applies.
    async fn reload(&mut self, trigger: Trigger) -> Outcome {
        let source = self.source.clone();
        let Ok(Reading { outcome, files }) = tokio::task::spawn_blocking(move || source.read()).await else {
            return refused(trigger, "reading the configuration broke off".to_owned(), None);
        };
        self.tried = files.clone();
        if trigger == Trigger::Files && files == self.applied {
            info!(trigger = trigger.name(), "the configuration is the same");
            return Outcome::Unchanged;
        }
        let mut config = match outcome {
            Ok(config) => config,
            Err(complaints) => {
                // Where it went on to, files are watched that were not named; those that are in force are watched too.
                self.tried.extend(&self.applied.look_again());
                return refused(trigger, complaints.to_string(), Some(complaints.in_one_line()));
            }
        };
        Lasting::tell_presets(&config);
        match self.apply(&mut config, &files).await {
            Ok(changes) => {
                info!(trigger = trigger.name(), changes = changes.join("; "), "reloaded");
                self.applied = files;
                Outcome::Applied(changes)
            }
            Err(error) => refused(trigger, error.to_string(), None),
        }
    }

    /// Builds everything, then puts it in place.
    async fn apply(&mut self, config: &mut Config, files: &Files) -> Result<Vec<String>, StartError> {
        let Parts { lasting, gateway, listeners, operators, addresses, tasks, stop, after_restart } =
            &mut self.parts;
        let before = gateway.get();
        let admin = operators.prepare(config.admin.as_ref()).await?;
        let prepared = listeners.prepare(config, Vec::new()).await?;
        let mut next = lasting.gateway(config, Some(&before))?;
        reach_memory(&before, &next).await?;
        // Nothing can fail from here on.
        next.tokens.spawn(tasks, stop);
        if timeout(KEYS_AT_LATEST, next.tokens.tried()).await.is_err() {
            let without = next.tokens.issuers().filter(|issuer| !issuer.has_keys());
            let names: Vec<_> = without.map(|issuer| issuer.name()).collect();
            warn!(
                issuers = names.join(", "),
                "no keys yet; tokens of these issuers are refused until they come"
            );
        }
        let mut changes = changed_files(&self.applied, files);
        lasting.adopt(config);
        (self.source.set_log_level)(config.log.level);
        lasting.hand_over(&before, &mut next);
        lasting.announce(&next);
        let replaced = replaced_memory(&before, &next);
        gateway.replace(next);
        if let Some(redis) = replaced {
            tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                sleep(MEMORY_STAYS).await;
                redis.end();
            }));
        }
        listeners.commit(prepared);
        operators.commit(admin);
        self.watch = config.reload;
        lasting.metrics.applied_at(lasting.clock.now().seconds());
        let now = Addresses { public: listeners.addresses(), admin: operators.address() };
        let then = addresses.swap(Arc::new(now));
        changes.extend(changed_addresses(&then.public, &listeners.addresses()));
        if *after_restart != config.replay.after_restart {
            *after_restart = config.replay.after_restart;
            warn!("replay.memory.after_restart is about the start of a process: the change needs a restart");
            changes.push("replay.memory.after_restart: the change needs a restart".to_owned());
        }
        Ok(changes)
    }
}

/// A password that is wrong in the file must not take a store away that is in use, nor one of its servers. One that is away can be taken from nobody.
async fn reach_memory(before: &Gateway, next: &Gateway) -> Result<(), StartError> {
    let (Some(before), Some(next)) = (before.replay.shared(), next.replay.shared()) else { return Ok(()) };
    next.redis.reaches_all_of(&before.redis, MEMORY_AT_LATEST).await.map_err(StartError::MemoryOutOfReach)?;
    // Who does without it is ready as soon as it is known to be away. Ready as it is it stays until that is known by the new way too, or it would be taken from its callers for a moment.
    if !before.redis.is_awaited() && next.redis.settings().on_failure == OnFailure::Nonce {
        let known = async {
            while next.redis.is_awaited() {
                sleep(LOOK).await;
            }
        };
        // Who is not known by then will be soon.
        let _ = timeout(MEMORY_AT_LATEST, known).await;
    }
    Ok(())
}

/// The shared replay store of `before`, where `next` has another.
fn replaced_memory(before: &Gateway, next: &Gateway) -> Option<Redis> {
    let (before, next) = (&before.replay.shared()?.redis, &next.replay.shared()?.redis);
    (!next.is(before)).then(|| before.clone())
}

/// Logs a refusal, in one line. `why` is for whoever asked.
fn refused(trigger: Trigger, why: String, in_one_line: Option<String>) -> Outcome {
    let reason = in_one_line.as_deref().unwrap_or(&why);
    error!(trigger = trigger.name(), reason, "reload refused; the configuration from before stays in force");
    Outcome::Refused(why)
}

fn changed_files(before: &Files, now: &Files) -> Vec<String> {
    before.differing(now).into_iter().map(|path: &Path| format!("file {}", path.display())).collect()
}

fn changed_addresses<A: std::fmt::Display + std::hash::Hash + Eq>(before: &[A], now: &[A]) -> Vec<String> {
    let (old, new): (HashSet<_>, HashSet<_>) = (before.iter().collect(), now.iter().collect());
    let added = now.iter().filter(|address| !old.contains(address)).map(|at| format!("listening on {at}"));
    let gone =
        before.iter().filter(|address| !new.contains(address)).map(|at| format!("not listening on {at}"));
    added.chain(gone).collect()
}

/// What tells of changed files.
enum Watched {
    Nothing,
    Files { watch: FileWatch, ticks: Interval },
}

impl Watched {
    /// Waits until the files may not be what they were: the system says so, or they are looked at and are not.
    async fn changed(&mut self, files: &Files) {
        let Watched::Files { watch, ticks } = self else { return std::future::pending().await };
        loop {
            tokio::select! {
                () = watch.changed() => return,
                _ = ticks.tick() => {}
            }
            let files = files.clone();
            // A look that broke off tells nothing.
            if matches!(tokio::task::spawn_blocking(move || files.look_again() != files).await, Ok(true)) {
                return;
            }
        }
    }
}
