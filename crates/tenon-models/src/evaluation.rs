//! What a trained version does on held-out rows: the figures that metrics and gates are made of.

use indexmap::IndexMap;
use tenon_onnx::{TreeEnsemble, TreeShap};
use tenon_stats::explain::{additivity_error, mean_absolute_shap};
use tenon_stats::metrics::{brier, expected_calibration_error, log_loss, roc_auc_ci};

use crate::ModelError;
use crate::random::Random;
use crate::table::Table;

/// How sure intervals are.
pub(crate) const LEVEL: f64 = 0.95;
/// Bins of the calibration error.
pub(crate) const CALIBRATION_BINS: usize = 10;
/// The most held-out rows that are explained.
const EXPLAINED: usize = 2_000;

/// A version's answers to the held-out rows, and what they rest on.
#[derive(Debug, Clone)]
pub(crate) struct Evaluation {
    /// The probability of each held-out row.
    pub(crate) scores: Vec<f64>,
    /// Mean absolute SHAP value of each feature, in log-odds, the most important first.
    pub(crate) importance: IndexMap<String, f64>,
    /// The greatest distance of a prediction from the sum of its explanation, in log-odds.
    pub(crate) additivity: f64,
    /// Rows that were explained.
    pub(crate) explained: usize,
}

impl Evaluation {
    /// Lets a version answer the held-out rows and explains a seeded sample of its answers exactly.
    pub(crate) fn of(ensemble: &TreeEnsemble, table: &Table) -> Result<Self, ModelError> {
        let width = table.features.len();
        let held_out = table.held_out();
        let margins = ensemble.margins(held_out.values, width)?;
        let sample = Random::new("explained", 0).sample(margins.len(), EXPLAINED);
        let rows: Vec<f32> =
            sample.iter().flat_map(|row| &held_out.values[row * width..(row + 1) * width]).copied().collect();
        let sampled: Vec<f64> = sample.iter().map(|row| margins[*row]).collect();
        let attributions = TreeShap::new(ensemble, 0)?.explain(&rows, width)?;
        let additivity = additivity_error(&attributions.values, width, attributions.expected, &sampled)?;
        let mean = mean_absolute_shap(&attributions.values, width)?;
        let mut importance: IndexMap<String, f64> = table.features.iter().cloned().zip(mean).collect();
        importance.sort_by(|a, x, b, y| y.total_cmp(x).then_with(|| a.cmp(b)));
        let scores = margins.into_iter().map(logistic).collect();
        Ok(Self { scores, importance, additivity, explained: sample.len() })
    }

    /// The measures of a run.
    pub(crate) fn metrics(&self, table: &Table) -> Result<IndexMap<String, f64>, ModelError> {
        let labels = table.held_out().labels;
        let auc = roc_auc_ci(labels, &self.scores, LEVEL)?;
        let positives = labels.iter().filter(|label| **label).count();
        let metrics = [
            ("roc_auc", auc.auc),
            ("roc_auc_low", auc.interval.low),
            ("roc_auc_high", auc.interval.high),
            ("log_loss", log_loss(labels, &self.scores)?),
            ("brier", brier(labels, &self.scores)?),
            ("calibration_error", expected_calibration_error(labels, &self.scores, CALIBRATION_BINS)?),
            ("positive_rate", positives as f64 / labels.len() as f64),
            ("held_out_rows", labels.len() as f64),
        ];
        Ok(metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// The probability that belongs to log-odds.
pub(crate) fn logistic(margin: f64) -> f64 {
    1.0 / (1.0 + (-margin).exp())
}
