//! `holdfast serve`: the gateway, until a signal stops it.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::{Level, error, info, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::admin::reload::Trigger;
use crate::app::{self, Running, Signal, Signals, Sockets, Source, StartError, Supervisor};
use crate::clock::Clock;
use crate::config::Reading;

/// Serves what the configuration file says. Exits 0 after a signal and a drain, 1 when the configuration is wrong (as
/// `holdfast check` says it), 2 when it cannot start.
pub async fn run(path: &Path) -> ExitCode {
    let source = Source {
        path: path.to_owned(),
        environment: Arc::new(|name| std::env::var(name).ok()),
        set_log_level: log(),
        supervisor: Supervisor::Environment,
    };
    let Reading { outcome, files } = source.read();
    let config = match outcome {
        Ok(config) => config,
        Err(complaints) => {
            eprint!("{complaints}");
            return ExitCode::from(1);
        }
    };
    (source.set_log_level)(config.log.level);
    let started = async {
        // Before anyone is told that it serves: a signal that is not caught ends the process.
        let signals = Signals::catch()?;
        let sockets = Sockets::with_passed(&config, app::passed()?)?;
        let running = app::start_from(source, config, files, sockets, Clock::system()).await?;
        Ok::<_, StartError>((running, signals))
    };
    match started.await {
        Ok((running, signals)) => {
            serve(&running, signals).await;
            ExitCode::SUCCESS
        }
        Err(reason) => {
            error!(%reason, "cannot start");
            ExitCode::from(2)
        }
    }
}

/// Does what signals ask for, until it has stopped.
async fn serve(running: &Running, mut signals: Signals) {
    Supervisor::Environment.ready("serving");
    // A signal to stop must not wait for a reload, and signals that come during one ask for one more together, however many they are.
    let (hung_up, reloads) = (Arc::new(Notify::new()), running.reloads());
    let asking = tokio::spawn({
        let hung_up = Arc::clone(&hung_up);
        async move {
            loop {
                hung_up.notified().await;
                // What comes of it is logged where it is done.
                reloads.ask(Trigger::Signal).await;
            }
        }
    });
    let name = loop {
        match signals.next().await {
            Signal::Stop(name) => break name,
            Signal::Reload => {
                info!(signal = "SIGHUP", "heard; the configuration is read again");
                hung_up.notify_one();
            }
        }
    };
    asking.abort();
    info!(signal = name, "draining; a second signal ends it at once");
    Supervisor::Environment.stopping();
    running.stop();
    let again = async {
        loop {
            if let Signal::Stop(name) = signals.next().await {
                return name;
            }
        }
    };
    tokio::select! {
        () = running.ended() => info!("stopped"),
        name = again => warn!(signal = name, "ended at once: connections were cut"),
    }
}

/// Logs to standard error (standard output is for the access log), and gives what sets the level.
fn log() -> Arc<dyn Fn(Level) + Send + Sync> {
    let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(filter)
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                // Colours are for people: in a file or a collector their escapes hide what is searched for.
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false),
        )
        .init();
    Arc::new(move |level| {
        if let Err(error) = handle.reload(LevelFilter::from_level(level)) {
            warn!(%error, "log.level stays what it was");
        }
    })
}
