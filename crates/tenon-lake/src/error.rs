//! What can go wrong in the lake.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use deltalake::DeltaTableError;
use tenon_core::Timestamp;
use tenon_core::spec::closest;
use tenon_ledger::LedgerError;
use tenon_query::QueryError;

/// Why the lake could not do something. What a batch does wrong is no error: it is quarantined or refused.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// There is no such dataset.
    #[error("there is no dataset `{dataset}`{}", near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    NoDataset {
        /// The name as given.
        dataset: String,
        /// The dataset that was probably meant.
        near: Option<String>,
    },
    /// A view takes no rows: it is computed.
    #[error("`{0}` is a view over other datasets and takes no rows: write to those")]
    View(String),
    /// Views that are made of each other.
    #[error("these views are made of each other: {}", .0.join(" -> "))]
    ViewCycle(Vec<String>),
    /// A contract that cannot be followed.
    #[error("the contract of `{dataset}` cannot be followed: {what}")]
    Contract {
        /// The dataset.
        dataset: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A query that has no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The engine that the company names has no answer.
    #[error("{0}")]
    Engine(String),
    /// A table that only this program can read as it is.
    #[error("`{table}` cannot be read by the engine: {what}")]
    StaysHere {
        /// The table.
        table: String,
        /// Why, and what to do.
        what: &'static str,
    },
    /// A version number where several tables are read.
    #[error("a version belongs to one table, and this query reads {}: give a moment instead", .0.join(", "))]
    VersionOfMany(Vec<String>),
    /// A version that a table does not have.
    #[error("`{table}` has no version {version}{}", newest.map(|newest| format!(": the newest is {newest}")).unwrap_or_default())]
    NoVersion {
        /// The table.
        table: String,
        /// The version asked for.
        version: u64,
        /// The newest there is.
        newest: Option<u64>,
    },
    /// The disk is full, or a limit on files is reached; what was being written is not part of any table.
    #[error(
        "there is no room to write {} of table `{table}`: nothing of this batch has landed; free some space and give it again",
        file.as_ref().map_or_else(|| "a file".to_owned(), |file| format!("`{}`", file.display()))
    )]
    DiskFull {
        /// The table.
        table: String,
        /// The file, where it is known.
        file: Option<PathBuf>,
        /// What the system says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The rows are in the table's files, and the ledger did not take the fact that seals them.
    #[error(
        "the batch is written to table `{table}` but not sealed: the ledger did not take its fact; give the batch again, or start again, and it is sealed once"
    )]
    Unsealed {
        /// The table.
        table: String,
        /// What the ledger says.
        source: LedgerError,
    },
    /// Another program changed a table in a way that appending cannot follow.
    #[error("another program changed the schema of table `{table}` at version {version}: start again to take it over")]
    ChangedElsewhere {
        /// The table.
        table: String,
        /// The version that did.
        version: u64,
    },
    /// Another batch landed while this one was held against the table.
    #[error(
        "another batch landed in `{0}` while this one was held against what is there: nothing of it has landed; give it again"
    )]
    Raced(String),
    /// Something that a dataset's quarantine or its kept rows do not allow.
    #[error("{0}")]
    NotPossible(String),
    /// A stretch of a source that does not begin where the table stands.
    #[error(
        "table `{table}` is not where `{source_name}` was read from: something else reads this source into it; it goes on from where the table stands"
    )]
    Moved {
        /// The table.
        table: String,
        /// The source.
        source_name: String,
    },
    /// Rows that a table cannot hold.
    #[error("rows do not fit table `{table}`: {what}")]
    Misfit {
        /// The table.
        table: String,
        /// Which column, and why.
        what: String,
    },
    /// A table's files.
    #[error("table `{table}` cannot be {doing}")]
    Table {
        /// The table.
        table: String,
        /// `read` or `written`.
        doing: &'static str,
        /// What the storage says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file that was to be written for the caller.
    #[error("`{}` cannot be written", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no such tag, branch or hold.
    #[error("there is no {what} `{name}`{}", near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    NoSuch {
        /// `tag`, `branch` or `hold`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The one that was probably meant.
        near: Option<String>,
    },
    /// There is one already.
    #[error("there is a {what} `{name}` already: choose another name, or end that one first")]
    Exists {
        /// `tag`, `branch` or `hold`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A table that a tag does not pin.
    #[error("tag `{tag}` does not pin `{table}`: it pins {}", pinned.join(", "))]
    NotTagged {
        /// The tag.
        tag: String,
        /// The table.
        table: String,
        /// What it does pin.
        pinned: Vec<String>,
    },
    /// A table that was empty.
    #[error("`{table}` has no rows as of {as_of}, so that there is nothing to {todo}")]
    NothingThen {
        /// The table.
        table: String,
        /// As of what.
        as_of: String,
        /// What was to be done.
        todo: &'static str,
    },
    /// A version whose files a vacuum removed.
    #[error(
        "version {version} of `{table}` cannot be read any more: the vacuum of {at} (fact {fact}) removed its files; versions that nothing removes are pinned by a tag or held by a hold"
    )]
    Vacuumed {
        /// The table.
        table: String,
        /// The version.
        version: u64,
        /// When the vacuum was.
        at: Timestamp,
        /// The fact that records it.
        fact: u64,
    },
    /// A state said in a query whose tables are pinned from outside.
    #[error("this query's versions are pinned, and it says `AS OF` of `{0}` itself: take that out of it")]
    StatedPin(String),
    /// Two versions that cannot be compared by key.
    #[error("rows of `{0}` have no key to be compared by: declare `contract.key`, or say which columns name a row")]
    NoKey(String),
    /// A branch does not hold a dataset.
    #[error("branch `{branch}` does not hold `{dataset}`: it holds {}", holds.join(", "))]
    NotOnBranch {
        /// The branch.
        branch: String,
        /// The dataset.
        dataset: String,
        /// What it does hold.
        holds: Vec<String>,
    },
    /// A log that does not go back to its beginning, so that nobody can say what its files are for.
    #[error(
        "table `{table}` has no log entry for version {version}: another program removed it, and nothing is vacuumed"
    )]
    LogCut {
        /// The table.
        table: String,
        /// The version without an entry.
        version: u64,
    },
    /// A fault of the program itself, such as a task that was cut off.
    #[error("an internal step of the lake ended early: {0}")]
    Interrupted(String),
}

