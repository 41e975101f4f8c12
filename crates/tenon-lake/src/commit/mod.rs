//! Committing: quarantine, table, fact, in this order.

mod files;
mod schema;
mod settle;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use tenon_core::fact::{
    BranchCommitted, DatasetCommitted, DatasetRefused, DecisionsLogged, NewFact, OutcomesRecorded, Payload, Stretch,
    TableVerdict,
};
use tenon_core::id::OperationId;
use tenon_core::spec::{DatasetSpec, Resource, Severity};
use tenon_core::{DatasetName, Digest, Principal, Share};
use tenon_ledger::DocsExt;

use crate::contract::{Tally, quarantine_schema, with_rows};
use crate::delta::log::{Note, Seal, Sealing};
use crate::delta::table::{Change, Table};
use crate::landing::place::Place;
use crate::raw::{RawPiece, raw_rows};
use crate::record::records::MERGED;
use crate::{BatchSource, Checked, Lake, LakeError, WriteOutcome, quarantine_of, raw_of, rows_digest};

use files::all_or_none;
pub(crate) use files::{Files, discard};
use schema::stored;
pub(crate) use schema::{merged_schema, quarantine_table_schema, table_schema};

/// What has been done of a commit; a test may stop after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The data files are written; no log names them.
    Encoded,
    /// The commit of the rows as they came is durable.
    Kept,
    /// The quarantine's commit is durable.
    Quarantined,
    /// The table's commit is durable.
    Landed,
    /// The quarantine's commit that follows it is durable.
    Followed,
    /// Of a merge: so many of the tables' commits are durable.
    Merged(usize),
    /// Of a vacuum: the fact is on record, and nothing is removed.
    Recorded,
    /// Of a vacuum: one file is removed.
    Removed,
}

/// The operation of taking a batch in.
pub(crate) fn batch_operation(dataset: &DatasetName, source: &BatchSource) -> OperationId {
    operation_of(dataset, source.digest)
}

pub(crate) fn operation_of(dataset: &DatasetName, digest: Digest) -> OperationId {
    OperationId::derive(&["dataset.write", dataset.as_str(), &digest.to_string()])
}

impl Lake {
    /// Commits checked rows as one batch with one fact; numbers are summed over the pieces.
    ///
    /// # Errors
    /// [`LakeError`] when nothing has landed; committing again is safe.
    pub async fn commit_checked(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        checked: Vec<Checked>,
    ) -> Result<WriteOutcome, LakeError> {
        self.commit_to(by, &Place::of(dataset), source, checked).await
    }

    /// The same to the dataset itself or to a branch of it.
    pub(crate) async fn commit_to(
        &self,
        by: &Principal,
        place: &Place<'_>,
        source: &BatchSource,
        checked: Vec<Checked>,
    ) -> Result<WriteOutcome, LakeError> {
        let dataset = place.dataset;
        let resource = self.table_spec(dataset)?;
        self.only_appended_to(dataset)?;
        if let Some(sealed) = self.sealed_operation(place.operation(source))? {
            return Ok(WriteOutcome::Already(sealed));
        }
        if let Some(sentence) = self.refusal(dataset, &checked)? {
            return self.refuse(by, &resource, dataset, &place.told(source), sentence, sum(&checked)).await;
        }
        self.commit_stretches_to(by, place, source, checked, Vec::new()).await
    }

    /// Commits what was read of ordered sources, with how far they are now, in one and the same transaction of the table.
    /// Such a batch cannot be refused (see [`Lake::refusal`]): what came before must not stand in the way of what comes.
    ///
    /// # Errors
    /// [`LakeError::Moved`] when a stretch does not begin where the table stands; [`LakeError`] otherwise when nothing has
    /// landed, and committing again is safe.
    pub async fn commit_stretches(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        checked: Vec<Checked>,
        stretches: Vec<Stretch>,
    ) -> Result<WriteOutcome, LakeError> {
        self.only_appended_to(dataset)?;
        if let Some(sealed) = self.sealed_batch(dataset, source)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        self.commit_stretches_to(by, &Place::of(dataset), source, checked, stretches).await
    }

