//! The proof that one proof passes once, however many gateways stand behind a balancer, and however they and their store die.
//!
//! `README.md` beside this file says what is played and how.

mod balancer;
mod caller;
mod cluster;
mod connection;
mod dice;
mod gateway;
mod ledger;
mod load;
mod network;
mod play;
mod program;
mod ring;
mod same_request;
mod server;
mod store;
mod tally;
mod upset;
mod upstream;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use dice::Dice;
use play::{Act, Clocks, Scene, Stage, Verdict, play};
use server::Engine;
use store::{OnFailure, Shape};
use upset::Upset;

/// Seconds for which a proof is good: longer than any scene is broken and comes back, so that what was recorded before can be tried afterwards.
const MAX_AGE: u32 = 60;

/// So short that recorded requests are tried on both sides of the moment in which their proofs end.
const SHORT: u32 = 2;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Of all that is left to chance; one is chosen and printed if it is left out.
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One scene of each kind, in about two minutes: what tests/run plays.
    Brief,
    /// All scenes, in about half an hour.
    Long {
        /// Only scenes in whose line this occurs.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Load, and these upsets, one after the other.
    Play {
        #[command(flatten)]
        group: Group,
        /// May be repeated. Left out: all that the store can have.
        #[arg(long, value_enum)]
        upset: Vec<Upset>,
    },
    /// Load, and parts at random that are broken and mended.
    Chaos {
        #[command(flatten)]
        group: Group,
        #[arg(long, default_value_t = 5)]
        minutes: u64,
    },
    /// One request at once to replicas that share nothing: it has to fail, and shows that the checker sees.
    OwnMemory,
}

/// What is played with.
#[derive(Debug, clap::Args)]
struct Group {
    #[arg(long, value_enum, default_value = "alone")]
    shape: Shape,
    #[arg(long, value_enum, default_value = "redis")]
    engine: Engine,
    #[arg(long, value_enum, default_value = "refuse")]
    on_failure: OnFailure,
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Seconds for which a proof is good.
    #[arg(long, default_value_t = MAX_AGE)]
    max_age: u32,
    /// Copies that a claim needs. With 0, two halves of a network that is cut both take a proof, and that has to be seen.
    #[arg(long)]
    copies: Option<u8>,
    #[arg(long, value_enum, default_value = "right")]
    clocks: Clocks,
}

impl Group {
    fn scene(&self, act: Act) -> Scene {
        let Self { shape, engine, on_failure, replicas, max_age, copies, clocks } = *self;
        Scene { store: Some((shape, engine)), replicas, on_failure, max_age, copies, clocks, act }
    }
}

fn scene(store: (Shape, Engine), replicas: usize, on_failure: OnFailure, act: Act) -> Scene {
    let (copies, clocks) = (None, Clocks::Right);
    Scene { store: Some(store), replicas, on_failure, max_age: MAX_AGE, copies, clocks, act }
}

fn brief() -> Vec<Scene> {
    use Engine::{Redis, Valkey};
    use OnFailure::{Nonce, Refuse};
    let upsets = |upsets: &[Upset]| Act::Upsets(upsets.to_vec());
    vec![
        scene((Shape::Alone, Redis), 3, Refuse, Act::SameRequest(200)),
        scene((Shape::Alone, Valkey), 2, Refuse, Act::SameRequest(50)),
        scene((Shape::Alone, Valkey), 3, Refuse, upsets(&[Upset::Emptied, Upset::Flushed])),
        scene((Shape::Alone, Redis), 2, Nonce, upsets(&[Upset::Paused, Upset::Emptied])),
        scene((Shape::Sentinel, Redis), 2, Refuse, upsets(&[Upset::MasterKilled])),
        scene((Shape::Cluster, Valkey), 2, Refuse, upsets(&[Upset::Resharded, Upset::MasterKilled])),
        scene((Shape::Split, Redis), 2, Refuse, upsets(&[Upset::Cut])),
        Scene {
            max_age: SHORT,
            clocks: Clocks::Apart,
            ..scene((Shape::Alone, Redis), 3, Refuse, upsets(&[Upset::GatewayPaused]))
        },
    ]
}

