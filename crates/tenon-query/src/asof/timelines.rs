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

    /// The place of an entity's first observation at or after a moment.
    pub fn first_from(&self, entity: u32, moment: i64) -> Option<usize> {
        let places = self.places(entity);
        let place = places.start + self.times[places.clone()].partition_point(|time| *time < moment);
        (place < places.end).then_some(place)
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