    /// Commits a batch that was not sealed a moment ago.
    async fn commit_stretches_to(
        &self,
        by: &Principal,
        place: &Place<'_>,
        source: &BatchSource,
        checked: Vec<Checked>,
        stretches: Vec<Stretch>,
    ) -> Result<WriteOutcome, LakeError> {
        let dataset = place.dataset;
        let resource = self.table_spec(dataset)?;
        let operation = place.operation(source);
        let tally = sum(&checked);
        // What only says where a source begins is no batch that could be too small.
        let verdicts = match tally.rows_in {
            0 if !stretches.is_empty() => Vec::new(),
            _ => self.verdicts(dataset, &resource.spec, &checked, &tally).await?,
        };
        let refuses = |verdict: &&TableVerdict| !verdict.kept && verdict.severity == Severity::Refuse;
        // A stream cannot be sent back: its verdict is on record, and the batch lands.
        if let Some(broken) = verdicts.iter().find(refuses).filter(|_| stretches.is_empty()) {
            let sentence = format!("the contract refuses the batch for its {}: {}", broken.rule, broken.sentence);
            return self.refuse(by, &resource, dataset, &place.told(source), sentence, tally).await;
        }
        let table = self.table(&place.table()).await?;
        let quarantine = self.table(&place.quarantine()).await?;
        let now = self.inner.clock.now();
        let contract = Arc::new(crate::contract::contract_schema(&resource.spec.contract));

        let raw = match resource.spec.keeps_raw() {
            true => Some(self.table(&place.raw()).await?),
            false => None,
        };
        let raw_schema = match &raw {
            Some(raw) => self.raw_schema(dataset, raw).await?,
            None => None,
        };
        let raw_pieces = if raw.is_some() { raw_pieces(&checked) } else { Vec::new() };
        let unique_at = checked.iter().filter_map(|piece| piece.unique_at).min();
        let (accepted, set_aside) = pieces(dataset, source, checked, now)?;
        let unique = if let [one] = &resource.spec.contract.key[..] { vec![one.clone()] } else { Vec::new() };
        let columns = Arc::clone(&contract);
        let (held, from) = (raw_schema, source.clone());
        let encode = move || {
            let landed = (accepted.iter().map(RecordBatch::num_rows).sum(), &columns);
            let encode_accepted = || Files::encode(operation, Arc::clone(&columns), &accepted, &unique);
            let encode_set_aside = || Files::encode(operation, quarantine_schema(), &set_aside, &[]);
            let (files, (set_aside, raw)) = rayon::join(encode_accepted, || {
                rayon::join(encode_set_aside, || raw_rows(held.as_ref(), &raw_pieces, landed, &from, now))
            });
            Ok::<_, ParquetError>((files?, set_aside?, raw?, accepted))
        };
        let interrupted = |error: tokio::task::JoinError| LakeError::Interrupted(error.to_string());
        let encoded = tokio::task::spawn_blocking(encode).await.map_err(interrupted)?;
        let written = |error| LakeError::written(dataset.as_str(), error);
        let (files, set_aside, raw_rows, accepted) = encoded.map_err(written)?;
        // Rows as they came are encoded, and rows hashed, while the files of the clean ones are on their way to the disk.
        let clean = files.clone();
        let raw_files = tokio::task::spawn_blocking(move || Files::encode_raw(operation, &raw_rows, &clean));
        let rows = accepted.clone();
        let rows_digest = tokio::task::spawn_blocking(move || rows_digest(&contract, &rows));

        let mut head = table.head.lock().await;
        let mut quarantine_head = quarantine.head.lock().await;
        let mut raw_head = match &raw {
            Some(raw) => Some(raw.head.lock().await),
            None => None,
        };
        let beside = raw.as_ref().zip(raw_head.as_deref_mut());
        self.settle_locked((&table, &mut head), (&quarantine, &mut quarantine_head), beside).await?;
        if let Some(sealed) = self.sealed_operation(operation)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        let newer = |seen: u64| head.version.map_or(0, |version| version + 1) > seen;
        if unique_at.is_some_and(newer) {
            return Err(LakeError::Raced(dataset.to_string()));
        }
        for stretch in &stretches {
            if table.position(&mut head, &stretch.source).await?.is_some_and(|position| position != stretch.first) {
                return Err(LakeError::moved(dataset.as_str(), &stretch.source));
            }
        }
        let schema = table_schema(dataset, head.schema.as_ref(), &files.schema)?;
        let set_aside_schema = quarantine_table_schema(quarantine_head.schema.as_ref(), set_aside.is_empty())?;
        let misfit = |what| LakeError::Misfit { table: raw_of(dataset.as_str()), what };
        let raw_held = raw_head.as_ref().and_then(|head| head.schema.as_ref());
        let store_raw = async {
            let Some(raw) = &raw else { return Ok(Change::default()) };
            let files = raw_files.await.map_err(interrupted)?.map_err(written)?;
            let schema = match files.is_empty() {
                true => None,
                false => merged_schema(raw_held, &files.schema).map_err(misfit)?,
            };
            files.store(raw, schema).await
        };
        let stored =
            tokio::join!(files.store(&table, schema), set_aside.store(&quarantine, set_aside_schema), store_raw);
        let (change, set_aside, raw_change) = match stored {
            (Ok(change), Ok(set_aside), Ok(raw_change)) => {
                (Change { positions: positions(&stretches), ..change }, set_aside, raw_change)
            }
            (change, set_aside, raw_change) => {
                let beside = raw.as_deref().map(|raw| (raw, raw_change));
                let all = [(&*table, change), (&*quarantine, set_aside)].into_iter().chain(beside);
                return Err(all_or_none(all.collect()).await);
            }
        };
        self.reached(Step::Encoded)?;

        let mut fact = DatasetCommitted {
            dataset: dataset.clone(),
            version: head.version.unwrap_or(0),
            quarantine_version: None,
            source: source.name.clone(),
            source_digest: source.digest,
            content_digest: source.content,
            rows_digest: rows_digest.await.map_err(interrupted)?,
            rows_in: tally.rows_in,
            accepted: tally.accepted(),
            quarantined: tally.quarantined,
            reasons: tally.reasons,
            warnings: tally.warnings,
            events: tally.events,
            duplicates: tally.duplicates,
            dropped: tally.dropped,
            raw_version: None,
            verdicts,
            stretches,
            changes: None,
        };
        let seal = |fact| Seal { by: by.clone(), pod: Some(resource.pod.clone()), fact: place.sealing(fact) };
        // Where no row was accepted and nothing has moved, an existing table gets no commit, and the quarantine's is the
        // last one; where none was set aside either, that of the rows as they came is.
        let table_changes = !change.added.is_empty() || change.schema.is_some() || !change.positions.is_empty();
        let goes_on = table_changes || !set_aside.added.is_empty();
        if let (Some(raw), Some(raw_head)) = (&raw, raw_head.as_deref_mut())
            && !raw_change.added.is_empty()
        {
            let note = |version| {
                let last = DatasetCommitted { raw_version: Some(version), ..fact.clone() };
                Note { operation, seal: (!goes_on).then(|| seal(last)), then: None }
            };
            fact.raw_version = Some(raw.commit(raw_head, raw_change, now, note).await?);
            self.reached(Step::Kept)?;
        }
        if !set_aside.added.is_empty() {
            let note = |version| {
                let last = DatasetCommitted { quarantine_version: Some(version), ..fact.clone() };
                Note { operation, seal: (!table_changes).then(|| seal(last)), then: None }
            };
            fact.quarantine_version = Some(quarantine.commit(&mut quarantine_head, set_aside, now, note).await?);
            self.reached(Step::Quarantined)?;
        }
        if table_changes {
            let note = |version| {
                let last = DatasetCommitted { version, ..fact.clone() };
                Note { operation, seal: Some(seal(last)), then: None }
            };
            fact.version = table.commit(&mut head, change, now, note).await?;
        }
        self.reached(Step::Landed)?;
        self.seal(dataset.as_str(), operation, seal(fact.clone())).await?;
        head.unsealed.remove(&operation);
        quarantine_head.unsealed.remove(&operation);
        if let Some(raw_head) = raw_head.as_deref_mut() {
            raw_head.unsealed.remove(&operation);
        }
        Ok(WriteOutcome::Committed { fact, accepted })
    }

