//! What has landed in a dataset so far, or on a branch of it, as far as the next batch is held against it: the latest event,
//! and the keys of the rows near it. It is read from the table itself, so that a restart knows what the last run knew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::compute::kernels::aggregate::max;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use tenon_core::spec::{ColumnType, DatasetSpec};
use tenon_core::{AsOf, DatasetName, Timestamp};

use crate::contract::arrow_type;
use crate::delta::log::utc;
use crate::landing::place::Place;
use crate::{Lake, LakeError, sql};

/// What has landed in one dataset.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    /// The declaration that it was read for.
    spec: Option<DatasetSpec>,
    /// The version of the table that it was read from.
    version: Option<u64>,
    /// The latest event.
    newest: Option<i64>,
    /// When the batch under way came. An event that lies after it moves nothing: one wrong clock must not make all others
    /// late, nor let keys be forgotten.
    now: Option<Timestamp>,
    /// When the row of a key happened; keys near the latest event only.
    keys: HashMap<Box<[u8]>, i64>,
    /// How many keys were left when old ones were last forgotten.
    kept: usize,
    /// Keys that the batch under way has taken.
    taken: HashSet<Box<[u8]>>,
    /// Whether the batch under way may be as late as it likes.
    excused: bool,
}

/// Keys are forgotten when there are so many, and twice as many as when they were last forgotten.
const FEW_KEYS: usize = 65_536;

impl Landed {
    /// The moment before which an event is too late.
    pub(crate) fn watermark(&self) -> Option<Timestamp> {
        let late = self.spec.as_ref()?.late.as_ref().filter(|_| !self.excused)?;
        Some(self.newest_by_now()? - late.allowed)
    }

    /// The latest event, or now where that is earlier.
    fn newest_by_now(&self) -> Option<Timestamp> {
        let newest = self.newest.map(Timestamp::from_micros)?;
        Some(self.now.map_or(newest, |now| newest.min(now)))
    }

    /// Begins a batch that came at a moment.
    pub(crate) fn begin_batch(&mut self, now: Timestamp) {
        (self.now, self.excused) = (Some(now), false);
        self.taken.clear();
    }

    /// Lets the batch under way be as late as it likes: somebody has decided about its rows.
    pub(crate) fn excuse(&mut self) {
        self.excused = true;
    }

    pub(crate) fn dedups(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.dedup.is_some())
    }

    /// Set where a row that is not in `out` has a key that has landed, or that an earlier row of the batch has.
    pub(crate) fn repeated(
        &mut self,
        rows: &RecordBatch,
        key: &[usize],
        out: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer, ArrowError> {
        let columns: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(rows.column(*at))).collect();
        let keys = encoded(&columns)?;
        let mut repeated = vec![false; rows.num_rows()];
        for (row, repeated) in repeated.iter_mut().enumerate() {
            if out.is_some_and(|out| out.value(row)) {
                continue;
            }
            let key = keys.row(row);
            *repeated = self.keys.contains_key(key.as_ref()) || self.taken.contains(key.as_ref());
            if !*repeated {
                self.taken.insert(key.as_ref().into());
            }
        }
        Ok(repeated.into())
    }

    /// What batches are held against that come once more, one after the other: nothing but the latest event that had landed
    /// before. None where a declaration asks for nothing of it.
    pub(crate) fn begin(spec: &DatasetSpec, newest: Option<Timestamp>) -> Option<Self> {
        let newest = newest.map(Timestamp::as_micros);
        columns(spec).map(|_| Self { spec: Some(spec.clone()), newest, ..Self::default() })
    }

    /// Takes note of a batch that has landed now, in the table's schema.
    pub(crate) fn took(&mut self, rows: &[RecordBatch]) -> Result<(), ArrowError> {
        let rows = rows.iter().map(|rows| self.of_note(rows)).collect::<Result<Vec<_>, _>>()?;
        self.note(&rows)?;
        self.forget();
        Ok(())
    }

    /// Takes note of the keys of rows that have landed, in the table's schema, and not of when they happened.
    pub(crate) fn remember(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let rows = self.of_note(rows)?;
        self.note_keys(&rows).map(drop)
    }

    /// The columns that are taken note of.
    fn of_note(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let names = self.spec.as_ref().and_then(columns).unwrap_or_default();
        let places = names.iter().map(|name| rows.schema_ref().index_of(name)).collect::<Result<Vec<_>, _>>()?;
        rows.project(&places)
    }

    /// Takes note of rows that are in the table: the key's columns, then the event's.
    fn note(&mut self, rows: &[RecordBatch]) -> Result<(), ArrowError> {
        for batch in rows {
            let events = self.note_keys(batch)?;
            self.newest = self.newest.max(max(&events));
        }
        if self.keys.len() > FEW_KEYS.max(2 * self.kept) {
            self.forget();
        }
        Ok(())
    }

    /// Takes note of the keys of rows; returns when these happened.
    fn note_keys(&mut self, batch: &RecordBatch) -> Result<TimestampMicrosecondArray, ArrowError> {
        let events = moments(batch.column(batch.num_columns() - 1))?;
        if self.dedups() {
            let keys = encoded(&batch.columns()[..batch.num_columns() - 1])?;
            for row in (0..batch.num_rows()).filter(|row| events.is_valid(*row)) {
                let known = self.keys.entry(keys.row(row).as_ref().into()).or_insert(i64::MIN);
                *known = (*known).max(events.value(row));
            }
        }
        Ok(events)
    }

    fn forget(&mut self) {
        let within = self.spec.as_ref().and_then(|spec| spec.dedup.as_ref()).map(|dedup| dedup.within);
        if let (Some(within), Some(newest)) = (within, self.newest_by_now()) {
            let oldest = (newest - within).as_micros();
            self.keys.retain(|_, event| *event >= oldest);
        }
        self.kept = self.keys.len();
    }
}

