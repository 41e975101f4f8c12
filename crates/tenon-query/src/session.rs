//! Sessions: one place that says how every query of the program runs.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::QueryError;
use crate::spill::SpillFolder;

/// How many of the greediest consumers an out-of-memory message names.
const NAMED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(2);

/// A session in UTC whose queries share `memory_limit_bytes` and spill sorted and grouped rows to a folder of its own
/// below `spill_dir`, where what killed processes left goes first.
///
/// Texts are plain UTF-8 arrays, names without quotes fold to lower case as in any SQL, and at least two partitions run
/// at once.
///
/// # Errors
/// [`QueryError::Failed`] when the spill folder cannot be used.
pub fn session(memory_limit_bytes: usize, spill_dir: &Path) -> Result<SessionContext, QueryError> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(memory_limit_bytes), NAMED_CONSUMERS);
    let folder = SpillFolder::create(spill_dir)
        .map_err(|error| QueryError::Failed(format!("`{}` cannot be used: {error}", spill_dir.display())))?;
    let folders = DiskManagerMode::Directories(vec![folder.path().to_owned()]);
    let spill = DiskManagerBuilder::default().with_mode(folders);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(spill).build_arc()?;
    let partitions = available_parallelism().map_or(2, usize::from).max(2);
    // The folder lives as long as the last session with this configuration.
    let mut config =
        SessionConfig::new().with_batch_size(8192).with_target_partitions(partitions).with_extension(Arc::new(folder));
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    // One type for texts, offline and online: an array that a query returns equals one that was built.
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    Ok(SessionContext::new_with_state(crate::asof::install(builder).build()))
}

/// A session with the limits and functions of `base`, and no tables yet. Costs microseconds.
pub fn fresh(base: &SessionContext) -> SessionContext {
    let state = base.state();
    let names = state.config().options().catalog.clone();
    let (catalogs, catalog) = (MemoryCatalogProviderList::new(), MemoryCatalogProvider::new());
    // A catalog in memory takes every schema.
    catalog.register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new())).ok();
    catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
    let state = SessionStateBuilder::new_from_existing(state).with_catalog_list(Arc::new(catalogs)).build();
    SessionContext::new_with_state(state)
}
