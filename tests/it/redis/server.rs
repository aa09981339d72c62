//! A real redis-server, on a port and in a directory of its own.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::config::{
    OnFailure, Redis, RedisEndpoint, RedisLogin, RedisPassword, RedisServer, RedisServers, RedisWire,
};
use holdfast::replay::redis::bounds::Bounds;
use tempfile::TempDir;

use crate::process::{mortal, start};
use crate::scripted::address_of_its_own;

/// Longer than a server takes to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server. Dropped, it is killed.
pub struct Server {
    child: Option<Child>,
    /// Nobody else has it, so the server finds its port free whenever it starts again.
    pub address: SocketAddr,
    pub directory: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// One with these arguments, which takes commands.
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { child: None, address: address_of_its_own(), directory, arguments };
        // Another run may have the first address.
        let started = (0..3).any(|_| {
            server.address = address_of_its_own();
            server.address.set_port(6379);
            server.try_start()
        });
        assert!(
            started,
            "redis-server does not start with {:?}; is it installed (Debian package redis-server)?",
            server.arguments
        );
        server
    }

    fn try_start(&mut self) -> bool {
        let mut command = mortal("redis-server");
        command
            .args(["--port", &self.address.port().to_string(), "--bind", &self.address.ip().to_string()])
            .arg("--unixsocket")
            .arg(self.directory.path().join("socket"))
            .args(["--save", "", "--daemonize", "no", "--repl-diskless-sync-delay", "0", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = self.child.insert(start(command));
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            // At the port somebody else may answer. The socket in its own directory it opens after that.
            if UnixStream::connect(self.directory.path().join("socket")).is_ok() {
                return true;
            }
            if child.try_wait().expect("a child").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, where it was not to start.
            let _ = child.kill();
            child.wait().expect("it ends");
        }
    }

    /// Starts it again on its port after [`kill`](Self::kill), with nothing remembered.
    pub fn restart(&mut self) {
        assert!(self.try_start(), "it starts on its port again");
    }

    /// Sends it a signal, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill").success());
    }

    /// What it says to a command.
    pub fn say(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(self.directory.path().join("socket"))
            .arg("--no-raw")
            .args(command)
            .output()
            .expect("redis-cli is installed (Debian package redis-tools)");
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// The same, when it should say OK.
    pub fn order(&self, command: &[&str]) {
        assert_eq!(self.say(command), "OK", "{command:?}");
    }

    /// All that it holds.
    pub fn holds(&self) -> Vec<Held> {
        const ALL: &str = "local function hex(text) return (text:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end)) end
            local all = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
                all[#all + 1] = hex(key) .. ' ' .. hex(redis.call('GET', key)) .. ' ' .. redis.call('PTTL', key)
            end
            return table.concat(all, ',')";
        let bytes = |hex: &str| -> Vec<u8> {
            let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
            pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
        };
        let said = self.say(&["EVAL", ALL, "0"]);
        let entries = said.trim_matches('"').split(',').filter(|entry| !entry.is_empty());
        let held = entries.map(|entry| {
            let parts: Vec<_> = entry.split(' ').collect();
            let [key, value, left] = parts[..] else { panic!("{said}") };
            Held { key: bytes(key), value: bytes(value), left: left.parse().ok() }
        });
        held.collect()
    }

    /// As it stands in `replay.redis.url`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// As `REPLICAOF` has it.
    pub fn host_and_port(&self) -> [String; 2] {
        [self.address.ip().to_string(), self.address.port().to_string()]
    }

    /// What a gateway would have under `replay.redis` for it.
    pub fn settings(&self) -> Redis {
        settings(self.address)
    }
}

/// A key and what it has.
#[derive(Debug)]
pub struct Held {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// Milliseconds until it ends; `None`: it has no end.
    pub left: Option<u64>,
}

impl Held {
    /// The part of a hash that a claim or a count is kept under, where this is one.
    pub fn hash(&self) -> Option<[u8; 16]> {
        self.key.strip_prefix(b"hf:")?.try_into().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The settings for whatever listens there.
pub fn settings(address: SocketAddr) -> Redis {
    let (host, port) = (address.ip().to_string(), address.port());
    Redis {
        servers: RedisServers::Alone(RedisServer::Network(RedisEndpoint { host, port })),
        login: None,
        wire: RedisWire::Plain,
        prefix: "hf:".into(),
        connections: 2,
        // Four times the default, for machines that do much else; where it is waited for, a test sets less.
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        replicas: 0,
        clock_difference: Duration::from_secs(2),
        on_failure: OnFailure::Refuse,
    }
}

/// A login.
pub fn login(user: Option<&str>, password: &str) -> Option<RedisLogin> {
    Some(RedisLogin { user: user.map(str::to_owned), password: RedisPassword::new(password.to_owned()) })
}

/// What a gateway counts on that has these settings and no others.
pub fn bounds(settings: &Redis) -> Bounds {
    let [clock_difference, timeout] = [settings.clock_difference, settings.timeout]
        .map(|time| u64::try_from(time.as_millis()).expect("a short time"));
    Bounds { max_age: 60, max_future: 5, nonce: 600, clock_difference, timeout }
}

/// A store of these settings.
pub fn store(settings: Redis) -> holdfast::replay::redis::Redis {
    let bounds = bounds(&settings);
    holdfast::replay::redis::Redis::start(Arc::new(settings), bounds, holdfast::clock::Clock::system())
}
