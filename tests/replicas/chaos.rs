//! Whatever fits, up to two things at a time, one on top of the other.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cast::Cast;
use crate::deed::Struck;
use crate::play::HELD;
use crate::upset::Upset;

impl Cast {
    /// Whatever fits, up to two at a time.
    pub(crate) async fn chaos(&mut self, time: Duration) -> Outcome<()> {
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
