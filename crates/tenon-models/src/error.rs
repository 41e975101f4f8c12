//! What can go wrong with models, a variant for each distinct next step.

use std::path::PathBuf;

use tenon_compute::ComputeError;
use tenon_core::fact::PayloadError;
use tenon_core::{Digest, ModelName, ModelVersionRef};
use tenon_features::FeatureError;
use tenon_ledger::LedgerError;
use tenon_onnx::OnnxError;
use tenon_stats::StatsError;

/// What can go wrong with models.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No such model is applied.
    #[error("there is no model `{model}`; {hint}")]
    NoModel {
        /// The name as given.
        model: ModelName,
        /// The nearest name, or how to see them all.
        hint: String,
    },
    /// The model has no such version.
    #[error("there is no version `{version}`; {hint}")]
    NoVersion {
        /// The version as given.
        version: ModelVersionRef,
        /// The versions that there are.
        hint: String,
    },
    /// The pod's budget does not hold what a training is expected to cost. Nothing was spent.
    #[error("model `{model}` was not trained, to stay within the budget of pod `{pod}`: {sentence}")]
    OverBudget {
        /// The model.
        model: ModelName,
        /// Its pod.
        pod: String,
        /// The limit, what is spent and what was asked for.
        sentence: String,
    },
    /// The training set cannot be made, or not made again.
    #[error("the training set of model `{model}` cannot be made")]
    TrainingSet {
        /// The model.
        model: ModelName,
        /// Why.
        source: FeatureError,
    },
    /// There is a training set, but nothing can be learnt from it.
    #[error("nothing can be learnt from this training set: {0}")]
    Unlearnable(String),
    /// A file of the artifacts cannot be read or written.
    #[error("`{}` could not be {action}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done: `read`, `written`.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the artifacts is not what was recorded: it was changed or is damaged.
    #[error(
        "`{}` was changed: its digest is {found}, the recorded one {recorded}; restore it from a copy, or make it again with `tenon reproduce`",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The digest on record.
        recorded: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A version's artifact cannot be used.
    #[error("the artifact of `{version}` cannot be used")]
    Artifact {
        /// The version.
        version: ModelVersionRef,
        /// Why.
        source: OnnxError,
    },
    /// The trained trees cannot be written as a model.
    #[error("the trained trees cannot be written as a model")]
    Trees(#[from] OnnxError),
    /// A figure cannot be computed.
    #[error("a figure cannot be computed")]
    Stats(#[from] StatsError),
    /// Whoever asks for a waiver agreed to it as well.
    #[error("`{0}` asked for this waiver and cannot agree to it as well; somebody else must")]
    SamePerson(String),
    /// There is nothing to waive.
    #[error("`{version}` did not fail the gate `{gate}`; {hint}")]
    NothingToWaive {
        /// The version.
        version: ModelVersionRef,
        /// The gate as given.
        gate: String,
        /// What it did fail.
        hint: String,
    },
    /// A training that drift asked for failed again and again.
    #[error("{0} trainings for incident `{1}` failed; look at `tenon history`, then train with `tenon train`")]
    GivenUp(u32, String),
    /// The training ended because the program did.
    #[error("the training was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
    /// Spend or budgets cannot be read.
    #[error("the budget cannot be read")]
    Compute(#[from] ComputeError),
    /// The ledger failed.
    #[error("the ledger could not be used")]
    Ledger(#[from] LedgerError),
    /// The policies could not be asked.
    #[error("the policies could not be asked")]
    Policy(#[from] tenon_policy::PolicyError),
    /// A fact is not what its kind says.
    #[error("a fact on the ledger cannot be read")]
    Payload(#[from] PayloadError),
    /// Something could not be written as JSON, or read back.
    #[error("{what} could not be written or read as JSON")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Rows could not be read, written or converted.
    #[error("the rows of the training set could not be read")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A Parquet file could not be read or written.
    #[error("the training set's Parquet file could not be read or written")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl ModelError {
    pub(crate) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }

    /// The error and its causes in one sentence, for the record.
    pub(crate) fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            sentence = format!("{sentence}: {error}");
            cause = error.source();
        }
        sentence
    }
}
