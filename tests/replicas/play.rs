//! Plays a scene: lets load run, breaks things one after the other or two at a time (`chaos.rs`), and judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cast::{Cast, Stage};
use crate::deed::Struck;
use crate::felt;
use crate::same_request;
use crate::scene::{Act, Scene, Spread, Verdict};
use crate::store::{OnFailure, Shape};
use crate::strike::Blow;
use crate::tally::Part;
use crate::upset::{Comeback, Upset};

/// Within so long every gateway has to let new requests pass again, of a caller that knows nonces, once the store, or the other that takes its place, can be written to. Those of
/// others have to wait until `iat` lies behind the beginning of the store's memory.
const RECOVERY: Duration = Duration::from_secs(10);

/// A group that has no other master by then has failed itself.
const FAILOVER: Duration = Duration::from_secs(30);

/// The longest that a request may be held: many times `timeout`, for machines that are busy.
pub(crate) const HELD: Duration = Duration::from_secs(2);

/// Where they have differed from the beginning: longer than any nonce is good.
const DIFFERING: Duration = Duration::from_secs(36);
/// No claim ends then earlier that ought to hold for longer.
const CLAIMED: Duration = Duration::from_secs(15);

/// So many of the requests that were recorded just before something is broken are kept, and tried at every door.
const KEPT: usize = 300;
/// So many of the latest recorded requests are tried once more at every door, when all is over.
const SWEPT: usize = 1500;

/// Plays a scene and prints what came of it. An error says what else was not as it has to be.
pub(crate) async fn play(stage: &mut Stage, scene: &Scene) -> Outcome<Verdict> {
    let mut cast = Cast::gather(stage, scene).await?;
    let mut outcome = match &scene.act {
        Act::SameRequest(rounds) => cast.same_request(*rounds).await,
        Act::Upsets(upsets) => cast.upsets(upsets).await,
        Act::Chaos(time) => cast.chaos(*time).await,
    };
    if !cast.complaints.is_empty() {
        outcome = outcome.and(Err(cast.complaints.join("\n          ").into()));
    }
    let judged = cast.group.ledger.judge();
    println!(
        "  proofs made {}, passed {}, passed twice {}",
        cast.group.ledger.made(),
        judged.passed,
        judged.twice.len()
    );
    for line in judged.twice.iter().take(5) {
        println!("    {line}");
    }
    if let (Err(_), true) = (&outcome, std::env::var_os("HOLDFAST_LOGS").is_some()) {
        for gateway in &cast.gateways {
            println!("{}\n", gateway.last_words());
        }
    }
    // Whatever else went wrong, nothing is worse.
    if judged.twice.is_empty() { outcome.map(|()| Verdict::Once) } else { Ok(Verdict::Twice) }
}

/// What was recorded just before something was broken. What a gateway has seen it refuses for ever, so that those which are tried while it is broken may prove less afterwards.
pub(crate) struct Kept {
    pub(crate) tried: Vec<Arc<[u8]>>,
    pub(crate) untried: Vec<Arc<[u8]>>,
}

impl Cast {
    async fn same_request(&mut self, rounds: usize) -> Outcome<()> {
        let found = same_request::play(&self.group, self.balancer(), rounds).await?;
        println!("  {}", self.group.tally.take());
        println!("  rounds: passed once {}, never {}, oftener {}", found.once, found.never, found.oftener);
        if found.once == rounds { Ok(()) } else { Err(format!("{found:?}").into()) }
    }

    async fn upsets(&mut self, upsets: &[Upset]) -> Outcome<()> {
        let load = self.load()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("  before: {}", self.group.tally.take());
        for upset in upsets {
            let endured = self.endure(*upset).await;
            endured.map_err(|error| format!("{upset}: {error}"))?;
            self.none_twice()?;
        }
        load.stop().await?;
        self.sweep().await
    }

    /// A scene ends at the first proof that has passed twice.
    pub(crate) fn none_twice(&self) -> Outcome<()> {
        if self.group.ledger.judge().twice.is_empty() {
            Ok(())
        } else {
            Err("a proof has passed twice".into())
        }
    }

    /// What was recorded last is sent to every gateway once more; nothing of it may pass that has passed.
    pub(crate) async fn sweep(&mut self) -> Outcome<()> {
        let latest = self.group.records.latest(SWEPT);
        let said = self.group.sweep(&latest, &[]).await;
        println!("  {} recorded requests at every gateway once more: {said}", latest.len());
        Ok(())
    }

    pub(crate) fn keep(&self) -> Kept {
        let latest = self.group.records.latest(KEPT).into_iter().enumerate();
        let (tried, untried): (Vec<_>, Vec<_>) = latest.partition(|(number, _)| number % 2 == 0);
        let requests = |numbered: Vec<(usize, _)>| numbered.into_iter().map(|(_, request)| request).collect();
        Kept { tried: requests(tried), untried: requests(untried) }
    }

