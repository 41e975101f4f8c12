//! One Delta table: its head, where commits are appended one after the other, and snapshots to read.
//!
//! Appending costs the same at the thousandth commit as at the first: the head knows the newest version, so that a
//! commit is one data file and one log entry, and nothing is listed or replayed. Each hundredth version gets a table
//! checkpoint, so that opening a table stays cheap as well.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake::{DeltaTable, DeltaTableBuilder, checkpoints};
use tenon_core::Timestamp;
use tenon_core::id::OperationId;
use tokio::sync::Mutex;
use url::Url;

use crate::LakeError;
use crate::delta::log::{self, DataFile, Entry, Note};
use crate::delta::store::Store;

/// Versions from one table checkpoint to the next.
const CHECKPOINT_INTERVAL: u64 = 100;
/// Snapshots that are kept to be read again.
const SNAPSHOTS: usize = 6;

/// A Delta table.
pub(crate) struct Table {
    pub name: String,
    store: Store,
    /// Held while a commit is made, so that writers queue here and never race on the log.
    pub head: Mutex<Head>,
    snapshots: Mutex<VecDeque<(u64, DeltaTable)>>,
}

/// Where the next commit goes.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// The newest version; none before the first commit.
    pub version: Option<u64>,
    /// The schema, once there is a commit.
    pub schema: Option<SchemaRef>,
    /// The table's id.
    pub id: String,
    /// Commits that no fact is known to seal, by operation.
    pub unsealed: HashMap<OperationId, Unsealed>,
    /// How far ordered sources are in the table, by their names; those that were asked for.
    positions: HashMap<String, Option<u64>>,
}

/// A commit that no fact is known to seal.
#[derive(Debug, Clone)]
pub(crate) struct Unsealed {
    pub version: u64,
    pub note: Note,
    pub added: Vec<String>,
}

/// What a commit changes.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub added: Vec<DataFile>,
    pub removed: Vec<String>,
    /// The schema from this commit on; the same as before where none.
    pub schema: Option<SchemaRef>,
    /// What for.
    pub purpose: Purpose,
    /// How far ordered sources are with this commit, by their names.
    pub positions: Vec<(String, u64)>,
}

/// What a commit is for, which its log entry says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Rows come or go.
    #[default]
    Rows,
    /// An earlier version comes back.
    Restore,
    /// The same rows, in other files.
    Compact,
    /// Rows take the place of those with the same key, or go.
    Changes,
}

impl Table {
    /// Opens a table, or a place for one. Commits after `sealed` are looked at for what they note.
    pub(crate) async fn open(root: &Url, folder: &str, name: &str, sealed: Option<u64>) -> Result<Self, LakeError> {
        let store = Store::open(root, folder, name)?;
        let (mut head, mut snapshots) = (Head::default(), VecDeque::new());
        let exists = store.log().is_delta_table_location().await.map_err(|error| LakeError::read(name, error))?;
        if exists {
            let table = load(&store, None).await.map_err(|error| LakeError::read(name, error))?;
            let state = table.snapshot().map_err(|error| LakeError::read(name, error))?;
            head.version = Some(state.version());
            head.schema = Some(state.snapshot().arrow_schema());
            head.id = state.metadata().id().to_owned();
            snapshots.push_back((state.version(), table));
            for version in sealed.map_or(0, |sealed| sealed + 1)..=head.version.unwrap_or(0) {
                let entry = store.entry(version).await?.map(|bytes| Entry::parse(&bytes)).unwrap_or_default();
                if let Some(note) = entry.note {
                    let unsealed = Unsealed { version, added: entry.added, note };
                    head.unsealed.insert(unsealed.note.operation, unsealed);
                }
            }
        }
        Ok(Self { name: name.to_owned(), store, head: Mutex::new(head), snapshots: Mutex::new(snapshots) })
    }

