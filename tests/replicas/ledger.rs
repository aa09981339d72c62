//! What the upstream saw of each proof. This is the checker: whatever callers were told, a proof whose request reached the upstream twice has passed twice.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The header that names a request's proof. Its caller sets it, and a copy of the request has the same.
pub(crate) const HEADER: &str = "x-proof";

/// One arrival at the upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// The number of the gateway that let it through.
    pub(crate) gateway: usize,
    at: Instant,
}

/// Every proof that was made, and every arrival.
pub(crate) struct Ledger {
    began: Instant,
    made: AtomicU64,
    passes: Mutex<HashMap<u64, Vec<Pass>>>,
}

/// What the ledger says.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Proofs that passed at least once.
    pub(crate) passed: usize,
    /// Proofs that passed more than once, each with a line that says where and when.
    pub(crate) twice: Vec<String>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), made: AtomicU64::new(0), passes: Mutex::default() }
    }

    /// The number of a new proof.
    pub(crate) fn number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// How many proofs were made.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A request has reached the upstream.
    pub(crate) fn arrived(&self, proof: u64, gateway: usize) {
        let pass = Pass { gateway, at: Instant::now() };
        self.passes.lock().expect("no one panicked").entry(proof).or_default().push(pass);
    }

    /// How often a proof has passed.
    pub(crate) fn count(&self, proof: u64) -> usize {
        self.passes.lock().expect("no one panicked").get(&proof).map_or(0, Vec::len)
    }

    /// The verdict over everything so far.
    pub(crate) fn judge(&self) -> Judgement {
        let passes = self.passes.lock().expect("no one panicked");
        let mut twice: Vec<_> = passes.iter().filter(|(_, passes)| passes.len() > 1).collect();
        twice.sort_by_key(|(number, _)| **number);
        let line = |(number, passes): (&u64, &Vec<Pass>)| {
            let each: Vec<String> = passes
                .iter()
                .map(|pass| {
                    let at = pass.at.duration_since(self.began).as_secs_f64();
                    format!("gateway {} at {at:.3} s", pass.gateway)
                })
                .collect();
            format!("proof {number}: {}", each.join(", "))
        };
        Judgement { passed: passes.len(), twice: twice.into_iter().map(line).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn a_double_pass_is_told_with_its_gateways() {
        let ledger = Ledger::new();
        let (one, two) = (ledger.number(), ledger.number());
        ledger.arrived(one, 0);
        assert!(ledger.judge().twice.is_empty());
        ledger.arrived(two, 1);
        ledger.arrived(one, 2);
        let judged = ledger.judge();
        assert_eq!((judged.passed, judged.twice.len()), (2, 1));
        assert!(judged.twice[0].starts_with("proof 0: gateway 0 at "), "{judged:?}");
        assert!(judged.twice[0].contains("gateway 2 at "), "{judged:?}");
    }
}
