//! The façade.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::TryRng as _;
use serde::{Deserialize, Serialize};
use tenon_core::id::OperationId;
use tenon_core::{Clock, Digest, Fact, NewFact, Timestamp};
use tokio::sync::watch;

use crate::canonical::Draft;
use crate::checkpoint::Checkpoint;
use crate::docs::{LedgerDocs, MemoryDocs, Projection};
use crate::merkle::{
    consistency_ranges, empty_root, inclusion_ranges, leaf_hash, range_root, verify_consistency, verify_inclusion,
};
use crate::note::{NoteSigner, NoteVerifier, is_key_name};
use crate::rebuild::{RebuildReport, fold_facts, rebuild_report};
use crate::store::{Pool, Store};
use crate::verify::VerifyReport;
use crate::writer::{Done, Handle, Work, Writer};
use crate::{LedgerError, audit, export, files};

/// Where a ledger is and what it needs from outside.
#[derive(Clone)]
pub struct LedgerOptions {
    /// The folder with the database and the signing key.
    pub dir: PathBuf,
    /// The origin line of its checkpoints and the name of its key, such as `acme`.
    pub origin: String,
    /// The source of each fact's moment.
    pub clock: Arc<dyn Clock>,
    /// What is folded from the facts, in the same transaction.
    pub projections: Vec<Arc<dyn Projection>>,
}

/// The ledger. Cheap to clone; the last clone to go waits for what is queued and gives the folder free.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    projections: Vec<Arc<dyn Projection>>,
    verifier: NoteVerifier,
    pool: Arc<Pool>,
    size: watch::Receiver<u64>,
    /// Nothing when it was opened read-only.
    writer: Option<Handle>,
    /// What keeps `size` alive when there is no writer to tell of.
    _quiet: Option<watch::Sender<u64>>,
}

/// A fact with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFact {
    /// Its index, from 0.
    pub index: u64,
    /// The fact.
    pub fact: Fact,
}

/// What became of an append: one index for each fact, the old one where its operation was sealed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The index of each fact.
    pub indices: Vec<u64>,
    /// How many facts the log held after this append; others that share the commit may stand behind it.
    pub size: u64,
}

/// An inclusion proof of one fact, RFC 6962 section 2.1.1. [`crate::verify::inclusion`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A consistency proof between two sizes of the log, RFC 6962 section 2.1.2. [`crate::verify::consistency`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyProof {
    /// The older size.
    pub old: u64,
    /// The newer size.
    pub new: u64,
    /// The hashes of the proof.
    pub path: Vec<Digest>,
}

/// A fact that a subscriber could not handle and left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// The subscriber.
    pub subscriber: String,
    /// The fact's index.
    pub index: u64,
    /// The last error.
    pub error: String,
}

impl Ledger {
    /// Makes a new ledger with a signing key of its own, and opens it. One that a crash cut short is completed.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] where there is one; [`LedgerError::Origin`] when the origin cannot name a key.
    pub fn create(options: LedgerOptions) -> Result<Self, LedgerError> {
        let mut seed = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(|_| LedgerError::Randomness)?;
        Self::create_with_seed(options, &seed)
    }

    /// As [`Ledger::create`], with the signing key's 32 secret bytes from outside: a key that was kept elsewhere, tests.
    ///
    /// # Errors
    /// As [`Ledger::create`].
    pub fn create_with_seed(options: LedgerOptions, seed: &[u8; 32]) -> Result<Self, LedgerError> {
        let LedgerOptions { dir, origin, .. } = &options;
        if !is_key_name(origin) {
            return Err(LedgerError::Origin { origin: origin.clone() });
        }
        std::fs::create_dir_all(dir).map_err(LedgerError::io("make", dir))?;
        let lock = files::lock(dir)?;
        if Store::exists_in(dir)? {
            return Err(LedgerError::Exists { dir: dir.clone() });
        }
        // A key without a database has signed nothing that anybody saw.
        let signer = NoteSigner::new(origin, seed);
        if files::has_key(dir) {
            tracing::warn!("replaces the key of a ledger that was never completed");
        }
        files::write_key(dir, &signer)?;
        let empty = Checkpoint { origin: origin.clone(), size: 0, root: empty_root() };
        let store = Store::create(dir, origin, |store| store.put_checkpoint(0, &empty.sign(&signer)))?;
        Self::start(options, store, signer, lock)
    }

