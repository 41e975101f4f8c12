//! Messages on their way: one batch becomes one commit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

/// A batch of messages, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The bytes of all keys and values.
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// The topics that occur.
    topics: Vec<String>,
    /// What it covers, by topic (its place in `topics`) and partition.
    covers: BTreeMap<(usize, i32), Cover>,
    began: Option<Instant>,
}

/// Where a message lies in its batch.
#[derive(Debug, Clone)]
struct Message {
    topic: usize,
    partition: i32,
    offset: u64,
    /// When it was made, in milliseconds since 1970, where the cluster knows.
    at: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// A stretch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cover {
    pub first: u64,
    pub next: u64,
    pub rows: u64,
}

/// One message of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: u64,
    pub at: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

impl Batch {
    /// A batch that covers nothing but a place: from `at` to `at`.
    pub(crate) fn at_places(places: impl IntoIterator<Item = (String, i32, u64)>) -> Self {
        let mut batch = Self::default();
        for (topic, partition, at) in places {
            let topic = batch.topic(&topic);
            batch.covers.insert((topic, partition), Cover { first: at, next: at, rows: 0 });
        }
        batch
    }

    /// Takes a message; `from` is where its partition's stretch begins if it is the first of it.
    pub(crate) fn push(&mut self, message: &BorrowedMessage<'_>, from: u64) {
        let topic = self.topic(message.topic());
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        let cover = Cover { first: from, next: from, rows: 0 };
        let cover = self.covers.entry((topic, message.partition())).or_insert(cover);
        cover.next = offset + 1;
        cover.rows += 1;
        let (key, value) = (self.keep(message.key()), self.keep(message.payload()));
        let (partition, at) = (message.partition(), message.timestamp().to_millis());
        self.messages.push(Message { topic, partition, offset, at, key, value });
        self.began.get_or_insert_with(Instant::now);
    }

    fn keep(&mut self, bytes: Option<&[u8]>) -> Option<Range<usize>> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes?);
        Some(start..self.bytes.len())
    }

    fn topic(&mut self, name: &str) -> usize {
        self.topics.iter().position(|known| known == name).unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// When its first message came.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// All messages.
    pub(crate) fn messages(&self) -> impl ExactSizeIterator<Item = Seen<'_>> {
        self.messages.iter().map(|message| Seen {
            topic: &self.topics[message.topic],
            partition: message.partition,
            offset: message.offset,
            at: message.at,
            key: message.key.clone().map(|range| &self.bytes[range]),
            value: message.value.clone().map(|range| &self.bytes[range]),
        })
    }

    /// What it covers, in the order of topics and partitions.
    pub(crate) fn covers(&self) -> impl Iterator<Item = (&str, i32, Cover)> {
        self.covers.iter().map(|((topic, partition), cover)| (self.topics[*topic].as_str(), *partition, *cover))
    }
}
