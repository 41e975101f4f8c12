//! Branches: write, audit, publish.
//!
//! A branch is a table of its own for each dataset that it holds, below `_branches/NAME/`: a Delta log whose first entry
//! adds the files of the version that it begins with. The files themselves are not copied: on local disk they get a
//! second name in the branch's folder, so that every Delta reader finds them beside the log, and no vacuum of the dataset
//! takes them away. What lands on the branch is checked by the dataset's contract, sealed by `branch.committed`, and seen
//! by nobody who does not ask for the branch, until a merge.

use serde::Serialize;
use tenon_core::fact::{BranchCreated, BranchDropped, DatasetCommitted, Payload, TableVersion};
use tenon_core::id::OperationId;
use tenon_core::{AsOf, BranchName, DatasetName, Principal};
use tenon_ledger::DocsExt;

use crate::commit::{Step, batch_operation};
use crate::delta::files::{missing, rows};
use crate::delta::log::{self, Note};
use crate::delta::store::Store;
use crate::delta::table::Table;
use crate::landing::place::Place;
use crate::record::records::{BATCHES, BRANCHES, MERGED, batches_of};
use crate::{BRANCHES_FOLDER, BatchSource, BranchRecord, Checked, Lake, LakeError, WriteOutcome, branch_table};

/// How a branch's table stands beside its dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BranchTable {
    /// The dataset.
    pub dataset: DatasetName,
    /// The version that the branch began with.
    pub begun: u64,
    /// The dataset's newest version now.
    pub dataset_version: u64,
    /// The newest version on the branch.
    pub branch_version: u64,
    /// Rows that came on the branch.
    pub rows_added: u64,
    /// Rows that went on the branch.
    pub rows_removed: u64,
    /// Rows that were set aside on the branch.
    pub quarantined: u64,
}

impl Lake {
    /// Makes a branch that begins with the newest versions of some datasets.
    ///
    /// # Errors
    /// [`LakeError::Exists`], [`LakeError::NoDataset`], [`LakeError::View`], and [`LakeError::NothingThen`] for a dataset
    /// without rows.
    pub async fn create_branch(
        &self,
        by: &Principal,
        name: &BranchName,
        datasets: &[DatasetName],
    ) -> Result<BranchRecord, LakeError> {
        let _one = self.inner.versions.lock().await;
        if self.branches()?.iter().any(|known| known.branch.branch == *name) {
            return Err(LakeError::Exists { what: "branch", name: name.to_string() });
        }
        let mut datasets = datasets.to_vec();
        datasets.sort();
        datasets.dedup();
        self.forget_branch(name).await?;
        let mut tables = Vec::new();
        for dataset in &datasets {
            self.table_spec(dataset)?;
            self.settle(dataset).await?;
            let Some(version) = self.sealed_version(dataset.as_str())? else {
                let (table, as_of) = (dataset.to_string(), AsOf::Latest.to_string());
                return Err(LakeError::NothingThen { table, as_of, todo: "branch" });
            };
            self.begin_branch(name, dataset, version).await?;
            tables.push(TableVersion { dataset: dataset.clone(), version });
        }
        self.reached(Step::Landed)?;
        self.record(by, &BranchCreated { branch: name.clone(), tables }).await?;
        self.branch(name)
    }

    /// Writes the first entry of a branch's table.
    async fn begin_branch(&self, name: &BranchName, dataset: &DatasetName, version: u64) -> Result<(), LakeError> {
        let parent = self.table(dataset.as_str()).await?;
        let files = parent.files(version).await?;
        let schema = parent.head.lock().await.schema.clone();
        let table = branch_table(name.as_str(), dataset.as_str());
        let store = Store::open(&self.inner.root, &self.folder(&table), &table)?;
        for path in files.keys() {
            store.link_data(parent.store(), path).await?;
        }
        let now = self.inner.clock.now();
        let version = version.to_string();
        let operation = OperationId::derive(&["branch.begin", &table, &version, &now.to_string()]);
        let misfit = |what| LakeError::Misfit { table: table.clone(), what };
        let schema = schema.ok_or_else(|| misfit("it has no schema yet".to_owned()))?;
        let mut actions = vec![
            log::commit_info(now, "CLONE", &Note { operation, seal: None, then: None }),
            log::protocol(),
            log::metadata(&operation.to_string(), dataset.as_str(), &schema, now).map_err(misfit)?,
        ];
        actions.extend(files.values().map(|file| log::add(file, now)));
        store.put_entry(0, log::entry(&actions), operation).await.map(drop)
    }

    /// Gives a branch up with all that landed on it. That it was there stays on record.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`].
    pub async fn drop_branch(
        &self,
        by: &Principal,
        name: &BranchName,
        reason: Option<String>,
    ) -> Result<(), LakeError> {
        let _one = self.inner.versions.lock().await;
        self.branch(name)?;
        self.record(by, &BranchDropped { branch: name.clone(), reason }).await?;
        self.forget_branch(name).await
    }

