//! The command line. Exit codes: 0 it worked; 1 the configuration is wrong or a scene ended otherwise than expected; 2 it could not
//! start, or the command line was not understood.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use holdfast::cli::Cli;

/// Small, short-lived allocations on several threads are what a proxy does, and what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end of the process waits for what cannot be broken off: a name server that does not answer would keep it for many seconds more, and
/// a second signal would change nothing.
const LEAVING: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            runtime.shutdown_timeout(LEAVING);
            code
        }
        Err(reason) => {
            eprintln!("holdfast: the runtime cannot start: {reason}");
            ExitCode::from(2)
        }
    }
}
