//! `pods/POD/features/NAME.toml`: a feature view, one definition for training and for serving.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Named features of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureViewSpec {
    /// What the features say, in a sentence.
    pub description: String,
    /// The columns that together name the entity.
    pub entity: Vec<String>,
    /// The column that says when a row's event happened.
    pub event_time: String,
    /// The column that says when the row could first have been known, where that is later than the event. A join never
    /// uses a row before the later of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_at: Option<String>,
    /// How long after its event a row still counts.
    pub ttl: Span,
    /// The dataset whose rows feed the view as they arrive.
    pub dataset: crate::DatasetName,
    /// One query over that dataset, row by row, that returns the entity, the event time, and what the features read.
    pub source: String,
    /// The features, by name.
    pub features: IndexMap<String, FeatureSpec>,
}

/// One feature: an aggregate of a column of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// What to compute.
    pub aggregate: Aggregate,
    /// The column to compute it from; `count` needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Over which stretch of time before the moment of decision; without it, over the time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The unit of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What to compute from the rows of the window, which are ordered by event time. Nulls are left out; of no rows, `count`
/// and `sum` are 0 and everything else is null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The newest value.
    Last,
    /// How many rows (of the column, how many that are not null).
    Count,
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The sample standard deviation; null of fewer than two rows.
    Std,
    /// Hours from the newest row's event to the moment of decision.
    Age,
}
