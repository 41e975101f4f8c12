//! What can go wrong when watching, one variant for each distinct next step.

use tenon_core::{ModelVersionRef, MonitorName};

/// Why a monitor did not measure.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such monitor is applied.
    #[error("there is no monitor `{name}`; there is: {}", .known.join(", "))]
    UnknownMonitor {
        /// The name as given.
        name: MonitorName,
        /// The monitors that there are.
        known: Vec<String>,
    },
    /// The reference of a version is not about what the version takes.
    #[error("the reference distributions of `{version}` do not fit its decisions: {reason}")]
    BadReference {
        /// The version.
        version: ModelVersionRef,
        /// What differs.
        reason: String,
    },
    /// A stored row does not have the shape that was written.
    #[error("a stored row of `{table}` cannot be read: {reason}")]
    StoredRow {
        /// The table.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The models could not be read.
    #[error("the reference of `{version}` could not be read")]
    Models {
        /// The version.
        version: ModelVersionRef,
        /// Why not.
        source: tenon_models::ModelError,
    },
    /// Features could not be computed again.
    #[error("what was served could not be computed again")]
    Features(#[source] tenon_features::FeatureError),
    /// The lake could not be read.
    #[error("the lake could not be reached")]
    Lake(#[source] tenon_lake::LakeError),
    /// The ledger could not be read or written.
    #[error("the ledger could not be reached")]
    Ledger(#[source] tenon_ledger::LedgerError),
    /// A measurement could not be computed.
    #[error("a measurement could not be computed")]
    Stats(#[source] tenon_stats::StatsError),
    /// A fact could not be written as JSON.
    #[error("a fact could not be written as JSON")]
    Json(#[source] serde_json::Error),
}
