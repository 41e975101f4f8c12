//! A declaration that is tried on what a dataset holds before it is accepted.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use serde::Serialize;
use tenon_core::fact::Reason;
use tenon_core::id::OperationId;
use tenon_core::spec::{Cleaning, Contract, DatasetSpec, Severity};
use tenon_core::{AsOf, DatasetName, Digest};

use crate::commit::{refusal_of, table_schema};
use crate::contract::{References, Rules, SeenRows, Tally, contract_schema};
use crate::delta::table::Table;
use crate::landing::verdicts::{LAST_BATCHES, volume};
use crate::quarantine::resolve::Selection;
use crate::replay::{Authors, Standing, in_schema, writer};
use crate::{Lake, LakeError, quarantine_of};

/// What a declaration would say to the rows that a dataset holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The version that it was tried on.
    pub version: u64,
    /// Rows of that version.
    pub rows: u64,
    /// Rows that would not land now.
    pub failing: u64,
    /// Why; a row that breaks two rules counts in both.
    pub reasons: Vec<Reason>,
    /// Open rows of the quarantine.
    pub waiting: u64,
    /// Of these, rows that would land now.
    pub fitting: u64,
    /// Batches whose rows stand, without those of topics, which are never refused.
    pub batches: u64,
    /// Of these, batches that would be refused whole now.
    pub refused: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refused: Option<TriedBatch>,
}

/// A batch that would be refused whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriedBatch {
    /// Where it came from.
    pub source: String,
    /// Why it would not be taken.
    pub sentence: String,
}

/// Open rows of a quarantine that a declaration was tried on: all of them, and by their batches' digests those that would
/// land.
#[derive(Default)]
struct Waiting {
    rows: u64,
    fitting: HashMap<Digest, u64>,
}

