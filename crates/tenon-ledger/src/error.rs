//! What can go wrong with a ledger.

use std::path::PathBuf;

use tenon_core::fact::PayloadError;

use crate::merkle::ProofError;
use crate::note::NoteError;

/// What can go wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is none.
    #[error("there is no ledger in {}; create one first", .dir.display())]
    Missing {
        /// The folder that was asked for.
        dir: PathBuf,
    },
    /// There is one already.
    #[error("there is a ledger in {} already; open it, or choose another folder", .dir.display())]
    Exists {
        /// The folder that was asked for.
        dir: PathBuf,
    },
    /// Another process writes to it.
    #[error("the ledger in {} is in use by process {pid}; stop that one first, or open the ledger read-only", .dir.display())]
    Locked {
        /// The ledger's folder.
        dir: PathBuf,
        /// The process that holds it, or `unknown`.
        pid: String,
    },
    /// It was opened for reading.
    #[error("the ledger was opened read-only; open it for writing to change it")]
    ReadOnly,
    /// The writer thread is gone.
    #[error("the ledger's writer has stopped; open the ledger again")]
    Closed,
    /// The database was written by another version of the program.
    #[error("the ledger has format `{found}`, this program reads `{wanted}`; use the program that wrote it")]
    Format {
        /// The format that the database names.
        found: String,
        /// The one that is known.
        wanted: &'static str,
    },
    /// The ledger belongs to another company.
    #[error("the ledger belongs to `{found}`, not to `{wanted}`; check the company's name and the ledger's folder")]
    OtherOrigin {
        /// The origin in the ledger.
        found: String,
        /// The origin that was asked for.
        wanted: String,
    },
    /// An origin that cannot name a key.
    #[error("`{origin}` cannot be a ledger's origin: use at least one character, no spaces and no `+`")]
    Origin {
        /// The origin as given.
        origin: String,
    },
    /// Others can read the signing key.
    #[error("others can read the signing key {} (mode {mode:o}); if nobody did, run `chmod 600` on it", .path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key cannot be read.
    #[error("{} is not the ledger's key", .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// The machine gave no random numbers for a key.
    #[error("the machine gives no random numbers to make a signing key of")]
    Randomness,
    /// A fact is too long for the log's tiles.
    #[error(
        "a fact of kind `{kind}` has {bytes} bytes, more than the 65535 that fit; put bulk data into the lake and its digest into the fact"
    )]
    TooLong {
        /// Its kind.
        kind: String,
        /// Its length as canonical JSON.
        bytes: usize,
    },
    /// A whole number that JSON's doubles cannot hold.
    #[error(
        "a fact of kind `{kind}` holds {number} at `{path}`, which JSON numbers cannot hold exactly; write it as text"
    )]
    UnsafeInteger {
        /// Its kind.
        kind: String,
        /// Where, as a JSON pointer into the body.
        path: String,
        /// The number.
        number: String,
    },
    /// A fact is nested too deep to be read back.
    #[error("a fact of kind `{kind}` is nested more than {limit} levels deep; flatten it")]
    TooDeep {
        /// Its kind.
        kind: String,
        /// How deep a body may be.
        limit: usize,
    },
    /// A fact that is not in the log.
    #[error("there is no fact {index}: the log holds {size}")]
    NoSuchFact {
        /// The index that was asked for.
        index: u64,
        /// How many facts there are.
        size: u64,
    },
    /// A size that the log never had.
    #[error("there is no proof from size {old} to size {new}: the log holds {size} facts, and sizes start at 1")]
    NoSuchSize {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
        /// How many facts there are.
        size: u64,
    },
    /// A projection refuses a fact.
    #[error("projection `{name}` refuses a fact of kind `{kind}`; nothing was appended")]
    Projection {
        /// The projection.
        name: &'static str,
        /// The fact's kind.
        kind: String,
        /// Why.
        source: Box<LedgerError>,
    },
    /// A projection panicked.
    #[error("it panicked")]
    Panicked,
    /// A document does not have the wanted shape.
    #[error("document `{key}` in `{collection}` has another shape; rebuild the ledger's documents")]
    Document {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
        /// What serde found.
        source: serde_json::Error,
    },
    /// A payload that a projection cannot read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A value that cannot be written as JSON.
    #[error("a value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Two subscribers of one name would share a cursor.
    #[error("two subscribers are called `{0}`; each needs a name of its own")]
    SameName(String),
    /// The stored log does not hold together.
    #[error("the ledger is damaged: {0}; run `tenon audit verify`")]
    Damaged(String),
    /// A checkpoint or key that does not hold.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A proof that does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// No room.
    #[error("the disk with the ledger is full: nothing was written; free some space and try again")]
    DiskFull,
    /// The database's files cannot be written.
    #[error("the ledger's database `ledger.db` cannot be written: nothing was appended; see to its disk and try again")]
    Unwritable {
        /// Why.
        source: rusqlite::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// `read`, `write`, `lock`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database refuses.
    #[error("the ledger's database refuses")]
    Store {
        /// Why.
        source: rusqlite::Error,
    },
    /// What a projection says in its own words.
    #[error("{0}")]
    Other(String),
}

impl LedgerError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether the ledger's disk does not take what is to be written; once it does, trying again is enough.
    pub fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Unwritable { .. })
    }

    /// Whether the database failed, rather than a request being refused: the whole transaction is lost then.
    pub(crate) fn is_of_the_store(&self) -> bool {
        match self {
            Self::DiskFull | Self::Unwritable { .. } | Self::Store { .. } | Self::Io { .. } | Self::Damaged(_) => true,
            Self::Projection { source, .. } => source.is_of_the_store(),
            _ => false,
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase};
        // What a write meets that the system refuses for another reason than a full disk, such as a limit on file sizes.
        const WRITES: [i32; 6] = [
            rusqlite::ffi::SQLITE_IOERR_WRITE,
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC,
            rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
            rusqlite::ffi::SQLITE_IOERR_SHMOPEN,
            rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
        ];
        if source.sqlite_error().is_some_and(|error| WRITES.contains(&error.extended_code)) {
            return Self::Unwritable { source };
        }
        match source.sqlite_error_code() {
            Some(DiskFull) => Self::DiskFull,
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(format!("its database cannot be read ({source})")),
            _ => Self::Store { source },
        }
    }
}