    /// The columns that rows as they came have so far. On a branch that has none yet, a merge will add them to the
    /// dataset's.
    async fn raw_schema(&self, dataset: &DatasetName, raw: &Table) -> Result<Option<SchemaRef>, LakeError> {
        let held = raw.head.lock().await.schema.clone();
        let main = raw_of(dataset.as_str());
        if held.is_some() || raw.name == main {
            return Ok(held);
        }
        let schema = self.table(&main).await?.head.lock().await.schema.clone();
        Ok(schema)
    }

    /// Appends rows to a table of the program itself (`decisions_late_arrival`), once for an operation. The first rows
    /// say the table's schema; columns that come later are added. Returns the table's version.
    ///
    /// # Errors
    /// [`LakeError::Misfit`] when the rows have types that the table does not hold; otherwise as for datasets.
    pub async fn append_internal(
        &self,
        table: &str,
        rows: Vec<RecordBatch>,
        operation: OperationId,
    ) -> Result<u64, LakeError> {
        for kind in [DecisionsLogged::KIND, OutcomesRecorded::KIND] {
            if let Some(sealed) = self.inner.ledger.sealed(kind, operation)? {
                let decisions = sealed.fact.payload::<DecisionsLogged>().map(|sealed| sealed.table_version);
                let outcomes = sealed.fact.payload::<OutcomesRecorded>().map(|sealed| sealed.table_version);
                if let Ok(version) = decisions.or(outcomes) {
                    return Ok(version);
                }
            }
        }
        let handle = self.table(table).await?;
        if let Some(written) = handle.head.lock().await.unsealed.get(&operation) {
            return Ok(written.version);
        }
        let name = table.to_owned();
        let work = move || {
            let misfit = |what: String| LakeError::Misfit { table: name.clone(), what };
            let rows = rows.into_iter().map(|batch| stored(&batch).map_err(|error| misfit(error.to_string())));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let schema = rows.first().map(RecordBatch::schema).ok_or_else(|| misfit("there are none".to_owned()))?;
            Files::encode(operation, schema, &rows, &[]).map_err(|error| misfit(error.to_string()))
        };
        let files =
            tokio::task::spawn_blocking(work).await.map_err(|error| LakeError::Interrupted(error.to_string()))??;
        let mut head = handle.head.lock().await;
        if let Some(written) = head.unsealed.get(&operation) {
            return Ok(written.version);
        }
        let schema = merged_schema(head.schema.as_ref(), &files.schema)
            .map_err(|what| LakeError::Misfit { table: table.to_owned(), what })?;
        let change = files.store(&handle, schema).await?;
        handle.commit(&mut head, change, self.inner.clock.now(), |_| Note { operation, seal: None, then: None }).await
    }

