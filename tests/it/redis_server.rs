//! A redis-server of a test's own: started by it, told what to do, and ended with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::scripted::address_of_its_own;

/// A server that runs. Its directory and its memory end with it.
pub struct RedisServer {
    address: SocketAddr,
    settings: &'static [&'static str],
    directory: TempDir,
    process: Child,
}

impl RedisServer {
    /// Starts one, with these settings besides: `--name value` each.
    pub fn start(settings: &'static [&'static str]) -> Self {
        let mut address = address_of_its_own();
        // Nobody else has the address, so any port is free.
        address.set_port(6379);
        let directory = TempDir::new().expect("a directory");
        let process = spawn(address, settings, &directory);
        Self { address, settings, directory, process }
    }

    /// As it stands in `replay.redis.url`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was started here");
    }

    /// Starts it again where it was, with an empty memory.
    pub fn revive(&mut self) {
        self.process = spawn(self.address, self.settings, &self.directory);
    }

    /// What it answers to a command, in one line.
    pub fn ask(&self, command: &str) -> String {
        ask(self.address, command).expect("it answers")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(address: SocketAddr, settings: &[&str], directory: &TempDir) -> Child {
    let process = Command::new("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--save", "", "--dir"])
        .arg(directory.path())
        .args(settings)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: tests/run does it, or Debian's package redis-server");
    let start = Instant::now();
    while !ask(address, "PING")
        .is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
    {
        assert!(start.elapsed() < Duration::from_secs(20), "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}

fn ask(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
