//! SIGTERM under load: whoever the system has let in is answered. Callers open connections all the time, to the very end; what is counted are those
//! that were connected and got no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::house::{HOST, House, Plan};
use crate::process::Process;
use crate::wire::{Client, settings};

const REQUEST: &[u8] = b"GET /public HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
/// Callers of each kind.
const CALLERS: usize = 4;

/// How the callers fared.
#[derive(Default)]
struct Fared {
    answered: AtomicUsize,
    lost: std::sync::Mutex<Vec<String>>,
}

impl Fared {
    fn count<E: std::fmt::Display>(&self, kind: &str, outcome: Result<(), E>) {
        match outcome {
            Ok(()) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.lost.lock().expect("no one panicked").push(format!("{kind}: {error}")),
        }
    }
}

async fn encrypted(
    stream: TcpStream,
    settings: &Arc<ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(HOST).expect("a name");
    TlsConnector::from(Arc::clone(settings)).connect(name, stream).await
}

/// One connection in HTTP/1, with as many requests as it lives for, at most so many.
async fn in_http1(stream: TcpStream, settings: Arc<ClientConfig>, requests: usize, fared: &Fared) {
    let mut client = match encrypted(stream, &settings).await {
        Ok(stream) => Client::over(stream),
        Err(error) => return fared.count("handshake", Err(error)),
    };
    for _ in 0..requests {
        match client.exchange(REQUEST).await {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                fared.count("HTTP/1", Ok::<_, String>(()));
                if answer.all("connection") == ["close"] {
                    return;
                }
            }
            Err(error) => return fared.count("HTTP/1", Err(error)),
        }
    }
}

/// One connection in HTTP/2, with one request, or none if it is told to go before it has asked.
async fn in_http2(stream: TcpStream, settings: Arc<ClientConfig>, fared: &Fared) {
    let stream = match encrypted(stream, &settings).await {
        Ok(stream) => stream,
        Err(error) => return fared.count("handshake", Err(error)),
    };
    let exchanged = async {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.ready().await?;
        let request = Request::get(format!("https://{HOST}/public")).body(Full::<bytes::Bytes>::default());
        let answer = sender.send_request(request.expect("a request")).await?;
        assert_eq!(answer.status(), 200);
        Ok::<_, hyper::Error>(())
    };
    fared.count("HTTP/2", exchanged.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_let_in_is_lost() {
    let more = "shutdown: { delay: 300ms }\n";
    let mut house = House::built(Plan { more, ..Plan::default() }).await;
    let mut process = Process::instead_of(&mut house, "{ level: info, access: none }").await;
    let fared = Arc::new(Fared::default());
    let http1 = Arc::new(settings(rustls::ALL_VERSIONS, None));
    let mut http2 = settings(rustls::ALL_VERSIONS, None);
    http2.alpn_protocols = vec![b"h2".to_vec()];
    let http2 = Arc::new(http2);
    let mut callers = Vec::new();
    for caller in 0..CALLERS * 3 {
        let (fared, http1, http2, address) =
            (Arc::clone(&fared), Arc::clone(&http1), Arc::clone(&http2), house.address);
        callers.push(tokio::spawn(async move {
            // Until nobody is let in any more: that is no loss, since another gateway would be asked.
            while let Ok(stream) = TcpStream::connect(address).await {
                match caller % 3 {
                    0 => in_http1(stream, Arc::clone(&http1), 1, &fared).await,
                    1 => in_http1(stream, Arc::clone(&http1), 1000, &fared).await,
                    _ => in_http2(stream, Arc::clone(&http2), &fared).await,
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    process.signal("TERM");
    for caller in callers {
        caller.await.expect("no panic");
    }
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.stderr());
    let lost = fared.lost.lock().expect("no one panicked");
    let answered = fared.answered.load(Ordering::Relaxed);
    println!("{answered} requests answered through the drain, {} lost", lost.len());
    assert!(lost.is_empty() && answered > 50, "{answered} answered, {} lost: {:?}", lost.len(), lost.first());
}
