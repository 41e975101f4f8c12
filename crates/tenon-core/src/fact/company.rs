//! Facts about the company, its files, its people and its money.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payloads;
use crate::spec::ResourceKind;
use crate::{Digest, Principal, Timestamp};

payloads! {
    "company.created" 1 CompanyCreated,
    "spec.applied" 1 SpecApplied,
    "spec.removed" 1 SpecRemoved,
    "authorization.refused" 1 AuthorizationRefused,
    "spend.recorded" 1 SpendRecorded,
    "token.created" 1 TokenCreated,
    "token.revoked" 1 TokenRevoked,
}

/// The company exists; the first fact of every ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompanyCreated {
    /// The company's name.
    pub name: String,
}

/// A file of the company folder was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpecApplied {
    /// What kind of thing it declares.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// The file, from the company folder.
    pub file: String,
    /// The digest of the file's bytes.
    pub digest: Digest,
    /// What it says, to the byte: the order of a contract's columns counts, and canonical JSON would lose it.
    pub text: String,
}

/// A file of the company folder is gone, and what it declared with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpecRemoved {
    /// What kind of thing it declared.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// The file that declared it.
    pub file: String,
}

/// Somebody was not allowed to do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationRefused {
    /// Who wanted to.
    pub principal: Principal,
    /// What: `model.train`.
    pub action: String,
    /// On what: `model late_arrival`.
    pub resource: String,
    /// The policies that forbade it, by their `@id`; empty when none permitted it.
    pub policies: Vec<String>,
    /// In plain words.
    pub sentence: String,
}

/// Money was spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpendRecorded {
    /// On what: `run 0190…`.
    pub subject: String,
    /// What was used: `cpu`.
    pub resource: String,
    /// How much of it, in seconds.
    pub seconds: f64,
    /// What it cost, in US dollars.
    pub usd: f64,
}

/// A token was made. The token itself is shown once and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// The token's name, for revoking it.
    pub name: String,
    /// Whom its bearer acts as.
    pub principal: Principal,
    /// The digest of the token.
    pub digest: Digest,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A token no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    /// The token's name.
    pub name: String,
}
