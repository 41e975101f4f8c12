//! Vectors: the newest one of an entity as a feature, and what a contract may say of a column of them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ColumnType, DatasetSpec, FeatureViewSpec, SpecFault};

/// How many numbers a vector has, from 1 to [`Dimensions::MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct Dimensions(u16);

impl Dimensions {
    /// More than any common embedding has.
    pub const MOST: u16 = 4096;

    /// So many; none where that is nothing, or too many.
    pub const fn new(dimensions: u16) -> Option<Self> {
        if dimensions == 0 || dimensions > Self::MOST { None } else { Some(Self(dimensions)) }
    }

    /// As a number.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Dimensions> for u16 {
    fn from(dimensions: Dimensions) -> Self {
        dimensions.0
    }
}

/// A number that no vector has as its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a vector has from 1 to {most} numbers, not {0}", most = Dimensions::MOST)]
pub struct DimensionsError(i64);

impl TryFrom<i64> for Dimensions {
    type Error = DimensionsError;

    fn try_from(dimensions: i64) -> Result<Self, DimensionsError> {
        u16::try_from(dimensions).ok().and_then(Self::new).ok_or(DimensionsError(dimensions))
    }
}

impl JsonSchema for Dimensions {
    fn schema_name() -> Cow<'static, str> {
        "Dimensions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How many numbers a vector has.",
            "type": "integer", "minimum": 1, "maximum": Self::MOST,
        })
    }
}

/// A vector feature: the newest vector of a column within the view's time to live, which expressions of derived views read,
/// and among which the nearest can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSpec {
    /// The column of the source that holds the vectors. One of another length, or with a number that is not finite, counts as
    /// missing.
    pub column: String,
    /// How many numbers each has.
    pub dimensions: Dimensions,
    /// By what the nearest are found.
    #[serde(default)]
    pub metric: Metric,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// How far two vectors are from each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// One less the cosine of the angle between them, from 0 to 2. A vector of zeros has no direction and is near to nothing.
    #[default]
    Cosine,
    /// The length of their difference.
    L2,
}

impl FeatureViewSpec {
    /// What is wrong with the vector features.
    pub(super) fn vector_faults(&self, file: &str) -> Vec<SpecFault> {
        let taken = self.vectors.keys().filter(|name| self.features.contains_key(*name));
        let fault = |name: &String| {
            SpecFault::at(file, &["vectors", name], format!("`{name}` is the name of a feature already"))
                .hint("give it another name")
        };
        taken.map(fault).collect()
    }
}

/// What a contract promises of vectors that only single values can keep.
pub(super) fn check(file: &str, spec: &DatasetSpec, faults: &mut Vec<SpecFault>) {
    let contract = &spec.contract;
    let vectors = contract.columns.iter().filter(|(_, column)| matches!(column.data_type, ColumnType::Vector(_)));
    for (name, column) in vectors {
        let of_column = |key: &str| vec!["contract", "columns", name, key].into_iter().map(str::to_owned).collect();
        let promised = [
            ("a range", column.range.is_some(), of_column("range")),
            ("a list of allowed values", column.one_of.is_some(), of_column("one_of")),
            ("a pattern", column.pattern.is_some(), of_column("pattern")),
            ("a reference", column.references.is_some(), of_column("references")),
            ("different values", column.unique, of_column("unique")),
            ("a row's name", contract.key.contains(name), vec!["contract".to_owned(), "key".to_owned()]),
            ("the time of an event", spec.event_time.as_ref() == Some(name), vec!["event_time".to_owned()]),
        ];
        for (what, _, keys) in promised.into_iter().filter(|(_, said, _)| *said) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let message = format!("`{name}` holds vectors, which cannot promise {what}");
            faults
                .push(SpecFault::at(file, &keys, message).hint("leave it out; a check in SQL can look into a vector"));
        }
    }
}
