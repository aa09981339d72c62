//! How many requests one client, key or address may make on a route: the generic cell rate algorithm, by the `governor` crate.
//!
//! Who is counted is hashed with a secret of the process into one of [`PLACES`] allowances. So memory has an end, whoever comes, and nobody can choose whom to
//! share an allowance with; by chance two that are active at once share one with a probability of one in a million. What has rested until its allowance is whole again is
//! forgotten ([`Limiter::forget`]), which changes nothing.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Rate;

/// Allowances of one limit: what it remembers is never more.
const PLACES: u64 = 1 << 20;

/// How many of those whose allowance is spent are known to be so: see [`Limiter::spent`].
const SPENT: usize = 1 << 12;
/// How many of them are looked through for one: 64 bytes.
const WAYS: usize = 8;
/// Bits of the time until which one is; the others say whose it is.
const UNTIL: u32 = 44;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The limit of one route.
pub struct Limiter<C: Clock = DefaultClock> {
    rate: Rate,
    hasher: RandomState,
    limiter: RateLimiter<u64, DashMapStateStore<u64>, C, StateInformationMiddleware>,
    clock: C,
    /// When the limit began; what the times in `spent` are counted from.
    began: C::Instant,
    /// A place, and the millisecond until which nothing is left of its allowance. Where more than [`WAYS`] fall together, the next takes the room of the one that would end first.
    spent: Box<[AtomicU64]>,
    /// `RateLimit-Policy`, which is the same for everyone.
    policy: HeaderValue,
}

/// What is left of an allowance after a request, or when there is some again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    by: &'static str,
    policy: HeaderValue,
    left: u32,
    /// Seconds until it is whole; where nothing is left, until it is something.
    reset: u64,
}

impl Limiter {
    /// A limit nobody has touched, in real time.
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    /// The same by another clock.
    pub fn with_clock(rate: Rate, clock: C) -> Self {
        let quota = Quota::with_period(rate.period).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        let window = seconds(rate.period.saturating_mul(rate.burst.get()));
        // draft-ietf-httpapi-ratelimit-headers §3: a Structured Field list of one string with parameters.
        let policy = format!("\"{}\";q={};w={window}", rate.by.name(), rate.burst);
        Self {
            limiter: RateLimiter::new(
                quota.allow_burst(rate.burst),
                DashMapStateStore::default(),
                clock.clone(),
            ),
            hasher: RandomState::new(),
            began: clock.now(),
            spent: (0..SPENT).map(|_| AtomicU64::new(0)).collect(),
            clock,
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("")),
            rate,
        }
    }

    /// The settings.
    pub const fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Counts a request of `who`.
    ///
    /// # Errors
    /// The allowance, where nothing is left of it: the request must be refused. It is not counted then.
    pub fn count(&self, who: impl Hash) -> Result<Allowance, Allowance> {
        let place = self.place(who);
        let allowance =
            |left, reset| Allowance { by: self.rate.by.name(), policy: self.policy.clone(), left, reset };
        match self.limiter.check_key(&place) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let spent = self.rate.burst.get().saturating_sub(left);
                Ok(allowance(left, seconds(self.rate.period.saturating_mul(spent))))
            }
            Err(until) => {
                let wait = until.wait_time_from(self.clock.now());
                self.spend(place, wait);
                Err(allowance(0, seconds(wait).max(1)))
            }
        }
    }

    /// The allowance of `who`, where it is known that nothing is left of it: a request of his would be refused. It is not counted, and `None` is no leave: only
    /// [`count`](Self::count) gives that. For what has to be done before a request may be counted, and is not worth doing then.
    pub fn spent(&self, who: impl Hash) -> Option<Allowance> {
        let place = self.place(who);
        let until = self.spent_beside(place).iter().map(told).filter(|(of, _)| *of == place);
        let left =
            until.map(|(_, until)| until).max()?.checked_sub(self.passed()).filter(|left| *left > 0)?;
        let reset = seconds(Duration::from_millis(left));
        Some(Allowance { by: self.rate.by.name(), policy: self.policy.clone(), left: 0, reset })
    }

    /// Nothing is left of the allowance of `who` for so long.
    pub fn rest(&self, who: impl Hash, wait: Duration) {
        self.spend(self.place(who), wait);
    }

    fn spend(&self, place: u64, wait: Duration) {
        let until = self.passed().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let until = until.min((1 << UNTIL) - 1);
        let all = self.spent_beside(place);
        let own = all.iter().find(|slot| told(slot).0 == place);
        let Some(slot) = own.or_else(|| all.iter().min_by_key(|slot| told(slot).1)) else { return };
        // Never made shorter. Two that come here at once may leave one of them unknown, which costs a claim.
        let (of, before) = told(slot);
        slot.store(place << UNTIL | if of == place { until.max(before) } else { until }, Ordering::Relaxed);
    }

    /// Where a place may be known to be spent.
    fn spent_beside(&self, place: u64) -> &[AtomicU64] {
        let set = place as usize % (SPENT / WAYS);
        &self.spent[set * WAYS..(set + 1) * WAYS]
    }

    /// Milliseconds since the limit began.
    fn passed(&self) -> u64 {
        self.clock.now().duration_since(self.began).as_u64() / 1_000_000
    }

    /// The window in which replicas count together: the time in which a whole allowance grows.
    pub const fn window(&self) -> Duration {
        self.rate.period.saturating_mul(self.rate.burst.get())
    }

    /// Judges a request that this replica has counted, when all replicas together have counted `count` in a window that ends after `left`. Gives what is left of the smaller of the
    /// two allowances.
    ///
    /// # Errors
    /// The allowance, where nothing was left of it: the request must be refused. It stays counted.
    pub fn count_among_all(
        &self,
        own: Allowance,
        count: u64,
        left: Duration,
    ) -> Result<Allowance, Allowance> {
        let reset = seconds(left).max(1);
        match u64::from(self.rate.burst.get()).checked_sub(count) {
            None => Err(Allowance { left: 0, reset, ..own }),
            Some(rest) if rest < u64::from(own.left) => {
                Ok(Allowance { left: u32::try_from(rest).unwrap_or(own.left), reset, ..own })
            }
            Some(_) => Ok(own),
        }
    }

    fn place(&self, who: impl Hash) -> u64 {
        self.hasher.hash_one(who) % PLACES
    }

    /// Forgets everyone whose allowance is whole again. It locks a part of them at a time, for a moment.
    pub fn forget(&self) {
        self.limiter.retain_recent();
        if self.limiter.is_empty() {
            self.limiter.shrink_to_fit();
        }
    }

    /// How many are remembered.
    pub fn remembered(&self) -> usize {
        self.limiter.len()
    }
}

