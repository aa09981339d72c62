//! Breaks one thing, at the store or at a gateway, and mends it.

use crate::Outcome;
use crate::cast::Cast;
use crate::gateway::Rules;
use crate::scene::Spread;
use crate::strike::Blow;
use crate::upset::Upset;

/// Milliseconds by which a clock is wrong that is too far off.
const WRONG: i32 = 1500;

/// What each gateway in turn goes by while they differ.
const RULES: [Rules; 3] = [
    Rules { max_age: 2, nonce_lifetime: 10 },
    Rules { max_age: 15, nonce_lifetime: 14 },
    Rules { max_age: 7, nonce_lifetime: 11 },
];

/// An upset that is under way.
pub(crate) struct Struck {
    pub(crate) upset: Upset,
    /// The gateway that it is about, where it is about one.
    pub(crate) victim: usize,
    pub(crate) blow: Blow,
}

impl Cast {
    /// Breaks one thing, at none of these gateways.
    pub(crate) async fn strike(&mut self, upset: Upset, spared: &[usize]) -> Outcome<Struck> {
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
    pub(crate) async fn mend(&mut self, struck: &Struck) -> Outcome<()> {
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
}
