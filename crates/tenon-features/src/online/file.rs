//! The online store's file: what is committed, with the cursor, in one redb database.
//!
//! Rows are appended in chunks, one for each view and flush; a chunk goes when all of its rows are too old, and many small
//! ones are merged into one. A row is too old when it was known before the view's horizon: then it is forgotten, or in the past of
//! its entity. A flush is one transaction: chunks, pasts and cursors are written together or not at all.

use std::ops::Range;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use tenon_core::Digest;
use tenon_query::point_in_time::{Past, SourceRows};

use crate::FeatureError;

const VIEWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("views_v2");
const CHUNKS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("chunks_v2");
const PASTS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("pasts_v1");

/// Of an earlier version of the program, which kept all rows of a lifetime. The lake has them.
const VIEWS_BEFORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("views_v1");
const CHUNKS_BEFORE: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("chunks_v1");

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
    /// Every row whose event is at or after this moment is in, in microseconds; as a row, where it was known then or later.
    pub horizon: i64,
}

/// What the file holds of a view.
pub(crate) struct Stored {
    pub record: ViewRecord,
    pub chunks: Vec<SourceRows>,
    pub pasts: Vec<(Box<[u8]>, Past)>,
}

/// What a flush writes for one view.
pub(crate) struct ViewWrite {
    pub view: String,
    pub record: ViewRecord,
    pub rows: SourceRows,
    /// Pasts as bytes, by the keys of their entities.
    pub pasts: Vec<(Box<[u8]>, Vec<u8>)>,
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
        // Every row is read now in any case: that each is what was written costs little more, and what a disk has changed is
        // not served.
        let database = Database::builder().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path);
        let database = match database {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(FeatureError::InUse(path.to_owned())),
            Err(error) => return Err(file(error.into())),
        };
        Ok(Self { path: path.to_owned(), database })
    }

    /// What is stored of a view, whose pasts `past` reads; none where that is nothing of use.
    pub(crate) fn load(
        &self,
        view: &str,
        past: impl Fn(&[u8]) -> Option<Past>,
    ) -> Result<Option<Stored>, FeatureError> {
        self.try_load(view, past).map_err(|error| self.failed(error))
    }

    /// Writes in one transaction, and forgets views that are not named in `known`, where that is given.
    pub(crate) fn write(&self, writes: &[ViewWrite], known: Option<&[String]>) -> Result<(), FeatureError> {
        self.try_write(writes, known).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: redb::Error) -> FeatureError {
        FeatureError::File { path: self.path.clone(), source: Box::new(source) }
    }

    fn try_load(&self, view: &str, past: impl Fn(&[u8]) -> Option<Past>) -> Result<Option<Stored>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let views = match transaction.open_table(VIEWS) {
            Ok(views) => views,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record: Option<ViewRecord> =
            views.get(view)?.and_then(|record| serde_json::from_slice(record.value()).ok());
        let Some(record) = record else { return Ok(None) };
        let mut stored = Stored { record, chunks: Vec::new(), pasts: Vec::new() };
        for chunk in transaction.open_table(CHUNKS)?.range((view, 0)..=(view, u64::MAX))? {
            let Some(chunk) = read_chunk(chunk?.1.value()) else { return Ok(None) };
            let mut rows = SourceRows::default();
            rows.extend(&chunk, |row| chunk.known()[row] >= stored.record.horizon);
            stored.chunks.push(rows);
        }
        let after = name_after(view);
        for entry in transaction.open_table(PASTS)?.range(pasts_of(view, &after))? {
            let (key, bytes) = entry?;
            let Some(past) = past(bytes.value()) else { return Ok(None) };
            stored.pasts.push((key.value().1.into(), past));
        }
        Ok(Some(stored))
    }

    fn try_write(&self, writes: &[ViewWrite], known: Option<&[String]>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.delete_table(VIEWS_BEFORE)?;
        transaction.delete_table(CHUNKS_BEFORE)?;
        {
            let mut views = transaction.open_table(VIEWS)?;
            let mut chunks = transaction.open_table(CHUNKS)?;
            let mut pasts = transaction.open_table(PASTS)?;
            for write in writes {
                let record = serde_json::to_vec(&write.record).map_err(std::io::Error::from)?;
                views.insert(write.view.as_str(), record.as_slice())?;
                write_chunks(&mut chunks, write)?;
                if write.replace {
                    pasts.retain_in(pasts_of(&write.view, &name_after(&write.view)), |_, _| false)?;
                }
                for (key, past) in &write.pasts {
                    pasts.insert((write.view.as_str(), &key[..]), past.as_slice())?;
                }
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
                pasts.retain_in(pasts_of(&name, &name_after(&name)), |_, _| false)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn write_chunks(chunks: &mut Table<'_, (&str, u64), &[u8]>, write: &ViewWrite) -> Result<(), redb::Error> {
    let view = write.view.as_str();
    let range = || (view, 0)..=(view, u64::MAX);
    let is_old = |bytes: &[u8]| write.replace || last_known(bytes).is_none_or(|known| known < write.record.horizon);
    chunks.retain_in(range(), |_, bytes| !is_old(bytes))?;
    let mut rows = SourceRows::default();
    let kept = |rows: &SourceRows, row: usize| rows.known()[row] >= write.record.horizon;
    if chunks.range(range())?.count() >= MANY_CHUNKS {
        for chunk in chunks.range(range())? {
            if let Some(chunk) = read_chunk(chunk?.1.value()) {
                rows.extend(&chunk, |row| kept(&chunk, row));
            }
        }
        chunks.retain_in(range(), |_, _| false)?;
    }
    rows.extend(&write.rows, |row| kept(&write.rows, row));
    if let Some(known) = rows.known().iter().max() {
        let next = chunks.range(range())?.next_back().transpose()?.map_or(0, |(key, _)| key.value().1 + 1);
        let mut bytes = known.to_le_bytes().to_vec();
        bytes.extend_from_slice(&rows.to_bytes());
        chunks.insert((view, next), bytes.as_slice())?;
    }
    Ok(())
}

/// A chunk is the moment at which the last of its rows was known, then its rows.
fn read_chunk(bytes: &[u8]) -> Option<SourceRows> {
    SourceRows::from_bytes(bytes.split_first_chunk::<8>()?.1)
}

fn last_known(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk().map(|known| i64::from_le_bytes(*known))
}

/// The first text after a view's name.
fn name_after(view: &str) -> String {
    format!("{view}\0")
}

/// The keys of a view's pasts; `after`: what [`name_after`] says.
fn pasts_of<'a>(view: &'a str, after: &'a str) -> Range<(&'a str, &'a [u8])> {
    (view, b"".as_slice())..(after, b"".as_slice())
}
