//! What cannot be told from one number a window: different values, quantiles, frequent values.
//!
//! Each depends on the values alone and not on their order. Up to [`EXACT`] values nothing is lost; beyond, memory stays
//! bounded. Both sketches have the usual forms (Apache DataSketches' HLL, DDSketch), so that they merge and are written down as
//! others do.

use std::collections::{HashMap, HashSet};

use datasketches::hll::{HllSketch, HllType};
use sketches_ddsketch::{Config, DDSketch};

/// So many values are kept as they are.
pub(super) const EXACT: usize = 1024;

/// 2^12 registers: a standard error of 1.04/√4096 = 1.6%.
const LG_REGISTERS: u8 = 12;

/// How far a quantile of many values may be from the value of its rank, as a share of it.
const QUANTILE_ERROR: f64 = 0.01;

/// Values nearer to zero than this count as zero.
const QUANTILE_LEAST: f64 = 1e-9;

/// Enough for every number that there is at [`QUANTILE_ERROR`], so that none is ever taken together with another.
const QUANTILE_BINS: u32 = 40_000;

/// The bits of a value by which it is told from others: zero has one sign.
fn bits(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

/// How many different values there are.
pub(super) enum Distinct {
    Exact(HashSet<u64>),
    Sketch(HllSketch),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Exact(HashSet::new())
    }
}

impl Distinct {
    pub(super) fn add(&mut self, value: f64) {
        let value = bits(value);
        match self {
            Self::Sketch(sketch) => sketch.update(value),
            Self::Exact(seen) => {
                seen.insert(value);
                // 12 is a number of registers that there is: were it not, counting would go on exactly.
                if seen.len() > EXACT
                    && let Ok(mut sketch) = HllSketch::new(LG_REGISTERS, HllType::Hll8)
                {
                    seen.iter().for_each(|value| sketch.update(value));
                    *self = Self::Sketch(sketch);
                }
            }
        }
    }

    /// How many. The estimate is the one that does not depend on the order in which values came.
    pub(super) fn count(&self) -> f64 {
        match self {
            Self::Exact(seen) => seen.len() as f64,
            Self::Sketch(sketch) => sketch.composite_estimate().round(),
        }
    }
}

/// The values of a window, for quantiles.
pub(super) enum Quantiles {
    Exact(Vec<f64>),
    Sketch(Box<DDSketch>),
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Sketch(sketch) => sketch.add(finite(value)),
            Self::Exact(values) => {
                values.push(value);
                if values.len() > EXACT {
                    let mut sketch = DDSketch::new(Config::new(QUANTILE_ERROR, QUANTILE_BINS, QUANTILE_LEAST));
                    values.iter().for_each(|value| sketch.add(finite(*value)));
                    *self = Self::Sketch(Box::new(sketch));
                }
            }
        }
    }

    /// The value of rank ⌊q·(n−1)⌋ in ascending order; NaN of none.
    pub(super) fn at(&mut self, q: f64) -> f64 {
        match self {
            Self::Exact(values) => {
                values.sort_unstable_by(f64::total_cmp);
                let rank = (q * values.len().saturating_sub(1) as f64) as usize;
                values.get(rank).copied().unwrap_or(f64::NAN)
            }
            Self::Sketch(sketch) => sketch.quantile(q).ok().flatten().unwrap_or(f64::NAN),
        }
    }
}

/// The sketch has no place for what is infinite; the greatest number is as great for a feature, which is a float32.
fn finite(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}

/// How often each value came.
#[derive(Default)]
pub(super) struct Frequencies(HashMap<u64, u64>);

impl Frequencies {
    pub(super) fn add(&mut self, value: f64) {
        *self.0.entry(bits(value)).or_default() += 1;
    }

    /// The k-th most frequent value, from 1 on, the lesser first among equals; NaN where there are fewer.
    pub(super) fn top(&self, k: usize) -> f64 {
        let mut all: Vec<(u64, f64)> = self.0.iter().map(|(value, count)| (*count, f64::from_bits(*value))).collect();
        let Some(place) = k.checked_sub(1).filter(|place| *place < all.len()) else { return f64::NAN };
        let (_, found, _) = all.select_nth_unstable_by(place, |a, b| b.0.cmp(&a.0).then_with(|| a.1.total_cmp(&b.1)));
        found.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in no order, some of them twice.
    fn numbers(count: usize) -> impl Iterator<Item = f64> {
        (0..count as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / 1e9 - 4e6)
    }

    fn distinct(values: impl Iterator<Item = f64>) -> f64 {
        let mut distinct = Distinct::default();
        values.for_each(|value| distinct.add(value));
        distinct.count()
    }

    #[test]
    fn few_different_values_are_counted_and_many_are_estimated() {
        assert_eq!(distinct([1.0, 2.0, 1.0, 0.0, -0.0].into_iter()), 3.0);
        assert_eq!(distinct(numbers(EXACT).chain(numbers(EXACT))), EXACT as f64);
        for count in [1_500, 5_000, 20_000, 300_000] {
            let estimate = distinct(numbers(count));
            let error = (estimate / count as f64 - 1.0).abs();
            assert!(error < 3.5 * 1.04 / 64.0, "{count} are told as {estimate}");
            let mut backwards: Vec<_> = numbers(count).collect();
            backwards.reverse();
            assert_eq!(distinct(backwards.into_iter()), estimate, "the order counts for nothing");
        }
    }

    #[test]
    fn a_quantile_of_many_is_within_a_hundredth_of_the_value_of_its_rank() {
        for count in [1, 2, 10, EXACT, EXACT + 1, 50_000] {
            let mut sorted: Vec<f64> = numbers(count).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            let (mut forwards, mut backwards) = (Quantiles::default(), Quantiles::default());
            numbers(count).for_each(|value| forwards.add(value));
            sorted.iter().rev().for_each(|value| backwards.add(*value));
            for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0] {
                let value = sorted[(q * (count - 1) as f64) as usize];
                let told = forwards.at(q);
                let allowed =
                    if count <= EXACT { 0.0 } else { QUANTILE_ERROR * value.abs() * (1.0 + 1e-9) + QUANTILE_LEAST };
                assert!((told - value).abs() <= allowed, "{q} of {count}: {told} for {value}");
                assert_eq!(backwards.at(q).to_bits(), told.to_bits(), "the order counts for nothing");
            }
        }
        assert!(Quantiles::default().at(0.5).is_nan());
    }

    #[test]
    fn numbers_of_every_size_have_quantiles() {
        let mut values = vec![f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, 0.0];
        values.extend(numbers(EXACT));
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        assert_eq!((quantiles.at(0.0), quantiles.at(1.0)), (f64::MIN, f64::MAX));
        values.sort_unstable_by(f64::total_cmp);
        let (told, value) = (quantiles.at(0.4), values[(0.4 * (values.len() - 1) as f64) as usize]);
        assert!((told - value).abs() <= 0.0101 * value.abs(), "{told} for {value}");
    }

    #[test]
    fn the_more_frequent_comes_first_and_then_the_lesser() {
        let mut frequencies = Frequencies::default();
        [3.0, 1.0, 2.0, 2.0, 7.0, 3.0, -0.0, 0.0, 0.0].into_iter().for_each(|value| frequencies.add(value));
        assert_eq!([1, 2, 3, 4, 5].map(|k| frequencies.top(k)), [0.0, 2.0, 3.0, 1.0, 7.0]);
        assert!(frequencies.top(6).is_nan() && frequencies.top(0).is_nan());
    }
}
