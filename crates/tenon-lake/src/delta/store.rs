//! Where a table's files are, and what it takes to have written one.
//!
//! On local disk a file is written beside its place, synced and then moved or linked there, so that a log entry is
//! either whole and durable or not there; an entry that exists is never replaced. Object stores give both by themselves.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, logstore_for};
use deltalake::{ObjectStoreError, Path as StorePath};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use tenon_core::Timestamp;
use tenon_core::id::OperationId;
use url::Url;

use crate::LakeError;

/// The folder of one table.
#[derive(Clone)]
pub(crate) struct Store {
    table: Arc<str>,
    url: Url,
    log: LogStoreRef,
    local: Option<PathBuf>,
}

impl Store {
    /// The folder of `table` below `root`, which is made with the first file.
    pub(crate) fn open(root: &Url, folder: &str, table: &str) -> Result<Self, LakeError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| LakeError::Table {
            table: table.to_owned(),
            doing: "opened",
            source: error,
        };
        let url = root.join(&format!("{folder}/")).map_err(|error| failed(error.into()))?;
        let local = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten();
        let log = logstore_for(&url, StorageConfig::default()).map_err(|error| failed(error.into()))?;
        Ok(Self { table: table.into(), url, log, local })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// Writes a data file. Durable once the entry that names it is.
    pub(crate) async fn put_data(&self, name: &str, bytes: Bytes) -> Result<(), LakeError> {
        match &self.local {
            Some(folder) => {
                let (folder, path) = (folder.clone(), folder.join(name));
                let file = path.clone();
                self.blocking(file, move || fs::create_dir_all(folder).and_then(|()| write_synced(&path, &bytes))).await
            }
            None => {
                let put = self.log.object_store(None).put(&StorePath::from(name), bytes.into()).await;
                put.map(drop).map_err(|error| LakeError::written(&self.table, error))
            }
        }
    }

    /// Gives a data file of another table of this lake a name in this table, without copying it: on local disk a second
    /// name for the same file, in an object store its own copy. Durable once the entry that names it is.
    pub(crate) async fn link_data(&self, from: &Self, name: &str) -> Result<(), LakeError> {
        if let (Some(folder), Some(other)) = (&self.local, &from.local) {
            let (folder, source, to) = (folder.clone(), other.join(name), folder.join(name));
            let link = move || {
                fs::create_dir_all(folder)?;
                match fs::hard_link(source, to) {
                    // Files are named by the operation that wrote them, so that it is the same file.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    done => done,
                }
            };
            return self.blocking(self.url.path().into(), link).await;
        }
        self.put_data(name, from.data(name).await?).await
    }

    /// The data files in the table's folder, whether a log names them or not: name, bytes, and when each was written, by
    /// the clock of where it is stored.
    pub(crate) async fn list_data(&self) -> Result<Vec<(String, u64, Timestamp)>, LakeError> {
        let store = self.log.object_store(None);
        let listed =
            store.list_with_delimiter(None).await.map_err(|error| LakeError::read(&self.table, error.into()))?;
        let files = listed.objects.into_iter().map(|file| {
            let written = Timestamp::from_micros(file.last_modified.timestamp_micros());
            (file.location.to_string(), file.size, written)
        });
        Ok(files.filter(|(name, ..)| name.ends_with(".parquet")).collect())
    }

    /// The names of the folders in this one.
    pub(crate) async fn folders(&self) -> Result<Vec<String>, LakeError> {
        let listed = self.log.object_store(None).list_with_delimiter(None).await;
        let listed = listed.map_err(|error| LakeError::read(&self.table, error.into()))?;
        Ok(listed.common_prefixes.into_iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Removes the table with all that is in its folder; that it is gone already is fine.
    pub(crate) async fn delete_table(&self) -> Result<(), LakeError> {
        if let Some(folder) = self.local.clone() {
            let remove = move || match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            };
            return self.blocking(self.url.path().into(), remove).await;
        }
        let store = self.log.object_store(None);
        let files: Vec<_> =
            store.list(None).try_collect().await.map_err(|error| LakeError::written(&self.table, error))?;
        for file in files {
            self.delete_data(file.location.as_ref()).await?;
        }
        Ok(())
    }

    /// A data file's bytes.
    pub(crate) async fn data(&self, name: &str) -> Result<Bytes, LakeError> {
        let read = async { self.log.object_store(None).get(&StorePath::from(name)).await?.bytes().await };
        read.await.map_err(|error| LakeError::read(&self.table, error.into()))
    }

    /// Removes a data file that no entry names; that it is gone already is fine.
    pub(crate) async fn delete_data(&self, name: &str) -> Result<(), LakeError> {
        match self.log.object_store(None).delete(&StorePath::from(name)).await {
            Ok(()) | Err(ObjectStoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(LakeError::written(&self.table, error)),
        }
    }

    /// Writes a log entry; false when that version exists already. Durable when it returns.
    pub(crate) async fn put_entry(
        &self,
        version: u64,
        bytes: Vec<u8>,
        operation: OperationId,
    ) -> Result<bool, LakeError> {
        let Some(folder) = self.local.clone() else {
            let put = self.log.write_commit_entry(version, CommitOrBytes::LogBytes(bytes.into()), operation.uuid());
            return match put.await {
                Ok(()) => Ok(true),
                Err(TransactionError::VersionAlreadyExists(_)) => Ok(false),
                Err(error) => Err(LakeError::written(&self.table, error)),
            };
        };
        let entry = folder.join("_delta_log").join(format!("{version:020}.json"));
        self.blocking(entry.clone(), move || {
            let log = folder.join("_delta_log");
            if !log.exists() {
                fs::create_dir_all(&log)?;
                folder.parent().map_or(Ok(()), sync_folder)?;
            }
            // The data files' names must be on the disk before the entry that names them is.
            sync_folder(&folder)?;
            let staged = log.join(format!("_{operation}.json.tmp"));
            write_synced(&staged, &bytes)?;
            let linked = fs::hard_link(&staged, &entry);
            // The staged name means nothing to a reader of the log; it may stay behind.
            fs::remove_file(&staged).ok();
            match linked {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                Err(error) => return Err(error),
            }
            sync_folder(&log)?;
            Ok(true)
        })
        .await
    }

    /// A log entry's bytes; none when there is no such version.
    pub(crate) async fn entry(&self, version: u64) -> Result<Option<Vec<u8>>, LakeError> {
        let read = self.log.read_commit_entry(version).await.map_err(|error| LakeError::read(&self.table, error))?;
        Ok(read.map(|bytes| bytes.to_vec()))
    }

    /// Does work that writes `file` and may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        file: PathBuf,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, LakeError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| LakeError::Interrupted(error.to_string()))?
            .map_err(|error| LakeError::file_written(&self.table, file, error))
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    write().inspect_err(|_| {
        // Half a file helps nobody, and on a full disk its space does.
        fs::remove_file(path).ok();
    })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
