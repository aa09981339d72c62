//! The gateway of the moment: what a reload replaces.

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Request;

use super::record::Record;
use super::{Gateway, Journey, NoRequest};
use crate::accept::body::CallerBody;
use crate::accept::connection::Session;
use crate::accept::door::TurnedAway;
use crate::accept::peer::Peer;
use crate::accept::{Handler, Reply};

/// Answers each request by the gateway that is there when its head is complete, and by that one alone: a request that was routed by one
/// configuration and judged by the policy of another would be judged by none.
pub struct Current(ArcSwap<Gateway>);

impl Current {
    /// The first.
    pub fn new(gateway: Gateway) -> Self {
        Self(ArcSwap::from_pointee(gateway))
    }

    /// The gateway of the moment. What must be consistent has to be asked of one and the same.
    pub fn get(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// Puts another in its place, for requests that begin from now on.
    pub fn replace(&self, gateway: Gateway) {
        self.0.store(Arc::new(gateway));
    }
}

impl Handler for Current {
    type Body = Journey;

    fn handle(
        &self,
        request: Box<Request<CallerBody>>,
        session: Arc<Session>,
    ) -> impl Future<Output = Reply<Journey>> + Send {
        self.get().answer(request, session)
    }

    fn refused(&self, refusal: NoRequest, session: &Session) {
        Record::never_began(&self.get(), refusal, session.peer.ip());
    }

    fn turned_away(&self, why: TurnedAway, peer: Peer, listener: &str) {
        self.get().turned_away(why, peer, listener);
    }
}
