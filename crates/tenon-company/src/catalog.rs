//! What is declared and applied, for the capabilities to read.

use std::sync::Arc;

use parking_lot::RwLock;
use tenon_core::Timestamp;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_ledger::{Docs, DocsExt, Ledger};

use crate::CompanyError;
use crate::projection::{AppliedFile, COLLECTION};

/// What is declared and applied. Cheap to clone; every clone sees what is applied later.
#[derive(Clone)]
pub struct Catalog {
    specs: Arc<RwLock<Arc<SpecSet>>>,
}

impl Catalog {
    /// A catalog that holds these specs.
    pub fn fixed(specs: SpecSet) -> Self {
        Self { specs: Arc::new(RwLock::new(Arc::new(specs))) }
    }

    /// The catalog that the ledger says is applied.
    ///
    /// # Errors
    /// When the ledger cannot be read, or nothing that holds together is applied.
    pub fn load(ledger: &Ledger) -> Result<Self, CompanyError> {
        Ok(Self::fixed(specs(&applied_files(&ledger.docs())?)?))
    }

    /// What was applied at a moment.
    ///
    /// # Errors
    /// As [`Catalog::load`].
    pub fn as_of(ledger: &Ledger, at: Timestamp) -> Result<Self, CompanyError> {
        Ok(Self::fixed(specs(&applied_files(&ledger.docs_as_of(at)?)?)?))
    }

    /// What is applied now.
    pub fn specs(&self) -> Arc<SpecSet> {
        Arc::clone(&self.specs.read())
    }

    /// Takes over what has been applied.
    pub fn replace(&self, specs: SpecSet) {
        *self.specs.write() = Arc::new(specs);
    }
}

/// The files that are applied, sorted by path.
pub(crate) fn applied_files(docs: &(impl Docs + ?Sized)) -> Result<Vec<SpecFile>, CompanyError> {
    let files = docs.list::<AppliedFile>(COLLECTION, "")?;
    Ok(files.into_iter().map(|(path, file)| SpecFile { path, text: file.applied.text }).collect())
}

fn specs(files: &[SpecFile]) -> Result<SpecSet, CompanyError> {
    if files.is_empty() {
        return Err(CompanyError::Applied("nothing has been applied yet; run `tenon apply`".to_owned()));
    }
    SpecSet::read(files).map_err(|faults| {
        let first = faults.faults().next().map(|fault| format!("{}: {}", fault.file, fault.message));
        CompanyError::Applied(first.unwrap_or_default())
    })
}
