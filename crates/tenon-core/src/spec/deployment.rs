//! `pods/POD/deployments/NAME.toml`: the stable address that callers use, and how its traffic moves.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ModelName, Share};

/// A deployment of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// What callers get, in a sentence.
    pub description: String,
    /// The model whose versions answer.
    pub model: ModelName,
    /// Whether its decisions are about people; policy then asks for more.
    #[serde(default)]
    pub about_people: bool,
    /// A probability at or above it decides yes.
    #[serde(default = "DeploymentSpec::default_threshold")]
    pub threshold: f64,
    /// What stands in for a feature that is missing at the moment of decision; a feature without one is passed on as
    /// missing, which trees can take. Either way the reply marks it.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub fallback: IndexMap<String, f64>,
    /// How a new version takes over.
    #[serde(default)]
    pub rollout: RolloutSpec,
}

impl DeploymentSpec {
    fn default_threshold() -> f64 {
        0.5
    }
}

/// How a new version takes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The candidate's share of traffic, step by step; the last is 100%.
    #[serde(default = "RolloutSpec::default_steps")]
    pub steps: Vec<Share>,
    /// How many of the candidate's decisions must have a known outcome before a step may end.
    #[serde(default = "RolloutSpec::default_bake")]
    pub bake_outcomes: u64,
    /// What rolls the candidate back.
    #[serde(default = "RolloutSpec::default_guardrails")]
    pub guardrails: Vec<Guardrail>,
}

impl RolloutSpec {
    fn default_steps() -> Vec<Share> {
        [0.1, 0.5, 1.0].into_iter().filter_map(|share| Share::new(share).ok()).collect()
    }
    fn default_bake() -> u64 {
        500
    }
    fn default_guardrails() -> Vec<Guardrail> {
        vec![Guardrail { metric: GuardrailMetric::Brier, at_most: 0.01, confidence: Share::default_confidence() }]
    }
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            steps: Self::default_steps(),
            bake_outcomes: Self::default_bake(),
            guardrails: Self::default_guardrails(),
        }
    }
}

impl Share {
    fn default_confidence() -> Self {
        Self::new(0.95).unwrap_or(Self::ALL)
    }
}

/// Something that must not get worse while traffic moves. Watched continuously by a confidence sequence, which stays
/// valid however often one looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// What is measured.
    pub metric: GuardrailMetric,
    /// The greatest amount by which the candidate may be worse than the version in charge.
    pub at_most: f64,
    /// How sure it must be that the amount is exceeded before the candidate is rolled back.
    #[serde(default = "Share::default_confidence")]
    pub confidence: Share,
}

/// What a guardrail measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailMetric {
    /// Mean squared distance of the probability from the outcome.
    Brier,
    /// Share of requests that failed.
    Errors,
}
