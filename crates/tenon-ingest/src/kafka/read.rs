//! Reading: messages become batches, cut by rows, bytes and age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use tenon_core::spec::KafkaSource;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::connect::{Partition, Reader, failed};
use crate::IngestError;

/// How long one question for a message waits.
const POLL: Duration = Duration::from_millis(50);
/// After so many messages that were waiting it is looked what else there is to do: to look after each of them would cost as
/// much as taking it.
const LOOK_AFTER: u32 = 64;
/// The most bytes of one batch.
const BATCH_BYTES: usize = 32 << 20;
/// How often it is looked whether topics have new partitions.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often it is said that a cluster is away.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Without `--follow`, how long a cluster may be away.
const MOST_AWAY: Duration = Duration::from_secs(60);

/// How long reading goes on.
#[derive(Debug, Clone)]
pub(crate) enum Until {
    /// To where the topics ended when it began.
    Now,
    /// Until told to stop.
    Stopped(CancellationToken),
}

/// Where reading stands in one partition.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub next: u64,
    /// Where the partition ended when reading began.
    pub end: u64,
    /// Whether its end was reached.
    pub at_end: bool,
}

impl Place {
    fn has_ended(&self) -> bool {
        self.at_end || self.next >= self.end
    }
}

/// One run of reading.
pub(crate) struct Reading {
    pub consumer: Arc<Reader>,
    pub source: KafkaSource,
    pub places: Vec<Place>,
    /// The place of the newest message.
    pub here: usize,
    pub until: Until,
    /// How old a batch may become.
    pub age: Duration,
    pub batches: mpsc::Sender<Batch>,
}

impl Reading {
    /// Reads until it is told to stop, nobody takes batches any more, or the topics have other partitions. Waits, so that
    /// it wants a thread of its own.
    pub(crate) fn run(mut self) -> Result<(), IngestError> {
        let mut batch = Batch::default();
        let (mut looked, mut away, mut taken) = (Instant::now(), Away::default(), 0);
        let consumer = Arc::clone(&self.consumer);
        loop {
            let waiting = consumer.poll(Duration::ZERO);
            taken = if waiting.is_some() { taken + 1 } else { LOOK_AFTER };
            match waiting.or_else(|| consumer.poll(POLL)) {
                Some(Ok(message)) => {
                    away.is_back(&self.source);
                    if !self.take(&message, &mut batch) && taken < LOOK_AFTER && !self.is_full(&batch) {
                        continue;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    away.is_back(&self.source);
                    self.reached_end(partition);
                }
                Some(Err(KafkaError::MessageConsumption(code))) if is_away(code) => {
                    away.since(&self.source, code);
                    if matches!(self.until, Until::Now) && away.longer_than(MOST_AWAY) {
                        return Err(failed(&self.source, &KafkaError::MessageConsumption(code)));
                    }
                }
                Some(Err(error)) => return Err(failed(&self.source, &error)),
                None => {}
            }
            taken = 0;
            let ended = self.ended();
            if self.is_full(&batch) || self.is_old(&batch) || (ended && batch.len() > 0) {
                let next = batch.another();
                // Waits while the batch before is being committed: what is read ahead is bounded by the library.
                if self.batches.blocking_send(std::mem::replace(&mut batch, next)).is_err() {
                    return Ok(());
                }
            }
            if ended || self.batches.is_closed() {
                return Ok(());
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if self.has_new_partitions() {
                    return if batch.len() == 0 { Ok(()) } else { self.last(batch) };
                }
            }
        }
    }

    /// Takes a message that is not there yet. Whether its partition has ended by it.
    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Batch) -> bool {
        let (topic, partition) = (message.topic(), message.partition());
        let is = |place: &Place| place.partition == partition && *place.topic == *topic;
        // Messages come in runs of one partition.
        if !self.places.get(self.here).is_some_and(is) {
            let Some(found) = self.places.iter().position(is) else { return false };
            self.here = found;
        }
        let place = &mut self.places[self.here];
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        if offset < place.next {
            return false;
        }
        batch.push(message, place);
        let goes_on = !place.has_ended();
        place.next = offset + 1;
        goes_on && place.has_ended()
    }

