//! Topics that say how rows of another database changed.

use arrow::error::ArrowError;
use serde_json::{Map, Value};
use tenon_core::fact::Stretch;
use tenon_core::spec::{ChangeFormat, Contract, DatasetSpec, KafkaSource};
use tenon_core::{DatasetName, Principal};
use tenon_lake::{BatchSource, Changes, LakeError, WriteOutcome};

use super::batch::{Batch, Seen};
use super::debezium::{Reader, Said};
use super::decode::{Poison, as_set_aside, beside, json_value, no_longer};
use super::registry::Known;
use super::{RACES, object};
use crate::json::rows_from_objects;
use crate::{Ingest, IngestError};

/// Rows of one kind on their way: objects, their messages, and the places of these.
#[derive(Default)]
struct Objects<'a> {
    rows: Vec<Map<String, Value>>,
    messages: Vec<Seen<'a>>,
    places: Vec<u64>,
}

impl Ingest {
    /// Commits one batch of changes with the places that it leads to.
    pub(super) async fn land_changes(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        changes: Changes,
        (source, stretches): (&BatchSource, Vec<Stretch>),
    ) -> Result<WriteOutcome, IngestError> {
        let mut races = 0;
        loop {
            races += 1;
            match self.lake.commit_changes(by, dataset, source, changes.clone(), stretches.clone()).await {
                // Somebody else wrote to the table: it is looked at once more.
                Err(LakeError::Raced(_)) if races < RACES => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// What a batch's messages say of rows.
pub(super) fn decode(
    batch: &Batch,
    known: &Known,
    spec: &DatasetSpec,
    source: &KafkaSource,
) -> Result<Changes, ArrowError> {
    let reader = Reader::of(spec, source.changes.unwrap_or(ChangeFormat::Debezium));
    let (mut upserts, mut deletes) = (Objects::default(), Objects::default());
    let (mut set_aside, mut set_aside_at) = (Vec::new(), Vec::new());
    for (message, place) in batch.messages().zip(0..) {
        match said(&reader, &message, known, source) {
            Ok(Said::Row(row)) => upserts.push(row, message, place),
            Ok(Said::Gone(row)) => deletes.push(row, message, place),
            Err(poison) => {
                set_aside.push(as_set_aside(&message, &poison.rule, &poison.what));
                set_aside_at.push(place);
            }
        }
    }
    let of_key = spec.contract.columns.iter().filter(|(name, _)| spec.contract.key.contains(name));
    let of_key = of_key.map(|(name, column)| (name.clone(), column.clone())).collect();
    let keys = Contract { columns: of_key, ..Contract::default() };
    Ok(Changes {
        upserts: rows_from_objects(&spec.contract, &upserts.rows, beside(&upserts.messages), true)?,
        upserts_at: upserts.places,
        deletes: rows_from_objects(&keys, &deletes.rows, beside(&deletes.messages), true)?,
        deletes_at: deletes.places,
        set_aside,
        set_aside_at,
    })
}

/// What one message says.
fn said(reader: &Reader, message: &Seen<'_>, known: &Known, source: &KafkaSource) -> Result<Said, Poison> {
    let value = match message.value {
        Some(value) => Some(object(no_longer(value, source)?, known, source)?),
        None => None,
    };
    reader.said(value, || {
        let Some(key) = message.key else { return Err(Poison::new("a delete that names no key", "")) };
        let read = object(no_longer(key, source)?, known, source).map(Value::Object);
        // Keys are often written more plainly than values.
        read.or_else(|poison| json_value(key, source.max_depth).map_err(|_| poison))
    })
}

impl<'a> Objects<'a> {
    fn push(&mut self, row: Map<String, Value>, message: Seen<'a>, place: u64) {
        self.rows.push(row);
        self.messages.push(message);
        self.places.push(place);
    }
}
