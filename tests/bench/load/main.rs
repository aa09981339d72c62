//! The load of `tests/bench/proxies`, and the upstream: one small program on one core, which costs less than any proxy between its two ends.
//!
//! While it is measured with it never sleeps. To wake a core costs the one who wakes it, on a virtual machine as much as a third of what nginx takes for a request, and the longer a
//! proxy takes the more often it would find the other core asleep: what the load saved would be counted as the proxy's.
//!
//! Everything a request needs is made before it is counted. With `run` and `idle` the caller says when: the program writes what it has reached on
//! standard output, and goes on at each line that it reads.

mod bare;
mod claims;
mod connection;
mod requests;
mod upstream;

use std::error::Error;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use connection::{Connection, Settings};
use requests::{Kind, Requests};

/// Requests that each connection makes before any is counted, so that both sides have their connections and their memory.
const WARM_UP: usize = 40;

/// Without anything for so long, a connection counts as idle.
const REST: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what one bare verification of an ES256 signature costs, in nanoseconds of processor time.
    Bare { count: usize },
    /// Claim proofs at a Redis server with nothing around it.
    Claims {
        address: SocketAddr,
        #[arg(long)]
        count: usize,
        /// Commands that are sent before the first reply is read.
        #[arg(long, default_value_t = 1)]
        batch: usize,
        /// Wait behind each batch until one copy of the server has it.
        #[arg(long)]
        copied: bool,
        /// Claim one at a time as a gateway does for one caller, whose processor is busy for so many microseconds between claims.
        #[arg(long, conflicts_with_all = ["batch", "copied"])]
        pause: Option<u64>,
    },
    /// Send requests over TLS connections that are kept.
    Run {
        #[command(flatten)]
        there: There,
        /// Requests, over all connections.
        #[arg(long)]
        requests: usize,
        #[arg(long, default_value_t = 32)]
        connections: usize,
        #[arg(long, value_enum, default_value = "plain")]
        kind: Kind,
    },
    /// Open TLS connections and leave them idle, before and after one request on each.
    Idle {
        #[command(flatten)]
        there: There,
        #[arg(long, default_value_t = 5000)]
        connections: usize,
    },
}

/// Who is spoken to, and as whom.
#[derive(Debug, clap::Args)]
struct There {
    address: SocketAddr,
    /// The path of the requests.
    #[arg(long, default_value = "/")]
    path: String,
    /// The files of `cargo run --example certs`.
    #[arg(long)]
    files: PathBuf,
    /// Where what is spoken to has its upstream, which is here.
    #[arg(long)]
    upstream: SocketAddr,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match of(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn of(command: Command) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Bare { count } => {
            println!("{}", bare::nanoseconds(count)?);
            Ok(())
        }
        Command::Claims { address, count, pause: Some(pause), .. } => {
            let pause = Duration::from_micros(pause);
            let took = runtime.block_on(claims::claim_at_pace(address, count, pause))?;
            println!("{}", percentile(&took, 50));
            Ok(())
        }
        Command::Claims { address, count, batch, copied, pause: None } => {
            let (seconds, took) = claims::claim(address, count, batch, copied)?;
            println!("{seconds} {}", percentile(&took, 50));
            Ok(())
        }
        Command::Run { there, requests, connections, kind } => {
            let each = requests / connections;
            let made = Requests::new(kind, &there.files, there.address, &there.path)?
                .lists(connections, WARM_UP + each)?;
            let settings = Settings::new(&there.files, kind)?;
            runtime.block_on(run(&there, &settings, made))
        }
        Command::Idle { there, connections } => {
            let settings = Settings::new(&there.files, Kind::Plain)?;
            let request =
                Requests::new(Kind::Plain, &there.files, there.address, &there.path)?.lists(1, 1)?.remove(0);
            runtime.block_on(idle(&there, &settings, connections, &request.0[0]))
        }
    }
}

/// Says what was reached, and waits for the word to go on.
fn reached(what: &str) -> Outcome<()> {
    println!("{what}");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

async fn run(there: &There, settings: &Settings, lists: Vec<requests::List>) -> Outcome<()> {
    tokio::spawn(upstream::serve(upstream::listen(there.upstream).await?));
    let mut workers = Vec::with_capacity(lists.len());
    for list in lists {
        let mut connection = Connection::open(there.address, settings).await?;
        for request in &list.0[..WARM_UP.min(list.0.len())] {
            connection.exchange(request).await?;
        }
        workers.push((connection, list));
    }
    reached("ready")?;
    let awake = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let began = Instant::now();
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|(mut connection, list)| {
            tokio::spawn(async move {
                let requests = &list.0[WARM_UP.min(list.0.len())..];
                let mut took = Vec::with_capacity(requests.len());
                for request in requests {
                    let began = Instant::now();
                    connection.exchange(request).await?;
                    took.push(began.elapsed());
                }
                std::io::Result::Ok(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    awake.abort();
    took.sort_unstable();
    let (median, late) = (percentile(&took, 50), percentile(&took, 99));
    reached(&format!("done {} {seconds} {median} {late}", took.len()))
}

/// The microseconds within which so many of a hundred were answered.
fn percentile(sorted: &[Duration], of_hundred: usize) -> f64 {
    let at = sorted.len() * of_hundred / 100;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e6)
}

/// Lets the connections rest, until they count as idle. Then somebody else comes and goes: no server is without any caller for long, and allocators give back what is free
/// when they are next called, and not before.
async fn rest(there: &There, settings: &Settings, request: &[u8]) -> std::io::Result<()> {
    tokio::time::sleep(REST).await;
    Connection::open(there.address, settings).await?.exchange(request).await
}

async fn idle(there: &There, settings: &Settings, count: usize, request: &[u8]) -> Outcome<()> {
    tokio::spawn(upstream::serve(upstream::listen(there.upstream).await?));
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        open.push(Connection::open(there.address, settings).await?);
    }
    rest(there, settings, request).await?;
    reached("open")?;
    for connection in &mut open {
        connection.exchange(request).await?;
    }
    rest(there, settings, request).await?;
    reached("used")
}
