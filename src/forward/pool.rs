//! The connections to one address that wait for a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::Link;

/// Connections that are open. Of HTTP/1.1 those that no request uses, of HTTP/2 all.
pub(super) struct Pool<B> {
    links: Mutex<Vec<Waiting<B>>>,
    idle: Duration,
}

/// A connection, and since when no request has used it.
struct Waiting<B> {
    link: Arc<Link<B>>,
    since: Instant,
}

impl<B> Pool<B> {
    /// A pool whose connections are closed once they were not used for `idle`.
    pub(super) const fn new(idle: Duration) -> Self {
        Self { links: Mutex::new(Vec::new()), idle }
    }

    fn links(&self) -> MutexGuard<'_, Vec<Waiting<B>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the HTTP/1.1 connection that was used last: the others may then grow old and be closed when there are more than are needed.
    pub(super) fn take(&self) -> Option<Arc<Link<B>>> {
        loop {
            // One statement: the lock is not held while a connection is looked at, or closed by being dropped.
            let Waiting { link, since } = self.links().pop()?;
            if since.elapsed() < self.idle && link.is_ready() {
                return Some(link);
            }
        }
    }

    /// A share of an HTTP/2 connection with a free stream, which is then taken.
    pub(super) fn share(&self) -> Option<Arc<Link<B>>> {
        self.links()
            .iter()
            .find(|waiting| waiting.link.take_stream())
            .map(|waiting| Arc::clone(&waiting.link))
    }

    /// A connection that can take a request.
    pub(super) fn put(&self, link: Arc<Link<B>>) {
        self.links().push(Waiting { link, since: Instant::now() });
    }

    /// The last request on an HTTP/2 connection is over: from now on it is not used.
    pub(super) fn rests(&self, link: &Arc<Link<B>>) {
        let now = Instant::now();
        if let Some(waiting) = self.links().iter_mut().find(|waiting| Arc::ptr_eq(&waiting.link, link)) {
            waiting.since = now;
        }
    }

    /// Drops connections that the server closed, and those that waited for too long.
    pub(super) fn sweep(&self) {
        let fits = |waiting: &Waiting<B>| {
            !waiting.link.is_closed() && (waiting.link.streams() > 0 || waiting.since.elapsed() < self.idle)
        };
        let gone: Vec<_> = {
            let mut links = self.links();
            let (kept, gone) = links.drain(..).partition(fits);
            *links = kept;
            gone
        };
        // Closing takes a moment, in which the lock is free again.
        drop(gone);
    }
}
