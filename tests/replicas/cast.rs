//! Everybody who is in a scene: the store, the gateways, the balancer, and the callers with their checker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::demo::token::IssuerKey;
use tempfile::TempDir;

use crate::Outcome;
use crate::balancer::Balancer;
use crate::connection::Trust;
use crate::dice::Dice;
use crate::gateway::{Address, Gateway, Replay};
use crate::ledger::Ledger;
use crate::leftovers::DIRECTORY;
use crate::load::{Group, Load, Nonces, Records, until_well};
use crate::network::Side;
use crate::program::free_port;
use crate::ring::Ring;
use crate::scene::{Act, Scene, Spread};
use crate::store::{OnFailure, Store};
use crate::tally::Tally;
use crate::upstream;

/// Within so long every gateway has to let new requests pass at all. What is asked of them beside that is judged elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);

/// Milliseconds that callers wait for an answer: long enough to see for how long a request is held.
const ANSWERED: u64 = 5_000;
/// The same while a gateway is stopped, so that the others have callers too.
const IMPATIENT: u64 = 400;

/// What scenes are played with.
pub(crate) struct Stage {
    pub(crate) binary: PathBuf,
    pub(crate) names: Vec<String>,
    pub(crate) dice: Dice,
}

/// A scene while it is played. What was started ends with it, the gateways before the store.
pub(crate) struct Cast {
    pub(crate) group: Group,
    pub(crate) gateways: Vec<Gateway>,
    balancer: Balancer,
    pub(crate) store: Option<Store>,
    pub(crate) ring: Ring,
    pub(crate) on_failure: OnFailure,
    /// `dpop.max_age`, in seconds
    pub(crate) max_age: u32,
    pub(crate) rules: Spread,
    pub(crate) copies: Option<u8>,
    pub(crate) dice: Dice,
    /// What was not as it has to be, so far.
    pub(crate) complaints: Vec<String>,
    _work: TempDir,
}

impl Cast {
    /// Starts everybody, and waits until requests pass.
    pub(crate) async fn gather(stage: &mut Stage, scene: &Scene) -> Outcome<Self> {
        let mut dice = stage.dice.another();
        let work = TempDir::with_prefix(format!("{DIRECTORY}{}-", std::process::id()))?;
        let files = work.path().join("files");
        std::fs::create_dir(&files)?;
        let issuer = write_files(&files, &stage.names)?;
        let ring = Ring::new(&files, &mut dice)?;
        let store = match scene.store {
            None => None,
            Some((shape, engine)) => {
                println!("  {}", engine.version()?);
                Some(Store::start(shape, engine, work.path(), &files, scene.clocks, &mut dice)?)
            }
        };
        let replay = |number| {
            let rules = scene.rules.rules(scene.max_age, number);
            match &store {
                None => Replay::own_memory(rules),
                Some(store) => {
                    let mut lines = store.configuration(scene.on_failure, scene.copies);
                    if let Act::SameRequest(_) = scene.act {
                        // Hundreds of signatures at once keep a gateway from reading, and an answer that is late is none: the request would pass never.
                        lines.push("timeout: 2s".to_owned());
                    }
                    Replay::shared(rules, &lines, scene.limits)
                }
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
            let ahead = scene.clocks.gateway(number);
            let address = Address { ip, port, admin, upstream, namespace, ahead };
            gateways.push(Gateway::start(&stage.binary, &files, number, address, replay(number))?);
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
            patience: Arc::new(AtomicU64::new(ANSWERED)),
        };
        let Scene { on_failure, max_age, rules, copies, .. } = *scene;
        let cast = Self {
            group,
            gateways,
            balancer,
            store,
            ring,
            on_failure,
            max_age,
            rules,
            copies,
            dice,
            complaints: Vec::new(),
            _work: work,
        };
        cast.well(&cast.all()).await?;
        Ok(cast)
    }

    /// The numbers of all gateways.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.gateways.len()).collect()
    }

    /// Where the balancer is reached.
    pub(crate) fn balancer(&self) -> SocketAddr {
        self.balancer.door
    }

    /// Waits until these gateways let new requests pass: after how long for callers that know nonces, and for others.
    pub(crate) async fn well(&self, gateways: &[usize]) -> Outcome<(Duration, Duration)> {
        let (known, unknown) = tokio::join!(
            until_well(&self.group, gateways, Nonces::Known, PATIENCE),
            until_well(&self.group, gateways, Nonces::Unknown, PATIENCE)
        );
        Ok((known?, unknown?))
    }

    /// Says whether a gateway is stopped.
    pub(crate) fn stopped(&self, is: bool) {
        self.group.patience.store(if is { IMPATIENT } else { ANSWERED }, Ordering::Relaxed);
    }

    /// Starts callers and thieves. The balancer is a door like any other.
    pub(crate) fn load(&mut self) -> Outcome<Load> {
        let mut group = self.group.clone();
        group.doors.push(self.balancer());
        Load::start(&group, &mut self.dice)
    }
}

/// The development files, for the names of all hosts here, and the issuer's key.
fn write_files(directory: &Path, names: &[String]) -> Outcome<IssuerKey> {
    use holdfast::demo::files::{self, Existing};
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = files::make(&names, holdfast::clock::Clock::system().now())?;
    files::write(&set, directory, Existing::Keep)?;
    let authorities = ["ca.pem", "clients-ca.pem"].map(|name| std::fs::read_to_string(directory.join(name)));
    let [ours, of_clients] = authorities;
    std::fs::write(directory.join("all-cas.pem"), ours? + &of_clients?)?;
    Ok(IssuerKey::from_pem(&std::fs::read_to_string(directory.join("issuer.key"))?)?)
}
