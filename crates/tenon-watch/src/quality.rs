//! How good decisions were, once their outcomes are known.

use tenon_core::fact::QualityMeasured;
use tenon_core::spec::QualityRule;
use tenon_core::{DeploymentName, MonitorName, Timestamp};
use tenon_stats::metrics::{brier, roc_auc_ci};

use crate::error::WatchError;

/// Fewer outcomes of either kind say nothing about quality.
const LEAST: usize = 20;

/// Measures the quality of decisions whose outcomes are known; none while too few are. It is lost when the upper end of
/// the 95% interval (DeLong's) lies below the rule.
///
/// # Shapes
/// `outcomes`, `probabilities`: `[rows]`.
pub(crate) fn measure(
    monitor: &MonitorName,
    deployment: &DeploymentName,
    window: (Timestamp, Timestamp),
    outcomes: &[bool],
    probabilities: &[f64],
    rule: Option<&QualityRule>,
) -> Result<Option<QualityMeasured>, WatchError> {
    let positives = outcomes.iter().filter(|outcome| **outcome).count();
    if positives.min(outcomes.len() - positives) < LEAST {
        return Ok(None);
    }
    let auc = roc_auc_ci(outcomes, probabilities, 0.95).map_err(WatchError::Stats)?;
    Ok(Some(QualityMeasured {
        monitor: monitor.clone(),
        deployment: deployment.clone(),
        window,
        rows: outcomes.len() as u64,
        roc_auc: (auc.auc, auc.interval.low, auc.interval.high),
        brier: brier(outcomes, probabilities).map_err(WatchError::Stats)?,
        positive_rate: positives as f64 / outcomes.len() as f64,
        lost: rule.is_some_and(|rule| auc.interval.high < rule.roc_auc_at_least),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::drift::tests::uniform;

    fn check(skill: f64, rows: usize) -> Option<QualityMeasured> {
        let (name, deployment) = ("late".parse().unwrap(), "late".parse().unwrap());
        let (scores, luck) = (uniform(1, rows, 0.0, 1.0), uniform(2, rows, 0.0, 1.0));
        let outcomes: Vec<bool> = scores.iter().zip(luck).map(|(s, l)| skill * s + (1.0 - skill) * l > 0.5).collect();
        let window = (Timestamp::from_micros(0), Timestamp::from_micros(1));
        let rule = QualityRule { roc_auc_at_least: 0.7 };
        measure(&name, &deployment, window, &outcomes, &scores, Some(&rule)).unwrap()
    }

    #[test]
    fn quality_is_lost_only_when_that_is_sure() {
        assert!(!check(0.6, 2_000).unwrap().lost);
        let lost = check(0.05, 2_000).unwrap();
        assert!(lost.lost && lost.roc_auc.2 < 0.7, "{lost:?}");
        assert!(!check(0.05, 60).unwrap().lost, "too few to be sure");
        assert!(check(0.5, 30).is_none(), "too few to say anything");
    }
}
