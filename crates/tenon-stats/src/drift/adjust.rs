//! Adjustments of p-values for looking at many columns at once.

use crate::error::{StatsError, all_within};

/// Benjamini and Hochberg's (1995) adjusted p-values, in the order given: calling those at or below `q` drifted
/// keeps the expected share of false calls below `q`, for independent or positively dependent columns.
///
/// # Errors
/// `NotFinite` or `OutOfRange` for a value that is no probability. No p-values give none back.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let n = p_values.len() as f64;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut least = 1.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        least = least.min(p_values[i] * n / (rank + 1) as f64);
        adjusted[i] = least;
    }
    Ok(adjusted)
}

/// Holm's (1979) adjusted p-values, in the order given: calling those at or below `alpha` drifted keeps the chance of
/// even one false call below `alpha`, however the columns depend on each other.
///
/// # Errors
/// As [`benjamini_hochberg`].
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut greatest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        greatest = greatest.max(p_values[i] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[i] = greatest;
    }
    Ok(adjusted)
}

fn ascending(p_values: &[f64]) -> Result<Vec<usize>, StatsError> {
    all_within("p_values", p_values, 0.0, 1.0)?;
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const P: [f64; 6] = [0.01, 0.04, 0.03, 0.005, 0.6, 0.04];

    #[track_caller]
    fn near(found: &[f64], expected: &[f64]) {
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12),
            "{found:?}"
        );
    }

    // statsmodels 0.15.0: stats.multitest.multipletests(P, method="fdr_bh")[1], the same with "holm"
    #[test]
    fn adjustments_agree_with_statsmodels() {
        near(&benjamini_hochberg(&P).unwrap(), &[0.03, 0.048, 0.048, 0.03, 0.6, 0.048]);
        near(&holm(&P).unwrap(), &[0.05, 0.12, 0.12, 0.03, 0.6, 0.12]);
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(matches!(holm(&[0.2, 1.2]), Err(StatsError::OutOfRange { row: 1, .. })));
        assert_eq!(benjamini_hochberg(&[f64::NAN]), Err(StatsError::NotFinite { what: "p_values", row: 0 }));
        assert_eq!(benjamini_hochberg(&[]), Ok(vec![]));
    }
}
