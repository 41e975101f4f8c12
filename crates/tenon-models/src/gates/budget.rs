//! Whether the pod's budget holds what the run has cost.

use serde_json::json;
use tenon_compute::BudgetState;

use super::Decision;

/// Passes when the spend of the budget's period, the run's included, is within the limit. Without a limit it passes.
pub(super) fn decide(budget: &BudgetState, run_usd: f64) -> Decision {
    let sentence = format!("The training cost {run_usd:.4} USD; {}.", budget.sentence());
    let evidence = json!({
        "run_usd": run_usd, "spent_usd": budget.spent_usd, "limit_usd": budget.limit_usd, "period": budget.period,
    });
    Decision { passed: budget.judge(0.0).allows(), sentence, evidence }
}
