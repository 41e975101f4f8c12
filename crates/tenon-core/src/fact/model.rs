//! Facts about runs, model versions and gates.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TableVersion, payloads};
use crate::id::RunId;
use crate::{Digest, FeatureViewName, ModelName, ModelVersionRef, Principal, Span, Timestamp};

payloads! {
    "run.started" 1 RunStarted,
    "run.finished" 1 RunFinished,
    "run.failed" 1 RunFailed,
    "model_version.registered" 1 ModelVersionRegistered,
    "model_version.judged" 1 VersionJudged,
    "gate.decided" 1 GateDecided,
    "gate.waived" 1 GateWaived,
}

/// The pinned result of joining features to observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingSet {
    /// The digest of its rows, which are also stored under it.
    pub digest: Digest,
    /// Rows to learn from.
    pub train_rows: u64,
    /// Rows held out.
    pub test_rows: u64,
    /// The first decision, the first held-out decision and the last decision.
    pub decided: (Timestamp, Timestamp, Timestamp),
    /// Observations without a label at the time, which were left out.
    pub unlabelled: u64,
    /// The exact tables that it was computed from.
    pub tables: Vec<TableVersion>,
    /// The digest of the model's and the feature views' definitions.
    pub definition: Digest,
    /// Only what was known by then was used.
    pub known_by: Timestamp,
    /// Of features whose window begins, for some rows, before the history of their view: of how many rows. Their values say
    /// less than their window promises.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub incomplete: BTreeMap<String, u64>,
    /// The feature views that it took values from, also through derived ones, each with the digest of what it meant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views: BTreeMap<FeatureViewName, Digest>,
    /// Signs that it knows what a decision could not have known; none: it was not looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leakage: Option<Leakage>,
}

/// Signs that a training set knows what a decision could not have known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leakage {
    /// Features that tell the label almost by themselves, the most telling first.
    pub telling: Vec<TellingFeature>,
    /// Views with rows that were known later than they happened: a join by event alone would have known too much.
    pub trailing: Vec<TrailingView>,
    /// Entities that are both learnt from and held out.
    pub shared: Vec<SharedEntities>,
}

/// A feature that tells the label almost by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TellingFeature {
    /// The feature.
    pub feature: String,
    /// The area under the ROC curve of the feature alone, of whichever direction is better; from 0.5 to 1. A missing value
    /// counts as one of its own: the better of the least and the greatest.
    pub roc_auc: f64,
    /// In how many rows it has a value.
    pub rows: u64,
}

/// How a view's rows trail their events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrailingView {
    /// The view.
    pub view: FeatureViewName,
    /// Its rows.
    pub rows: u64,
    /// How many of them were known later than they happened.
    pub trailing: u64,
    /// By how much, the median of those.
    pub median: Span,
}

/// Entities that are both learnt from and held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SharedEntities {
    /// The columns that name them.
    pub columns: Vec<String>,
    /// Different entities among the rows held out.
    pub held_out: u64,
    /// How many of those are among the rows to learn from as well.
    pub shared: u64,
}

/// A training started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// The model.
    pub model: ModelName,
    /// Why: `asked for by person:ana`, `drift of late_arrival`.
    pub cause: String,
    /// What it learns from.
    pub training_set: TrainingSet,
    /// The trainer as declared.
    pub trainer: serde_json::Value,
    /// The program that trains: its name and version.
    pub code: String,
    /// The label's order was shuffled on purpose, with this seed: a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_shuffle_seed: Option<u64>,
}

/// A training ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunFinished {
    /// The run.
    pub run: RunId,
    /// Processor time used, in seconds.
    pub cpu_seconds: f64,
    /// What it cost, in US dollars.
    pub usd: f64,
    /// Measures on the held-out rows.
    pub metrics: IndexMap<String, f64>,
}

/// A training ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunFailed {
    /// The run.
    pub run: RunId,
    /// Why, in plain words.
    pub sentence: String,
}

/// How one model input was distributed in the training set: what drift is measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureReference {
    /// The input's name.
    pub feature: String,
    /// Inner edges of the bins, strictly increasing.
    pub edges: Vec<f64>,
    /// Rows in each bin; one more than edges.
    pub counts: Vec<u64>,
    /// Rows without a value.
    pub missing: u64,
}

/// A model version exists: immutable bytes with their evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelVersionRegistered {
    /// The version.
    pub version: ModelVersionRef,
    /// The run that made it.
    pub run: RunId,
    /// The digest of the artifact, which is its address.
    pub artifact: Digest,
    /// The artifact's format: `onnx`.
    pub format: String,
    /// Its inputs, in order: feature names.
    pub inputs: Vec<String>,
    /// Mean absolute SHAP value of each input over held-out rows, in log-odds.
    pub importance: IndexMap<String, f64>,
    /// The digest of the reference distributions ([`FeatureReference`] for each input and `prediction`), stored as JSON
    /// under it.
    pub reference: Digest,
}

/// What a gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The version meets the condition.
    Passed,
    /// It does not.
    Failed,
    /// It does not, and two people let it through.
    Waived,
}

/// A gate judged a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateDecided {
    /// The version.
    pub version: ModelVersionRef,
    /// The gate's kind: `quality`.
    pub gate: String,
    /// The gate as declared.
    pub rule: serde_json::Value,
    /// What it said.
    pub verdict: Verdict,
    /// Why, in plain words.
    pub sentence: String,
    /// The figures behind it.
    pub evidence: serde_json::Value,
}

/// All gates have judged a version. It may be deployed when none failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionJudged {
    /// The version.
    pub version: ModelVersionRef,
    /// Whether it may be deployed.
    pub approved: bool,
    /// The gates that failed, by kind.
    pub failed: Vec<String>,
}

/// Two people let a version through a gate that it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateWaived {
    /// The version.
    pub version: ModelVersionRef,
    /// The gate's kind.
    pub gate: String,
    /// Who asked for it.
    pub requested_by: Principal,
    /// Who agreed; somebody else.
    pub approved_by: Principal,
    /// Why.
    pub reason: String,
}
