//! Facts about who comes in: invitations, and refusals that came too fast to be facts one by one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::is_zero;
use super::payloads;
use crate::{Digest, Principal, Timestamp};

payloads! {
    "invitation.created" 1 InvitationCreated,
    "invitation.redeemed" 1 InvitationRedeemed,
    "invitation.revoked" 1 InvitationRevoked,
    "refusals.counted" 1 RefusalsCounted,
}

/// A person may get a first token with a code, once. The code itself is shown once and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationCreated {
    /// The invitation's name, which the token will have.
    pub name: String,
    /// Whom the token's bearer will act as.
    pub principal: Principal,
    /// The digest of the code.
    pub digest: Digest,
    /// When the code ends.
    pub expires: Timestamp,
}

/// A code was given for a token; it is worth nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationRedeemed {
    /// The invitation's name.
    pub name: String,
    /// The digest of the code.
    pub digest: Digest,
    /// The token's name.
    pub token: String,
}

/// A code is worth nothing any more, and was never used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationRevoked {
    /// The invitation's name.
    pub name: String,
    /// The digest of the code.
    pub digest: Digest,
}

/// Refusals of one principal within a stretch of time that were not written down one by one: the same as one that was,
/// or more than are written down in such a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalsCounted {
    /// Who wanted to.
    pub principal: Principal,
    /// When the stretch began.
    pub from: Timestamp,
    /// When the last of them happened.
    pub until: Timestamp,
    /// What was refused again after it had been written down.
    pub again: Vec<RefusedAgain>,
    /// How many others there were, which were never written down.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u64,
}

/// A refusal that was written down once, and how often it came again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedAgain {
    /// What: `model.train`.
    pub action: String,
    /// On what: `model late_arrival`.
    pub resource: String,
    /// How often.
    pub times: u64,
}
