//! What can go wrong with a company folder.

use std::path::PathBuf;

use tenon_core::spec::FileFaults;
use tenon_ledger::LedgerError;

/// What can go wrong with a company folder.
#[derive(Debug, thiserror::Error)]
pub enum CompanyError {
    /// A file or folder could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is too large to be a declaration.
    #[error("{} is larger than a declaration may be (1 MiB); data belongs into a dataset's source", .path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A file is not text.
    #[error("{} is not text in UTF-8", .path.display())]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// What the files say is wrong.
    #[error(transparent)]
    Faults(#[from] FileFaults),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What the ledger says is applied can no longer be read.
    #[error("what the ledger says is applied does not hold together: {0}")]
    Applied(String),
}
