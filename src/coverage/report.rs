//! What was counted, judged: by route and client, and whether a route can be enforced. The same of a running gateway and of its log.
//!
//! Its JSON is what `GET /report` of the admin listener answers, and what `holdfast report --json` prints. Members may be added, never renamed. Times are
//! seconds since 1970.

use serde::{Deserialize, Serialize};

use super::{Shown, wording};
use crate::verify::enforcement::Enforcement;

/// How long nobody may have been a bearer before a route counts as ready, in seconds, where nobody says otherwise: a week, within which most jobs run.
pub const QUIET: u64 = 7 * 86_400;
/// The longest that may be asked for: a year.
pub const LONGEST_QUIET: u64 = 365 * 86_400;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// This `client_id`, of every issuer.
    Client(String),
    /// All tokens without `client_id`.
    Nameless,
    /// All clients that are not counted by name.
    Others,
}

/// How many requests came with what, and when. A time is `None` for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Unbound tokens that were let through.
    pub bearer: u64,
    /// Tokens bound to a DPoP key.
    pub dpop: u64,
    /// Tokens bound to a certificate.
    pub mtls: u64,
    /// Tokens bound to both.
    pub both: u64,
    /// Unbound tokens that were refused for that.
    pub refused: u64,
    /// The first of `bearer`.
    pub first_bearer: Option<i64>,
    /// The last of `bearer`.
    pub last_bearer: Option<i64>,
    /// The last of `refused`.
    pub last_refused: Option<i64>,
    /// The last of `dpop`, `mtls` and `both`.
    pub last_bound: Option<i64>,
}

impl Requests {
    /// Counts one request at this time.
    pub fn note(&mut self, shown: Shown, at: i64) {
        let (number, last) = match shown {
            Shown::Bearer => {
                self.first_bearer = Some(self.first_bearer.map_or(at, |first| first.min(at)));
                (&mut self.bearer, &mut self.last_bearer)
            }
            Shown::Dpop => (&mut self.dpop, &mut self.last_bound),
            Shown::Mtls => (&mut self.mtls, &mut self.last_bound),
            Shown::Both => (&mut self.both, &mut self.last_bound),
            Shown::Refused => (&mut self.refused, &mut self.last_refused),
        };
        *number = number.saturating_add(1);
        *last = (*last).max(Some(at));
    }

    /// These and those.
    fn and(self, other: Self) -> Self {
        Self {
            bearer: self.bearer.saturating_add(other.bearer),
            dpop: self.dpop.saturating_add(other.dpop),
            mtls: self.mtls.saturating_add(other.mtls),
            both: self.both.saturating_add(other.both),
            refused: self.refused.saturating_add(other.refused),
            first_bearer: [self.first_bearer, other.first_bearer].into_iter().flatten().min(),
            last_bearer: self.last_bearer.max(other.last_bearer),
            last_refused: self.last_refused.max(other.last_refused),
            last_bound: self.last_bound.max(other.last_bound),
        }
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.bearer
            .saturating_add(self.dpop)
            .saturating_add(self.mtls)
            .saturating_add(self.both)
            .saturating_add(self.refused)
    }

    /// Which part of all of them `number` is, from 0 to 1; 0 where there are none.
    pub fn share(&self, number: u64) -> f64 {
        match self.total() {
            0 => 0.0,
            total => number as f64 / total as f64,
        }
    }
}

/// [`Requests`], and the share that each kind of them has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// All of them.
    pub total: u64,
    /// The numbers.
    #[serde(flatten)]
    pub requests: Requests,
    /// Of `total`, from 0 to 1: each kind under its own name.
    pub share: Share,
}

/// The share of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// See [`Requests::bearer`].
    pub bearer: f64,
    /// See [`Requests::dpop`].
    pub dpop: f64,
    /// See [`Requests::mtls`].
    pub mtls: f64,
    /// See [`Requests::both`].
    pub both: f64,
    /// See [`Requests::refused`].
    pub refused: f64,
}

impl From<Requests> for Shares {
    fn from(requests: Requests) -> Self {
        let of = |number| requests.share(number);
        let Requests { bearer, dpop, mtls, both, refused, .. } = requests;
        let share = Share {
            bearer: of(bearer),
            dpop: of(dpop),
            mtls: of(mtls),
            both: of(both),
            refused: of(refused),
        };
        Self { total: requests.total(), requests, share }
    }
}