impl Lake {
    /// Holds what a dataset has against a declaration that is not applied: every row of the newest version, the open rows of
    /// the quarantine, and the batches that stand. None before the first version. Cleaning is left out for rows of the
    /// table: they are clean.
    ///
    /// # Errors
    /// [`LakeError::Contract`] when the declaration cannot be followed; otherwise when the table cannot be read.
    pub async fn try_on_history(&self, dataset: &DatasetName, spec: &DatasetSpec) -> Result<Option<Trial>, LakeError> {
        let Some(version) = self.version(dataset.as_str(), AsOf::Latest).await? else { return Ok(None) };
        let table = self.table(dataset.as_str()).await?;
        let held = table.head.lock().await.schema.clone();
        table_schema(dataset, held.as_ref(), &Arc::new(contract_schema(&spec.contract)))?;
        let rules = self.rules_of_clean_rows(dataset, spec)?;
        let without_key =
            DatasetSpec { contract: Contract { key: Vec::new(), ..spec.contract.clone() }, ..spec.clone() };
        let without_key = self.rules_of_clean_rows(dataset, &without_key)?;
        let authors = self.authors(dataset)?;
        let mut references = References::new();
        for reference in rules.references() {
            // A reference to what is declared with the same change has no rows yet to be held against.
            match self.key_set(reference, None).await {
                Ok(known) => drop(references.insert(reference.to_owned(), known)),
                Err(LakeError::Query(_) | LakeError::NoDataset { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let references = Arc::new(references);
        let (mut seen, mut tally) = (SeenRows::default(), Tally::default());
        let mut of_batches: HashMap<OperationId, Tally> = HashMap::new();
        for file in table.files(version).await?.into_values() {
            // Keys are unique within a batch; a file of several, such as a compaction's, does not tell.
            let batch = writer(&file.path).and_then(|writer| authors.of_batch.get(&writer).copied());
            let rules = if batch.is_some() { &rules } else { &without_key };
            seen.next_batch();
            let found = self.held_against(&table, &file.path, rules, &references, &mut seen).await?;
            tally.add(&found);
            if let Some(batch) = batch {
                of_batches.entry(batch).or_default().add(&found);
            }
        }
        let waiting = self.try_on_quarantine(dataset, spec, &references).await?;
        let (batches, refused) = refused(spec, &authors, &of_batches, &waiting.fitting);
        Ok(Some(Trial {
            version,
            rows: tally.rows_in,
            failing: tally.quarantined,
            reasons: tally.reasons.into_iter().chain(tally.refusals).collect(),
            waiting: waiting.rows,
            fitting: waiting.fitting.values().sum(),
            batches,
            refused: refused.len() as u64,
            first_refused: refused.into_iter().next(),
        }))
    }

    /// A contract for rows that are clean already.
    pub(crate) fn rules_of_clean_rows(
        &self,
        dataset: &DatasetName,
        spec: &DatasetSpec,
    ) -> Result<Arc<Rules>, LakeError> {
        let spec = DatasetSpec { clean: Cleaning::default(), keep_raw: false, ..spec.clone() };
        Ok(Arc::new(Rules::compile(&self.inner.session, dataset.as_str(), &spec)?))
    }

    /// Holds the rows of a data file against a contract. `seen` has the values of unique columns of files before it.
    ///
    /// # Errors
    /// [`LakeError::Contract`] where rows of such a table could not land at all.
    pub(crate) async fn held_against(
        &self,
        table: &Table,
        path: &str,
        rules: &Arc<Rules>,
        references: &Arc<References>,
        seen: &mut SeenRows,
    ) -> Result<Tally, LakeError> {
        let mut tally = Tally::default();
        for rows in self.rows_of_file(table, path).await? {
            let (rules, references, mut so_far) = (Arc::clone(rules), Arc::clone(references), std::mem::take(seen));
            let work = move || {
                let missing = rules.schema.fields().iter().any(|field| rows.column_by_name(field.name()).is_none());
                let rows = if missing { in_schema(&rows, &rules.loose())? } else { rows };
                let checked = rules.check(&rows, &references, &mut so_far, None)?;
                Ok::<_, arrow::error::ArrowError>((checked, so_far))
            };
            let done = tokio::task::spawn_blocking(work).await;
            let done = done.map_err(|error| LakeError::Interrupted(error.to_string()))?;
            let misfit = |what: arrow::error::ArrowError| LakeError::Misfit {
                table: table.name.clone(),
                what: what.to_string(),
            };
            let (checked, so_far) = done.map_err(misfit)?;
            *seen = so_far;
            if let Some(refusal) = checked.refusal() {
                return Err(LakeError::contract(&table.name, format!("rows that are there: {refusal}")));
            }
            tally.add(&checked.tally);
        }
        Ok(tally)
    }

    /// Cleans the open rows of a quarantine and holds them against a declaration.
    async fn try_on_quarantine(
        &self,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        references: &Arc<References>,
    ) -> Result<Waiting, LakeError> {
        let mut waiting = Waiting::default();
        let quarantine = self.table(&quarantine_of(dataset.as_str())).await?;
        let newest = self.sealed_version(&quarantine.name)?;
        // Keys are unique within a batch, and these rows are of several.
        let contract = Contract { key: Vec::new(), ..spec.contract.clone() };
        let spec = DatasetSpec { contract, keep_raw: false, ..spec.clone() };
        let rules = Rules::compile(&self.inner.session, dataset.as_str(), &spec)?;
        let misfit = |error: arrow::error::ArrowError| LakeError::Misfit {
            table: quarantine.name.clone(),
            what: error.to_string(),
        };
        for file in self.chosen(&quarantine, newest, &Selection::default()).await? {
            waiting.rows += file.numbers.len() as u64;
            let checked = rules.check(&file.repaired, references, &mut SeenRows::default(), None).map_err(misfit)?;
            // What never was a row lacks columns.
            if checked.refusal().is_some() || checked.tally.accepted() == 0 {
                continue;
            }
            let Some(digests) = file.rows.column_by_name("_source_digest") else { continue };
            let digests = digests.as_string::<i32>();
            let stays = |at: &usize| checked.gone.as_ref().is_some_and(|gone| gone.value(*at));
            for row in file.numbers.iter().enumerate().filter(|(at, _)| !stays(at)).map(|(_, row)| *row as usize) {
                let Ok(digest) = digests.value(row).parse::<Digest>() else { continue };
                *waiting.fitting.entry(digest).or_default() += 1;
            }
        }
        Ok(waiting)
    }
}

/// How many batches that stand could be refused, and those that would be, in the order in which they came.
fn refused(
    spec: &DatasetSpec,
    authors: &Authors,
    of_batches: &HashMap<OperationId, Tally>,
    fitting: &HashMap<Digest, u64>,
) -> (u64, Vec<TriedBatch>) {
    let mut standing: Vec<(&OperationId, &Standing)> = authors.standing.iter().collect();
    standing.sort_by_key(|(_, batch)| batch.fact);
    let (mut batches, mut refused, mut sizes) = (0, Vec::new(), Vec::new());
    for (operation, batch) in standing {
        let before = &sizes[sizes.len().saturating_sub(LAST_BATCHES)..];
        if !batch.is_ordered {
            batches += 1;
            let found = of_batches.get(operation).cloned().unwrap_or_default();
            let fitting = fitting.get(&batch.digest).copied().unwrap_or(0);
            let tally = Tally {
                rows_in: batch.rows_in,
                quarantined: (batch.quarantined + found.quarantined).saturating_sub(fitting),
                ..found
            };
            let sentence = refusal_of(&tally, spec.contract.max_quarantined).or_else(|| {
                let rule = spec.contract.volume.as_ref().filter(|rule| rule.severity == Severity::Refuse)?;
                let verdict = volume(rule, batch.counted, before);
                (!verdict.kept).then_some(verdict.sentence)
            });
            refused.extend(sentence.map(|sentence| TriedBatch { source: batch.source.clone(), sentence }));
        }
        sizes.push(batch.counted);
    }
    (batches, refused)
}
