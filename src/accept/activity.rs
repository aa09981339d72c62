//! What a connection is doing, as far as its time limits care: waiting for a request, in the middle of a head, or busy.
//!
//! Shared by the parts of one connection that see different halves of it: the reader below hyper sees heads arrive, the service
//! above hyper sees requests and responses end, and the loop in `connection` asks which limit is running. All of
//! them run in one or a few tasks of the same connection, so the atomics are there for the compiler and never contended.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::tunnel::Tunnel;

/// Which time limit is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request: `idle_timeout`, counted from here.
    Idle(Instant),
    /// Part of a head: `header_timeout`, counted from its first byte.
    Head(Instant),
    /// A request or response is on its way; its own parts watch over it (`body`, `answer`, `stall`).
    Busy,
}

/// What became of a request to switch protocols (RFC 9110 §7.8): the reader below hyper must know how to take the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Switch {
    /// None was made.
    Unasked,
    /// It is being answered. What comes meanwhile is nobody's yet.
    Asked,
    /// The same, and something has come.
    AskedAndSpoke,
    /// The answer is an ordinary one.
    Declined,
    /// The answer is 101: what comes is no HTTP.
    Switched,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    unflushed: AtomicBool,
    in_head: AtomicBool,
    at_rest: AtomicBool,
    in_body: AtomicBool,
    broken: AtomicBool,
    /// A [`Switch`].
    switch: AtomicU8,
    /// Locked twice in a connection that becomes one, and never otherwise.
    tunnel: Mutex<Option<Box<Tunnel>>>,
    closing: AtomicBool,
    /// Nanoseconds since `opened` at which the present idle time began.
    idle_since: AtomicU64,
    /// The same for the present head.
    head_since: AtomicU64,
}

impl Activity {
    /// A connection that has just become able to carry requests.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            unflushed: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            in_body: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            switch: AtomicU8::new(Switch::Unasked as u8),
            tunnel: Mutex::new(None),
            closing: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
        })
    }

    /// A request was read to the end of its head. Each one must meet an [`InFlight`], or the connection stays busy until it closes.
    pub(super) fn request_began(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Response bytes were handed to the connection but not flushed: until they are, the response is not over.
    pub(super) fn wrote(&self) {
        self.unflushed.store(true, Ordering::Relaxed);
    }

    /// Everything written has left.
    pub(super) fn flushed(&self) {
        if self.unflushed.swap(false, Ordering::Relaxed) {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether the reader is now in the middle of a head.
    pub(super) fn in_head(&self, partial: bool) {
        if self.in_head.load(Ordering::Relaxed) != partial {
            if partial {
                self.head_since.store(self.now(), Ordering::Relaxed);
            }
            self.in_head.store(partial, Ordering::Relaxed);
        }
    }

    /// Whether hyper's last read found nothing, with all before it judged, passed on and, since it asked for more, taken: no body and no half head.
    /// Only while hyper is there.
    pub(super) fn rests(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
    }

    /// Whether hyper holds nothing of this connection that is still needed, if it is also [`Phase::Idle`].
    pub(super) fn can_park(&self) -> bool {
        self.at_rest.load(Ordering::Relaxed) && !self.is_closing()
    }

    /// Whether the reader is now in the middle of a body: more of it is to come than hyper has been given.
    pub(super) fn in_body(&self, partial: bool) {
        self.in_body.store(partial, Ordering::Relaxed);
    }

    /// What [`Activity::in_body`] was last told.
    pub(super) fn is_in_body(&self) -> bool {
        self.in_body.load(Ordering::Relaxed)
    }

    /// A request's body broke the rules of its framing: nothing more can be read from this connection.
    pub(super) fn broke(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether [`Activity::broke`] was called.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// How far the present request has come with a switch of protocols.
    pub(super) fn switch(&self) -> Switch {
        match self.switch.load(Ordering::Relaxed) {
            1 => Switch::Asked,
            2 => Switch::AskedAndSpoke,
            3 => Switch::Declined,
            4 => Switch::Switched,
            _ => Switch::Unasked,
        }
    }

    /// Notes a step of it.
    pub(super) fn switches(&self, step: Switch) {
        self.switch.store(step as u8, Ordering::Relaxed);
    }

    /// The answer to a request to switch protocols is 101, and this is what comes behind it.
    pub(super) fn switches_to(&self, tunnel: Tunnel) {
        self.switches(Switch::Switched);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tunnel));
    }

    /// What comes behind the last answer, if that was a 101. To be asked when hyper is done.
    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The connection is to end: the next answer says that it is the last.
    pub(super) fn closes(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether [`Activity::closes`] was called.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered, or its answer still being written.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0 || self.unflushed.load(Ordering::Relaxed)
    }

    /// Which time limit is running.
    pub(super) fn phase(&self) -> Phase {
        if self.is_busy() {
            Phase::Busy
        } else if self.in_head.load(Ordering::Relaxed) {
            Phase::Head(self.at(&self.head_since))
        } else {
            Phase::Idle(self.at(&self.idle_since))
        }
    }

    fn now(&self) -> u64 {
        // 584 years of nanoseconds fit; a connection that outlives them counts as idle since its beginning.
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(0)
    }

    fn at(&self, nanoseconds: &AtomicU64) -> Instant {
        self.opened + Duration::from_nanos(nanoseconds.load(Ordering::Relaxed))
    }
}

/// A request that is being answered: from its handler's start until its response body is dropped, however that comes about.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    /// Takes over a request that [`Activity::request_began`] counted.
    pub(super) const fn adopt(activity: Arc<Activity>) -> Self {
        Self(activity)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