/// The words of the configuration for [`Enforcement`].
mod word {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::verify::enforcement::Enforcement;

    pub(super) fn serialize<S: Serializer>(of: &Enforcement, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(of.name())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Enforcement, D::Error> {
        let word = String::deserialize(deserializer)?;
        let all = [Enforcement::Enforce, Enforcement::ReportOnly];
        all.into_iter().find(|one| one.name() == word).ok_or_else(|| D::Error::custom("no enforcement"))
    }
}

/// Whether a route can be enforced, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nobody was a bearer for long enough, and somebody was there.
    Ready,
    /// It is enforced.
    Enforced,
    /// Somebody was a bearer within the quiet time.
    Bearers,
    /// No bound request was seen: who would be refused is not known.
    NoTraffic,
    /// It was watched for less than the quiet time.
    WatchedTooShort,
}

/// What is known of a route before it is judged.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name.
    pub route: String,
    /// What it does with unbound tokens.
    pub enforcement: Enforcement,
    /// Since when its requests are counted.
    pub since: i64,
    /// Since when it does what it does, to the requests that it has. What nobody did before says nothing of whether somebody will.
    pub watched_since: i64,
    /// Who sent what.
    pub clients: Vec<(Name, Requests)>,
}

/// One client of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Who.
    pub name: Name,
    /// What.
    #[serde(flatten)]
    pub shares: Shares,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Its name.
    pub route: String,
    /// What it does with unbound tokens.
    #[serde(with = "word")]
    pub enforcement: Enforcement,
    /// Since when its requests are counted.
    pub since: i64,
    /// Since when it is as it is now; see [`Watched::watched_since`].
    pub watched_since: i64,
    /// Whether it can be enforced: whether `verdict` is `ready`.
    pub ready: bool,
    /// The same, and why.
    pub verdict: Verdict,
    /// The same as a sentence, for people; see [`wording`](super::wording).
    pub reason: String,
    /// All clients together.
    #[serde(flatten)]
    pub shares: Shares,
    /// Each of them: who is a bearer still comes first, the latest first of all.
    pub clients: Vec<Client>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it was made; of a log, the time of its last line.
    pub at: i64,
    /// How long nobody may have been a bearer, in seconds.
    pub quiet: u64,
    /// Every route that asks for a token.
    pub routes: Vec<Route>,
}

impl Report {
    /// Judges what was watched.
    pub fn new(at: i64, quiet: u64, watched: Vec<Watched>) -> Self {
        let routes = watched.into_iter().map(|route| Route::judged(route, at, quiet)).collect();
        Self { at, quiet, routes }
    }
}

impl Route {
    fn judged(watched: Watched, at: i64, quiet: u64) -> Self {
        let Watched { route, enforcement, since, watched_since, clients } = watched;
        let all = clients.iter().fold(Requests::default(), |all, (_, requests)| all.and(*requests));
        let mut clients: Vec<Client> =
            clients.into_iter().map(|(name, requests)| Client { name, shares: requests.into() }).collect();
        clients.sort_by(|one, other| {
            let unbound = |client: &Client| {
                let requests = client.shares.requests;
                (requests.last_bearer, requests.last_refused, client.shares.total)
            };
            unbound(other).cmp(&unbound(one)).then_with(|| one.name.cmp(&other.name))
        });
        let within = |time: Option<i64>| time.is_some_and(|time| seconds_between(time, at) < quiet);
        let verdict = match enforcement {
            Enforcement::Enforce => Verdict::Enforced,
            Enforcement::ReportOnly if within(all.last_bearer) => Verdict::Bearers,
            Enforcement::ReportOnly if all.last_bound.is_none_or(|last| last < watched_since) => {
                Verdict::NoTraffic
            }
            Enforcement::ReportOnly if within(Some(watched_since)) => Verdict::WatchedTooShort,
            Enforcement::ReportOnly => Verdict::Ready,
        };
        let mut judged = Self {
            route,
            enforcement,
            since,
            watched_since,
            ready: verdict == Verdict::Ready,
            verdict,
            reason: String::new(),
            shares: all.into(),
            clients,
        };
        judged.reason = wording::reason(&judged, at, quiet);
        judged
    }
}

/// Seconds from one time to another; none, where that is before it: clocks of replicas differ.
pub fn seconds_between(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}
