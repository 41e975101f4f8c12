//! Feature views: one definition, exact in time, for training and for serving.
//!
//! [`FeatureStore`] is the façade. A training set joins a model's observations with what was known at each moment of
//! decision, from pinned versions of the lake's tables ([`FeatureStore::training_set`]); the online store answers the same
//! question for one entity now ([`FeatureStore::online`]). Both run the same kernel, [`tenon_query::point_in_time`], on
//! the same rows in the same order, so that their values are equal bit by bit.

mod changes;
mod check;
mod definition;
mod derived;
mod error;
mod leakage;
mod nearest;
mod online;
mod plan;
mod search;
mod store;
mod training;

#[cfg(test)]
mod fixture;

use arrow::record_batch::RecordBatch;
use tenon_core::Timestamp;
use tenon_core::fact::TrainingSet;
use tenon_query::point_in_time::{Evaluated, Missing};

pub use error::FeatureError;
pub use nearest::{Asked, MOST_NEIGHBOURS, Neighbour, Neighbours, To};
pub use online::{FeatureRef, OnlineColumn, RedisPlace, Selected};
pub use search::{Distribution, FoundFeature, FromFeatures, FromRows, Moved, OnlineState, Origin};
pub use store::{FeatureStore, FeatureStoreOptions, OnlinePlace};

/// A model's observations joined with its features, in order of decision.
#[derive(Debug, Clone)]
pub struct TrainingFrame {
    /// All columns of the observations (key, entities, decided_at as timestamp[us, UTC], label as boolean, group columns),
    /// then one Float32 column a feature, null where there is none. Rows sorted by decided_at, then key. Unlabelled rows
    /// and rows decided after `known_by` are left out.
    pub rows: RecordBatch,
    /// The names of the feature columns, in the order in which the model's views declare them. A feature's name is the
    /// plain feature name; two views of a model may not share one.
    pub features: Vec<String>,
    /// How many of the first rows are for learning; the rest are held out. Rows decided at one moment are on one side.
    pub train_rows: usize,
    /// The same for the ledger.
    pub record: TrainingSet,
}

/// One entity's features at a moment. One entry for each feature, in the order of the views.
#[derive(Debug, Clone, PartialEq)]
pub struct OnlineRow {
    /// The values; none: missing.
    pub values: Vec<Option<f32>>,
    /// The moment by which all rows that the value used were known; never after the moment asked for.
    pub known_at: Vec<Option<Timestamp>>,
    /// The event time of the newest row that the value used.
    pub event_at: Vec<Option<Timestamp>>,
    /// Why there is a value or none.
    pub statuses: Vec<FeatureStatus>,
}

/// Why a feature has a value or none, in the words of Feast's feature server, which has none for a window that is not
/// complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeatureStatus {
    /// It has a value.
    Present,
    /// It has a value, of a window that begins before the history of its view.
    IncompleteWindow,
    /// There are rows in its window, and what they say is null.
    NullValue,
    /// Nothing was known about the entity, or the caller did not name one.
    NotFound,
    /// What was known about the entity lies outside the window.
    OutsideMaxAge,
    /// The online store does not answer, or has lost what it held and is being filled again.
    Unavailable,
}

impl FeatureStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Present,
        Self::IncompleteWindow,
        Self::NullValue,
        Self::NotFound,
        Self::OutsideMaxAge,
        Self::Unavailable,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::IncompleteWindow => "INCOMPLETE_WINDOW",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// The word for it in Feast's protocol.
    pub const fn in_feast(self) -> &'static str {
        match self {
            Self::IncompleteWindow => Self::Present.as_str(),
            other => other.as_str(),
        }
    }

    fn of(feature: &Evaluated) -> Self {
        match feature.value {
            Ok(_) if feature.complete => Self::Present,
            Ok(_) => Self::IncompleteWindow,
            Err(Missing::Null) => Self::NullValue,
            Err(Missing::NotFound) => Self::NotFound,
            Err(Missing::OutsideWindow) => Self::OutsideMaxAge,
        }
    }
}
