//! Documents folded anew from the facts, and compared with those that stand.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::LedgerError;
use crate::docs::{MemoryDocs, Projection, fold};
use crate::store::{Store, stored};

/// A document that differs from what the facts say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub key: String,
    /// How it differs, in plain words.
    pub problem: String,
}

/// What folding the documents anew gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// Facts that were folded.
    pub facts: u64,
    /// Documents that came out.
    pub documents: u64,
    /// Documents that stood otherwise.
    pub differences: Vec<Difference>,
    /// Whether the new documents were taken over.
    pub replaced: bool,
}

/// Facts are read and parsed so many at a time.
const CHUNK: u64 = 4_096;

/// Folds the facts in a range into `docs`.
pub(crate) fn fold_facts(
    store: &Store,
    projections: &[Arc<dyn Projection>],
    range: Range<u64>,
    docs: &mut MemoryDocs,
) -> Result<(), LedgerError> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + CHUNK);
        let rows = store.rows(start..end)?;
        store.check(rows.iter().map(|row| (row.index, row.bytes.as_slice())))?;
        let facts: Vec<_> = rows.par_iter().map(|row| stored(row.index, &row.bytes)).collect::<Result<_, _>>()?;
        for fact in &facts {
            fold(projections, docs, fact)?;
        }
        start = end;
    }
    Ok(())
}

/// Compares the documents that stand with folded ones; how many stand.
pub(crate) fn compare(store: &Store, folded: &MemoryDocs) -> Result<(u64, Vec<Difference>), LedgerError> {
    let (mut count, mut differences) = (0, Vec::new());
    let mut expected = folded.iter().peekable();
    let mut differs = |collection: &str, key: &str, problem: &str| {
        let (collection, key, problem) = (collection.to_owned(), key.to_owned(), problem.to_owned());
        differences.push(Difference { collection, key, problem });
    };
    store.each_document(|collection, key, text| {
        count += 1;
        let place = (collection.as_str(), key.as_str());
        while let Some((collection, key, _)) = expected.next_if(|(c, k, _)| (*c, *k) < place) {
            differs(collection, key, "is missing");
        }
        match expected.next_if(|(c, k, _)| (*c, *k) == place) {
            None => differs(&collection, &key, "comes from no fact"),
            Some((_, _, document)) => {
                // The texts are equal nearly always; where they are not, the order of members may be all.
                let written = document.to_string();
                let same =
                    written == text || serde_json::from_str::<Value>(&text).is_ok_and(|found| found == *document);
                if !same {
                    differs(&collection, &key, "is not what the facts say");
                }
            }
        }
        Ok(())
    })?;
    for (collection, key, _) in expected {
        differs(collection, key, "is missing");
    }
    Ok((count, differences))
}

/// Folds and compares.
pub(crate) fn rebuild_report(store: &Store, projections: &[Arc<dyn Projection>]) -> Result<RebuildReport, LedgerError> {
    Ok(fold_and_compare(store, projections)?.0)
}

/// Folds, compares and replaces; the caller's transaction makes it whole.
pub(crate) fn rebuild(store: &Store, projections: &[Arc<dyn Projection>]) -> Result<RebuildReport, LedgerError> {
    let (mut report, folded) = fold_and_compare(store, projections)?;
    store.clear_documents()?;
    for (collection, key, document) in folded.iter() {
        store.put_document(collection, key, &document.to_string())?;
    }
    report.replaced = true;
    Ok(report)
}

fn fold_and_compare(
    store: &Store,
    projections: &[Arc<dyn Projection>],
) -> Result<(RebuildReport, MemoryDocs), LedgerError> {
    let facts = store.size()?;
    let mut folded = MemoryDocs::default();
    fold_facts(store, projections, 0..facts, &mut folded)?;
    let (_, differences) = compare(store, &folded)?;
    let report = RebuildReport { facts, documents: folded.len() as u64, differences, replaced: false };
    Ok((report, folded))
}
