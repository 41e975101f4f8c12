//! What a table holds, column by column: how many values, which, and how they are spread.
//!
//! Distinct values are counted with HyperLogLog and quantiles with a t-digest, so that memory does not grow with the table.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::SessionContext;
use serde::Serialize;
use tenon_core::AsOf;

use crate::{Lake, LakeError};

/// Bars of a histogram.
const BARS: u32 = 16;
/// The most frequent values that are named.
const TOP: usize = 13;
/// With more distinct values than this, the most frequent ones say little and cost much.
const MOST_FOR_TOP: u64 = 100_000;
/// The quantiles that are told.
const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// A table at one version, in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The table.
    pub table: String,
    /// Its version; none before its first.
    pub version: Option<u64>,
    /// Its rows.
    pub rows: u64,
    /// Its columns, in order.
    pub columns: Vec<ColumnProfile>,
    /// The rows that the columns' figures were computed from; fewer than `rows` where a sample had to do.
    pub looked_at: u64,
}

/// A column, in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type: `Int64`, `Utf8`.
    pub data_type: String,
    /// Rows without a value.
    pub nulls: u64,
    /// About how many different values there are.
    pub distinct: u64,
    /// The least value, as text.
    pub least: Option<String>,
    /// The greatest value, as text.
    pub greatest: Option<String>,
    /// The mean of numbers.
    pub mean: Option<f64>,
    /// About where 5%, 25%, 50%, 75% and 95% of the numbers lie below.
    pub quantiles: Option<[f64; 5]>,
    /// The most frequent values and their counts.
    pub top: Vec<(String, u64)>,
    /// Counts of numbers and moments in bars of equal width from the least to the greatest.
    pub histogram: Vec<u64>,
}

impl Lake {
    /// A dataset, its quarantine or a table of the program, in figures.
    ///
    /// # Errors
    /// As [`Lake::query`].
    pub async fn profile(&self, table: &str, as_of: AsOf) -> Result<Profile, LakeError> {
        let (session, sql) = self.session_of(table, as_of.clone()).await?;
        let schema = tenon_query::schema(&session, &sql).await?;
        let from = format!("\"{}\"", table.replace('"', "\"\""));
        let version = match self.version(table, as_of.clone()).await {
            Ok(version) => version,
            // A view has no versions of its own.
            Err(LakeError::NoVersion { .. } | LakeError::NotTagged { .. } | LakeError::Query(_)) => None,
            Err(error) => return Err(error),
        };
        profile(table, version, &schema, &from, &session).await
    }

    /// Rows that are in no table, in figures.
    ///
    /// # Errors
    /// As [`Lake::query`].
    pub async fn profile_rows(&self, name: &str, rows: RecordBatch) -> Result<Profile, LakeError> {
        let (schema, session) = (rows.schema(), self.session());
        let table = tenon_query::memory_table(rows.schema(), vec![rows])?;
        session.register_table("__rows", table).map_err(tenon_query::QueryError::from)?;
        profile(name, None, &schema, "\"__rows\"", &session).await
    }
}