    pub(crate) fn sealed_operation(&self, operation: OperationId) -> Result<Option<DatasetCommitted>, LakeError> {
        if let Some(sealed) = self.inner.ledger.sealed(DatasetCommitted::KIND, operation)? {
            return Ok(sealed.fact.payload().ok());
        }
        if let Some(sealed) = self.inner.ledger.sealed(BranchCommitted::KIND, operation)? {
            return Ok(sealed.fact.payload::<BranchCommitted>().ok().map(|sealed| sealed.commit));
        }
        Ok(self.inner.ledger.docs().read(MERGED, &operation.to_string())?)
    }

    /// Why a batch cannot land, in a sentence.
    ///
    /// # Errors
    /// [`LakeError::Contract`] when the contract cannot be followed.
    pub fn refusal(&self, dataset: &DatasetName, checked: &[Checked]) -> Result<Option<String>, LakeError> {
        if let Some(sentence) = checked.iter().find_map(Checked::refusal) {
            return Ok(Some(sentence.to_owned()));
        }
        Ok(refusal_of(&sum(checked), self.rules(dataset)?.max_quarantined()))
    }

    /// Refuses a batch that cannot even be read, for the record; `sentence` says why.
    ///
    /// # Errors
    /// [`LakeError::NoDataset`], [`LakeError::View`] and [`LakeError::Ledger`].
    pub async fn refuse_batch(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        sentence: String,
    ) -> Result<WriteOutcome, LakeError> {
        let resource = self.table_spec(dataset)?;
        self.refuse(by, &resource, dataset, source, sentence, Tally::default()).await
    }

    /// Records the refusal, once for the batch and the contract that refuses it.
    async fn refuse(
        &self,
        by: &Principal,
        resource: &Resource<DatasetSpec>,
        dataset: &DatasetName,
        source: &BatchSource,
        sentence: String,
        tally: Tally,
    ) -> Result<WriteOutcome, LakeError> {
        let contract = serde_json::to_vec(&resource.spec.contract).unwrap_or_default();
        let (batch, contract) = (source.digest.to_string(), Digest::of(contract).to_string());
        let operation = OperationId::derive(&["dataset.refuse", dataset.as_str(), &batch, &contract]);
        let refused = DatasetRefused {
            dataset: dataset.clone(),
            source: source.name.clone(),
            source_digest: source.digest,
            sentence,
            reasons: tally.refusals.into_iter().chain(tally.reasons).collect(),
        };
        self.append(by, Some(resource.pod.clone()), &refused, operation).await?;
        Ok(WriteOutcome::Refused(refused))
    }

