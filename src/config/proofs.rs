//! What is wrong with `dpop` and `replay` beyond how they are written, and both of them.

use super::complaint::{Complaints, Span};
use super::decode::{List, Setting, Whole};
use super::file;
use super::material::Surroundings;
use super::route_file;
use super::{Dpop, NonceKeys, ReplayMemory};
use crate::verify::algorithm::Algorithms;
use crate::verify::policy::{BindingRule, NonceRule};

/// Bytes that a proof with ML-DSA has to be allowed: with ML-DSA-87 it has 12,000.
const LARGE_PROOF: usize = 16 << 10;

/// `dpop`. The routes are told to know whether a nonce is ever asked for, and whether proofs are remembered together with other replicas.
pub(super) fn dpop(
    Whole { settings: written, whole }: &Whole<file::Dpop>,
    routes: Option<&List<route_file::Route, 1>>,
    shared: Shared,
    proof_bytes: usize,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Dpop> {
    if let Some(routes) = routes
        && routes.whole
        && !routes.items.iter().any(|route| asks_for_nonce(route, written.nonce.value))
    {
        const MESSAGE: &str = "no route asks for a nonce, so this has no effect";
        const MEND: &str = "leave it out, or write `nonce: required` for `dpop` or in a route's `require`";
        // A proof that may be older than a shared memory is answered with a nonce, whatever the route says.
        if shared == Shared::No || !routes.items.iter().any(takes_proofs) {
            if written.nonce_lifetime.written {
                complaints.add_with(written.nonce_lifetime.span, MESSAGE, MEND);
            }
            if let Some(keys) = &written.nonce_keys {
                complaints.add_with(keys.span, MESSAGE, MEND);
            }
        }
        if written.nonce.value == NonceRule::Required {
            complaints.add(written.nonce.span, "every route says otherwise, so this has no effect");
        }
    }
    if *whole {
        if let Some(routes) = routes.filter(|routes| routes.whole) {
            refuse_half_shared(written, routes, shared, complaints);
        }
        refuse_open_region(written, routes, complaints);
    }
    // A key of kilobytes stands in each proof, and a signature of kilobytes behind it.
    if let Some(large) = written.algorithms.items.iter().find(|algorithm| algorithm.value.is_large())
        && proof_bytes < LARGE_PROOF
    {
        complaints.add_with(
            large.span,
            format!("a proof with {} is longer than limits.proof_bytes", large.value),
            "write `proof_bytes: 16KiB` under `limits`",
        );
    }
    let nonce_keys = match &written.nonce_keys {
        Some(keys) => surroundings.nonce_keys(keys, complaints)?,
        None => NonceKeys(Vec::new()),
    };
    Some(Dpop {
        algorithms: Algorithms::new(&written.algorithms.values()),
        max_age: written.max_age.0,
        max_future: written.max_future.0,
        nonce_lifetime: written.nonce_lifetime.0,
        nonce_keys,
        nonce_region: written.nonce_region.as_ref().map(|region| region.value.0.clone()),
    })
}

/// Whether proofs are remembered where other replicas find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    No,
    /// As `replay.redis` says, which stands there.
    Yes(Span),
    /// Perhaps it says so, and could not be read.
    Unread,
}

/// What replicas share has to be of use, and without `nonce_keys` it is not enough: each process would seal nonces that no other opens. When the memory is lost, on routes that ask for no
/// nonce too, callers would be sent from one replica's nonce to the next one's.
fn refuse_half_shared(
    written: &file::Dpop,
    routes: &List<route_file::Route, 1>,
    shared: Shared,
    complaints: &mut Complaints,
) {
    let Shared::Yes(redis) = shared else { return };
    let counts_together = |route: &Setting<route_file::Route>| {
        route.limits.as_ref().is_some_and(|limits| limits.value.shared.value)
    };
    if routes.items.iter().any(takes_proofs) {
        if written.nonce_keys.is_none() {
            complaints.add_with(
                redis,
                "other replicas cannot open the nonces of this one",
                "write `nonce_keys` under `dpop`, the same at every replica",
            );
        }
    } else if !routes.items.iter().any(counts_together) {
        complaints.add_with(
            redis,
            "no route takes proofs, so there is nothing to remember",
            "leave it out, or let a route take proofs",
        );
    }
}

/// What a region closes is closed only where a nonce is asked for: a proof without one passes once in every region. And where each process has nonces of its own, they count in no other anyway.
fn refuse_open_region(
    written: &file::Dpop,
    routes: Option<&List<route_file::Route, 1>>,
    complaints: &mut Complaints,
) {
    let Some(region) = &written.nonce_region else { return };
    if written.nonce_keys.is_none() {
        complaints.add_with(
            region.span,
            "without `nonce_keys` no other process opens the nonces of this one, so this has no effect",
            "write `nonce_keys` under `dpop`, the same in every region",
        );
    }
    let routes = routes.map_or(&[][..], |routes| &routes.items);
    let open = routes.iter().find(|route| takes_proofs(route) && !asks_for_nonce(route, written.nonce.value));
    if let Some(route) = open {
        let name = route.name.as_ref().map_or("", |name| &name.0);
        complaints.add_with(
            region.span,
            format!("route `{name}` takes proofs without a nonce, which pass once in every region"),
            "write `nonce: required` under `dpop`, and no route with `nonce: none`",
        );
    }
}

/// Whether a proof is looked at on this route: not where it is public or for certificates alone.
fn takes_proofs(route: &Setting<route_file::Route>) -> bool {
    !route.public.value && route.require.binding.value != BindingRule::Mtls
}

/// Whether a proof on this route needs a nonce.
fn asks_for_nonce(route: &Setting<route_file::Route>, otherwise: NonceRule) -> bool {
    let nonce = route.require.nonce.as_ref().map_or(otherwise, |nonce| nonce.value);
    takes_proofs(route) && nonce == NonceRule::Required
}

/// `replay.memory`.
pub(super) fn replay(
    written: &file::ReplayMemory,
    shared: Shared,
    complaints: &mut Complaints,
) -> ReplayMemory {
    let file::ReplayMemory { capacity, per_key, after_restart } = written;
    if matches!(shared, Shared::Yes(_)) && after_restart.written {
        let mend = "leave it out: what `replay.redis` remembers outlives this process";
        complaints.add_with(after_restart.span, "this has no effect beside `redis`", mend);
    }
    if per_key.0 > capacity.0 {
        let blamed = if per_key.written { per_key.span } else { capacity.span };
        complaints.add_with(
            blamed,
            format!("`per_key` ({}) is more than `capacity` ({})", per_key.0, capacity.0),
            "one caller could fill the store for all; write a smaller `per_key`",
        );
    }
    ReplayMemory { capacity: capacity.0, per_key: per_key.0, after_restart: after_restart.value }
}
