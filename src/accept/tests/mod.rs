//! A real server on port 0 or on one end of a pipe, and callers that speak to it byte by byte.
//!
//! Time limits are tested on pipes with the clock paused: it then moves only when nothing else can. On sockets it would jump.

mod at_rest;
mod drain;
mod framing;
mod http2;
mod limits;
mod parked;
mod peer;
mod target;
mod tls;
mod tunnel;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::oneshot::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::body::{BodyFault, CallerBody};
use super::connection::{Ending, Session};
use super::http1;
use super::peer::Peer;
use super::refusal::Refusal;
use super::room::Room;
use super::site::ListenerId;
use super::stall::Stall;
use super::tunnel::{Ended, Tunnel};
use super::{Handler, Listening, Reply};
use crate::clock::Lapse;
use crate::config::{ClientCertificateHeader, ForwardedHeader, Limits, Listener, ListenerTls, ProxyProtocol};
use crate::verify::credential::CredentialLimits;
use crate::verify::htu::Origin;

/// Limits that no test meets by accident.
pub(super) fn limits() -> Limits {
    Limits {
        header_bytes: 8 * 1024,
        credentials: CredentialLimits { token_bytes: 4096, proof_bytes: 4096 },
        body_bytes: 1024,
        connections: 100,
        connections_per_address: 100,
        handshake_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        least_rate: 500,
    }
}

/// A plaintext listener for `https://api.example.com`, as behind a proxy that ends TLS.
fn plaintext() -> Listener {
    Listener {
        name: "test".to_owned(),
        address: "127.0.0.1:0".parse().expect("an address"),
        origins: origins(&["https://api.example.com"]),
        tls: ListenerTls::Plaintext,
        trusted_proxies: Vec::new(),
        forwarded_header: ForwardedHeader::XForwarded,
        client_certificate_header: ClientCertificateHeader::None,
        proxy_protocol: ProxyProtocol::None,
        keeps_certificates: false,
    }
}

/// What a session that came in by [`plaintext`] knows of it.
fn the_listener() -> Arc<ListenerId> {
    Arc::new(ListenerId::of(&plaintext()))
}

fn origins(urls: &[&str]) -> Vec<Arc<Origin>> {
    urls.iter().map(|url| Arc::new(Origin::read(url).expect("an origin"))).collect()
}

fn listening(listener: &Listener, limits: Limits, stop: &CancellationToken) -> Arc<ArcSwap<Listening>> {
    let listening = Listening::new(listener, limits, Room::new(&limits), stop).expect("usable settings");
    Arc::new(ArcSwap::from_pointee(listening))
}

/// What a handler was asked, and whether it lived to answer.
#[derive(Clone, Debug, Default)]
struct Seen {
    requests: Vec<String>,
    refused: Vec<Refusal>,
    faults: Vec<BodyFault>,
    dropped: usize,
}

/// Answers by path: `/switch` with 101 when it is released, `/hang` when it is released, `/keep` at once, with its body put aside unread, `/body` after its body with the length or the fault, `/declared` with what its length
/// is said to be, `/big` with a megabyte that is made as it is read, anything else with its own name and what the session is.
struct Answers {
    seen: Mutex<Seen>,
    release: Semaphore,
    /// What stands behind the last 101, and word of the tunnel's end.
    upstream: Mutex<Option<(DuplexStream, Receiver<Ended>)>>,
    /// The body of the last request to `/keep`, as an upstream that has answered may still be reading it.
    kept: Mutex<Option<CallerBody>>,
}

impl Answers {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            release: Semaphore::new(0),
            upstream: Mutex::new(None),
            kept: Mutex::new(None),
        })
    }

    fn seen(&self) -> Seen {
        self.seen.lock().expect("no test panics with this lock").clone()
    }
}

/// Notes a handler that was dropped before it was done.
struct Unfinished<'a>(&'a Answers, bool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.seen.lock().expect("no test panics with this lock").dropped += 1;
        }
    }
}

