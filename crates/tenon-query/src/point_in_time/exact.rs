//! Sums that do not depend on the order of what is summed: nothing is rounded before the end.
//!
//! A float64 is a whole number of 53 bits times a power of two. Such numbers are added up as whole numbers of 128 bits in
//! one unit, which is chosen by the first; what lies too far from it, or no longer fits, goes into a number without bounds. The
//! idea of exact accumulators is Kulisch's; how narrow they may be in practice is in Neal, "Fast exact summation using small and large
//! superaccumulators" (arXiv 1505.05571).

use num_bigint::BigInt;

use super::bytes::Reader;

/// How far the unit lies below the last bit of the number that chose it: smaller numbers have room.
const BELOW: i32 = 32;

/// So many bits may the last bit of a number lie above the unit: 53 + 72 bits, and the sum's sign, fit into 128.
const ROOM: u32 = 72;

/// Bits of a float64 behind its leading one.
const FRACTION: u32 = 52;

/// The units of the least and of the greatest float64.
const LEAST_UNIT: i32 = -1074;
const GREATEST_UNIT: i32 = 971;

/// The exact sum of float64 numbers.
#[derive(Debug, Clone)]
pub(super) struct ExactSum {
    /// What was near enough to be added up in units of 2^`unit`.
    near: i128,
    unit: i32,
    /// Everything else.
    far: Option<Box<Far>>,
}

#[derive(Debug, Clone, Default)]
struct Far {
    sum: Binary,
    /// The sum of the infinities, so NaN where there are both; 0 where every number is finite.
    infinite: f64,
}

/// A whole number of any length, in units of 2^`unit`.
#[derive(Debug, Clone, Default)]
struct Binary {
    number: BigInt,
    unit: i32,
}

impl Default for ExactSum {
    fn default() -> Self {
        // The first number lies below every unit, and chooses its own.
        Self { near: 0, unit: i32::MAX, far: None }
    }
}

impl ExactSum {
    /// Adds a number that is not NaN.
    #[inline]
    pub(super) fn add(&mut self, value: f64) {
        match parts(value) {
            Some((number, unit)) => self.add_scaled(number, unit),
            None => self.far().infinite += value,
        }
    }

    /// Adds `number` · 2^`unit`; `number` has 53 bits at the most.
    #[inline]
    fn add_scaled(&mut self, number: i64, unit: i32) {
        let shift = unit.wrapping_sub(self.unit) as u32;
        if shift <= ROOM
            && let Some(sum) = self.near.checked_add(i128::from(number) << shift)
        {
            self.near = sum;
        } else if number != 0 {
            self.begin_anew(number, unit);
        }
    }

    #[cold]
    fn begin_anew(&mut self, number: i64, unit: i32) {
        self.put_away();
        self.unit = unit - BELOW;
        self.near = i128::from(number) << BELOW;
    }

