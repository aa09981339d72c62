//! Plays a scene: starts a store and its replicas, lets load run, breaks things one after the other, and judges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast::demo::token::IssuerKey;
use tempfile::TempDir;

use crate::Outcome;
use crate::balancer::Balancer;
use crate::connection::{Answer, Trust};
use crate::dice::Dice;
use crate::gateway::{Address, Gateway, Replay};
use crate::ledger::Ledger;
use crate::load::{Group, Load, Nonces, Records, until_well};
use crate::network::Side;
use crate::program::free_port;
use crate::ring::Ring;
use crate::same_request;
use crate::server::Engine;
use crate::store::{self, OnFailure, Shape, Store};
use crate::tally::{Part, Tally};
use crate::upset::{Comeback, Upset};
use crate::upstream;

/// Within so long of what is stated below every gateway has to let new requests pass again: of a caller that knows nonces, once the store, or the other
/// that takes its place, can be written to.
const RECOVERY: Duration = Duration::from_secs(10);
/// The same for a caller that knows none, who has to wait until `iat` lies behind the beginning of the store's memory.
const PLAIN_RECOVERY: Duration = Duration::from_secs(30);

/// The longest that a store which is away may hold a request: many times `timeout`, for machines that are busy.
const HELD: Duration = Duration::from_secs(2);

/// Milliseconds by which a clock is wrong that is too far off.
const WRONG: i32 = 1500;

/// So many of the latest recorded requests are tried once more at every door, when all is over.
const SWEPT: usize = 1500;

/// What a scene is.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// `None`: each replica has a memory of its own.
    pub(crate) store: Option<(Shape, Engine)>,
    pub(crate) replicas: usize,
    pub(crate) on_failure: OnFailure,
    /// `dpop.max_age`, in seconds
    pub(crate) max_age: u32,
    /// `replay.redis.replicas`; left out, what it is by default
    pub(crate) copies: Option<u8>,
    pub(crate) clocks: Clocks,
    pub(crate) act: Act,
}

/// What the gateways' clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clocks {
    /// That of the servers.
    Right,
    /// Ahead, right and behind, in turn, as far as is borne.
    Apart,
}

impl Clocks {
    /// Milliseconds by which a gateway's is ahead. What the measurement adds of its own has to fit in too.
    fn ahead(self, gateway: usize) -> i32 {
        let most = store::CLOCK_DIFFERENCE - 100;
        match self {
            Self::Right => 0,
            Self::Apart => [most, 0, -most][gateway % 3],
        }
    }
}

/// What happens in it.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// One request many times at once, so many rounds.
    SameRequest(usize),
    /// Load, and these, one after the other.
    Upsets(Vec<Upset>),
    /// Load, and whatever fits, in any order, for so long.
    Chaos(Duration),
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            None => write!(f, "{} replicas, each with a memory of its own", self.replicas)?,
            Some((shape, engine)) => {
                write!(
                    f,
                    "{} replicas, {engine} {shape}, on_failure {}, proofs of {} s",
                    self.replicas, self.on_failure, self.max_age
                )?;
                if self.clocks == Clocks::Apart {
                    write!(f, ", clocks apart")?;
                }
                if let Some(copies) = self.copies {
                    write!(f, ", claims with {copies} copies")?;
                }
            }
        }
        match &self.act {
            Act::SameRequest(rounds) => {
                write!(f, ": one request {} times at once, {rounds} rounds", same_request::COPIES)
            }
            Act::Upsets(upsets) => {
                let names: Vec<String> = upsets.iter().map(Upset::to_string).collect();
                write!(f, ": {}", names.join("; "))
            }
            Act::Chaos(time) => write!(f, ": anything for {} s", time.as_secs()),
        }
    }
}

/// What scenes are played with.
pub(crate) struct Stage {
    pub(crate) binary: PathBuf,
    pub(crate) names: Vec<String>,
    pub(crate) dice: Dice,
}

/// A scene while it is played. What was started ends with it, the gateways before the store.
struct Cast {
    group: Group,
    gateways: Vec<Gateway>,
    balancer: Option<Balancer>,
    store: Option<Store>,
    on_failure: OnFailure,
    dice: Dice,
    _work: TempDir,
}

/// What a scene showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No proof passed twice.
    Once,
    /// So many did.
    Twice(usize),
}

