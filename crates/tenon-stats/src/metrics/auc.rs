//! Area under the ROC curve, with DeLong's variance.

use crate::error::{StatsError, all_finite, same_length};
use crate::interval::{Interval, two_sided_z};
use crate::special;

/// An area under the ROC curve with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AucEstimate {
    /// Probability that a positive row scores above a negative one, ties counting one half.
    pub auc: f64,
    /// DeLong's standard error; 0 when the scores separate the classes perfectly, which says nothing about
    /// unseen rows.
    pub std_error: f64,
    /// Normal interval, cut to 0 to 1.
    pub interval: Interval,
}

/// Two scores on the same rows compared by their areas under the ROC curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AucComparison {
    /// Area of the first score.
    pub first: f64,
    /// Area of the second score.
    pub second: f64,
    /// `first - second`.
    pub difference: f64,
    /// DeLong's standard error of the difference; it knows that both were measured on the same rows.
    pub std_error: f64,
    /// Normal interval of the difference, cut to -1 to 1.
    pub interval: Interval,
    /// Two-sided p-value of "the areas are equal"; 1 when both rank the rows alike.
    pub p_value: f64,
}

/// Area under the ROC curve of `scores`, ties counting one half. O(n log n).
///
/// # Errors
/// `LengthMismatch`, `Empty`, `NotFinite`, or `OneClass` when all labels are the same.
pub fn roc_auc(labels: &[bool], scores: &[f64]) -> Result<f64, StatsError> {
    Ok(Placements::of(labels, scores)?.auc)
}

/// [`roc_auc`] with its standard error and an interval that holds with probability `level`, by DeLong, DeLong and
/// Clarke-Pearson (1988), computed in O(n log n) as Sun and Xu (2014) showed.
///
/// # Errors
/// Those of [`roc_auc`]; `TooFew` with fewer than two rows of a class; `BadParameter` for a bad level.
pub fn roc_auc_ci(labels: &[bool], scores: &[f64], level: f64) -> Result<AucEstimate, StatsError> {
    let z = two_sided_z(level)?;
    let placements = Placements::of(labels, scores)?;
    let std_error = covariance(&placements, &placements)?.sqrt();
    let interval = Interval::around(placements.auc, z * std_error).clamped(0.0, 1.0);
    Ok(AucEstimate { auc: placements.auc, std_error, interval })
}

/// DeLong's test of two correlated areas: `first` and `second` score the same rows.
///
/// # Errors
/// As [`roc_auc_ci`], for either score.
pub fn delong_compare(labels: &[bool], first: &[f64], second: &[f64], level: f64) -> Result<AucComparison, StatsError> {
    let z = two_sided_z(level)?;
    let (a, b) = (Placements::of(labels, first)?, Placements::of(labels, second)?);
    let variance = covariance(&a, &a)? + covariance(&b, &b)? - 2.0 * covariance(&a, &b)?;
    // Equal rankings leave a difference of rounding errors, which must not become a finding.
    let std_error = if variance > 1e-18 { variance.sqrt() } else { 0.0 };
    let difference = a.auc - b.auc;
    let p_value = if std_error > 0.0 {
        2.0 * special::normal_sf(difference.abs() / std_error)
    } else if difference == 0.0 {
        1.0
    } else {
        0.0
    };
    let interval = Interval::around(difference, z * std_error).clamped(-1.0, 1.0);
    Ok(AucComparison { first: a.auc, second: b.auc, difference, std_error, interval, p_value })
}

/// For each row, the share of the other class that it is ranked rightly against: DeLong's structural components.
struct Placements {
    auc: f64,
    /// One a positive row, in row order.
    positives: Vec<f64>,
    /// One a negative row, in row order.
    negatives: Vec<f64>,
}

impl Placements {
    fn of(labels: &[bool], scores: &[f64]) -> Result<Self, StatsError> {
        same_length("scores", labels.len(), scores.len())?;
        let Some(&label) = labels.first() else { return Err(StatsError::Empty { what: "labels" }) };
        all_finite("scores", scores)?;
        let n_pos = labels.iter().filter(|&&l| l).count();
        let n_neg = labels.len() - n_pos;
        if n_pos == 0 || n_neg == 0 {
            return Err(StatsError::OneClass { label });
        }

        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|&i, &j| scores[i].total_cmp(&scores[j]));
        let mut placement = vec![0.0; scores.len()];
        let (mut pos_below, mut neg_below, mut twice_wins) = (0_usize, 0_usize, 0_u128);
        for tied in order.chunk_by(|&i, &j| scores[i] == scores[j]) {
            let pos_tied = tied.iter().filter(|&&i| labels[i]).count();
            let neg_tied = tied.len() - pos_tied;
            let twice_beaten = 2 * neg_below + neg_tied;
            let twice_beating = 2 * (n_pos - pos_below) - pos_tied;
            for &i in tied {
                placement[i] = if labels[i] {
                    twice_beaten as f64 / (2 * n_neg) as f64
                } else {
                    twice_beating as f64 / (2 * n_pos) as f64
                };
            }
            twice_wins += pos_tied as u128 * twice_beaten as u128;
            pos_below += pos_tied;
            neg_below += neg_tied;
        }
        // Counted in integers, so that the area does not depend on the order of the rows.
        let auc = twice_wins as f64 / (2 * n_pos as u128 * n_neg as u128) as f64;
        let of_class = |class: bool| placement.iter().zip(labels).filter(move |&(_, &l)| l == class).map(|(p, _)| *p);
        Ok(Self { auc, positives: of_class(true).collect(), negatives: of_class(false).collect() })
    }
}

