//! Whether each prediction can be explained exactly, and by more than one feature.

use serde_json::json;

use super::Decision;
use crate::evaluation::Evaluation;
use crate::words::{count, list, percent};

/// Passes when exact SHAP values add up to each prediction within `max_error`, in log-odds, and no feature has more
/// than `max_share` of the total importance.
pub(super) fn decide(evaluation: &Evaluation, max_error: f64, max_share: Option<f64>) -> Decision {
    let total: f64 = evaluation.importance.values().sum();
    let shares: Vec<(&str, f64)> = evaluation
        .importance
        .iter()
        .map(|(feature, importance)| (feature.as_str(), if total > 0.0 { importance / total } else { 0.0 }))
        .collect();
    let most: Vec<String> =
        shares.iter().take(3).map(|(feature, share)| format!("`{feature}` ({})", percent(*share))).collect();
    let mut sentence = format!(
        "For {} held-out rows, each prediction was taken apart into what every feature contributed; the parts add up to it within \
         {:.1e} log-odds, and {max_error:.1e} is allowed. It looks most at {}.",
        count(evaluation.explained as u64),
        evaluation.additivity,
        list(&most),
    );
    let mut passed = evaluation.additivity <= max_error;
    if let Some(max_share) = max_share {
        let over = shares.first().filter(|(_, share)| *share > max_share);
        passed &= over.is_none();
        let limit = percent(max_share);
        sentence.push_str(&match over {
            Some((feature, share)) => {
                format!(" `{feature}` alone makes up {}; at most {limit} is allowed.", percent(*share))
            }
            None => format!(" No feature makes up more than the allowed {limit}."),
        });
    }
    let shares: serde_json::Map<_, _> =
        shares.into_iter().map(|(name, share)| (name.to_owned(), share.into())).collect();
    let evidence = json!({
        "rows": evaluation.explained, "worst_error": evaluation.additivity, "max_error": max_error, "max_share": max_share,
        "importance": evaluation.importance, "shares": shares,
    });
    Decision { passed, sentence, evidence }
}
