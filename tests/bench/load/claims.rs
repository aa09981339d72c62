//! Claims at a shared store from a program that does nothing else: what a round trip takes, and how many a server bears.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Outcome;

/// As long as a proof is remembered: its age, what it may be ahead, and what clocks may differ.
const KEPT: &str = "75000";

/// The reply to a claim that nobody has made before.
const TAKEN: &[u8] = b"+OK\r\n";

/// As a gateway asks for its marker behind its claims; of a key that nobody has written.
const MARKER: &[u8] = b"*2\r\n$3\r\nGET\r\n$10\r\nhf:nothing\r\n";
const NO_MARKER: &[u8] = b"$-1\r\n";

/// As a gateway asks that a copy has its claims, where the server has one.
const COPIED: &[u8] = b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n1000\r\n";
const BY_ONE: &[u8] = b":1\r\n";

/// Makes `count` claims that are all new, `batch` in each round trip, and gives the seconds of all and the time of each round trip, sorted. With `copied` each round trip waits until a copy has them.
pub(crate) fn claim(
    address: SocketAddr,
    count: usize,
    batch: usize,
    copied: bool,
) -> Outcome<(f64, Vec<Duration>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut random = vec![0; 16 * batch];
    let (behind, last) = if copied { (COPIED, BY_ONE) } else { Default::default() };
    let expected = [&TAKEN.repeat(batch), last].concat();
    let (mut commands, mut replies) = (Vec::new(), vec![0; expected.len()]);
    let mut took = Vec::with_capacity(count / batch);
    let mut seconds = 0.0;
    for _ in 0..count / batch {
        aws_lc_rs::rand::fill(&mut random)?;
        commands.clear();
        for key in random.chunks(16) {
            write_claim(&mut commands, key)?;
        }
        commands.extend_from_slice(behind);
        let began = Instant::now();
        stream.write_all(&commands)?;
        stream.read_exact(&mut replies)?;
        took.push(began.elapsed());
        seconds += began.elapsed().as_secs_f64();
        if replies != expected {
            return Err(String::from_utf8_lossy(&replies).into());
        }
    }
    took.sort_unstable();
    Ok((seconds, took))
}

/// Makes `count` claims as a gateway makes them for one caller, and gives the time of each, sorted: from a task, with what proves that the memory is whole behind each claim, and with the processor
/// busy for `pause` between them, as it is with a request.
pub(crate) async fn claim_at_pace(
    address: SocketAddr,
    count: usize,
    pause: Duration,
) -> Outcome<Vec<Duration>> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut random = [0; 16];
    let (mut commands, mut replies) = (Vec::new(), vec![0; TAKEN.len() + NO_MARKER.len()]);
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        aws_lc_rs::rand::fill(&mut random)?;
        commands.clear();
        write_claim(&mut commands, &random)?;
        commands.extend_from_slice(MARKER);
        let busy = Instant::now();
        while busy.elapsed() < pause {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        stream.write_all(&commands).await?;
        stream.read_exact(&mut replies).await?;
        took.push(began.elapsed());
        if replies != [TAKEN, NO_MARKER].concat() {
            return Err(String::from_utf8_lossy(&replies).into());
        }
    }
    took.sort_unstable();
    Ok(took)
}

fn write_claim(commands: &mut Vec<u8>, key: &[u8]) -> std::io::Result<()> {
    commands.extend_from_slice(b"*6\r\n$3\r\nSET\r\n$19\r\nhf:");
    commands.extend_from_slice(key);
    let length = KEPT.len();
    write!(commands, "\r\n$1\r\n1\r\n$2\r\nNX\r\n$2\r\nPX\r\n${length}\r\n{KEPT}\r\n")
}
