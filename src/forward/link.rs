//! One connection to a server, and the right to use it for one request.
//!
//! HTTP/1.1 carries one request at a time, so such a link is taken out of its pool and comes back once the answer was read to its end. HTTP/2
//! carries many: the link stays where it is and counts them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;

use super::fault::Fault;
use super::health::Load;
use super::pool::Pool;
use super::upload::Upload;

/// How long a connection whose answer is over may go on taking the rest of a request's body, before it is closed.
const SETTLING: Duration = Duration::from_secs(60);

/// The most requests that share one HTTP/2 connection, whatever the server would take: beyond it another connection is made, so that one lost
/// connection does not lose them all (RFC 9113 §6.5.2 asks servers for at least this many).
const MOST_STREAMS: usize = 100;

/// The sending half of a connection; a task of its own drives the other.
pub(super) enum Sender<B> {
    /// HTTP/1.1
    Http1(http1::SendRequest<Upload<B>>),
    /// HTTP/2, with the number of streams that the server allows at the moment
    Http2(http2::SendRequest<Upload<B>>, Arc<AtomicUsize>),
}

/// A connection.
pub(super) struct Link<B> {
    // Held for the moment of a call, never across an await.
    sender: Mutex<Sender<B>>,
    streams: AtomicUsize,
    /// How many requests the server takes at once on this connection; its task keeps it up to date.
    most_streams: Arc<AtomicUsize>,
    /// Where it waits between requests. Nowhere for one that is never used again.
    home: Weak<Pool<B>>,
}

/// What a request sent on a link comes to: the answer's head, or the request itself where nothing of it was written.
pub(super) type Sent<B> = Result<Response<Incoming>, TrySendError<Request<Upload<B>>>>;

impl<B> Link<B> {
    pub(super) fn new(sender: Sender<B>, home: Weak<Pool<B>>) -> Self {
        let most_streams = match &sender {
            Sender::Http1(_) => Arc::default(),
            Sender::Http2(_, most) => Arc::clone(most),
        };
        Self { sender: Mutex::new(sender), streams: AtomicUsize::new(0), most_streams, home }
    }

    fn sender(&self) -> MutexGuard<'_, Sender<B>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request can be written at once. A connection that the server has closed cannot, and says so here as soon as its task has
    /// seen it; what comes in between is given back unsent.
    pub(super) fn is_ready(&self) -> bool {
        match &*self.sender() {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender, _) => sender.is_ready(),
        }
    }

    /// Whether no request can be sent on it any more.
    pub(super) fn is_closed(&self) -> bool {
        match &*self.sender() {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender, _) => sender.is_closed(),
        }
    }

    /// How many requests share it at this moment.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Takes one of an HTTP/2 connection's streams, unless it is closed or has as many as it and we allow.
    pub(super) fn take_stream(&self) -> bool {
        if self.is_closed() {
            return false;
        }
        let most = self.most_streams.load(Ordering::Relaxed).min(MOST_STREAMS);
        let free = |streams| (streams < most).then_some(streams + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok()
    }

    /// Counts the first stream of a connection that was just made for it.
    pub(super) fn first_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }
}

impl<B> Link<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// Sends a request, and gives what waits for the head of its answer, for as long as that takes.
    pub(super) fn send(&self, request: Request<Upload<B>>) -> impl Future<Output = Sent<B>> + Send + use<B> {
        match &mut *self.sender() {
            Sender::Http1(sender) => Sending::Http1 { answer: sender.try_send_request(request) },
            Sender::Http2(sender, _) => Sending::Http2 { answer: sender.try_send_request(request) },
        }
    }
}

pin_project! {
    /// A request under way, by one protocol or the other. An `async` block would keep room for both, and for the request.
    #[project = SendingProjected]
    enum Sending<One, Other> {
        Http1 { #[pin] answer: One },
        Http2 { #[pin] answer: Other },
    }
}

impl<One: Future, Other: Future<Output = One::Output>> Future for Sending<One, Other> {
    type Output = One::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            SendingProjected::Http1 { answer } => answer.poll(cx),
            SendingProjected::Http2 { answer } => answer.poll(cx),
        }
    }
}

/// A link, whatever the body of the requests it carries.
trait Lend: Send + Sync {
    /// One request is over. `whole`: its answer was read to its end, so what comes next on an HTTP/1.1 connection is another answer.
    fn end(self: Arc<Self>, whole: bool, held: Held);
}

impl<B: Send + 'static> Lend for Link<B> {
    fn end(self: Arc<Self>, whole: bool, held: Held) {
        let Some(home) = self.home.upgrade() else { return };
        if self.streams.load(Ordering::Relaxed) > 0 {
            // HTTP/2: a stream that ends early is reset, and the others go on.
            if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
                home.rests(&self);
            }
        } else if whole && self.is_ready() {
            home.put(self);
        } else if whole && !self.is_closed() {
            // The answer came before the request's body was over, or its last bytes before the connection knew.
            tokio::spawn(settle(self, home, held));
        }
        // Otherwise nobody holds it any more, which closes it.
    }
}

/// Waits until a connection is done with its last request. What the request held stays held: the connection is still busy.
async fn settle<B>(link: Arc<Link<B>>, home: Arc<Pool<B>>, held: Held) {
    let ready = poll_fn(|cx| match &mut *link.sender() {
        Sender::Http1(sender) => sender.poll_ready(cx),
        Sender::Http2(sender, _) => sender.poll_ready(cx),
    });
    if let Ok(Ok(())) = tokio::time::timeout(SETTLING, ready).await {
        home.put(link);
    }
    drop(held);
}

/// What a request counts in while it is under way: the load of its server, and its place in the upstream's limit.
struct Held {
    _load: Load,
    _place: Option<OwnedSemaphorePermit>,
}

/// One request's use of a link. Dropped early, an HTTP/1.1 connection is closed, since the rest of the answer would be taken for the next one; an
/// HTTP/2 stream is reset.
pub(super) struct Lease {
    link: Option<Arc<dyn Lend>>,
    load: Option<Load>,
    place: Option<OwnedSemaphorePermit>,
    whole: bool,
}

impl Lease {
    /// The use of `link` by a request that counts in `load`.
    pub(super) fn new<B: Send + 'static>(link: Arc<Link<B>>, load: Load) -> Self {
        Self { link: Some(link), load: Some(load), place: None, whole: false }
    }

    /// Keeps the request's place in the upstream's limit until the answer is over.
    pub(super) fn keep(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// The answer was read to its end.
    pub(super) fn finish(mut self) {
        self.whole = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(link), Some(load)) = (self.link.take(), self.load.take()) {
            link.end(self.whole, Held { _load: load, _place: self.place.take() });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}
