//! Following the changes of another database's rows: one row a key, as it is there now.
//!
//! Of the changes of one key in a batch the last that keeps the contract counts. What breaks it goes to the quarantine and
//! changes nothing: the row of its key stays as it was until the next change of it.

mod keys;
mod rewrite;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::error::ArrowError;
use tenon_core::fact::{DatasetCommitted, RowChanges, Stretch};
use tenon_core::spec::{DatasetSpec, Resource};
use tenon_core::{DatasetName, Principal};

use crate::commit::{Files, Step, batch_operation, discard, positions, quarantine_table_schema, sum, table_schema};
use crate::contract::{Rules, SeenRows, contract_schema, quarantine_schema};
use crate::delta::log::{Note, Seal};
use crate::delta::table::{Change, Purpose};
use crate::landing::place::Place;
use crate::{BatchSource, Checked, Lake, LakeError, SetAside, WriteOutcome, quarantine_of, rows_digest};

use keys::{KeyColumns, Winners};
use rewrite::Rewrite;
pub(crate) use rules::ChangeRules;

/// What a batch of messages says about rows. Each message has a place in the batch, in which its source's order stands.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Rows as they are now.
    pub upserts: RecordBatch,
    /// The place of each.
    pub upserts_at: Vec<u64>,
    /// Rows that are gone: as they were, or their keys alone.
    pub deletes: RecordBatch,
    /// The place of each.
    pub deletes_at: Vec<u64>,
    /// Messages that say nothing that could be followed.
    pub set_aside: Vec<SetAside>,
    /// The place of each.
    pub set_aside_at: Vec<u64>,
}

/// A batch, held against the contract.
struct Weighed {
    /// Upserts, deletes, and what was set aside.
    pieces: [Checked; 3],
    /// The same for the quarantine.
    quarantined: Vec<RecordBatch>,
    columns: KeyColumns,
    winners: Winners,
    /// The rows that land.
    rows: RecordBatch,
}

impl Lake {
    /// Refuses a dataset whose rows may change: rows that are added to it beside its source could have a key twice.
    pub(crate) fn only_appended_to(&self, dataset: &DatasetName) -> Result<(), LakeError> {
        match self.table_spec(dataset)?.spec.follows_changes() {
            false => Ok(()),
            true => Err(LakeError::NotPossible(format!(
                "`{dataset}` follows the changes of another database's rows, which come by its topics alone: correct a row there, and its next change lands"
            ))),
        }
    }

    /// Commits what was read of the changes of another database's rows, with how far its sources are now, in one and the
    /// same transaction of the table. Of several changes of a key the last one counts.
    ///
    /// # Errors
    /// [`LakeError::Moved`] when a stretch does not begin where the table stands; [`LakeError::Raced`] when somebody else
    /// wrote meanwhile; [`LakeError`] otherwise when nothing has landed, and committing again is safe.
    pub async fn commit_changes(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        changes: Changes,
        stretches: Vec<Stretch>,
    ) -> Result<WriteOutcome, LakeError> {
        if let Some(sealed) = self.sealed_batch(dataset, source)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        let resource = self.table_spec(dataset)?;
        let rules = self.change_rules(dataset, &resource.spec)?;
        let weighed = self.weigh(dataset, source, &rules, changes).await?;
        self.commit_weighed(by, dataset, source, &resource, &rules, weighed, stretches).await
    }

    fn change_rules(&self, dataset: &DatasetName, spec: &DatasetSpec) -> Result<Arc<ChangeRules>, LakeError> {
        if let Some(known) = self.inner.change_rules.lock().get(dataset).filter(|rules| rules.spec == *spec) {
            return Ok(Arc::clone(known));
        }
        let rules = Arc::new(ChangeRules::compile(&self.inner.session, dataset.as_str(), spec)?);
        self.inner.change_rules.lock().insert(dataset.clone(), Arc::clone(&rules));
        Ok(rules)
    }

    /// Holds changes against the contract, and finds the last one of each key.
    async fn weigh(
        &self,
        dataset: &DatasetName,
        source: &BatchSource,
        rules: &ChangeRules,
        changes: Changes,
    ) -> Result<Weighed, LakeError> {
        let misfit = |error: ArrowError| LakeError::Misfit { table: dataset.to_string(), what: error.to_string() };
        let upserts = self.check_alone(dataset, &rules.rows, changes.upserts).await?;
        let deletes = self.check_alone(dataset, &rules.keys, changes.deletes).await?;
        let columns = KeyColumns::of(&rules.keys.schema);
        let mut winners = Winners::default();
        let upserted = columns.encoded(upserts.accepted()).map_err(misfit)?;
        winners.take(&upserted, &accepted_at(&upserts, &changes.upserts_at), true);
        let deleted = columns.encoded(deletes.accepted()).map_err(misfit)?;
        winners.take(&deleted, &accepted_at(&deletes, &changes.deletes_at), false);
        let rows = winners.rows(upserts.accepted()).map_err(misfit)?;
        let aside = Checked::set_aside(&rules.spec.contract, changes.set_aside);

        let mut pieces = [upserts, deletes, aside];
        let places = [&changes.upserts_at, &changes.deletes_at, &changes.set_aside_at];
        let (digest, now) = (source.digest.to_string(), self.inner.clock.now());
        let mut quarantined = Vec::new();
        for (piece, places) in pieces.iter_mut().zip(places) {
            let Some(rows) = piece.quarantined.take() else { continue };
            let numbers = Int64Array::from_iter_values(places.iter().map(|place| *place as i64));
            let rows = rows.numbered(&numbers).into_batch(0, &source.name, &digest, now).map_err(misfit)?;
            quarantined.extend((rows.num_rows() > 0).then_some(rows));
        }
        Ok(Weighed { pieces, quarantined, columns, winners, rows })
    }

