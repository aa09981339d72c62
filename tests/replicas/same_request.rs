//! One captured request, sent many times in parallel over all replicas and through the balancer: it passes exactly once.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Barrier;

use crate::Outcome;
use crate::caller::Caller;
use crate::connection::Connection;
use crate::load::Group;

/// Copies of a request in each round.
pub(crate) const COPIES: usize = 200;

/// What came of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Rounds in which the request passed exactly once.
    pub(crate) once: usize,
    pub(crate) never: usize,
    pub(crate) oftener: usize,
}

/// Plays the rounds: half of the copies go straight to the gateways in turn, half through the balancer, all on connections that are there
/// already, and none before every other can go too.
pub(crate) async fn play(group: &Group, balancer: SocketAddr, rounds: usize) -> Outcome<Rounds> {
    let mut connections = Vec::with_capacity(COPIES);
    for copy in 0..COPIES {
        let gateways = group.doors.len();
        let (number, door) = match copy % 2 {
            0 => (gateways, balancer),
            _ => (copy / 2 % gateways, group.doors[copy / 2 % gateways]),
        };
        let mut connection = Connection::to(number, door, &group.trust);
        connection.open().await?;
        connections.push(connection);
    }
    let callers = (0..8).map(|_| Caller::new(&group.issuer)).collect::<Outcome<Vec<_>>>()?;
    let mut found = Rounds::default();
    for round in 0..rounds {
        let number = group.ledger.number();
        let request: Arc<[u8]> = callers[round % callers.len()].request(number, None)?.into();
        let barrier = Arc::new(Barrier::new(COPIES));
        let tasks: Vec<_> = std::mem::take(&mut connections)
            .into_iter()
            .enumerate()
            .map(|(copy, mut connection)| {
                let (request, barrier, tally) =
                    (Arc::clone(&request), Arc::clone(&barrier), Arc::clone(&group.tally));
                tokio::spawn(async move {
                    barrier.wait().await;
                    tally.count(&connection.send(&request).await, copy > 0);
                    connection
                })
            })
            .collect();
        for task in tasks {
            connections.push(task.await?);
        }
        match group.ledger.count(number) {
            0 => found.never += 1,
            1 => found.once += 1,
            _ => found.oftener += 1,
        }
    }
    Ok(found)
}