fn long() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for engine in [Engine::Redis, Engine::Valkey] {
        for shape in [Shape::Alone, Shape::Sentinel, Shape::Cluster, Shape::Split] {
            // Valkey's build of PyPI has no TLS.
            if (shape, engine) == (Shape::Split, Engine::Valkey) {
                continue;
            }
            scenes.push(scene((shape, engine), 2, OnFailure::Refuse, Act::SameRequest(300)));
            for on_failure in [OnFailure::Refuse, OnFailure::Nonce] {
                let all = scene((shape, engine), 3, on_failure, Act::Upsets(Upset::all(shape).to_vec()));
                scenes.extend([all.clone(), Scene { max_age: SHORT, clocks: Clocks::Apart, ..all }]);
            }
        }
    }
    scenes
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("replicas: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what was asked for, and gives the number of scenes that failed.
fn run(arguments: Arguments) -> Outcome<usize> {
    let seed =
        arguments.seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | u64::from(clock_bits()));
    println!("seed {seed}");
    let mut names = vec![gateway::HOST.to_owned()];
    names.extend(network::names());
    let mut stage = Stage { binary: gateway_binary()?, names, dice: Dice::new(seed) };
    let own_memory = Scene {
        store: None,
        replicas: 3,
        on_failure: OnFailure::Refuse,
        max_age: MAX_AGE,
        copies: None,
        clocks: Clocks::Right,
        act: Act::SameRequest(5),
    };
    let (scenes, checker_first) = match arguments.command {
        Command::Brief => (brief(), true),
        Command::Long { only } => {
            let mut scenes = long();
            scenes.retain(|scene| scene.to_string().contains(&only));
            (scenes, true)
        }
        Command::Play { group, upset } => {
            let upsets = if upset.is_empty() { Upset::all(group.shape).to_vec() } else { upset };
            (vec![group.scene(Act::Upsets(upsets))], true)
        }
        Command::Chaos { group, minutes } => {
            (vec![group.scene(Act::Chaos(Duration::from_secs(60 * minutes)))], true)
        }
        Command::OwnMemory => (vec![own_memory.clone()], false),
    };
    // Its threads are those of the load; what is started is started from this one, which lives as long as the program.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let began = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let mut count = |name: &str, outcome: Outcome<()>, took: Duration| {
        match outcome {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("  FAILED: {error}");
            }
        }
        println!("  -- {name}, {} s", took.as_secs());
    };
    if checker_first {
        println!("\nthe checker: {own_memory}");
        let outcome = runtime.block_on(play(&mut stage, &own_memory)).and_then(|verdict| match verdict {
            Verdict::Twice(_) => Ok(()),
            Verdict::Once => {
                Err("replicas that share nothing let nothing pass twice: it would not be seen".into())
            }
        });
        count("the checker sees double passes", outcome, began.elapsed());
    }
    for scene in &scenes {
        println!("\n{scene}");
        let began = Instant::now();
        let outcome = runtime.block_on(play(&mut stage, scene)).and_then(|verdict| match verdict {
            Verdict::Once => Ok(()),
            Verdict::Twice(proofs) => Err(format!("{proofs} proofs passed twice").into()),
        });
        count("scene", outcome, began.elapsed());
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; finished in {:.1}s",
        began.elapsed().as_secs_f64()
    );
    Ok(failed)
}

fn clock_bits() -> u16 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u16::try_from(now.as_millis() % 65_536).unwrap_or_default()
}

/// What HOLDFAST names, or what was built beside this program.
fn gateway_binary() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("HOLDFAST") {
        return Ok(named.into());
    }
    let here = std::env::current_exe()?;
    let beside = here.parent().and_then(|examples| examples.parent()).ok_or("this program is nowhere")?;
    let binary = beside.join("holdfast");
    if binary.exists() { Ok(binary) } else { Err("no gateway: cargo build, or name one in HOLDFAST".into()) }
}