/// Plays a scene and prints what came of it. An error says what else was not as it has to be.
pub(crate) async fn play(stage: &mut Stage, scene: &Scene) -> Outcome<Verdict> {
    let mut cast = Cast::gather(stage, scene).await?;
    let outcome = match &scene.act {
        Act::SameRequest(rounds) => cast.same_request(*rounds).await,
        Act::Upsets(upsets) => cast.upsets(upsets).await,
        Act::Chaos(time) => cast.chaos(*time).await,
    };
    let judged = cast.group.ledger.judge();
    println!(
        "  proofs made {}, passed {}, passed twice {}",
        cast.group.ledger.made(),
        judged.passed,
        judged.twice.len()
    );
    for line in judged.twice.iter().take(5) {
        println!("    {line}");
    }
    if let (Err(_), true) = (&outcome, std::env::var_os("HOLDFAST_LOGS").is_some()) {
        for gateway in &cast.gateways {
            println!("{}\n", gateway.last_words());
        }
    }
    // Whatever else went wrong, nothing is worse.
    if !judged.twice.is_empty() {
        return Ok(Verdict::Twice(judged.twice.len()));
    }
    outcome.map(|()| Verdict::Once)
}

impl Cast {
    async fn gather(stage: &mut Stage, scene: &Scene) -> Outcome<Self> {
        let mut dice = stage.dice.another();
        let work = TempDir::with_prefix("holdfast-replicas-")?;
        let files = work.path().join("files");
        std::fs::create_dir(&files)?;
        let issuer = write_files(&files, &stage.names)?;
        Ring::new(&files, &mut dice)?;
        let store = match scene.store {
            None => None,
            Some((shape, engine)) => {
                println!("  {}", engine.version()?);
                Some(Store::start(shape, engine, work.path(), &files, &mut dice)?)
            }
        };
        let replay = match &store {
            None => Replay::own_memory(scene.max_age),
            Some(store) => {
                Replay::shared(scene.max_age, &store.configuration(scene.on_failure, scene.copies))
            }
        };
        let ledger = Arc::new(Ledger::new());
        let mut gateways = Vec::new();
        for number in 0..scene.replicas {
            let network = store.as_ref().and_then(|store| store.network.as_ref());
            let side = if number == 0 { Side::Left } else { Side::Right };
            let here = IpAddr::from(Ipv4Addr::LOCALHOST);
            let (ip, back, namespace) = match network {
                None => (here, here, None),
                Some(network) => (side.front(), side.back(), Some(network.namespace(side).to_owned())),
            };
            let upstream = upstream::serve(SocketAddr::from((back, 0)), number, Arc::clone(&ledger)).await?;
            let (port, admin) = (free_port(&mut dice), free_port(&mut dice));
            let address = Address { ip, port, admin, upstream, namespace, ahead: scene.clocks.ahead(number) };
            gateways.push(Gateway::start(&stage.binary, &files, number, address, &replay)?);
        }
        for gateway in &mut gateways {
            gateway.ready().await?;
        }
        let doors: Vec<SocketAddr> = gateways.iter().map(Gateway::door).collect();
        let balancer = Balancer::start(&files, free_port(&mut dice), &doors).await?;
        let group = Group {
            doors,
            trust: Trust::new(&files.join("ca.pem"))?,
            ledger,
            tally: Arc::new(Tally::default()),
            records: Arc::new(Records::default()),
            issuer: Arc::new(issuer),
        };
        let on_failure = scene.on_failure;
        let mut cast =
            Self { group, gateways, balancer: Some(balancer), store, on_failure, dice, _work: work };
        cast.well(&cast.all(), PLAIN_RECOVERY).await?;
        Ok(cast)
    }

    fn all(&self) -> Vec<usize> {
        (0..self.gateways.len()).collect()
    }

    /// Waits until these gateways let new requests pass: after how long for callers that know nonces, and for others.
    async fn well(&mut self, gateways: &[usize], patience: Duration) -> Outcome<(Duration, Duration)> {
        let (known, unknown) = tokio::join!(
            until_well(&self.group, gateways, Nonces::Known, patience),
            until_well(&self.group, gateways, Nonces::Unknown, patience)
        );
        Ok((known?, unknown?))
    }

    async fn same_request(&mut self, rounds: usize) -> Outcome<()> {
        let balancer = self.balancer.as_ref().ok_or("no balancer")?.door;
        let found = same_request::play(&self.group, balancer, rounds).await?;
        println!("  {}", self.group.tally.take());
        println!("  rounds: passed once {}, never {}, oftener {}", found.once, found.never, found.oftener);
        if found.once == rounds { Ok(()) } else { Err(format!("{found:?}").into()) }
    }

    async fn load(&mut self) -> Outcome<Load> {
        // The balancer is a door like any other.
        let mut group = self.group.clone();
        group.doors.extend(self.balancer.as_ref().map(|balancer| balancer.door));
        Load::start(&group, &mut self.dice)
    }

    async fn upsets(&mut self, upsets: &[Upset]) -> Outcome<()> {
        let load = self.load().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("  before: {}", self.group.tally.take());
        for upset in upsets {
            self.endure(*upset).await?;
        }
        load.stop().await?;
        self.sweep().await
    }

