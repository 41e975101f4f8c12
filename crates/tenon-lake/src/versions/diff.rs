//! What differs between two versions of a dataset, row by row by key, and how its columns moved.
//!
//! Versions of a Delta table share files, and rows of shared files differ in nothing: only the other files are read. They
//! are joined by key with sorting, which spills, so that nothing has to fit into memory. Where a key names several rows,
//! the first of them on one side is held against the first on the other, and so on.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use arrow::record_batch::RecordBatch;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use serde::Serialize;
use serde_json::{Map, Value};
use tenon_core::{AsOf, BranchName, DatasetName};
use tenon_query::{QueryError, fresh};

use crate::delta::files::{missing, paths};
use crate::delta::table::Table;
use crate::landing::place::Place;
use crate::sql::{columns, quoted};
use crate::versions::moved::ColumnMove;
use crate::{Lake, LakeError};

/// The column that tells rows of one key apart.
const NTH: &str = "_nth";

/// What differs between two versions of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableDiff {
    /// The dataset.
    pub dataset: DatasetName,
    /// The one version.
    pub from: u64,
    /// The other.
    pub to: u64,
    /// The columns by which rows were compared.
    pub key: Vec<String>,
    /// Rows that only the other version has.
    pub added: u64,
    /// Rows that only the one version has.
    pub removed: u64,
    /// Rows of the same key that differ.
    pub changed: u64,
    /// How many rows differ in each column, most first.
    pub changed_columns: Vec<(String, u64)>,
    /// Some of those rows.
    pub samples: Vec<Sample>,
    /// How columns moved, most first.
    pub moved: Vec<ColumnMove>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// Its key.
    pub key: Map<String, Value>,
    /// What it was: of a changed row, the columns that changed.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub before: Map<String, Value>,
    /// What it is.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub after: Map<String, Value>,
}

/// Two versions of a table to be compared.
struct Sides<'a> {
    before: (&'a Table, u64),
    after: (&'a Table, u64),
}

impl Lake {
    /// Compares two versions of a dataset by `key` (where that is empty, by its contract's) and takes up to `samples`
    /// rows of each kind along.
    ///
    /// # Errors
    /// [`LakeError::NoKey`], [`LakeError::NothingThen`], [`LakeError::Vacuumed`], and as for reading.
    pub async fn diff(
        &self,
        dataset: &DatasetName,
        from: AsOf,
        to: AsOf,
        key: &[String],
        samples: usize,
    ) -> Result<TableDiff, LakeError> {
        let from = self.version_to_compare(dataset.as_str(), from).await?;
        let to = self.version_to_compare(dataset.as_str(), to).await?;
        let table = self.table(dataset.as_str()).await?;
        self.compare(dataset, Sides { before: (&table, from), after: (&table, to) }, key, samples).await
    }

    /// Compares what a branch began with and what it holds now of one dataset.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`] and [`LakeError::NotOnBranch`]; otherwise as [`Lake::diff`].
    pub async fn diff_branch(
        &self,
        branch: &BranchName,
        dataset: &DatasetName,
        samples: usize,
    ) -> Result<TableDiff, LakeError> {
        let branch = self.branch_with(branch, dataset)?;
        let place = Place { dataset, branch: Some(&branch) };
        let table = self.table(&place.table()).await?;
        let newest = self.sealed_version(&place.table())?.unwrap_or(0);
        self.compare(dataset, Sides { before: (&table, 0), after: (&table, newest) }, &[], samples).await
    }

    async fn version_to_compare(&self, table: &str, as_of: AsOf) -> Result<u64, LakeError> {
        let Some(version) = self.version(table, as_of.clone()).await? else {
            return Err(LakeError::NothingThen { table: table.to_owned(), as_of: as_of.to_string(), todo: "compare" });
        };
        match self.vacuumed(table, version)? {
            Some(vacuumed) => Err(vacuumed),
            None => Ok(version),
        }
    }

    async fn compare(
        &self,
        dataset: &DatasetName,
        sides: Sides<'_>,
        key: &[String],
        samples: usize,
    ) -> Result<TableDiff, LakeError> {
        let spec = self.table_spec(dataset)?.spec;
        let key = if key.is_empty() { spec.contract.key } else { key.to_vec() };
        if key.is_empty() {
            return Err(LakeError::NoKey(dataset.to_string()));
        }
        let session = sorting(&fresh(&self.inner.session));
        let all = self.register(&session, &sides).await?;
        let rows = Rows { key, columns: all };
        let mut diff = rows.count(&session, dataset, (sides.before.1, sides.after.1)).await?;
        if samples > 0 && diff.added + diff.removed + diff.changed > 0 {
            diff.samples = rows.samples(&session, samples).await?;
        }
        diff.moved = rows.moved(&session).await?;
        Ok(diff)
    }

    /// Registers what only one of the versions holds (`before`, `after`) and all that they hold (`all_before`,
    /// `all_after`). Returns the columns of either: name, and on which sides it is.
    async fn register(&self, session: &SessionContext, sides: &Sides<'_>) -> Result<Vec<Column>, LakeError> {
        let (first, last) = (sides.before.0.files(sides.before.1).await?, sides.after.0.files(sides.after.1).await?);
        let mut schemas = Vec::new();
        for (name, (table, version), files, others) in
            [("before", sides.before, &first, &last), ("after", sides.after, &last, &first)]
        {
            let part = table.part_of(session, version, &paths(&missing(files, others))).await?;
            let all: Vec<String> = files.keys().cloned().collect();
            let all = table.part_of(session, version, &all).await?;
            schemas.push(part.schema());
            for (name, provider) in [(name.to_owned(), part), (format!("all_{name}"), all)] {
                session.register_table(TableReference::bare(name), provider).map_err(QueryError::from)?;
            }
        }
        Ok(either(&schemas[0], &schemas[1]))
    }
}

/// A column of one version or of both.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub name: String,
    pub kind: arrow::datatypes::DataType,
    pub before: bool,
    pub after: bool,
}

