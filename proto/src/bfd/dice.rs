//! Random numbers from a seed (SplitMix64): good enough to keep nodes out of step, and repeatable in tests.

/// A sequence of numbers that looks random.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence that belongs to a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 32 bits.
    pub fn roll(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }

    /// A number between two others, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = u64::from(high.saturating_sub(low)) + 1;
        let offset = u64::from(self.roll()) % span;
        low.saturating_add(u32::try_from(offset).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_between_their_limits_and_reach_both() {
        let mut dice = Dice::new(1);
        let rolls: Vec<u32> = (0..1000).map(|_| dice.between(3, 7)).collect();
        for want in 3..=7 {
            assert!(rolls.contains(&want), "{want}");
        }
        assert!(rolls.iter().all(|roll| (3..=7).contains(roll)));
        assert_eq!(dice.between(9, 9), 9);
        let _any = dice.between(0, u32::MAX);
    }
}
