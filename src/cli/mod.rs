//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod check;
pub mod demo;
pub mod dpop;
pub mod health;
pub mod report;
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
        /// Print the whole configuration as YAML: every setting, its value, and who has set it
        #[arg(long)]
        print: bool,
    },
    /// Ask a running gateway whether it is ready; for probes, where there is no shell
    Health(health::Health),
    /// Say who is a bearer still, and which routes can be enforced
    Report(report::ReportArguments),
    /// Play the attacks a stolen token meets, in one process on loopback
    Demo(demo::Demo),
    /// Keys, proofs and requests by hand
    #[command(subcommand)]
    Dpop(dpop::DpopCommand),
}

impl Cli {
    /// Runs the command and says how it ended.
    pub async fn run(self) -> ExitCode {
        match self.command {
            Command::Serve { config } => serve::run(&config).await,
            Command::Check { config, print: false } => check::run(&config),
            Command::Check { config, print: true } => check::print(&config),
            Command::Health(health) => health.run().await,
            Command::Report(report) => report.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Dpop(command) => dpop::run(command).await,
        }
    }
}
