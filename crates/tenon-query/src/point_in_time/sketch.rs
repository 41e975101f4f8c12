//! What cannot be told from one number a window: different values, quantiles, frequent values.
//!
//! Each depends on the values alone, not on their order nor on how they were divided among those that are merged. Up to
//! [`EXACT`] values nothing is lost; beyond, memory stays bounded but for the frequencies. The sketches are Apache DataSketches'
//! HLL and the bins of DDSketch.

use std::collections::{BTreeMap, HashMap, HashSet};

use datasketches::hll::{HllSketch, HllType, HllUnion};
use sketches_ddsketch::Config;

use super::bytes::Reader;

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
#[derive(Debug, Clone)]
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
        self.see(bits(value));
    }

    fn see(&mut self, value: u64) {
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

    /// Adds what another has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Exact(seen)) => seen.iter().for_each(|value| self.see(*value)),
            (Self::Exact(seen), Self::Sketch(sketch)) => {
                let mut sketch = sketch.clone();
                seen.iter().for_each(|value| sketch.update(*value));
                *self = Self::Sketch(sketch);
            }
            (Self::Sketch(own), Self::Sketch(sketch)) => {
                // As above: there is such a union.
                if let Ok(mut union) = HllUnion::new(LG_REGISTERS) {
                    union.update(own);
                    union.update(sketch);
                    *own = union.to_sketch(HllType::Hll8);
                }
            }
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Exact(seen) => {
                bytes.push(0);
                bytes.extend_from_slice(&(seen.len() as u64).to_le_bytes());
                let mut seen: Vec<u64> = seen.iter().copied().collect();
                seen.sort_unstable();
                seen.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            }
            Self::Sketch(sketch) => {
                let sketch = sketch.serialize();
                bytes.push(1);
                bytes.extend_from_slice(&(sketch.len() as u64).to_le_bytes());
                bytes.extend_from_slice(&sketch);
            }
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (kind, count) = (bytes.byte()?, bytes.count()?);
        match kind {
            0 => (0..count).map(|_| bytes.u64()).collect::<Option<_>>().map(Self::Exact),
            _ => HllSketch::deserialize(bytes.bytes(count)?).ok().map(Self::Sketch),
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
#[derive(Debug, Clone)]
pub(super) enum Quantiles {
    Exact(Vec<f64>),
    Sketch(Bins),
}

/// How many values lie in each bin of a DDSketch (Masson, Rim, Lee, PVLDB 12, 2019), by the place of the bin in the order of
/// numbers. The library's own sketch does not say what it holds, so it could not be kept in a file.
#[derive(Debug, Clone)]
pub(super) struct Bins {
    config: Config,
    bins: BTreeMap<i32, u64>,
    count: u64,
    least: f64,
    greatest: f64,
}

/// Bins of positive numbers lie above this place, those of negative ones below its opposite, that of zero between.
const ABOVE_ZERO: i32 = 1 << 20;

impl Default for Quantiles {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        match self {
            Self::Sketch(bins) => bins.add(value),
            Self::Exact(values) => {
                values.push(value);
                self.keep_bounded();
            }
        }
    }

    fn keep_bounded(&mut self) {
        if let Self::Exact(values) = self
            && values.len() > EXACT
        {
            let mut bins = Bins::new();
            values.iter().for_each(|value| bins.add(*value));
            *self = Self::Sketch(bins);
        }
    }

    /// Adds the values of another.
    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Exact(values), Self::Exact(others)) => {
                values.extend_from_slice(others);
                self.keep_bounded();
            }
            (Self::Exact(values), Self::Sketch(others)) => {
                let mut bins = others.clone();
                values.iter().for_each(|value| bins.add(*value));
                *self = Self::Sketch(bins);
            }
            (Self::Sketch(bins), Self::Exact(others)) => others.iter().for_each(|value| bins.add(*value)),
            (Self::Sketch(bins), Self::Sketch(others)) => bins.merge(others),
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Exact(values) => {
                bytes.push(0);
                bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            }
            Self::Sketch(sketch) => {
                bytes.push(1);
                bytes.extend_from_slice(&(sketch.bins.len() as u64).to_le_bytes());
                bytes.extend_from_slice(&sketch.least.to_le_bytes());
                bytes.extend_from_slice(&sketch.greatest.to_le_bytes());
                for (place, count) in &sketch.bins {
                    bytes.extend_from_slice(&place.to_le_bytes());
                    bytes.extend_from_slice(&count.to_le_bytes());
                }
            }
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (kind, count) = (bytes.byte()?, bytes.count()?);
        if kind == 0 {
            return (0..count).map(|_| bytes.f64()).collect::<Option<_>>().map(Self::Exact);
        }
        let mut sketch = Bins { least: bytes.f64()?, greatest: bytes.f64()?, ..Bins::new() };
        for _ in 0..count {
            let (place, count) = (bytes.i32()?, bytes.u64()?);
            sketch.bins.insert(place, count);
            sketch.count = sketch.count.checked_add(count)?;
        }
        Some(Self::Sketch(sketch))
    }

    /// The value of rank ⌊q·(n−1)⌋ in ascending order; NaN of none.
    pub(super) fn at(&mut self, q: f64) -> f64 {
        match self {
            Self::Exact(values) => {
                let rank = (q * values.len().saturating_sub(1) as f64) as usize;
                if rank >= values.len() {
                    return f64::NAN;
                }
                *values.select_nth_unstable_by(rank, f64::total_cmp).1
            }
            Self::Sketch(bins) => bins.at(q),
        }
    }
}

