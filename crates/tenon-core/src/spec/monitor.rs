//! `pods/POD/monitors/NAME.toml`: a standing measurement of a deployment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DeploymentName, Share, Span};

/// A standing measurement of a deployment's decisions and outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// What it is for, in a sentence.
    pub description: String,
    /// What is measured.
    pub deployment: DeploymentName,
    /// The stretch of time that each measurement looks at.
    pub window: Span,
    /// How often it measures.
    pub every: Span,
    /// When inputs or predictions count as drifted from what the version in charge was trained on.
    #[serde(default)]
    pub drift: DriftRule,
    /// When quality counts as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityRule>,
    /// Served values are held against what training would see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<SkewRule>,
    /// What happens when drift is detected.
    #[serde(default)]
    pub on_drift: OnDrift,
}

/// Of the decisions in each window, some are looked at again: their features are recomputed from the lake as of the same
/// moments. Any difference is an incident.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkewRule {
    /// How many of the decisions.
    pub sample: Share,
}

/// When a distribution counts as drifted: it must have moved far enough, and surely enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftRule {
    /// The population stability index at or above which a feature has moved far, in nats.
    #[serde(default = "DriftRule::default_psi")]
    pub psi: f64,
    /// The chance of a false alarm that is accepted over all features of one measurement (Holm's correction).
    #[serde(default = "DriftRule::default_alpha")]
    pub alpha: f64,
    /// How many measurements in a row must agree.
    #[serde(default = "DriftRule::default_in_a_row")]
    pub in_a_row: u32,
    /// A measurement over fewer rows says nothing.
    #[serde(default = "DriftRule::default_min_rows")]
    pub min_rows: u64,
}

impl DriftRule {
    fn default_psi() -> f64 {
        0.2
    }
    fn default_alpha() -> f64 {
        0.001
    }
    fn default_in_a_row() -> u32 {
        2
    }
    fn default_min_rows() -> u64 {
        500
    }
}

impl Default for DriftRule {
    fn default() -> Self {
        Self {
            psi: Self::default_psi(),
            alpha: Self::default_alpha(),
            in_a_row: Self::default_in_a_row(),
            min_rows: Self::default_min_rows(),
        }
    }
}

/// When quality counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityRule {
    /// The area under the ROC curve; lost when the upper end of its 95% confidence interval is below.
    pub roc_auc_at_least: f64,
}

/// What happens when drift is detected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// People are told.
    #[default]
    Alert,
    /// People are told, and a new version is trained.
    Retrain,
}
