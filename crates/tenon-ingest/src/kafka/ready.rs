//! Batches are decoded, and where that is possible checked, while the ones before them land.

use std::sync::Arc;

use tenon_core::fact::Stretch;
use tenon_core::spec::{DatasetSpec, KafkaFormat, KafkaSource};
use tenon_core::{DatasetName, Digest};
use tenon_lake::{BatchSource, Changes, Checked, Lake};
use tokio::sync::mpsc;

use super::batch::{Batch, Cover};
use super::decode::{Decoded, Poison, decode, json_row};
use super::registry::{Known, Schemas};
use super::{changes, object};
use crate::IngestError;
use crate::json::JsonRows;

/// A batch that can land.
pub(crate) struct Ready {
    pub source: BatchSource,
    /// What it covers.
    pub stretches: Vec<Stretch>,
    pub rows: Rows,
}

/// What a batch says.
pub(crate) enum Rows {
    /// Rows to append.
    New(Box<New>),
    /// Rows that changed or went.
    Changed(Box<Changes>),
}

/// Rows to append.
pub(crate) struct New {
    pub decoded: Decoded,
    /// The messages that they come from.
    pub batch: Batch,
    /// The rows, checked, where what lands before them does not matter for that.
    pub checked: Option<Checked>,
}

/// Decoding for one dataset.
pub(crate) struct Decoding {
    pub lake: Lake,
    pub dataset: DatasetName,
    pub spec: Arc<DatasetSpec>,
    pub source: Arc<KafkaSource>,
    /// Where messages say which schema they have.
    pub schemas: Option<Schemas>,
}

impl Decoding {
    /// Decodes what arrives, one batch ahead, until nothing does, nobody takes it any more, or one cannot be decoded.
    pub(crate) async fn run(
        mut self,
        mut arriving: mpsc::Receiver<Batch>,
        ready: mpsc::Sender<Result<Ready, IngestError>>,
    ) {
        loop {
            let batch = tokio::select! {
                () = ready.closed() => return,
                batch = arriving.recv() => batch,
            };
            let Some(batch) = batch else { return };
            let decoded = self.decode(batch).await;
            let failed = decoded.is_err();
            if ready.send(decoded).await.is_err() || failed {
                return;
            }
        }
    }

    /// Decodes one batch.
    pub(crate) async fn decode(&mut self, batch: Batch) -> Result<Ready, IngestError> {
        let known = match &mut self.schemas {
            Some(schemas) => schemas.of(&batch, &self.source).await?,
            None => Known::new(),
        };
        let stretches = stretches(&self.source, &batch);
        let name = format!("kafka:{}", self.source.topics.join(","));
        let batch_source = BatchSource::new(name, digest(&stretches));
        let (spec, source) = (Arc::clone(&self.spec), Arc::clone(&self.source));
        let work = move || match source.changes {
            Some(_) => changes::decode(&batch, &known, &spec, &source).map(|changes| Rows::Changed(Box::new(changes))),
            None => {
                let read = |value: &[u8], rows: &mut JsonRows<'_>| row(value, &known, &source, rows);
                let decoded = decode(&batch, &source, &spec.contract, read)?;
                Ok(Rows::New(Box::new(New { decoded, batch, checked: None })))
            }
        };
        let rows = tokio::task::spawn_blocking(work).await;
        let rows = rows.map_err(|_| IngestError::Interrupted(self.dataset.to_string()))?;
        let mut rows =
            rows.map_err(|error| IngestError::Rows { dataset: self.dataset.to_string(), what: error.to_string() })?;
        if let Rows::New(new) = &mut rows {
            new.checked = self.lake.check_ahead(&self.dataset, std::slice::from_ref(&new.decoded.rows)).await?;
        }
        Ok(Ready { source: batch_source, stretches, rows })
    }
}

/// Takes a value as a row, in the format that its source declares.
fn row(value: &[u8], known: &Known, source: &KafkaSource, rows: &mut JsonRows<'_>) -> Result<(), Poison> {
    if source.format == KafkaFormat::Json {
        return json_row(value, source.max_depth, rows);
    }
    object(value, known, source).map(|object| rows.push_object(&object))
}

/// What a batch covers, by the names under which the table keeps positions.
fn stretches(source: &KafkaSource, batch: &Batch) -> Vec<Stretch> {
    let stretch = |cover: &Cover| Stretch {
        source: source.position_name(&cover.topic, cover.partition),
        first: cover.first,
        next: cover.next,
        rows: cover.rows,
    };
    batch.covers().into_iter().map(stretch).collect()
}

/// What names a batch: the stretches that it covers, and nothing else.
fn digest(stretches: &[Stretch]) -> Digest {
    let mut digest = Digest::builder();
    for stretch in stretches {
        digest.update(format!("{}:{}-{}\n", stretch.source, stretch.first, stretch.next));
    }
    digest.finish()
}
