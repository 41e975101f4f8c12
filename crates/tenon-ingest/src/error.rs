//! What can go wrong between a source and the lake.

use std::io;

use tenon_core::spec::closest;
use tenon_lake::LakeError;

/// Why rows could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// There is no such dataset.
    #[error("there is no dataset `{dataset}`{}", near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    NoDataset {
        /// The name as given.
        dataset: String,
        /// The dataset that was probably meant.
        near: Option<String>,
    },
    /// A dataset whose rows do not come from files.
    #[error("dataset `{0}` does not read files: its rows are pushed, or it is a view")]
    NoFiles(String),
    /// A path pattern that says more than is understood here.
    #[error(
        "`{0}` is not a pattern of files: `*` may stand in the last part of the path only, as in data/flights/*.parquet"
    )]
    Pattern(String),
    /// A file or folder that cannot be read.
    #[error("`{path}` cannot be read")]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file that is not what its name says.
    #[error("`{path}` cannot be read: {what}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        what: String,
    },
    /// Rows as JSON that are none.
    #[error("line {line} is not a JSON object: {what}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Rows are in the lake, and the listener did not take them.
    #[error("the rows of `{dataset}` are safe, but could not be handed on; they will be when it catches up")]
    Feed {
        /// The dataset.
        dataset: String,
        /// What the listener says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault of the program itself, such as a task that was cut off.
    #[error("reading `{0}` ended early")]
    Interrupted(String),
}

impl IngestError {
    pub(crate) fn no_dataset<'a>(dataset: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::NoDataset { dataset: dataset.to_owned(), near: closest(dataset, known).map(str::to_owned) }
    }
}