fn either(before: &SchemaRef, after: &SchemaRef) -> Vec<Column> {
    let column = |field: &Arc<arrow::datatypes::Field>| Column {
        name: field.name().clone(),
        kind: field.data_type().clone(),
        before: before.field_with_name(field.name()).is_ok(),
        after: after.field_with_name(field.name()).is_ok(),
    };
    let gone = before.fields().iter().filter(|field| after.field_with_name(field.name()).is_err());
    after.fields().iter().chain(gone).map(column).collect()
}

/// A session whose joins sort, as sorting spills and hash tables do not.
fn sorting(session: &SessionContext) -> SessionContext {
    session.state_ref().write().config_mut().options_mut().optimizer.prefer_hash_join = false;
    session.clone()
}

/// What rows are compared by, and in.
pub(crate) struct Rows {
    pub key: Vec<String>,
    pub columns: Vec<Column>,
}

impl Rows {
    /// The columns that are not of the key.
    fn others(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| !self.key.contains(&column.name)).collect()
    }

    /// The rows of both sides, paired by key.
    fn paired(&self) -> String {
        let side = |name: &str, has: fn(&Column) -> bool| {
            let selected: Vec<String> = self.columns.iter().map(|column| selected(column, has(column))).collect();
            let sorted: Vec<String> = self.others().into_iter().filter(|c| has(c)).map(|c| quoted(&c.name)).collect();
            let order = if sorted.is_empty() { String::new() } else { format!(" ORDER BY {}", sorted.join(", ")) };
            format!(
                "(SELECT {}, row_number() OVER (PARTITION BY {}{order}) AS \"{NTH}\" FROM {name})",
                selected.join(", "),
                columns(&self.key)
            )
        };
        let same: Vec<String> =
            self.key.iter().map(|key| format!("(b.{0} IS NOT DISTINCT FROM a.{0})", quoted(key))).collect();
        format!(
            "{} AS b FULL OUTER JOIN {} AS a ON {} AND (b.\"{NTH}\" IS NOT DISTINCT FROM a.\"{NTH}\")",
            side("before", |column| column.before),
            side("after", |column| column.after),
            same.join(" AND ")
        )
    }

    fn differs(&self) -> String {
        let each: Vec<String> = self.others().into_iter().map(differs).collect();
        if each.is_empty() { "FALSE".to_owned() } else { each.join(" OR ") }
    }

    async fn count(
        &self,
        session: &SessionContext,
        dataset: &DatasetName,
        (from, to): (u64, u64),
    ) -> Result<TableDiff, LakeError> {
        let both = format!("a.\"{NTH}\" IS NOT NULL AND b.\"{NTH}\" IS NOT NULL");
        let mut counted = vec![
            format!("count(*) FILTER (WHERE b.\"{NTH}\" IS NULL)"),
            format!("count(*) FILTER (WHERE a.\"{NTH}\" IS NULL)"),
            format!("count(*) FILTER (WHERE {both} AND ({}))", self.differs()),
        ];
        let others = self.others();
        counted.extend(others.iter().map(|c| format!("count(*) FILTER (WHERE {both} AND {})", differs(c))));
        let named: Vec<String> = counted.iter().enumerate().map(|(at, sql)| format!("{sql} AS n{at}")).collect();
        let sql = format!("SELECT {} FROM {}", named.join(", "), self.paired());
        let answer = tenon_query::run(session, &sql).await?;
        let number = |at: usize| answer.first().map_or(0, |row| count_of(row, at));
        let mut changed_columns: Vec<(String, u64)> =
            others.iter().enumerate().map(|(at, column)| (column.name.clone(), number(at + 3))).collect();
        changed_columns.retain(|(_, rows)| *rows > 0);
        changed_columns.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        Ok(TableDiff {
            dataset: dataset.clone(),
            from,
            to,
            key: self.key.clone(),
            added: number(0),
            removed: number(1),
            changed: number(2),
            changed_columns,
            samples: Vec::new(),
            moved: Vec::new(),
        })
    }

    async fn samples(&self, session: &SessionContext, most: usize) -> Result<Vec<Sample>, LakeError> {
        let sides: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, c)| format!("b.{0} AS b{at}, a.{0} AS a{at}", quoted(&c.name)))
            .collect();
        let mut samples = Vec::new();
        let order: Vec<String> = self.key.iter().map(|key| format!("coalesce(a.{0}, b.{0})", quoted(key))).collect();
        for (change, when) in [
            ("added", format!("b.\"{NTH}\" IS NULL")),
            ("removed", format!("a.\"{NTH}\" IS NULL")),
            ("changed", format!("a.\"{NTH}\" IS NOT NULL AND b.\"{NTH}\" IS NOT NULL AND ({})", self.differs())),
        ] {
            let sql = format!(
                "SELECT {} FROM {} WHERE {when} ORDER BY {} LIMIT {most}",
                sides.join(", "),
                self.paired(),
                order.join(", ")
            );
            let rows = as_json(&tenon_query::run(session, &sql).await?)?;
            samples.extend(rows.iter().map(|row| self.sample(change, row)));
        }
        Ok(samples)
    }

    fn sample(&self, change: &str, row: &Value) -> Sample {
        let value = |side: &str, at: usize| row.get(format!("{side}{at}")).cloned().unwrap_or_default();
        let mut sample = Sample { change: change.to_owned(), key: Map::new(), before: Map::new(), after: Map::new() };
        for (at, column) in self.columns.iter().enumerate() {
            let (before, after) = (value("b", at), value("a", at));
            if self.key.contains(&column.name) {
                sample.key.insert(column.name.clone(), if after.is_null() { before } else { after });
                continue;
            }
            if change == "removed" || change == "changed" && before != after {
                sample.before.insert(column.name.clone(), before.clone());
            }
            if change == "added" || change == "changed" && before != after {
                sample.after.insert(column.name.clone(), after);
            }
        }
        sample
    }
}

fn selected(column: &Column, is_there: bool) -> String {
    let name = quoted(&column.name);
    if is_there { name } else { format!("NULL AS {name}") }
}

fn differs(column: &Column) -> String {
    // In brackets: the parser takes all that follows for the right side.
    format!("(b.{0} IS DISTINCT FROM a.{0})", quoted(&column.name))
}

/// A count in the first row of an answer.
pub(crate) fn count_of(row: &RecordBatch, column: usize) -> u64 {
    let counts = row.column(column).as_primitive::<Int64Type>();
    if counts.is_empty() || counts.is_null(0) { 0 } else { counts.value(0).unsigned_abs() }
}

/// Rows as JSON objects.
pub(crate) fn as_json(rows: &[RecordBatch]) -> Result<Vec<Value>, LakeError> {
    let failed = |error: String| LakeError::Query(QueryError::Failed(error));
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    rows.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| failed(error.to_string()))?;
    writer.finish().map_err(|error| failed(error.to_string()))?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}