pub(crate) async fn profile(
    table: &str,
    version: Option<u64>,
    schema: &SchemaRef,
    from: &str,
    session: &SessionContext,
) -> Result<Profile, LakeError> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    let counted = tenon_query::run(session, &format!("SELECT count(*) FROM {from}")).await?;
    let rows = counted.first().map_or(0, |rows| whole(rows.column(0), 0));
    for field in schema.fields().iter().filter(|field| !field.data_type().is_nested()) {
        let column = format!("\"{}\"", field.name().replace('"', "\"\""));
        let kind = field.data_type();
        let number = match kind {
            kind if kind.is_numeric() => Some(format!("CAST({column} AS DOUBLE)")),
            DataType::Timestamp(..) => Some(format!("CAST(arrow_cast({column}, 'Int64') AS DOUBLE)")),
            DataType::Date32 => Some(format!("CAST(arrow_cast({column}, 'Int32') AS DOUBLE)")),
            _ => None,
        };
        // DataFusion does not sketch numbers with fractions; as texts they are as different.
        let distinct = if kind.is_floating() { "CAST(v AS VARCHAR)" } else { "v" };
        let mut wanted = format!("count(v), approx_distinct({distinct}), min(v), max(v)");
        if number.is_some() {
            wanted.push_str(", avg(x), min(x), max(x)");
            for share in QUANTILES {
                wanted.push_str(&format!(", approx_percentile_cont({share}) WITHIN GROUP (ORDER BY x)"));
            }
        }
        // Two names, because DataFusion calls the least of a column and the least of its cast the same.
        let x = number.as_ref().map_or_else(String::new, |number| format!(", {number} AS x"));
        let sql = format!("SELECT {wanted} FROM (SELECT {column} AS v{x} FROM {from})");
        let told = tenon_query::run(session, &sql).await?;
        let Some(told) = told.first().filter(|told| told.num_rows() > 0) else { continue };
        let text = |at: usize| {
            let column = told.column(at);
            column.is_valid(0).then(|| array_value_to_string(column, 0).ok()).flatten()
        };
        let real = |at: usize| real(told.column(at), 0);
        let distinct = whole(told.column(1), 0);
        let is_number = kind.is_numeric();
        let mut this = ColumnProfile {
            name: field.name().clone(),
            data_type: kind.to_string(),
            nulls: rows - whole(told.column(0), 0).min(rows),
            distinct,
            least: text(2),
            greatest: text(3),
            mean: number.as_ref().filter(|_| is_number).and_then(|_| real(4)),
            quantiles: None,
            top: Vec::new(),
            histogram: Vec::new(),
        };
        if let Some(number) = &number {
            let quantiles: Vec<f64> = (7..12).filter_map(real).collect();
            this.quantiles = quantiles.try_into().ok().filter(|_| is_number);
            if let (Some(low), Some(high)) = (real(5), real(6)) {
                this.histogram = histogram(session, from, number, low, high).await?;
            }
        }
        if distinct <= MOST_FOR_TOP {
            this.top = top(session, from, &column).await?;
        }
        columns.push(this);
    }
    Ok(Profile { table: table.to_owned(), version, rows, columns, looked_at: rows })
}

/// Counts in bars of equal width.
async fn histogram(
    session: &SessionContext,
    from: &str,
    number: &str,
    low: f64,
    high: f64,
) -> Result<Vec<u64>, LakeError> {
    if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
        return Ok(Vec::new());
    }
    let width = (high - low) / f64::from(BARS);
    let bar = format!("least(CAST(floor((x - ({low:e})) / ({width:e})) AS BIGINT), {})", BARS - 1);
    // A name of ours alone in what is asked: the table's columns may have any.
    let sql = format!(
        "SELECT {bar}, count(*) FROM (SELECT {number} AS x FROM {from}) WHERE x BETWEEN ({low:e}) AND ({high:e}) GROUP BY 1"
    );
    let mut bars = vec![0; BARS as usize];
    for rows in tenon_query::run(session, &sql).await? {
        for row in 0..rows.num_rows() {
            if let Some(bar) = bars.get_mut(usize::try_from(whole(rows.column(0), row)).unwrap_or(usize::MAX)) {
                *bar += whole(rows.column(1), row);
            }
        }
    }
    Ok(bars)
}

/// The most frequent values.
async fn top(session: &SessionContext, from: &str, column: &str) -> Result<Vec<(String, u64)>, LakeError> {
    let sql = format!(
        "SELECT v, count(*) AS n FROM (SELECT {column} AS v FROM {from}) WHERE v IS NOT NULL GROUP BY v ORDER BY n DESC, v LIMIT {TOP}"
    );
    let mut top = Vec::new();
    for rows in tenon_query::run(session, &sql).await? {
        for row in 0..rows.num_rows() {
            top.push((array_value_to_string(rows.column(0), row).unwrap_or_default(), whole(rows.column(1), row)));
        }
    }
    Ok(top)
}

pub(crate) fn whole(column: &ArrayRef, row: usize) -> u64 {
    let column = cast(column, &DataType::Int64).ok();
    let value = column.as_ref().and_then(|column| {
        let column = column.as_primitive_opt::<Int64Type>()?;
        (row < column.len() && column.is_valid(row)).then(|| column.value(row))
    });
    value.map_or(0, |value| value.max(0) as u64)
}

fn real(column: &ArrayRef, row: usize) -> Option<f64> {
    let column = cast(column, &DataType::Float64).ok()?;
    let column = column.as_primitive_opt::<Float64Type>()?;
    (row < column.len() && column.is_valid(row)).then(|| column.value(row)).filter(|value| value.is_finite())
}
