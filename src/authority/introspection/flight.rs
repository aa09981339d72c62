//! One question about one token at a time, however many requests wait for its answer.
//!
//! A question is asked in a task of its own: whoever asked first may go away, and the others still get the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Active;
use crate::authority::cache::TokenKey;
use crate::verify::rejection::Rejection;

/// What came of a question.
pub(in crate::authority) type Outcome = Result<Active, Rejection>;

/// The questions that are being asked.
#[derive(Debug, Default)]
pub(in crate::authority) struct Flights(Mutex<HashMap<TokenKey, watch::Receiver<Option<Outcome>>>>);

/// How one request gets its answer.
pub(in crate::authority) enum Boarding<L> {
    /// It is known already.
    Known(Outcome),
    /// Someone else has asked.
    Passenger(Landing),
    /// This one asks: with that leave, and then says what came of it.
    Pilot(L, Flight, Landing),
}

/// Waits for the answer.
pub(in crate::authority) struct Landing(watch::Receiver<Option<Outcome>>);

/// A question under way. While it lives nobody else asks about its token; when it is dropped without an answer, those who wait are told that there is none.
pub(in crate::authority) struct Flight {
    flights: Arc<Flights>,
    key: TokenKey,
    sender: watch::Sender<Option<Outcome>>,
}

impl Flights {
    /// Boards the question about the token of `key`. `known` looks for an answer that has come in the meantime, and `leave` asks whether one more question
    /// may be asked. Both are called under the lock: between a look and the question nobody else can land or take off.
    ///
    /// # Errors
    /// That of `leave`.
    pub(in crate::authority) fn board<L>(
        self: &Arc<Self>,
        key: TokenKey,
        known: impl FnOnce() -> Option<Outcome>,
        leave: impl FnOnce() -> Result<L, Rejection>,
    ) -> Result<Boarding<L>, Rejection> {
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
        flights.insert(key, receiver.clone());
        let flight = Flight { flights: Arc::clone(self), key, sender };
        Ok(Boarding::Pilot(leave, flight, Landing(receiver)))
    }
}

impl Flight {
    /// Gives everyone the answer. What is to be remembered of it must be by now.
    pub(in crate::authority) fn land(self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Landing {
    /// The answer. It comes within the question's `timeout`.
    pub(in crate::authority) async fn wait(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Rejection::IntrospectionUnreachable)),
            // The task broke off.
            Err(_) => Err(Rejection::IntrospectionUnreachable),
        }
    }
}
