//! What is applied, folded from `spec.applied` and `spec.removed`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_core::Timestamp;
use tenon_core::fact::{SpecApplied, SpecRemoved};
use tenon_ledger::{DocsMut, LedgerError, Projection, StoredFact};

/// The documents of applied files, by path.
pub(crate) const COLLECTION: &str = "specs";

/// One applied file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AppliedFile {
    /// The fact that applied it.
    pub fact: u64,
    /// When.
    pub at: Timestamp,
    /// The file as applied.
    pub applied: SpecApplied,
}

/// The fold of applied files, for the ledger.
pub fn projection() -> Arc<dyn Projection> {
    Arc::new(Specs)
}

struct Specs;

impl Projection for Specs {
    fn name(&self) -> &'static str {
        "specs"
    }

    fn apply(&self, docs: &mut dyn DocsMut, stored: &StoredFact) -> Result<(), LedgerError> {
        if let Ok(applied) = stored.fact.payload::<SpecApplied>() {
            let key = applied.file.clone();
            let document = AppliedFile { fact: stored.index, at: stored.fact.at, applied };
            docs.put(COLLECTION, &key, serde_json::to_value(document).unwrap_or_default())?;
        } else if let Ok(removed) = stored.fact.payload::<SpecRemoved>() {
            docs.delete(COLLECTION, &removed.file)?;
        }
        Ok(())
    }
}
