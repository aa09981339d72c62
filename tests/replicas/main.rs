//! The proof that one proof passes once, however many gateways stand behind a balancer, and however they and their store die.
//!
//! `README.md` beside this file says what is played and how.

mod balancer;
mod caller;
mod cast;
mod chaos;
mod cluster;
mod connection;
mod deed;
mod dice;
mod felt;
mod gateway;
mod ledger;
mod leftovers;
mod load;
mod network;
mod play;
mod program;
mod repertoire;
mod ring;
mod same_request;
mod scene;
mod server;
mod store;
mod strike;
mod tally;
mod upset;
mod upstream;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use cast::Stage;
use dice::Dice;
use play::play;
use repertoire::MAX_AGE;
use scene::{Act, Clocks, Limits, Scene, Spread, Verdict};
use server::Engine;
use store::{OnFailure, Shape};
use upset::Upset;

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
    /// All scenes; it ends at the first in which a proof passes twice.
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
    /// Load, and parts at random that are broken and mended, up to two at a time.
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
    #[arg(long, value_enum, default_value = "none")]
    limits: Limits,
    #[arg(long, value_enum, default_value = "same")]
    rules: Spread,
}

impl Group {
    fn scene(&self, act: Act) -> Scene {
        let Self { shape, engine, on_failure, replicas, max_age, copies, clocks, limits, rules } = *self;
        Scene {
            store: Some((shape, engine)),
            replicas,
            on_failure,
            max_age,
            rules,
            copies,
            clocks,
            limits,
            act,
            expected: Verdict::Once,
        }
    }
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
    let scenes = match arguments.command {
        Command::Brief => repertoire::brief(),
        Command::Long { only } => {
            let mut scenes = repertoire::long();
            scenes.retain(|scene| scene.store.is_none() || scene.to_string().contains(&only));
            scenes
        }
        Command::Play { group, upset } => {
            let upsets = if upset.is_empty() { Upset::all(group.shape).to_vec() } else { upset };
            vec![repertoire::own_memory(), group.scene(Act::Upsets(upsets))]
        }
        Command::Chaos { group, minutes } => {
            vec![repertoire::own_memory(), group.scene(Act::Chaos(Duration::from_secs(60 * minutes)))]
        }
        // As if it had to pass, so that it fails.
        Command::OwnMemory => vec![Scene { expected: Verdict::Once, ..repertoire::own_memory() }],
    };
    leftovers::remove();
    // Its threads are those of the load; what is started is started from this one, which lives as long as the program.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(play_all(&mut stage, &scenes))
}

/// Plays these, and gives the number that failed.
async fn play_all(stage: &mut Stage, scenes: &[Scene]) -> Outcome<usize> {
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let began = Instant::now();
    let (mut passed, mut failed, mut left) = (0, 0, scenes.len());
    for scene in scenes {
        println!("\n{scene}");
        let began = Instant::now();
        let verdict = tokio::select! {
            verdict = play(stage, scene) => verdict,
            // Everything that was started ends with the scene, and what was made is removed.
            () = ended(&mut ends) => return Err("ended by a signal".into()),
        };
        left -= 1;
        let outcome = match (&verdict, scene.expected) {
            (Ok(shown), expected) if *shown == expected => Ok(()),
            (Ok(Verdict::Twice), _) => Err("A PROOF HAS PASSED TWICE".to_owned()),
            (Ok(Verdict::Once), _) => Err("nothing passed twice, so it would not be seen".to_owned()),
            (Err(error), _) => Err(error.to_string()),
        };
        match &outcome {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("  FAILED: {error}");
            }
        }
        println!("  -- scene, {} s", began.elapsed().as_secs());
        if outcome.is_err() && matches!(verdict, Ok(Verdict::Twice)) {
            println!("\nnothing else matters: {left} scenes are not played");
            break;
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; finished in {:.1}s",
        began.elapsed().as_secs_f64()
    );
    Ok(failed)
}

/// Waits until the rig is told to end.
async fn ended([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
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
