//! `holdfast demo`: a CA, an issuer, an upstream, the real gateway and its callers in one process, and the scenes they play.
//!
//! Loopback only, ports that the system chooses, nothing written. Exit code 0 when every scene ended as it has to, otherwise 1: it is a smoke test too.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::net::TcpListener;

use crate::app::{self, Running, Sockets};
use crate::clock::Clock;
use crate::config::Config;
use crate::demo::configuration::configuration;
use crate::demo::desk::{CAPTURED_PATH, Desk};
use crate::demo::loopback;
use crate::demo::scenes::SCENES;
use crate::demo::stage::Stage;
use crate::demo::surroundings::{DemoError, Surroundings};

/// `holdfast demo`
#[derive(Clone, Copy, Debug, Args)]
pub struct Demo {
    /// End after the scenes instead of staying up to be tried by hand.
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Plays the demo.
    pub async fn run(self) -> ExitCode {
        match play(self, gateway, &mut io::stdout()).await {
            Ok(Ended::AsExpected) => ExitCode::SUCCESS,
            Ok(Ended::Otherwise) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("holdfast: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Why there is no gateway.
type GatewayError = Box<dyn Error + Send + Sync>;

/// The real gateway, as `holdfast serve` starts it, once it has asked its issuer for keys.
async fn gateway(config: Config, listener: TcpListener, clock: Clock) -> Result<Running, GatewayError> {
    let sockets = Sockets { public: vec![listener.into()], admin: None };
    let running = app::start(config, sockets, clock).await?;
    running.tried().await;
    Ok(running)
}

/// How the scenes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All as they have to
    AsExpected,
    /// At least one otherwise
    Otherwise,
}

/// Plays the scenes with the gateway that `gateway` starts on a listener that is bound already: its port is in the configuration. What is returned
/// keeps it running.
async fn play<G, F, R>(demo: Demo, gateway: G, out: &mut impl Write) -> Result<Ended, DemoError>
where
    G: FnOnce(Config, TcpListener, Clock) -> F,
    F: Future<Output = Result<R, GatewayError>>,
{
    let (begun, clock) = (Instant::now(), Clock::system());
    let listener = loopback::bind().await?;
    let around = Arc::new(Surroundings::start(&listener, clock.clone()).await?);
    let config = configuration(&listener, &around)?;
    let _gateway = gateway(config, listener, clock).await.map_err(DemoError::Gateway)?;
    writeln!(out, "Ready in {} ms. The gateway is {}.\n", begun.elapsed().as_millis(), around.api())
        .map_err(DemoError::Output)?;

    let mut stage = Stage::new(&around)?;
    let mut ended = Ended::AsExpected;
    let width = SCENES.iter().map(|scene| scene.title.len()).max().unwrap_or_default();
    for scene in &SCENES {
        let (mark, line) = match stage.play(scene).await {
            Ok(line) => ("ok  ", line),
            Err(surprise) => {
                ended = Ended::Otherwise;
                ("FAIL", surprise.to_string())
            }
        };
        writeln!(out, "  {mark}  {:width$}  {line}", scene.title).map_err(DemoError::Output)?;
    }
    if !demo.once {
        let desk = Desk::open(loopback::bind().await?, Arc::clone(&around))?;
        write!(out, "{}", by_hand(around.api(), &desk))
            .and_then(|()| out.flush())
            .map_err(DemoError::Output)?;
        tokio::signal::ctrl_c().await.map_err(DemoError::Signal)?;
    }
    Ok(ended)
}

/// Commands to try, as they can be pasted into bash. `<(…)` gives a command a pipe to read, so nothing is written.
fn by_hand(api: &str, desk: &Desk) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("holdfast"));
    let (program, desk) = (program.display(), desk.address());
    format!(
        r#"
To try by hand, in bash (Ctrl-C here ends it all; -k since nobody vouches for the demo's CA):

  api={api} desk=http://{desk}
  dpop() {{ "{program}" dpop curl -k --key <(curl -s $desk/key.pem) --token-file <(curl -s $desk/token) "$@"; }}

  # A fresh proof for each request: 200, and what the upstream saw.
  dpop $api/accounts/1
  # A nonce is demanded, then given: see both tries.
  dpop -v $api/payments/1

  # The token without its key: 401 bearer_for_dpop.
  curl -ki -H "Authorization: Bearer $(curl -s $desk/token)" $api/accounts/1

  # A request captured on its way: 200 for whoever sends it first, then 401 proof_replayed.
  captured=$(curl -s $desk/captured)
  curl -ki -K - $api{CAPTURED_PATH} <<< "$captured"
  curl -ki -K - $api{CAPTURED_PATH} <<< "$captured"

  # A certificate-bound token with its certificate: 200. Without: 401 certificate_missing.
  token=$(curl -s $desk/certificate-token)
  curl -ki -H "Authorization: Bearer $token" --cert <(curl -s $desk/client.pem) --key <(curl -s $desk/client.key) $api/accounts/1
  curl -ki -H "Authorization: Bearer $token" $api/accounts/1
"#
    )
}

#[cfg(test)]
mod tests;
