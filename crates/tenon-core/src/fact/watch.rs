//! Facts about what monitors see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TableVersion, payloads};
use crate::id::{DecisionId, IncidentId};
use crate::{DeploymentName, ModelName, ModelVersionRef, MonitorName, Timestamp};

payloads! {
    "monitor.measured" 1 MonitorMeasured,
    "quality.measured" 1 QualityMeasured,
    "drift.detected" 1 DriftDetected,
    "skew.measured" 1 SkewMeasured,
    "skew.detected" 1 SkewDetected,
}

/// How far one input, or the prediction, has moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureDrift {
    /// The input's name, or `prediction`.
    pub feature: String,
    /// Population stability index against the training set, in nats.
    pub psi: f64,
    /// The two-sample Kolmogorov–Smirnov statistic.
    pub ks: f64,
    /// Its p-value, corrected for the number of features by Holm's method.
    pub p_value: f64,
    /// Whether it moved far enough and surely enough.
    pub drifted: bool,
}

/// A monitor compared a window of decisions with the training set of the version in charge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorMeasured {
    /// The monitor.
    pub monitor: MonitorName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The version whose training set is the reference.
    pub reference: ModelVersionRef,
    /// The window, from and until.
    pub window: (Timestamp, Timestamp),
    /// Decisions in the window.
    pub rows: u64,
    /// Each input and the prediction, the most moved first.
    pub features: Vec<FeatureDrift>,
    /// How many measurements in a row have drifted, this one included.
    pub in_a_row: u32,
}

/// A monitor compared a window of decisions with their outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QualityMeasured {
    /// The monitor.
    pub monitor: MonitorName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The window, from and until.
    pub window: (Timestamp, Timestamp),
    /// Decisions of the window whose outcome is known.
    pub rows: u64,
    /// Area under the ROC curve, with the ends of its 95% confidence interval.
    pub roc_auc: (f64, f64, f64),
    /// Mean squared distance of probability and outcome.
    pub brier: f64,
    /// Share of outcomes that were positive.
    pub positive_rate: f64,
    /// Whether the declared quality is surely lost.
    pub lost: bool,
}

/// What a deployment meets is no longer what its model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftDetected {
    /// The incident that people handle.
    pub incident: IncidentId,
    /// The monitor.
    pub monitor: MonitorName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The model.
    pub model: ModelName,
    /// The version in charge.
    pub version: ModelVersionRef,
    /// The window in which it was seen.
    pub window: (Timestamp, Timestamp),
    /// What has moved, the most moved first.
    pub features: Vec<FeatureDrift>,
    /// Whether a new version is asked for.
    pub retrain: bool,
    /// In plain words: when, what, how sure.
    pub sentence: String,
}

/// Served values of one feature that differ from what training would see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureSkew {
    /// The feature.
    pub feature: String,
    /// In how many of the decisions that were looked at.
    pub rows: u64,
    /// The first of those decisions.
    pub decision: DecisionId,
    /// What was served there; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<f32>,
    /// What training would see; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recomputed: Option<f32>,
}

/// A monitor recomputed the features of some decisions of a window from the lake, as of the same moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkewMeasured {
    /// The monitor.
    pub monitor: MonitorName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The window, from and until.
    pub window: (Timestamp, Timestamp),
    /// The tables that they were recomputed from.
    pub tables: Vec<TableVersion>,
    /// Decisions that were looked at.
    pub rows: u64,
    /// Features of which some served value differs, the most often first.
    pub features: Vec<FeatureSkew>,
}

/// What a deployment was served is not what training would see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkewDetected {
    /// The incident that people handle.
    pub incident: IncidentId,
    /// The monitor.
    pub monitor: MonitorName,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The model.
    pub model: ModelName,
    /// The window in which it was seen.
    pub window: (Timestamp, Timestamp),
    /// Decisions that were looked at.
    pub rows: u64,
    /// Features that differ, the most often first.
    pub features: Vec<FeatureSkew>,
    /// In plain words: when, what, how often, what to look at.
    pub sentence: String,
}
