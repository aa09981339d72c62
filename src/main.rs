//! The command line. Exit codes: 0 it worked; 1 the configuration is wrong or a scene ended otherwise than expected; 2 it could not
//! start, or the command line was not understood.

use std::process::ExitCode;

use clap::Parser as _;
use holdfast::cli::Cli;

/// Small, short-lived allocations on several threads are what a proxy does, and what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(reason) => {
            eprintln!("holdfast: the runtime cannot start: {reason}");
            ExitCode::from(2)
        }
    }
}
