//! Upstreams that do what a test says, byte for byte: slow ones, broken ones, and ones that must not be believed.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// An upstream that talks like this on every connection.
pub async fn upstream<F, Fut>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

/// An upstream that reads a head, answers with these bytes and keeps the connection open.
pub async fn answering(answer: &'static [u8]) -> SocketAddr {
    upstream(move |mut stream| async move {
        while !read_until(&mut stream, b"\r\n\r\n").await.is_empty() {
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// An upstream that takes everything, remembers the bytes and never answers.
pub async fn silent() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let remembered = Arc::clone(&heard);
    let address = upstream(move |mut stream| {
        let heard = Arc::clone(&remembered);
        async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                heard.lock().expect("no one panicked").extend_from_slice(&buffer[..count]);
            }
        }
    })
    .await;
    (address, heard)
}

/// A loopback address that nothing else in this run listens at, with any port. A server that dies frees its port, and the system may give it to the next that asks for one, which is some
/// other test's: what is sent to the dead one then reaches a server that may never answer. The process id keeps two runs apart.
pub fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let run = u8::try_from(std::process::id() % 200).expect("below 200") + 50;
    SocketAddr::from(([127, run, high, low], 0))
}

/// An address where nobody listens.
pub async fn nobody() -> SocketAddr {
    let socket = TcpListener::bind(address_of_its_own()).await.expect("port 0 is free");
    socket.local_addr().expect("an address")
}

/// What came up to `end` and with it; nothing when the other side closed before.
pub async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte).await, Ok(1)) {
            return Vec::new();
        }
        read.push(byte[0]);
    }
    read
}
