//! Tables as an engine reads them: the files of a version, which is all that a Delta table of the first reader version is.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::file_format::options::ReadOptions;
use datafusion::datasource::listing::{ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalake::DeltaTable;
use tenon_query::QueryError;
use url::Url;

use crate::read::Contents;
use crate::{Lake, LakeError};

/// Readers of this version know neither deleted rows within files nor columns under other names.
const PLAIN_READER: i32 = 1;

impl Lake {
    /// A table at a version as its files; without rows where it has none yet.
    ///
    /// # Errors
    /// [`LakeError::StaysHere`] where the files alone are not the table; otherwise when it cannot be read.
    pub(crate) async fn bare_files(
        &self,
        session: &SessionContext,
        table: &str,
        version: Option<u64>,
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let snapshot = match self.contents(table, version).await? {
            Contents::Nothing(schema) => return Ok(tenon_query::nothing(schema)?),
            Contents::Snapshot(snapshot) => snapshot,
        };
        plain(table, &snapshot)?;
        let failed = |error| LakeError::read(table, error);
        let state = snapshot.snapshot().map_err(failed)?;
        let schema = state.snapshot().arrow_schema();
        let log = snapshot.log_store();
        let urls = state.log_data().into_iter().map(|file| place(log.root_url(), &file.path()));
        let urls = urls.collect::<Result<Vec<_>, _>>().map_err(QueryError::from)?;
        if urls.is_empty() {
            return Ok(tenon_query::nothing(schema)?);
        }
        let state = session.state();
        let options = ParquetReadOptions::default().to_listing_options(state.config(), state.default_table_options());
        let files = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
        Ok(Arc::new(ListingTable::try_new(files).map_err(QueryError::from)?))
    }
}

/// Where a data file is, whose path is relative to the table's folder, or an address.
fn place(table: &Url, path: &str) -> Result<ListingTableUrl, DataFusionError> {
    let mut folder = table.clone();
    if !folder.path().ends_with('/') {
        folder.set_path(&format!("{}/", table.path()));
    }
    let file = folder.join(path).map_err(|error| DataFusionError::External(error.into()))?;
    ListingTableUrl::parse(file)
}

/// Whether a table is no more than its files.
fn plain(table: &str, snapshot: &DeltaTable) -> Result<(), LakeError> {
    let state = snapshot.snapshot().map_err(|error| LakeError::read(table, error))?;
    let stays = |what| Err(LakeError::StaysHere { table: table.to_owned(), what });
    if state.protocol().min_reader_version() > PLAIN_READER {
        return stays(
            "another program made it a table with deletion vectors, renamed columns or the like; \
             take `engine` out of company.toml to read it here",
        );
    }
    if !state.metadata().partition_columns().is_empty() {
        return stays(
            "another program split it into folders by a column's values; take `engine` out of company.toml to read it here",
        );
    }
    Ok(())
}
