//! The ledger in SQLite, and the only module that speaks to it: what another database would have to offer.
//!
//! A commit is durable when `COMMIT` returns (write-ahead log, `synchronous = FULL`). Columns beside a fact's bytes are
//! there to find it; verification compares them with the bytes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use tenon_core::id::OperationId;
use tenon_core::{Digest, Timestamp};

use crate::LedgerError;
use crate::ledger::{Parked, StoredFact};
use crate::tiles;

/// The database file in the ledger's folder.
pub(crate) const FILE: &str = "ledger.db";
const FORMAT: &str = "1";

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE facts (
        idx INTEGER PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, operation BLOB, leaf BLOB NOT NULL);
    CREATE INDEX facts_by_kind ON facts (kind, idx);
    CREATE UNIQUE INDEX facts_by_operation ON facts (operation, kind) WHERE operation IS NOT NULL;
    CREATE TABLE tiles (level INTEGER, number INTEGER, hashes BLOB NOT NULL, PRIMARY KEY (level, number));
    CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
    CREATE TABLE documents (collection TEXT, key TEXT, document TEXT NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID;
    CREATE TABLE cursors (subscriber TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE parked (subscriber TEXT, idx INTEGER, error TEXT NOT NULL, PRIMARY KEY (subscriber, idx)) WITHOUT ROWID;
";

/// A row of the facts table, as it stands and unchecked.
#[derive(Debug, Clone)]
pub(crate) struct FactRow {
    pub index: u64,
    pub kind: String,
    pub at: i64,
    pub operation: Option<Vec<u8>>,
    pub bytes: Vec<u8>,
}

/// One connection.
pub(crate) struct Store {
    connection: Connection,
}

impl Store {
    /// Makes the tables, and whatever `fill` puts into them, in one transaction.
    pub fn create(
        dir: &Path,
        origin: &str,
        fill: impl FnOnce(&Self) -> Result<(), LedgerError>,
    ) -> Result<Self, LedgerError> {
        let store = Self { connection: Connection::open(dir.join(FILE))? };
        store.prepare_to_write()?;
        store.begin()?;
        store.connection.execute_batch(SCHEMA)?;
        for (key, value) in [("format", FORMAT), ("origin", origin)] {
            store.connection.execute("INSERT INTO meta VALUES (?1, ?2)", params![key, value])?;
        }
        fill(&store)?;
        store.commit()?;
        Ok(store)
    }

    /// Opens the database of a ledger that exists.
    pub fn open(dir: &Path, write: bool) -> Result<Self, LedgerError> {
        let missing = || LedgerError::Missing { dir: dir.to_owned() };
        if !dir.join(FILE).exists() {
            return Err(missing());
        }
        let access = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let connection = Connection::open_with_flags(dir.join(FILE), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let store = Self { connection };
        store.connection.busy_timeout(std::time::Duration::from_secs(10))?;
        store.connection.set_prepared_statement_cache_capacity(64);
        if !store.exists()? {
            return Err(missing());
        }
        let found = store.meta("format")?;
        if found != FORMAT {
            return Err(LedgerError::Format { found, wanted: FORMAT });
        }
        if write {
            store.prepare_to_write()?;
        }
        Ok(store)
    }

    fn prepare_to_write(&self) -> Result<(), LedgerError> {
        self.connection.busy_timeout(std::time::Duration::from_secs(10))?;
        self.connection.set_prepared_statement_cache_capacity(64);
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "cache_size", -65_536)?;
        self.connection.pragma_update(None, "wal_autocheckpoint", 10_000)?;
        Ok(())
    }

    /// Whether the folder holds a ledger's database with its tables.
    pub fn exists_in(dir: &Path) -> Result<bool, LedgerError> {
        let file = dir.join(FILE);
        if file.exists() { Self { connection: Connection::open(file)? }.exists() } else { Ok(false) }
    }

    fn exists(&self) -> Result<bool, LedgerError> {
        Ok(self.connection.table_exists(None, "meta")?)
    }

    fn meta(&self, key: &str) -> Result<String, LedgerError> {
        let value = self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        value.optional()?.ok_or_else(|| LedgerError::Damaged(format!("its {key} is gone")))
    }

    pub fn origin(&self) -> Result<String, LedgerError> {
        self.meta("origin")
    }

    // Transactions. One statement each, so that the writer can nest what one append does inside a shared commit.

    /// Starts a transaction that writes.
    pub fn begin(&self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Makes the transaction durable.
    pub fn commit(&self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Drops the transaction, if there is one still.
    pub fn rollback(&self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    pub fn savepoint(&self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("SAVEPOINT request")?)
    }

    pub fn release(&self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("RELEASE request")?)
    }

    pub fn back_to_savepoint(&self) -> Result<(), LedgerError> {
        Ok(self.connection.execute_batch("ROLLBACK TO request; RELEASE request")?)
    }

    /// A number that changes when another connection has changed the database.
    pub fn data_version(&self) -> Result<i64, LedgerError> {
        Ok(self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
    }

    /// Reads several things from one commit.
    pub fn snapshot<T>(&self, read: impl FnOnce(&Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.connection.execute_batch("BEGIN")?;
        let outcome = read(self);
        self.rollback();
        outcome
    }

    // Facts.

    pub fn size(&self) -> Result<u64, LedgerError> {
        let mut query = self.connection.prepare_cached("SELECT max(idx) FROM facts")?;
        let last: Option<i64> = query.query_row([], |row| row.get(0))?;
        Ok(last.map_or(0, |last| last as u64 + 1))
    }

    /// How many facts are stored, whatever their indices.
    pub fn fact_count(&self) -> Result<u64, LedgerError> {
        Ok(self.connection.query_row("SELECT count(*) FROM facts", [], |row| row.get::<_, i64>(0))? as u64)
    }

    pub fn insert_fact(
        &self,
        index: u64,
        kind: &str,
        at: Timestamp,
        operation: Option<OperationId>,
        bytes: &[u8],
    ) -> Result<(), LedgerError> {
        let mut insert = self.connection.prepare_cached("INSERT INTO facts VALUES (?1, ?2, ?3, ?4, ?5)")?;
        insert.execute(params![as_i64(index), kind, at.as_micros(), operation.map(operation_bytes), bytes])?;
        Ok(())
    }

    /// The rows in a range of indices, in order.
    pub fn rows(&self, range: Range<u64>) -> Result<Vec<FactRow>, LedgerError> {
        self.fact_rows("idx >= ?1 AND idx < ?2 ORDER BY idx", range.start, range.end)
    }

    /// At most `limit` rows from an index on, in order.
    pub fn rows_from(&self, from: u64, limit: u64) -> Result<Vec<FactRow>, LedgerError> {
        self.fact_rows("idx >= ?1 ORDER BY idx LIMIT ?2", from, limit)
    }

    fn fact_rows(&self, which: &str, first: u64, second: u64) -> Result<Vec<FactRow>, LedgerError> {
        let sql = format!("SELECT idx, kind, at, operation, leaf FROM facts WHERE {which}");
        let mut query = self.connection.prepare_cached(&sql)?;
        let rows = query.query_map(params![as_i64(first), as_i64(second)], fact_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Facts in a range of indices, each of them the one that was appended.
    pub fn facts(&self, range: Range<u64>) -> Result<Vec<StoredFact>, LedgerError> {
        let rows = self.rows(range)?;
        self.check(rows.iter().map(|row| (row.index, row.bytes.as_slice())))?;
        rows.iter().map(|row| stored(row.index, &row.bytes)).collect()
    }

    /// Holds facts against their hashes in the tree, so that nobody is handed one that was changed behind the ledger's
    /// back.
    pub fn check<'a>(&self, leaves: impl Iterator<Item = (u64, &'a [u8])>) -> Result<(), LedgerError> {
        let mut tile: Option<(u64, Vec<Digest>)> = None;
        for (index, bytes) in leaves {
            let (level, number, place) = tiles::locate(0, index);
            if tile.as_ref().is_none_or(|(held, _)| *held != number) {
                tile = Some((number, self.tile(level, number)?.unwrap_or_default()));
            }
            let hash = tile.as_ref().and_then(|(_, hashes)| hashes.get(place.start));
            if hash != Some(&crate::merkle::leaf_hash(bytes)) {
                return Err(LedgerError::Damaged(format!("fact {index} is not the one that was appended")));
            }
        }
        Ok(())
    }

    /// Facts of a kind (all when `None`) from an index on, oldest first; or before it, newest first.
    pub fn facts_of_kind(
        &self,
        kind: Option<&str>,
        from: u64,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<StoredFact>, LedgerError> {
        let (relation, order) = if newest_first { ("<", "DESC") } else { (">=", "ASC") };
        let of_kind = if kind.is_some() { "kind = ?3 AND " } else { "?3 IS NULL AND " };
        let sql =
            format!("SELECT idx, leaf FROM facts WHERE {of_kind} idx {relation} ?1 ORDER BY idx {order} LIMIT ?2");
        let mut query = self.connection.prepare_cached(&sql)?;
        let mut rows = query.query(params![as_i64(from), i64::try_from(limit).unwrap_or(i64::MAX), kind])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((row.get::<_, i64>(0)? as u64, bytes(row.get_ref(1)?)));
        }
        self.check(found.iter().map(|(index, bytes)| (*index, bytes.as_slice())))?;
        found.iter().map(|(index, bytes)| stored(*index, bytes)).collect()
    }

    pub fn sealed(&self, kind: &str, operation: OperationId) -> Result<Option<u64>, LedgerError> {
        let sql = "SELECT idx FROM facts WHERE operation = ?1 AND kind = ?2";
        let mut query = self.connection.prepare_cached(sql)?;
        let index = query.query_row(params![operation_bytes(operation), kind], |row| row.get::<_, i64>(0));
        Ok(index.optional()?.map(|index| index as u64))
    }

    /// The moment of a fact, in microseconds.
    pub fn moment(&self, index: u64) -> Result<Option<i64>, LedgerError> {
        let mut query = self.connection.prepare_cached("SELECT at FROM facts WHERE idx = ?1")?;
        Ok(query.query_row([as_i64(index)], |row| row.get(0)).optional()?)
    }

    /// Operations that more than one fact of a kind claims to seal, with the second one's index.
    pub fn sealed_twice(&self) -> Result<Vec<(u64, String)>, LedgerError> {
        let sql = "SELECT max(idx), kind FROM facts NOT INDEXED WHERE operation IS NOT NULL
                   GROUP BY operation, kind HAVING count(*) > 1 ORDER BY 1";
        let mut query = self.connection.prepare(sql)?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    // The tree.

    pub fn tile(&self, level: u32, number: u64) -> Result<Option<Vec<Digest>>, LedgerError> {
        let mut query = self.connection.prepare_cached("SELECT hashes FROM tiles WHERE level = ?1 AND number = ?2")?;
        let found = query.query_row(params![level, as_i64(number)], |row| Ok(bytes(row.get_ref(0)?))).optional()?;
        Ok(found.and_then(|found| tiles::from_bytes(&found)))
    }

    pub fn put_tile(&self, level: u32, number: u64, hashes: &[Digest]) -> Result<(), LedgerError> {
        let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO tiles VALUES (?1, ?2, ?3)")?;
        put.execute(params![level, as_i64(number), tiles::to_bytes(hashes)])?;
        Ok(())
    }

    /// The node `(level, index)` of the tree.
    pub fn node(&self, level: u32, index: u64) -> Result<Digest, LedgerError> {
        let (tile_level, number, range) = tiles::locate(level, index);
        let tile = self.tile(tile_level, number)?;
        let hashes = tile.as_ref().and_then(|tile| tile.get(range));
        let gone = || LedgerError::Damaged(format!("hashes of tile {number} on level {tile_level} are gone"));
        hashes.map(crate::merkle::root_of).ok_or_else(gone)
    }

    /// Keeps a checkpoint. Of those whose newest tile of leaves is the same one, only the last is kept.
    pub fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), LedgerError> {
        let last_tile = size.saturating_sub(1) / tiles::WIDTH * tiles::WIDTH;
        let mut thin = self.connection.prepare_cached("DELETE FROM checkpoints WHERE size > ?1")?;
        thin.execute([as_i64(last_tile)])?;
        let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO checkpoints VALUES (?1, ?2)")?;
        put.execute(params![as_i64(size), note])?;
        Ok(())
    }

    /// The newest checkpoint with the size under which it is stored.
    pub fn checkpoint(&self) -> Result<(u64, String), LedgerError> {
        let newest = self.checkpoints("ORDER BY size DESC LIMIT 1")?.pop();
        newest.ok_or_else(|| LedgerError::Damaged("it has no checkpoint".to_owned()))
    }

    /// Every checkpoint that was kept, by size.
    pub fn all_checkpoints(&self) -> Result<Vec<(u64, String)>, LedgerError> {
        self.checkpoints("ORDER BY size")
    }

    fn checkpoints(&self, order: &str) -> Result<Vec<(u64, String)>, LedgerError> {
        let mut query = self.connection.prepare_cached(&format!("SELECT size, note FROM checkpoints {order}"))?;
        let rows = query.query_map([], |row| {
            let note = String::from_utf8_lossy(&bytes(row.get_ref(1)?)).into_owned();
            Ok((row.get::<_, i64>(0)? as u64, note))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    // Documents.

    pub fn document(&self, collection: &str, key: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT document FROM documents WHERE collection = ?1 AND key = ?2";
        let mut query = self.connection.prepare_cached(sql)?;
        Ok(query.query_row([collection, key], |row| row.get(0)).optional()?)
    }

    pub fn documents(&self, collection: &str, prefix: &str) -> Result<Vec<(String, String)>, LedgerError> {
        let sql = "SELECT key, document FROM documents WHERE collection = ?1 AND key >= ?2 ORDER BY key";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([collection, prefix])?;
        let mut documents = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            if !key.starts_with(prefix) {
                break;
            }
            documents.push((key, row.get(1)?));
        }
        Ok(documents)
    }

    /// Tells of every document: collection, key, text; ordered by collection and key.
    pub fn each_document(
        &self,
        mut each: impl FnMut(String, String, String) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut query =
            self.connection.prepare("SELECT collection, key, document FROM documents ORDER BY collection, key")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get(0)?, row.get(1)?, String::from_utf8_lossy(&bytes(row.get_ref(2)?)).into_owned())?;
        }
        Ok(())
    }

    pub fn put_document(&self, collection: &str, key: &str, text: &str) -> Result<(), LedgerError> {
        let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)")?;
        put.execute([collection, key, text])?;
        Ok(())
    }

    pub fn delete_document(&self, collection: &str, key: &str) -> Result<(), LedgerError> {
        let sql = "DELETE FROM documents WHERE collection = ?1 AND key = ?2";
        self.connection.prepare_cached(sql)?.execute([collection, key])?;
        Ok(())
    }

    pub fn clear_documents(&self) -> Result<(), LedgerError> {
        self.connection.execute("DELETE FROM documents", [])?;
        Ok(())
    }

    // Subscribers.

    pub fn cursor(&self, subscriber: &str) -> Result<Option<u64>, LedgerError> {
        let mut query = self.connection.prepare_cached("SELECT next FROM cursors WHERE subscriber = ?1")?;
        let next = query.query_row([subscriber], |row| row.get::<_, i64>(0)).optional()?;
        Ok(next.map(|next| next as u64))
    }

    pub fn set_cursor(&self, subscriber: &str, next: u64) -> Result<(), LedgerError> {
        let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2)")?;
        put.execute(params![subscriber, as_i64(next)])?;
        Ok(())
    }

    pub fn park(&self, subscriber: &str, index: u64, error: &str) -> Result<(), LedgerError> {
        let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO parked VALUES (?1, ?2, ?3)")?;
        put.execute(params![subscriber, as_i64(index), error])?;
        Ok(())
    }

    pub fn parked(&self) -> Result<Vec<Parked>, LedgerError> {
        let mut query =
            self.connection.prepare("SELECT subscriber, idx, error FROM parked ORDER BY idx, subscriber")?;
        let rows = query.query_map([], |row| {
            Ok(Parked { subscriber: row.get(0)?, index: row.get::<_, i64>(1)? as u64, error: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    #[cfg(test)]
    pub fn limit_pages(&self, pages: u64) {
        let _ =
            self.connection.pragma_update_and_check(None, "max_page_count", pages as i64, |row| row.get::<_, i64>(0));
    }

    #[cfg(test)]
    pub fn page_count(&self) -> u64 {
        self.connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap_or(0) as u64
    }
}

/// SQLite counts to `i64::MAX`; no log gets there.
fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn operation_bytes(operation: OperationId) -> [u8; 16] {
    operation.uuid().into_bytes()
}

/// The bytes of a column, whatever somebody made of its type.
fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
    }
}

fn fact_row(row: &Row<'_>) -> rusqlite::Result<FactRow> {
    let operation = row.get_ref(3)?;
    Ok(FactRow {
        index: row.get::<_, i64>(0)? as u64,
        kind: String::from_utf8_lossy(&bytes(row.get_ref(1)?)).into_owned(),
        at: row.get_ref(2)?.as_i64().unwrap_or(i64::MIN),
        operation: (operation != ValueRef::Null).then(|| bytes(operation)),
        bytes: bytes(row.get_ref(4)?),
    })
}

/// A fact from its bytes.
pub(crate) fn stored(index: u64, bytes: &[u8]) -> Result<StoredFact, LedgerError> {
    let fact = serde_json::from_slice(bytes);
    let fact = fact.map_err(|error| LedgerError::Damaged(format!("fact {index} cannot be read ({error})")))?;
    Ok(StoredFact { index, fact })
}

/// Connections for reading, made as they are needed and used again.
pub(crate) struct Pool {
    dir: PathBuf,
    idle: Mutex<Vec<Store>>,
}

impl Pool {
    pub fn new(dir: PathBuf, first: Store) -> Self {
        Self { dir, idle: Mutex::new(vec![first]) }
    }

    /// Reads with a connection of its own.
    pub fn with<T>(&self, read: impl FnOnce(&Store) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let idle = self.idle.lock().pop();
        let store = idle.map_or_else(|| Store::open(&self.dir, false), Ok)?;
        let outcome = read(&store);
        let mut idle = self.idle.lock();
        if idle.len() < 8 {
            idle.push(store);
        }
        outcome
    }
}
