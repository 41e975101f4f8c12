//! Restoring: a new version with the rows of an earlier one.
//!
//! Nothing is copied: the commit removes the files that came since, and adds those again that went. The schema stays the
//! one of today, so that rows from before a column have none of it. What is undone this way stays readable under its
//! version, and restoring to that version undoes the restore.

use tenon_core::fact::DatasetRestored;
use tenon_core::id::OperationId;
use tenon_core::{AsOf, DatasetName, Principal};

use crate::commit::Step;
use crate::delta::files::{change, missing, rows};
use crate::delta::log::{Note, Seal, Sealing};
use crate::delta::table::{Change, Purpose};
use crate::{Lake, LakeError, quarantine_of, raw_of};

impl Lake {
    /// Makes a version of a dataset that holds the rows of an earlier one. None where it holds them already. What was set
    /// aside stays set aside; rows that were released since are open again.
    ///
    /// # Errors
    /// [`LakeError::NothingThen`], [`LakeError::Vacuumed`], and as for reading; nothing has changed then.
    pub async fn restore(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        to: AsOf,
        reason: &str,
    ) -> Result<Option<DatasetRestored>, LakeError> {
        let resource = self.table_spec(dataset)?;
        let _one = self.inner.versions.lock().await;
        let (table, quarantine) =
            (self.table(dataset.as_str()).await?, self.table(&quarantine_of(dataset.as_str())).await?);
        let raw = self.table(&raw_of(dataset.as_str())).await?;
        let mut head = table.head.lock().await;
        let (mut quarantine_head, mut raw_head) = (quarantine.head.lock().await, raw.head.lock().await);
        let beside = Some((&raw, &mut *raw_head));
        self.settle_locked((&table, &mut head), (&quarantine, &mut quarantine_head), beside).await?;
        drop(raw_head);
        let (Some(from), Some(target)) =
            (self.sealed_version(dataset.as_str())?, self.version(dataset.as_str(), to.clone()).await?)
        else {
            let (table, as_of) = (dataset.to_string(), to.to_string());
            return Err(LakeError::NothingThen { table, as_of, todo: "restore" });
        };
        if let Some(vacuumed) = self.vacuumed(dataset.as_str(), target)? {
            return Err(vacuumed);
        }
        let held = table.files(head.version.unwrap_or(from)).await?;
        let wanted = table.files(target).await?;
        let difference = Change { purpose: Purpose::Restore, ..change(&held, &wanted) };
        if difference.added.is_empty() && difference.removed.is_empty() {
            return Ok(None);
        }
        let mut fact = DatasetRestored {
            dataset: dataset.clone(),
            version: 0,
            from,
            to: target,
            rows_added: rows(&difference.added),
            rows_removed: rows(&missing(&held, &wanted)),
            quarantine_version: None,
            reopened: 0,
            released_again: 0,
            reason: reason.to_owned(),
        };
        let operation =
            OperationId::derive(&["dataset.restore", dataset.as_str(), &from.to_string(), &target.to_string()]);
        let reopening = self.reopening(dataset, &quarantine, quarantine_head.version, target, operation).await?;
        let then = reopening.map(|reopening| {
            (fact.reopened, fact.released_again) = (reopening.reopened, reopening.released);
            reopening.then
        });
        let seal =
            |fact: &DatasetRestored| Seal { by: by.clone(), pod: Some(resource.pod.clone()), fact: Sealing::of(fact) };
        let note = |version| {
            let restored = DatasetRestored { version, ..fact.clone() };
            Note { operation, seal: Some(seal(&restored)), then: then.clone() }
        };
        fact.version = table.commit(&mut head, difference, self.inner.clock.now(), note).await?;
        self.reached(Step::Landed)?;
        if let Some(then) = then {
            let version = self.follow(operation, (&quarantine, &mut quarantine_head), then).await?;
            fact.quarantine_version = Some(version);
            self.reached(Step::Followed)?;
        }
        self.seal(dataset.as_str(), operation, seal(&fact)).await?;
        head.unsealed.remove(&operation);
        quarantine_head.unsealed.remove(&operation);
        drop((head, quarantine_head));
        self.forget_landed(dataset).await;
        Ok(Some(fact))
    }
}
