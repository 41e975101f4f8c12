//! `pods/POD/datasets/NAME.toml`: a dataset, its source and its contract.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cleaning::Cleaning;
use super::table_rules::{Distribution, Freshness, Volume};
use super::{ColumnType, KafkaSource, StoreAccess};
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
    /// clean their rows keep them always, unless they follow changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_raw: bool,
    /// When small files are taken together, in the background while the company is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
    /// How long after it reached its source a row may take to be committed and queryable; streams are cut accordingly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Span>,
    /// How late rows may come; without it, as late as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
    /// Leaving rows out whose key has landed already; without it, only a key that comes twice in one batch is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
}

impl DatasetSpec {
    /// Whether rows are kept as they came.
    pub fn keeps_raw(&self) -> bool {
        !self.follows_changes() && (self.keep_raw || !self.clean.is_none())
    }

    /// Whether it follows the changes of another database's rows, and holds one row a key.
    pub fn follows_changes(&self) -> bool {
        self.source.kafka.as_ref().is_some_and(|kafka| kafka.changes.is_some())
    }
}

/// When a dataset's small files are taken together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compaction {
    /// As soon as there are so many small files.
    pub small_files: u32,
    /// How large files are to be, in MiB; those of half that size stay as they are.
    #[serde(default = "target_mb")]
    pub target_mb: u32,
}

fn target_mb() -> u32 {
    64
}

/// How late rows may come, by the dataset's event time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// A row whose event lies further than this before the latest event that had landed when its batch came goes to the
    /// quarantine. An event from the future counts as now.
    pub allowed: Span,
}

/// Leaving out rows that have landed already, by the contract's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    /// How far back before the latest event landed keys are remembered.
    pub within: Span,
}

/// Where a dataset's rows come from: exactly one of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Files, as a path pattern from the company folder, `data/flights/*.parquet`, or in an object store,
    /// `s3://bucket/flights/*.parquet` (also `gs://` and `az://`). Parquet, Arrow, CSV or NDJSON by ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Rows that callers push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<bool>,
    /// A query over other datasets; the dataset is then a view, computed when it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Whether files are taken as they come while the company serves; `tenon ingest --follow` does so in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
    /// Topics of a Kafka cluster, read from where the dataset's own table says that it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// Where the object store of `files` is, and who we are towards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreAccess>,
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
