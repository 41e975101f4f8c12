//! How the values of columns are distributed in two versions, and how far they moved.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use serde::Serialize;
use tenon_stats::drift::psi_categorical;

use crate::LakeError;
use crate::sql::quoted;
use crate::versions::diff::{Column, Rows, count_of};

/// Bins of numbers and moments, about equally full in the first version.
const BINS: u32 = 10;
/// So many of the most frequent texts are counted each for itself.
const CATEGORIES: usize = 20;
/// The tables that hold the two versions.
const SIDES: [&str; 2] = ["all_before", "all_after"];

/// How one column moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnMove {
    /// The column.
    pub column: String,
    /// Population stability index of the later version against the earlier, in nats; missing values are a bin of their
    /// own. Common reading: below 0.1 stable, above 0.25 moved. None where one version has no rows.
    pub psi: Option<f64>,
    /// In the earlier version.
    pub before: ColumnFigures,
    /// In the later one.
    pub after: ColumnFigures,
}

/// Figures of one column.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ColumnFigures {
    /// Rows.
    pub rows: u64,
    /// Rows without a value.
    pub missing: u64,
    /// The mean of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
}

impl Rows {
    /// How the columns that both versions have moved, most first. Texts of the key name rows, and are left out.
    pub(crate) async fn moved(&self, session: &SessionContext) -> Result<Vec<ColumnMove>, LakeError> {
        let both: Vec<&Column> = self.columns.iter().filter(|column| column.before && column.after).collect();
        let numbers: Vec<&Column> = both.iter().copied().filter(|column| is_number(&column.kind)).collect();
        let mut moved = moved_numbers(session, &numbers).await?;
        for column in both {
            if matches!(column.kind, DataType::Utf8 | DataType::Boolean) && !self.key.contains(&column.name) {
                moved.push(moved_categories(session, column).await?);
            }
        }
        moved.sort_by(|one, other| other.psi.partial_cmp(&one.psi).unwrap_or(std::cmp::Ordering::Equal));
        Ok(moved)
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || matches!(kind, DataType::Timestamp(..) | DataType::Date32)
}

/// A number, or a moment as one.
fn as_number(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind {
        DataType::Timestamp(..) => format!("CAST(CAST({name} AS BIGINT) AS DOUBLE)"),
        DataType::Date32 => format!("CAST(CAST({name} AS INT) AS DOUBLE)"),
        _ => format!("CAST({name} AS DOUBLE)"),
    }
}

async fn moved_numbers(session: &SessionContext, numbers: &[&Column]) -> Result<Vec<ColumnMove>, LakeError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let every_edges = edges(session, numbers).await?;
    let mut sides = Vec::new();
    for side in SIDES {
        let mut asked = vec!["count(*)".to_owned()];
        for (column, edges) in numbers.iter().zip(&every_edges) {
            let number = as_number(column);
            asked.push(format!("count(*) FILTER (WHERE {number} IS NULL)"));
            asked.extend(edges.iter().map(|edge| format!("count(*) FILTER (WHERE {number} <= {edge:e})")));
        }
        let means: Vec<String> = numbers.iter().map(|column| format!("avg({})", as_number(column))).collect();
        let columns: Vec<String> =
            asked.iter().chain(&means).enumerate().map(|(at, sql)| format!("{sql} AS c{at}")).collect();
        let answer = tenon_query::run(session, &format!("SELECT {} FROM {side}", columns.join(", "))).await?;
        sides.push((answer, asked.len()));
    }
    let mut at = 1;
    let mut moved = Vec::new();
    for (nth, (column, edges)) in numbers.iter().zip(&every_edges).enumerate() {
        let side = |(answer, asked): &(Vec<RecordBatch>, usize)| {
            let Some(row) = answer.first() else { return (Vec::new(), ColumnFigures::default()) };
            let (rows, missing) = (count_of(row, 0), count_of(row, at));
            let is_moment = !column.kind.is_numeric();
            let mean = if is_moment { None } else { float_of(row, asked + nth) };
            (bins(row, at, edges.len(), rows, missing), ColumnFigures { rows, missing, mean })
        };
        let (before, after) = (side(&sides[0]), side(&sides[1]));
        moved.push(ColumnMove {
            column: column.name.clone(),
            psi: psi_categorical(&before.0, &after.0).ok().map(|psi| psi.value),
            before: before.1,
            after: after.1,
        });
        at += 1 + edges.len();
    }
    Ok(moved)
}

