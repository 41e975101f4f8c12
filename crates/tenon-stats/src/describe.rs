//! The profile of a numeric column.

use crate::error::{StatsError, all_within};

/// What a column holds. `NaN` is missing, and an infinity is counted but left out of every other figure, so a
/// profile exists for any column.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Rows, the missing ones too.
    pub rows: u64,
    /// Rows without a value.
    pub missing: u64,
    /// Rows with an infinite value.
    pub infinite: u64,
    /// Figures of the finite values; `None` when there are none.
    pub values: Option<ValueSummary>,
}

/// Figures of the finite values of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueSummary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (`n - 1`); `None` for a single value.
    pub std: Option<f64>,
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// The quantiles asked for, as (probability, value), in the order asked.
    pub quantiles: Vec<(f64, f64)>,
}

/// Describes a column. Quantiles are exact, with linear interpolation between values (type 7 of Hyndman and Fan 1996,
/// which numpy, pandas and R use).
///
/// # Errors
/// `NotFinite` or `OutOfRange` when one of `probabilities` isn't within 0 to 1.
pub fn describe(column: &[f64], probabilities: &[f64]) -> Result<Description, StatsError> {
    all_within("probabilities", probabilities, 0.0, 1.0)?;
    let missing = column.iter().filter(|v| v.is_nan()).count() as u64;
    let infinite = column.iter().filter(|v| v.is_infinite()).count() as u64;
    let mut values: Vec<f64> = column.iter().copied().filter(|v| v.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    Ok(Description { rows: column.len() as u64, missing, infinite, values: summarise(&values, probabilities) })
}

fn summarise(sorted: &[f64], probabilities: &[f64]) -> Option<ValueSummary> {
    let (&min, &max) = (sorted.first()?, sorted.last()?);
    let n = sorted.len() as f64;
    // Divided before it is added, so that the sum of great values does not overflow.
    let mean = if n * max.abs().max(min.abs()) < f64::MAX {
        sorted.iter().sum::<f64>() / n
    } else {
        sorted.iter().map(|v| v / n).sum()
    };
    let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
    let std = (sorted.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    let quantiles = probabilities.iter().map(|&p| (p, quantile_sorted(sorted, p))).collect();
    Some(ValueSummary { mean, std, min, max, quantiles })
}

/// Type 7 quantile of values that are sorted, finite and not none.
pub(crate) fn quantile_sorted(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    // Exact where the neighbours tie, which the search for common values relies on.
    if below == above { below } else { below + (above - below) * position.fract() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // numpy 2.4.6: mean, std(ddof=1) and quantile([0, 0.1, 0.5, 0.99, 1]) of the finite values
    #[test]
    fn figures_agree_with_numpy() {
        let column = [3.5, f64::NAN, -1.0, 2.0, f64::INFINITY, 8.25, 2.0, 0.5, f64::NAN];
        let found = describe(&column, &[0.0, 0.1, 0.5, 0.99, 1.0]).unwrap();
        assert_eq!((found.rows, found.missing, found.infinite), (9, 2, 1));
        let values = found.values.unwrap();
        let figures = [values.mean, values.std.unwrap(), values.min, values.max];
        let quantiles = values.quantiles.iter().map(|q| q.1);
        for (found, expected) in figures.into_iter().chain(quantiles).zip([
            2.5416666666666665,
            3.18754084941145,
            -1.0,
            8.25,
            -1.0,
            -0.25,
            2.0,
            8.0125,
            8.25,
        ]) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_column_without_values_has_a_profile() {
        assert_eq!(describe(&[f64::NAN], &[0.5]).unwrap().values, None);
        assert_eq!(describe(&[], &[]).unwrap().rows, 0);
        let one = describe(&[4.0], &[0.5]).unwrap().values.unwrap();
        assert_eq!((one.mean, one.std, one.quantiles[0].1), (4.0, None, 4.0));
        assert!(describe(&[1.0], &[1.5]).is_err());
    }
}
