//! What callers ask and get.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_core::id::DecisionId;
use tenon_core::{DeploymentName, ModelVersionRef, Timestamp};

/// A request for one decision: who it is about, and nothing else; the features are looked up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DecideRequest {
    /// The entity columns that the model's feature views need, by name. A column may be null, which makes its features
    /// missing, but not absent. Others are kept on record.
    pub entities: Map<String, Value>,
    /// Whether to return the contribution of every feature, and to keep it on record.
    pub explain: bool,
    /// Decide as of this moment instead of now.
    pub at: Option<Timestamp>,
}

/// Which side of a rollout answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The version in charge.
    Champion,
    /// The version that is being rolled out.
    Candidate,
}

impl Variant {
    /// As tables write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Candidate => "candidate",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Champion, Self::Candidate].into_iter().find(|variant| variant.word() == word)
    }
}

/// Where a feature's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureStatus {
    /// The online store.
    Known,
    /// The deployment's declared fallback, because the store had none or did not answer.
    Fallback,
    /// Nowhere: the model was told that it is missing.
    Missing,
    /// Nowhere, because the online store does not answer: the model was told that it is missing.
    Unavailable,
}

impl FeatureStatus {
    /// One letter, as tables write it.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::Known => 'k',
            Self::Fallback => 'f',
            Self::Missing => 'm',
            Self::Unavailable => 'u',
        }
    }

    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        [Self::Known, Self::Fallback, Self::Missing, Self::Unavailable]
            .into_iter()
            .find(|status| status.letter() == letter)
    }
}

/// One feature as it entered a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureUsed {
    /// Its name.
    pub name: Arc<str>,
    /// Its value; none: missing.
    pub value: Option<f32>,
    /// The event time of the newest row behind it.
    pub known_at: Option<Timestamp>,
    /// Where the value came from.
    pub status: FeatureStatus,
}

/// How much one feature moved a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The feature.
    pub feature: Arc<str>,
    /// Its value; none: missing.
    pub value: Option<f32>,
    /// Its exact SHAP value in log-odds: `base` plus all of them is the log-odds of the probability.
    pub phi: f64,
    /// The same in plain words.
    pub sentence: String,
}

/// One decision, durable when it is returned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Its id, by which the outcome is reported and [`crate::Serving::why`] is asked.
    pub id: DecisionId,
    /// Who was asked.
    pub deployment: DeploymentName,
    /// The version that answered.
    pub version: ModelVersionRef,
    /// Which side of a rollout that is.
    pub variant: Variant,
    /// The moment that it is about.
    pub at: Timestamp,
    /// The predicted probability of yes.
    pub probability: f64,
    /// Whether the probability is at or above the deployment's threshold.
    pub decision: bool,
    /// The features, in the version's order.
    pub features: Vec<FeatureUsed>,
    /// With `explain`: the five features that moved it most, the strongest first.
    pub reasons: Vec<Reason>,
    /// With `explain`: the log-odds before anything is known of the entity.
    pub base: Option<f64>,
    /// With `explain`: the exact SHAP value of each feature in log-odds, in the version's order. They and `base` sum to
    /// the log-odds of the probability.
    pub phi: Option<Vec<f64>>,
    /// How long it took to look up, predict and explain, in microseconds.
    pub latency_us: i64,
    /// What that cost, in US dollars.
    pub usd: f64,
}

/// Decisions made in one go, column by column, in the order of the request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DecisionBatch {
    /// Their ids.
    pub ids: Vec<DecisionId>,
    /// The versions that answered.
    pub versions: Vec<u32>,
    /// The predicted probabilities of yes.
    pub probabilities: Vec<f64>,
    /// Whether each is at or above the deployment's threshold.
    pub decisions: Vec<bool>,
}

/// The truth about one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The decision.
    pub decision: DecisionId,
    /// Whether yes was right.
    pub outcome: bool,
    /// When that became known.
    pub known_at: Timestamp,
}

/// What became of reported outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OutcomesTaken {
    /// Joined to a decision.
    pub joined: u64,
    /// For no decision that awaits one: unknown, reported before, or too old.
    pub ignored: u64,
}
