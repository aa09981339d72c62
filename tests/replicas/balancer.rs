//! HAProxy before the replicas: connections go round robin, TLS ends at the gateways.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::program::Program;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Balancer {
    _program: Program,
    pub(crate) door: SocketAddr,
}

impl Balancer {
    pub(crate) async fn start(files: &Path, port: u16, gateways: &[SocketAddr]) -> Outcome<Self> {
        let mut text = format!(
            "defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  option redispatch
listen group
  bind 127.0.0.1:{port}
  balance roundrobin
"
        );
        for (number, gateway) in gateways.iter().enumerate() {
            writeln!(text, "  server gateway{number} {gateway} check inter 200ms fall 2 rise 1")?;
        }
        let configuration = files.join("haproxy.cfg");
        std::fs::write(&configuration, text)?;
        let command = ["haproxy", "-db", "-f", &configuration.display().to_string()].map(str::to_owned);
        let program = Program::start(&command, None, &files.join("haproxy.log"))?;
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let began = Instant::now();
        while tokio::net::TcpStream::connect(door).await.is_err() {
            if began.elapsed() > PATIENCE {
                return Err(format!("HAProxy does not listen\n{}", program.last_words()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { _program: program, door })
    }
}
