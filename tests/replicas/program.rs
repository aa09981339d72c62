//! A program that the rig has started: what can be done to it from outside, and where what it says goes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::dice::Dice;

/// What Debian's libfaketime is, which makes a process's clock wrong.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// The environment of a process whose clock is ahead by so many milliseconds. Only the time of day is: what measures how long things take goes as ever.
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

/// Ends when it is dropped, and with the rig however that ends.
pub(crate) struct Program {
    child: Child,
    said: PathBuf,
}

impl Program {
    /// Starts a program, in a network namespace if one is named. Everything it says goes to `said`.
    pub(crate) fn start(command: &[String], namespace: Option<&str>, said: &Path) -> Outcome<Self> {
        Self::start_ahead(command, 0, namespace, said)
    }

    /// The same, with a clock that is ahead by so many milliseconds.
    pub(crate) fn start_ahead(
        command: &[String],
        ahead: i32,
        namespace: Option<&str>,
        said: &Path,
    ) -> Outcome<Self> {
        // A killed rig must leave nothing behind that runs.
        let mut whole = vec!["setpriv", "--pdeathsig", "KILL"];
        if let Some(namespace) = namespace {
            whole.extend(["ip", "netns", "exec", namespace]);
        }
        whole.extend(command.iter().map(String::as_str));
        let log = File::options().create(true).append(true).open(said)?;
        let child = Command::new(whole[0])
            .args(&whole[1..])
            .envs(clock(ahead))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", whole[0]))?;
        Ok(Self { child, said: said.to_owned() })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Outcome<()> {
        let command = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &command]).status()?.success();
        if sent { Ok(()) } else { Err(format!("SIG{name}: {} has ended", self.said.display()).into()) }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The last lines that it has said.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and gives what it wrote.
pub(crate) fn run(command: &[&str], environment: &[(&str, &str)]) -> Outcome<String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .envs(environment.iter().copied())
        .output()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{}: {said} {errors}", command.join(" ")).into())
}

/// A port below the range of outgoing connections, one of which could take it before the program listens.
pub(crate) fn free_port(dice: &mut Dice) -> u16 {
    loop {
        // A Cluster's bus has its port 10,000 above.
        let port = 12_000 + u16::try_from(dice.below(9_000)).expect("below 9000");
        let free = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}