impl LakeError {
    pub(crate) fn no_dataset<'a>(dataset: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::NoDataset { dataset: dataset.to_owned(), near: closest(dataset, known).map(str::to_owned) }
    }

    pub(crate) fn no_such<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::NoSuch { what, name: name.to_owned(), near: closest(name, known).map(str::to_owned) }
    }

    pub(crate) fn contract(dataset: &str, what: impl Into<String>) -> Self {
        Self::Contract { dataset: dataset.to_owned(), what: what.into() }
    }

    pub(crate) fn moved(table: &str, source: &str) -> Self {
        Self::Moved { table: table.to_owned(), source_name: source.to_owned() }
    }

    pub(crate) fn read(table: &str, source: DeltaTableError) -> Self {
        Self::Table { table: table.to_owned(), doing: "read", source: Box::new(source) }
    }

    /// An error while writing; a full disk, however deep in the chain, gets its own words.
    pub(crate) fn written(table: &str, source: impl Error + Send + Sync + 'static) -> Self {
        let (table, source) = (table.to_owned(), Box::new(source));
        if is_disk_full(&*source) {
            Self::DiskFull { table, file: None, source }
        } else {
            Self::Table { table, doing: "written", source }
        }
    }

    /// The same for a file that is known.
    pub(crate) fn file_written(table: &str, path: PathBuf, source: io::Error) -> Self {
        match Self::written(table, source) {
            Self::DiskFull { table, source, .. } => Self::DiskFull { table, file: Some(path), source },
            Self::Table { source, .. } => Self::Table {
                table: table.to_owned(),
                doing: "written",
                source: format!("`{}`: {source}", path.display()).into(),
            },
            other => other,
        }
    }

    /// Whether nothing but room is missing.
    pub fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Unsealed { source, .. } | Self::Ledger(source) => source.is_for_want_of_room(),
            _ => false,
        }
    }
}

/// Whether the cause of an error is a full disk (or a quota or limit that is used up).
pub(crate) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            ) {
                return true;
            }
            // `io::Error::source` skips the error that it wraps itself.
            if io.get_ref().is_some_and(|inner| is_disk_full(inner)) {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_however_deep_it_lies() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let wrapped = deltalake::ObjectStoreError::Generic { store: "LocalFileSystem", source: Box::new(full()) };
        let deep = DeltaTableError::ObjectStore { source: wrapped };
        assert!(matches!(LakeError::written("flights", deep), LakeError::DiskFull { .. }));
        assert!(matches!(LakeError::written("flights", io::Error::other(full())), LakeError::DiskFull { .. }));
        let named = LakeError::file_written("flights", "a/b.parquet".into(), full());
        assert!(named.to_string().contains("`a/b.parquet` of table `flights`"), "{named}");
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(LakeError::written("flights", other), LakeError::Table { .. }));
    }
}
