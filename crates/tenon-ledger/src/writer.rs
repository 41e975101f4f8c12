//! The one thread that writes. Whatever waits when a commit begins shares it: its requests are applied one after the
//! other, each whole or not at all, and answered when the commit is durable.
//!
//! The life of a fact: *queued* (a crash loses it, nobody was told otherwise) → *committed*, that is, in one transaction
//! its bytes, its leaf in the tiles, the signed checkpoint that covers it, and every document that it changed →
//! *answered*. There is no state between: after a crash the database holds all of a commit or nothing of it.
//!
//! Only this thread may change the database. Where SQLite tells that somebody else did, the whole log is verified in the
//! next commit's transaction, and nothing is signed any more unless it holds and still begins with what was signed.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tenon_core::id::OperationId;
use tenon_core::{Clock, Digest, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::canonical::Draft;
use crate::checkpoint::Checkpoint;
use crate::docs::{Projection, fold};
use crate::ledger::Appended;
use crate::note::NoteSigner;
use crate::rebuild::{RebuildReport, rebuild};
use crate::store::{Store, stored};
use crate::tiles::Edge;
use crate::{LedgerError, audit, merkle};

/// Requests beyond these wait for the next commit, so that nobody waits long.
const MAX_FACTS_IN_A_COMMIT: usize = 32_768;

/// What the writer is asked to do.
pub(crate) enum Work {
    /// Append facts.
    Append(Vec<Draft>),
    /// Move a subscriber's cursor, and note a fact that it gave up on.
    Advance { subscriber: String, next: u64, parked: Option<(u64, String)> },
    /// Fold the documents anew.
    Rebuild,
}

/// What came of it.
pub(crate) enum Done {
    Appended(Appended),
    Advanced,
    Rebuilt(RebuildReport),
}

/// Who waits for it: a task, or a thread.
pub(crate) type Answer = Box<dyn FnOnce(Result<Done, LedgerError>) + Send>;

pub(crate) struct Job {
    pub work: Work,
    pub answer: Answer,
}

/// What the writer knows of the log, so that it need not ask.
#[derive(Clone)]
struct State {
    edge: Edge,
    last: Timestamp,
}

pub(crate) struct Writer {
    store: Store,
    signer: NoteSigner,
    origin: String,
    clock: Arc<dyn Clock>,
    projections: Vec<Arc<dyn Projection>>,
    /// Nothing after a failed commit: whether it took hold is the database's to say.
    state: Option<State>,
    /// What this thread signed last, as size and root.
    promised: Option<(u64, Digest)>,
    /// The database's own count of changes by others, when it last held.
    others: Option<i64>,
    size: watch::Sender<u64>,
}

impl Writer {
    pub fn new(
        store: Store,
        signer: NoteSigner,
        clock: Arc<dyn Clock>,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Result<Self, LedgerError> {
        let origin = store.origin()?;
        let size = watch::Sender::new(0);
        let (state, promised, others) = (None, None, None);
        let mut writer = Self { store, signer, origin, clock, projections, state, promised, others, size };
        let edge = &writer.state()?.edge;
        let (size, root) = (edge.size(), edge.root());
        writer.promised = Some((size, root));
        writer.others = Some(writer.store.data_version()?);
        writer.size.send_replace(size);
        Ok(writer)
    }

    /// Runs the writer in a thread of its own, which keeps the lock until its last commit is done.
    pub fn spawn(mut self, lock: File) -> Result<Handle, LedgerError> {
        let (jobs, queue) = channel();
        let size = self.size.subscribe();
        let thread = std::thread::Builder::new().name("ledger-writer".to_owned()).spawn(move || {
            self.run(&queue);
            drop(self);
            drop(lock);
        });
        let thread = thread.map_err(LedgerError::io("start a thread for", "the ledger's writer"))?;
        Ok(Handle { jobs: Some(jobs), size, thread: Some(thread) })
    }

    fn run(&mut self, queue: &Receiver<Job>) {
        let mut waiting: Option<Job> = None;
        while let Some(first) = waiting.take().or_else(|| queue.recv().ok()) {
            let mut facts = first.work.facts();
            let mut jobs = vec![first];
            while let Ok(job) = queue.try_recv() {
                facts += job.work.facts();
                if facts > MAX_FACTS_IN_A_COMMIT {
                    waiting = Some(job);
                    break;
                }
                jobs.push(job);
            }
            self.commit(jobs);
        }
    }

    /// Commits the jobs together; where that fails, each alone, so that each gets its own answer.
    pub fn commit(&mut self, mut jobs: Vec<Job>) {
        match self.try_commit(&jobs) {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    (job.answer)(outcome);
                }
            }
            Err(error) if jobs.len() == 1 => {
                tracing::error!(error = &error as &dyn std::error::Error, "a ledger commit failed");
                if let Some(job) = jobs.pop() {
                    (job.answer)(Err(error));
                }
            }
            Err(_) => {
                for job in jobs {
                    self.commit(vec![job]);
                }
            }
        }
    }

    fn try_commit(&mut self, jobs: &[Job]) -> Result<Vec<Result<Done, LedgerError>>, LedgerError> {
        let mut next = self.state()?.clone();
        let committed = self.transaction(jobs, &mut next);
        match committed {
            Ok(outcomes) => {
                self.promised = Some((next.edge.size(), next.edge.root()));
                self.size.send_replace(next.edge.size());
                self.state = Some(next);
                Ok(outcomes)
            }
            Err(error) => {
                self.store.rollback();
                self.state = None;
                Err(error)
            }
        }
    }

    fn transaction(&mut self, jobs: &[Job], next: &mut State) -> Result<Vec<Result<Done, LedgerError>>, LedgerError> {
        self.store.begin()?;
        self.look_for_strangers()?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut leaves = Vec::new();
        for job in jobs {
            let (last, count) = (next.last, leaves.len());
            self.store.savepoint()?;
            match self.perform(&job.work, next, &mut leaves) {
                Ok(done) => {
                    self.store.release()?;
                    outcomes.push(Ok(done));
                }
                Err(error) if error.is_of_the_store() => return Err(error),
                Err(error) => {
                    self.store.back_to_savepoint()?;
                    next.last = last;
                    leaves.truncate(count);
                    outcomes.push(Err(error));
                }
            }
        }
        if !leaves.is_empty() {
            self.seal(&leaves, &mut next.edge)?;
        }
        self.store.commit()?;
        Ok(outcomes)
    }

    /// Verifies everything where somebody else has changed the database since it last held.
    fn look_for_strangers(&mut self) -> Result<(), LedgerError> {
        let now = self.store.data_version()?;
        if self.others == Some(now) {
            return Ok(());
        }
        tracing::warn!("another program has changed the ledger's database: verifying all of it");
        // The log alone: documents that somebody changed are the audit's to find, and a rebuild's to mend.
        let report = audit::examine(&self.store, &self.signer.verifier(), &[], None, &mut |_, _| ())?;
        let changed = |what: &dyn std::fmt::Display| {
            LedgerError::Damaged(format!(
                "another program has changed its database, and {what}; nothing more is signed"
            ))
        };
        if let Some(finding) = report.findings.first() {
            return Err(changed(finding));
        }
        if let Some((size, root)) = self.promised
            && (self.store.size()? < size || crate::ledger::root(&self.store, size)? != root)
        {
            return Err(changed(&format!("it no longer begins with the {size} facts that were signed")));
        }
        self.others = Some(now);
        Ok(())
    }

    fn perform(&mut self, work: &Work, next: &mut State, leaves: &mut Vec<Digest>) -> Result<Done, LedgerError> {
        match work {
            Work::Append(drafts) => self.append(drafts, next, leaves).map(Done::Appended),
            Work::Advance { subscriber, next, parked } => {
                if let Some((index, error)) = parked {
                    self.store.park(subscriber, *index, error)?;
                }
                self.store.set_cursor(subscriber, *next)?;
                Ok(Done::Advanced)
            }
            Work::Rebuild => rebuild(&self.store, &self.projections).map(Done::Rebuilt),
        }
    }

    fn append(
        &mut self,
        drafts: &[Draft],
        next: &mut State,
        leaves: &mut Vec<Digest>,
    ) -> Result<Appended, LedgerError> {
        let now = self.clock.now().max(next.last);
        let before = next.edge.size();
        let mut indices = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let sealed = |operation: OperationId| self.store.sealed(&draft.kind, operation);
            if let Some(index) = draft.operation.map(sealed).transpose()?.flatten() {
                indices.push(index);
                continue;
            }
            let index = before + leaves.len() as u64;
            let bytes = draft.at(now);
            self.store.insert_fact(index, &draft.kind, now, draft.operation, &bytes)?;
            if !self.projections.is_empty() {
                // Projections see the fact as it will be read back (canonical JSON writes 1.0 as 1), so that folding
                // it now and folding it in a rebuild are the same.
                fold(&self.projections, &mut self.store, &stored(index, &bytes)?)?;
            }
            leaves.push(merkle::leaf_hash(&bytes));
            next.last = now;
            indices.push(index);
        }
        Ok(Appended { indices, size: before + leaves.len() as u64 })
    }

    /// Adds leaves to the tree and signs it.
    fn seal(&self, leaves: &[Digest], edge: &mut Edge) -> Result<(), LedgerError> {
        let mut complete = Vec::new();
        for leaf in leaves {
            edge.push(*leaf, |level, number, hashes| complete.push((level, number, hashes.to_vec())));
        }
        for (level, number, hashes) in &complete {
            self.store.put_tile(*level, *number, hashes)?;
        }
        for (level, number, hashes) in edge.partial() {
            self.store.put_tile(level, number, hashes)?;
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: edge.size(), root: edge.root() };
        self.store.put_checkpoint(edge.size(), &checkpoint.sign(&self.signer))
    }

    /// What the database says, checked against its newest checkpoint: a log that does not hold gets no more facts.
    fn state(&mut self) -> Result<&State, LedgerError> {
        if self.state.is_none() {
            let size = self.store.size()?;
            let (_, note) = self.store.checkpoint()?;
            let checkpoint = Checkpoint::open(&note, &self.signer.verifier())?;
            let gone = |level, number| LedgerError::Damaged(format!("tile {number} on level {level} is gone"));
            let edge = Edge::load(size, |level, number| {
                let tile = self.store.tile(level, number)?.ok_or_else(|| gone(level, number))?;
                let fits = tile.len() == crate::tiles::width(level, number, size);
                if fits { Ok(tile) } else { Err(gone(level, number)) }
            })?;
            if checkpoint.size != size || checkpoint.root != edge.root() {
                let promised = checkpoint.size;
                return Err(LedgerError::Damaged(format!(
                    "its newest checkpoint commits to other facts ({promised} of them, {size} are stored)"
                )));
            }
            let last = if size == 0 { None } else { self.store.moment(size - 1)? };
            self.state = Some(State { edge, last: Timestamp::from_micros(last.unwrap_or(i64::MIN)) });
        }
        self.state.as_ref().ok_or(LedgerError::Closed)
    }
}

