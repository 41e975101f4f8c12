//! Whether probabilities mean what they say.

use serde_json::json;
use tenon_stats::metrics::{CalibrationBin, calibration_bins, expected_calibration_error};

use super::Decision;
use crate::ModelError;
use crate::evaluation::CALIBRATION_BINS;
use crate::words::percent;

/// Passes when the expected calibration error over ten bins is at most `at_most`.
pub(super) fn decide(labels: &[bool], scores: &[f64], at_most: f64) -> Result<Decision, ModelError> {
    let error = expected_calibration_error(labels, scores, CALIBRATION_BINS)?;
    let bins = calibration_bins(labels, scores, CALIBRATION_BINS)?;
    let sentence = format!(
        "Where it says 30%, about 30% should come true: on average its probabilities are {} away from what happened; at most {} is \
         allowed.",
        percent(error),
        percent(at_most),
    );
    let bin = |bin: &CalibrationBin| {
        json!({
            "from": bin.low, "to": bin.high, "rows": bin.rows, "positives": bin.positives, "mean_probability": bin.mean_score,
            "positive_rate": bin.positive_rate,
        })
    };
    let evidence = json!({ "error": error, "at_most": at_most, "bins": bins.iter().map(bin).collect::<Vec<_>>() });
    Ok(Decision { passed: error <= at_most, sentence, evidence })
}
