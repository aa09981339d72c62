//! What operators are told of the store that replicas share: numbers, and the detail of readiness.

use std::sync::Arc;

use crate::config::OnFailure;
use crate::observe::metrics::Kept;
use crate::replay::redis::state::{Health, ROUND_TRIPS, Server, State};
use crate::replay::redis::trouble::Trouble;

/// The numbers.
pub(super) fn numbers(state: &State) -> Vec<Kept<'static>> {
    let State { servers, line, meanwhile, counts } = state;
    let place = |server: &Server| Arc::<str>::from(server.place.as_str());
    let usable = |server: &Server| f64::from(u8::from(server.health == Health::Usable));
    let claims =
        [("taken", counts.taken), ("replayed", counts.replayed), ("unavailable", counts.unavailable)];
    let seconds = |milliseconds: i64| milliseconds as f64 / 1e3;
    let bounds = ROUND_TRIPS.map(|microseconds| microseconds as f64 / 1e6);
    let mut numbers = vec![
        Kept::by(
            "server",
            "replay_store_usable",
            "Whether a server of the shared store is asked",
            servers.iter().map(|server| (place(server), usable(server))),
        ),
        Kept::by(
            "server",
            "replay_store_clock_difference_seconds",
            "How far the clock of a server of the shared store is ahead of this machine's",
            servers.iter().filter_map(|server| Some((place(server), seconds(server.clock_difference?)))),
        ),
        Kept::by(
            "result",
            "replay_store_claims_total",
            "Proofs that the shared store was asked about",
            claims.iter().map(|(result, count)| (Arc::from(*result), *count as f64)),
        ),
        Kept::by(
            "reason",
            "replay_store_troubles_total",
            "Connections to the shared store that ended or did not begin, looks at a cluster that was not well, and claims that found no room",
            Trouble::LABELS
                .iter()
                .zip(counts.troubles)
                .map(|(reason, count)| (Arc::from(*reason), count as f64)),
        ),
        Kept::one(
            "replay_store_uncounted_total",
            "Requests under `limits.shared` that the shared store has not counted, so that this process counts them alone",
            counts.uncounted,
        ),
        Kept::one(
            "replay_store_alone",
            "Whether proofs that the shared store cannot be asked about pass by nonces that this process alone has sealed",
            u64::from(*meanwhile == Some(OnFailure::Nonce)),
        ),
        Kept::histogram(
            "replay_store_round_trip_seconds",
            "How long the shared store takes for what is asked at once",
            &bounds,
            &counts.round_trips,
            counts.round_trips_sum.as_secs_f64(),
        ),
    ];
    // Before the first contact there is none, and 0 would be a line.
    numbers.extend(line.and_then(|line| u64::try_from(line.seconds()).ok()).map(|line| {
        let help = "Where the memory of the shared store begins, in seconds since 1970: a proof that may have been used by then is not taken";
        Kept::one("replay_store_line_timestamp_seconds", help, line)
    }));
    numbers
}

/// One line for each server, and one of what becomes of proofs while not all can be asked, each with its line break.
pub(super) fn detail(state: &State) -> String {
    let servers = state.servers.iter().map(|server| format!("replay store {server}\n"));
    let meanwhile = match state.meanwhile {
        None => "",
        Some(OnFailure::Refuse) => "replay store: proofs that it cannot be asked about are refused\n",
        Some(OnFailure::Nonce) => {
            "replay store: proofs that it cannot be asked about pass with a nonce of this process alone\n"
        }
    };
    servers.chain([meanwhile.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::observe::metrics::Metrics;
    use crate::replay::redis::state::Counts;
    use crate::verify::time::UnixTime;

    #[test]
    fn operators_read_what_is_wrong() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let server =
            |place: &str, health, clock_difference| Server { place: place.into(), health, clock_difference };
        let mut counts = Counts { taken: 3, replayed: 2, unavailable: 1, uncounted: 5, ..Counts::default() };
        counts.troubles[Trouble::LABELS.iter().position(|label| *label == "full").expect("a label")] = 7;
        counts.round_trips[1] = 4;
        let away = Health::Away { since, trouble: Trouble::Full };
        let state = State {
            servers: vec![
                server("one:6379", Health::Usable, Some(-1500)),
                server("two:6379", away, None),
                server("three:6379", Health::Connecting, None),
            ],
            line: Some(UnixTime::from_seconds(1_700_000_005)),
            meanwhile: Some(OnFailure::Nonce),
            counts,
        };
        let text = Metrics::new().encode(&numbers(&state));
        for line in [
            "holdfast_replay_store_usable{server=\"one:6379\"} 1",
            "holdfast_replay_store_usable{server=\"two:6379\"} 0",
            "holdfast_replay_store_clock_difference_seconds{server=\"one:6379\"} -1.5",
            "holdfast_replay_store_claims_total{result=\"taken\"} 3",
            "holdfast_replay_store_claims_total{result=\"unavailable\"} 1",
            "holdfast_replay_store_troubles_total{reason=\"full\"} 7",
            "holdfast_replay_store_troubles_total{reason=\"late\"} 0",
            "holdfast_replay_store_uncounted_total 5",
            "holdfast_replay_store_alone 1",
            "holdfast_replay_store_round_trip_seconds_bucket{le=\"0.00005\"} 0",
            "holdfast_replay_store_round_trip_seconds_bucket{le=\"0.0001\"} 4",
            "holdfast_replay_store_round_trip_seconds_count 4",
            "holdfast_replay_store_line_timestamp_seconds 1700000005",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("clock_difference_seconds{server=\"two"), "not asked is not zero");
        assert_eq!(
            detail(&state),
            "replay store one:6379: in use\nreplay store two:6379: away since 2023-11-14T22:13:20Z: it is full: give it more `maxmemory`\nreplay store three:6379: no answer yet\nreplay store: proofs that it cannot be asked about pass with a nonce of this process alone\n"
        );
    }
}