impl Lake {
    /// What has landed in a place that must know it, up to date, and locked until the batch has landed as well; none where
    /// the dataset's declaration asks for nothing of it.
    pub(crate) async fn landed(
        &self,
        place: &Place<'_>,
    ) -> Result<Option<tokio::sync::OwnedMutexGuard<Landed>>, LakeError> {
        let spec = self.table_spec(place.dataset)?.spec;
        let Some(columns) = columns(&spec) else { return Ok(None) };
        let table = place.table();
        let slot = Arc::clone(self.inner.landed.lock().entry(table.clone()).or_default());
        let mut landed = slot.lock_owned().await;
        if landed.spec.as_ref() != Some(&spec) {
            *landed = Landed { spec: Some(spec.clone()), ..Landed::default() };
        }
        landed.begin_batch(self.inner.clock.now());
        let newest = self.sealed_version(&table)?;
        if landed.version == newest {
            return Ok(Some(landed));
        }
        let rows = self.landed_rows(place, &columns, &spec, landed.version).await?;
        landed.note(&rows).map_err(|error| LakeError::contract(place.dataset.as_str(), error.to_string()))?;
        landed.version = newest;
        landed.forget();
        Ok(Some(landed))
    }

    /// Forgets what has landed in a dataset from which rows went; it is read again when it is needed. Waits for the batch
    /// under way, so that no table may be locked.
    pub(crate) async fn forget_landed(&self, dataset: &DatasetName) {
        let slot = self.inner.landed.lock().get(dataset.as_str()).cloned();
        if let Some(slot) = slot {
            *slot.lock().await = Landed::default();
        }
    }

    /// Rows that came after `version`, or all that matter where nothing is known yet.
    async fn landed_rows(
        &self,
        place: &Place<'_>,
        columns: &[String],
        spec: &DatasetSpec,
        version: Option<u64>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let (dataset, table) = (place.dataset, place.table());
        let event = columns.last().map_or("", String::as_str);
        let mut sql = format!("SELECT {} FROM \"{dataset}\"", sql::columns(columns));
        let newest = self.sealed_version(&table)?;
        if let (Some(version), Some(newest)) = (version, newest)
            && newest > version
            && newest - version <= FEW_VERSIONS
        {
            let mut rows = Vec::new();
            for version in version + 1..=newest {
                rows.extend(self.added_in_order(&table, version, columns).await?);
            }
            return Ok(rows);
        }
        if let Some(dedup) = &spec.dedup {
            // A day more than asked for, so that no rounding of the window's start matters.
            let hours = dedup.within.as_secs_f64() / 3_600.0 + 24.0;
            let (now, hours) = (self.inner.clock.now(), hours.ceil());
            sql.push_str(&format!(
                " WHERE \"{event}\" >= (SELECT max(\"{event}\") FROM \"{dataset}\") - INTERVAL '{hours} hours' \
                 OR \"{event}\" >= TIMESTAMP '{now}' - INTERVAL '{hours} hours'"
            ));
        } else {
            sql = format!("SELECT max(\"{event}\") FROM \"{dataset}\"");
        }
        self.query_in(place.branch, &sql, AsOf::Latest, crate::read::Runs::Here).await
    }

    /// What a version added, with its columns as they are asked for.
    async fn added_in_order(
        &self,
        table: &str,
        version: u64,
        columns: &[String],
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let rows = self.added(table, version, &names).await?;
        let ordered = |batch: RecordBatch| {
            let places = names.iter().map(|name| batch.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
            batch.project(&places)
        };
        let misfit = |error: ArrowError| LakeError::Misfit { table: table.to_owned(), what: error.to_string() };
        rows.into_iter().map(|batch| ordered(batch).map_err(misfit)).collect()
    }
}

/// The columns that a declaration asks to take note of: the key's where rows are left out by it, then the event's. None
/// where it looks back at nothing.
fn columns(spec: &DatasetSpec) -> Option<Vec<String>> {
    let event = spec.event_time.clone().filter(|_| spec.late.is_some() || spec.dedup.is_some())?;
    let key = if spec.dedup.is_some() { spec.contract.key.clone() } else { Vec::new() };
    Some(key.into_iter().chain([event]).collect())
}

/// Above so many new versions a table is read with one query.
const FEW_VERSIONS: u64 = 64;

/// Keys as bytes that are equal where the keys are.
fn encoded(columns: &[ArrayRef]) -> Result<arrow::row::Rows, ArrowError> {
    let columns: Vec<ArrayRef> = columns.iter().map(plain).collect::<Result<_, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    RowConverter::new(fields)?.convert_columns(&columns)
}

/// The same values in the type that a contract would give them, whatever a query made of them.
fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use arrow::datatypes::DataType::{LargeUtf8, Utf8View};
    match column.data_type() {
        LargeUtf8 | Utf8View => cast(column, &arrow_type(ColumnType::String)),
        _ => Ok(Arc::clone(column)),
    }
}

fn moments(column: &ArrayRef) -> Result<TimestampMicrosecondArray, ArrowError> {
    Ok(cast(column, &utc())?.as_primitive::<TimestampMicrosecondType>().clone())
}
