//! Rules over a batch as a whole, held against the table that it comes to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecFault;
use super::dataset::{DatasetSpec, Severity};
use crate::Span;

/// How old the newest event of a batch may be when it lands. A broken rule over a batch is a warning or refuses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// The longest time from the newest event to now.
    pub at_most: Span,
    /// `warn` or `refuse`.
    #[serde(default = "warn")]
    pub severity: Severity,
}

/// How many rows a batch may have: declared bounds, or what is usual for the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The fewest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// The greatest distance from the median of the last batches, in robust standard deviations (1.4826 times the median
    /// distance). Counts from the eighth batch on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub z: Option<f64>,
    /// `warn` or `refuse`.
    #[serde(default = "warn")]
    pub severity: Severity,
}

/// How far a column of a batch may move from what the table held at a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// The column.
    pub column: String,
    /// The version of the table that is the reference.
    pub version: u64,
    /// The greatest population stability index: under 0.1 nothing moved, above 0.25 much did.
    pub at_most: f64,
    /// `warn` or `refuse`.
    #[serde(default = "warn")]
    pub severity: Severity,
}

fn warn() -> Severity {
    Severity::Warn
}

/// What is wrong with a dataset's rules over whole batches.
pub(super) fn check(file: &str, spec: &DatasetSpec, faults: &mut Vec<SpecFault>) {
    let contract = &spec.contract;
    let mut wrong = |keys: &[&str], message: &str| faults.push(SpecFault::at(file, keys, message));
    let whole = "a rule over a whole batch has no single rows to set aside: `warn` or `refuse`";
    if let Some(freshness) = &contract.freshness {
        if freshness.severity == Severity::Quarantine {
            wrong(&["contract", "freshness", "severity"], whole);
        }
        if spec.event_time.is_none() {
            wrong(&["contract", "freshness"], "without `event_time` nobody knows how old a row is");
        }
    }
    if let Some(volume) = &contract.volume {
        if volume.severity == Severity::Quarantine {
            wrong(&["contract", "volume", "severity"], whole);
        }
        if volume.at_least.is_none() && volume.at_most.is_none() && volume.z.is_none() {
            wrong(&["contract", "volume"], "it bounds nothing: give `at_least`, `at_most` or `z`");
        }
        if volume.at_least.zip(volume.at_most).is_some_and(|(least, most)| least > most) {
            wrong(&["contract", "volume", "at_least"], "the fewest rows are more than the most");
        }
        if volume.z.is_some_and(|z| !(z > 0.0 && z.is_finite())) {
            wrong(&["contract", "volume", "z"], "a distance is a number above 0, such as 4.0");
        }
    }
    for (at, rule) in contract.distribution.iter().enumerate() {
        let at = at.to_string();
        if rule.severity == Severity::Quarantine {
            wrong(&["contract", "distribution", &at, "severity"], whole);
        }
        if !contract.columns.contains_key(&rule.column) {
            wrong(&["contract", "distribution", &at, "column"], "the contract has no such column");
        }
        if !(rule.at_most > 0.0 && rule.at_most.is_finite()) {
            wrong(&["contract", "distribution", &at, "at_most"], "an index is a number above 0, such as 0.25");
        }
    }
}
