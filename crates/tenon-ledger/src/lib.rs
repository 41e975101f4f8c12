//! Everything that happens, on one tamper-evident log.
//!
//! A [`Ledger`] is a list of facts. Each is stored as canonical JSON (RFC 8785), which is a leaf of a Merkle tree
//! (RFC 6962); each commit signs the tree's root (C2SP tlog-checkpoint), and the tree lies in tiles (C2SP tlog-tiles)
//! that anybody can check without this program. Current state is documents that [`Projection`]s fold from the facts in
//! the same transaction, and can be folded anew at any time. [`Subscribers`] react to facts, each from a durable cursor.
//!
//! [`verify`] is apart from what writes: it takes bytes and a public key.

mod audit;
mod canonical;
pub mod checkpoint;
mod docs;
mod error;
mod export;
mod files;
mod ledger;
pub mod merkle;
pub mod note;
mod rebuild;
mod store;
mod subscriber;
pub mod tiles;
pub mod verify;
mod writer;

pub use canonical::is_canonical;
pub use docs::{Docs, DocsExt, DocsMut, DocsMutExt, LedgerDocs, MemoryDocs, Projection};
pub use error::LedgerError;
pub use ledger::{Appended, ConsistencyProof, InclusionProof, Ledger, LedgerOptions, Parked, StoredFact};
pub use rebuild::{Difference, RebuildReport};
pub use subscriber::{Retries, Subscriber, Subscribers};
pub use verify::{Finding, VerifyReport};
