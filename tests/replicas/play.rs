//! Plays a scene: lets load run, breaks things one after the other or two at a time, and judges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cast::{Cast, Stage};
use crate::felt;
use crate::gateway::Rules;
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
const HELD: Duration = Duration::from_secs(2);

/// Milliseconds by which a clock is wrong that is too far off.
const WRONG: i32 = 1500;

/// What each gateway in turn goes by while they differ.
const RULES: [Rules; 3] = [
    Rules { max_age: 2, nonce_lifetime: 10 },
    Rules { max_age: 15, nonce_lifetime: 14 },
    Rules { max_age: 7, nonce_lifetime: 11 },
];
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

/// An upset that is under way.
struct Struck {
    upset: Upset,
    /// The gateway that it is about, where it is about one.
    victim: usize,
    blow: Blow,
}

/// What was recorded just before something was broken. What a gateway has seen it refuses for ever, so that those which are tried while it is broken may prove less afterwards.
struct Kept {
    tried: Vec<Arc<[u8]>>,
    untried: Vec<Arc<[u8]>>,
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
    fn none_twice(&self) -> Outcome<()> {
        if self.group.ledger.judge().twice.is_empty() {
            Ok(())
        } else {
            Err("a proof has passed twice".into())
        }
    }

    /// What was recorded last is sent to every gateway once more; nothing of it may pass that has passed.
    async fn sweep(&mut self) -> Outcome<()> {
        let latest = self.group.records.latest(SWEPT);
        let said = self.group.sweep(&latest, &[]).await;
        println!("  {} recorded requests at every gateway once more: {said}", latest.len());
        Ok(())
    }

    fn keep(&self) -> Kept {
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

    fn shape(&self) -> Outcome<Shape> {
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
        if upset == Upset::GatewayLate
            && self.on_failure == OnFailure::Refuse
            && self.gateways[victim].is_ready().await
        {
            self.complain(upset, "ready without a store".to_owned());
        }
        Ok(())
    }

    /// Breaks one thing, at none of these gateways.
    async fn strike(&mut self, upset: Upset, spared: &[usize]) -> Outcome<Struck> {
        let others: Vec<usize> = self.all().into_iter().filter(|number| !spared.contains(number)).collect();
        let victim = others[self.dice.below(others.len())];
        let store = self.store.as_mut().ok_or("there is no store to break")?;
        let blow = store.strike(upset, &mut self.dice).await?;
        let gateway = &mut self.gateways[victim];
        match upset {
            Upset::GatewayKilled => gateway.kill()?,
            Upset::GatewayPaused => {
                gateway.signal("STOP")?;
                self.stopped(true);
            }
            Upset::ClockWrong => {
                gateway.kill()?;
                gateway.start_ahead(WRONG)?;
            }
            Upset::GatewayLate => {
                gateway.kill()?;
                gateway.start_again()?;
            }
            Upset::RingRotated => {
                self.ring.add(&mut self.dice)?;
                self.reload().await?;
                self.ring.turn()?;
                self.reload().await?;
            }
            Upset::Reloaded => {
                for (number, gateway) in self.gateways.iter().enumerate() {
                    let other = match self.rules {
                        Spread::Same => RULES[number % RULES.len()],
                        Spread::Apart => self.rules.rules(self.max_age, number + 1),
                    };
                    gateway.follow(Some(other)).await?;
                }
            }
            _ => {}
        }
        Ok(Struck { upset, victim, blow })
    }

    async fn reload(&self) -> Outcome<()> {
        for gateway in &self.gateways {
            gateway.reload().await?;
        }
        Ok(())
    }

    /// Puts back what was broken.
    async fn mend(&mut self, struck: &Struck) -> Outcome<()> {
        let Struck { upset, victim, ref blow } = *struck;
        self.store.as_mut().ok_or("it is still there")?.mend(upset, blow)?;
        let gateway = &mut self.gateways[victim];
        match upset {
            Upset::GatewayKilled => gateway.start_again(),
            Upset::ClockWrong => {
                gateway.kill()?;
                gateway.start_again()
            }
            Upset::GatewayPaused => {
                gateway.signal("CONT")?;
                self.stopped(false);
                Ok(())
            }
            Upset::PasswordChanged => self.reload().await,
            Upset::RingRotated => {
                self.ring.forget()?;
                self.reload().await
            }
            Upset::Reloaded => {
                for gateway in &self.gateways {
                    gateway.follow(None).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whatever fits, up to two at a time.
    async fn chaos(&mut self, time: Duration) -> Outcome<()> {
        let all = Upset::all(self.shape()?);
        let load = self.load()?;
        let began = Instant::now();
        while began.elapsed() < time {
            let first = all[self.dice.below(all.len())];
            let mut upsets = vec![first];
            let second = all[self.dice.below(all.len())];
            if second.goes_with(first) {
                upsets.push(second);
            }
            upsets.sort_by_key(|upset| upset.kind());
            let names: Vec<String> = upsets.iter().map(Upset::to_string).collect();
            let name = names.join(" + ");
            self.endure_all(&name, &upsets).await.map_err(|error| format!("{name}: {error}"))?;
            self.none_twice()?;
            let pause = 200 + self.dice.below(2000) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        load.stop().await?;
        self.sweep().await
    }

    /// Breaks these, one on top of the other, mends them in any order that works, and waits until the group has come back.
    async fn endure_all(&mut self, name: &str, upsets: &[Upset]) -> Outcome<()> {
        let kept = self.keep();
        self.group.tally.take();
        let mut struck: Vec<Struck> = Vec::new();
        for upset in upsets {
            let spared: Vec<usize> = struck.iter().map(|struck| struck.victim).collect();
            struck.push(self.strike(*upset, &spared).await?);
            self.moment(2_000).await;
        }
        self.moment(3_000).await;
        let paused = struck.iter().filter(|struck| struck.upset == Upset::GatewayPaused);
        let left_out: Vec<usize> = paused.map(|struck| struck.victim).collect();
        let swept = self.group.sweep(&kept.tried, &left_out).await;
        let broken = self.group.tally.take();
        println!("  {name}: {broken}; of before: {swept}");
        // In the other order: what asks a server or a gateway needs it to be there.
        for struck in struck.iter().rev() {
            self.mend(struck).await?;
            self.moment(1_000).await;
        }
        let (known, unknown) = self.well(&self.all()).await?;
        let recovery = self.group.tally.take();
        println!(
            "    passes again after {:.1} s, for callers without nonces after {:.1} s; meanwhile {recovery}",
            known.as_secs_f64(),
            unknown.as_secs_f64(),
        );
        let swept = self.group.sweep(&[kept.untried, kept.tried].concat(), &[]).await;
        println!("    of before, afterwards: {swept}");
        let longest = broken.longest().max(recovery.longest());
        if !upsets.contains(&Upset::GatewayPaused) && longest > HELD {
            self.complaints.push(format!("{name}: a request was held for {longest:?}"));
        }
        Ok(())
    }

    /// Lets up to so many milliseconds pass.
    async fn moment(&mut self, most: usize) {
        let milliseconds = self.dice.below(most) as u64;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}
