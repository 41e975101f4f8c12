//! Recording what has changed.

use tenon_core::fact::{SpecApplied, SpecRemoved};
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{Digest, NewFact, Principal};
use tenon_ledger::{Appended, Ledger};

use crate::catalog::applied_files;
use crate::{Catalog, CompanyError, Plan};

/// Records every change of a plan in one append, and lets the catalog show it.
///
/// # Errors
/// When the ledger refuses; then nothing has changed.
pub async fn apply(
    ledger: &Ledger,
    catalog: Option<&Catalog>,
    by: &Principal,
    plan: &Plan,
    specs: SpecSet,
) -> Result<Appended, CompanyError> {
    let facts = plan.changes.iter().map(|change| {
        let (kind, name, file) = (change.resource.kind, change.resource.name.clone(), change.file.clone());
        match &change.text {
            Some(text) => {
                let applied = SpecApplied { kind, name, file, digest: Digest::of(text), text: text.clone() };
                NewFact::new(by.clone(), change.pod.clone(), &applied)
            }
            None => NewFact::new(by.clone(), change.pod.clone(), &SpecRemoved { kind, name, file }),
        }
    });
    let breaks = plan.allowed_breaks.iter().map(|allowed| {
        let pod = specs.datasets.get(&allowed.dataset).map(|dataset| dataset.pod.clone());
        NewFact::new(by.clone(), pod, allowed)
    });
    let facts =
        facts.chain(breaks).collect::<Result<Vec<_>, _>>().map_err(|error| CompanyError::Applied(error.to_string()))?;
    let appended = match facts.is_empty() {
        true => Appended { indices: Vec::new(), size: ledger.size()? },
        false => ledger.append(facts).await?,
    };
    if let Some(catalog) = catalog {
        catalog.replace(specs);
    }
    Ok(appended)
}

/// The files that the ledger says are applied, to plan against.
///
/// # Errors
/// When the ledger cannot be read.
pub fn applied(ledger: &Ledger) -> Result<Vec<SpecFile>, CompanyError> {
    applied_files(&ledger.docs())
}
