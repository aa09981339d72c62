//! A real redis-server, on a port and in a directory of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::config::{
    OnFailure, Redis, RedisEndpoint, RedisLogin, RedisPassword, RedisServer, RedisServers, RedisWire,
};
use holdfast::replay::redis::bounds::Bounds;
use tempfile::TempDir;

/// Longer than a server takes to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server. Dropped, it is killed.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    pub directory: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// One with these arguments, which takes commands.
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { child: None, port: 0, directory, arguments };
        // Another process may take the port before the server does.
        for _ in 0..10 {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start with {:?}", server.arguments);
    }

    fn try_start(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--daemonize",
                "no",
            ])
            .args(["--dir", self.directory.path().to_str().expect("UTF-8")])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian package redis-server)");
        let child = self.child.insert(child);
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return child.try_wait().expect("a child").is_none();
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
            child.kill().expect("it runs");
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
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--no-raw"])
            .args(command)
            .output()
            .expect("redis-cli is installed (Debian package redis-tools)");
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// The same, when it should say OK.
    pub fn order(&self, command: &[&str]) {
        assert_eq!(self.say(command), "OK", "{command:?}");
    }

    /// What a gateway would have under `replay.redis` for it.
    pub fn settings(&self) -> Redis {
        settings(self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The settings for whatever listens on a port of this machine.
pub fn settings(port: u16) -> Redis {
    Redis {
        servers: RedisServers::Alone(RedisServer::Network(RedisEndpoint { host: "127.0.0.1".into(), port })),
        login: None,
        wire: RedisWire::Plain,
        prefix: "hf:".into(),
        connections: 2,
        timeout: Duration::from_millis(250),
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
    let clock_difference = u64::try_from(settings.clock_difference.as_millis()).expect("a short time");
    Bounds { max_age: 60, max_future: 5, nonce: 600, clock_difference }
}

/// A store of these settings.
pub fn store(settings: Redis) -> holdfast::replay::redis::Redis {
    let bounds = bounds(&settings);
    holdfast::replay::redis::Redis::start(Arc::new(settings), bounds, holdfast::clock::Clock::system())
}

/// A port that nobody has just now.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}
