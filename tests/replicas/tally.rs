//! What callers were told, counted: by door and answer, with the longest that one had to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::connection::{Answer, Told};

#[derive(Clone, Debug, Default)]
struct Counts {
    answers: BTreeMap<(Answer, usize), u64>,
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
        *counts.answers.entry((told.answer.clone(), told.door)).or_default() += 1;
        counts.copies += u64::from(copy);
        counts.longest = counts.longest.max(told.took);
    }

    /// Ends a part.
    pub(crate) fn take(&self) -> Part {
        Part(std::mem::take(&mut *self.0.lock().expect("no one panicked")))
    }
}

impl Part {
    /// Requests at this door that had this answer.
    pub(crate) fn at(&self, door: usize, answer: &Answer) -> u64 {
        self.0.answers.get(&(answer.clone(), door)).copied().unwrap_or_default()
    }

    /// How long the one waited that waited longest.
    pub(crate) fn longest(&self) -> Duration {
        self.0.longest
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sums = BTreeMap::<_, u64>::new();
        for ((answer, _), count) in &self.0.answers {
            *sums.entry(answer).or_default() += count;
        }
        write!(f, "sent {} (copies {})", sums.values().sum::<u64>(), self.0.copies)?;
        for (answer, count) in sums {
            write!(f, ", {answer} {count}")?;
        }
        write!(f, "; longest wait {} ms", self.0.longest.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_told_apart() {
        let tally = Tally::default();
        for (door, milliseconds) in [(0, 5), (1, 7), (1, 6)] {
            let took = Duration::from_millis(milliseconds);
            tally.count(&Told { door, answer: Answer::Passed, nonce: None, took }, door == 1);
        }
        let part = tally.take();
        assert_eq!([0, 1, 2].map(|door| part.at(door, &Answer::Passed)), [1, 2, 0]);
        assert_eq!(part.to_string(), "sent 3 (copies 2), passed 3; longest wait 7 ms");
        assert_eq!(tally.take().to_string(), "sent 0 (copies 0); longest wait 0 ms");
    }
}
