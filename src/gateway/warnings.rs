//! What strangers do that the operator wants to hear of: each at most once a second, since they may do it a thousand times.

use std::time::Instant;

use super::record::Record;
use crate::accept::door::TurnedAway;
use crate::accept::peer::Peer;
use crate::seldom::Seldom;

/// Each kind by itself, so that one does not hide another.
#[derive(Debug, Default)]
pub struct Warnings {
    strangers: Seldom,
    proxies: Seldom,
    certificates: Seldom,
}

impl Warnings {
    /// A connection was closed before it could carry a request.
    pub(super) fn turned_away(&self, why: TurnedAway, peer: Peer, listener: &str) {
        // A proxy that cannot make itself understood must not go unheard for a flood of strangers.
        let seldom = match why {
            TurnedAway::Silent => return,
            TurnedAway::NoProxy | TurnedAway::AddressFull => &self.strangers,
            TurnedAway::ProxyHeader(_) => &self.proxies,
        };
        if let Some(unsaid) = seldom.due(Instant::now()) {
            let reason = why.label();
            tracing::warn!(%peer, listener, reason, unsaid, "a connection was closed before it carried a request");
        }
    }

    /// Somebody who is not to be believed has named a client certificate. It is removed, whatever becomes of the request; but it is either an
    /// attempt to be someone else or a proxy that `trusted_proxies` lacks, and both are news.
    pub(super) fn strange_certificate(&self, record: &Record) {
        if let Some(unsaid) = self.certificates.due(Instant::now()) {
            let (peer, request_id) = (record.peer, record.request_id.to_str().unwrap_or_default());
            tracing::warn!(%peer, request_id, unsaid, "a client certificate in a header, and its sender is not in trusted_proxies: removed");
        }
    }
}
