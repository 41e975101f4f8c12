//! `pods/POD/datasets/NAME.toml`: a dataset, its source and its contract.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cleaning::Cleaning;
use super::table_rules::{Distribution, Freshness, Volume};
use crate::{Share, Span};

/// A named, owned collection of data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// What it holds, in a sentence.
    pub description: String,
    /// The column that says when a row's event happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// Where its rows must stay, such as `us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<String>,
    /// How long rows are kept after their event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    /// Where rows come from.
    pub source: Source,
    /// What every row promises.
    #[serde(default)]
    pub contract: Contract,
    /// How rows are made clean before the contract looks at them.
    #[serde(default, skip_serializing_if = "Cleaning::is_none")]
    pub clean: Cleaning,
    /// Whether every row is kept as it came, in `NAME__raw`, to be replayed under a corrected contract. Datasets that
    /// clean their rows keep them always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_raw: bool,
}

impl DatasetSpec {
    /// Whether rows are kept as they came.
    pub fn keeps_raw(&self) -> bool {
        self.keep_raw || !self.clean.is_none()
    }
}

/// Where a dataset's rows come from: exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Files, as a path pattern from the company folder: `data/flights/*.parquet`. Parquet, CSV or NDJSON by ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Rows that callers push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    /// A query over other datasets; the dataset is then a view, computed when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// The promises that a dataset keeps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Above this share of bad rows the whole batch is refused and nothing lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_quarantined: Option<Share>,
    /// The columns that together name a row; a second row of the same key in one batch goes to the quarantine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The columns, in the order in which the table holds them. Other columns of a source are left out.
    #[serde(default)]
    pub columns: IndexMap<String, Column>,
    /// Rules over whole rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// How old the newest event of a batch may be when it lands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// How many rows a batch may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// How far columns may move from how they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribution: Vec<Distribution>,
}

/// What one column promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The type of its values.
    #[serde(rename = "type")]
    pub data_type: ColumnType,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The unit of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether a value may be missing.
    #[serde(default)]
    pub nullable: bool,
    /// The least and the greatest value allowed, both inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// The only values allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
    /// A regular expression that the text must match as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// A column of another dataset, `planes.tailnum`, in which each value must occur.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<String>,
    /// What kind of information it is, for policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<DataClass>,
    /// What happens to a row that breaks the column's promises.
    #[serde(default)]
    pub severity: Severity,
    /// Whether no value may come twice in the whole table; missing values are no values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
}

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Whole numbers of 32 bits.
    Int32,
    /// Whole numbers of 64 bits.
    Int64,
    /// Floating-point numbers of 32 bits.
    Float32,
    /// Floating-point numbers of 64 bits.
    Float64,
    /// Text in UTF-8.
    String,
    /// A moment in UTC, in microseconds.
    Timestamp,
    /// A calendar day.
    Date,
}

/// What kind of information a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataClass {
    /// Anybody may know it.
    Public,
    /// Names a thing or a person.
    Identifier,
    /// Says something about a person.
    Personal,
    /// Must not decide about people, and fairness is measured over it.
    Protected,
}

/// A rule over whole rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The rule in words: `lands after it leaves`.
    pub name: String,
    /// A condition in SQL that every row must meet; one that is NULL is met.
    pub sql: String,
    /// What happens to a row that does not meet it.
    #[serde(default)]
    pub severity: Severity,
}

/// What happens to a row that breaks a promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The row lands, and is counted.
    Warn,
    /// The row goes to the quarantine with its reason.
    #[default]
    Quarantine,
    /// The whole batch is refused.
    Refuse,
}
