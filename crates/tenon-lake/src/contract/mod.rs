//! What a contract does to a batch: which rows land, which are set aside and why.

mod broken;
mod convert;
mod keys;
mod legible;
mod quarantine;
mod rules;
mod vectors;

pub(crate) use broken::{Tally, with_rows};
pub use convert::arrow_type;
pub(crate) use convert::{convert, in_words};
pub(crate) use keys::KeySet;
pub(crate) use legible::{legible, texts};
pub(crate) use quarantine::Quarantined;
pub use quarantine::{SetAside, quarantine_schema};
pub use rules::contract_schema;
pub(crate) use rules::{ROWS_IN_PARALLEL, References, Rules, SeenRows};

use std::sync::Arc;

use arrow::buffer::BooleanBuffer;
use arrow::record_batch::RecordBatch;
use tenon_core::fact::Reason;
use tenon_core::spec::Contract;

use crate::raw::Raw;

/// Rows that were checked against their dataset's contract, and are not committed yet.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(crate) accepted: RecordBatch,
    pub(crate) quarantined: Option<Quarantined>,
    pub(crate) tally: Tally,
    /// Why the batch cannot be taken at all.
    pub(crate) refusal: Option<String>,
    /// The rows as they came, where the dataset keeps them.
    pub(crate) raw: Option<Raw>,
    /// The table's version whose values the unique columns were held against; none where no column is unique.
    pub(crate) unique_at: Option<u64>,
    /// Set where a row did not land.
    pub(crate) gone: Option<BooleanBuffer>,
}

impl Checked {
    /// The rows that keep the contract, in the table's schema.
    pub fn accepted(&self) -> &RecordBatch {
        &self.accepted
    }

    /// How many rows came in.
    pub fn rows_in(&self) -> u64 {
        self.tally.rows_in
    }

    /// Rows that could not even be read as such: each goes to the quarantine with its reason.
    pub fn set_aside(contract: &Contract, rows: Vec<SetAside>) -> Self {
        let mut tally = Tally::default();
        for row in &rows {
            let reasons = vec![Reason { rule: row.rule.clone(), rows: 1 }];
            tally.add(&Tally { rows_in: 1, quarantined: 1, reasons, ..Tally::default() });
        }
        let accepted = RecordBatch::new_empty(Arc::new(contract_schema(contract)));
        let gone = Some(BooleanBuffer::new_set(rows.len()));
        let quarantined = Some(Quarantined::of(rows));
        // They are no rows that could be kept as they came: the quarantine has all of them.
        Self { accepted, quarantined, tally, refusal: None, raw: None, unique_at: None, gone }
    }

    /// How many rows were left out because their key had landed already.
    pub fn duplicates(&self) -> u64 {
        self.tally.duplicates
    }

    /// How many rows the dataset's cleaning drops.
    pub fn dropped(&self) -> u64 {
        self.tally.dropped
    }

    /// How many rows broke the contract; rows in = accepted + quarantined + duplicates + dropped.
    pub fn quarantined(&self) -> u64 {
        self.tally.quarantined
    }

    /// Why the batch cannot be taken at all, such as a column that is missing.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

#[cfg(test)]
mod tests;
