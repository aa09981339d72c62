//! The request target that the upstream sees: the path and query that were authorised, in origin form (RFC 9112 §3.2.1).

use bytes::Bytes;
use http::Uri;
use http::uri::{Parts, PathAndQuery};

use crate::verify::request::Target;

/// The target for the upstream. `asked` is the caller's, whose bytes are used as they are where the path was in normal form already, which it
/// nearly always is. `None` cannot come of a target that was read from a request.
pub(super) fn for_upstream(asked: Uri, target: &Target) -> Option<Uri> {
    let unchanged = asked.path() == target.path.as_str() && asked.query() == target.query.as_deref();
    let path_and_query = match (asked.into_parts().path_and_query, &target.query) {
        (Some(same), _) if unchanged => same,
        (_, None) => PathAndQuery::try_from(target.path.as_str()).ok()?,
        (_, Some(query)) => {
            let text = format!("{}?{query}", target.path.as_str());
            PathAndQuery::from_maybe_shared(Bytes::from(text)).ok()?
        }
    };
    let mut parts = Parts::default();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).ok()
}