impl Work {
    fn facts(&self) -> usize {
        if let Self::Append(drafts) = self { drafts.len() } else { 0 }
    }
}

/// The way to the writer. Dropped, it waits for what is queued.
pub(crate) struct Handle {
    jobs: Option<Sender<Job>>,
    pub size: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Asks and waits as a task.
    pub async fn ask(&self, work: Work) -> Result<Done, LedgerError> {
        let (answer, done) = oneshot::channel();
        self.send(work, Box::new(|outcome| drop(answer.send(outcome))))?;
        done.await.map_err(|_| LedgerError::Closed)?
    }

    /// Asks and holds the thread until the answer is there.
    pub fn ask_and_block(&self, work: Work) -> Result<Done, LedgerError> {
        let (answer, done) = channel();
        self.send(work, Box::new(move |outcome| drop(answer.send(outcome))))?;
        done.recv().map_err(|_| LedgerError::Closed)?
    }

    fn send(&self, work: Work, answer: Answer) -> Result<(), LedgerError> {
        let jobs = self.jobs.as_ref().ok_or(LedgerError::Closed)?;
        jobs.send(Job { work, answer }).map_err(|_| LedgerError::Closed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use tenon_core::clock::ManualClock;
    use tenon_core::{NewFact, Principal};

    use super::*;
    use crate::files;

    fn facts(count: usize, text: &str) -> Vec<Draft> {
        let by = Principal::person("ann");
        let new =
            NewFact { kind: "a.b".into(), version: 1, by, pod: None, operation: None, body: json!({ "text": text }) };
        (0..count).map(|_| Draft::new(&new).unwrap()).collect()
    }

    fn commit(writer: &mut Writer, batches: Vec<Vec<Draft>>) -> Vec<Result<Appended, LedgerError>> {
        let (sender, answers) = channel();
        let jobs = batches.into_iter().map(|drafts| {
            let sender = sender.clone();
            let answer: Answer = Box::new(move |outcome| drop(sender.send(outcome)));
            Job { work: Work::Append(drafts), answer }
        });
        writer.commit(jobs.collect());
        drop(sender);
        let appended = answers.into_iter().map(|outcome| match outcome? {
            Done::Appended(appended) => Ok(appended),
            Done::Advanced | Done::Rebuilt(_) => Err(LedgerError::Closed),
        });
        appended.collect()
    }

    #[test]
    fn a_full_disk_refuses_what_does_not_fit_and_later_appends_work() {
        let folder = tempfile::tempdir().unwrap();
        let signer = NoteSigner::new("acme", &[1; 32]);
        files::write_key(folder.path(), &signer).unwrap();
        let empty = Checkpoint { origin: "acme".into(), size: 0, root: merkle::empty_root() }.sign(&signer);
        let store = Store::create(folder.path(), "acme", |store| store.put_checkpoint(0, &empty)).unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(0));
        let mut writer = Writer::new(store, signer, clock, Vec::new()).unwrap();
        assert!(commit(&mut writer, vec![facts(10, "small")]).remove(0).is_ok());

        writer.store.limit_pages(writer.store.page_count() + 8);
        let large = "x".repeat(60_000);
        let outcomes = commit(&mut writer, vec![facts(1, "small"), facts(20, &large), facts(2, "small")]);
        assert_eq!(outcomes[0].as_ref().unwrap().indices, [10]);
        assert!(matches!(outcomes[1], Err(LedgerError::DiskFull)), "{:?}", outcomes[1]);
        assert_eq!(outcomes[2].as_ref().unwrap().indices, [11, 12]);
        assert!(matches!(commit(&mut writer, vec![facts(20, &large)])[0], Err(LedgerError::DiskFull)));

        writer.store.limit_pages(1_000_000);
        assert_eq!(commit(&mut writer, vec![facts(20, &large)])[0].as_ref().unwrap().size, 33);
        let verifier = files::read_verifier(folder.path()).unwrap();
        let report = audit::audit(&writer.store, &verifier, &[], None, &mut |_, _| ()).unwrap();
        assert!(report.ok(), "{:?}", report.findings);
        assert_eq!(report.facts, 33);
    }
}
