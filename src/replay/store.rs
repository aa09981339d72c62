//! Where used proofs are remembered: by this process, or by a server that replicas share with this process's memory in front of it.
//!
//! With a shared store a proof takes two steps. What this replica has seen is refused here, without a round trip; the same memory holds each key to
//! its share. Then the store is asked, which knows what all the others have seen. A proof passes only where both take it.
//!
//! **When the store is away**, `on_failure: refuse` refuses. With `nonce` a proof is asked for a nonce that this process seals for itself alone. A proof
//! that has one was made for this process, no other replica takes it, now or later, and so this process's own memory is enough to know whether it was
//! used. Nothing passes that no memory was asked about.
//!
//! **When the store has lost its memory**, proofs that may have been used before are not taken, whoever asks: see [`Redis::line`].

use std::sync::Arc;
use std::time::Duration;

use super::memory::MemoryStore;
use super::redis::{Redis, Refused};
use crate::clock::Clock;
use crate::config::OnFailure;
use crate::verify::replay::{Claim, ClaimError, ClaimStore, Made};
use crate::verify::time::UnixTime;

/// The store of a gateway. Its memory outlives configurations; the way to others may change with one.
#[derive(Debug)]
pub enum Store {
    /// No other process knows what this one has seen.
    Alone(Arc<MemoryStore>),
    /// Others do.
    Shared(Shared),
}

/// A store that replicas share, and what this one remembers by itself.
#[derive(Debug)]
pub struct Shared {
    /// What this replica has seen.
    pub memory: Arc<MemoryStore>,
    /// What any of them has seen.
    pub redis: Redis,
    /// To see that an answer did not come too late.
    pub clock: Clock,
}

impl Store {
    /// What this process remembers by itself.
    pub fn memory(&self) -> &MemoryStore {
        match self {
            Store::Alone(memory) => memory,
            Store::Shared(shared) => &shared.memory,
        }
    }

    /// What it shares with others, where it does.
    pub const fn shared(&self) -> Option<&Shared> {
        match self {
            Store::Alone(_) => None,
            Store::Shared(shared) => Some(shared),
        }
    }
}

impl Shared {
    async fn claim(&self, claim: Claim, now: UnixTime) -> Result<(), ClaimError> {
        if claim.made == Made::AfterOwnNonce {
            // Only this process takes it, so nobody else can have seen it.
            return self.memory.take(claim, now);
        }
        let Some(line) = self.redis.line().filter(|_| self.redis.is_usable(claim.proof)) else {
            // Before the memory is asked, so that the proof is as good as it was.
            return Err(self.away());
        };
        // The earliest second in which the proof can have been used. After the line was read: with the line that a claim is judged by goes how far ahead proofs may be dated.
        let earliest = match claim.made {
            Made::Dated(iat) => iat.minus(self.redis.max_future()),
            // Sealed by a clock that is too far ahead, it shows nothing: the next line would find its proof too young to have been used.
            Made::AfterNonce(sealed)
                if sealed > latest_seal(now, line, self.redis.settings().clock_difference) =>
            {
                line
            }
            Made::AfterNonce(sealed) => sealed,
            Made::AfterOwnNonce => now,
        };
        if earliest <= line {
            return Err(ClaimError::BeforeMemory);
        }
        self.memory.take(claim, now)?;
        let keep = self.last_second(claim).since(now);
        let keep = Duration::from_secs(u64::try_from(keep).unwrap_or_default());
        match self.redis.claim(claim.proof, keep, line).await {
            // The answer is of a memory that may forget the proof after its last second. A request that was held up until then cannot know.
            Ok(()) if self.clock.now() > claim.until => Err(ClaimError::Past),
            Ok(()) => Ok(()),
            Err(Refused::Replayed) => Err(ClaimError::Replayed),
            Err(Refused::Unavailable) => Err(self.away()),
        }
    }

    /// The last second in which a replica with these figures may take the proof; for those with longer ones the store adds what is missing. Not the one in which this replica may: nonces open until
    /// the end of the next period, and where lifetimes differ, so do the ends of periods.
    fn last_second(&self, claim: Claim) -> UnixTime {
        match claim.made {
            Made::Dated(_) | Made::AfterOwnNonce => claim.until,
            Made::AfterNonce(sealed) => {
                let longest = i64::try_from(self.redis.bounds().nonce).unwrap_or(i64::MAX);
                claim.until.max(sealed.plus(longest))
            }
        }
    }

    fn away(&self) -> ClaimError {
        match self.redis.settings().on_failure {
            OnFailure::Refuse => ClaimError::Unavailable,
            OnFailure::Nonce => ClaimError::AskedHere,
        }
    }
}

/// The last second for which a replica may have sealed a nonce by now whose clock is right: it is `ahead` at most, or the replica seals behind the line. Not both: the line of the next memory,
/// drawn by the same figures, may lie one second behind this one, and whatever was sealed until then has to be too old by that.
fn latest_seal(now: UnixTime, line: UnixTime, ahead: Duration) -> UnixTime {
    let whole = ahead.as_secs() + u64::from(ahead.subsec_nanos() > 0);
    now.plus(i64::try_from(whole).unwrap_or(i64::MAX)).max(line.plus(1))
}

impl ClaimStore for Store {
    async fn claim(&self, claim: Claim, now: UnixTime) -> Result<(), ClaimError> {
        match self {
            Store::Alone(memory) => memory.take(claim, now),
            Store::Shared(shared) => shared.claim(claim, now).await,
        }
    }

    /// What this process knows by itself: nobody else is asked.
    async fn is_taken(&self, claim: Claim) -> bool {
        self.memory().is_taken(claim).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks may be ahead, or the line is, by which nonces are sealed until it has come.
    #[test]
    fn no_seal_counts_that_could_be_later_than_the_next_line() {
        let at = UnixTime::from_seconds;
        for (line, ahead, latest) in
            [(10, 100, 1001), (10, 1000, 1001), (10, 1001, 1002), (1000, 0, 1001), (1003, 1000, 1004)]
        {
            assert_eq!(
                latest_seal(at(1000), at(line), Duration::from_millis(ahead)),
                at(latest),
                "{line}, {ahead} ms"
            );
        }
    }
}