/// Rows in each bin, and those without a value, from counts of rows up to each edge.
fn bins(row: &RecordBatch, at: usize, edges: usize, rows: u64, missing: u64) -> Vec<u64> {
    let mut up_to: Vec<u64> = (0..edges).map(|edge| count_of(row, at + 1 + edge)).collect();
    up_to.push(rows - missing);
    let mut bins = Vec::with_capacity(edges + 2);
    let mut below = 0;
    for count in up_to {
        bins.push(count.saturating_sub(below));
        below = count;
    }
    bins.push(missing);
    bins
}

/// Edges of about equally full bins in the earlier version, strictly increasing.
async fn edges(session: &SessionContext, numbers: &[&Column]) -> Result<Vec<Vec<f64>>, LakeError> {
    let mut asked = Vec::new();
    for column in numbers {
        let shares = (1..BINS).map(|bin| f64::from(bin) / f64::from(BINS));
        asked.extend(
            shares
                .map(|share| format!("approx_percentile_cont({share}) WITHIN GROUP (ORDER BY {})", as_number(column))),
        );
    }
    let columns: Vec<String> = asked.iter().enumerate().map(|(at, sql)| format!("{sql} AS q{at}")).collect();
    let sql = format!("SELECT {} FROM {}", columns.join(", "), SIDES[0]);
    let answer = tenon_query::run(session, &sql).await?;
    let a_column = BINS as usize - 1;
    let edges = (0..numbers.len()).map(|column| {
        let values = (0..a_column).filter_map(|bin| float_of(answer.first()?, column * a_column + bin));
        let mut edges: Vec<f64> = values.filter(|edge| edge.is_finite()).collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges
    });
    Ok(edges.collect())
}

/// Texts and truths: the most frequent values of the earlier version each for itself, and all others together.
async fn moved_categories(session: &SessionContext, column: &Column) -> Result<ColumnMove, LakeError> {
    let name = quoted(&column.name);
    let [before, after] = SIDES;
    let sql = format!(
        "SELECT sum(b) AS b, sum(a) AS a FROM (\
         SELECT {name} AS v, count(*) AS b, 0 AS a FROM {before} WHERE {name} IS NOT NULL GROUP BY 1 \
         UNION ALL SELECT {name}, 0, count(*) FROM {after} WHERE {name} IS NOT NULL GROUP BY 1) \
         GROUP BY v ORDER BY b DESC, a DESC, v LIMIT {CATEGORIES}"
    );
    let mut counts = [Vec::new(), Vec::new()];
    for batch in tenon_query::run(session, &sql).await? {
        for row in 0..batch.num_rows() {
            let row = batch.slice(row, 1);
            counts[0].push(count_of(&row, 0));
            counts[1].push(count_of(&row, 1));
        }
    }
    let mut figures = [ColumnFigures::default(), ColumnFigures::default()];
    for (side, table) in SIDES.into_iter().enumerate() {
        let sql = format!("SELECT count(*) AS n, count({name}) AS there FROM {table}");
        let answer = tenon_query::run(session, &sql).await?;
        let Some(row) = answer.first() else { continue };
        let (rows, there) = (count_of(row, 0), count_of(row, 1));
        let counted: u64 = counts[side].iter().sum();
        counts[side].extend([there.saturating_sub(counted), rows - there]);
        figures[side] = ColumnFigures { rows, missing: rows - there, mean: None };
    }
    let psi = psi_categorical(&counts[0], &counts[1]).ok().map(|psi| psi.value);
    let [before, after] = figures;
    Ok(ColumnMove { column: column.name.clone(), psi, before, after })
}

/// A number in the first row of an answer.
fn float_of(row: &RecordBatch, column: usize) -> Option<f64> {
    let number = cast(row.column(column), &DataType::Float64).ok()?;
    let number = number.as_primitive::<Float64Type>();
    (!number.is_empty() && number.is_valid(0)).then(|| number.value(0))
}
