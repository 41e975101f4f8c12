//! Sources, and delivery into the lake exactly once.
//!
//! A file is taken once by the digest of its bytes, whatever its name; a push once by its idempotency key, or else by
//! the digest of its rows. Files are Parquet, Arrow IPC, CSV with a header, or NDJSON, by ending; they lie in a folder or
//! in an object store, and are read piece by piece. One that is written still waits where a folder is watched, and one that
//! was written on after it was taken is refused: its first rows would land twice.
//! Accepted rows are handed to a [`Feed`] (the feature store) as soon as they are known to keep the contract.

mod buffer;
mod error;
mod files;
mod formats;
mod growing;
mod heaps;
mod ingest;
mod json;
mod kafka;
mod objects;
mod secret;
mod shelf;
mod typed;
mod watch;

pub use buffer::Buffer;
pub use error::IngestError;
pub use files::matching;
pub use heaps::share_heaps;
pub use ingest::{Feed, FeedError, FileOutcome, Ingest, Once};
pub use json::rows_from_json;
pub use kafka::Taken;
pub use secret::reveal;
pub use typed::rows_of_file;