impl Bins {
    fn new() -> Self {
        let config = Config::new(QUANTILE_ERROR, QUANTILE_BINS, QUANTILE_LEAST);
        Self { config, bins: BTreeMap::new(), count: 0, least: f64::INFINITY, greatest: f64::NEG_INFINITY }
    }

    fn add(&mut self, value: f64) {
        // There is no bin for what is infinite; the greatest number is as great for a feature, which is a float32. Zero has
        // one sign.
        let value = value.clamp(f64::MIN, f64::MAX) + 0.0;
        let least = self.config.min_possible();
        let place = match value {
            positive if positive > least => ABOVE_ZERO + self.config.key(positive),
            negative if negative < -least => -(ABOVE_ZERO + self.config.key(-negative)),
            _ => 0,
        };
        *self.bins.entry(place).or_default() += 1;
        self.count += 1;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    fn merge(&mut self, other: &Self) {
        for (place, count) in &other.bins {
            *self.bins.entry(*place).or_default() += count;
        }
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// Within [`QUANTILE_ERROR`] of the value of that rank; the first and the last are exact.
    fn at(&self, q: f64) -> f64 {
        let rank = (q * self.count.saturating_sub(1) as f64) as u64;
        let mut seen = 0;
        let place = self.bins.iter().find(|(_, count)| {
            seen += **count;
            seen > rank
        });
        match place.map(|(place, _)| *place) {
            _ if q == 0.0 => self.least,
            _ if q == 1.0 => self.greatest,
            None => f64::NAN,
            Some(0) => 0.0,
            Some(place) if place > 0 => self.config.value(place - ABOVE_ZERO),
            Some(place) => -self.config.value(-place - ABOVE_ZERO),
        }
    }
}

/// How often each value came.
#[derive(Debug, Clone, Default)]
pub(super) struct Frequencies(HashMap<u64, u64>);

impl Frequencies {
    pub(super) fn add(&mut self, value: f64) {
        *self.0.entry(bits(value)).or_default() += 1;
    }

    /// Adds the values of another.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (value, count) in &other.0 {
            *self.0.entry(*value).or_default() += count;
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_unstable();
        for (value, count) in all {
            bytes.extend_from_slice(&value.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let count = bytes.count()?;
        (0..count).map(|_| Some((bytes.u64()?, bytes.u64()?))).collect::<Option<_>>().map(Self)
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
