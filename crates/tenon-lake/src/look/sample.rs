//! Profiles that are quick enough for a page: from a bounded number of rows, and computed once for each version.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use tenon_core::AsOf;
use tenon_query::QueryError;
use tokio::sync::OnceCell;

use crate::delta::files::Files;
use crate::look::profile::profile;
use crate::{Lake, LakeError, Profile};

/// Profiles kept; beyond it all are forgotten.
const MOST_KEPT: usize = 64;

/// What a profile was computed from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    table: String,
    most_rows: u64,
    /// The tables that hold the rows, and their versions.
    versions: Vec<(String, Option<u64>)>,
    views: Vec<(String, String)>,
}

/// Profiles by what they were computed from. Whoever asks for one that is being computed waits for it.
pub(crate) type Profiles = HashMap<Source, Arc<OnceCell<Arc<Profile>>>>;

/// The rows that are looked at.
struct Sample {
    rows: Vec<RecordBatch>,
    /// How many rows there are.
    of: u64,
}

impl Lake {
    /// As [`Lake::profile`], from at most about `most_rows` rows: of a larger table some files are read, chosen by their
    /// names, which say nothing of their rows, and of those every n-th row. The answer is kept for as long as the table stays
    /// at its version.
    ///
    /// # Errors
    /// As [`Lake::query`].
    pub async fn profile_within(&self, table: &str, as_of: AsOf, most_rows: u64) -> Result<Arc<Profile>, LakeError> {
        let views = self.views_of(table)?;
        let mut versions = Vec::new();
        for read in self.tables_of(&crate::sql::all_of(table)).await? {
            let version = self.version(&read, as_of.clone()).await?;
            versions.push((read, version));
        }
        let version = if views.is_empty() { versions.first().and_then(|(_, version)| *version) } else { None };
        let source = Source { table: table.to_owned(), most_rows, versions, views };
        let is_view = !source.views.is_empty();
        let kept = {
            let mut profiles = self.inner.profiles.lock();
            if profiles.len() >= MOST_KEPT && !profiles.contains_key(&source) {
                profiles.clear();
            }
            Arc::clone(profiles.entry(source).or_default())
        };
        let computed = kept.get_or_try_init(|| async {
            let (session, sql) = self.session_of(table, as_of).await?;
            let sample = match version {
                Some(version) => self.sample_of_table(table, version, session, &sql, most_rows).await?,
                None if is_view => sample_of_view(&session, &sql, most_rows).await?,
                None => Sample { rows: rows(&session, &sql, 1).await?, of: 0 },
            };
            self.profile_sample(table, version, sample).await.map(Arc::new)
        });
        computed.await.map(Arc::clone)
    }

    async fn sample_of_table(
        &self,
        table: &str,
        version: u64,
        session: SessionContext,
        sql: &str,
        most_rows: u64,
    ) -> Result<Sample, LakeError> {
        let handle = self.table(table).await?;
        let files = handle.files(version).await?;
        let of: u64 = files.values().map(crate::delta::log::DataFile::rows).sum();
        if of <= most_rows {
            return Ok(Sample { rows: rows(&session, sql, 1).await?, of });
        }
        let (chosen, held) = some(&files, most_rows);
        let session = self.session();
        let part = handle.part_of(&session, version, &chosen).await?;
        session.register_table(TableReference::bare(table), part).map_err(QueryError::from)?;
        Ok(Sample { rows: rows(&session, sql, step(held, most_rows)).await?, of })
    }

    async fn profile_sample(&self, table: &str, version: Option<u64>, sample: Sample) -> Result<Profile, LakeError> {
        const NAME: &str = "__rows";
        let Some(first) = sample.rows.first() else {
            return Ok(Profile {
                table: table.to_owned(),
                version,
                rows: sample.of,
                columns: Vec::new(),
                looked_at: 0,
            });
        };
        let (schema, session) = (first.schema(), self.session());
        let held = tenon_query::memory_table(Arc::clone(&schema), sample.rows)?;
        session.register_table(NAME, held).map_err(QueryError::from)?;
        let told = profile(table, version, &schema, NAME, &session).await?;
        Ok(Profile { rows: sample.of.max(told.rows), ..told })
    }
}

async fn sample_of_view(session: &SessionContext, sql: &str, most_rows: u64) -> Result<Sample, LakeError> {
    let counted = tenon_query::run(session, &format!("SELECT count(*) FROM ({sql})")).await?;
    let of = counted.first().map_or(0, |rows| crate::look::profile::whole(rows.column(0), 0));
    Ok(Sample { rows: rows(session, sql, step(of, most_rows)).await?, of })
}

/// Every how many-th of these rows is looked at.
fn step(rows: u64, most_rows: u64) -> usize {
    usize::try_from(rows.div_ceil(most_rows.max(1))).unwrap_or(usize::MAX).max(1)
}

/// The first files by name that hold `most_rows` rows together, and how many those are.
fn some(files: &Files, most_rows: u64) -> (Vec<String>, u64) {
    let (mut chosen, mut held) = (Vec::new(), 0);
    for (path, file) in files {
        if held >= most_rows {
            break;
        }
        chosen.push(path.clone());
        held += file.rows();
    }
    (chosen, held)
}

/// Every `step`-th row of an answer; a batch without rows where there are none, for its columns.
async fn rows(session: &SessionContext, sql: &str, step: usize) -> Result<Vec<RecordBatch>, LakeError> {
    let mut stream = tenon_query::stream(session, sql).await?;
    let empty = RecordBatch::new_empty(stream.schema());
    let (mut kept, mut seen) = (vec![empty], 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(QueryError::from)?;
        kept.push(match step {
            1 => batch.clone(),
            _ => every(&batch, step, seen)?,
        });
        seen += batch.num_rows();
    }
    Ok(kept)
}

/// The rows of a batch whose number is divisible by `step`, where the first has the number `seen`.
fn every(batch: &RecordBatch, step: usize, seen: usize) -> Result<RecordBatch, LakeError> {
    let first = (step - seen % step) % step;
    let numbers: UInt32Array =
        (first..batch.num_rows()).step_by(step).map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
    let failed = |error: ArrowError| LakeError::Misfit { table: "sample".to_owned(), what: error.to_string() };
    take_record_batch(batch, &numbers).map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn every_nth_row_goes_on_over_the_ends_of_batches() {
        let batch = |from: i64, until: i64| {
            let numbers = Arc::new((from..until).collect::<Int64Array>()) as ArrayRef;
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let mut seen = 0;
        let mut kept: Vec<i64> = Vec::new();
        for batch in [batch(0, 5), batch(5, 6), batch(6, 14)] {
            let some = every(&batch, 4, seen).unwrap();
            kept.extend(some.column(0).as_primitive::<Int64Type>().values());
            seen += batch.num_rows();
        }
        assert_eq!(kept, [0, 4, 8, 12]);
        assert_eq!([step(10, 10), step(11, 10), step(0, 10), step(5, 0)], [1, 2, 1, 5]);
    }
}
