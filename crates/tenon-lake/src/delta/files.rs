//! The data files of a version, and what it takes to get from one version's to another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use tenon_query::QueryError;

use crate::LakeError;
use crate::delta::log::{DataFile, rows_of};
use crate::delta::table::{Change, Table};

/// Data files by path.
pub(crate) type Files = BTreeMap<String, DataFile>;

impl DataFile {
    /// How many rows it holds, as its statistics say.
    pub(crate) fn rows(&self) -> u64 {
        rows_of(&self.stats).unwrap_or(0)
    }
}

impl Table {
    /// The data files of a version.
    pub(crate) async fn files(&self, version: u64) -> Result<Files, LakeError> {
        let snapshot = self.at(version).await?;
        let state = snapshot.snapshot().map_err(|error| LakeError::read(&self.name, error))?;
        let files = state.log_data().into_iter().map(|file| {
            let path = file.path().into_owned();
            let bytes = usize::try_from(file.size()).unwrap_or(0);
            (path.clone(), DataFile { path, bytes, stats: file.stats().unwrap_or_default() })
        });
        Ok(files.collect())
    }

    /// Some of the files of a version as a table to query; no files, no rows.
    pub(crate) async fn part_of(
        &self,
        session: &SessionContext,
        version: u64,
        files: &[String],
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let snapshot = self.at(version).await?;
        let state = Arc::new(session.state());
        snapshot.update_datafusion_session(state.as_ref()).map_err(|error| LakeError::read(&self.name, error))?;
        let part = snapshot.table_provider().with_session(state).with_file_paths(files.iter().cloned());
        Ok(part.await.map_err(QueryError::from)?)
    }
}

/// What turns the files `from` into the files `to`.
pub(crate) fn change(from: &Files, to: &Files) -> Change {
    Change { added: missing(to, from), removed: paths(&missing(from, to)), ..Change::default() }
}

/// The files of `these` that are not among `those`.
pub(crate) fn missing(these: &Files, those: &Files) -> Vec<DataFile> {
    these.values().filter(|file| !those.contains_key(&file.path)).cloned().collect()
}

/// Their paths.
pub(crate) fn paths(files: &[DataFile]) -> Vec<String> {
    files.iter().map(|file| file.path.clone()).collect()
}

/// Their rows.
pub(crate) fn rows(files: &[DataFile]) -> u64 {
    files.iter().map(DataFile::rows).sum()
}
