//! Facts: everything that happens, one immutable entry in the ledger each.
//!
//! A [`Fact`] is an envelope (what kind, when, by whom, for which pod) around a payload. Each payload type names its
//! kind and version; a released version stays readable for ever, which `tests/facts/` holds. Bulk data and personal data
//! never enter a fact: it carries tables, versions and digests.

mod access;
mod company;
mod data;
mod deployment;
mod model;
mod versions;
mod watch;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::OperationId;
use crate::{PodName, Principal, Timestamp};

pub use access::{InvitationCreated, InvitationRedeemed, InvitationRevoked, RefusalsCounted, RefusedAgain};
pub use company::{
    AuthorizationRefused, CompanyCreated, SpecApplied, SpecRemoved, SpendRecorded, TokenCreated, TokenRevoked,
};
pub use data::{
    ContractBreakAllowed, DatasetCommitted, DatasetRefused, DatasetReplayed, QuarantineDiscarded, QuarantineReleased,
    Reason, Replaced, RowChanges, Stretch, TableVerdict, TableVersion,
};
pub use deployment::{DecisionsLogged, OutcomesRecorded, RolloutStarted, TrafficReason, TrafficShare, TrafficShifted};
pub use model::{
    FeatureReference, GateDecided, GateWaived, Leakage, ModelVersionRegistered, RunFailed, RunFinished, RunStarted,
    SharedEntities, TellingFeature, TrailingView, TrainingSet, Verdict, VersionJudged,
};
pub use versions::{
    BranchCommitted, BranchCreated, BranchDropped, BranchMerged, DatasetCompacted, DatasetRestored, HoldCreated,
    HoldReleased, LakeVacuumed, MergedTable, TagCreated, TagDeleted, VacuumedTable,
};
pub use watch::{
    DriftDetected, FeatureDrift, FeatureSkew, MonitorMeasured, QualityMeasured, SkewDetected, SkewMeasured,
};

/// The payload of one kind of fact.
pub trait Payload: Serialize + DeserializeOwned {
    /// The kind: noun, dot, past participle, such as `dataset.committed`.
    const KIND: &'static str;
    /// The version of the payload's shape, from 1.
    const VERSION: u32;
}

/// One immutable entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// What kind of thing happened: `dataset.committed`.
    pub kind: String,
    /// The version of the payload's shape.
    pub version: u32,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who did it.
    pub by: Principal,
    /// The pod it belongs to; absent for the company's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// The operation that it seals; the ledger holds at most one fact of an operation and kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// The payload.
    pub body: serde_json::Value,
}

/// Why a fact could not be read as a payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is of another kind or version.
    #[error("a fact of kind `{found}` was read as `{wanted}`")]
    OtherKind {
        /// The fact's kind and version.
        found: String,
        /// The payload's.
        wanted: String,
    },
    /// Its body does not have the payload's shape.
    #[error("the body of a `{kind}` fact has another shape")]
    Shape {
        /// The fact's kind.
        kind: String,
        /// What serde found.
        source: serde_json::Error,
    },
}

impl Fact {
    /// The payload, where the fact is of its kind.
    ///
    /// # Errors
    /// [`PayloadError`] when kind, version or shape differ.
    pub fn payload<P: Payload>(&self) -> Result<P, PayloadError> {
        if self.kind != P::KIND || self.version != P::VERSION {
            let found = format!("{} v{}", self.kind, self.version);
            return Err(PayloadError::OtherKind { found, wanted: format!("{} v{}", P::KIND, P::VERSION) });
        }
        serde_json::from_value(self.body.clone())
            .map_err(|source| PayloadError::Shape { kind: self.kind.clone(), source })
    }

    /// Whether the fact is of this payload's kind.
    pub fn is<P: Payload>(&self) -> bool {
        self.kind == P::KIND
    }
}

/// A fact that is about to be appended; the ledger adds the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFact {
    /// As [`Fact::kind`].
    pub kind: String,
    /// As [`Fact::version`].
    pub version: u32,
    /// As [`Fact::by`].
    pub by: Principal,
    /// As [`Fact::pod`].
    pub pod: Option<PodName>,
    /// As [`Fact::operation`].
    pub operation: Option<OperationId>,
    /// As [`Fact::body`].
    pub body: serde_json::Value,
}

impl NewFact {
    /// A fact with this payload.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON, that is, when it holds a number that is not finite.
    pub fn new<P: Payload>(by: Principal, pod: Option<PodName>, payload: &P) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_value(payload)?;
        Ok(Self { kind: P::KIND.to_owned(), version: P::VERSION, by, pod, operation: None, body })
    }

    /// The same fact, sealing an operation: appended again, it is recognised and not repeated.
    #[must_use]
    pub fn sealing(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }
}

macro_rules! payloads {
    ($($kind:literal $version:literal $name:ident),+ $(,)?) => {$(
        impl crate::fact::Payload for $name {
            const KIND: &'static str = $kind;
            const VERSION: u32 = $version;
        }
    )+};
}
pub(crate) use payloads;

/// Every kind of fact with its newest version.
pub const KINDS: [(&str, u32); 44] = [
    kind::<AuthorizationRefused>(),
    kind::<CompanyCreated>(),
    kind::<ContractBreakAllowed>(),
    kind::<DatasetCommitted>(),
    kind::<DatasetRefused>(),
    kind::<DatasetReplayed>(),
    kind::<DecisionsLogged>(),
    kind::<DriftDetected>(),
    kind::<GateDecided>(),
    kind::<GateWaived>(),
    kind::<ModelVersionRegistered>(),
    kind::<VersionJudged>(),
    kind::<MonitorMeasured>(),
    kind::<SkewDetected>(),
    kind::<SkewMeasured>(),
    kind::<OutcomesRecorded>(),
    kind::<QualityMeasured>(),
    kind::<QuarantineDiscarded>(),
    kind::<QuarantineReleased>(),
    kind::<RolloutStarted>(),
    kind::<RunFailed>(),
    kind::<RunFinished>(),
    kind::<RunStarted>(),
    kind::<SpecApplied>(),
    kind::<SpecRemoved>(),
    kind::<SpendRecorded>(),
    kind::<TokenCreated>(),
    kind::<TokenRevoked>(),
    kind::<TrafficShifted>(),
    kind::<BranchCommitted>(),
    kind::<BranchCreated>(),
    kind::<BranchDropped>(),
    kind::<BranchMerged>(),
    kind::<DatasetCompacted>(),
    kind::<DatasetRestored>(),
    kind::<HoldCreated>(),
    kind::<HoldReleased>(),
    kind::<LakeVacuumed>(),
    kind::<TagCreated>(),
    kind::<TagDeleted>(),
    kind::<InvitationCreated>(),
    kind::<InvitationRedeemed>(),
    kind::<InvitationRevoked>(),
    kind::<RefusalsCounted>(),
];

const fn kind<P: Payload>() -> (&'static str, u32) {
    (P::KIND, P::VERSION)
}
