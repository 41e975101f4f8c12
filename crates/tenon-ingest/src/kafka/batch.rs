//! Messages on their way: one batch becomes one commit.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::Message as Received;

use super::read::Place;

/// A batch of messages, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The bytes of all keys and values, one after the other.
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// What it covers, in the order in which partitions turned up.
    covers: Vec<Cover>,
    /// The one of the newest message.
    cover: usize,
    began: Option<Instant>,
}

/// What is known of a message beside its bytes.
#[derive(Debug)]
struct Message {
    /// The place of its partition in `covers`.
    cover: usize,
    offset: u64,
    /// When it was made, in milliseconds since 1970, where the cluster knows.
    at: Option<i64>,
    /// How many bytes its key has, which follow those of the message before; and then its value.
    key: Option<usize>,
    value: Option<usize>,
}

/// A stretch of one partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cover {
    pub topic: Arc<str>,
    pub partition: i32,
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
    /// A batch that covers nothing but places.
    pub(crate) fn at_places<'a>(places: impl IntoIterator<Item = &'a Place>) -> Self {
        Self { covers: places.into_iter().map(Cover::at).collect(), ..Self::default() }
    }

    /// An empty batch with room for as much as this one holds.
    pub(crate) fn another(&self) -> Self {
        Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            messages: Vec::with_capacity(self.messages.len()),
            ..Self::default()
        }
    }

    /// Takes the next message of a partition that stands at `place`.
    pub(crate) fn push(&mut self, message: &impl Received, place: &Place) {
        let at = self.cover(place);
        let cover = &mut self.covers[at];
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        cover.next = offset + 1;
        cover.rows += 1;
        let (key, value) = (self.keep(message.key()), self.keep(message.payload()));
        self.messages.push(Message { cover: at, offset, at: message.timestamp().to_millis(), key, value });
        if self.began.is_none() {
            self.began = Some(Instant::now());
        }
    }

    fn keep(&mut self, bytes: Option<&[u8]>) -> Option<usize> {
        let bytes = bytes?;
        self.bytes.extend_from_slice(bytes);
        Some(bytes.len())
    }

    /// The cover of a partition. Messages come in runs of one, so that the last one's is looked at first.
    fn cover(&mut self, place: &Place) -> usize {
        let of = |cover: &Cover| cover.partition == place.partition && cover.topic == place.topic;
        if !self.covers.get(self.cover).is_some_and(of) {
            self.cover = self.covers.iter().position(of).unwrap_or_else(|| {
                self.covers.push(Cover::at(place));
                self.covers.len() - 1
            });
        }
        self.cover
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
        let mut rest = &self.bytes[..];
        self.messages.iter().map(move |message| {
            let mut take = |length: Option<usize>| {
                let (taken, after) = rest.split_at(length?);
                rest = after;
                Some(taken)
            };
            let cover = &self.covers[message.cover];
            Seen {
                topic: &cover.topic,
                partition: cover.partition,
                offset: message.offset,
                at: message.at,
                key: take(message.key),
                value: take(message.value),
            }
        })
    }

    /// What it covers, in the order of topics and partitions.
    pub(crate) fn covers(&self) -> Vec<&Cover> {
        let mut covers: Vec<&Cover> = self.covers.iter().collect();
        covers.sort();
        covers
    }
}

impl Cover {
    /// Of nothing: from a place to itself.
    fn at(place: &Place) -> Self {
        let Place { topic, partition, next, .. } = place;
        Self { topic: Arc::clone(topic), partition: *partition, first: *next, next: *next, rows: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    type Bytes = Option<Vec<u8>>;

    proptest! {
        #[test]
        fn messages_come_back_as_they_came(
            came in prop::collection::vec((0..3_usize, any::<Bytes>(), any::<Bytes>(), 0..3_i64), 0..40)
        ) {
            let place = |(topic, partition)| Place { topic: Arc::from(topic), partition, next: 10, end: 0, at_end: false };
            let mut places: Vec<Place> = [("b", 0), ("b", 1), ("a", 7)].map(place).into();
            let (mut batch, mut sent) = (Batch::default(), Vec::new());
            for (at, key, value, skipped) in came {
                let Place { topic, partition, next, .. } = places[at].clone();
                let offset = next.cast_signed() + skipped;
                let time = Timestamp::CreateTime(offset * 1_000);
                let (payload, topic) = (value.clone(), topic.to_string());
                batch.push(&OwnedMessage::new(payload, key.clone(), topic.clone(), time, partition, offset, None), &places[at]);
                places[at].next = offset.cast_unsigned() + 1;
                sent.push((topic, partition, offset.cast_unsigned(), Some(offset * 1_000), key, value));
            }
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let seen = batch.messages().map(|m| (m.topic.to_owned(), m.partition, m.offset, m.at, owned(m.key), owned(m.value)));
            prop_assert_eq!(seen.collect::<Vec<_>>(), sent.clone());
            let covers = batch.covers();
            prop_assert!(covers.is_sorted());
            prop_assert_eq!(covers.iter().map(|cover| cover.rows).sum::<u64>(), sent.len() as u64);
            for cover in covers {
                let place = places.iter().find(|place| place.topic == cover.topic && place.partition == cover.partition);
                prop_assert_eq!((cover.first, Some(cover.next)), (10, place.map(|place| place.next)));
            }
        }
    }
}
