//! Everything that can be done.

use std::fmt;

/// Something that a principal does to a resource. Every verb of the command line and every route of a door is one of
/// these; `schema.cedarschema` says to which kinds of resource each applies and which group it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Show what the company has declared and applied.
    CompanyRead,
    /// Take over one changed file of the company folder; the resource is what the file declares.
    CompanyApply,
    /// Show what a changed file would do.
    SpecPlan,
    /// Take a dataset's rows out, also as files.
    DatasetRead,
    /// Ask a dataset a question in SQL.
    DatasetQuery,
    /// Bring rows into a dataset.
    DatasetWrite,
    /// Read feature values, online or as of a moment.
    FeatureRead,
    /// Show a model's versions, and take their artifacts out.
    ModelRead,
    /// Train a version that exists once more, and compare.
    ModelReproduce,
    /// Train a new version.
    ModelTrain,
    /// Let a version through a gate that it failed.
    GateWaive,
    /// Send a first share of traffic to a new version.
    RolloutStart,
    /// Send more traffic to a version that is taking over.
    RolloutAdvance,
    /// Send traffic back to an earlier version: a rollback.
    RolloutStop,
    /// Ask for a decision by entity keys.
    DeploymentDecide,
    /// Ask for a bare prediction by feature values.
    DeploymentInfer,
    /// See one decision with its inputs and its reasons.
    DecisionRead,
    /// Tell what became of a decision.
    OutcomeRecord,
    /// Measure drift and quality.
    MonitorMeasure,
    /// Read and verify facts, checkpoints and proofs.
    LedgerRead,
    /// Take the whole log out.
    LedgerExport,
    /// Fold the projections anew from the facts.
    LedgerRebuild,
    /// Make a token.
    TokenCreate,
    /// Revoke a token.
    TokenRevoke,
    /// Invite a member of a pod to get a first token.
    TokenInvite,
    /// Give a version of a dataset a name that keeps it, or take the name away.
    DatasetTag,
    /// Make an earlier version of a dataset the newest again.
    DatasetRestore,
    /// Run the rows that a dataset keeps as they came through its contract again, in the place of what stands.
    DatasetReplay,
    /// Write small files of a dataset again as large ones; the rows stay the same.
    DatasetCompact,
    /// Remove files that nothing needs any more, or show which.
    DatasetVacuum,
    /// Place a legal hold on a dataset, or release it.
    DatasetHold,
    /// Take what happened on a branch into a dataset.
    BranchMerge,
    /// Repair quarantined rows and land them.
    QuarantineRelease,
    /// Mark quarantined rows as never to land.
    QuarantineDiscard,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 34] = [
        Self::CompanyRead,
        Self::CompanyApply,
        Self::SpecPlan,
        Self::DatasetRead,
        Self::DatasetQuery,
        Self::DatasetWrite,
        Self::FeatureRead,
        Self::ModelRead,
        Self::ModelReproduce,
        Self::ModelTrain,
        Self::GateWaive,
        Self::RolloutStart,
        Self::RolloutAdvance,
        Self::RolloutStop,
        Self::DeploymentDecide,
        Self::DeploymentInfer,
        Self::DecisionRead,
        Self::OutcomeRecord,
        Self::MonitorMeasure,
        Self::LedgerRead,
        Self::LedgerExport,
        Self::LedgerRebuild,
        Self::TokenCreate,
        Self::TokenRevoke,
        Self::TokenInvite,
        Self::DatasetTag,
        Self::DatasetRestore,
        Self::DatasetReplay,
        Self::DatasetCompact,
        Self::DatasetVacuum,
        Self::DatasetHold,
        Self::BranchMerge,
        Self::QuarantineRelease,
        Self::QuarantineDiscard,
    ];

    /// Its name in policies and facts: `model.train`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompanyRead => "company.read",
            Self::CompanyApply => "company.apply",
            Self::SpecPlan => "spec.plan",
            Self::DatasetRead => "dataset.read",
            Self::DatasetQuery => "dataset.query",
            Self::DatasetWrite => "dataset.write",
            Self::FeatureRead => "feature.read",
            Self::ModelRead => "model.read",
            Self::ModelReproduce => "model.reproduce",
            Self::ModelTrain => "model.train",
            Self::GateWaive => "gate.waive",
            Self::RolloutStart => "rollout.start",
            Self::RolloutAdvance => "rollout.advance",
            Self::RolloutStop => "rollout.stop",
            Self::DeploymentDecide => "deployment.decide",
            Self::DeploymentInfer => "deployment.infer",
            Self::DecisionRead => "decision.read",
            Self::OutcomeRecord => "outcome.record",
            Self::MonitorMeasure => "monitor.measure",
            Self::LedgerRead => "ledger.read",
            Self::LedgerExport => "ledger.export",
            Self::LedgerRebuild => "ledger.rebuild",
            Self::TokenCreate => "token.create",
            Self::TokenRevoke => "token.revoke",
            Self::TokenInvite => "token.invite",
            Self::DatasetTag => "dataset.tag",
            Self::DatasetRestore => "dataset.restore",
            Self::DatasetReplay => "dataset.replay",
            Self::DatasetCompact => "dataset.compact",
            Self::DatasetVacuum => "dataset.vacuum",
            Self::DatasetHold => "dataset.hold",
            Self::BranchMerge => "branch.merge",
            Self::QuarantineRelease => "quarantine.release",
            Self::QuarantineDiscard => "quarantine.discard",
        }
    }

    /// The words that stand between a principal's name and a resource's: "may `train` model late_arrival".
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::CompanyRead => "look at",
            Self::CompanyApply => "change",
            Self::SpecPlan => "plan a change of",
            Self::DatasetRead => "read",
            Self::DatasetQuery => "query",
            Self::DatasetWrite => "write to",
            Self::FeatureRead => "read features of",
            Self::ModelRead => "look at versions of",
            Self::ModelReproduce => "reproduce a version of",
            Self::ModelTrain => "train",
            Self::GateWaive => "waive a gate of",
            Self::RolloutStart => "start a rollout of",
            Self::RolloutAdvance => "advance a rollout of",
            Self::RolloutStop => "roll back",
            Self::DeploymentDecide => "ask for a decision of",
            Self::DeploymentInfer => "ask for a prediction of",
            Self::DecisionRead => "look at a decision of",
            Self::OutcomeRecord => "record an outcome for",
            Self::MonitorMeasure => "measure for",
            Self::LedgerRead => "read",
            Self::LedgerExport => "export",
            Self::LedgerRebuild => "rebuild the state of",
            Self::TokenCreate => "create",
            Self::TokenRevoke => "revoke",
            Self::TokenInvite => "invite members of",
            Self::DatasetTag => "tag versions of",
            Self::DatasetRestore => "restore an earlier version of",
            Self::DatasetReplay => "replay",
            Self::DatasetCompact => "compact",
            Self::DatasetVacuum => "vacuum",
            Self::DatasetHold => "place or release a hold on",
            Self::BranchMerge => "merge a branch into",
            Self::QuarantineRelease => "release quarantined rows of",
            Self::QuarantineDiscard => "discard quarantined rows of",
        }
    }
}

impl Action {
    /// The action of which this one was a part before it had a name of its own. What policies say of that one they say of
    /// this one too: whoever may write to a dataset may restore it unless a policy forbids that, and whoever may not, may not.
    pub const fn part_of(self) -> Option<Self> {
        match self {
            Self::DatasetTag
            | Self::DatasetRestore
            | Self::DatasetReplay
            | Self::DatasetCompact
            | Self::DatasetVacuum
            | Self::DatasetHold
            | Self::BranchMerge
            | Self::QuarantineRelease
            | Self::QuarantineDiscard => Some(Self::DatasetWrite),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
