//! The online store's file: what is committed, with the cursor, in one redb database.
//!
//! Rows are appended in chunks, one for each view and flush; a chunk goes when all of its rows are too old, and many small
//! ones are merged into one. A flush is one transaction: chunks and cursors are written together or not at all.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use tenon_core::Digest;
use tenon_query::point_in_time::SourceRows;

use crate::FeatureError;

const VIEWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("views_v1");
const CHUNKS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("chunks_v1");

/// More chunks of one view than this are merged.
const MANY_CHUNKS: usize = 64;

/// The database takes little memory of its own: rows are read from it once, when it is opened.
const CACHE_BYTES: usize = 8 << 20;

/// What the file says about a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewRecord {
    /// The digest of the view's declaration. Rows of another are of no use.
    pub definition: Digest,
    /// The version of the dataset's table up to which every row is in.
    pub applied: Option<u64>,
    /// The newest event, in microseconds.
    pub newest: i64,
    /// When the first of all rows was known, in microseconds; the greatest number: there are none.
    pub began: i64,
    /// Every row whose event is at or after this moment is in, in microseconds.
    pub horizon: i64,
}

/// What a flush writes for one view.
pub(crate) struct ViewWrite {
    pub view: String,
    pub record: ViewRecord,
    pub rows: SourceRows,
    pub replace: bool,
}

pub(crate) struct OnlineFile {
    path: PathBuf,
    database: Database,
}

impl OnlineFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FeatureError> {
        let file = |source: redb::Error| FeatureError::File { path: path.to_owned(), source: Box::new(source) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| file(redb::Error::Io(error)))?;
        }
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create(path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(FeatureError::InUse(path.to_owned())),
            Err(error) => return Err(file(error.into())),
        };
        Ok(Self { path: path.to_owned(), database })
    }

    /// What is stored of a view: its record and its rows.
    pub(crate) fn load(&self, view: &str) -> Result<Option<(ViewRecord, Vec<SourceRows>)>, FeatureError> {
        self.try_load(view).map_err(|error| self.failed(error))
    }

    /// Writes in one transaction, and forgets views that are not named in `known`, where that is given.
    pub(crate) fn write(&self, writes: &[ViewWrite], known: Option<&[String]>) -> Result<(), FeatureError> {
        self.try_write(writes, known).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: redb::Error) -> FeatureError {
        FeatureError::File { path: self.path.clone(), source: Box::new(source) }
    }

    fn try_load(&self, view: &str) -> Result<Option<(ViewRecord, Vec<SourceRows>)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let views = match transaction.open_table(VIEWS) {
            Ok(views) => views,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record = views.get(view)?.and_then(|record| serde_json::from_slice(record.value()).ok());
        let Some(record) = record else { return Ok(None) };
        let chunks = transaction.open_table(CHUNKS)?;
        let mut rows = Vec::new();
        for chunk in chunks.range((view, 0)..=(view, u64::MAX))? {
            let (_, bytes) = chunk?;
            match read_chunk(bytes.value()) {
                Some((_, chunk)) => rows.push(chunk),
                None => return Ok(None),
            }
        }
        Ok(Some((record, rows)))
    }

    fn try_write(&self, writes: &[ViewWrite], known: Option<&[String]>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut views = transaction.open_table(VIEWS)?;
            let mut chunks = transaction.open_table(CHUNKS)?;
            for write in writes {
                let record = serde_json::to_vec(&write.record).map_err(std::io::Error::from)?;
                views.insert(write.view.as_str(), record.as_slice())?;
                write_chunks(&mut chunks, write)?;
            }
            let mut gone = Vec::new();
            for entry in views.iter()? {
                let name = entry?.0.value().to_owned();
                if known.is_some_and(|known| !known.contains(&name)) {
                    gone.push(name);
                }
            }
            for name in gone {
                views.remove(name.as_str())?;
                chunks.retain_in((name.as_str(), 0)..=(name.as_str(), u64::MAX), |_, _| false)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn write_chunks(chunks: &mut Table<'_, (&str, u64), &[u8]>, write: &ViewWrite) -> Result<(), redb::Error> {
    let view = write.view.as_str();
    let range = || (view, 0)..=(view, u64::MAX);
    let is_old = |bytes: &[u8]| write.replace || newest_of(bytes).is_none_or(|newest| newest < write.record.horizon);
    chunks.retain_in(range(), |_, bytes| !is_old(bytes))?;
    let mut rows = SourceRows::default();
    let kept = |rows: &SourceRows, row: usize| rows.events()[row] >= write.record.horizon;
    if chunks.range(range())?.count() >= MANY_CHUNKS {
        for chunk in chunks.range(range())? {
            if let Some((_, chunk)) = read_chunk(chunk?.1.value()) {
                rows.extend(&chunk, |row| kept(&chunk, row));
            }
        }
        chunks.retain_in(range(), |_, _| false)?;
    }
    rows.extend(&write.rows, |row| kept(&write.rows, row));
    if let Some(newest) = rows.events().iter().max() {
        let next = chunks.range(range())?.next_back().transpose()?.map_or(0, |(key, _)| key.value().1 + 1);
        let mut bytes = newest.to_le_bytes().to_vec();
        bytes.extend_from_slice(&rows.to_bytes());
        chunks.insert((view, next), bytes.as_slice())?;
    }
    Ok(())
}

/// A chunk is the moment of its newest event, then its rows.
fn read_chunk(bytes: &[u8]) -> Option<(i64, SourceRows)> {
    let (newest, rows) = bytes.split_first_chunk()?;
    Some((i64::from_le_bytes(*newest), SourceRows::from_bytes(rows)?))
}

fn newest_of(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk().map(|newest| i64::from_le_bytes(*newest))
}
