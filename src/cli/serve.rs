//! `holdfast serve`: the gateway, until a signal stops it.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use tracing::{error, info};
use tracing_subscriber::filter::LevelFilter;

use crate::app::{self, Sockets};
use crate::clock::Clock;
use crate::config;

/// Serves what the configuration file says. Exits 0 after a signal and a drain, 1 when the configuration is wrong (as
/// `holdfast check` says it), 2 when it cannot start.
pub async fn run(path: &Path) -> ExitCode {
    let config = match config::load(path, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(complaints) => {
            eprint!("{complaints}");
            return ExitCode::from(1);
        }
    };
    // Standard output is for the access log; what the gateway says of itself goes to standard error.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Colours are for people: in a file or a collector their escapes hide what is searched for.
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(LevelFilter::from_level(config.log.level))
        .with_target(false)
        .init();
    let started = async {
        let sockets = Sockets::bind(&config).await?;
        app::start(config, sockets, Clock::system()).await
    };
    match started.await {
        Ok(running) => {
            app::stop_signal().await;
            running.stop();
            running.ended().await;
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            error!(%reason, "cannot start");
            ExitCode::from(2)
        }
    }
}
