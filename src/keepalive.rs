//! TCP keepalive: whether somebody is still there, asked of the system at both ends of the gateway.
//!
//! A machine that loses its power, or a NAT that forgets a connection, says nothing. Where nothing is waited for, nobody would notice: a stream may be
//! silent for as long as `forward.idle_timeout` says, and would hold its slots on both sides for all of it. The probes also keep NATs from forgetting.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// So much silence before the first probe: less than any NAT or balancer in wide use waits until it forgets (RFC 5382 §5 asks for two hours; minutes
/// are common), and no burden for those who are only quiet.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two probes.
const EVERY: Duration = Duration::from_secs(15);
/// Probes without an answer after which the connection is over: two minutes after the last sign of life.
const PROBES: u32 = 4;

/// Has the system ask. Reads and writes fail with `TimedOut` when nobody answers.
///
/// # Errors
/// What the system says; the connection is as good as before then.
pub fn watch(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(EVERY).with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
