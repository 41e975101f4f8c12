//! What can go wrong on the way to a feature.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// What can go wrong on the way to a feature.
#[derive(Debug, thiserror::Error)]
pub enum PointInTimeError {
    /// A column that is needed is not there.
    #[error("there is no column `{column}`; the columns are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    NoColumn {
        /// The column that was asked for.
        column: String,
        /// The columns that are there.
        known: Vec<String>,
    },
    /// A column holds values of another type than is needed.
    #[error("column `{column}` holds {found}, where {wanted} is needed")]
    WrongType {
        /// The column.
        column: String,
        /// What it holds.
        found: DataType,
        /// What is needed, in words.
        wanted: &'static str,
    },
    /// A feature lacks what its aggregate needs.
    #[error("feature `{feature}` has no `{what}`, which its aggregate needs")]
    Unsaid {
        /// The feature.
        feature: String,
        /// The key that is not there.
        what: &'static str,
    },
    /// The entities' keys do not fit.
    #[error("the keys of the entities take more than 4 GB; read fewer rows at once")]
    KeysTooBig,
    /// Arrow could not do what was asked.
    #[error("the columns could not be read")]
    Arrow(#[from] ArrowError),
}
