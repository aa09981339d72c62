//! How many requests an upstream has at once, how many may wait for a place, and how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::Fault;

/// The places of one upstream. With HTTP/1.1 each request in a place has a connection to itself, so this bounds the connections to each address too:
/// those that are idle are used before another is made.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    patience: Duration,
}

impl Gate {
    /// `places` at once, and `most_waiting` that wait for one for at most `patience`.
    pub(super) fn new(places: usize, most_waiting: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            most_waiting,
            patience,
        }
    }

    /// A place, in the order of coming.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] at once where too many wait already, and else when no place came free in time.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waits = self.wait().ok_or(Fault::Overloaded)?;
        match tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Fault::Overloaded),
        }
    }

    fn wait(&self) -> Option<Waits<'_>> {
        let room = |waiting| (waiting < self.most_waiting).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Waits(&self.waiting))
    }
}

/// One that waits, until it has a place or its caller has left.
struct Waits<'g>(&'g AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_or_a_wait_or_neither() {
        let gate = Gate::new(1, 1, Duration::from_secs(5));
        let place = gate.enter().await.expect("free");
        let mut waits = pin!(gate.enter());
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(gate.enter().await.expect_err("one waits already"), Fault::Overloaded);
        drop(place);
        let place = waits.await.expect("the place came free");
        // Who leaves makes room for another to wait.
        {
            let mut leaves = pin!(gate.enter());
            assert!(leaves.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let start = tokio::time::Instant::now();
        assert_eq!(gate.enter().await.expect_err("nobody leaves"), Fault::Overloaded);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        drop(place);
        drop(gate.enter().await.expect("free again"));
    }
}
