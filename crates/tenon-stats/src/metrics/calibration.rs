//! Do probabilities mean what they say?

use crate::error::{StatsError, all_finite, all_within, same_length};
use crate::interval::{Interval, wilson};
use crate::metrics::confusion::share;

/// Scores of exactly 0 or 1 are moved inwards by this much before a logarithm is taken.
const CLIP: f64 = f64::EPSILON;

/// One bar of a reliability diagram: the rows whose score fell between `low` and `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Least score of the bin (included).
    pub low: f64,
    /// Greatest score of the bin (excluded, but for the last bin, where 1 is included).
    pub high: f64,
    /// Rows in the bin.
    pub rows: u64,
    /// Rows in the bin whose label is true.
    pub positives: u64,
    /// Mean score of the rows; `None` in an empty bin.
    pub mean_score: Option<f64>,
    /// Share of true labels; `None` in an empty bin.
    pub positive_rate: Option<f64>,
}

impl CalibrationBin {
    /// Wilson's interval of the share of true labels.
    ///
    /// # Errors
    /// `Empty` for an empty bin; `BadParameter` for a bad level.
    pub fn interval(&self, level: f64) -> Result<Interval, StatsError> {
        wilson(self.positives, self.rows, level)
    }
}

/// The logistic regression of the label on the log-odds of the score (Cox 1958).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationLine {
    /// 0 when calibrated; above it the scores are too low.
    pub intercept: f64,
    /// 1 when calibrated; below it the scores are too extreme, above it too timid.
    pub slope: f64,
}

/// Mean negative log-likelihood of the labels, in nats; scores are kept away from 0 and 1 by one machine epsilon.
///
/// # Errors
/// `LengthMismatch`, `Empty`, `NotFinite`, or `OutOfRange` for a score outside 0 to 1.
pub fn log_loss(labels: &[bool], scores: &[f64]) -> Result<f64, StatsError> {
    check(labels, scores)?;
    let loss = |(&label, &score): (&bool, &f64)| {
        let score = score.clamp(CLIP, 1.0 - CLIP);
        if label { -score.ln() } else { -(1.0 - score).ln() }
    };
    Ok(labels.iter().zip(scores).map(loss).sum::<f64>() / labels.len() as f64)
}

/// Mean squared distance of the scores from the labels (Brier 1950), 0 to 1.
///
/// # Errors
/// As [`log_loss`].
pub fn brier(labels: &[bool], scores: &[f64]) -> Result<f64, StatsError> {
    check(labels, scores)?;
    let squares = labels.iter().zip(scores).map(|(&label, score)| (f64::from(u8::from(label)) - score).powi(2));
    Ok(squares.sum::<f64>() / labels.len() as f64)
}

/// The table of a reliability diagram with `bins` bins of equal width over 0 to 1; empty bins are kept.
///
/// # Errors
/// As [`log_loss`]; `BadParameter` for no bins.
pub fn calibration_bins(labels: &[bool], scores: &[f64], bins: usize) -> Result<Vec<CalibrationBin>, StatsError> {
    check(labels, scores)?;
    if bins == 0 {
        return Err(StatsError::BadParameter { name: "bins", value: 0.0, rule: "at least 1" });
    }
    let mut sums = vec![(0_u64, 0_u64, 0.0); bins];
    for (&label, &score) in labels.iter().zip(scores) {
        let (rows, positives, total) = &mut sums[((score * bins as f64) as usize).min(bins - 1)];
        *rows += 1;
        *positives += u64::from(label);
        *total += score;
    }
    let edge = |i: usize| i as f64 / bins as f64;
    let bin = |(i, (rows, positives, total)): (usize, (u64, u64, f64))| CalibrationBin {
        low: edge(i),
        high: edge(i + 1),
        rows,
        positives,
        mean_score: (rows > 0).then(|| total / rows as f64),
        positive_rate: share(positives, rows),
    };
    Ok(sums.into_iter().enumerate().map(bin).collect())
}

/// Mean distance of score and share of true labels over [`calibration_bins`], weighted by rows (Naeini et al. 2015).
///
/// It depends on the number of bins and leans upwards on few rows: compare only equal bins and like sample sizes.
///
/// # Errors
/// As [`calibration_bins`].
pub fn expected_calibration_error(labels: &[bool], scores: &[f64], bins: usize) -> Result<f64, StatsError> {
    let distance = |bin: &CalibrationBin| match (bin.mean_score, bin.positive_rate) {
        (Some(score), Some(rate)) => (score - rate).abs() * bin.rows as f64,
        _ => 0.0,
    };
    let total: f64 = calibration_bins(labels, scores, bins)?.iter().map(distance).sum();
    Ok(total / labels.len() as f64)
}

