//! A declaration that is tried on what a dataset holds before it is accepted.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use tenon_core::fact::Reason;
use tenon_core::spec::{Cleaning, Contract, DatasetSpec};
use tenon_core::{AsOf, DatasetName};

use crate::contract::{KeySet, Rules, SeenRows, Tally};
use crate::replay::{in_schema, writer};
use crate::{Lake, LakeError};

/// What a declaration would say to the rows that a table holds.
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
}

impl Lake {
    /// Holds every row of a dataset's newest version against a declaration that is not applied. None before the first
    /// version. Cleaning is left out: these rows are clean.
    ///
    /// # Errors
    /// [`LakeError::Contract`] when the declaration cannot be followed; otherwise when the table cannot be read.
    pub async fn try_on_history(&self, dataset: &DatasetName, spec: &DatasetSpec) -> Result<Option<Trial>, LakeError> {
        let Some(version) = self.version(dataset.as_str(), AsOf::Latest).await? else { return Ok(None) };
        let spec = DatasetSpec { clean: Cleaning::default(), keep_raw: false, ..spec.clone() };
        let rules = Arc::new(Rules::compile(&self.inner.session, dataset.as_str(), &spec)?);
        let without_key = Contract { key: Vec::new(), ..spec.contract.clone() };
        let without_key = DatasetSpec { contract: without_key, ..spec };
        let without_key = Arc::new(Rules::compile(&self.inner.session, dataset.as_str(), &without_key)?);
        let authors = self.authors(dataset)?;
        let mut references = HashMap::new();
        for reference in rules.references() {
            // A reference to what is declared with the same change has no rows yet to be held against.
            match self.key_set(reference, None).await {
                Ok(known) => drop(references.insert(reference.to_owned(), known)),
                Err(LakeError::Query(_) | LakeError::NoDataset { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let references: Arc<HashMap<String, Arc<KeySet>>> = Arc::new(references);
        let table = self.table(dataset.as_str()).await?;
        let (mut seen, mut tally) = (SeenRows::default(), Tally::default());
        for file in table.files(version).await?.into_values() {
            // Keys are unique within a batch; a file of several, such as a compaction's, does not tell.
            let is_of_one = writer(&file.path).is_some_and(|writer| authors.of_batch.contains_key(&writer));
            let rules = if is_of_one { &rules } else { &without_key };
            seen.next_batch();
            for rows in self.rows_of_file(&table, &file.path).await? {
                let (rules, references) = (Arc::clone(rules), Arc::clone(&references));
                let work = move || {
                    let missing = rules.schema.fields().iter().any(|field| rows.column_by_name(field.name()).is_none());
                    let rows = if missing { in_schema(&rows, &rules.loose())? } else { rows };
                    let checked = rules.check(&rows, &references, &mut seen, None)?;
                    Ok::<_, arrow::error::ArrowError>((checked, seen))
                };
                let done = tokio::task::spawn_blocking(work).await;
                let done = done.map_err(|error| LakeError::Interrupted(error.to_string()))?;
                let misfit = |error: arrow::error::ArrowError| LakeError::Misfit {
                    table: dataset.to_string(),
                    what: error.to_string(),
                };
                let (checked, so_far) = done.map_err(misfit)?;
                seen = so_far;
                if let Some(refusal) = checked.refusal() {
                    return Err(LakeError::contract(dataset.as_str(), format!("rows that are there: {refusal}")));
                }
                tally.add(&checked.tally);
            }
        }
        let reasons = tally.reasons.into_iter().chain(tally.refusals).collect();
        Ok(Some(Trial { version, rows: tally.rows_in, failing: tally.quarantined, reasons }))
    }
}