    /// Appends the fact that seals a commit of `table`; one that is on record already is recognised.
    pub(crate) async fn seal(&self, table: &str, operation: OperationId, seal: Seal) -> Result<(), LakeError> {
        let Seal { by, pod, fact } = seal;
        let sealed = match fact {
            Sealing::Committed(fact) => self.append(&by, pod, fact.as_ref(), operation).await,
            Sealing::Other { kind, version, body } => {
                let fact = NewFact { kind, version, by, pod, operation: Some(operation), body };
                self.inner.ledger.append(vec![fact]).await.map(drop).map_err(LakeError::from)
            }
            // Who decides seals.
            Sealing::Part { .. } => Ok(()),
        };
        sealed.map_err(|error| match error {
            LakeError::Ledger(source) => LakeError::Unsealed { table: table.to_owned(), source },
            other => other,
        })
    }

    pub(crate) async fn append<P: Payload>(
        &self,
        by: &Principal,
        pod: Option<tenon_core::PodName>,
        payload: &P,
        operation: OperationId,
    ) -> Result<(), LakeError> {
        let fact = NewFact::new(by.clone(), pod, payload).map_err(|error| LakeError::Interrupted(error.to_string()))?;
        self.inner.ledger.append(vec![fact.sealing(operation)]).await?;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn reached(&self, step: Step) -> Result<(), LakeError> {
        let stop = self.inner.stop_after.lock().take_if(|stop| *stop == step);
        stop.map_or(Ok(()), |step| Err(LakeError::Interrupted(format!("stopped after {step:?}"))))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the test build stops here")]
    pub(crate) fn reached(&self, _: Step) -> Result<(), LakeError> {
        Ok(())
    }
}

/// Why a contract does not take a batch with these sums, in a sentence.
pub(crate) fn refusal_of(tally: &Tally, max_quarantined: Option<Share>) -> Option<String> {
    if !tally.refusals.is_empty() {
        return Some(format!("the contract refuses a batch that breaks {}", with_rows(&tally.refusals)));
    }
    let share = tally.quarantined as f64 / tally.rows_in.max(1) as f64;
    max_quarantined.filter(|most| share > most.fraction()).map(|most| {
        format!(
            "{} of {} rows ({:.1}%) break the contract, and at most {most} may",
            tally.quarantined,
            tally.rows_in,
            share * 100.0
        )
    })
}

pub(crate) fn sum(checked: &[Checked]) -> Tally {
    let mut tally = Tally::default();
    checked.iter().for_each(|piece| tally.add(&piece.tally));
    tally
}

pub(crate) fn positions(stretches: &[Stretch]) -> Vec<(String, u64)> {
    stretches.iter().map(|stretch| (stretch.source.clone(), stretch.next)).collect()
}

/// The rows as they came of all pieces.
fn raw_pieces(checked: &[Checked]) -> Vec<RawPiece> {
    let (mut pieces, mut first) = (Vec::new(), 0);
    for piece in checked {
        let raw = piece.raw.clone().filter(|raw| raw.num_rows() > 0);
        pieces.extend(raw.map(|raw| RawPiece { first, raw, gone: piece.gone.clone() }));
        first += piece.rows_in();
    }
    pieces
}

/// The accepted rows, and the rows for the quarantine, of all pieces.
fn pieces(
    dataset: &DatasetName,
    source: &BatchSource,
    checked: Vec<Checked>,
    now: tenon_core::Timestamp,
) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), LakeError> {
    let (mut accepted, mut set_aside) = (Vec::new(), Vec::new());
    let (mut first, digest) = (0, source.digest.to_string());
    for piece in checked {
        let rows_in = piece.rows_in();
        if piece.accepted.num_rows() > 0 {
            accepted.push(piece.accepted);
        }
        if let Some(rows) = piece.quarantined {
            let rows = rows.into_batch(first, &source.name, &digest, now);
            let misfit = |error: arrow::error::ArrowError| LakeError::Misfit {
                table: quarantine_of(dataset.as_str()),
                what: error.to_string(),
            };
            set_aside.push(rows.map_err(misfit)?);
        }
        first += rows_in;
    }
    Ok((accepted, set_aside))
}
