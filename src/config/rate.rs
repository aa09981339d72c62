//! How many requests of one caller a route takes, and what is wrong with its `limits` beyond how they are written.

use std::num::NonZeroU32;
use std::time::Duration;

use super::complaint::Complaints;
use super::proofs::Shared;
use super::route_file;
use crate::verify::enforcement::Enforcement;

/// `limits` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// `rate`, as the time in which one request more is allowed; not zero
    pub period: Duration,
    /// `burst`: requests at once
    pub burst: NonZeroU32,
    /// `by`
    pub by: LimitBy,
    /// `shared`: whether replicas count together; default false. Never by address
    pub shared: bool,
}

/// `by` of a route's `limits`: whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitBy {
    /// `client`: those of one `client_id` of one issuer.
    Client,
    /// `key`: those of one DPoP key, or of one certificate.
    Key,
    /// `address`: those from one IPv4 address or one IPv6 /64.
    Address,
}

impl LimitBy {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            LimitBy::Client => "client",
            LimitBy::Key => "key",
            LimitBy::Address => "address",
        }
    }
}

/// How many requests of one caller a route takes.
pub(super) fn rate(route: &route_file::Route, store: Shared, complaints: &mut Complaints) -> Option<Rate> {
    let route_file::RouteLimits { rate, burst, by, shared } = &route.limits.as_ref()?.value;
    let (rate, burst, by) = (rate.as_ref()?, burst.as_ref()?, by.as_ref()?);
    match by.value {
        LimitBy::Client | LimitBy::Key if route.public.value => {
            let message = format!("a public route knows no {}", by.value.name());
            complaints.add_with(by.span, message, "`address` is all that is known of its callers");
            return None;
        }
        LimitBy::Client | LimitBy::Key | LimitBy::Address => {}
    }
    match (by.value, route.enforcement.value) {
        (LimitBy::Key, Enforcement::ReportOnly) => {
            let message = "an unbound token has no key, and this route lets it through";
            complaints.add_with(by.span, message, "`client` or `address`, until the route is enforced");
            return None;
        }
        (LimitBy::Key, Enforcement::Enforce) | (LimitBy::Client | LimitBy::Address, _) => {}
    }
    if shared.value && by.value == LimitBy::Address {
        complaints.add_with(
            shared.span,
            "addresses are counted before anything is known of a caller, who could fill the store",
            "`client` or `key`, or leave `shared` out",
        );
        return None;
    }
    if shared.value && store == Shared::No {
        complaints.add_with(
            shared.span,
            "without `replay.redis` no replica counts with another, so this has no effect",
            "leave it out, or write `replay.redis`",
        );
    }
    let burst = u32::try_from(burst.0).ok().and_then(NonZeroU32::new)?;
    Some(Rate { period: rate.0, burst, by: by.value, shared: shared.value })
}
