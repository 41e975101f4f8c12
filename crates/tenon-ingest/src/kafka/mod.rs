//! Topics into the lake, exactly once.
//!
//! Where reading goes on is kept in one place: the dataset's table. Each commit carries, in the same entry of its log, the
//! rows and how far every partition is with them (`txn` actions). Whatever dies, the next run asks the table and goes on
//! there; the consumer group is only told. What a batch covers gives its operation, so that the sealing fact names it.

mod avro;
mod batch;
mod changes;
mod connect;
mod debezium;
mod decode;
mod protobuf;
mod read;
mod ready;
mod registry;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use serde_json::{Map, Value};
use tenon_core::fact::{DatasetCommitted, Reason, RowChanges, Stretch};
use tenon_core::spec::{DatasetSpec, KafkaFormat, KafkaSource, KafkaStart};
use tenon_core::{DatasetName, Principal};
use tenon_lake::{BatchSource, Checked, LakeError, WriteOutcome};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Ingest, IngestError};
use batch::Batch;
use connect::{Partition, Reader};
use decode::Poison;
use read::{Place, Reading, Until, beginning};
use ready::{Decoding, New, Ready, Rows};
use registry::{Known, Schemas};

/// A row's way into the lake takes no longer than this where a dataset declares nothing else.
const LATENCY: Duration = Duration::from_secs(5);
/// The first wait before what failed is tried again; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often a batch is held against a table that others write to.
const RACES: u32 = 8;
/// Without `--follow`, how often a cluster that does not answer is asked.
const TRIES: u32 = 6;

/// What one run took, over all its commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// Commits.
    pub commits: u64,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that landed.
    pub accepted: u64,
    /// Rows that went to the quarantine.
    pub quarantined: u64,
    /// Rows that had landed before.
    pub duplicates: u64,
    /// Rows that were dropped, as the dataset's cleaning declares.
    pub dropped: u64,
    /// Why rows went to the quarantine.
    pub reasons: Vec<Reason>,
    /// The table's newest version, where there was a commit.
    pub version: Option<u64>,
    /// What changes did, where the dataset follows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<RowChanges>,
}

impl Taken {
    fn add(&mut self, fact: &DatasetCommitted) {
        self.commits += 1;
        self.rows_in += fact.rows_in;
        self.accepted += fact.accepted;
        self.quarantined += fact.quarantined;
        self.duplicates += fact.duplicates;
        self.dropped += fact.dropped;
        self.version = Some(fact.version);
        if let Some(changes) = fact.changes {
            self.changes.get_or_insert_default().add(changes);
        }
        for reason in &fact.reasons {
            match self.reasons.iter_mut().find(|known| known.rule == reason.rule) {
                Some(known) => known.rows += reason.rows,
                None => self.reasons.push(reason.clone()),
            }
        }
    }
}

