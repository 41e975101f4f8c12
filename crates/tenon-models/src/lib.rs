//! Trainers, runs, versions, gates, reproduction.
//!
//! STUB OF THE PUBLIC API — to be filled in; names and signatures below are what the other crates build on.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_company::Catalog;
use tenon_core::fact::{FeatureReference, GateDecided, ModelVersionRegistered, RunFinished, RunStarted, VersionJudged};
use tenon_core::id::IdSource;
use tenon_core::{Clock, Digest, ModelName, ModelVersionRef, Principal, Timestamp};
use tenon_features::FeatureStore;
use tenon_ledger::Ledger;

/// What models need from outside.
pub struct ModelsOptions {
    /// The folder of artifacts, by digest.
    pub artifacts: PathBuf,
    /// The record.
    pub ledger: Ledger,
    /// The models.
    pub catalog: Catalog,
    /// Training sets.
    pub features: FeatureStore,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// Models and their versions. Cheap to clone.
#[derive(Clone)]
pub struct Models {}

/// A request for a training.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The model.
    pub model: ModelName,
    /// Why, for the record.
    pub cause: String,
    /// Learn only from what was known by then.
    pub known_by: Timestamp,
    /// Shuffle the labels with this seed: a drill that makes a bad candidate on purpose.
    pub drill_shuffle_seed: Option<u64>,
}

/// All that is on record of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// The registration.
    pub registered: ModelVersionRegistered,
    /// When.
    pub at: Timestamp,
    /// Index of the registration's fact.
    pub fact: u64,
    /// The run that made it.
    pub run: RunStarted,
    /// How it ended.
    pub finished: RunFinished,
    /// The verdicts, in the order of the gates.
    pub gates: Vec<GateDecided>,
    /// The sum of the verdicts, once judged.
    pub judged: Option<VersionJudged>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// To be replaced.
    #[error("{0}")]
    Other(String),
}

/// What training again gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduction {
    /// The version.
    pub version: ModelVersionRef,
    /// The digest on record.
    pub recorded: Digest,
    /// The digest of the bytes made again.
    pub reproduced: Digest,
    /// The first byte that differs.
    pub first_difference: Option<u64>,
}

/// How the inputs and the predictions of a version were distributed when it was made: what drift is measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceDistributions {
    /// Histograms of each input, in the order of the inputs, and last of `prediction` (the probability).
    pub features: Vec<FeatureReference>,
    /// For each of them, a seeded sample of at most 5,000 values that are not missing, for tests of two samples.
    pub sample: Vec<(String, Vec<f32>)>,
}

/// What a version is, in words that anybody in the company can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The version.
    pub version: ModelVersionRef,
    /// The question that it answers.
    pub what: String,
    /// What it cannot do.
    pub limits: String,
    /// How good it is, with how sure that is.
    pub quality: String,
    /// What it looks at most.
    pub looks_at: Vec<String>,
    /// How evenly it treats groups; one sentence a fairness gate.
    pub fairness: Vec<String>,
    /// What it learnt from.
    pub data: String,
    /// Whether it may be deployed, and why not.
    pub standing: String,
    /// Whom to ask.
    pub ask: String,
}

/// State folded from the facts about runs, versions, gates and traffic.
pub fn projection() -> Arc<dyn tenon_ledger::Projection> {
    todo!()
}

/// Trains a new version when drift asks for one, where the pod lets it.
pub struct RetrainOnDrift {}

impl RetrainOnDrift {
    /// A subscriber that trains with `models`.
    pub fn new(_models: Models) -> Self { todo!() }
}

#[async_trait::async_trait]
impl tenon_ledger::Subscriber for RetrainOnDrift {
    fn name(&self) -> &str { "retrain" }
    fn kinds(&self) -> &[&str] { &["drift.detected"] }
    async fn handle(&self, _stored: &tenon_ledger::StoredFact) -> Result<(), Box<dyn std::error::Error + Send + Sync>> { todo!() }
}

impl Models {
    /// Opens the artifacts and the registry.
    pub fn open(_options: ModelsOptions) -> Result<Self, ModelError> { todo!() }
    /// Trains and registers a version, and has the gates judge it.
    pub async fn train(&self, _by: &Principal, _request: TrainRequest) -> Result<ModelVersionRef, ModelError> { todo!() }
    /// All that is on record of a version.
    pub fn version(&self, _version: &ModelVersionRef) -> Result<VersionRecord, ModelError> { todo!() }
    /// A model's versions, oldest first.
    pub fn versions(&self, _model: &ModelName) -> Result<Vec<VersionRecord>, ModelError> { todo!() }
    /// The artifact's bytes, checked against the digest.
    pub fn artifact(&self, _version: &ModelVersionRef) -> Result<Vec<u8>, ModelError> { todo!() }
    /// The distributions of the training set, for drift: each input, and `prediction`.
    pub fn reference(&self, _version: &ModelVersionRef) -> Result<ReferenceDistributions, ModelError> { todo!() }
    /// What a version is, in plain words.
    pub fn describe(&self, _version: &ModelVersionRef) -> Result<ModelCard, ModelError> { todo!() }
    /// Trains again from what is recorded and compares the bytes.
    pub async fn reproduce(&self, _version: &ModelVersionRef) -> Result<Reproduction, ModelError> { todo!() }
    /// Two people let a version through a gate that it failed.
    pub async fn waive(&self, _requested_by: &Principal, _approved_by: &Principal, _version: &ModelVersionRef, _gate: &str, _reason: &str) -> Result<VersionJudged, ModelError> { todo!() }
}
