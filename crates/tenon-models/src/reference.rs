//! What drift is measured against.

use serde::{Deserialize, Serialize};
use tenon_core::fact::FeatureReference;
use tenon_stats::drift::{Histogram, quantile_edges};

use crate::ModelError;
use crate::evaluation::Evaluation;
use crate::random::Random;
use crate::table::Table;

/// Bins of about equal rows; a value that fills one by itself gets another.
const BINS: usize = 10;
/// The most values that are kept for tests of two samples.
const SAMPLE: usize = 5_000;

/// How the inputs and the predictions of a version were distributed when it was made: what drift is measured against.
///
/// Inputs are those of all rows of the training set, as served. Predictions are those of the held-out rows alone: to
/// rows that it has learnt from, a model gives more decided answers than it will ever give again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceDistributions {
    /// Histograms of each input, in the order of the inputs, and last of `prediction` (the probability).
    pub features: Vec<FeatureReference>,
    /// For each of them, a seeded sample of at most 5,000 values that are not missing, for tests of two samples.
    pub sample: Vec<(String, Vec<f32>)>,
}

impl ReferenceDistributions {
    pub(crate) fn of(table: &Table, evaluation: &Evaluation) -> Result<Self, ModelError> {
        let width = table.features.len();
        let all = table.all().values;
        let mut distributions = Self { features: Vec::with_capacity(width + 1), sample: Vec::with_capacity(width + 1) };
        for (at, feature) in table.features.iter().enumerate() {
            distributions
                .add(feature, &all.iter().skip(at).step_by(width).map(|v| f64::from(*v)).collect::<Vec<_>>())?;
        }
        distributions.add("prediction", &evaluation.scores)?;
        Ok(distributions)
    }

    fn add(&mut self, name: &str, values: &[f64]) -> Result<(), ModelError> {
        let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        // A feature that was never there has one bin, in which nothing is.
        let edges = if present.is_empty() { Vec::new() } else { quantile_edges(&present, BINS)? };
        let histogram = Histogram::count(values, &edges)?;
        self.features.push(FeatureReference {
            feature: name.to_owned(),
            edges,
            counts: histogram.counts().to_vec(),
            missing: histogram.missing(),
        });
        let picked = Random::new("reference", 0).sample(present.len(), SAMPLE);
        self.sample.push((name.to_owned(), picked.into_iter().map(|row| present[row] as f32).collect()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use indexmap::IndexMap;

    use super::*;
    use crate::table::tests::synthetic;

    #[test]
    fn every_row_is_counted_once_and_json_keeps_all() {
        let table = synthetic(20_000, 1);
        let scores = table.held_out().values.chunks(3).map(|row| f64::from(row[2])).collect();
        let evaluation = Evaluation { scores, importance: IndexMap::new(), additivity: 0.0, explained: 0 };
        let reference = ReferenceDistributions::of(&table, &evaluation).unwrap();
        let names: Vec<&str> = reference.features.iter().map(|of| of.feature.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "prediction"]);
        for (of, rows) in reference.features.iter().zip([20_000, 20_000, 20_000, 4_000]) {
            assert_eq!(of.counts.iter().sum::<u64>() + of.missing, rows, "{}", of.feature);
            assert!(of.edges.len() <= 20);
        }
        assert!((3_500..4_500).contains(&reference.features[0].missing));
        assert_eq!(reference.sample[0].1.len(), SAMPLE);
        assert!(reference.sample.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
        let json = serde_json::to_vec(&reference).unwrap();
        assert_eq!(serde_json::from_slice::<ReferenceDistributions>(&json).unwrap(), reference);
    }

    #[test]
    fn a_feature_that_was_never_there_has_a_reference_too() {
        let mut reference = ReferenceDistributions { features: Vec::new(), sample: Vec::new() };
        reference.add("gone", &[f64::NAN; 3]).unwrap();
        assert_eq!((reference.features[0].missing, &reference.features[0].counts[..]), (3, &[0][..]));
    }
}
