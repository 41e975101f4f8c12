//! Feature views: training sets and the online store.
//!
//! STUB OF THE PUBLIC API — to be filled in; names and signatures below are what the other crates build on.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value};
use tenon_company::Catalog;
use tenon_core::fact::{TableVersion, TrainingSet};
use tenon_core::{Clock, FeatureViewName, ModelName, Timestamp};
use tenon_lake::Lake;

/// What a feature store needs from outside.
pub struct FeatureStoreOptions {
    /// The file of the embedded online store.
    pub online: PathBuf,
    /// Where feature views read.
    pub lake: Lake,
    /// The views and models.
    pub catalog: Catalog,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// The feature store. Cheap to clone.
#[derive(Clone)]
pub struct FeatureStore {}

/// A model's observations joined with its features, in order of decision.
#[derive(Debug, Clone)]
pub struct TrainingFrame {
    /// All columns of the observations (key, entities, decided_at as timestamp[us, UTC], label as boolean, group columns),
    /// then one Float32 column a feature, null where there is none. Rows sorted by decided_at, then key. Unlabelled rows left out.
    pub rows: RecordBatch,
    /// The names of the feature columns, in the order in which the model's views declare them. A feature's name is the
    /// plain feature name; two views of a model may not share one.
    pub features: Vec<String>,
    /// How many of the first rows are for learning; the rest are held out.
    pub train_rows: usize,
    /// The same for the ledger.
    pub record: TrainingSet,
}

/// One entity's features at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct OnlineRow {
    /// One value for each feature, in the order of the views; none: missing.
    pub values: Vec<Option<f32>>,
    /// For each feature, the event time of the newest row that it used.
    pub known_at: Vec<Option<Timestamp>>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// To be replaced.
    #[error("{0}")]
    Other(String),
}

impl FeatureStore {
    /// Opens the online store and catches up with the lake.
    pub async fn open(_options: FeatureStoreOptions) -> Result<Self, FeatureError> { todo!() }
    /// Computes a model's training set from the newest tables, using only what was known by `known_by`.
    pub async fn training_set(&self, _model: &ModelName, _known_by: Timestamp) -> Result<TrainingFrame, FeatureError> { todo!() }
    /// Computes it again from exactly the tables of a recorded one.
    pub async fn training_set_again(&self, _model: &ModelName, _record: &TrainingSet) -> Result<TrainingFrame, FeatureError> { todo!() }
    /// The point-in-time join of views to observations that hold the entities' columns and a moment.
    pub async fn point_in_time(&self, _views: &[FeatureViewName], _observations: &RecordBatch, _decided_at: &str, _tables: &[TableVersion]) -> Result<RecordBatch, FeatureError> { todo!() }
    /// The features of a model, in order.
    pub fn feature_names(&self, _model: &ModelName) -> Result<Vec<String>, FeatureError> { todo!() }
    /// The entity columns that a model's views need.
    pub fn entity_columns(&self, _model: &ModelName) -> Result<Vec<String>, FeatureError> { todo!() }
    /// Takes in rows that have just been accepted into a dataset at a table version: every view over it is updated at once.
    pub async fn feed(&self, _dataset: &str, _rows: &[RecordBatch], _table_version: u64) -> Result<(), FeatureError> { todo!() }
    /// A model's features for one set of entity keys as of `at`.
    pub fn online(&self, _model: &ModelName, _entities: &Map<String, Value>, _at: Timestamp) -> Result<OnlineRow, FeatureError> { todo!() }
}
