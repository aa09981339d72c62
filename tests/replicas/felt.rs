//! What callers have to feel of an upset at each door, and what they must not: an upset that breaks nothing proves nothing, and a gateway that refuses everything is no gateway.

use crate::connection::Answer;
use crate::store::{OnFailure, Shape};
use crate::tally::Part;
use crate::upset::Upset;

/// How a gateway has to be while something is broken, once that was felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It goes on.
    Serving,
    /// It has no store.
    Without,
    /// It has a store for some proofs.
    Partly,
    /// It runs no longer, or is stopped.
    Dead,
    /// That is left open.
    Open,
}

/// New requests that have to pass at a door where some have to: few, for machines that are busy.
const FLOOR: u64 = 2;

fn state(upset: Upset, shape: Shape, gateway: usize, victim: usize) -> State {
    use Upset::*;
    match upset {
        Emptied | OldSnapshot | Paused | PasswordChanged | Full | MayEvict | ReadOnly | GatewayLate => {
            State::Without
        }
        MasterKilled | MasterPaused | ReplicaKilled if shape.is_cluster() => State::Partly,
        MasterKilled | MasterPaused => State::Without,
        // Of two copies that a claim may have, one is left.
        ReplicaKilled | RingRotated | Reloaded | Resharded => State::Serving,
        // It is with the old master, which finds no copy.
        Cut if gateway == 0 => State::Without,
        // Until another master is there, and after that again as ever.
        Cut | Flushed => State::Open,
        ClockWrong if gateway == victim => State::Without,
        GatewayKilled | GatewayPaused if gateway == victim => State::Dead,
        GatewayKilled | GatewayPaused | ClockWrong => State::Serving,
    }
}

/// Says what is not as it has to be at these doors, from what was told once the upset was felt.
pub(crate) fn complaints(
    part: &Part,
    (upset, shape, on_failure): (Upset, Shape, OnFailure),
    gateways: usize,
    victim: usize,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for gateway in 0..gateways {
        let state = state(upset, shape, gateway, victim);
        let passed = part.at(gateway, &Answer::Passed);
        let said = |status, reason: &str| part.at(gateway, &Answer::Refused(status, reason.to_owned()));
        let away = match on_failure {
            OnFailure::Refuse => said(503, "replay_store_unavailable"),
            OnFailure::Nonce => said(401, "nonce_elsewhere"),
        };
        let mut complain = |what: String| complaints.push(format!("gateway {gateway}: {what}"));
        let silent = match state {
            State::Without => on_failure == OnFailure::Refuse,
            State::Dead => true,
            State::Serving | State::Partly | State::Open => false,
        };
        if silent && passed > 0 {
            complain(format!("{passed} passed while it was broken"));
        }
        if !silent && state != State::Open && passed < FLOOR {
            complain(format!("{passed} passed while it was broken, which are too few"));
        }
        if matches!(state, State::Without | State::Partly) && away == 0 {
            complain("nothing was refused for the store".to_owned());
        }
    }
    complaints
}

/// Says at which doors no request of before was refused for this reason, though the upset has made it hold for some: the store's memory begins later now, or the key of their nonces is gone.
pub(crate) fn not_refused(after: &Part, gateways: usize, reason: &str) -> Vec<String> {
    let refused = Answer::Refused(401, reason.to_owned());
    (0..gateways)
        .filter(|gateway| after.at(*gateway, &refused) == 0)
        .map(|gateway| format!("gateway {gateway}: nothing of before is refused as {reason}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connection::Told;
    use crate::tally::Tally;

    fn part(answers: &[(usize, u64, Answer)]) -> Part {
        let tally = Tally::default();
        for (door, count, answer) in answers {
            for _ in 0..*count {
                let (answer, took) = (answer.clone(), Duration::ZERO);
                tally.count(&Told { door: *door, answer, nonce: None, took }, false);
            }
        }
        tally.take()
    }

    #[test]
    fn what_is_not_felt_is_a_complaint() {
        let (refused, elsewhere) = (
            Answer::Refused(503, "replay_store_unavailable".to_owned()),
            Answer::Refused(401, "nonce_elsewhere".to_owned()),
        );
        let said = |upset, on_failure, answers: &[_]| {
            complaints(&part(answers), (upset, Shape::Alone, on_failure), 2, 1).len()
        };
        let all_refused = [(0, 9, refused.clone()), (1, 9, refused.clone())];
        let one_passed = [(0, 9, refused.clone()), (1, 9, refused.clone()), (1, 1, Answer::Passed)];
        assert_eq!(said(Upset::Paused, OnFailure::Refuse, &all_refused), 0);
        assert_eq!(said(Upset::Paused, OnFailure::Refuse, &one_passed), 1);
        assert_eq!(said(Upset::Paused, OnFailure::Refuse, &[]), 2);
        // One that refuses everything has not turned to nonces.
        let asked = [(0, 9, elsewhere.clone()), (1, 9, elsewhere.clone())];
        let served = [&asked[..], &[(0, 5, Answer::Passed), (1, 5, Answer::Passed)]].concat();
        assert_eq!(said(Upset::Paused, OnFailure::Nonce, &asked), 2);
        assert_eq!(said(Upset::Paused, OnFailure::Nonce, &served), 0);
        // The one that is dead passes nothing, the other goes on.
        assert_eq!(said(Upset::GatewayKilled, OnFailure::Refuse, &[(0, 5, Answer::Passed)]), 0);
        assert_eq!(said(Upset::GatewayKilled, OnFailure::Refuse, &[(1, 5, Answer::Passed)]), 2);
        assert_eq!(not_refused(&part(&asked), 3, "nonce_elsewhere").len(), 1);
        assert_eq!(not_refused(&part(&asked), 2, "nonce_stale").len(), 2);
    }
}