/// A place and a time of [`Limiter::spent`]'s.
fn told(slot: &AtomicU64) -> (u64, u64) {
    let told = slot.load(Ordering::Relaxed);
    (told >> UNTIL, told & ((1 << UNTIL) - 1))
}

impl<C: Clock> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limiter({:?})", self.rate)
    }
}

impl Allowance {
    /// Seconds until there is something left again, for `Retry-After` of a refusal.
    pub const fn wait(&self) -> u64 {
        self.reset
    }

    /// Says in an answer what is left, beside what the upstream says of its own limits: the fields are lists.
    pub fn write(&self, headers: &mut HeaderMap) {
        let left = format!("\"{}\";r={};t={}", self.by, self.left, self.reset);
        headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        if let Ok(left) = HeaderValue::from_str(&left) {
            headers.append(RATE_LIMIT, left);
        }
    }
}

/// Whole seconds, and never less than it takes.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::config::LimitBy;

    fn limiter(period: u64, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = Rate {
            period: Duration::from_millis(period),
            burst: NonZeroU32::new(burst).expect("more than none"),
            by: LimitBy::Client,
            shared: false,
        };
        (Limiter::with_clock(rate, clock.clone()), clock)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (limiter, clock) = limiter(500, 3);
        let left: Vec<u32> = (0..3).map(|_| limiter.count("a").expect("room").left).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limiter.count("a").expect_err("all spent");
        assert_eq!((refused.left, refused.wait()), (0, 1));
        assert_eq!(limiter.count("b").expect("its own").left, 2);
        clock.advance(Duration::from_millis(499));
        assert!(limiter.count("a").is_err());
        clock.advance(Duration::from_millis(1));
        assert!(limiter.count("a").is_ok() && limiter.count("a").is_err());
        // What was refused was not counted.
        clock.advance(Duration::from_millis(1500));
        assert_eq!(limiter.count("a").expect("whole again").left, 2);
    }

    /// Whoever goes on beyond his allowance is known by that until there is something again, and nobody else is taken for him.
    #[test]
    fn what_is_spent_is_known_until_there_is_some_again() {
        let (limiter, clock) = limiter(500, 1);
        assert_eq!(limiter.spent("a"), None, "not asked for");
        assert!(limiter.count("a").is_ok());
        assert_eq!(limiter.spent("a"), None, "nobody was refused");
        let refused = limiter.count("a").expect_err("spent");
        assert_eq!(limiter.spent("a"), Some(refused));
        assert!((0..1000_u32).all(|other| limiter.spent(other).is_none()));
        clock.advance(Duration::from_millis(499));
        assert!(limiter.spent("a").is_some() && limiter.count("a").is_err());
        clock.advance(Duration::from_millis(1));
        assert_eq!(limiter.spent("a"), None);
        assert!(limiter.count("a").is_ok());
        // By what all replicas have counted, which is never made shorter.
        limiter.rest("a", Duration::from_secs(3));
        limiter.rest("a", Duration::from_secs(1));
        clock.advance(Duration::from_millis(2_999));
        assert_eq!(limiter.spent("a").map(|allowance| allowance.wait()), Some(1));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limiter.spent("a"), None);
        limiter.rest("a", Duration::MAX);
        assert!(limiter.spent("a").is_some());
    }

    /// Callers who fall together do not displace each other; where there are too many, whoever would be free first of those that were there is forgotten, which is no leave for him.
    #[test]
    fn those_whose_allowance_is_spent_lie_beside_each_other() {
        let (limiter, clock) = limiter(500, 1);
        let set = |who: &u32| limiter.place(who) as usize % (SPENT / WAYS);
        let mut places = std::collections::HashSet::new();
        let apart = |who: &u32| set(who) == 1 && places.insert(limiter.place(who));
        let together: Vec<u32> = (0..).filter(apart).take(WAYS + 1).collect();
        for who in &together[..WAYS] {
            limiter.rest(who, Duration::from_secs(u64::from(*who) + 1));
        }
        assert!(together[..WAYS].iter().all(|who| limiter.spent(who).is_some()));
        limiter.rest(together[WAYS], Duration::from_secs(1_000_000));
        let known: Vec<_> = together.iter().map(|who| limiter.spent(who).is_some()).collect();
        assert_eq!(known, (0..=WAYS).map(|number| number > 0).collect::<Vec<_>>());
        clock.advance(Duration::from_secs(u64::from(together[1]) + 1));
        limiter.rest(together[0], Duration::from_secs(1_000_000));
        assert!(limiter.spent(together[0]).is_some() && limiter.spent(together[1]).is_none());
        assert!(together[2..].iter().all(|who| limiter.spent(who).is_some()), "one that is over makes room");
    }

    #[test]
    fn waits_are_never_too_short() {
        let (limiter, clock) = limiter(90_000, 1);
        assert!(limiter.count("a").is_ok());
        let wait = limiter.count("a").expect_err("spent").wait();
        assert_eq!(wait, 90);
        clock.advance(Duration::from_secs(wait - 1));
        assert_eq!(limiter.count("a").expect_err("a second early").wait(), 1);
        clock.advance(Duration::from_secs(1));
        assert!(limiter.count("a").is_ok());
    }

    #[test]
    fn memory_has_an_end_and_what_rested_is_forgotten() {
        // A few share a place; that three do happens in one run of fifty.
        let (limiter, clock) = limiter(1000, 10);
        for who in 0..5000_u32 {
            assert!(limiter.count(who).is_ok());
        }
        assert!((0..5000_u32).all(|who| limiter.place(who) < PLACES));
        assert!((4900..=5000).contains(&limiter.remembered()), "{}", limiter.remembered());
        limiter.forget();
        assert!(limiter.remembered() > 4900, "who has not rested is remembered");
        clock.advance(Duration::from_secs(10));
        limiter.forget();
        assert_eq!(limiter.remembered(), 0);
    }

    #[test]
    fn the_headers_of_the_draft() {
        let (limiter, _) = limiter(100, 20);
        let mut headers = HeaderMap::new();
        limiter.count("a").expect("room").write(&mut headers);
        assert_eq!(headers[RATE_LIMIT_POLICY], "\"client\";q=20;w=2");
        assert_eq!(headers[RATE_LIMIT], "\"client\";r=19;t=1");
    }
}
