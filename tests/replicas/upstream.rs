//! The upstream: it answers everything and writes down what arrived. Each gateway has a port of its own there, so that the ledger can say
//! through which one a proof passed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::ledger::{HEADER, Ledger};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves one gateway for as long as the program runs.
pub(crate) async fn serve(listen: SocketAddr, gateway: usize, ledger: Arc<Ledger>) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let ledger = Arc::clone(&ledger);
            // A gateway that is killed is no concern of the others.
            tokio::spawn(async move { answer(socket, gateway, &ledger).await.ok() });
        }
    });
    Ok(address)
}

async fn answer(mut socket: TcpStream, gateway: usize, ledger: &Ledger) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while socket.read_buf(&mut buffer).await? > 0 {
        // Nothing here has a body, and a gateway does not pipeline.
        if buffer.ends_with(b"\r\n\r\n") {
            let proof = number(&buffer).ok_or_else(|| io::Error::other("a request without a number"))?;
            ledger.arrived(proof, gateway);
            buffer.clear();
            socket.write_all(ANSWER).await?;
        }
    }
    Ok(())
}

fn number(request: &[u8]) -> Option<u64> {
    std::str::from_utf8(request).ok()?.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(HEADER).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_found() {
        assert_eq!(super::number(b"GET / HTTP/1.1\r\nhost: x\r\nX-Proof: 71\r\n\r\n"), Some(71));
        assert_eq!(super::number(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), None);
    }
}