    /// Adds all that another sum is the sum of.
    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(far) = &other.far {
            let own = self.far();
            own.sum.add(far.sum.number.clone(), far.sum.unit);
            own.infinite += far.infinite;
        }
        if other.near == 0 {
            return;
        }
        if self.near == 0 {
            (self.near, self.unit) = (other.near, other.unit);
            return;
        }
        let unit = self.unit.min(other.unit);
        let both = in_unit(self.near, self.unit, unit).zip(in_unit(other.near, other.unit, unit));
        match both.and_then(|(one, other)| one.checked_add(other)) {
            Some(sum) => (self.near, self.unit) = (sum, unit),
            None => self.far().sum.add(other.near.into(), other.unit),
        }
    }

    /// The sum, rounded once to the nearest float64, of two equally near ones to the even one: what Python's `math.fsum` says.
    /// Too great a sum is infinite; infinities of both signs are NaN.
    pub(super) fn value(&self) -> f64 {
        match &self.far {
            None => scaled(self.near as f64, self.unit),
            Some(far) if far.infinite != 0.0 => far.infinite,
            Some(_) => self.whole().value(),
        }
    }

    fn is_finite(&self) -> bool {
        self.far.as_ref().is_none_or(|far| far.infinite == 0.0)
    }

    fn whole(&self) -> Binary {
        let mut whole = self.far.as_ref().map(|far| far.sum.clone()).unwrap_or_default();
        whole.add(self.near.into(), self.unit);
        whole
    }

    fn put_away(&mut self) {
        if self.near != 0 {
            let (near, unit) = (self.near, self.unit);
            self.far().sum.add(near.into(), unit);
        }
    }

    fn far(&mut self) -> &mut Far {
        self.far.get_or_insert_default()
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.near.to_le_bytes());
        bytes.extend_from_slice(&self.unit.to_le_bytes());
        bytes.push(u8::from(self.far.is_some()));
        if let Some(far) = &self.far {
            bytes.extend_from_slice(&far.infinite.to_le_bytes());
            bytes.extend_from_slice(&far.sum.unit.to_le_bytes());
            let number = far.sum.number.to_signed_bytes_le();
            bytes.extend_from_slice(&(number.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&number);
        }
    }

    /// The sum that [`ExactSum::write`] wrote; none: these are not such bytes.
    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let sound = |unit: &i32| (2 * LEAST_UNIT - BELOW..=2 * GREATEST_UNIT).contains(unit);
        let (near, unit) = (bytes.i128()?, bytes.i32()?);
        if near != 0 && !sound(&unit) {
            return None;
        }
        let far = match bytes.byte()? {
            0 => None,
            _ => {
                let (infinite, unit) = (bytes.f64()?, bytes.i32().filter(sound)?);
                let length = bytes.count()?;
                let number = BigInt::from_signed_bytes_le(bytes.bytes(length)?);
                Some(Box::new(Far { sum: Binary { number, unit }, infinite }))
            }
        };
        Some(Self { near, unit, far })
    }
}

/// The exact sum of the squares of float64 numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct ExactSquares {
    // A square has 106 bits: each half is summed by itself.
    high: ExactSum,
    low: ExactSum,
}

impl ExactSquares {
    /// Adds the square of a number that is not NaN.
    pub(super) fn add(&mut self, value: f64) {
        let Some((number, unit)) = parts(value) else { return self.high.add(f64::INFINITY) };
        let square = u128::from(number.unsigned_abs()).pow(2);
        let half = FRACTION + 1;
        self.high.add_scaled((square >> half) as i64, 2 * unit + half as i32);
        self.low.add_scaled((square & ((1 << half) - 1)) as i64, 2 * unit);
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.high.write(bytes);
        self.low.write(bytes);
    }

    /// The squares that [`ExactSquares::write`] wrote; none: these are not such bytes.
    pub(super) fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self { high: ExactSum::read(bytes)?, low: ExactSum::read(bytes)? })
    }

    /// Adds another sum of squares.
    pub(super) fn merge(&mut self, other: &Self) {
        self.high.merge(&other.high);
        self.low.merge(&other.low);
    }

    /// The standard deviation of a sample of `count` numbers with this sum of squares and the sum `sum`: the root of
    /// (n·Σx² − (Σx)²) / (n·(n − 1)), whose numerator is exact and rounded once. NaN of fewer than two numbers, or where one is infinite.
    pub(super) fn deviation(&self, sum: &ExactSum, count: u64) -> f64 {
        if count < 2 || !sum.is_finite() {
            return f64::NAN;
        }
        let (sum, mut scatter) = (sum.whole(), self.high.whole());
        let low = self.low.whole();
        scatter.add(low.number, low.unit);
        scatter.number *= count;
        scatter.add(-(&sum.number * &sum.number), 2 * sum.unit);
        // The root is taken before the scale is applied: the square of a number may be too great or too small for float64.
        let (mut scatter, mut unit) = scatter.rounded();
        if unit % 2 != 0 {
            (scatter, unit) = (2.0 * scatter, unit - 1);
        }
        scaled((scatter / (count as f64 * (count - 1) as f64)).sqrt(), unit / 2)
    }
}

