//! Settling what a crash left between the commits of an operation and its fact.

use std::collections::HashMap;
use std::sync::Arc;

use tenon_core::DatasetName;
use tenon_core::id::OperationId;

use super::schema::quarantine_table_schema;
use crate::delta::log::{Note, Then};
use crate::delta::table::{Change, Head, Table, Unsealed};
use crate::landing::place::Place;
use crate::{Lake, LakeError};

impl Lake {
    /// Seals or undoes what a crash left unsealed in a dataset's tables.
    pub(crate) async fn settle(&self, dataset: &DatasetName) -> Result<(), LakeError> {
        self.settle_at(&Place::of(dataset)).await
    }

    /// The same for a dataset or a branch of it.
    pub(crate) async fn settle_at(&self, place: &Place<'_>) -> Result<(), LakeError> {
        let table = self.table(&place.table()).await?;
        let quarantine = self.table(&place.quarantine()).await?;
        let raw = self.table(&place.raw()).await?;
        let mut head = table.head.lock().await;
        let mut quarantine_head = quarantine.head.lock().await;
        let mut raw_head = raw.head.lock().await;
        let beside = Some((&raw, &mut *raw_head));
        self.settle_locked((&table, &mut head), (&quarantine, &mut quarantine_head), beside).await
    }

    /// The same under the tables' locks.
    pub(crate) async fn settle_locked(
        &self,
        (table, head): (&Arc<Table>, &mut Head),
        (quarantine, quarantine_head): (&Arc<Table>, &mut Head),
        mut raw: Option<(&Arc<Table>, &mut Head)>,
    ) -> Result<(), LakeError> {
        let held = [table.name.clone(), quarantine.name.clone()];
        for commit in in_order(&head.unsealed) {
            let operation = commit.note.operation;
            let is_part = self.settle_part((table, &mut *head), &commit, &held).await?;
            if let Some(mut seal) = commit.note.seal.filter(|_| !is_part) {
                if let Some(then) = commit.note.then {
                    let version = self.follow(operation, (quarantine, &mut *quarantine_head), then).await?;
                    seal.fact = seal.fact.with_quarantine_version(version);
                }
                self.seal(&table.name, operation, seal).await?;
            }
            head.unsealed.remove(&operation);
            if !is_part {
                quarantine_head.unsealed.remove(&operation);
                if let Some((_, raw_head)) = &mut raw {
                    raw_head.unsealed.remove(&operation);
                }
            }
        }
        let sealed = self.settle_beside((quarantine, quarantine_head), &held).await?;
        if let Some((raw, raw_head)) = raw {
            sealed.iter().for_each(|operation| drop(raw_head.unsealed.remove(operation)));
            self.settle_beside((raw, raw_head), &held).await?;
        }
        Ok(())
    }

    /// Makes the change of the quarantine that follows an operation's commit, unless it is made; its version.
    pub(crate) async fn follow(
        &self,
        operation: OperationId,
        (quarantine, head): (&Arc<Table>, &mut Head),
        then: Then,
    ) -> Result<u64, LakeError> {
        if let Some(done) = head.unsealed.get(&operation) {
            return Ok(done.version);
        }
        let schema = quarantine_table_schema(head.schema.as_ref(), then.added.is_empty())?;
        let change = Change { added: then.added, removed: then.removed, schema, ..Change::default() };
        quarantine.commit(head, change, self.inner.clock.now(), |_| Note { operation, seal: None, then: None }).await
    }

    /// Seals commits that carry their fact, and undoes others: their operation never came to its last commit. Returns the
    /// operations that are sealed.
    async fn settle_beside(
        &self,
        (table, head): (&Arc<Table>, &mut Head),
        held: &[String],
    ) -> Result<Vec<OperationId>, LakeError> {
        let mut sealed = Vec::new();
        for commit in in_order(&head.unsealed) {
            let operation = commit.note.operation;
            if self.settle_part((table, &mut *head), &commit, held).await? {
                head.unsealed.remove(&operation);
                continue;
            }
            match commit.note.seal {
                Some(seal) => {
                    self.seal(&table.name, operation, seal).await?;
                    sealed.push(operation);
                }
                // It was sealed while nobody looked at this table.
                None if self.sealed_operation(operation)?.is_some() => {}
                // It was undone already.
                None if commit.added.is_empty() => {}
                None => {
                    let undo = Change { removed: commit.added, ..Change::default() };
                    let note = |_| Note { operation, seal: None, then: None };
                    table.commit(head, undo, self.inner.clock.now(), note).await?;
                }
            }
            head.unsealed.remove(&operation);
        }
        Ok(sealed)
    }
}

fn in_order(unsealed: &HashMap<OperationId, Unsealed>) -> Vec<Unsealed> {
    let mut commits: Vec<Unsealed> = unsealed.values().cloned().collect();
    commits.sort_by_key(|commit| commit.version);
    commits
}