/// Covariance of two areas measured on the same rows.
fn covariance(a: &Placements, b: &Placements) -> Result<f64, StatsError> {
    let part = |what, x: &[f64], y: &[f64]| {
        if x.len() < 2 {
            return Err(StatsError::TooFew { what, rows: x.len() as u64, needed: 2 });
        }
        let products: f64 = x.iter().zip(y).map(|(x, y)| (x - a.auc) * (y - b.auc)).sum();
        Ok(products / (x.len() - 1) as f64 / x.len() as f64)
    };
    Ok(part("positive rows", &a.positives, &b.positives)? + part("negative rows", &a.negatives, &b.negatives)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const T: bool = true;
    const F: bool = false;
    const LABELS: [bool; 16] = [F, F, T, F, T, F, T, T, F, T, F, T, T, F, F, T];
    const FIRST: [f64; 16] = [0.1, 0.3, 0.35, 0.35, 0.6, 0.4, 0.8, 0.7, 0.2, 0.9, 0.65, 0.3, 0.75, 0.15, 0.5, 0.5];
    const SECOND: [f64; 16] = [0.2, 0.5, 0.3, 0.45, 0.5, 0.3, 0.7, 0.5, 0.4, 0.8, 0.7, 0.35, 0.6, 0.25, 0.3, 0.2];

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    // scikit-learn 1.9.1: metrics.roc_auc_score(LABELS, FIRST), the same with SECOND
    #[test]
    fn auc_agrees_with_scikit_learn_on_ties() {
        near(roc_auc(&LABELS, &FIRST).unwrap(), 0.8359375);
        near(roc_auc(&LABELS, &SECOND).unwrap(), 0.671875);
    }

    // confidenceinterval 1.0.5: delong.delong_roc_variance(LABELS, FIRST) -> 0.010306222098214284,
    // roc_auc_score(LABELS, FIRST, confidence_level=0.95, method="delong") -> (0.6369628086766612, 1.0349...)
    #[test]
    fn delong_agrees_with_confidenceinterval() {
        let found = roc_auc_ci(&LABELS, &FIRST, 0.95).unwrap();
        near(found.std_error.powi(2), 0.010306222098214284);
        near(found.interval.low, 0.6369628086766612);
        assert_eq!(found.interval.high, 1.0, "cut at the end of the scale");
    }

    // numpy 2.4.6, the definition: k = (x[:, None] > y) + 0.5 * (x[:, None] == y); numpy.cov of k.mean(1) and of
    // k.mean(0) over both scores; scipy 1.17.1 stats.norm for interval and p-value
    #[test]
    fn delong_comparison_agrees_with_its_definition() {
        let found = delong_compare(&LABELS, &FIRST, &SECOND, 0.95).unwrap();
        near(found.difference, 0.1640625);
        near(found.std_error, 0.11443950659471952);
        near(found.p_value, 0.1516813952092026);
        near(found.interval.low, -0.06023481133418426);
        near(found.interval.high, 0.3883598113341843);
    }

    #[test]
    fn perfect_and_reversed_scores_are_the_ends() {
        let labels = [F, F, T, T];
        assert_eq!(roc_auc(&labels, &[1.0, 2.0, 3.0, 4.0]), Ok(1.0));
        assert_eq!(roc_auc(&labels, &[4.0, 3.0, 2.0, 1.0]), Ok(0.0));
        assert_eq!(roc_auc(&labels, &[0.0, -0.0, 0.0, -0.0]), Ok(0.5), "the two zeros are one score");
    }

    #[test]
    fn equal_rankings_are_no_finding() {
        let cubed = FIRST.map(|s| s.powi(3) - 7.0);
        let found = delong_compare(&LABELS, &FIRST, &cubed, 0.95).unwrap();
        assert_eq!((found.difference, found.std_error, found.p_value), (0.0, 0.0, 1.0));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(roc_auc(&[], &[]), Err(StatsError::Empty { what: "labels" }));
        assert_eq!(roc_auc(&[T, T], &[0.1, 0.2]), Err(StatsError::OneClass { label: true }));
        assert_eq!(roc_auc(&[T, F], &[0.1, f64::NAN]), Err(StatsError::NotFinite { what: "scores", row: 1 }));
        let mismatch = StatsError::LengthMismatch { what: "scores", expected: 2, found: 1 };
        assert_eq!(roc_auc(&[T, F], &[0.1]), Err(mismatch));
        let few = StatsError::TooFew { what: "negative rows", rows: 1, needed: 2 };
        assert_eq!(roc_auc_ci(&[T, F, T], &[0.1, 0.2, 0.3], 0.95), Err(few));
    }
}
