//! What per-row explanations say about a whole model.

use crate::error::{StatsError, all_finite, same_length};

/// Global importance of each feature: the mean absolute SHAP value, in the unit of the explained margin.
///
/// # Shapes
/// `phi`: `[rows * n_features]`, row-major. The answer: `[n_features]`, in the order of the features.
///
/// # Errors
/// `BadParameter` without features; `Empty`; `LengthMismatch` when the last row is cut; `NotFinite`.
pub fn mean_absolute_shap(phi: &[f64], n_features: usize) -> Result<Vec<f64>, StatsError> {
    let rows = check(phi, n_features)?;
    let mut totals = vec![0.0; n_features];
    for row in phi.chunks_exact(n_features) {
        totals.iter_mut().zip(row).for_each(|(total, value)| *total += value.abs());
    }
    Ok(totals.into_iter().map(|total| total / rows as f64).collect())
}

/// Positions of the features from the most to the least important, ties in feature order.
#[must_use]
pub fn ranking(importance: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..importance.len()).collect();
    order.sort_by(|&i, &j| importance[j].total_cmp(&importance[i]));
    order
}

/// How far explanations miss their predictions at worst: the greatest `|base + sum(phi) - margin|` over all rows.
///
/// # Shapes
/// `phi`: `[rows * n_features]`, row-major; `margins`: `[rows]`, the model's raw output (log-odds, not probability).
///
/// # Errors
/// As [`mean_absolute_shap`], and `LengthMismatch` or `NotFinite` for the margins or the base value.
pub fn additivity_error(phi: &[f64], n_features: usize, base: f64, margins: &[f64]) -> Result<f64, StatsError> {
    let rows = check(phi, n_features)?;
    same_length("margins", rows, margins.len())?;
    all_finite("margins", margins)?;
    all_finite("base", &[base])?;
    let miss = |(row, margin): (&[f64], &f64)| (base + row.iter().sum::<f64>() - margin).abs();
    Ok(phi.chunks_exact(n_features).zip(margins).map(miss).fold(0.0, f64::max))
}

fn check(phi: &[f64], n_features: usize) -> Result<usize, StatsError> {
    if n_features == 0 {
        return Err(StatsError::BadParameter { name: "n_features", value: 0.0, rule: "at least 1" });
    }
    if phi.is_empty() {
        return Err(StatsError::Empty { what: "phi" });
    }
    let rows = phi.len().div_ceil(n_features);
    same_length("phi", rows * n_features, phi.len())?;
    match phi.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(StatsError::NotFinite { what: "phi", row: at / n_features }),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PHI: [f64; 6] = [0.5, -2.0, 0.0, -0.5, 1.0, 0.25];

    #[test]
    fn importance_is_the_mean_size_of_a_features_values() {
        let importance = mean_absolute_shap(&PHI, 3).unwrap();
        assert_eq!(importance, [0.5, 1.5, 0.125]);
        assert_eq!(ranking(&importance), [1, 0, 2]);
    }

    #[test]
    fn the_worst_row_counts() {
        assert_eq!(additivity_error(&PHI, 3, 1.0, &[-0.5, 1.75]).unwrap(), 0.0);
        assert_eq!(additivity_error(&PHI, 3, 1.0, &[-0.25, 1.25]).unwrap(), 0.5);
    }

    #[test]
    fn faults_are_named() {
        let cut = StatsError::LengthMismatch { what: "phi", expected: 8, found: 6 };
        assert_eq!(mean_absolute_shap(&PHI, 4), Err(cut));
        assert_eq!(mean_absolute_shap(&[1.0, f64::NAN], 1), Err(StatsError::NotFinite { what: "phi", row: 1 }));
        assert!(mean_absolute_shap(&PHI, 0).is_err() && mean_absolute_shap(&[], 2).is_err());
        assert!(additivity_error(&PHI, 3, 0.0, &[1.0]).is_err());
    }
}
