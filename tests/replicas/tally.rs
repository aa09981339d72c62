//! What callers were told, counted: by answer, with the longest that one had to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::connection::{Answer, Told};

#[derive(Clone, Debug, Default)]
struct Counts {
    answers: BTreeMap<Answer, u64>,
    copies: u64,
    longest: Duration,
}

/// The counts since the last time that they were taken.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counts>);

/// The counts of one part of a scene.
pub(crate) struct Part(Counts);

impl Tally {
    /// Counts an answer; `copy` where the proof had been sent before.
    pub(crate) fn count(&self, told: &Told, copy: bool) {
        let mut counts = self.0.lock().expect("no one panicked");
        *counts.answers.entry(told.answer.clone()).or_default() += 1;
        counts.copies += u64::from(copy);
        counts.longest = counts.longest.max(told.took);
    }

    /// Ends a part.
    pub(crate) fn take(&self) -> Part {
        Part(std::mem::take(&mut *self.0.lock().expect("no one panicked")))
    }
}

impl Part {
    /// Requests that had this answer.
    pub(crate) fn of(&self, answer: &Answer) -> u64 {
        self.0.answers.get(answer).copied().unwrap_or_default()
    }

    /// How long the one waited that waited longest.
    pub(crate) fn longest(&self) -> Duration {
        self.0.longest
    }

    /// Requests that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.answers.values().sum()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent {} (copies {})", self.sent(), self.0.copies)?;
        for (answer, count) in &self.0.answers {
            write!(f, ", {answer} {count}")?;
        }
        write!(f, "; longest wait {} ms", self.0.longest.as_millis())
    }
}