impl Binary {
    fn add(&mut self, number: BigInt, unit: i32) {
        if number == BigInt::ZERO {
            return;
        }
        if self.number == BigInt::ZERO {
            (self.number, self.unit) = (number, unit);
            return;
        }
        if unit < self.unit {
            self.number <<= self.unit - unit;
            self.unit = unit;
        }
        self.number += number << (unit - self.unit);
    }

    /// The nearest float64.
    fn value(&self) -> f64 {
        let (value, unit) = self.rounded();
        scaled(value, unit)
    }

    /// The number in 53 bits, and their unit.
    fn rounded(&self) -> (f64, i32) {
        // 64 bits, of which the last says whether anything follows: rounding them is rounding the whole.
        let excess = self.number.bits().saturating_sub(64);
        let top = self.number.magnitude() >> excess;
        let followed = &top << excess != *self.number.magnitude();
        let top = top.iter_u64_digits().next().unwrap_or_default() | u64::from(followed);
        let value = if self.number < BigInt::ZERO { -(top as f64) } else { top as f64 };
        (value, self.unit + excess as i32)
    }
}

/// A finite number as a whole number of 53 bits and its unit, a power of two; none: it is infinite.
#[inline]
fn parts(value: f64) -> Option<(i64, i32)> {
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION & 0x7ff) as i32;
    if exponent == 0x7ff {
        return None;
    }
    let number = (bits & ((1 << FRACTION) - 1) | u64::from(exponent > 0) << FRACTION) as i64;
    let number = if bits >> 63 == 1 { -number } else { number };
    Some((number, exponent.max(1) - 1 + LEAST_UNIT))
}

/// A number of units as one of smaller units; none: it is too long.
fn in_unit(number: i128, unit: i32, smaller: i32) -> Option<i128> {
    let shift = (unit - smaller) as u32;
    (shift < number.unsigned_abs().leading_zeros()).then(|| number << shift)
}

