//! How a server is, or a cluster as a whole, and what the log is told of it.
//!
//! Lanes fail by turns and in different ways, a cluster's nodes disagree, and a server may take each connection and fail each batch. The log is not theirs to fill: in one outage each kind of trouble is
//! said once, and the outage is over when all has been well for a while.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use super::state::Health;
use super::trouble::Trouble;
use crate::clock::Clock;
use crate::config::{OnFailure, RedisEndpoint};

/// How long all has to be well until an outage is over.
const A_WHILE: Duration = Duration::from_secs(1);
/// How long it is not said again that a server does not count.
const A_MINUTE: Duration = Duration::from_secs(60);

/// See the module's description.
#[derive(Debug)]
pub(super) struct Condition {
    /// Where it is, or what it is called.
    pub(super) place: String,
    /// What becomes of proofs while it is away.
    on_failure: OnFailure,
    health: Health,
    outage: Option<Outage>,
    /// When it was said last that it does not count.
    uncounted: Option<Instant>,
}

/// A time without it, with what there was in between that did not last.
#[derive(Debug)]
struct Outage {
    since: SystemTime,
    began: Instant,
    /// When it came back.
    ended: Option<Instant>,
    /// Which troubles were said, one bit for each.
    said: u32,
}

impl Condition {
    /// Nothing is known of it yet.
    pub(super) const fn unknown(place: String, on_failure: OnFailure) -> Self {
        Self { place, on_failure, health: Health::Connecting, outage: None, uncounted: None }
    }

    /// How it is.
    pub(super) const fn health(&self) -> &Health {
        &self.health
    }

    /// It is well. `ahead`: how far its clock is ahead of ours, in milliseconds, where it has one.
    pub(super) fn well(&mut self, ahead: Option<i64>) {
        if self.health == Health::Usable {
            return;
        }
        self.health = Health::Usable;
        match &mut self.outage {
            Some(outage) => outage.ended = Some(Instant::now()),
            None => {
                info!(server = self.place, clock_difference_ms = ahead, "the replay store is in use");
            }
        }
    }

    /// It is not, for this reason; `node` is who says so of others.
    pub(super) fn wrong(&mut self, trouble: Trouble, node: Option<&RedisEndpoint>, clock: &Clock) {
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: clock.precise(),
            began: Instant::now(),
            ended: None,
            said: 0,
        });
        outage.ended = None;
        let bit = 1 << trouble.number();
        if outage.said & bit == 0 {
            outage.said |= bit;
            warn!(
                server = self.place,
                node = node.map(tracing::field::display),
                reason = trouble.label(),
                on_failure = self.on_failure.name(),
                "the replay store cannot be asked: {trouble}"
            );
        }
        self.health = Health::Away { since: outage.since, trouble };
    }

    /// It takes claims and does not count for limits. That is said once a minute at most, over all connections to it.
    pub(super) fn uncounted(&mut self, why: &Trouble) {
        if self.uncounted.is_some_and(|said| said.elapsed() < A_MINUTE) {
            return;
        }
        self.uncounted = Some(Instant::now());
        warn!(
            server = self.place,
            "the replay store does not count for `limits.shared`, so each gateway counts for itself: {why}"
        );
    }

    /// Ends an outage after which it has been well for a while. To be called now and then.
    pub(super) fn settle(&mut self, ahead: Option<i64>) {
        let Some(outage) = &self.outage else { return };
        let Some(ended) = outage.ended.filter(|ended| ended.elapsed() >= A_WHILE) else { return };
        let away = ended.duration_since(outage.began);
        info!(
            server = self.place,
            away_ms = away.as_millis(),
            clock_difference_ms = ahead,
            "the replay store is in use again"
        );
        self.outage = None;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written to the log by this thread while the guard is there.
    #[derive(Clone, Default)]
    pub(in super::super) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// The lines since the last look.
        pub(in super::super) fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().expect("no panic"));
            String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Begins to listen.
    pub(in super::super) fn heard() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    #[tokio::test(start_paused = true)]
    async fn that_it_does_not_count_is_said_once_a_minute() {
        let (lines, _guard) = heard();
        let mut server = Condition::unknown("one:6379".into(), OnFailure::Refuse);
        for _ in 0..50 {
            server.uncounted(&Trouble::NotPermitted("NOPERM incr".into()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let said = lines.take();
        assert!(said.len() == 1 && said[0].contains("does not count for `limits.shared`"), "{said:?}");
        tokio::time::advance(Duration::from_secs(10)).await;
        server.uncounted(&Trouble::NotPermitted("NOPERM incr".into()));
        assert_eq!(lines.take().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_said_once_however_often_it_seems_over() {
        let (lines, _guard) = heard();
        let clock = Clock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let mut server = Condition::unknown("one:6379".into(), OnFailure::Nonce);
        server.well(Some(3));
        assert_eq!(
            lines.take(),
            [" INFO the replay store is in use server=\"one:6379\" clock_difference_ms=3"]
        );
        let late = " WARN the replay store cannot be asked: a reply took longer than `timeout` server=\"one:6379\" reason=\"late\" on_failure=\"nonce\"";
        // It is vetted well, and fails every batch.
        for round in 0..50 {
            server.wrong(Trouble::Late, None, &clock);
            assert_eq!(lines.take(), if round == 0 { vec![late] } else { vec![] });
            tokio::time::advance(Duration::from_millis(50)).await;
            server.well(None);
            assert_eq!(*server.health(), Health::Usable);
            tokio::time::advance(Duration::from_millis(50)).await;
            server.settle(None);
        }
        server.wrong(Trouble::Full, Some(&RedisEndpoint { host: "two".into(), port: 1 }), &clock);
        let said = lines.take();
        assert!(
            said.len() == 1 && said[0].contains("maxmemory") && said[0].contains("node=two:1"),
            "{said:?}"
        );
        server.well(Some(4));
        tokio::time::advance(A_WHILE).await;
        server.settle(Some(4));
        server.settle(Some(4));
        let again =
            " INFO the replay store is in use again server=\"one:6379\" away_ms=5000 clock_difference_ms=4";
        assert_eq!(lines.take(), [again]);
        server.wrong(Trouble::Late, None, &clock);
        tokio::time::advance(A_WHILE).await;
        server.settle(None);
        assert_eq!(lines.take(), [late], "the next outage is another, and goes on");
    }
}
