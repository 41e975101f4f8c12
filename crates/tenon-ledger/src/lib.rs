//! Everything that happens, on one tamper-evident log.
//!
//! STUB OF THE PUBLIC API — to be filled in; names and signatures below are what the other crates build on.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tenon_core::{Clock, Digest, Fact, NewFact, Timestamp};

/// Where a ledger is and what it needs from outside.
pub struct LedgerOptions {
    /// The folder with the database and the signing key.
    pub dir: PathBuf,
    /// The origin line of its checkpoints, such as `acme`.
    pub origin: String,
    /// The source of each fact's moment.
    pub clock: Arc<dyn Clock>,
    /// What is folded from the facts, in the same transaction.
    pub projections: Vec<Arc<dyn Projection>>,
}

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {}

/// A fact with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFact {
    /// Its index, from 0.
    pub index: u64,
    /// The fact.
    pub fact: Fact,
}

/// Current state, folded from facts: documents by collection and key.
pub trait Docs {
    /// One document.
    fn get(&self, collection: &str, key: &str) -> Result<Option<Value>, LedgerError>;
    /// The documents whose key starts with `prefix`, in key order.
    fn scan(&self, collection: &str, prefix: &str) -> Result<Vec<(String, Value)>, LedgerError>;
}

/// Typed reading of documents.
pub trait DocsExt: Docs {
    /// One document as `T`.
    fn read<T: DeserializeOwned>(&self, collection: &str, key: &str) -> Result<Option<T>, LedgerError>;
    /// All documents of a collection whose key starts with `prefix`, as `T`, in key order.
    fn list<T: DeserializeOwned>(&self, collection: &str, prefix: &str) -> Result<Vec<(String, T)>, LedgerError>;
}

/// State that a projection may change.
pub trait DocsMut: Docs {
    /// Writes a document.
    fn put(&mut self, collection: &str, key: &str, document: Value) -> Result<(), LedgerError>;
    /// Removes a document.
    fn delete(&mut self, collection: &str, key: &str) -> Result<(), LedgerError>;
}

/// A fold of facts into documents. Pure: the same facts give the same documents.
pub trait Projection: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Folds one fact in. Facts of kinds that it does not know are none of its business.
    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError>;
}

/// A named, idempotent reader of facts with a durable cursor.
#[async_trait::async_trait]
pub trait Subscriber: Send + Sync {
    /// Its name; the cursor belongs to it.
    fn name(&self) -> &str;
    /// The kinds of fact that it reacts to.
    fn kinds(&self) -> &[&str];
    /// Reacts. May be called again for the same fact after a crash or an error.
    async fn handle(&self, stored: &StoredFact) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What became of an append: one index for each fact, the old one where its operation was sealed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The index of each fact.
    pub indices: Vec<u64>,
    /// How many facts the log holds now.
    pub size: u64,
}

/// An inclusion proof of one fact, RFC 6962 section 2.1.1.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InclusionProof {
    /// The fact's index.
    pub index: u64,
    /// The size of the tree.
    pub size: u64,
    /// The hashes on the path from the leaf to the root.
    pub path: Vec<Digest>,
    /// The signed checkpoint of that tree.
    pub checkpoint: String,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// To be replaced.
    #[error("{0}")]
    Other(String),
}

impl Ledger {
    /// Makes a new ledger with a signing key of its own.
    pub fn create(_options: LedgerOptions) -> Result<Self, LedgerError> { todo!() }
    /// Opens a ledger that exists.
    pub fn open(_options: LedgerOptions) -> Result<Self, LedgerError> { todo!() }
    /// Appends facts in one transaction; durable when it returns. Concurrent callers share a commit.
    pub async fn append(&self, _facts: Vec<NewFact>) -> Result<Appended, LedgerError> { todo!() }
    /// How many facts the log holds.
    pub fn size(&self) -> Result<u64, LedgerError> { todo!() }
    /// Facts by index.
    pub fn facts(&self, _range: Range<u64>) -> Result<Vec<StoredFact>, LedgerError> { todo!() }
    /// The newest facts of some kinds (all kinds when empty), newest first.
    pub fn newest(&self, _kinds: &[&str], _limit: usize) -> Result<Vec<StoredFact>, LedgerError> { todo!() }
    /// The fact that seals an operation.
    pub fn sealed(&self, _kind: &str, _operation: tenon_core::id::OperationId) -> Result<Option<StoredFact>, LedgerError> { todo!() }
    /// Current state.
    pub fn docs(&self) -> LedgerDocs { todo!() }
    /// State as it stood at a moment, folded anew from the facts up to it.
    pub fn docs_as_of(&self, _at: Timestamp) -> Result<MemoryDocs, LedgerError> { todo!() }
    /// Proof that a fact is in the log.
    pub fn inclusion(&self, _index: u64) -> Result<InclusionProof, LedgerError> { todo!() }
    /// The newest signed checkpoint (C2SP tlog-checkpoint).
    pub fn checkpoint(&self) -> Result<String, LedgerError> { todo!() }
    /// The verifier key of the checkpoints (C2SP signed-note).
    pub fn verifier_key(&self) -> String { todo!() }
    /// The company's clock.
    pub fn clock(&self) -> Arc<dyn Clock> { todo!() }
    /// Writes checkpoint and tiles in the C2SP tlog-tiles layout.
    pub fn export(&self, _to: &Path) -> Result<(), LedgerError> { todo!() }
}

/// Current state of a ledger, read from its database.
pub struct LedgerDocs {}
impl Docs for LedgerDocs {
    fn get(&self, _c: &str, _k: &str) -> Result<Option<Value>, LedgerError> { todo!() }
    fn scan(&self, _c: &str, _p: &str) -> Result<Vec<(String, Value)>, LedgerError> { todo!() }
}
/// State in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDocs {}
impl Docs for MemoryDocs {
    fn get(&self, _c: &str, _k: &str) -> Result<Option<Value>, LedgerError> { todo!() }
    fn scan(&self, _c: &str, _p: &str) -> Result<Vec<(String, Value)>, LedgerError> { todo!() }
}
impl<D: Docs + ?Sized> DocsExt for D {
    fn read<T: DeserializeOwned>(&self, _c: &str, _k: &str) -> Result<Option<T>, LedgerError> { todo!() }
    fn list<T: DeserializeOwned>(&self, _c: &str, _p: &str) -> Result<Vec<(String, T)>, LedgerError> { todo!() }
}