/// Calibration intercept and slope, by Newton's method on the likelihood.
///
/// # Errors
/// As [`log_loss`]; `OneClass`; `TooFew` distinct scores; `NoCalibrationLine` when no finite one exists.
pub fn calibration_line(labels: &[bool], scores: &[f64]) -> Result<CalibrationLine, StatsError> {
    check(labels, scores)?;
    let label = labels[0];
    if labels.iter().all(|&l| l == label) {
        return Err(StatsError::OneClass { label });
    }
    if scores.iter().all(|&s| s == scores[0]) {
        return Err(StatsError::TooFew { what: "distinct scores", rows: 1, needed: 2 });
    }
    let log_odds: Vec<f64> = scores.iter().map(|s| s.clamp(CLIP, 1.0 - CLIP)).map(|s| (s / (1.0 - s)).ln()).collect();
    let loss = |intercept: f64, slope: f64| -> f64 {
        let one = |(&label, &x): (&bool, &f64)| {
            let margin = intercept + slope * x;
            let against = if label { -margin } else { margin };
            against.max(0.0) + (-against.abs()).exp().ln_1p()
        };
        labels.iter().zip(&log_odds).map(one).sum()
    };

    let (mut intercept, mut slope) = (0.0, 1.0);
    let mut best = loss(intercept, slope);
    for _ in 0..100 {
        let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (&label, &x) in labels.iter().zip(&log_odds) {
            let p = 1.0 / (1.0 + (-(intercept + slope * x)).exp());
            let (residual, weight) = (f64::from(u8::from(label)) - p, p * (1.0 - p));
            g0 += residual;
            g1 += residual * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        let determinant = h00 * h11 - h01 * h01;
        if determinant <= 1e-12 * h00 * h11 || determinant.is_nan() {
            return Err(StatsError::NoCalibrationLine);
        }
        let (step0, step1) = ((h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant);
        // A full Newton step can overshoot from a poor start; halve it until the likelihood does not fall.
        let mut scale = 1.0;
        let next = loop {
            let next = loss(intercept + scale * step0, slope + scale * step1);
            if next <= best || scale < 1e-10 {
                break next;
            }
            scale /= 2.0;
        };
        intercept += scale * step0;
        slope += scale * step1;
        if (scale * step0).abs() < 1e-10 * (1.0 + intercept.abs())
            && (scale * step1).abs() < 1e-10 * (1.0 + slope.abs())
        {
            return Ok(CalibrationLine { intercept, slope });
        }
        best = next.min(best);
    }
    Err(StatsError::NoCalibrationLine)
}

fn check(labels: &[bool], scores: &[f64]) -> Result<(), StatsError> {
    same_length("scores", labels.len(), scores.len())?;
    if labels.is_empty() {
        return Err(StatsError::Empty { what: "labels" });
    }
    all_finite("scores", scores)?;
    all_within("scores", scores, 0.0, 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const T: bool = true;
    const F: bool = false;
    const LABELS: [bool; 16] = [F, F, T, F, T, F, T, T, F, T, F, T, T, F, F, T];
    const SCORES: [f64; 16] =
        [0.12, 0.31, 0.35, 0.36, 0.61, 0.42, 0.83, 0.72, 0.21, 0.93, 0.65, 0.33, 0.75, 0.15, 0.51, 0.52];

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    // scikit-learn 1.9.1: metrics.log_loss(LABELS, SCORES), metrics.brier_score_loss(LABELS, SCORES)
    #[test]
    fn losses_agree_with_scikit_learn() {
        near(log_loss(&LABELS, &SCORES).unwrap(), 0.48956990969110464);
        near(brier(&LABELS, &SCORES).unwrap(), 0.16214375);
    }

    // scikit-learn 1.9.1: calibration.calibration_curve(LABELS, SCORES, n_bins=5); numpy.bincount for the rows
    #[test]
    fn the_table_agrees_with_scikit_learn() {
        let bins = calibration_bins(&LABELS, &SCORES, 5).unwrap();
        assert_eq!(bins.iter().map(|b| b.rows).collect::<Vec<_>>(), [2, 5, 3, 4, 2]);
        for (bin, (rate, score)) in
            bins.iter().zip([(0.0, 0.135), (0.4, 0.312), (1.0 / 3.0, 1.45 / 3.0), (0.75, 0.6825), (1.0, 0.88)])
        {
            near(bin.positive_rate.unwrap(), rate);
            near(bin.mean_score.unwrap(), score);
        }
        near(expected_calibration_error(&LABELS, &SCORES, 5).unwrap(), 0.104375);
    }

    // statsmodels 0.15.0: Logit(LABELS, add_constant(log(s / (1 - s)))).fit(tol=1e-14).params
    #[test]
    fn the_line_agrees_with_statsmodels() {
        let found = calibration_line(&LABELS, &SCORES).unwrap();
        near(found.intercept, 0.15464789433265838);
        near(found.slope, 1.624916508433661);
    }

    #[test]
    fn a_score_of_one_belongs_to_the_last_bin() {
        let bins = calibration_bins(&[T, F, T], &[1.0, 0.0, 0.5], 2).unwrap();
        assert_eq!((bins[0].rows, bins[1].rows, bins[1].positives), (1, 2, 2));
        assert!(bins[1].interval(0.95).unwrap().contains(1.0));
    }

    #[test]
    fn sure_and_wrong_is_costly_but_finite() {
        near(log_loss(&[F], &[1.0]).unwrap(), -f64::EPSILON.ln());
        near(log_loss(&[T], &[1.0]).unwrap(), 0.0);
    }

    #[test]
    fn no_line_fits_separated_or_constant_scores() {
        assert_eq!(calibration_line(&[F, F, T, T], &[0.1, 0.2, 0.7, 0.8]), Err(StatsError::NoCalibrationLine));
        assert!(matches!(calibration_line(&[F, T], &[0.5, 0.5]), Err(StatsError::TooFew { .. })));
        assert_eq!(calibration_line(&[T, T], &[0.5, 0.6]), Err(StatsError::OneClass { label: true }));
    }

    #[test]
    fn a_score_that_is_no_probability_is_refused() {
        let found = brier(&[T, F], &[0.2, 1.5]);
        assert_eq!(found, Err(StatsError::OutOfRange { what: "scores", row: 1, value: 1.5, low: 0.0, high: 1.0 }));
        assert_eq!(log_loss(&[T], &[f64::NAN]), Err(StatsError::NotFinite { what: "scores", row: 0 }));
        assert!(matches!(calibration_bins(&[T], &[0.5], 0), Err(StatsError::BadParameter { .. })));
    }
}
