//! One replica: a process of the built binary, with a configuration that is the same as its siblings' but for addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::caller::ASKING;
use crate::program::Program;
use crate::ring;
use crate::scene::Limits;

/// The name that callers know the whole group by.
pub(crate) const HOST: &str = "api.example.com";
pub(crate) const ISSUER: &str = "https://issuer.example.com";

/// A gateway that is not ready by then is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a replica does with proofs.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) rules: Rules,
    ring: Ring,
    section: String,
    limits: Limits,
}

/// Whose nonces it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// There are none.
    None,
    /// Those of all who have the file.
    Shared,
}

/// For how long it takes a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// `dpop.max_age`, in seconds
    pub(crate) max_age: u32,
    /// `dpop.nonce_lifetime`, in seconds
    pub(crate) nonce_lifetime: u32,
}

/// `dpop.nonce_lifetime` where nothing is said, in seconds.
pub(crate) const NONCE_LIFETIME: u32 = 300;

impl Replay {
    /// A memory of its own: what a group must not have.
    pub(crate) fn own_memory(rules: Rules) -> Self {
        let section = "replay: { memory: { after_restart: accept } }\n".to_owned();
        Self { rules, ring: Ring::None, section, limits: Limits::None }
    }

    /// The store that these lines under `replay.redis` describe. The ring is shared too: were each replica's nonces its own, the others would refuse them, and whether a proof with a
    /// nonce passes at two of them would never be asked.
    pub(crate) fn shared(rules: Rules, lines: &[String], limits: Limits) -> Self {
        let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        Self { rules, ring: Ring::Shared, section: format!("replay:\n  redis:\n{lines}"), limits }
    }
}

/// Where a replica is and whom it speaks to.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) admin: u16,
    pub(crate) upstream: SocketAddr,
    pub(crate) namespace: Option<String>,
    /// Milliseconds by which its clock is ahead, or behind
    pub(crate) ahead: i32,
}

pub(crate) struct Gateway {
    binary: PathBuf,
    configuration: PathBuf,
    said: PathBuf,
    address: Address,
    replay: Replay,
    program: Option<Program>,
}

impl Gateway {
    /// Writes the configuration and starts the process.
    pub(crate) fn start(
        binary: &Path,
        files: &Path,
        number: usize,
        address: Address,
        replay: Replay,
    ) -> Outcome<Self> {
        let configuration = files.join(format!("gateway-{number}.yaml"));
        std::fs::write(&configuration, text(&address, &replay))?;
        let said = files.join(format!("gateway-{number}.log"));
        let binary = binary.to_owned();
        let mut gateway = Self { binary, configuration, said, address, replay, program: None };
        gateway.start_again()?;
        Ok(gateway)
    }

    /// Starts it after it was killed, on the same addresses.
    pub(crate) fn start_again(&mut self) -> Outcome<()> {
        self.start_ahead(self.address.ahead)
    }

    /// Starts it after it was killed, with a clock that is ahead by so many milliseconds.
    pub(crate) fn start_ahead(&mut self, ahead: i32) -> Outcome<()> {
        let command = [&self.binary, Path::new("serve"), Path::new("--config"), &self.configuration]
            .map(|part| part.display().to_string());
        let namespace = self.address.namespace.as_deref();
        self.program = Some(Program::start_ahead(&command, ahead, namespace, &self.said)?);
        Ok(())
    }

    /// Has it go by other rules from now on, or by those that it had at first.
    pub(crate) async fn follow(&self, rules: Option<Rules>) -> Outcome<()> {
        let mut replay = self.replay.clone();
        replay.rules = rules.unwrap_or(replay.rules);
        // Whole or not at all: it may be read at any time.
        let new = self.configuration.with_extension("new");
        std::fs::write(&new, text(&self.address, &replay))?;
        std::fs::rename(new, &self.configuration)?;
        self.reload().await
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.program.take().map_or(Ok(()), |mut program| program.kill())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Outcome<()> {
        self.program.as_ref().map_or(Ok(()), |program| program.signal(name))
    }

    /// Where callers reach it.
    pub(crate) fn door(&self) -> SocketAddr {
        SocketAddr::from((self.address.ip, self.address.port))
    }

    /// Waits until it listens and says that it is ready.
    pub(crate) async fn ready(&mut self) -> Outcome<()> {
        let began = Instant::now();
        while !self.is_ready().await {
            let ended = self.program.as_mut().is_none_or(|program| program.has_ended().unwrap_or(true));
            if ended || began.elapsed() > PATIENCE {
                return Err(
                    format!("{} is not ready\n{}", self.configuration.display(), self.last_words()).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Whether it says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.asked("GET", "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Has it read its configuration again, with the secrets that it names. One whose store goes away just then refuses that, and is asked again.
    pub(crate) async fn reload(&self) -> Outcome<()> {
        let began = Instant::now();
        loop {
            let answer = self.asked("POST", "/reload").await;
            match answer {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
                Ok(_) | Err(_) if began.elapsed() < PATIENCE => {}
                Ok(answer) => return Err(answer.into()),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        self.program.as_ref().map_or_else(String::new, Program::last_words)
    }

    async fn asked(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((self.address.ip, self.address.admin)).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn text(address: &Address, replay: &Replay) -> String {
    let Address { ip, port, admin, upstream, .. } = address;
    let Replay { rules: Rules { max_age, nonce_lifetime }, ring, section, limits } = replay;
    let nonces = match ring {
        Ring::None => String::new(),
        Ring::Shared => {
            format!(", nonce_keys: {{ file: {} }}, nonce_lifetime: {nonce_lifetime}s", ring::FILE)
        }
    };
    let limits = match limits {
        Limits::None => "",
        Limits::Shared => ", limits: { rate: 1000/s, burst: 2000, by: key, shared: true }",
    };
    let asking = match ring {
        Ring::None => String::new(),
        Ring::Shared => format!(
            "  - {{ name: asking, match: {{ path_prefix: {ASKING} }}, upstream: counted, require: {{ binding: dpop, nonce: required }} }}\n"
        ),
    };
    // No retries: a request that goes to the upstream twice would count as a proof that passed twice.
    format!(
        "listeners:
  - name: public
    address: {ip}:{port}
    public_urls: [https://{HOST}]
    tls: {{ certificates: [{{ chain: server.pem, key: server.key }}] }}
issuers:
  - {{ issuer: {ISSUER}, audiences: [https://{HOST}], keys: {{ jwks_file: issuer.jwks.json }}, max_lifetime: 48h }}
dpop: {{ max_age: {max_age}s, max_future: 1s{nonces} }}
{section}upstreams: {{ counted: {{ servers: [http://{upstream}], retries: 0 }} }}
routes:
  - {{ name: counted, match: {{ path_prefix: / }}, upstream: counted, require: {{ binding: dpop }}{limits} }}
{asking}log: {{ level: info, access: none }}
admin: {{ address: {ip}:{admin} }}
"
    )
}
