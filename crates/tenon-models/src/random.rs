//! Randomness that a seed fixes for ever: a ChaCha20 stream and nothing that a library may change under it.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tenon_core::Digest;

/// A stream of numbers that depends on what it is for and on a seed.
pub(crate) struct Random(ChaCha20Rng);

impl Random {
    pub(crate) fn new(purpose: &str, seed: u64) -> Self {
        Self(ChaCha20Rng::from_seed(*Digest::of(format!("{purpose} {seed}")).as_bytes()))
    }

    /// A number below `bound`; its bias is below 2⁻³² for the sizes of tables.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// `count` of the numbers below `bound` without repetition, ascending; all of them when there are no more.
    pub(crate) fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        if count >= bound {
            return all;
        }
        for i in 0..count {
            let j = i + self.below(bound - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }

    /// Puts the values in a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.below(i + 1);
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed_for_ever() {
        let mut values: Vec<u32> = (0..10).collect();
        Random::new("test", 7).shuffle(&mut values);
        let mut again: Vec<u32> = (0..10).collect();
        Random::new("test", 7).shuffle(&mut again);
        assert_eq!(values, again);
        assert_ne!(values, (0..10).collect::<Vec<_>>());
        // A change of this sequence would make recorded trainings impossible to reproduce.
        insta::assert_snapshot!(format!("{values:?}"), @"[0, 3, 4, 6, 8, 1, 5, 2, 9, 7]");
    }

    #[test]
    fn a_sample_is_a_sorted_subset_and_a_large_one_is_everything() {
        let sample = Random::new("test", 1).sample(100, 10);
        assert_eq!(sample.len(), 10);
        assert!(sample.windows(2).all(|pair| pair[0] < pair[1]) && sample[9] < 100);
        assert_eq!(Random::new("test", 1).sample(3, 10), [0, 1, 2]);
    }
}
