//! Where a batch lands: in a dataset, or on a branch of it.

use tenon_core::DatasetName;
use tenon_core::fact::{BranchCommitted, DatasetCommitted};
use tenon_core::id::OperationId;

use crate::commit::batch_operation;
use crate::delta::log::Sealing;
use crate::{BatchSource, BranchRecord, branch_table, quarantine_of, raw_of};

/// A dataset, or its table on a branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub dataset: &'a DatasetName,
    pub branch: Option<&'a BranchRecord>,
}

impl<'a> Place<'a> {
    /// The dataset itself.
    pub(crate) fn of(dataset: &'a DatasetName) -> Self {
        Self { dataset, branch: None }
    }

    /// The table that rows go to.
    pub(crate) fn table(&self) -> String {
        self.named(self.dataset.to_string())
    }

    /// The table that rows go to which break the contract.
    pub(crate) fn quarantine(&self) -> String {
        self.named(quarantine_of(self.dataset.as_str()))
    }

    /// The table that keeps rows as they came.
    pub(crate) fn raw(&self) -> String {
        self.named(raw_of(self.dataset.as_str()))
    }

    fn named(&self, table: String) -> String {
        match self.branch {
            Some(branch) => branch_table(branch.branch.branch.as_str(), &table),
            None => table,
        }
    }

    /// The operation of taking a batch in here. A branch that is made anew under the same name is another place.
    pub(crate) fn operation(&self, source: &BatchSource) -> OperationId {
        match self.branch {
            Some(branch) => {
                let (made, digest) = (branch.fact.to_string(), source.digest.to_string());
                let parts = ["branch.write", branch.branch.branch.as_str(), &made, self.dataset.as_str(), &digest];
                OperationId::derive(&parts)
            }
            None => batch_operation(self.dataset, source),
        }
    }

    /// What seals a batch here.
    pub(crate) fn sealing(&self, commit: DatasetCommitted) -> Sealing {
        match self.branch {
            Some(branch) => Sealing::of(&BranchCommitted { branch: branch.branch.branch.clone(), commit }),
            None => Sealing::Committed(Box::new(commit)),
        }
    }

    /// The source as the record tells of it.
    pub(crate) fn told(&self, source: &BatchSource) -> BatchSource {
        match self.branch {
            Some(branch) => {
                BatchSource { name: format!("{} (branch {})", source.name, branch.branch.branch), ..source.clone() }
            }
            None => source.clone(),
        }
    }
}
