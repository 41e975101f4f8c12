//! Tests and distances of two samples.

use crate::drift::kolmogorov;
use crate::error::{StatsError, same_length};
use crate::special;

/// Above this product of the sample sizes, [`KsMethod::Auto`] takes the asymptotic distribution.
const EXACT_CELLS: usize = 1_000_000;

/// How the p-value of [`ks_two_sample`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KsMethod {
    /// Exact where the product of the sample sizes is at most a million, asymptotic above.
    Auto,
    /// From all orders of the pooled rows, O(n m); holds without ties and errs on the safe side with them.
    Exact,
    /// From the one-sample distribution at `n m / (n + m)` rows.
    Asymptotic,
}

/// Result of the two-sample Kolmogorov-Smirnov test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KsTest {
    /// Greatest distance of the two empirical distribution functions, 0 to 1.
    pub statistic: f64,
    /// Two-sided p-value of "both come from one distribution".
    pub p_value: f64,
}

/// Result of the two-sample chi-squared test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chi2Test {
    /// Pearson's statistic, without a continuity correction.
    pub statistic: f64,
    /// Categories that occur, less one.
    pub dof: usize,
    /// P-value of "both come from one distribution"; 1 when only one category occurs.
    pub p_value: f64,
}

/// Two-sample Kolmogorov-Smirnov test. `NaN` is missing and left out; infinities are ordinary, extreme values.
///
/// # Errors
/// `Empty` when either sample has no values.
pub fn ks_two_sample(first: &[f64], second: &[f64], method: KsMethod) -> Result<KsTest, StatsError> {
    let (a, b) = (sorted("first", first)?, sorted("second", second)?);
    let (n, m) = (a.len(), b.len());
    // In units of 1 / (n m), where the distance is a whole number.
    let mut gap = 0;
    for_each_step(&a, &b, |below_a, below_b, _| {
        gap = gap.max((below_a as u128 * m as u128).abs_diff(below_b as u128 * n as u128));
    });
    let statistic = gap as f64 / (n as f64 * m as f64);
    let exact = match method {
        KsMethod::Auto => n.saturating_mul(m) <= EXACT_CELLS,
        KsMethod::Exact => true,
        KsMethod::Asymptotic => false,
    };
    let p_value = if exact {
        kolmogorov::two_sample_sf(n, m, gap)
    } else {
        let effective = (n as f64 * m as f64 / (n + m) as f64).round_ties_even().max(1.0);
        kolmogorov::one_sample_sf(effective as u64, statistic)
    };
    Ok(KsTest { statistic, p_value })
}

/// The first Wasserstein distance, in the unit of the values: how far rows must move, on average, to turn one sample
/// into the other. `NaN` is missing and left out.
///
/// # Errors
/// `Empty` when either sample has no values; `NotFinite` for an infinite one.
pub fn wasserstein_1(first: &[f64], second: &[f64]) -> Result<f64, StatsError> {
    for (what, values) in [("first", first), ("second", second)] {
        if let Some(row) = values.iter().position(|v| v.is_infinite()) {
            return Err(StatsError::NotFinite { what, row });
        }
    }
    let (a, b) = (sorted("first", first)?, sorted("second", second)?);
    let (n, m) = (a.len() as f64, b.len() as f64);
    let mut distance = 0.0;
    for_each_step(&a, &b, |below_a, below_b, width| {
        distance += (below_a as f64 / n - below_b as f64 / m).abs() * width;
    });
    Ok(distance)
}

/// Chi-squared test that two samples of categories come from one distribution. Categories that occur in neither are
/// left out.
///
/// # Shapes
/// `first`, `second`: `[categories]` counts, in the same order.
///
/// # Errors
/// `LengthMismatch`; `Empty` when either sample has no rows.
pub fn chi2_two_sample(first: &[u64], second: &[u64]) -> Result<Chi2Test, StatsError> {
    same_length("second", first.len(), second.len())?;
    let total = |what, counts: &[u64]| match counts.iter().map(|&c| c as f64).sum::<f64>() {
        0.0 => Err(StatsError::Empty { what }),
        rows => Ok(rows),
    };
    let (n, m) = (total("first", first)?, total("second", second)?);
    let (mut statistic, mut occurring) = (0.0, 0);
    for (&a, &b) in first.iter().zip(second).filter(|&(&a, &b)| a > 0 || b > 0) {
        let pooled = (a as f64 + b as f64) / (n + m);
        statistic += (a as f64 - n * pooled).powi(2) / (n * pooled) + (b as f64 - m * pooled).powi(2) / (m * pooled);
        occurring += 1;
    }
    let dof = occurring - 1;
    Ok(Chi2Test { statistic, dof, p_value: special::chi2_sf(statistic, dof) })
}

fn sorted(what: &'static str, values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    if sorted.is_empty() {
        return Err(StatsError::Empty { what });
    }
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(sorted)
}