    /// Breaks one thing, and waits until the group has come back.
    async fn endure(&mut self, upset: Upset) -> Outcome<()> {
        let shape = self.shape()?;
        let comeback = upset.comeback(shape);
        let kept = self.keep();
        self.group.tally.take();
        let began = Instant::now();
        let struck = self.strike(upset, &[]).await?;
        // What was asked before it was broken may still be answered as if it was whole.
        tokio::time::sleep(Duration::from_millis(upset.settles())).await;
        let at_first = self.group.tally.take();
        self.last(upset, shape).await;
        let mut broken = self.group.tally.take();
        println!("  {upset}: {at_first}");
        println!("    then {broken}");
        let left_out = if upset == Upset::GatewayPaused { vec![struck.victim] } else { Vec::new() };
        let swept = self.group.sweep(&kept.tried, &left_out).await;
        println!("    of before, meanwhile: {swept}");
        let mut parts = vec![at_first];
        let mut took = None;
        if comeback == Comeback::Alone {
            // With the network cut, the gateway that is with the old master has nobody to ask.
            let reachable = if upset == Upset::Cut { (1..self.gateways.len()).collect() } else { self.all() };
            self.replaced(&struck.blow).await?;
            took = Some(self.well(&reachable).await?);
            parts.push(self.group.tally.take());
        }
        if upset == Upset::Cut {
            // Both halves go on for a while, as they would.
            parts.push(broken);
            tokio::time::sleep(Duration::from_secs(1)).await;
            broken = self.group.tally.take();
            println!("    with another master {broken}");
        }
        self.judge(&struck, shape, &broken).await?;
        parts.push(broken);

        self.mend(&struck).await?;
        let after = self.well(&self.all()).await?;
        let (known, unknown) = took.unwrap_or(after);
        let recovery = self.group.tally.take();
        let since = if comeback == Comeback::Alone { "there was a store" } else { "it was mended" };
        println!(
            "    passes again {:.1} s after {since}, for callers without nonces {:.1} s; meanwhile {recovery}",
            known.as_secs_f64(),
            unknown.as_secs_f64(),
        );
        parts.push(recovery);
        let swept = self.group.sweep(&[kept.untried, kept.tried].concat(), &[]).await;
        println!("    of before, afterwards: {swept}; {:.1} s in all", began.elapsed().as_secs_f64());
        if known > RECOVERY {
            self.complain(upset, format!("it came back after {known:?} only"));
        }
        if upset == Upset::RingRotated {
            for what in felt::not_refused(&swept, self.gateways.len(), "nonce_stale") {
                self.complain(upset, what);
            }
        }
        // A proof that is too old is refused for that, so only those that last can show the line.
        if upset.forgets() && self.max_age >= crate::repertoire::MAX_AGE {
            for what in felt::not_refused(&swept, self.gateways.len(), "proof_before_memory") {
                self.complain(upset, what);
            }
        }
        let longest = parts.iter().map(Part::longest).max().unwrap_or_default();
        if upset != Upset::GatewayPaused && longest > HELD {
            self.complain(upset, format!("a request was held for {longest:?}"));
        }
        Ok(())
    }

    /// Lets it stay broken for a while. Where rules have differed from the beginning, that is until claims end, and each gateway is shown proofs that are about to end or have ended;
    /// none earlier, since it would remember them by itself.
    async fn last(&mut self, upset: Upset, shape: Shape) {
        if (upset, self.rules) != (Upset::Reloaded, Spread::Apart) {
            return tokio::time::sleep(Duration::from_millis(upset.lasts(shape))).await;
        }
        let began = Instant::now();
        while began.elapsed() < DIFFERING {
            let old = self.group.records.old(KEPT / 3, CLAIMED, &mut self.dice);
            self.group.sweep(&old, &[]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until another server has taken the place of a master, where that has to happen: how long it takes is no matter of the gateways.
    async fn replaced(&self, blow: &Blow) -> Outcome<()> {
        let store = self.store.as_ref().ok_or("it is still there")?;
        let began = Instant::now();
        while blow.takes_a_master() && store.unharmed(blow)?.is_some() && began.elapsed() < FAILOVER {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(crate) fn shape(&self) -> Outcome<Shape> {
        Ok(self.store.as_ref().ok_or("there is no store to break")?.shape)
    }

    fn complain(&mut self, upset: Upset, what: String) {
        println!("    NOT AS IT HAS TO BE: {what}");
        self.complaints.push(format!("{upset}: {what}"));
    }

    /// Whether an upset was felt, just before it is mended.
    async fn judge(&mut self, struck: &Struck, shape: Shape, broken: &Part) -> Outcome<()> {
        let Struck { upset, victim, ref blow } = *struck;
        // A master that needs no copies goes on when it is cut off.
        let is_split_brain = upset == Upset::Cut && self.copies == Some(0);
        if !is_split_brain {
            let what = (upset, shape, self.on_failure);
            for what in felt::complaints(broken, what, self.gateways.len(), victim) {
                self.complain(upset, what);
            }
        }
        if let Some(what) = self.store.as_ref().ok_or("it is still there")?.unharmed(blow)? {
            self.complain(upset, what);
        }
        if upset == Upset::GatewayLate {
            match (self.on_failure, self.gateways[victim].is_ready().await) {
                (OnFailure::Refuse, true) => self.complain(upset, "ready without a store".to_owned()),
                (OnFailure::Nonce, false) => {
                    self.complain(upset, "not ready, though it needs no store".to_owned());
                }
                (OnFailure::Refuse, false) | (OnFailure::Nonce, true) => {}
            }
        }
        Ok(())
    }
}
