//! Another token for the upstream in the place of the caller's, on routes with `credentials: exchange`.

use std::sync::Arc;

use http::HeaderMap;

use super::{Denied, Gateway};
use crate::authority::Exchanged;
use crate::config::ExchangeTarget;
use crate::respond::Used;
use crate::verify::credential::{self, Scheme};
use crate::verify::replay::Permit;
use crate::verify::time::UnixTime;

impl Gateway {
    /// The token for the upstream. Behind the claim, though it may take as long as the upstream itself: in front of it, a captured request could be sent again and again
    /// and each would be a question to the issuer. A caller that is answered 503 here makes another proof, as where an upstream cannot be reached.
    pub(super) async fn exchange(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
        target: &Arc<ExchangeTarget>,
        now: UnixTime,
    ) -> Result<Exchanged, Denied> {
        let limits = &self.limits.credentials;
        let exchanged = async {
            let raw = credential::token(headers, limits)?;
            self.tokens.exchange(permit, raw, target, limits.token_bytes, now).await
        };
        exchanged.await.map_err(|rejection| Denied { used: used(headers), ..Denied::from(rejection) })
    }
}

/// The scheme that a caller has used, for its challenge.
pub(super) fn used(headers: &HeaderMap) -> Used {
    match credential::scheme(headers) {
        Some(Scheme::Dpop) => Used::Dpop,
        Some(Scheme::Bearer) => Used::Bearer,
        None => Used::None,
    }
}
