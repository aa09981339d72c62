//! The end of a listening socket, without a connection that is lost: the system takes connections before we do, and resets those that we have not
//! taken when the socket closes.
//!
//! So newcomers are turned away first: their SYN is dropped, and when they send it again a second later the port is closed, or somebody
//! else's. Then whoever is half-way gets a moment, the queue is emptied, and only then the socket is closed.
//!
//! A socket that was passed to us by the service manager is left as it is when the process ends: whoever waits in its queue is our successor's. When
//! it is only the listener that ends, by a reload, nobody comes after us; closing our end would leave the port open, and callers in a queue that
//! nobody empties. Such a socket is [abandoned](Abandon): shut down, so that callers are refused.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};

/// For how long connections may still come whose first packet had come before: as long as a handshake takes to most places.
const HALF_WAY: Duration = Duration::from_millis(100);

/// A socket that is listened on.
#[derive(Debug)]
pub struct Socket {
    listener: TcpListener,
    origin: Origin,
    abandon: Abandon,
}

/// Tells whoever serves a socket, before it is told to stop, that nobody will serve it afterwards.
#[derive(Clone, Debug)]
pub struct Abandon(Arc<AtomicBool>);

impl Abandon {
    /// Tells it.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where a socket comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// We have opened it, and closing it closes the port.
    Bound,
    /// The service manager has opened it and keeps it open, and the next process will have it.
    Inherited,
}

impl Socket {
    /// A socket and where it comes from.
    pub fn new(listener: TcpListener, origin: Origin) -> Self {
        Self { listener, origin, abandon: Abandon(Arc::default()) }
    }

    /// Where it comes from.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The way to tell it that nobody comes after us.
    pub fn abandon(&self) -> Abandon {
        self.abandon.clone()
    }

    /// Whether somebody else will empty the queue.
    fn has_successor(&self) -> bool {
        self.origin == Origin::Inherited && !self.abandon.is_told()
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection. Whoever stops waiting loses none.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }

    /// Turns newcomers away, and waits until nobody else can be half-way.
    pub(super) async fn turn_away(&self) {
        if self.has_successor() {
            return;
        }
        if let Err(error) = SockRef::from(&self.listener).attach_filter(&NO_SYN) {
            // Then a connection that comes in the last microseconds may be reset, as everywhere else.
            tracing::debug!(%error, "newcomers cannot be turned away before the port is closed");
            return;
        }
        tokio::time::sleep(HALF_WAY).await;
    }

    /// A connection that waits in the queue, without waiting for one. `None` where the queue is our successor's.
    pub(super) async fn queued(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        if self.has_successor() {
            return None;
        }
        poll_fn(|cx| match self.listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.origin == Origin::Bound || self.has_successor() {
            return;
        }
        let socket = SockRef::from(&self.listener);
        // In this order, or newcomers would be let in once more in between.
        let shut = socket.shutdown(Shutdown::Both).and_then(|()| socket.detach_filter());
        if let Err(error) = shut {
            tracing::warn!(%error, "a passed socket that is no longer served could not be shut down: callers wait there in vain");
        }
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, Origin::Bound)
    }
}

/// A filter that drops every segment with SYN set and lets all others through. What a filter on a TCP socket sees begins with the TCP header
/// (RFC 9293 §3.1), whose byte 13 holds the flags.
const NO_SYN: [SockFilter; 4] = [
    // Load byte 13.
    SockFilter::new(0x30, 0, 0, 13),
    // If bit 1, SYN, is set, go on; else skip one.
    SockFilter::new(0x45, 0, 1, 0x02),
    // Keep nothing of the segment.
    SockFilter::new(0x06, 0, 0, 0),
    // Keep all of it.
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
