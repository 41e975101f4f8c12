//! Counts of right and wrong yes/no predictions.

use crate::error::{StatsError, all_finite, same_length};

/// How predictions met labels. Rates are `None` where their denominator is 0: undefined, not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Predicted and true.
    pub true_positives: u64,
    /// Predicted but not true.
    pub false_positives: u64,
    /// Neither predicted nor true.
    pub true_negatives: u64,
    /// True but not predicted.
    pub false_negatives: u64,
}

impl Confusion {
    /// Counts `predictions` against `labels`.
    ///
    /// # Errors
    /// `LengthMismatch` or `Empty`.
    pub fn of(labels: &[bool], predictions: &[bool]) -> Result<Self, StatsError> {
        same_length("predictions", labels.len(), predictions.len())?;
        if labels.is_empty() {
            return Err(StatsError::Empty { what: "labels" });
        }
        let mut counts = Self::default();
        for (&label, &predicted) in labels.iter().zip(predictions) {
            counts.add(label, predicted);
        }
        Ok(counts)
    }

    /// Counts the predictions `score >= threshold` against `labels`.
    ///
    /// # Errors
    /// `LengthMismatch`, `Empty`, `NotFinite`, or `BadParameter` for a threshold that is not a number.
    pub fn at_threshold(labels: &[bool], scores: &[f64], threshold: f64) -> Result<Self, StatsError> {
        same_length("scores", labels.len(), scores.len())?;
        all_finite("scores", scores)?;
        if threshold.is_nan() {
            return Err(StatsError::BadParameter { name: "threshold", value: threshold, rule: "a number" });
        }
        let predictions: Vec<bool> = scores.iter().map(|&s| s >= threshold).collect();
        Self::of(labels, &predictions)
    }

    pub(crate) fn add(&mut self, label: bool, predicted: bool) {
        *match (label, predicted) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        } += 1;
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.positives() + self.negatives()
    }

    /// Rows whose label is true.
    #[must_use]
    pub fn positives(&self) -> u64 {
        self.true_positives + self.false_negatives
    }

    /// Rows whose label is false.
    #[must_use]
    pub fn negatives(&self) -> u64 {
        self.false_positives + self.true_negatives
    }

    /// Rows predicted true.
    #[must_use]
    pub fn selected(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    /// Share of rows predicted rightly.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        share(self.true_positives + self.true_negatives, self.rows())
    }

    /// Share of rows predicted true.
    #[must_use]
    pub fn selection_rate(&self) -> Option<f64> {
        share(self.selected(), self.rows())
    }

    /// Share of the predicted rows that are true.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positives, self.selected())
    }

    /// Share of the true rows that are predicted; the true-positive rate.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positives, self.positives())
    }

    /// Share of the false rows that are predicted; the false-positive rate.
    #[must_use]
    pub fn false_positive_rate(&self) -> Option<f64> {
        share(self.false_positives, self.negatives())
    }

    /// Harmonic mean of precision and recall; `None` where nothing is true and nothing predicted.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)
    }
}

pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_score_at_the_threshold_is_a_yes() {
        let labels = [true, true, false, false, true];
        let found = Confusion::at_threshold(&labels, &[0.9, 0.5, 0.5, 0.1, 0.49], 0.5).unwrap();
        let expected = Confusion { true_positives: 2, false_positives: 1, true_negatives: 1, false_negatives: 1 };
        assert_eq!(found, expected);
        assert_eq!(found.accuracy(), Some(0.6));
        assert_eq!(found.precision(), Some(2.0 / 3.0));
        assert_eq!(found.recall(), Some(2.0 / 3.0));
        assert_eq!(found.f1(), Some(4.0 / 6.0));
        assert_eq!(found.false_positive_rate(), Some(0.5));
        assert_eq!(found.selection_rate(), Some(0.6));
    }

    #[test]
    fn a_rate_of_nothing_is_undefined() {
        let found = Confusion::of(&[false, false], &[false, false]).unwrap();
        assert_eq!((found.precision(), found.recall(), found.f1()), (None, None, None));
        assert_eq!(found.accuracy(), Some(1.0));
    }

    #[test]
    fn a_score_that_is_no_number_is_refused() {
        let found = Confusion::at_threshold(&[true, false], &[f64::NAN, 0.2], 0.5);
        assert_eq!(found, Err(StatsError::NotFinite { what: "scores", row: 0 }));
        assert!(Confusion::at_threshold(&[true], &[0.2], f64::NAN).is_err());
    }
}
