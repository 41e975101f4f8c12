//! Observations in order: each entity's in a row, by moment.

use std::ops::Range;

use arrow::array::{Array, RecordBatch};
use datafusion::common::Result;

use super::keys::{Keys, NOBODY};
use super::table::{Order, read_moments};

/// The places of observations. Place `p` is that of the observation in row `rows[p]`, whose moment is `times[p]`. An
/// observation without an entity or a moment has none.
pub(super) struct Timelines {
    pub keys: Keys,
    /// Where each entity's places begin, and where the last one's end: `[entities + 1]`.
    starts: Vec<u32>,
    pub times: Vec<i64>,
    pub rows: Vec<u32>,
    /// The rows that there are, with and without a place.
    pub observations: usize,
    /// An entity's shard is its number without this many bits.
    shift: u32,
}

/// How many places are looked at one by one before the rest is halved.
const NEAR: usize = 4;

/// A place of an entity, and which moments lead there: those after `after`, up to `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finger {
    place: u32,
    after: i64,
    until: i64,
}

impl Finger {
    /// There is no observation any more.
    const END: u32 = u32::MAX;
    /// Not put anywhere yet.
    pub const NOWHERE: Self = Self { place: 0, after: i64::MAX, until: i64::MAX };
}

impl Timelines {
    /// Puts batches of observations in order, and divides their entities into about `shards` parts.
    pub fn new(order: &Order, batches: &[RecordBatch], shards: usize) -> Result<Self> {
        let observations = batches.iter().map(RecordBatch::num_rows).sum();
        let mut keys = Keys::new(&order.entity.types)?;
        let mut entities = Vec::with_capacity(observations);
        let mut moments = Vec::with_capacity(observations);
        for batch in batches {
            let first = entities.len();
            keys.number(&order.entity.read(batch)?, batch.num_rows(), &mut entities)?;
            let read = read_moments(&order.moment, batch, order.unit)?;
            moments.extend_from_slice(read.values());
            if read.null_count() > 0 {
                (0..read.len()).filter(|row| read.is_null(*row)).for_each(|row| entities[first + row] = NOBODY);
            }
        }
        let count = keys.len();
        let shift = count.div_ceil(shards).next_power_of_two().trailing_zeros();
        let mut timelines =
            Self { keys, starts: vec![0; count + 1], times: Vec::new(), rows: Vec::new(), observations, shift };
        timelines.place(&entities, &moments);
        timelines.sort();
        Ok(timelines)
    }

    /// Gives each row its place: entities in order, and rows as they come.
    fn place(&mut self, entities: &[u32], moments: &[i64]) {
        for entity in entities.iter().filter(|entity| **entity != NOBODY) {
            self.starts[*entity as usize + 1] += 1;
        }
        for entity in 1..self.starts.len() {
            self.starts[entity] += self.starts[entity - 1];
        }
        let places = self.starts.last().copied().unwrap_or(0) as usize;
        (self.times, self.rows) = (vec![0; places], vec![0; places]);
        let mut next = self.starts.clone();
        for (row, (entity, moment)) in entities.iter().zip(moments).enumerate() {
            if *entity != NOBODY {
                let place = &mut next[*entity as usize];
                self.times[*place as usize] = *moment;
                self.rows[*place as usize] = row as u32;
                *place += 1;
            }
        }
    }

    /// Orders each entity's places by moment; rows that came in order stay.
    fn sort(&mut self) {
        let mut pairs: Vec<(i64, u32)> = Vec::new();
        for entity in 0..self.starts.len() - 1 {
            let places = self.places(entity as u32);
            if self.times[places.clone()].is_sorted() {
                continue;
            }
            pairs.clear();
            pairs.extend(self.times[places.clone()].iter().copied().zip(self.rows[places.clone()].iter().copied()));
            pairs.sort_unstable();
            for (place, (time, row)) in places.zip(&pairs) {
                (self.times[place], self.rows[place]) = (*time, *row);
            }
        }
    }

    /// The places of an entity.
    pub fn places(&self, entity: u32) -> Range<usize> {
        self.starts[entity as usize] as usize..self.starts[entity as usize + 1] as usize
    }

    /// How many entities there are.
    pub fn entities(&self) -> usize {
        self.starts.len() - 1
    }

    /// The place of an entity's first observation at or after a moment. `finger` is where the entity was last asked for: rows
    /// come mostly in the order of their moments, so that what is sought is there or a little further.
    pub fn first_from(&self, entity: u32, moment: i64, finger: &mut Finger) -> Option<usize> {
        if finger.after >= moment || moment > finger.until {
            *finger = self.find(entity, moment, finger);
        }
        (finger.place != Finger::END).then_some(finger.place as usize)
    }

    fn find(&self, entity: u32, moment: i64, finger: &Finger) -> Finger {
        let places = self.places(entity);
        let before = |time: &i64| *time < moment;
        let mut from = places.start;
        if moment > finger.until {
            // Beyond the finger, which has no end: the end has no time after which to seek.
            from = finger.place as usize + 1;
            let near = (from + NEAR).min(places.end);
            if let Some(found) = (from..near).find(|place| self.times[*place] >= moment) {
                return self.finger(found, &places);
            }
            from = near;
        }
        self.finger(from + self.times[from..places.end].partition_point(before), &places)
    }

    fn finger(&self, place: usize, places: &Range<usize>) -> Finger {
        let after = if place > places.start { self.times[place - 1] } else { i64::MIN };
        match place < places.end {
            true => Finger { place: place as u32, after, until: self.times[place] },
            false => Finger { place: Finger::END, after, until: i64::MAX },
        }
    }

    /// The shard of an entity.
    pub fn shard(&self, entity: u32) -> usize {
        (entity >> self.shift) as usize
    }

    /// The entities of each shard.
    pub fn shards(&self) -> impl Iterator<Item = Range<u32>> {
        let (size, entities) = (1usize << self.shift, self.entities());
        (0..entities.div_ceil(size)).map(move |shard| (shard * size) as u32..((shard + 1) * size).min(entities) as u32)
    }

    /// The first and the last moment.
    pub fn range(&self) -> Option<(i64, i64)> {
        Some((self.times.iter().copied().min()?, self.times.iter().copied().max()?))
    }
}
