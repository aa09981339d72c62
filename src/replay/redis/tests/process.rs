//! A server of Redis that belongs to one test: a directory and a port of its own, ended by its process id.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::resp::{self, NoReply, Reply};

/// How long a server may take until it answers, and whatever is waited for until it is so.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process. It is killed when the value is dropped.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
}

impl Server {
    /// A server with these settings besides those that make it small and quiet. `{port}` is its port.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::run(free_port(), settings, &[])
    }

    /// The same at a port that is known before, which has to be free.
    pub(crate) fn start_at(port: u16, settings: &[&str]) -> Self {
        Self::run(port, settings, &[])
    }

    /// A sentinel.
    pub(crate) fn sentinel(settings: &[&str]) -> Self {
        Self::run(free_port(), settings, &["--sentinel"])
    }

    fn run(port: u16, settings: &[&str], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {at}\nunixsocket {at}/socket\nlogfile {at}/log\n",
            at = directory.path().display()
        );
        if arguments.is_empty() {
            text.push_str(
                "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\nmaxmemory-policy noeviction\n",
            );
        }
        for setting in settings {
            text.push_str(&setting.replace("{port}", &port.to_string()));
            text.push('\n');
        }
        let file = directory.path().join("conf");
        std::fs::write(&file, text).expect("written");
        let mut server = Self { child: spawn(&file, arguments), directory, port };
        server.wait_until_it_answers();
        server
    }

    fn wait_until_it_answers(&mut self) {
        let end = Instant::now() + PATIENCE;
        // It answers when it may also want a password first, or still loads.
        while !matches!(self.command(&["PING"]).as_str(), answer if answer.contains("PONG") || answer.contains("NOAUTH"))
        {
            let over = self.child.try_wait().expect("a child");
            assert!(
                over.is_none() && Instant::now() < end,
                "no redis-server (Debian: redis-server): {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A socket at which it listens too.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory().join("socket")
    }

    /// What it answers to a command of somebody who is not the gateway.
    pub(crate) fn command(&self, command: &[&str]) -> String {
        let answer = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(command)
            .stderr(Stdio::null())
            .output()
            .expect("redis-cli is installed (Debian: redis-tools)");
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    }

    /// The bytes that it answers to a command of any bytes.
    pub(crate) fn ask(&self, command: &[&[u8]]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.socket()).expect("it listens");
        let mut sent = Vec::new();
        resp::write(&mut sent, command);
        stream.write_all(&sent).expect("written");
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        while Reply::read(&answer) == Err(NoReply::Half) {
            let read = stream.read(&mut piece).expect("an answer");
            answer.extend_from_slice(&piece[..read]);
        }
        answer
    }

    /// Waits until what it answers is `wanted`.
    pub(crate) fn wait_for(&self, command: &[&str], wanted: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.command(command);
            if wanted(&answer) {
                return;
            }
            assert!(Instant::now() < end, "{command:?} still gives {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it, as it is, until it goes on.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(done.expect("kill is there").success());
    }

    /// Ends it and starts it again with what it has written.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.child = spawn(&self.directory.path().join("conf"), &[]);
        self.wait_until_it_answers();
    }

    /// Its port, when it is gone.
    pub(crate) fn kill(mut self) -> u16 {
        self.end();
        self.port
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(file: &Path, arguments: &[&str]) -> Child {
    // A test run that is killed leaves nothing behind that runs: the server ends with the thread that has started it, which is the test's.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server"])
        .arg(file)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("setpriv is installed (Debian: util-linux)")
}

/// A port at which nobody listens, and which this process has given to nobody else. It lies below the range of outgoing connections, one of which could have any other by the time the
/// server listens, or before it listens there again.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let chance = RandomState::new().build_hasher().finish() % 9_000;
        let port = 21_000 + u16::try_from(chance).expect("below 9000");
        let is_new = GIVEN.lock().expect("nobody panics with it").insert(port);
        if is_new && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
