//! Verification of the ledger's own database: the walk over the log, and what a database has beside it (the columns that
//! facts are found by, the checkpoints that were kept, the documents).

use std::sync::Arc;

use tenon_core::Fact;

use crate::LedgerError;
use crate::checkpoint::Checkpoint;
use crate::docs::{MemoryDocs, Projection, fold};
use crate::ledger::StoredFact;
use crate::note::NoteVerifier;
use crate::rebuild::compare;
use crate::store::{FactRow, Store};
use crate::verify::{Findings, Leaf, VerifyReport, Walk};

/// Rows are read and examined so many at a time.
const CHUNK: u64 = 8_192;

/// Walks everything in one snapshot of the database.
pub(crate) fn audit(
    store: &Store,
    verifier: &NoteVerifier,
    projections: &[Arc<dyn Projection>],
    kept: Option<&str>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, LedgerError> {
    store.snapshot(|store| examine(store, verifier, projections, kept, progress))
}

/// The same in a transaction that is open already.
pub(crate) fn examine(
    store: &Store,
    verifier: &NoteVerifier,
    projections: &[Arc<dyn Projection>],
    kept: Option<&str>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, LedgerError> {
    Audit { store, verifier, projections }.run(kept, progress)
}

struct Audit<'a> {
    store: &'a Store,
    verifier: &'a NoteVerifier,
    projections: &'a [Arc<dyn Projection>],
}

impl Audit<'_> {
    fn run(&self, kept: Option<&str>, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, LedgerError> {
        let mut problems = Findings::default();
        let checkpoints = self.checkpoints(kept, &mut problems);
        let stored = self.store.size().unwrap_or(0);
        let held = checkpoints.iter().filter(|(_, name)| name != KEPT).map(|(checkpoint, _)| checkpoint.size).max();
        // Where the newest checkpoint does not hold, its facts are still walked; but what it claims without a signature
        // cannot make the walk longer than the facts are many.
        let claimed = self.store.checkpoint().map_or(0, |(size, _)| size.min(self.store.fact_count().unwrap_or(0)));
        let expected = held.unwrap_or(0).max(claimed);
        let mut walk = Walk::new(expected, !self.projections.is_empty());
        walk.findings = problems;
        for (checkpoint, name) in checkpoints {
            walk.promise(checkpoint, name);
        }
        walk.start();

        let mut docs = Folded { docs: MemoryDocs::default(), complete: true };
        let mut read_tile = |level, number| self.store.tile(level, number).ok().flatten();
        let total = stored.max(expected);
        let mut start = 0;
        while start < stored {
            // Somebody may have moved facts to absurd indices; empty stretches are skipped.
            let rows = match self.store.rows_from(start, CHUNK) {
                Ok(rows) => rows,
                Err(error) => {
                    walk.findings.general(format!("the facts from {start} on cannot be read ({error})"));
                    docs.complete = false;
                    break;
                }
            };
            let Some(last) = rows.last().map(|row| row.index) else { break };
            let columns: Vec<_> = rows.iter().map(|row| (row.at, row.operation.clone(), row.kind.clone())).collect();
            let first = rows.first().map_or(0, |row| row.index);
            let gapless = last - first + 1 == rows.len() as u64;
            let leaves = rows.into_iter().map(leaf).collect();
            let facts = walk.take(leaves, &mut read_tile);
            for (index, fact) in facts {
                let column = if gapless { columns.get((index - first) as usize) } else { None };
                self.note_fact(index, fact, column, &mut walk, &mut docs);
            }
            start = last + 1;
            progress(start.min(total), total);
        }
        for (index, kind) in self.store.sealed_twice().unwrap_or_default() {
            walk.findings.about(index, Some(kind), "seals an operation that another fact of its kind sealed before");
        }
        let (mut walk, root) = walk.finish(&mut read_tile);
        docs.complete &= walk.is_gapless();
        let documents = self.documents(&docs, &mut walk.findings);
        Ok(walk.report(root, documents))
    }

    /// The checkpoints that hold by themselves, with their names. The newest one must be there.
    fn checkpoints(&self, kept: Option<&str>, problems: &mut Findings) -> Vec<(Checkpoint, String)> {
        let mut checkpoints = Vec::new();
        let stored = self.store.all_checkpoints().unwrap_or_default();
        if stored.is_empty() {
            problems.general("the ledger has no checkpoint: nothing vouches for its facts");
        }
        let opened: Vec<_> = {
            use rayon::prelude::*;
            stored.par_iter().map(|(size, note)| (*size, Checkpoint::open(note, self.verifier))).collect()
        };
        let count = opened.len();
        for (position, (size, opened)) in opened.into_iter().enumerate() {
            let name = if position + 1 == count {
                "the newest checkpoint".to_owned()
            } else {
                format!("the checkpoint of {size} facts")
            };
            match opened {
                Ok(checkpoint) if checkpoint.size == size => checkpoints.push((checkpoint, name)),
                Ok(checkpoint) => {
                    let promised = checkpoint.size;
                    problems.general(format!("{name} is filed under {size} facts, but commits to {promised}"));
                }
                Err(error) => problems.general(format!("{name} proves nothing: {error}")),
            }
        }
        if let Some(note) = kept {
            match Checkpoint::open(note, self.verifier) {
                Ok(checkpoint) => checkpoints.push((checkpoint, KEPT.to_owned())),
                Err(error) => problems.general(format!("{KEPT} does not belong to this ledger: {error}")),
            }
        }
        checkpoints
    }

    /// Compares the columns that a fact is found by with the fact, and folds it.
    fn note_fact(
        &self,
        index: u64,
        fact: Option<Fact>,
        column: Option<&(i64, Option<Vec<u8>>, String)>,
        walk: &mut Walk,
        docs: &mut Folded,
    ) {
        let Some(fact) = fact else {
            docs.complete = false;
            return;
        };
        if let Some((at, operation, kind)) = column {
            let sealed = fact.operation.map(|operation| operation.uuid().into_bytes().to_vec());
            let differing = [
                ("moment", *at != fact.at.as_micros()),
                ("operation", *operation != sealed),
                ("kind", *kind != fact.kind),
            ];
            for (name, _) in differing.iter().filter(|(_, differs)| *differs) {
                walk.findings.about(
                    index,
                    Some(fact.kind.clone()),
                    format!("is filed under another {name} than it says"),
                );
            }
        }
        if !self.projections.is_empty() && docs.complete {
            let stored = StoredFact { index, fact };
            if let Err(error) = fold(self.projections, &mut docs.docs, &stored) {
                docs.complete = false;
                walk.findings.about(index, Some(stored.fact.kind), format!("is not taken any more: {error}"));
            }
        }
    }

    /// Compares the documents with the folded ones; how many were compared. Without projections nobody can say what they
    /// should be, and after a fact that cannot be folded they would only repeat that finding.
    fn documents(&self, folded: &Folded, problems: &mut Findings) -> u64 {
        if self.projections.is_empty() || !folded.complete {
            return 0;
        }
        match compare(self.store, &folded.docs) {
            Ok((count, differences)) => {
                for difference in differences {
                    let (collection, key, problem) = (difference.collection, difference.key, difference.problem);
                    problems.general(format!("document `{key}` in `{collection}` {problem}"));
                }
                count
            }
            Err(error) => {
                problems.general(format!("the documents cannot be read ({error})"));
                0
            }
        }
    }
}

const KEPT: &str = "the checkpoint that was kept";

struct Folded {
    docs: MemoryDocs,
    complete: bool,
}

fn leaf(row: FactRow) -> Leaf {
    Leaf { index: row.index, bytes: row.bytes, kind: Some(row.kind) }
}