    /// Opens a ledger that exists, to read and to write.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], [`LedgerError::Locked`] when another process writes to it, [`LedgerError::KeyExposed`],
    /// and [`LedgerError::Damaged`] when its newest checkpoint does not fit: such a log is only read.
    pub fn open(options: LedgerOptions) -> Result<Self, LedgerError> {
        if !Store::exists_in(&options.dir)? {
            return Err(LedgerError::Missing { dir: options.dir });
        }
        let lock = files::lock(&options.dir)?;
        let store = Store::open(&options.dir, true)?;
        check_origin(&store, &options)?;
        let signer = files::read_key(&options.dir)?;
        Self::start(options, store, signer, lock)
    }

    fn start(
        options: LedgerOptions,
        store: Store,
        signer: NoteSigner,
        lock: std::fs::File,
    ) -> Result<Self, LedgerError> {
        let LedgerOptions { dir, clock, projections, .. } = options;
        let verifier = files::check_verifier(&dir, &signer)?;
        let pool = Arc::new(Pool::new(dir.clone(), Store::open(&dir, false)?));
        let writer = Writer::new(store, signer, Arc::clone(&clock), projections.clone())?.spawn(lock)?;
        let size = writer.size.clone();
        let inner = Inner { dir, clock, projections, verifier, pool, size, writer: Some(writer), _quiet: None };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a ledger to read it, also beside a process that writes, and also one that is damaged. Needs no secret;
    /// appending is refused.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], [`LedgerError::OtherOrigin`].
    pub fn open_read_only(options: LedgerOptions) -> Result<Self, LedgerError> {
        let store = Store::open(&options.dir, false)?;
        check_origin(&store, &options)?;
        let verifier = files::read_verifier(&options.dir)?;
        let LedgerOptions { dir, clock, projections, .. } = options;
        let (sender, size) = watch::channel(store.size()?);
        let pool = Arc::new(Pool::new(dir.clone(), store));
        let inner = Inner { dir, clock, projections, verifier, pool, size, writer: None, _quiet: Some(sender) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Appends facts in one transaction, with every document that they change; durable when it returns. Either all of
    /// them land or none does. Concurrent callers share a commit. Dropping the future does not take a queued append back.
    ///
    /// Each fact's moment is the clock's, but never before the newest fact's. A fact whose operation was sealed by a fact
    /// of its kind is not repeated: its index is the old one.
    ///
    /// # Errors
    /// [`LedgerError::TooLong`], [`LedgerError::UnsafeInteger`] and [`LedgerError::TooDeep`] for facts that cannot be
    /// kept as they are; [`LedgerError::Projection`]; [`LedgerError::DiskFull`]. Nothing is written then.
    pub async fn append(&self, facts: Vec<NewFact>) -> Result<Appended, LedgerError> {
        let drafts: Vec<Draft> = facts.iter().map(Draft::new).collect::<Result<_, _>>()?;
        match self.ask(Work::Append(drafts)).await? {
            Done::Appended(appended) => Ok(appended),
            Done::Advanced | Done::Rebuilt(_) => Err(LedgerError::Closed),
        }
    }

    pub(crate) async fn ask(&self, work: Work) -> Result<Done, LedgerError> {
        self.inner.writer.as_ref().ok_or(LedgerError::ReadOnly)?.ask(work).await
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.inner.pool.with(read)
    }

    /// How many facts the log holds.
    ///
    /// # Errors
    /// When the database cannot be read; so for every method that reads.
    pub fn size(&self) -> Result<u64, LedgerError> {
        match self.inner.writer {
            Some(_) => Ok(*self.inner.size.borrow()),
            None => self.read(Store::size),
        }
    }

    /// Follows the size of the log: it changes with each commit of this process.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.size.clone()
    }

    /// Facts by index; indices beyond the log are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn facts(&self, range: Range<u64>) -> Result<Vec<StoredFact>, LedgerError> {
        self.read(|store| store.facts(range))
    }

    /// The newest facts of some kinds (all kinds when empty), newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn newest(&self, kinds: &[&str], limit: usize) -> Result<Vec<StoredFact>, LedgerError> {
        let mut facts = self.of_kinds(kinds, u64::MAX, true, limit)?;
        facts.sort_by_key(|stored| std::cmp::Reverse(stored.index));
        facts.truncate(limit);
        Ok(facts)
    }

