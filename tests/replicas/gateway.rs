//! One replica: a process of the built binary, with a configuration that is the same as its siblings' but for addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::program::Program;
use crate::ring;

/// The name that callers know the whole group by.
pub(crate) const HOST: &str = "api.example.com";
pub(crate) const ISSUER: &str = "https://issuer.example.com";

/// A gateway that is not ready by then is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a replica does with proofs.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    max_age: u32,
    /// More in `dpop`
    nonces: String,
    section: String,
}

impl Replay {
    /// A memory of its own: what a group must not have.
    pub(crate) fn own_memory(max_age: u32) -> Self {
        let section = "replay: { memory: { after_restart: accept } }\n".to_owned();
        Self { max_age, nonces: String::new(), section }
    }

    /// The store that these lines under `replay.redis` describe. The ring is shared too: were each replica's nonces its own, the others would refuse them, and whether a proof with a
    /// nonce passes at two of them would never be asked.
    pub(crate) fn shared(max_age: u32, lines: &[String]) -> Self {
        let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        Self {
            max_age,
            nonces: format!(", nonce_keys: {{ file: {} }}", ring::FILE),
            section: format!("replay:\n  redis:\n{lines}"),
        }
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

/// What Debian's libfaketime is, which makes a process's clock wrong.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// The environment of a process whose clock is ahead. Only the time of day is: what measures how long things take goes as ever.
fn clock(ahead: i32) -> Vec<(&'static str, String)> {
    if ahead == 0 {
        return Vec::new();
    }
    vec![
        ("LD_PRELOAD", FAKETIME.to_owned()),
        ("FAKETIME", format!("{:+.3}", f64::from(ahead) / 1000.0)),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

pub(crate) struct Gateway {
    binary: PathBuf,
    configuration: PathBuf,
    said: PathBuf,
    address: Address,
    program: Option<Program>,
}

impl Gateway {
    /// Writes the configuration and starts the process.
    pub(crate) fn start(
        binary: &Path,
        files: &Path,
        number: usize,
        address: Address,
        replay: &Replay,
    ) -> Outcome<Self> {
        let configuration = files.join(format!("gateway-{number}.yaml"));
        std::fs::write(&configuration, text(&address, replay))?;
        let said = files.join(format!("gateway-{number}.log"));
        let mut gateway = Self { binary: binary.to_owned(), configuration, said, address, program: None };
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
        self.program = Some(Program::start_with(&command, &clock(ahead), namespace, &self.said)?);
        Ok(())
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
        while !self.asked("GET", "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
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

    /// Has it read its configuration again, with the secrets that it names.
    pub(crate) async fn reload(&self) -> Outcome<()> {
        let answer = self.asked("POST", "/reload").await?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.into()) }
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
    let Replay { max_age, nonces, section } = replay;
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
routes: [{{ name: counted, match: {{ path_prefix: / }}, upstream: counted, require: {{ binding: dpop }} }}]
log: {{ level: info, access: none }}
admin: {{ address: {ip}:{admin} }}
"
    )
}
