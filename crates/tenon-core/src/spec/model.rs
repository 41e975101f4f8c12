//! `pods/POD/models/NAME.toml`: a model, that is, a purpose, and how its versions are made and judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FeatureViewName, Share};

/// A named purpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The question that it answers, in a sentence.
    pub description: String,
    /// What it cannot do, in words that sales and support can use.
    pub limits: String,
    /// Whom to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A query that returns one row a past decision: `key`, the entities' columns, `decided_at` and `label` (true, false,
    /// or null while unknown), and what the gates group by.
    pub observations: String,
    /// The column of the observations that names one of them.
    pub key: String,
    /// The column of the observations that says when the decision was due. Features are joined as of it, never later.
    pub decided_at: String,
    /// The feature views that it reads.
    pub features: Vec<FeatureViewName>,
    /// What is held out to judge a version by.
    pub split: Split,
    /// How a version is made.
    pub trainer: Trainer,
    /// What a version must pass before it may be deployed.
    #[serde(default)]
    pub gates: Vec<Gate>,
}

/// What is held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Which rows are held out.
    pub by: SplitBy,
    /// How many.
    pub test: Share,
}

/// Which rows are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// The latest, as it will be in life.
    Time,
}

/// How a version is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trainer {
    /// Gradient-boosted trees, built in.
    Gbdt {
        /// How hard to fit: more gives more trees of smaller steps. 0.1 is quick, 1.0 thorough.
        #[serde(default = "Trainer::default_budget")]
        budget: f32,
        /// The most trees.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trees: Option<u32>,
        /// The same seed gives the same bytes.
        #[serde(default)]
        seed: u64,
    },
}

impl Trainer {
    fn default_budget() -> f32 {
        0.5
    }
}

/// A condition that a version must meet. One that it does not meet stops the deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// How well it predicts the held-out rows.
    Quality {
        /// Which measure.
        metric: QualityMetric,
        /// The least value allowed.
        at_least: f64,
        /// The least difference from the champion allowed, on the same rows; negative lets it be that much worse.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        margin_to_champion: Option<f64>,
    },
    /// How far the predicted probabilities are from the observed frequencies (expected calibration error, ten bins).
    Calibration {
        /// The greatest error allowed.
        at_most: f64,
    },
    /// How differently it treats groups.
    Fairness {
        /// The column of the observations that says the group.
        group_by: String,
        /// The greatest difference of true-positive rates between two groups (equal opportunity).
        at_most: f64,
        /// Groups with fewer positive held-out rows are named but not judged.
        #[serde(default = "Gate::default_min_group")]
        min_positives: u32,
    },
    /// Whether each prediction can be explained exactly.
    Explanation {
        /// The greatest distance allowed between a prediction and the sum of its SHAP values, in log-odds.
        #[serde(default = "Gate::default_additivity")]
        max_error: f64,
        /// The greatest share of the total importance that one feature may have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_share: Option<Share>,
    },
    /// How long one prediction takes, at the 99th percentile.
    Latency {
        /// The limit in milliseconds.
        p99_ms: f64,
    },
    /// Whether the pod's budget holds what the run has cost.
    Budget {},
}

impl Gate {
    fn default_min_group() -> u32 {
        50
    }
    fn default_additivity() -> f64 {
        1e-6
    }

    /// The gate's kind, as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Quality { .. } => "quality",
            Self::Calibration { .. } => "calibration",
            Self::Fairness { .. } => "fairness",
            Self::Explanation { .. } => "explanation",
            Self::Latency { .. } => "latency",
            Self::Budget {} => "budget",
        }
    }
}

/// A measure of how well a binary classifier predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QualityMetric {
    /// Area under the receiver operating characteristic.
    RocAuc,
}