    /// The facts of some kinds (all kinds when empty) from an index on, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn facts_of(&self, kinds: &[&str], from: u64, limit: usize) -> Result<Vec<StoredFact>, LedgerError> {
        let mut facts = self.of_kinds(kinds, from, false, limit)?;
        facts.sort_by_key(|stored| stored.index);
        facts.truncate(limit);
        Ok(facts)
    }

    fn of_kinds(&self, kinds: &[&str], from: u64, newest: bool, limit: usize) -> Result<Vec<StoredFact>, LedgerError> {
        self.read(|store| {
            if kinds.is_empty() {
                return store.facts_of_kind(None, from, newest, limit);
            }
            store.snapshot(|store| {
                let mut facts = Vec::new();
                for (position, kind) in kinds.iter().enumerate() {
                    if !kinds[..position].contains(kind) {
                        facts.extend(store.facts_of_kind(Some(kind), from, newest, limit)?);
                    }
                }
                Ok(facts)
            })
        })
    }

    /// The fact of a kind that seals an operation.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sealed(&self, kind: &str, operation: OperationId) -> Result<Option<StoredFact>, LedgerError> {
        self.read(|store| match store.sealed(kind, operation)? {
            Some(index) => Ok(store.facts(index..index + 1)?.pop()),
            None => Ok(None),
        })
    }

    /// Current state.
    pub fn docs(&self) -> LedgerDocs {
        LedgerDocs { pool: Arc::clone(&self.inner.pool) }
    }

    /// State as it stood at a moment, folded anew from the facts up to it.
    ///
    /// # Errors
    /// When the database cannot be read or a projection no longer takes a fact.
    pub fn docs_as_of(&self, at: Timestamp) -> Result<MemoryDocs, LedgerError> {
        self.read(|store| {
            store.snapshot(|store| {
                let mut docs = MemoryDocs::default();
                let end = facts_until(store, at)?;
                fold_facts(store, &self.inner.projections, 0..end, &mut docs)?;
                Ok(docs)
            })
        })
    }

    /// How many facts there were at a moment, that is, the index of the first one after it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn size_as_of(&self, at: Timestamp) -> Result<u64, LedgerError> {
        self.read(|store| store.snapshot(|store| facts_until(store, at)))
    }

    /// Proof that a fact is in the log, against its newest checkpoint. It holds for the fact as it is stored, or there is
    /// none.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchFact`]; [`LedgerError::Damaged`] when the fact is not what the checkpoint commits to.
    pub fn inclusion(&self, index: u64) -> Result<InclusionProof, LedgerError> {
        self.read(|store| {
            store.snapshot(|store| {
                let (size, checkpoint) = store.checkpoint()?;
                let ranges = inclusion_ranges(index, size).map_err(|_| LedgerError::NoSuchFact { index, size })?;
                let path = hashes(store, &ranges)?;
                let row = store.rows(index..index + 1)?.pop();
                let leaf = leaf_hash(&row.ok_or(LedgerError::NoSuchFact { index, size })?.bytes);
                let root = Checkpoint::open(&checkpoint, &self.inner.verifier)?.root;
                verify_inclusion(&leaf, index, size, &path, &root).map_err(|_| {
                    LedgerError::Damaged(format!("fact {index} is not what the newest checkpoint commits to"))
                })?;
                Ok(InclusionProof { index, size, path, checkpoint })
            })
        })
    }

    /// The canonical bytes of a fact: the leaf that its inclusion proof is about.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchFact`]; [`LedgerError::Damaged`] when it is not the one that was appended.
    pub fn leaf(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.read(|store| {
            let leaf = store.rows(index..index.saturating_add(1))?.pop();
            let size = store.size()?;
            let leaf = leaf.ok_or(LedgerError::NoSuchFact { index, size })?;
            store.check(std::iter::once((index, leaf.bytes.as_slice())))?;
            Ok(leaf.bytes)
        })
    }

    /// Proof that the log of `old` facts is a prefix of the log of `new` facts.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchSize`] unless `1 <= old <= new <=` the log's size; [`LedgerError::Damaged`] when the stored
    /// tree is not what the newest checkpoint commits to.
    pub fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, LedgerError> {
        self.read(|store| {
            store.snapshot(|store| {
                let checkpoint = Checkpoint::open(&store.checkpoint()?.1, &self.inner.verifier)?;
                let size = checkpoint.size;
                let ranges = consistency_ranges(old, new).ok().filter(|_| new <= size);
                let ranges = ranges.ok_or(LedgerError::NoSuchSize { old, new, size })?;
                let path = hashes(store, &ranges)?;
                let (old_root, new_root) = (root(store, old)?, root(store, new)?);
                let onwards = consistency_ranges(new, size).map(|ranges| hashes(store, &ranges));
                let holds = verify_consistency((old, &old_root), (new, &new_root), &path).is_ok()
                    && verify_consistency((new, &new_root), (size, &checkpoint.root), &onwards??).is_ok();
                if !holds {
                    let what = "its stored tree is not what the newest checkpoint commits to";
                    return Err(LedgerError::Damaged(what.to_owned()));
                }
                Ok(ConsistencyProof { old, new, path })
            })
        })
    }

    /// The newest signed checkpoint (C2SP tlog-checkpoint).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn checkpoint(&self) -> Result<String, LedgerError> {
        self.read(|store| Ok(store.checkpoint()?.1))
    }

    /// The verifier key of the checkpoints (C2SP signed-note).
    pub fn verifier_key(&self) -> String {
        self.inner.verifier.to_string()
    }

    /// The company's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// The folder of the ledger.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Writes checkpoint, tiles, entries and the verifier key in the C2SP tlog-tiles layout. An older export of the same
    /// log is brought up to date.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn export(&self, to: &Path) -> Result<(), LedgerError> {
        self.read(|store| store.snapshot(|store| export::export(store, &self.inner.verifier, to)))
    }

    /// Walks the whole log and reports whatever does not hold; `progress` is told how many facts of how many are done.
    ///
    /// # Errors
    /// When the database cannot be opened; what is wrong inside it is a finding.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport, LedgerError> {
        self.read(|store| audit::audit(store, &self.inner.verifier, &self.inner.projections, None, &mut progress))
    }

    /// As [`Ledger::verify`], and also against a checkpoint that somebody kept: a log that was cut back, or written anew
    /// with its own key, is found.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn verify_against(
        &self,
        checkpoint: &str,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<VerifyReport, LedgerError> {
        let (verifier, projections) = (&self.inner.verifier, &self.inner.projections);
        self.read(|store| audit::audit(store, verifier, projections, Some(checkpoint), &mut progress))
    }

    /// Folds every document anew from the facts and compares; takes the new ones over when `replace` says so. Holds the
    /// calling thread meanwhile, and with `replace` every append too.
    ///
    /// # Errors
    /// [`LedgerError::ReadOnly`] when a read-only ledger is asked to replace; [`LedgerError::Projection`] when a
    /// projection no longer takes a fact.
    pub fn rebuild(&self, replace: bool) -> Result<RebuildReport, LedgerError> {
        if !replace {
            return self.read(|store| store.snapshot(|store| rebuild_report(store, &self.inner.projections)));
        }
        let writer = self.inner.writer.as_ref().ok_or(LedgerError::ReadOnly)?;
        match writer.ask_and_block(Work::Rebuild)? {
            Done::Rebuilt(report) => Ok(report),
            Done::Appended(_) | Done::Advanced => Err(LedgerError::Closed),
        }
    }
}

fn check_origin(store: &Store, options: &LedgerOptions) -> Result<(), LedgerError> {
    let found = store.origin()?;
    let wanted = options.origin.clone();
    if found == wanted { Ok(()) } else { Err(LedgerError::OtherOrigin { found, wanted }) }
}

fn hashes(store: &Store, ranges: &[Range<u64>]) -> Result<Vec<Digest>, LedgerError> {
    ranges.iter().map(|range| range_root(range, &mut |level, index| store.node(level, index))).collect()
}

/// The root of the tree of the first `size` leaves, as it is stored.
pub(crate) fn root(store: &Store, size: u64) -> Result<Digest, LedgerError> {
    if size == 0 { Ok(empty_root()) } else { range_root(&(0..size), &mut |level, index| store.node(level, index)) }
}

/// The index of the first fact after a moment. Moments never go backwards in the log, so halving finds it.
fn facts_until(store: &Store, at: Timestamp) -> Result<u64, LedgerError> {
    let (mut low, mut high) = (0, store.size()?);
    while low < high {
        let middle = low + (high - low) / 2;
        let moment = store.moment(middle)?;
        let moment = moment.ok_or_else(|| LedgerError::Damaged(format!("fact {middle} is gone")))?;
        if moment <= at.as_micros() { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}
