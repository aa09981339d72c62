//! One question at a time for one answer, however many requests wait for it.
//!
//! A question is asked in a task of its own: whoever asked first may go away, and the others still get the answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::verify::rejection::Rejection;

/// What came of a question.
pub(in crate::authority) type Outcome<T> = Result<T, Rejection>;

/// Where an answer arrives.
type Arrival<T> = watch::Receiver<Option<Outcome<T>>>;

/// The questions that are being asked, each by what it is about.
#[derive(Debug)]
pub(in crate::authority) struct Flights<K, T>(Mutex<HashMap<K, Arrival<T>>>);

/// How one request gets its answer.
enum Boarding<K: Clone + Eq + Hash, T, L> {
    /// It is known already.
    Known(Outcome<T>),
    /// Someone else has asked.
    Passenger(Landing<T>),
    /// This one asks: with that leave, and then says what came of it.
    Pilot(L, Flight<K, T>, Landing<T>),
}

/// Waits for the answer.
struct Landing<T>(Arrival<T>);

/// A question under way. While it lives nobody else asks it; when it is dropped without an answer, those who wait are told that there is none.
struct Flight<K: Clone + Eq + Hash, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
    sender: watch::Sender<Option<Outcome<T>>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The answer to the question about `key`, which is asked once for all who want it at a time. `known` looks for an answer that has come in the
    /// meantime, and `leave` asks whether one more question may be asked. Both are called under the lock: between a look and the question nobody else can
    /// land or take off. `ask` asks, in a task of its own that ends by itself, and remembers what is to be remembered. `lost` is said where it broke off.
    ///
    /// # Errors
    /// That of `leave`, of the answer, or `lost`.
    pub(in crate::authority) async fn answer<L, F>(
        self: &Arc<Self>,
        key: K,
        known: impl FnOnce() -> Option<Outcome<T>>,
        leave: impl FnOnce() -> Result<L, Rejection>,
        ask: impl FnOnce(L) -> F,
        lost: Rejection,
    ) -> Outcome<T>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let landing = match self.board(key, known, leave)? {
            Boarding::Known(outcome) => return outcome,
            Boarding::Passenger(landing) => landing,
            Boarding::Pilot(leave, flight, landing) => {
                let asking = ask(leave);
                tokio::spawn(async move { flight.land(asking.await) });
                landing
            }
        };
        landing.wait().await.unwrap_or(Err(lost))
    }

    fn board<L>(
        self: &Arc<Self>,
        key: K,
        known: impl FnOnce() -> Option<Outcome<T>>,
        leave: impl FnOnce() -> Result<L, Rejection>,
    ) -> Result<Boarding<K, T, L>, Rejection> {
        // A panic leaves the map whole.
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(&key) {
            return Ok(Boarding::Passenger(Landing(landing.clone())));
        }
        if let Some(outcome) = known() {
            return Ok(Boarding::Known(outcome));
        }
        let leave = leave()?;
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver.clone());
        let flight = Flight { flights: Arc::clone(self), key, sender };
        Ok(Boarding::Pilot(leave, flight, Landing(receiver)))
    }
}

impl<K: Clone + Eq + Hash, T> Flight<K, T> {
    /// Gives everyone the answer. What is to be remembered of it must be by now.
    fn land(self, outcome: Outcome<T>) {
        self.sender.send_replace(Some(outcome));
    }
}

impl<K: Clone + Eq + Hash, T> Drop for Flight<K, T> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<T: Clone> Landing<T> {
    /// The answer, within the question's `timeout`. `None` where the task broke off.
    async fn wait(mut self) -> Option<Outcome<T>> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}
