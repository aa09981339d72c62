//! Since when a route is watched, and where what its callers present is counted.

use std::sync::Arc;

use super::Route;
use crate::config::Access;
use crate::coverage::Coverage;
use crate::coverage::report::Watched;
use crate::verify::time::UnixTime;

/// Of a route that asks for a token.
#[derive(Debug)]
pub(super) struct Watch {
    coverage: Arc<Coverage>,
    /// Since when the route has these requests, and does with them what it does. That nobody was a bearer before, when it was enforced or at another path, says nothing.
    since: UnixTime,
}

impl Watch {
    /// One that begins `now`; `None` where nobody has to show anything.
    pub(super) fn new(access: &Access, now: UnixTime) -> Option<Self> {
        match access {
            Access::Public => None,
            Access::Bound(_) => Some(Self { coverage: Arc::new(Coverage::new(now)), since: now }),
        }
    }

    /// Goes on with the counts of the same route before a reload; and, where it `is_as_it_was`, with the time.
    pub(super) fn count_on_from(&mut self, before: &Self, is_as_it_was: bool) {
        self.coverage = Arc::clone(&before.coverage);
        if is_as_it_was {
            self.since = before.since;
        }
    }

    /// Where requests are counted.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What was counted of `route`.
    pub(super) fn watched(&self, route: &Route) -> Watched {
        Watched {
            route: route.name.to_string(),
            enforcement: route.enforcement(),
            since: self.coverage.since().seconds(),
            watched_since: self.since.seconds(),
            clients: self.coverage.read(),
        }
    }
}