impl Answers {
    /// A 101, and the near end of a tunnel's other side for the test.
    fn switched(&self) -> Reply<<Self as Handler>::Body> {
        let (near, far) = tokio::io::duplex(1024);
        let (end, ended) = tokio::sync::oneshot::channel();
        let tunnel = Tunnel {
            upstream: Box::new(far),
            idle_timeout: Some(Duration::from_secs(300)),
            deadline: None,
            ended: Box::new(move |how| {
                let _ = end.send(how);
            }),
        };
        *self.upstream.lock().expect("no test panics with this lock") = Some((near, ended));
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        let response =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Reply::Switch(response.body(body).expect("a response"), tunnel)
    }
}

impl Handler for Answers {
    type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyFault>;

    async fn handle(&self, request: Box<Request<CallerBody>>, session: Arc<Session>) -> Reply<Self::Body> {
        let mut unfinished = Unfinished(self, false);
        let line = format!("{} {}", request.method(), request.uri().path());
        self.seen.lock().expect("no test panics with this lock").requests.push(line);
        let whole =
            |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let body = match request.uri().path() {
            "/switch" => {
                self.release.acquire().await.expect("open").forget();
                unfinished.1 = true;
                return self.switched();
            }
            "/hang" => {
                self.release.acquire().await.expect("open").forget();
                whole("released".to_owned())
            }
            "/body" => match request.into_body().collect().await {
                Ok(collected) => whole(format!("read {}", collected.to_bytes().len())),
                Err(fault) => {
                    self.seen.lock().expect("no test panics with this lock").faults.push(fault);
                    whole(format!("{fault:?}"))
                }
            },
            "/keep" => {
                *self.kept.lock().expect("no test panics with this lock") = Some(request.into_body());
                whole("kept".to_owned())
            }
            "/declared" => whole(format!("{:?}", request.body().declared())),
            "/big" => Pieces(64).boxed_unsync(),
            path => whole(format!(
                "{path} sni={} certificate={}",
                session.server_name.as_deref().unwrap_or("-"),
                session.certificate.as_ref().map_or_else(|| "-".to_owned(), |shown| shown.digest.to_string()),
            )),
        };
        unfinished.1 = true;
        Reply::Answer(Response::new(body))
    }

    fn refused(&self, refusal: Refusal, _: &Session) {
        self.seen.lock().expect("no test panics with this lock").refused.push(refusal);
    }
}

/// So many pieces of 16 KiB, made when they are asked for.
struct Pieces(usize);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, BodyFault>>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        std::task::Poll::Ready(left.map(|_| Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; 16 * 1024])))))
    }
}

/// What is known of a caller on a pipe.
fn session() -> Session {
    Session {
        peer: Peer::Direct(SocketAddr::from(([192, 0, 2, 1], 1))),
        server_name: None,
        certificate: None,
        tls: false,
        listener: the_listener(),
        overdue: Default::default(),
    }
}

/// An HTTP/1 connection over a pipe that holds `room` bytes each way.
fn pipe(limits: Limits, answers: &Arc<Answers>, room: usize) -> (DuplexStream, JoinHandle<()>) {
    pipe_until(limits, answers, room, CancellationToken::new())
}

/// The same, with the signal to stop; the grace is 5 s.
fn pipe_until(
    limits: Limits,
    answers: &Arc<Answers>,
    room: usize,
    stop: CancellationToken,
) -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(room);
    let ending = Ending { limits, stop, grace: Lapse::new(Duration::from_secs(5)) };
    let stream = Stall::new(far, limits.idle_timeout, limits.least_rate);
    (near, tokio::spawn(http1::http1(stream, Arc::new(session()), Arc::clone(answers), ending)))
}

/// A server on a socket.
struct Running {
    address: SocketAddr,
    answers: Arc<Answers>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(listener: &Listener, limits: Limits, grace: Duration) -> Running {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("bound");
    let (answers, stop) = (Answers::new(), CancellationToken::new());
    let listening = listening(listener, limits, &stop);
    let serving =
        super::serve(socket.into(), listening, Arc::clone(&answers), stop.clone(), Lapse::new(grace));
    Running { address, answers, stop, task: tokio::spawn(serving) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }
}

/// Sends `request` and reads whatever comes until the other side closes.
async fn exchange(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    request: &[u8],
) -> String {
    // The other side may close before it has read everything.
    let _ = stream.write_all(request).await;
    rest(stream).await
}

async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until what was read ends with `end`.
async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(stream.read_u8().await.unwrap_or_else(|_| panic!("closed after {text:?}"))));
    }
    text
}