/// Visits the distinct values of both sorted samples upwards: how many rows of each are at or below the value, and
/// the distance to the next value (0 at the last).
fn for_each_step(a: &[f64], b: &[f64], mut visit: impl FnMut(usize, usize, f64)) {
    let (mut i, mut j) = (0, 0);
    loop {
        let value = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => return,
        };
        i += a[i..].iter().take_while(|x| **x <= value).count();
        j += b[j..].iter().take_while(|y| **y <= value).count();
        let next = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => value,
        };
        visit(i, j, next - value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: [f64; 10] = [0.1, 0.4, 0.4, 0.7, 1.2, 1.5, 1.9, 2.2, 2.2, 3.0];
    const B: [f64; 8] = [0.4, 0.9, 1.7, 2.2, 2.6, 2.9, 3.3, 4.1];

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-10 * (1e-3 + expected.abs()), "{found:e} is not {expected:e}");
    }

    // scipy 1.17.1: stats.ks_2samp(A, B, method="asymp"), the same with "exact"
    #[test]
    fn ks_agrees_with_scipy_on_small_samples_with_ties() {
        let found = ks_two_sample(&A, &B, KsMethod::Asymptotic).unwrap();
        near(found.statistic, 0.4);
        near(found.p_value, 0.4374);
        near(ks_two_sample(&A, &B, KsMethod::Exact).unwrap().p_value, 0.39174550939256825);
        assert_eq!(ks_two_sample(&A, &B, KsMethod::Auto), ks_two_sample(&A, &B, KsMethod::Exact));
    }

    // scipy 1.17.1: stats.ks_2samp of the same two columns with method="asymp" and "exact"
    #[test]
    fn ks_agrees_with_scipy_on_larger_samples() {
        let x: Vec<f64> = (0..600).map(|i| f64::from(i * 37 % 101) / 101.0).collect();
        let y: Vec<f64> = (0..900).map(|i| f64::from(i * 53 % 211) / 211.0 * 1.1).collect();
        let found = ks_two_sample(&x, &y, KsMethod::Asymptotic).unwrap();
        near(found.statistic, 0.09333333333333338);
        near(found.p_value, 0.003519156309701344);
        near(ks_two_sample(&x, &y, KsMethod::Auto).unwrap().p_value, 0.003597003564078657);

        let x: Vec<f64> = (0..20_000_i64).map(|i| (i * 7919 % 20_011) as f64 / 20_011.0).collect();
        let y: Vec<f64> = (0..30_000_i64).map(|i| ((i * 104_729 % 30_011) as f64 / 30_011.0).powf(1.05)).collect();
        let found = ks_two_sample(&x, &y, KsMethod::Auto).unwrap();
        near(found.statistic, 0.01795);
        near(found.p_value, 0.0008655969696563612);
    }

    // scipy 1.17.1: stats.wasserstein_distance(A, B)
    #[test]
    fn wasserstein_agrees_with_scipy() {
        near(wasserstein_1(&A, &B).unwrap(), 0.9025);
    }

    // scipy 1.17.1: stats.chi2_contingency([[30, 14, 0, 6], [25, 30, 3, 7]], correction=False)
    #[test]
    fn chi2_agrees_with_scipy() {
        let found = chi2_two_sample(&[30, 14, 0, 6, 0], &[25, 30, 3, 7, 0]).unwrap();
        near(found.statistic, 7.5210866057019885);
        assert_eq!(found.dof, 3, "the category that occurs in neither is left out");
        near(found.p_value, 0.05701911511031914);
    }

    #[test]
    fn missing_values_are_left_out_and_infinities_are_extreme() {
        let with_gaps: Vec<f64> = A.iter().copied().chain([f64::NAN; 3]).collect();
        assert_eq!(ks_two_sample(&with_gaps, &B, KsMethod::Auto), ks_two_sample(&A, &B, KsMethod::Auto));
        let found = ks_two_sample(&[f64::INFINITY; 3], &[1.0, 2.0], KsMethod::Auto).unwrap();
        assert_eq!(found.statistic, 1.0);
        assert_eq!(wasserstein_1(&[f64::INFINITY], &[1.0]), Err(StatsError::NotFinite { what: "first", row: 0 }));
    }

    #[test]
    fn nothing_to_compare_is_refused() {
        assert_eq!(ks_two_sample(&[f64::NAN], &B, KsMethod::Auto), Err(StatsError::Empty { what: "first" }));
        assert_eq!(chi2_two_sample(&[0, 0], &[1, 2]), Err(StatsError::Empty { what: "first" }));
        assert!(matches!(chi2_two_sample(&[1], &[1, 2]), Err(StatsError::LengthMismatch { .. })));
        assert_eq!(chi2_two_sample(&[3, 0], &[5, 0]).unwrap().p_value, 1.0, "one category tells nothing apart");
    }
}
