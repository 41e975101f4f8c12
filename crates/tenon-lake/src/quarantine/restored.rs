//! What a restore means for rows that were released from the quarantine: where it takes out what a release landed, they are
//! open again; where it brings that back, they are released again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::error::ArrowError;
use tenon_core::DatasetName;
use tenon_core::fact::{DatasetRestored, Payload, QuarantineReleased};
use tenon_core::id::OperationId;

use super::resolve::{Mark, marked, store_marked};
use crate::delta::log::Then;
use crate::delta::table::Table;
use crate::{Lake, LakeError};

/// Facts that are read at a time.
const FACTS_A_PAGE: usize = 1_000;

/// What a restore changes in a quarantine; its files are written, and no log names them yet.
pub(crate) struct Reopening {
    pub then: Then,
    /// Rows that are open again.
    pub reopened: u64,
    /// Rows that are released again.
    pub released: u64,
}

/// What decides which releases stand.
enum Event {
    Released(OperationId),
    /// To which version.
    Restored(u64),
}

impl Lake {
    /// What restoring a dataset to a version changes in its quarantine; none where that is nothing.
    pub(crate) async fn reopening(
        &self,
        dataset: &DatasetName,
        quarantine: &Arc<Table>,
        newest: Option<u64>,
        to: u64,
        operation: OperationId,
    ) -> Result<Option<Reopening>, LakeError> {
        let Some(newest) = newest else { return Ok(None) };
        let standing = self.standing_releases(dataset, to)?;
        let again = Mark { word: Some("released"), at: Some(self.inner.clock.now()), released_by: None };
        let open = Mark { word: None, at: None, released_by: None };
        let misfit = |error: ArrowError| LakeError::Misfit { table: quarantine.name.clone(), what: error.to_string() };
        let (mut rewritten, mut reopened, mut released) = (Vec::new(), 0, 0);
        for path in quarantine.files(newest).await?.into_keys() {
            let rows = self.set_aside_in(quarantine, &path).await?;
            let (opens, closes) = moved(&rows, &standing);
            if opens.is_empty() && closes.is_empty() {
                continue;
            }
            reopened += opens.len() as u64;
            released += closes.len() as u64;
            let rows = marked(&rows, &opens, &open).and_then(|rows| marked(&rows, &closes, &again));
            rewritten.push((path, rows.map_err(misfit)?));
        }
        if rewritten.is_empty() {
            return Ok(None);
        }
        let then = store_marked(quarantine, operation, rewritten).await?;
        Ok(Some(Reopening { then, reopened, released }))
    }

    /// The releases, by their operations, whose rows a dataset holds that stands as its version `newest` did.
    fn standing_releases(&self, dataset: &DatasetName, mut newest: u64) -> Result<HashSet<String>, LakeError> {
        let (mut events, mut from) = (Vec::new(), 0);
        loop {
            let kinds = [QuarantineReleased::KIND, DatasetRestored::KIND];
            let facts = self.inner.ledger.facts_of(&kinds, from, FACTS_A_PAGE)?;
            let Some(last) = facts.last() else { break };
            from = last.index + 1;
            for stored in facts {
                if let Ok(released) = stored.fact.payload::<QuarantineReleased>() {
                    let of = stored.fact.operation.filter(|_| released.dataset == *dataset);
                    events.extend(of.map(|operation| (released.version, Event::Released(operation))));
                } else if let Ok(restored) = stored.fact.payload::<DatasetRestored>()
                    && restored.dataset == *dataset
                {
                    events.push((restored.version, Event::Restored(restored.to)));
                }
            }
        }
        // Backwards: behind a restore it goes on with what that restored.
        let mut standing = HashSet::new();
        for (version, event) in events.into_iter().rev() {
            match event {
                _ if version > newest => {}
                Event::Restored(to) => newest = to,
                Event::Released(release) => drop(standing.insert(release.to_string())),
            }
        }
        Ok(standing)
    }
}

/// The rows that are released and whose releases are gone, and those that are not and whose releases stand.
fn moved(rows: &RecordBatch, standing: &HashSet<String>) -> (Vec<u32>, Vec<u32>) {
    let text = |name: &str| rows.column_by_name(name).map(|column| column.as_string::<i32>().clone());
    let (Some(resolutions), Some(releases)) = (text("_resolution"), text("_released_by")) else {
        return (Vec::new(), Vec::new());
    };
    let (mut opens, mut closes) = (Vec::new(), Vec::new());
    for row in (0..rows.num_rows()).filter(|row| releases.is_valid(*row)) {
        let is_released = resolutions.is_valid(row) && resolutions.value(row) == "released";
        let stands = releases.value(row).split(' ').any(|release| standing.contains(release));
        match (is_released, stands) {
            (true, false) => opens.push(row as u32),
            (false, true) => closes.push(row as u32),
            _ => {}
        }
    }
    (opens, closes)
}
