//! Facts about traffic, decisions and their outcomes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payloads;
use crate::id::RolloutId;
use crate::{DeploymentName, Digest, ModelVersionRef, Share, Timestamp};

payloads! {
    "rollout.started" 1 RolloutStarted,
    "traffic.shifted" 1 TrafficShifted,
    "decisions.logged" 1 DecisionsLogged,
    "outcomes.recorded" 1 OutcomesRecorded,
}

/// A planned change of traffic began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStarted {
    /// The rollout.
    pub rollout: RolloutId,
    /// The deployment.
    pub deployment: DeploymentName,
    /// The version that is to take over.
    pub candidate: ModelVersionRef,
    /// The version in charge; none at the first rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<ModelVersionRef>,
    /// The candidate's shares, step by step.
    pub steps: Vec<Share>,
}

/// One version's part of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficShare {
    /// The version.
    pub version: ModelVersionRef,
    /// Its share.
    pub share: Share,
}

/// Why traffic moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficReason {
    /// A rollout took a step.
    Advanced,
    /// A rollout took its last step: the candidate is in charge.
    Finished,
    /// A guardrail, or a person, sent the candidate back.
    RolledBack,
}

/// The traffic of a deployment moved; from this moment on these versions answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficShifted {
    /// The deployment.
    pub deployment: DeploymentName,
    /// The rollout that it belongs to; none for a rollback to an earlier champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// Who answers; the shares sum to the whole.
    pub traffic: Vec<TrafficShare>,
    /// Why.
    pub reason: TrafficReason,
    /// The same in plain words, with the figures.
    pub sentence: String,
}

/// A batch of decisions is in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionsLogged {
    /// The deployment.
    pub deployment: DeploymentName,
    /// The version of the decisions' table.
    pub table_version: u64,
    /// How many decisions.
    pub rows: u64,
    /// The Merkle root (RFC 6962) over the canonical JSON of the rows, in their order.
    pub merkle_root: Digest,
    /// The first and the last decision's moment.
    pub decided: (Timestamp, Timestamp),
}

/// A batch of outcomes is in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomesRecorded {
    /// The deployment.
    pub deployment: DeploymentName,
    /// The version of the outcomes' table.
    pub table_version: u64,
    /// How many outcomes joined a decision.
    pub rows: u64,
    /// How many came twice, or for no decision, and were left out.
    pub ignored: u64,
    /// The digest of the rows.
    pub rows_digest: Digest,
}
