//! The rows of a quarantine as people look at them: newest first, with what became of each.

use std::fmt;
use std::str::FromStr;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde::Serialize;
use tenon_core::{AsOf, DatasetName, Timestamp};

use crate::{Lake, LakeError, quarantine_of};

/// What became of a quarantined row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// Nobody has decided about it.
    Open,
    /// It landed.
    Released,
    /// It never will.
    Discarded,
}

impl Resolution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Released, Self::Discarded];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Released => "released",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|resolution| resolution.word() == text);
        known.ok_or_else(|| format!("`{text}` is no state of a quarantined row: it is open, released or discarded"))
    }
}

/// A quarantined row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuarantinedRow {
    /// When it was set aside.
    pub at: Timestamp,
    /// Where it came from.
    pub source: String,
    /// Its place in its batch, from 0.
    pub row_number: i64,
    /// Why it was set aside.
    pub reason: String,
    /// The row as it came, as JSON; cut where it is longer than was asked for.
    pub row: String,
    /// Whether `row` was cut.
    pub cut: bool,
    /// What became of it.
    pub resolution: Resolution,
    /// When that was decided.
    pub resolved_at: Option<Timestamp>,
}

/// How many rows of a quarantine are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct QuarantineSums {
    /// Nobody has decided about them.
    pub open: u64,
    /// They landed.
    pub released: u64,
    /// They never will.
    pub discarded: u64,
}

impl QuarantineSums {
    /// All of them.
    pub fn all(self) -> u64 {
        self.open + self.released + self.discarded
    }
}

impl Lake {
    /// The newest rows of a dataset's quarantine, those in one state or all; of each at most `most_chars` of the row itself.
    ///
    /// # Errors
    /// [`LakeError::NoDataset`], [`LakeError::View`], and as for reading.
    pub async fn quarantined_rows(
        &self,
        dataset: &DatasetName,
        state: Option<Resolution>,
        limit: usize,
        most_chars: usize,
    ) -> Result<Vec<QuarantinedRow>, LakeError> {
        let all = self.with_resolutions(dataset).await?;
        let wanted = state.map_or_else(String::new, |state| format!(" WHERE state = '{state}'"));
        let sql = format!(
            "SELECT _quarantined_at, _source, _row_number, _reason, left(_row, {most_chars}) AS row, \
             character_length(_row) > {most_chars} AS cut, state, resolved_at FROM ({all}){wanted} \
             ORDER BY _quarantined_at DESC, _source DESC, _row_number DESC LIMIT {limit}"
        );
        let batches = self.query(&sql, AsOf::Latest).await?;
        Ok(batches.iter().flat_map(decoded).collect())
    }

    /// How many rows of a dataset's quarantine are in which state.
    ///
    /// # Errors
    /// As [`Lake::quarantined_rows`].
    pub async fn quarantine_sums(&self, dataset: &DatasetName) -> Result<QuarantineSums, LakeError> {
        let all = self.with_resolutions(dataset).await?;
        let mut sums = QuarantineSums::default();
        for batch in self.query(&format!("SELECT state, count(*) FROM ({all}) GROUP BY 1"), AsOf::Latest).await? {
            let (states, rows) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let of = match states.value(row).parse() {
                    Ok(Resolution::Released) => &mut sums.released,
                    Ok(Resolution::Discarded) => &mut sums.discarded,
                    _ => &mut sums.open,
                };
                *of += rows.value(row).max(0) as u64;
            }
        }
        Ok(sums)
    }

    /// A query for all rows of a quarantine, whatever version of the program wrote them.
    async fn with_resolutions(&self, dataset: &DatasetName) -> Result<String, LakeError> {
        self.table_spec(dataset)?;
        let name = quarantine_of(dataset.as_str());
        let held = self.table(&name).await?.head.lock().await.schema.clone();
        let is_marked = held.is_none_or(|held| held.field_with_name("_resolution").is_ok());
        let states = match is_marked {
            true => "coalesce(_resolution, 'open') AS state, _resolved_at AS resolved_at",
            false => "'open' AS state, arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS resolved_at",
        };
        Ok(format!("SELECT _quarantined_at, _source, _row_number, _reason, _row, {states} FROM \"{name}\""))
    }
}

fn decoded(batch: &RecordBatch) -> impl Iterator<Item = QuarantinedRow> {
    let text = |at: usize, row: usize| batch.column(at).as_string::<i32>().value(row).to_owned();
    let moment = |at: usize, row: usize| {
        let column = batch.column(at).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| Timestamp::from_micros(column.value(row)))
    };
    (0..batch.num_rows()).map(move |row| QuarantinedRow {
        at: moment(0, row).unwrap_or(Timestamp::from_micros(0)),
        source: text(1, row),
        row_number: batch.column(2).as_primitive::<Int64Type>().value(row),
        reason: text(3, row),
        row: text(4, row),
        cut: batch.column(5).as_boolean().value(row),
        resolution: text(6, row).parse().unwrap_or(Resolution::Open),
        resolved_at: moment(7, row),
    })
}
