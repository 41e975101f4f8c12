//! What can go wrong when answering, one variant for each distinct next step.

use std::path::PathBuf;

use tenon_core::id::DecisionId;
use tenon_core::{DeploymentName, ModelName, ModelVersionRef, Timestamp};

/// Why a request was not answered, or traffic not moved.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No such deployment is applied.
    #[error("there is no deployment `{name}`{}", there_is(.known))]
    UnknownDeployment {
        /// The name as given.
        name: String,
        /// The deployments that there are.
        known: Vec<String>,
    },
    /// The deployment is declared, but no version of its model is in charge yet.
    #[error("nothing is deployed as `{deployment}` yet: start a rollout of an approved version of `{model}`")]
    NothingDeployed {
        /// The deployment.
        deployment: DeploymentName,
        /// Its model.
        model: ModelName,
    },
    /// The request lacks a column that names its entity.
    #[error("the request names no `{column}`; `{deployment}` needs {}", list(.needed))]
    MissingEntity {
        /// The deployment.
        deployment: DeploymentName,
        /// The missing column.
        column: String,
        /// All columns that it needs.
        needed: Vec<String>,
    },
    /// An entity's value is of a type that names nothing.
    #[error("`{column}` is {found}; an entity is named by a string, a whole number or a boolean, or is null")]
    WrongEntityType {
        /// The column.
        column: String,
        /// What came: `an array`.
        found: String,
    },
    /// A batch's moments and rows do not match.
    #[error("{rows} rows came with {moments} moments; give one moment a row")]
    UnevenBatch {
        /// Rows of entities.
        rows: usize,
        /// Moments of decision.
        moments: usize,
    },
    /// A version in charge reads a feature that the model no longer declares.
    #[error(
        "`{version}` reads the feature `{feature}`, which no feature view of its model has any more; put the feature \
         back, or train and roll out a new version"
    )]
    FeatureGone {
        /// The version.
        version: ModelVersionRef,
        /// The feature.
        feature: String,
    },
    /// The model does not answer with one probability.
    #[error("`{version}` cannot decide: {reason}")]
    NotADecider {
        /// The version.
        version: ModelVersionRef,
        /// What its outputs lack.
        reason: String,
    },
    /// The decision is not on record.
    #[error("there is no decision `{id}`; check the id, and that its deployment still exists")]
    UnknownDecision {
        /// The id.
        id: DecisionId,
    },
    /// The version may not be deployed.
    #[error("`{version}` may not be deployed: {reason}")]
    NotApproved {
        /// The version.
        version: ModelVersionRef,
        /// Which gates failed, or that none has judged it.
        reason: String,
    },
    /// The version is of another model.
    #[error("`{deployment}` serves the model `{model}`, not `{version}`")]
    OtherModel {
        /// The deployment.
        deployment: DeploymentName,
        /// Its model.
        model: ModelName,
        /// The version as given.
        version: ModelVersionRef,
    },
    /// The version answers already.
    #[error("`{version}` is in charge of `{deployment}` already")]
    AlreadyInCharge {
        /// The deployment.
        deployment: DeploymentName,
        /// The version.
        version: ModelVersionRef,
    },
    /// One rollout at a time.
    #[error("a rollout of `{candidate}` is under way on `{deployment}`; let it end, or roll it back first")]
    RolloutRunning {
        /// The deployment.
        deployment: DeploymentName,
        /// The candidate of the running rollout.
        candidate: ModelVersionRef,
    },
    /// There is no earlier champion.
    #[error("`{deployment}` has no rollout under way and no earlier version to go back to")]
    NothingToRollBackTo {
        /// The deployment.
        deployment: DeploymentName,
    },
    /// A plan that no traffic may follow: a fault of the planner, so nothing was moved.
    #[error("refused to move the traffic of `{deployment}`: {faults}")]
    ImpossiblePlan {
        /// The deployment.
        deployment: DeploymentName,
        /// What is wrong with it.
        faults: String,
    },
    /// A record in the middle of a journal file is not what was written.
    #[error(
        "the decision journal {} is damaged at byte {offset}, after {whole} whole records; move the file away to go on \
         without what follows, and keep it: decisions in it were acknowledged", .path.display()
    )]
    JournalDamaged {
        /// The file.
        path: PathBuf,
        /// Where the damage starts.
        offset: u64,
        /// Whole records before it.
        whole: u64,
    },
    /// The journal could not be written or read; the decision was not acknowledged.
    #[error("the decision journal {} could not be {action}; free space or restore access to it", .path.display())]
    Journal {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `written`.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The journal's writer has stopped after an error it could not undo.
    #[error("the decision journal has stopped; start the program again, which recovers it")]
    JournalStopped,
    /// A stored row does not have the shape that was written.
    #[error("a stored row of `{table}` cannot be read: {reason}")]
    StoredRow {
        /// The table, or the journal.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A request for inference was wrong.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The features could not be looked up.
    #[error("the features could not be looked up")]
    Features(#[source] tenon_features::FeatureError),
    /// The models could not be read.
    #[error("the model version could not be read")]
    Models(#[source] tenon_models::ModelError),
    /// The model could not be loaded, run or explained.
    #[error("`{version}` could not be {action}")]
    Onnx {
        /// The version.
        version: ModelVersionRef,
        /// What was tried: `loaded`.
        action: &'static str,
        /// Why not.
        source: tenon_onnx::OnnxError,
    },
    /// The lake could not be read or written.
    #[error("the lake could not be reached")]
    Lake(#[source] tenon_lake::LakeError),
    /// The ledger could not be read or written.
    #[error("the ledger could not be reached")]
    Ledger(#[source] tenon_ledger::LedgerError),
    /// The policies could not be asked.
    #[error("the policies could not be asked")]
    Policy(#[source] tenon_policy::PolicyError),
    /// Rows could not be laid out as a table.
    #[error("rows could not be laid out as a table")]
    Arrow(#[source] arrow::error::ArrowError),
    /// A record could not be written as JSON.
    #[error("a record could not be written as JSON")]
    Json(#[source] serde_json::Error),
    /// A guardrail's figures could not be computed.
    #[error("a guardrail could not be computed")]
    Stats(#[source] tenon_stats::StatsError),
}

/// What is wrong with a request for inference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// No such model is applied.
    #[error("there is no model `{name}`{}", there_is(.known))]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The models that there are.
        known: Vec<String>,
    },
    /// The model has no version that may answer, or not this one.
    #[error("`{model}` has no {}", version_words(.version))]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// The version as given; none: any that may answer.
        version: Option<u32>,
    },
    /// An input is missing.
    #[error("the input `{name}` is missing")]
    MissingInput {
        /// The input.
        name: String,
    },
    /// The model has no such input.
    #[error("the model has no input `{name}`, only {}", list(.expected))]
    UnknownInput {
        /// The input as given.
        name: String,
        /// The inputs that it has.
        expected: Vec<String>,
    },
    /// An input came twice.
    #[error("the input `{name}` came twice")]
    RepeatedInput {
        /// The input.
        name: String,
    },
    /// The model has no such output.
    #[error("the model has no output `{name}`, only {}", list(.expected))]
    UnknownOutput {
        /// The output as given.
        name: String,
        /// The outputs that it has.
        expected: Vec<String>,
    },
    /// An input has another element type.
    #[error("the input `{input}` is {found}, the model takes {expected}")]
    WrongType {
        /// The input.
        input: String,
        /// The model's type, such as `FP32`.
        expected: &'static str,
        /// The request's.
        found: &'static str,
    },
    /// An input has another shape.
    #[error("the input `{input}` has the shape {found:?}, the model takes {expected:?} (-1: any)")]
    WrongShape {
        /// The input.
        input: String,
        /// The model's extents, -1 for any.
        expected: Vec<i64>,
        /// The request's.
        found: Vec<usize>,
    },
    /// The elements do not fill the shape.
    #[error("the input `{input}` of shape {shape:?} has {found} elements")]
    WrongLength {
        /// The input.
        input: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many elements came.
        found: usize,
    },
}

pub(crate) fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn there_is(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there is: {}", list(names)) }
}

fn version_words(version: &Option<u32>) -> String {
    match version {
        Some(version) => format!("version {version}"),
        None => "version that may answer yet: train one that passes its gates".to_owned(),
    }
}

/// Why a receipt does not prove what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFault {
    /// The proof is about another row than the receipt shows.
    #[error("the proof is not about decision `{id}` as this receipt shows it: {reason}")]
    OtherRow {
        /// The decision.
        id: DecisionId,
        /// What differs.
        reason: String,
    },
    /// The row is not under the Merkle root of its batch.
    #[error("the row is not under the Merkle root of its batch")]
    NotInBatch,
    /// The fact does not seal that batch.
    #[error("the fact at {index} does not seal the batch: {reason}")]
    OtherFact {
        /// The fact's index.
        index: u64,
        /// What differs.
        reason: String,
    },
    /// The fact is not under the checkpoint.
    #[error("the fact is not proven to be in the log: {reason}")]
    NotInLog {
        /// What the ledger's verifier found.
        reason: String,
    },
    /// The explanation does not add up to the prediction.
    #[error("the reasons sum to a probability of {explained}, the decision says {recorded}")]
    DoesNotAddUp {
        /// From the explanation.
        explained: String,
        /// On record.
        recorded: String,
    },
    /// An input was known only after the decision.
    #[error("the input `{feature}` was known at {known_at}, after the decision at {decided_at}")]
    KnownTooLate {
        /// The input.
        feature: String,
        /// When it was known.
        known_at: Timestamp,
        /// When it was used.
        decided_at: Timestamp,
    },
}