    fn last(self, batch: Batch) -> Result<(), IngestError> {
        self.batches.blocking_send(batch).ok();
        Ok(())
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.len() >= self.source.batch_rows as usize || batch.bytes() >= BATCH_BYTES
    }

    fn is_old(&self, batch: &Batch) -> bool {
        batch.began().is_some_and(|began| began.elapsed() >= self.age)
    }

    fn ended(&self) -> bool {
        match &self.until {
            Until::Stopped(stop) => stop.is_cancelled(),
            Until::Now => self.places.iter().all(Place::has_ended),
        }
    }

    /// The library tells the number of a partition that has no more, and not of which topic. Of several topics one is
    /// believed to be meant that is not at its end yet: reading then ends a message too early at the worst, and whoever
    /// reads next takes it.
    fn reached_end(&mut self, partition: i32) {
        if let Some(place) = self.places.iter_mut().find(|place| place.partition == partition && !place.at_end) {
            place.at_end = true;
        }
    }

    fn has_new_partitions(&self) -> bool {
        self.source.topics.iter().any(|topic| {
            let known = self.places.iter().filter(|place| *place.topic == **topic).count();
            // An answer that does not come is no news.
            self.consumer.fetch_metadata(Some(topic), Duration::from_secs(1)).is_ok_and(|metadata| {
                metadata.topics().iter().any(|found| found.name() == topic && found.partitions().len() > known)
            })
        })
    }
}

/// Whether an error says that the cluster cannot be reached, which passes.
fn is_away(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerNotAvailable, BrokerTransportFailure, LeaderNotAvailable, NetworkException,
        NotLeaderForPartition, OperationTimedOut, RequestTimedOut, Resolve,
    };
    matches!(
        code,
        AllBrokersDown
            | BrokerNotAvailable
            | BrokerTransportFailure
            | LeaderNotAvailable
            | NetworkException
            | NotLeaderForPartition
            | OperationTimedOut
            | RequestTimedOut
            | Resolve
    )
}

/// A cluster that is away, and when that was said last.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Away {
    fn since(&mut self, source: &KafkaSource, code: RDKafkaErrorCode) {
        self.since.get_or_insert_with(Instant::now);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(brokers = source.brokers, reason = %code, "the Kafka cluster is away; nothing is lost, and it is tried again");
        }
    }

    fn is_back(&mut self, source: &KafkaSource) {
        if let Some(since) = self.since.take() {
            self.said = None;
            tracing::warn!(brokers = source.brokers, seconds = since.elapsed().as_secs(), "the Kafka cluster is back");
        }
    }

    fn longer_than(&self, most: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() > most)
    }
}

/// Where reading a partition begins: where the table stands, or else where the declaration says.
pub(crate) fn beginning(
    dataset: &str,
    partition: &Partition,
    position: Option<u64>,
    latest: bool,
) -> Result<u64, IngestError> {
    let Partition { topic, number, begin, end } = partition;
    let (dataset, topic) = (dataset.to_owned(), topic.clone());
    match position {
        None if latest => Ok(*end),
        None => Ok(*begin),
        Some(position) if position > *end => {
            Err(IngestError::TopicAnew { dataset, topic, partition: *number, position, end: *end })
        }
        Some(position) if position < *begin => {
            Err(IngestError::TopicCut { dataset, topic, partition: *number, position, begin: *begin })
        }
        Some(position) => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reading_begins_where_the_table_stands_and_nowhere_else() {
        let partition = Partition { topic: "flights".to_owned(), number: 3, begin: 10, end: 20 };
        let begin = |position, latest| beginning("flights", &partition, position, latest).map_err(|e| e.to_string());
        assert_eq!((begin(None, false), begin(None, true)), (Ok(10), Ok(20)));
        for position in [10, 15, 20] {
            assert_eq!(begin(Some(position), true), Ok(position));
        }
        let anew = begin(Some(21), false).unwrap_err();
        assert!(anew.contains("ends at offset 20") && anew.contains("raise `generation`"), "{anew}");
        let cut = begin(Some(9), false).unwrap_err();
        assert!(cut.contains("begins at offset 10") && cut.contains("is lost"), "{cut}");
    }
}