    async fn chaos(&mut self, time: Duration) -> Outcome<()> {
        let shape = self.store.as_ref().ok_or("chaos needs a store")?.shape;
        let load = self.load().await?;
        let began = std::time::Instant::now();
        while began.elapsed() < time {
            let all = Upset::all(shape);
            let upset = all[self.dice.below(all.len())];
            self.endure(upset).await?;
            let pause = 200 + self.dice.below(3000) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        load.stop().await?;
        self.sweep().await
    }

    /// What was recorded last is sent to every gateway once more; nothing of it may pass that has passed.
    async fn sweep(&mut self) -> Outcome<()> {
        self.group.tally.take();
        let count = self.group.sweep(SWEPT).await;
        println!("  {count} recorded requests at every gateway once more: {}", self.group.tally.take());
        Ok(())
    }

    async fn endure(&mut self, upset: Upset) -> Outcome<()> {
        self.break_and_mend(upset).await.map_err(|error| format!("{upset}: {error}").into())
    }

    /// Breaks one thing, and waits until the group has come back.
    async fn break_and_mend(&mut self, upset: Upset) -> Outcome<()> {
        let store = self.store.as_mut().ok_or("there is no store to break")?;
        let (shape, comeback) = (store.shape, upset.comeback(store.shape));
        self.group.tally.take();
        store.strike(upset, &mut self.dice).await?;
        let victim = self.dice.below(self.gateways.len());
        match upset {
            Upset::GatewayKilled => self.gateways[victim].kill()?,
            Upset::GatewayPaused => self.gateways[victim].signal("STOP")?,
            Upset::ClockWrong => {
                self.gateways[victim].kill()?;
                self.gateways[victim].start_ahead(WRONG)?;
            }
            _ => {}
        }
        // With the network cut, the gateway that is with the old master has nobody to ask.
        let reachable: Vec<usize> =
            if upset == Upset::Cut { (1..self.gateways.len()).collect() } else { self.all() };
        let mut took = None;
        if comeback == Comeback::Alone {
            took = Some(self.well(&reachable, PLAIN_RECOVERY).await?);
            // Both halves of what is broken go on for a while, as they would.
            tokio::time::sleep(Duration::from_secs(1)).await;
        } else {
            tokio::time::sleep(Duration::from_millis(upset.lasts())).await;
        }
        let broken = self.group.tally.take();
        println!("  {upset}: {broken}");
        self.judge_broken(upset, &broken)?;

        self.store.as_mut().ok_or("it is still there")?.mend(upset)?;
        match upset {
            Upset::GatewayKilled => self.gateways[victim].start_again()?,
            Upset::ClockWrong => {
                self.gateways[victim].kill()?;
                self.gateways[victim].start_again()?;
            }
            Upset::GatewayPaused => self.gateways[victim].signal("CONT")?,
            Upset::PasswordChanged => {
                for gateway in &self.gateways {
                    gateway.reload().await?;
                }
            }
            _ => {}
        }
        let after = self.well(&self.all(), PLAIN_RECOVERY).await?;
        let (known, unknown) = took.unwrap_or(after);
        let since = if comeback == Comeback::Alone { "it was broken" } else { "it was mended" };
        println!(
            "    passes again {:.1} s after {since}, for callers without nonces {:.1} s; meanwhile {}",
            known.as_secs_f64(),
            unknown.as_secs_f64(),
            self.group.tally.take()
        );
        if known > RECOVERY {
            return Err(format!("{shape} came back after {known:?} only").into());
        }
        Ok(())
    }

    /// An upset that breaks nothing proves nothing.
    fn judge_broken(&self, upset: Upset, broken: &Part) -> Outcome<()> {
        if upset != Upset::GatewayPaused && broken.longest() > HELD {
            return Err(format!("a request was held for {:?}", broken.longest()).into());
        }
        let refused = broken.of(&Answer::Refused(503, "replay_store_unavailable".to_owned()));
        match self.on_failure {
            OnFailure::Refuse if upset.takes_the_store_away() && refused == 0 => {
                Err("nothing was refused for the store".into())
            }
            OnFailure::Nonce if upset.takes_the_store_away() && broken.of(&Answer::Passed) == 0 => {
                Err("nothing passed with a nonce".into())
            }
            OnFailure::Refuse | OnFailure::Nonce => Ok(()),
        }
    }
}

/// The development files, for the names of all hosts here, and the issuer's key.
fn write_files(directory: &Path, names: &[String]) -> Outcome<IssuerKey> {
    use holdfast::demo::files::{self, Existing};
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = files::make(&names, holdfast::clock::Clock::system().now())?;
    files::write(&set, directory, Existing::Keep)?;
    Ok(IssuerKey::from_pem(&std::fs::read_to_string(directory.join("issuer.key"))?)?)
}
