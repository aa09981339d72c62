//! Places for `limits.connections`, whose number a reload may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for connections.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    /// How many there are meant to be.
    size: AtomicUsize,
    /// How many that are taken are to vanish when they are given back, since there are meant to be fewer.
    surplus: AtomicUsize,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Slots>,
}

impl Slots {
    /// So many places.
    pub(super) fn new(size: usize) -> Arc<Self> {
        let size = size.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size)),
            size: AtomicUsize::new(size),
            surplus: AtomicUsize::new(0),
        })
    }

    /// Waits for a free place. `None` if there will never be one, which is so when somebody closed the semaphore: then no limit would hold.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Slot { permit: Some(permit), of: Arc::clone(self) })
    }

    /// Changes how many there are. Connections beyond a smaller number stay; their places are gone once they end. One caller at a time.
    pub(super) fn resize(&self, size: usize) {
        let size = size.min(Semaphore::MAX_PERMITS);
        let before = self.size.swap(size, Ordering::AcqRel);
        if let Some(fewer) = before.checked_sub(size) {
            let gone = self.free.forget_permits(fewer);
            self.surplus.fetch_add(fewer - gone, Ordering::AcqRel);
        } else {
            // Those that were to vanish stay instead.
            let more = size - before;
            let kept = self.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| {
                Some(surplus.saturating_sub(more))
            });
            self.free.add_permits(more - more.min(kept.unwrap_or_default()));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let vanishes = self
            .of
            .surplus
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| surplus.checked_sub(1));
        if let (Ok(_), Some(permit)) = (vanishes, self.permit.take()) {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Slot, Slots};

    /// Takes all that are free.
    async fn fill(slots: &Arc<Slots>) -> Vec<Slot> {
        let mut taken = Vec::new();
        while slots.free.available_permits() > 0 {
            taken.extend(slots.take().await);
        }
        taken
    }

    #[tokio::test]
    async fn more_or_fewer_than_are_taken() {
        let slots = Slots::new(3);
        let mut taken = fill(&slots).await;
        slots.resize(1);
        taken.truncate(1);
        assert!(fill(&slots).await.is_empty(), "two have vanished");
        slots.resize(4);
        assert_eq!(fill(&slots).await.len(), 3);
        taken.extend(fill(&slots).await);
        slots.resize(2);
        slots.resize(3);
        drop(taken);
        assert_eq!(fill(&slots).await.len(), 3);
    }
}