/// `value` · 2^`exponent`.
fn scaled(mut value: f64, mut exponent: i32) -> f64 {
    const STEP: i32 = 1000;
    if value == 0.0 {
        return 0.0;
    }
    let power = |exponent: i32| f64::from_bits(((1023 + exponent) as u64) << FRACTION);
    while exponent.abs() > STEP {
        let step = STEP * exponent.signum();
        value *= power(step);
        exponent -= step;
    }
    value * power(exponent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum
    }

    fn deviation(values: &[f64]) -> f64 {
        let mut squares = ExactSquares::default();
        values.iter().for_each(|value| squares.add(*value));
        squares.deviation(&sum(values), values.len() as u64)
    }

    /// A finite number of any size, such that sums cancel, round and leave the middle.
    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            2 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
            2 => -1e9..1e9f64,
            2 => (-100i32..100).prop_map(f64::from),
            1 => (0u64..40).prop_map(f64::from_bits),
            1 => Just(0.0),
            1 => Just(f64::MAX),
        ]
    }

    /// The sum by whole numbers of 2^-1074, rounded by how the standard library reads decimals; only where neither it nor the
    /// scale leaves the range of float64.
    fn by_whole_numbers(values: &[f64]) -> Option<f64> {
        let whole = |value: &f64| parts(*value).map(|(number, unit)| BigInt::from(number) << (unit - LEAST_UNIT));
        let sum: BigInt = values.iter().map(whole).sum::<Option<BigInt>>()?;
        let zeros = sum.trailing_zeros().unwrap_or(0).min(1074);
        let value: f64 = (sum >> zeros).to_string().parse().ok()?;
        let scaled = value * 2.0_f64.powi(zeros as i32 - 537) * 2.0_f64.powi(-537);
        (value.is_finite() && (scaled == 0.0 || scaled.is_normal())).then_some(scaled)
    }

    proptest! {
        #[test]
        fn a_sum_is_exact_whatever_the_order_and_the_parts(
            mut values in prop::collection::vec(number(), 0..60), salt in any::<u64>(), at in any::<prop::sample::Index>(),
        ) {
            // Each comes with its opposite now and then, so that what is left is small.
            let opposites: Vec<f64> = values.iter().skip(at.index(values.len().max(1))).map(|value| -value).collect();
            values.extend(opposites);
            let told = sum(&values).value();
            if let Some(known) = by_whole_numbers(&values) {
                prop_assert_eq!(told.to_bits(), (known + 0.0).to_bits());
            }
            let deviated = deviation(&values);
            let mut shuffled = values.clone();
            shuffled.sort_by_key(|value| (value.to_bits() ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (one, other) = shuffled.split_at(at.index(values.len().max(1)).min(values.len()));
            let (mut parts, mut squares) = (sum(one), ExactSquares::default());
            parts.merge(&sum(other));
            for part in [other, one] {
                let mut of_part = ExactSquares::default();
                part.iter().for_each(|value| of_part.add(*value));
                squares.merge(&of_part);
            }
            prop_assert_eq!(parts.value().to_bits(), told.to_bits());
            prop_assert_eq!(squares.deviation(&parts, values.len() as u64).to_bits(), deviated.to_bits());
            let mut bytes = Vec::new();
            parts.write(&mut bytes);
            prop_assert_eq!(ExactSum::read(&mut Reader(&bytes)).unwrap().value().to_bits(), told.to_bits());
        }
    }

    /// What `math.fsum` and `statistics.stdev` of Python 3.13 say.
    #[test]
    fn sums_and_deviations_are_what_python_says() {
        for (values, fsum, stdev) in PYTHON {
            assert_eq!(sum(values).value(), *fsum, "{values:?}");
            let told = deviation(values);
            assert!((told - stdev).abs() <= 2.3e-16 * stdev, "{told} for {stdev} of {values:?}");
            assert_eq!(told as f32, *stdev as f32);
        }
    }

    #[test]
    fn what_is_infinite_stays_so() {
        assert_eq!(sum(&[1.0, f64::INFINITY, -1e300]).value(), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, 1.0, f64::NEG_INFINITY]).value().is_nan());
        assert!(deviation(&[f64::INFINITY, 1.0]).is_nan());
        assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX, "on the way nothing is too great");
        assert_eq!((sum(&[]).value(), deviation(&[3.0, 3.0])), (0.0, 0.0));
        assert!(deviation(&[3.0]).is_nan());
    }

    #[test]
    fn many_numbers_leave_the_first_unit() {
        let mut ones = ExactSum { near: i128::MAX - (1 << 40), unit: -32 - 52, ..ExactSum::default() };
        let before = ones.whole();
        (0..1000).for_each(|_| ones.add(1.0));
        assert!(ones.far.is_some());
        let mut known = before;
        known.add(1000.into(), 0);
        assert_eq!(ones.value(), known.value());
    }

    #[rustfmt::skip]
    const PYTHON: &[(&[f64], f64, f64)] = &[
        (&[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], 1.0, 0.0),
        (&[1e100, 1.0, -1e100], 1.0, 1e100),
        (&[1.0, 1e-16, 1e-16, 1e-16], 1.0000000000000002, 0.49999999999999994),
        (&[9007199254740992.0, 1.0, 1e-300], 9007199254740994.0, 5200308914369308.0),
        (&[0.3333333333333333, 0.6666666666666666, -1.0, 1e17, 7.25], 1e17, 4.472135954999579e16),
        (&[5e-324, 5e-324, -1e-323], 0.0, 1e-323),
        (&[1e16, 1.0, 1.0], 1.0000000000000002e16, 5773502691896257.0),
        (&[15.78832153149217, 62.00097524334201, -25.25513470882828, 51.69509122076961, 1.6338184922626375, 1.5395606407530416, 87.98901113859029, 18.301482865348767, 10.283029848310228], 223.97615627204047, 35.386195570826956),
        (&[0.9912896710209256, 8194.777125807761, -472935826.01330096, 7.220442168506447e-17, 2.697213165703769e24, 8.51670943546015e-07, 482503712402.9805, 5.54469362855426e-21], 2.697213165704251e24, 9.536088598873607e23),
        (&[123456789.123, 123456789.138625, 123456789.15425, 123456789.169875, 123456789.1855], 617283945.77125, 0.024705294220065465),
        (&[1000000000.1, 1000000000.2, 1000000000.3], 3000000000.6, 0.09999996423721906),
    ];
}
