//! How well a version ranks the held-out rows, by itself and against the version in charge.

use serde_json::json;
use tenon_stats::metrics::{delong_compare, roc_auc_ci};

use super::{Champion, Decision};
use crate::ModelError;
use crate::evaluation::LEVEL;
use crate::words::{count, percent};

/// Passes when the area under the ROC curve reaches `at_least`, and its difference from the champion's, on the same
/// rows, reaches `margin`. Intervals are DeLong's.
pub(super) fn decide(
    labels: &[bool],
    scores: &[f64],
    champion: &Champion,
    at_least: f64,
    margin: Option<f64>,
) -> Result<Decision, ModelError> {
    let own = roc_auc_ci(labels, scores, LEVEL)?;
    let mut passed = own.auc >= at_least;
    let mut sentence = format!(
        "Of two cases of which one came true, it gives the higher probability to the right one in {} of pairs (ROC AUC on {} held-out \
         rows; {} sure: {} to {}); at least {} is asked for.",
        percent(own.auc),
        count(labels.len() as u64),
        percent(LEVEL),
        percent(own.interval.low),
        percent(own.interval.high),
        percent(at_least),
    );
    let mut evidence = json!({
        "roc_auc": own.auc, "low": own.interval.low, "high": own.interval.high, "level": LEVEL, "rows": labels.len(),
        "positives": labels.iter().filter(|label| **label).count(), "at_least": at_least,
    });
    match (margin, champion) {
        (Some(margin), Champion::Scores(version, champion)) => {
            let compared = delong_compare(labels, scores, champion, LEVEL)?;
            passed &= compared.difference >= margin;
            let (distance, word) = (compared.difference.abs() * 100.0, if compared.difference < 0.0 { "below" } else { "above" });
            sentence.push_str(&format!(
                " On the same rows that is {distance:.2} points {word} {version}, which is in charge (between {:+.2} and {:+.2}); \
                 {:+.2} or better is asked for.",
                compared.interval.low * 100.0,
                compared.interval.high * 100.0,
                margin * 100.0,
            ));
            evidence["champion"] = json!({
                "version": version, "roc_auc": compared.second, "difference": compared.difference,
                "low": compared.interval.low, "high": compared.interval.high, "p_value": compared.p_value, "margin": margin,
            });
        }
        (Some(_), Champion::ReadsOtherFeatures(version)) => sentence.push_str(&format!(
            " {version}, which is in charge, reads features that the training set no longer has, so the two were not compared."
        )),
        (Some(_), Champion::None) | (None, _) => {}
    }
    Ok(Decision { passed, sentence, evidence })
}