    /// The branches that are open, in the order of their names.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn branches(&self) -> Result<Vec<BranchRecord>, LakeError> {
        let branches: Vec<(String, BranchRecord)> = self.inner.ledger.docs().list(BRANCHES, "")?;
        Ok(branches.into_iter().map(|(_, branch)| branch).collect())
    }

    /// One open branch.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`].
    pub fn branch(&self, name: &BranchName) -> Result<BranchRecord, LakeError> {
        if let Some(found) = self.inner.ledger.docs().read(BRANCHES, name.as_str())? {
            return Ok(found);
        }
        let branches = self.branches()?;
        Err(LakeError::no_such("branch", name.as_str(), branches.iter().map(|known| known.branch.branch.as_str())))
    }

    /// The batches that landed on an open branch, oldest first.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn branch_batches(&self, name: &BranchName) -> Result<Vec<DatasetCommitted>, LakeError> {
        let batches: Vec<(String, DatasetCommitted)> =
            self.inner.ledger.docs().list(BATCHES, &batches_of(name.as_str()))?;
        Ok(batches.into_iter().map(|(_, batch)| batch).collect())
    }

    /// How a branch stands beside its datasets, table by table.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`], and as for reading.
    pub async fn branch_tables(&self, name: &BranchName) -> Result<Vec<BranchTable>, LakeError> {
        let branch = self.branch(name)?;
        let mut tables = Vec::new();
        for TableVersion { dataset, version } in &branch.branch.tables {
            let place = Place { dataset, branch: Some(&branch) };
            let table = self.table(&place.table()).await?;
            let newest = self.sealed_version(&place.table())?.unwrap_or(0);
            let (first, last) = (table.files(0).await?, table.files(newest).await?);
            let batches = self.history(&place.table())?;
            tables.push(BranchTable {
                dataset: dataset.clone(),
                begun: *version,
                dataset_version: self.sealed_version(dataset.as_str())?.unwrap_or(*version),
                branch_version: newest,
                rows_added: rows(&missing(&last, &first)),
                rows_removed: rows(&missing(&first, &last)),
                quarantined: batches.iter().map(|batch| batch.quarantined).sum(),
            });
        }
        Ok(tables)
    }

    /// Commits checked rows to a branch; otherwise as [`Lake::commit_checked`].
    ///
    /// # Errors
    /// [`LakeError::NoSuch`] and [`LakeError::NotOnBranch`]; otherwise as [`Lake::commit_checked`].
    pub async fn commit_checked_on(
        &self,
        branch: &BranchName,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        checked: Vec<Checked>,
    ) -> Result<WriteOutcome, LakeError> {
        let branch = self.branch_with(branch, dataset)?;
        self.commit_to(by, &Place { dataset, branch: Some(&branch) }, source, checked).await
    }

    /// The fact that sealed this batch on a branch, where it landed there before, or in the dataset before the branch was
    /// made.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`] and [`LakeError::NotOnBranch`].
    pub fn sealed_batch_on(
        &self,
        branch: &BranchName,
        dataset: &DatasetName,
        source: &BatchSource,
    ) -> Result<Option<DatasetCommitted>, LakeError> {
        let branch = self.branch_with(branch, dataset)?;
        let sealed = self.sealed_operation(Place { dataset, branch: Some(&branch) }.operation(source))?;
        if sealed.is_some() {
            return Ok(sealed);
        }
        let operation = batch_operation(dataset, source);
        let begun = branch.branch.tables.iter().find(|begun| begun.dataset == *dataset).map(|begun| begun.version);
        let merged: Option<DatasetCommitted> = self.inner.ledger.docs().read(MERGED, &operation.to_string())?;
        // What came by the merge of another branch is here where it came before this one began.
        if let Some(merged) = merged.filter(|merged| merged.accepted == 0 || begun >= Some(merged.version)) {
            return Ok(Some(merged));
        }
        let before = self.inner.ledger.sealed(DatasetCommitted::KIND, operation)?;
        Ok(before.filter(|sealed| sealed.index < branch.fact).and_then(|sealed| sealed.fact.payload().ok()))
    }

    pub(crate) fn branch_with(&self, name: &BranchName, dataset: &DatasetName) -> Result<BranchRecord, LakeError> {
        let branch = self.branch(name)?;
        if branch.branch.tables.iter().any(|begun| begun.dataset == *dataset) {
            return Ok(branch);
        }
        Err(LakeError::NotOnBranch {
            branch: name.to_string(),
            dataset: dataset.to_string(),
            holds: branch.branch.tables.iter().map(|begun| begun.dataset.to_string()).collect(),
        })
    }

    /// Settles what a crash left on branches, and removes the folders of those that are not open.
    pub(crate) async fn settle_branches(&self) -> Result<(), LakeError> {
        let branches = self.branches()?;
        for branch in &branches {
            for TableVersion { dataset, .. } in &branch.branch.tables {
                let place = Place { dataset, branch: Some(branch) };
                for table in [place.table(), place.quarantine(), place.raw()] {
                    let sealed = self.sealed_version(&table)?;
                    if Table::goes_on(&self.inner.root, &self.folder(&table), &table, sealed).await? {
                        self.settle_at(&place).await?;
                        break;
                    }
                }
            }
        }
        let folders = Store::open(&self.inner.root, BRANCHES_FOLDER, BRANCHES_FOLDER)?;
        for name in folders.folders().await? {
            let Ok(name) = BranchName::new(name) else { continue };
            if !branches.iter().any(|open| open.branch.branch == name) {
                self.forget_branch(&name).await?;
            }
        }
        Ok(())
    }

    /// Removes a branch's folder, and what is known of its tables.
    pub(crate) async fn forget_branch(&self, name: &BranchName) -> Result<(), LakeError> {
        let prefix = branch_table(name.as_str(), "");
        self.inner.tables.lock().retain(|table, _| !table.starts_with(&prefix));
        self.inner.landed.lock().retain(|table, _| !table.starts_with(&prefix));
        let store = Store::open(&self.inner.root, &format!("{BRANCHES_FOLDER}/{name}"), name.as_str())?;
        store.delete_table().await
    }
}