impl Ingest {
    /// Takes what a dataset's topics hold now. A cluster that does not answer is asked several times.
    ///
    /// # Errors
    /// [`IngestError`] says why no more could be taken; what had landed stays.
    pub async fn topics(&self, by: &Principal, dataset: &DatasetName, root: &Path) -> Result<Taken, IngestError> {
        let (mut taken, mut wait, mut tries) = (Taken::default(), FIRST_WAIT, 0);
        loop {
            tries += 1;
            match self.read_topics(by, dataset, root, Until::Now, &mut taken).await {
                Err(error @ (IngestError::Kafka { .. } | IngestError::Registry { .. })) if tries < TRIES => {
                    tracing::warn!(%dataset, %error, "tried again in {wait:?}");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                other => return other.map(|()| taken),
            }
        }
    }

    /// Takes what comes to a dataset's topics until it is told to stop. Whatever fails is said in the log and tried again.
    pub async fn follow_topics(&self, by: &Principal, dataset: &DatasetName, root: &Path, stop: &CancellationToken) {
        let mut wait = FIRST_WAIT;
        while !stop.is_cancelled() {
            let mut taken = Taken::default();
            let read = self.read_topics(by, dataset, root, Until::Stopped(stop.clone()), &mut taken).await;
            if taken.commits > 0 {
                wait = FIRST_WAIT;
            }
            if let Err(error) = read {
                let why = tenon_core::words::chain(&error);
                tracing::warn!(%dataset, "reading its topics stopped: {why}; tried again in {wait:?}");
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    /// One run: from where the table stands, until `until`.
    async fn read_topics(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        root: &Path,
        until: Until,
        taken: &mut Taken,
    ) -> Result<(), IngestError> {
        let spec = self.spec(dataset)?;
        let source = spec.source.kafka.clone().ok_or_else(|| IngestError::NoTopics(dataset.to_string()))?;
        let consumer = Arc::new(connect::consumer(&source, dataset.as_str(), root)?);
        let places = self.places(by, dataset, &spec, &source, (&consumer, root)).await?;
        let assigned = places.iter().map(|place| (&*place.topic, place.partition, place.next));
        connect::assign(&consumer, &source, assigned)?;
        let latency = spec.latency.map_or(LATENCY, |span| Duration::from_micros(span.as_micros().unsigned_abs()));
        let (batches, arriving) = mpsc::channel(1);
        let age = (latency / 2).max(Duration::from_millis(10));
        // Who reads leaves the cluster, which takes a moment, while what was read last lands. Who tells the group stays.
        let telling = source.group.is_some().then(|| Arc::clone(&consumer));
        let reading = Reading { consumer, source: source.clone(), places, here: 0, until, age, batches };
        let reading = tokio::task::spawn_blocking(move || reading.run());
        let (ready, mut decoded) = mpsc::channel(1);
        let decoding = self.decoding(dataset, &spec, &source, root)?;
        let decoding = tokio::spawn(decoding.run(arriving, ready));
        let mut landed = Ok(());
        while let Some(batch) = decoded.recv().await {
            let fact = match batch {
                Ok(batch) => self.land(by, dataset, &spec, batch).await,
                Err(error) => Err(error),
            };
            match fact {
                Ok(fact) => {
                    taken.add(&fact);
                    if let Some(consumer) = &telling {
                        tell_group(consumer, &fact);
                    }
                }
                Err(error) => {
                    landed = Err(error);
                    break;
                }
            }
        }
        drop(decoded);
        decoding.await.map_err(|_| IngestError::Interrupted(dataset.to_string()))?;
        let read = reading.await.map_err(|_| IngestError::Interrupted(dataset.to_string()))?;
        // Waits as well.
        tokio::task::spawn_blocking(move || drop(telling)).await.ok();
        landed.and(read)
    }

    fn decoding(
        &self,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        source: &KafkaSource,
        root: &Path,
    ) -> Result<Decoding, IngestError> {
        let schemas = source.registry.as_ref().map(|registry| Schemas::new(registry, root)).transpose()?;
        let (spec, source) = (Arc::new(spec.clone()), Arc::new(source.clone()));
        Ok(Decoding { lake: self.lake.clone(), dataset: dataset.clone(), spec, source, schemas })
    }

    /// Where reading begins in each partition.
    async fn places(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        source: &KafkaSource,
        (consumer, root): (&Arc<Reader>, &Path),
    ) -> Result<Vec<Place>, IngestError> {
        let (asking, asked) = (Arc::clone(consumer), source.clone());
        let partitions = tokio::task::spawn_blocking(move || connect::partitions(&asking, &asked));
        let partitions = partitions.await.map_err(|_| IngestError::Interrupted(dataset.to_string()))??;
        let latest = source.start == KafkaStart::Latest;
        let (mut places, mut begun) = (Vec::with_capacity(partitions.len()), Vec::new());
        for partition in partitions {
            let name = source.position_name(&partition.topic, partition.number);
            let position = self.lake.position(dataset, &name).await?;
            let next = beginning(dataset.as_str(), &partition, position, latest)?;
            let Partition { topic, number, end, .. } = partition;
            let place = Place { topic: topic.into(), partition: number, next, end, at_end: false };
            if position.is_none() && latest {
                begun.push(place.clone());
            }
            places.push(place);
        }
        // "From the next message on" means from this moment on, also for a run that begins after this one died.
        if !begun.is_empty() {
            let mut decoding = self.decoding(dataset, spec, source, root)?;
            let batch = decoding.decode(Batch::at_places(&begun)).await?;
            self.land(by, dataset, spec, batch).await?;
        }
        Ok(places)
    }

    /// Commits one batch with the places that it leads to.
    async fn land(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        Ready { source, stretches, rows }: Ready,
    ) -> Result<DatasetCommitted, IngestError> {
        let outcome = match rows {
            Rows::New(rows) => self.land_rows(by, dataset, spec, *rows, (&source, stretches)).await?,
            Rows::Changed(changes) => self.land_changes(by, dataset, *changes, (&source, stretches)).await?,
        };
        if let Err(error) = self.hand_on(dataset, &outcome).await {
            tracing::warn!(%dataset, "{}", tenon_core::words::chain(&error));
        }
        sealed(dataset, outcome)
    }

    async fn land_rows(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        spec: &DatasetSpec,
        New { decoded, batch, checked }: New,
        (source, stretches): (&BatchSource, Vec<Stretch>),
    ) -> Result<WriteOutcome, IngestError> {
        let mut races = 0;
        // What was checked ahead counts if it was held against what is declared now.
        let mut ahead = if self.spec(dataset)? == *spec { checked } else { None };
        loop {
            let mut checker = self.lake.checker(dataset);
            let mut checked = match ahead.take() {
                Some(checked) => vec![checked],
                None => vec![checker.check(std::slice::from_ref(&decoded.rows)).await?],
            };
            if !decoded.set_aside.is_empty() {
                checked.push(Checked::set_aside(&spec.contract, decoded.set_aside.clone()));
            }
            // A stream cannot be sent back. A batch that its contract refuses as a whole waits in the quarantine as a whole.
            if let Some(sentence) = self.lake.refusal(dataset, &checked)? {
                checked = vec![Checked::set_aside(&spec.contract, decode::all_set_aside(&batch, &sentence))];
            }
            races += 1;
            match self.lake.commit_stretches(by, dataset, source, checked, stretches.clone()).await {
                // Something else landed while unique values were looked up: they are looked up once more.
                Err(LakeError::Raced(_)) if races < RACES => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// The fact that seals a batch; a stream's cannot be refused.
fn sealed(dataset: &DatasetName, outcome: WriteOutcome) -> Result<DatasetCommitted, IngestError> {
    match outcome {
        WriteOutcome::Committed { fact, .. } | WriteOutcome::Already(fact) => Ok(fact),
        WriteOutcome::Refused(refused) => {
            Err(IngestError::Rows { dataset: dataset.to_string(), what: refused.sentence })
        }
    }
}

/// Reads a value, or a key, in the format that its source declares.
fn object(value: &[u8], known: &Known, source: &KafkaSource) -> Result<Map<String, Value>, Poison> {
    if source.format == KafkaFormat::Json {
        return decode::json_object(value, source.max_depth);
    }
    let (id, rest) = registry::header(value)?;
    match known.get(&id) {
        Some(Ok(schema)) => schema.read(rest, source.max_depth),
        Some(Err(poison)) => Err(poison.clone()),
        None => Err(Poison::new("its schema id is unknown to the registry", format!("it is {id}"))),
    }
}

/// Tells the declared group how far the table is. It is not asked for, so that nothing depends on it.
fn tell_group(consumer: &Reader, fact: &DatasetCommitted) {
    let places = fact.stretches.iter().filter_map(|stretch| {
        let place = stretch.source.strip_prefix("kafka:")?;
        let (topic, partition) = place.split('#').next()?.rsplit_once('/')?;
        Some((topic, partition.parse().ok()?, stretch.next))
    });
    let told = connect::list(places).and_then(|list| consumer.commit(&list, CommitMode::Async));
    if let Err(error) = told {
        tracing::warn!(%error, "the consumer group was not told");
    }
}
