//! The commands.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use crate::app::{self, Running, Sockets};
use crate::clock::Clock;
use crate::config::Config;

pub mod check;
pub mod demo;
pub mod dpop;
pub mod serve;

/// A reverse proxy that lets an access token through only together with proof of the key it is bound to.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration file says
    Serve {
        /// The configuration: YAML, or TOML or JSON by its ending
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say everything that is wrong with a configuration file
    Check {
        /// The configuration: YAML, or TOML or JSON by its ending
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Play the attacks a stolen token meets, in one process on loopback
    Demo(demo::DemoArguments),
    /// Keys, proofs and requests by hand
    #[command(subcommand)]
    Dpop(dpop::DpopCommand),
}

impl Cli {
    /// Runs the command and says how it ended.
    pub async fn run(self) -> ExitCode {
        match self.command {
            Command::Serve { config } => serve::run(&config).await,
            Command::Check { config } => check::run(&config),
            Command::Demo(arguments) => demo::run(arguments, demo_gateway).await,
            Command::Dpop(command) => dpop::run(command).await,
        }
    }
}

/// The real gateway, for the demo: ready when this returns.
async fn demo_gateway(config: Config, socket: TcpListener) -> Result<Running, Box<dyn Error + Send + Sync>> {
    let running = app::start(config, Sockets { public: vec![socket], admin: None }, Clock::system()).await?;
    running.tried().await;
    Ok(running)
}
