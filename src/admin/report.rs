//! Who presents what, and which routes can be enforced: `GET /report`, and `GET /report?quiet=7d` for another time without bearers than a week.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::text;
use crate::coverage::report::{LONGEST_QUIET, QUIET, Report};
use crate::gateway::Gateway;

/// Answers a request for `/report` with this query.
pub(super) fn answer(query: Option<&str>, gateway: &Gateway) -> Response<Full<Bytes>> {
    let Some(quiet) = quiet(query) else {
        let why = "the query is nothing, or quiet= and a duration of 1s to 365d: /report?quiet=7d\n";
        return text(StatusCode::BAD_REQUEST, "text/plain", why.into());
    };
    let report = Report::new(gateway.clock.now().seconds(), quiet, gateway.routes.watched());
    match serde_json::to_string(&report) {
        Ok(json) => text(StatusCode::OK, "application/json", json + "\n"),
        // Names, numbers and words: there is nothing in it that JSON could not hold.
        Err(_) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "the report cannot be written\n".into())
        }
    }
}

/// The seconds that a query asks for.
fn quiet(query: Option<&str>) -> Option<u64> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Some(QUIET) };
    let seconds = humantime::parse_duration(query.strip_prefix("quiet=")?).ok()?.as_secs();
    Some(seconds).filter(|seconds| (1..=LONGEST_QUIET).contains(seconds))
}

#[cfg(test)]
mod tests {
    use super::{QUIET, quiet};

    #[test]
    fn one_duration_and_nothing_else() {
        for (query, seconds) in [
            (None, Some(QUIET)),
            (Some(""), Some(QUIET)),
            (Some("quiet=1s"), Some(1)),
            (Some("quiet=24h"), Some(86_400)),
            (Some("quiet=365d"), Some(31_536_000)),
            (Some("quiet=366d"), None),
            (Some("quiet=0s"), None),
            (Some("quiet=500ms"), None),
            (Some("quiet=soon"), None),
            (Some("quiet="), None),
            (Some("quite=7d"), None),
            (Some("quiet=7d&quiet=1s"), None),
        ] {
            assert_eq!(super::quiet(query), seconds, "{query:?}");
        }
        assert_eq!(quiet(Some("quiet=7d")), Some(QUIET));
    }
}