    /// Whether a table's log goes on after `sealed`, found without opening it.
    pub(crate) async fn goes_on(root: &Url, folder: &str, name: &str, sealed: Option<u64>) -> Result<bool, LakeError> {
        let next = sealed.map_or(0, |sealed| sealed + 1);
        Ok(Store::open(root, folder, name)?.entry(next).await?.is_some())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Appends a commit and returns its version; `note` is given that version. The commit is durable and, until
    /// [`Head::unsealed`] is told otherwise, unsealed.
    pub(crate) async fn commit(
        &self,
        head: &mut Head,
        change: Change,
        at: Timestamp,
        note: impl Fn(u64) -> Note,
    ) -> Result<u64, LakeError> {
        let misfit = |what| LakeError::Misfit { table: self.name.clone(), what };
        let operation = match change.purpose {
            Purpose::Rows if change.removed.is_empty() => "WRITE",
            Purpose::Rows => "DELETE",
            Purpose::Restore => "RESTORE",
            Purpose::Compact => "OPTIMIZE",
            Purpose::Changes => "MERGE",
        };
        loop {
            let version = head.version.map_or(0, |version| version + 1);
            let note = note(version);
            let mut actions = vec![log::commit_info(at, operation, &note)];
            if head.version.is_none() {
                head.id = note.operation.to_string();
                actions.push(log::protocol());
            }
            if let Some(schema) = &change.schema {
                actions.push(log::metadata(&head.id, &self.name, schema, at).map_err(misfit)?);
            }
            actions.extend(change.positions.iter().map(|(source, next)| log::txn(source, *next, at)));
            actions.extend(change.removed.iter().map(|path| log::remove(path, at)));
            actions.extend(change.added.iter().map(|file| log::add(file, at)));
            if change.purpose == Purpose::Compact {
                actions.iter_mut().for_each(log::changes_no_rows);
            }
            if self.store.put_entry(version, log::entry(&actions), note.operation).await? {
                let added = change.added.iter().map(|file| file.path.clone()).collect();
                head.version = Some(version);
                head.unsealed.insert(note.operation, Unsealed { version, note, added });
                if let Some(schema) = change.schema {
                    head.schema = Some(schema);
                }
                head.positions.extend(change.positions.into_iter().map(|(source, next)| (source, Some(next))));
                self.checkpoint(version).await;
                return Ok(version);
            }
            // Another process was faster. Appending after it is fine unless it changed what the table is.
            let entry = self.store.entry(version).await?.map(|bytes| Entry::parse(&bytes)).unwrap_or_default();
            if entry.changes_table {
                return Err(LakeError::ChangedElsewhere { table: self.name.clone(), version });
            }
            head.version = Some(version);
            // Rows that came meanwhile may have the keys that this commit was to change.
            if change.purpose == Purpose::Changes {
                head.positions.clear();
                return Err(LakeError::Raced(self.name.clone()));
            }
            // Whoever reads the same source into this table has been here: what was built on the old position is void.
            if let Some((source, _)) = change.positions.iter().find(|(source, _)| entry.positions.contains_key(source))
            {
                head.positions.clear();
                return Err(LakeError::moved(&self.name, source));
            }
        }
    }

    /// How far an ordered source is in the table, as the newest `txn` action of its name says.
    pub(crate) async fn position(&self, head: &mut Head, source: &str) -> Result<Option<u64>, LakeError> {
        let Some(version) = head.version else { return Ok(None) };
        if let Some(known) = head.positions.get(source) {
            return Ok(*known);
        }
        let failed = |error| LakeError::read(&self.name, error);
        let table = self.at(version).await?;
        let snapshot = table.snapshot().map_err(failed)?.snapshot();
        let position = snapshot.transaction_version(self.store.log().as_ref(), source).await.map_err(failed)?;
        let position = position.and_then(|position| u64::try_from(position).ok());
        head.positions.insert(source.to_owned(), position);
        Ok(position)
    }

    /// Writes a table checkpoint when it is time. It only makes reading faster, so that a failure is worth no more than a
    /// warning, and one that is cut off leaves nothing that a reader sees. Its commit waits for it: a program that ends
    /// after its last commit must not leave it half-way.
    async fn checkpoint(&self, version: u64) {
        if !(version + 1).is_multiple_of(CHECKPOINT_INTERVAL) {
            return;
        }
        let written = match self.at(version).await {
            Ok(snapshot) => checkpoints::create_checkpoint(&snapshot, None).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!(table = self.name, version, error, "no table checkpoint was written");
        }
    }

    /// The table as it was at a version.
    pub(crate) async fn at(&self, version: u64) -> Result<DeltaTable, LakeError> {
        let failed = |error| LakeError::read(&self.name, error);
        let mut snapshots = self.snapshots.lock().await;
        if let Some((_, table)) = snapshots.iter().find(|(known, _)| *known == version) {
            return Ok(table.clone());
        }
        let nearest = snapshots.iter().filter(|(known, _)| *known < version).max_by_key(|(known, _)| *known);
        let table = match nearest {
            Some((_, older)) => {
                let mut table = older.clone();
                table.update_incremental(Some(version)).await.map_err(failed)?;
                table
            }
            None => load(&self.store, Some(version)).await.map_err(failed)?,
        };
        if snapshots.len() == SNAPSHOTS {
            snapshots.pop_front();
        }
        snapshots.push_back((version, table.clone()));
        Ok(table)
    }
}

async fn load(store: &Store, version: Option<u64>) -> Result<DeltaTable, deltalake::DeltaTableError> {
    let builder = DeltaTableBuilder::from_url(store.url().clone())?;
    match version {
        Some(version) => builder.with_version(version).load().await,
        None => builder.load().await,
    }
}

/// The table of a given name, opened once.
pub(crate) type Slot = Arc<tokio::sync::OnceCell<Arc<Table>>>;
