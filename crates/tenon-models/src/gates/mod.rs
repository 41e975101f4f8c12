//! Gates: conditions that a version must meet before it may be deployed. Each is a pure function from what was seen to
//! a decision, with a sentence for everyone and figures for those who check it.

mod budget;
mod calibration;
mod explanation;
mod fairness;
mod latency;
mod quality;

use serde_json::Value;
use tenon_compute::BudgetState;
use tenon_core::ModelVersionRef;
use tenon_core::fact::{GateDecided, Verdict, VersionJudged};
use tenon_core::spec::Gate;
use tenon_onnx::TreeEnsemble;

use crate::ModelError;
use crate::evaluation::Evaluation;
use crate::table::Table;

/// All that gates look at.
pub(crate) struct Case<'a> {
    pub(crate) version: &'a ModelVersionRef,
    pub(crate) table: &'a Table,
    pub(crate) ensemble: &'a TreeEnsemble,
    pub(crate) evaluation: &'a Evaluation,
    pub(crate) champion: Champion,
    /// The thresholds at which deployments of the model say yes.
    pub(crate) thresholds: &'a [f64],
    /// The pod's budget with the run's spend in it, and that spend in US dollars.
    pub(crate) budget: (&'a BudgetState, f64),
}

/// The version in charge, for comparing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Champion {
    /// There is none yet, or it is the judged version itself.
    None,
    /// It and its probabilities for the held-out rows.
    Scores(ModelVersionRef, Vec<f64>),
    /// It reads a feature that the training set no longer has, so it cannot answer the held-out rows.
    ReadsOtherFeatures(ModelVersionRef),
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq)]
struct Decision {
    passed: bool,
    sentence: String,
    /// The figures behind it; what is not a number becomes null.
    evidence: Value,
}

/// The verdict of each gate, in the order in which they are declared. A gate that cannot be computed is failed.
pub(crate) fn decide(gates: &[Gate], case: &Case<'_>) -> Result<Vec<GateDecided>, ModelError> {
    let decided = |gate: &Gate| {
        let decision = decision(gate, case).unwrap_or_else(|error| Decision {
            passed: false,
            sentence: format!("This gate could not be judged: {}.", tenon_core::words::chain(&error)),
            evidence: Value::Null,
        });
        Ok(GateDecided {
            version: case.version.clone(),
            gate: gate.kind().to_owned(),
            rule: serde_json::to_value(gate).map_err(ModelError::json("the gate"))?,
            verdict: if decision.passed { Verdict::Passed } else { Verdict::Failed },
            sentence: decision.sentence,
            evidence: decision.evidence,
        })
    };
    gates.iter().map(decided).collect()
}

fn decision(gate: &Gate, case: &Case<'_>) -> Result<Decision, ModelError> {
    let labels = case.table.held_out().labels;
    let scores = &case.evaluation.scores;
    match gate {
        Gate::Quality { metric: _, at_least, margin_to_champion } => {
            quality::decide(labels, scores, &case.champion, *at_least, *margin_to_champion)
        }
        Gate::Calibration { at_most } => calibration::decide(labels, scores, *at_most),
        Gate::Fairness { group_by, at_most, min_positives } => {
            let groups = case.table.groups(group_by).ok_or_else(|| {
                ModelError::Unlearnable(format!("the observations have no column `{group_by}` to group by"))
            })?;
            fairness::decide(labels, scores, &groups, group_by, case.thresholds, *at_most, *min_positives)
        }
        Gate::Explanation { max_error, max_share } => {
            Ok(explanation::decide(case.evaluation, *max_error, max_share.map(tenon_core::Share::fraction)))
        }
        Gate::Latency { p99_ms } => {
            let seconds = latency::measure(case.ensemble, case.table)?;
            Ok(latency::decide(seconds, *p99_ms))
        }
        Gate::Budget {} => Ok(budget::decide(case.budget.0, case.budget.1)),
    }
}

/// The sum of the verdicts.
pub(crate) fn judge(version: &ModelVersionRef, decided: &[GateDecided]) -> VersionJudged {
    let mut failed: Vec<String> = Vec::new();
    for gate in decided.iter().filter(|gate| gate.verdict == Verdict::Failed) {
        if !failed.contains(&gate.gate) {
            failed.push(gate.gate.clone());
        }
    }
    VersionJudged { version: version.clone(), approved: failed.is_empty(), failed }
}

#[cfg(test)]
mod tests;