    /// Checks rows by themselves: what others of the batch or the table hold is no matter.
    async fn check_alone(
        &self,
        dataset: &DatasetName,
        rules: &Arc<Rules>,
        rows: RecordBatch,
    ) -> Result<Checked, LakeError> {
        let mut references = HashMap::new();
        for reference in rules.references() {
            references.insert(reference.to_owned(), self.key_set(reference, None).await?);
        }
        let rules = Arc::clone(rules);
        let work = move || rules.check(&rows, &references, &mut SeenRows::default(), None);
        let checked =
            tokio::task::spawn_blocking(work).await.map_err(|error| LakeError::Interrupted(error.to_string()))?;
        let checked =
            checked.map_err(|error| LakeError::Misfit { table: dataset.to_string(), what: error.to_string() })?;
        // Changes that are left out would leave rows as they were, so that nothing lands before somebody has looked.
        match checked.refusal() {
            Some(sentence) => Err(LakeError::contract(dataset.as_str(), sentence)),
            None => Ok(checked),
        }
    }

    async fn commit_weighed(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        resource: &Resource<DatasetSpec>,
        rules: &ChangeRules,
        weighed: Weighed,
        stretches: Vec<Stretch>,
    ) -> Result<WriteOutcome, LakeError> {
        let (place, operation, now) = (Place::of(dataset), batch_operation(dataset, source), self.inner.clock.now());
        let Weighed { pieces, quarantined, columns, mut winners, rows } = weighed;
        let tally = sum(&pieces);
        let verdicts = match tally.rows_in {
            0 => Vec::new(),
            _ => self.verdicts(dataset, &resource.spec, &pieces[..1], &tally).await?,
        };
        let misfit = |error: ArrowError| LakeError::Misfit { table: dataset.to_string(), what: error.to_string() };
        let contract = Arc::new(contract_schema(&resource.spec.contract));
        let set_aside = Files::encoded(operation, 0, quarantine_schema(), quarantined).await;
        let set_aside = set_aside.map_err(|error| LakeError::written(&quarantine_of(dataset.as_str()), error))?;

        let table = self.table(&place.table()).await?;
        let quarantine = self.table(&place.quarantine()).await?;
        let mut head = table.head.lock().await;
        let mut quarantine_head = quarantine.head.lock().await;
        self.settle_locked((&table, &mut head), (&quarantine, &mut quarantine_head), None).await?;
        if let Some(sealed) = self.sealed_operation(operation)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        for stretch in &stretches {
            if table.position(&mut head, &stretch.source).await?.is_some_and(|position| position != stretch.first) {
                return Err(LakeError::moved(dataset.as_str(), &stretch.source));
            }
        }
        let schema = table_schema(dataset, head.schema.as_ref(), &contract)?;
        let held = schema.as_ref().or(head.schema.as_ref()).unwrap_or(&contract);
        let set_aside_schema = quarantine_table_schema(quarantine_head.schema.as_ref(), set_aside.is_empty())?;
        let mut rewrite = Rewrite::new(&table, operation, Arc::clone(held));
        let written = rewrite.all(head.version, &columns, &mut winners, &rows).await;
        let stored = match written {
            Ok(()) => set_aside.store(&quarantine, set_aside_schema).await,
            Err(error) => Err(error),
        };
        let Rewrite { added, removed, rewritten, .. } = rewrite;
        let set_aside = match stored {
            Ok(set_aside) => set_aside,
            Err(error) => {
                discard(&table, &added).await;
                return Err(error);
            }
        };
        let positions = positions(&stretches);
        let change = Change { added, removed, schema, purpose: Purpose::Changes, positions };
        self.reached(Step::Encoded)?;

        let accepted = rows.num_rows() as u64;
        let mut fact = DatasetCommitted {
            dataset: dataset.clone(),
            version: head.version.unwrap_or(0),
            quarantine_version: None,
            source: source.name.clone(),
            source_digest: source.digest,
            content_digest: source.content,
            rows_digest: rows_digest(&contract, std::slice::from_ref(&rows)),
            rows_in: tally.rows_in,
            accepted,
            quarantined: tally.quarantined,
            reasons: tally.reasons,
            warnings: tally.warnings,
            events: rules.rows.events(&rows).map_err(misfit)?,
            duplicates: 0,
            dropped: 0,
            raw_version: None,
            verdicts,
            stretches,
            changes: Some(RowChanges { rewritten, ..winners.counts() }),
        };
        let seal = |fact| Seal { by: by.clone(), pod: Some(resource.pod.clone()), fact: place.sealing(fact) };
        if !set_aside.added.is_empty() {
            let note = |_| Note { operation, seal: None, then: None };
            fact.quarantine_version = Some(quarantine.commit(&mut quarantine_head, set_aside, now, note).await?);
            self.reached(Step::Quarantined)?;
        }
        let note = |version| {
            let last = DatasetCommitted { version, ..fact.clone() };
            Note { operation, seal: Some(seal(last)), then: None }
        };
        fact.version = table.commit(&mut head, change, now, note).await?;
        self.reached(Step::Landed)?;
        self.seal(dataset.as_str(), operation, seal(fact.clone())).await?;
        head.unsealed.remove(&operation);
        quarantine_head.unsealed.remove(&operation);
        Ok(WriteOutcome::Committed { fact, accepted: vec![rows] })
    }
}

/// The places of the rows that were accepted.
fn accepted_at(checked: &Checked, places: &[u64]) -> Vec<u64> {
    let gone = |row: usize| checked.gone.as_ref().is_some_and(|gone| gone.value(row));
    places.iter().enumerate().filter(|(row, _)| !gone(*row)).map(|(_, place)| *place).collect()
}
