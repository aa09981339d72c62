//! Bodies that a test sends piece by piece, and HTTP/2 on both sides of the gateway, with trailers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::house::{HOST, House};
use crate::scene::Scene;
use crate::wire::{settings, tls};

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A body that ends when its [`Pen`] is dropped.
pub struct Piped(Receiver<Frame<Bytes>>);

/// Writes a [`Piped`] body.
pub struct Pen(Sender<Frame<Bytes>>);

/// A body and what writes it. One frame waits, no more.
pub fn piped() -> (Pen, Piped) {
    let (pen, paper) = channel(1);
    (Pen(pen), Piped(paper))
}

impl Pen {
    /// Writes data. Whether anybody still reads is what it returns.
    pub async fn write(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Frame::data(data.into())).await.is_ok()
    }

    /// Ends it with trailers.
    pub async fn end(self, trailers: HeaderMap) {
        // The other side may have gone.
        let _ = self.0.send(Frame::trailers(trailers)).await;
    }
}

impl Body for Piped {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Fields, each with this value.
pub fn fields(names: &[&'static str], value: &'static str) -> HeaderMap {
    names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// An HTTP/2 connection to the gateway.
pub async fn connect(house: &House) -> SendRequest<Piped> {
    let mut settings = settings(rustls::ALL_VERSIONS, None);
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tls(house.address, HOST, Arc::new(settings)).await.expect("the handshake");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// The scene's request, with another body.
pub fn request(house: &House, scene: &Scene, body: Piped) -> Request<Piped> {
    scene.request_with(&scene.credentials(house)).map(|_| body)
}

/// Waits for something that a hanging gateway would never give.
pub async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, coming).await.expect("it hangs")
}

/// The next piece of a body: `None` at its end.
pub async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    soon(body.frame()).await
}

/// An upstream that speaks HTTP/2 without TLS.
pub async fn upstream<F, Fut>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Piped>> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}
