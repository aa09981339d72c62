//! Chance from a seed that is printed, so that what was once found can be played again.

/// SplitMix64: small, and good enough to choose with.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Others with chances of their own.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).expect("less than a usize")
    }

    /// Two different numbers below `limit`, which is at least 2.
    pub(crate) fn pair_below(&mut self, limit: usize) -> (usize, usize) {
        let one = self.below(limit);
        (one, (one + 1 + self.below(limit - 1)) % limit)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_pair_is_never_one_twice() {
        let mut dice = Dice::new(1);
        for limit in 2..5 {
            assert!((0..100).map(|_| dice.pair_below(limit)).all(|(one, two)| one != two && two < limit));
        }
    }
}
