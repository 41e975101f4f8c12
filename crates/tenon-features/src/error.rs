//! What can go wrong with features.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use tenon_core::{Digest, FeatureViewName, ModelName, Timestamp};
use tenon_lake::LakeError;
use tenon_query::QueryError;
use tenon_query::point_in_time::PointInTimeError;

/// A type that callers send, in words.
fn in_words(kind: &DataType) -> String {
    match kind {
        DataType::FixedSizeList(_, length) => format!("a vector of {length} numbers"),
        plain => plain.to_string(),
    }
}

/// What can go wrong with features.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// No such model is applied.
    #[error("there is no model `{0}`; `tenon get models` lists what is applied")]
    NoModel(ModelName),
    /// No such feature view is applied.
    #[error("there is no feature view `{0}`; `tenon get feature_views` lists what is applied")]
    NoView(FeatureViewName),
    /// Two views of a model have a feature of the same name.
    #[error(
        "model `{model}` reads a feature `{feature}` from `{first}` and another from `{second}`; rename one of them"
    )]
    SharedName {
        /// The model.
        model: ModelName,
        /// The name.
        feature: String,
        /// The view that comes first.
        first: FeatureViewName,
        /// The other.
        second: FeatureViewName,
    },
    /// A table that is needed had no commit by then.
    #[error("dataset `{table}`, which {reader} reads, held nothing by {known_by}; ingest it first")]
    NoTable {
        /// The table.
        table: String,
        /// What reads it: ``model `late_arrival` ``.
        reader: String,
        /// The moment.
        known_by: Timestamp,
    },
    /// A model's observations are not what a training set can be made from.
    #[error("the observations of model `{model}` ({file}) {what}")]
    Observations {
        /// The model.
        model: ModelName,
        /// The file that declares it.
        file: String,
        /// What is wrong, continuing the sentence.
        what: String,
    },
    /// A feature view's rows cannot be read or joined.
    #[error("feature view `{view}` cannot be computed")]
    View {
        /// The view.
        view: FeatureViewName,
        /// Why.
        source: PointInTimeError,
    },
    /// A feature view's source does not work.
    #[error("the source of feature view `{view}` does not work")]
    Source {
        /// The view.
        view: FeatureViewName,
        /// Why.
        source: QueryError,
    },
    /// A feature view is declared but cannot be served.
    #[error("feature view `{view}` is not served: {reason}")]
    NotServed {
        /// The view.
        view: FeatureViewName,
        /// Why, with the causes.
        reason: String,
    },
    /// A caller's key has the wrong type.
    #[error("`{column}` names an entity by {wanted}, and the request has {found}")]
    EntityType {
        /// The entity's column.
        column: String,
        /// What the request has, as JSON.
        found: String,
        /// What is needed, in words.
        wanted: &'static str,
    },
    /// What a caller sends has the wrong type.
    #[error("`{column}` is declared as {}, and the request has {found}", in_words(wanted))]
    RequestType {
        /// The column.
        column: String,
        /// What the request has.
        found: String,
        /// What is needed.
        wanted: DataType,
    },
    /// A derived feature cannot be computed from what it reads.
    #[error(
        "derived feature `{view}:{feature}` cannot be computed; write what it should give then, such as with NULLIF"
    )]
    Derived {
        /// The view.
        view: FeatureViewName,
        /// The feature.
        feature: String,
        /// Why.
        source: QueryError,
    },
    /// The moments of a request cannot be read.
    #[error("the moments cannot be read")]
    Moments(#[source] PointInTimeError),
    /// The online store no longer holds what a read of the past needs.
    #[error(
        "the online store serves feature view `{view}` from {from} on, and {at} was asked for; \
         read the past from the lake"
    )]
    TooFarBack {
        /// The view.
        view: FeatureViewName,
        /// The moment asked for.
        at: Timestamp,
        /// The earliest moment served.
        from: Timestamp,
    },
    /// What was computed again is not what was recorded.
    #[error("the training set is {found}, and was recorded as {recorded}; {because}")]
    NotReproduced {
        /// The digest recorded.
        recorded: Digest,
        /// The digest found.
        found: Digest,
        /// What differs.
        because: &'static str,
    },
    /// Another process has the online store.
    #[error("the online store {0} is open in another process; stop that one first")]
    InUse(PathBuf),
    /// The online store's file cannot be used.
    #[error("the online store {path} failed; when its disk is sound, delete it, and it is built again from the lake")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The address of the online store is none.
    #[error(
        "the online store's address `{address}` in company.toml cannot be used: {what}; it is a file, or redis://HOST:PORT/DATABASE"
    )]
    Address {
        /// The address.
        address: String,
        /// Why.
        what: String,
    },
    /// The online store does not answer, or is being filled again.
    #[error("feature view `{view}` cannot be read from the online store {store} now: {reason}; try again in a moment")]
    Unavailable {
        /// The view.
        view: FeatureViewName,
        /// The store's address.
        store: String,
        /// Why.
        reason: String,
    },
    /// What the lake says.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Arrow could not do what was asked.
    #[error("the rows could not be put together")]
    Arrow(#[from] ArrowError),
    /// A background task was stopped.
    #[error("the work was stopped before its end")]
    Stopped(#[from] tokio::task::JoinError),
    /// A view has no such feature.
    #[error("feature view `{view}` has no feature `{feature}`; it has `{}`", known.join("`, `"))]
    NoFeature {
        /// The view.
        view: FeatureViewName,
        /// What was asked for.
        feature: String,
        /// The features that it has.
        known: Vec<String>,
    },
    /// A view has no such vector feature.
    #[error("feature view `{view}` has no vector feature `{feature}`; {hint}")]
    NoVectors {
        /// The view.
        view: FeatureViewName,
        /// What was asked for.
        feature: String,
        /// What there is.
        hint: String,
    },
    /// Nearest neighbours are asked for in a way that cannot be answered.
    #[error("{0}")]
    Nearest(String),
    /// An entity whose neighbours are asked for has no vector.
    #[error("this entity has no vector `{feature}` in feature view `{view}` now")]
    NoVector {
        /// The view.
        view: FeatureViewName,
        /// The vector feature.
        feature: String,
    },
    /// A caller gives no keys of an entity that is needed.
    #[error("the request has no column `{column}`, which names an entity of these features")]
    NoEntity {
        /// The entity's column.
        column: String,
    },
    /// Views that are read together name an entity by one column of different types.
    #[error("`{column}` names an entity by {one} in one of these views and by {other} in another; ask for them apart")]
    EntityTypes {
        /// The entity's column.
        column: String,
        /// The type in one view, in words.
        one: &'static str,
        /// The type in another.
        other: &'static str,
    },
    /// A moment that is asked for lies in the future.
    #[error("row {row} asks as of {at}, which is in the future; {not_after} is the latest that can be asked for")]
    Ahead {
        /// Which row, from 1 on.
        row: usize,
        /// The moment asked for.
        at: Timestamp,
        /// The latest that can be asked for.
        not_after: Timestamp,
    },
}
