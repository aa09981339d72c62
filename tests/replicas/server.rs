//! One Redis or Valkey server: started, asked, broken and started again.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::program::{Program, run};

/// A server that does not answer by then has not come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// The password of every server here, for the rig and for its copies.
pub(crate) const PASSWORD: &str = "only-for-tests";

/// Who the gateways are to the servers, and what their first password is.
pub(crate) const USER: &str = "holdfast";
pub(crate) const FIRST_PASSWORD: &str = "first-of-gateways";

/// What README.md lets that user do, and no more.
const RIGHTS: &str = "~hf:* +ping +info +time +get +set +watch +unwatch +multi +exec +wait +incr +asking +cluster|info +cluster|slots";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// `redis-server`, of Debian.
    Redis,
    /// `valkey-server`, of PyPI.
    Valkey,
}

impl Engine {
    fn program(self) -> String {
        let (variable, usual) = match self {
            Self::Redis => ("HOLDFAST_REDIS", "redis-server"),
            Self::Valkey => ("HOLDFAST_VALKEY", "valkey-server"),
        };
        std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
    }

    /// What the program calls itself.
    pub(crate) fn version(self) -> Outcome<String> {
        let said = run(&[&self.program(), "--version"], &[])?;
        let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="));
        Ok(format!("{self} {}", version.ok_or("no version")?))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) engine: Engine,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) namespace: Option<String>,
    /// Milliseconds by which its clock is ahead
    pub(crate) ahead: i32,
    /// The files of `holdfast::demo::files`, for TLS.
    pub(crate) tls: Option<PathBuf>,
}

impl Place {
    /// As a gateway's configuration writes it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}:{}", self.ip, self.port)
    }

    /// Lines of the server's configuration: address and TLS.
    fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("bind {}", self.ip)];
        let mut add = |name: &str, value: &str| settings.push(format!("{name} {value}"));
        match &self.tls {
            None => add("port", &self.port.to_string()),
            Some(files) => {
                let file = |name| files.join(name).display().to_string();
                add("port", "0");
                add("tls-port", &self.port.to_string());
                add("tls-cert-file", &file("server.pem"));
                add("tls-key-file", &file("server.key"));
                // The nodes of a cluster show each other what clients show.
                add("tls-client-cert-file", &file("client.pem"));
                add("tls-client-key-file", &file("client.key"));
                add("tls-ca-cert-file", &file("all-cas.pem"));
                add("tls-auth-clients", "no");
                add("tls-replication", "yes");
                add("tls-cluster", "yes");
            }
        }
        settings
    }

    /// Asks whoever listens there. An error reply is an error.
    pub(crate) fn ask(&self, words: &[&str]) -> Outcome<String> {
        let (ip, port) = (self.ip.to_string(), self.port.to_string());
        self.client("30", &[&["-e", "-h", &ip, "-p", &port], words].concat())
    }

    /// Runs the servers' own client where this one is, for so many seconds at most: a server that is paused must not hold the rig.
    pub(crate) fn client(&self, seconds: &str, words: &[&str]) -> Outcome<String> {
        let ca = self.tls.as_ref().map(|files| files.join("ca.pem").display().to_string());
        let mut command = Vec::new();
        if let Some(namespace) = &self.namespace {
            command.extend(["ip", "netns", "exec", namespace]);
        }
        command.extend(["timeout", seconds, "redis-cli"]);
        if let Some(ca) = &ca {
            command.extend(["--tls", "--cacert", ca]);
        }
        command.extend(words);
        // A sentinel has no password, and the client would say that it needs none.
        run(&command, &[("REDISCLI_AUTH", PASSWORD)])
    }

    /// Address and port, as servers name each other.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }
}

/// A server with its directory.
pub(crate) struct Server {
    pub(crate) place: Place,
    directory: PathBuf,
    program: Option<Program>,
}

impl Server {
    /// Starts a server that keeps nothing on disk by itself, and waits until it answers. `more` are lines of its configuration.
    pub(crate) fn start(work: &Path, place: Place, more: &[&str]) -> Outcome<Self> {
        let directory = work.join(format!("server-{}", place.port));
        std::fs::create_dir(&directory)?;
        let mut lines = place.settings();
        lines.extend([
            format!("dir {}", directory.display()),
            "save \"\"".to_owned(),
            format!("requirepass {PASSWORD}"),
            format!("masterauth {PASSWORD}"),
            format!("user {USER} on >{FIRST_PASSWORD} {RIGHTS}"),
            "repl-diskless-sync-delay 0".to_owned(),
        ]);
        lines.extend(more.iter().map(|line| (*line).to_owned()));
        std::fs::write(directory.join("server.conf"), lines.join("\n") + "\n")?;
        let mut server = Self { place, directory, program: None };
        server.start_again()?;
        Ok(server)
    }

    /// Starts it after it was killed, with what is on its disk: its configuration too, into which sentinels write whose replica it is.
    pub(crate) fn start_again(&mut self) -> Outcome<()> {
        let file = self.directory.join("server.conf").display().to_string();
        let command = [self.place.engine.program(), file];
        let said = self.directory.join("log");
        self.program =
            Some(Program::start_ahead(&command, self.place.ahead, self.place.namespace.as_deref(), &said)?);
        let began = Instant::now();
        while self.ask(&["PING"]).is_err() {
            if began.elapsed() > PATIENCE {
                let words = self.program.as_ref().map_or_else(String::new, Program::last_words);
                return Err(format!("{} does not come up\n{words}", self.place.engine).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Outcome<String> {
        self.place.ask(words)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.program.take().map_or(Ok(()), |mut program| program.kill())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Outcome<()> {
        self.program.as_ref().map_or(Ok(()), |program| program.signal(name))
    }

    /// What it would load when it starts again is gone.
    pub(crate) fn forget_disk(&self) -> Outcome<()> {
        match std::fs::remove_file(self.directory.join("dump.rdb")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A member of `INFO`.
    pub(crate) fn info(&self, section: &str, name: &str) -> Outcome<String> {
        let text = self.ask(&["INFO", section])?;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(found.ok_or_else(|| format!("INFO has no {name}"))?.trim().to_owned())
    }
}

/// A program of the same engine that is no store: a sentinel, with its configuration in a file that it writes to.
pub(crate) fn start_sentinel(work: &Path, place: &Place, lines: &[String]) -> Outcome<Program> {
    let directory = work.join(format!("sentinel-{}", place.port));
    std::fs::create_dir(&directory)?;
    let mut text = format!("dir {}\n", directory.display());
    for line in place.settings().iter().chain(lines) {
        text += line;
        text.push('\n');
    }
    let file = directory.join("sentinel.conf");
    std::fs::write(&file, text)?;
    let command = [place.engine.program(), file.display().to_string(), "--sentinel".to_owned()];
    Program::start(&command, place.namespace.as_deref(), &directory.join("log"))
}
