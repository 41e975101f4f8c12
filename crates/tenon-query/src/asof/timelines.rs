//! Observations in the order of their moments.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::array::{Array, RecordBatch};
use datafusion::common::Result;
use rayon::slice::ParallelSliceMut;

use super::fingers::ByEntity;
use super::keys::{Keys, NOBODY};
use super::table::{Order, read_moments};

/// The fewest places that a shard has, where there are more.
const SHARD: usize = 1 << 12;

/// An observation that has an entity and a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub time: i64,
    pub entity: u32,
    /// The place of the entity's next observation, or [`Asked::END`].
    pub next: u32,
}

impl Asked {
    /// There is no observation any more.
    pub const END: u32 = u32::MAX;
}

/// The places of observations: the number of each in the order of their moments. One without an entity or a moment has none.
pub(super) struct Timelines {
    pub keys: Keys,
    /// Place by place.
    pub asked: Vec<Asked>,
    /// The row of each place.
    pub rows: Vec<u32>,
    /// The first place of each entity, or [`Asked::END`].
    pub firsts: Vec<u32>,
    /// The rows that there are, with and without a place.
    pub observations: usize,
    by_entity: OnceLock<ByEntity>,
    /// A place's shard is its number without this many bits.
    shift: u32,
}

impl Timelines {
    /// Puts batches of observations in order, and divides their places into up to `shards` parts.
    pub fn new(order: &Order, batches: &[RecordBatch], shards: usize) -> Result<Self> {
        let observations = batches.iter().map(RecordBatch::num_rows).sum();
        let mut keys = Keys::new(&order.entity.types)?;
        let mut asked = Vec::with_capacity(observations);
        let (mut entities, mut first) = (Vec::new(), 0);
        for batch in batches {
            entities.clear();
            keys.number(&order.entity.read(batch)?, batch.num_rows(), &mut entities)?;
            let moments = read_moments(&order.moment, batch, order.unit)?;
            for (row, (entity, time)) in entities.iter().zip(moments.values()).enumerate() {
                if *entity != NOBODY && moments.is_valid(row) {
                    // Its row stands there until what comes next is known.
                    asked.push(Asked { time: *time, entity: *entity, next: (first + row) as u32 });
                }
            }
            first += batch.num_rows();
        }
        if !asked.is_sorted_by_key(|asked| asked.time) {
            asked.par_sort_unstable_by_key(|asked| (asked.time, asked.next));
        }
        let rows = asked.iter().map(|asked| asked.next).collect();
        let mut firsts = vec![Asked::END; keys.len()];
        for (place, asked) in asked.iter_mut().enumerate().rev() {
            asked.next = std::mem::replace(&mut firsts[asked.entity as usize], place as u32);
        }
        keys.close();
        let shift = asked.len().div_ceil(shards).max(SHARD).next_power_of_two().trailing_zeros();
        Ok(Self { keys, asked, rows, firsts, observations, by_entity: OnceLock::new(), shift })
    }

    /// How many entities there are.
    pub fn entities(&self) -> usize {
        self.firsts.len()
    }

    /// How many observations come before a moment.
    pub fn before(&self, moment: i64) -> usize {
        self.asked.partition_point(|asked| asked.time < moment)
    }

    /// The places of each entity, for those who ask in no order.
    pub fn by_entity(&self) -> &ByEntity {
        self.by_entity.get_or_init(|| ByEntity::new(&self.asked, self.entities()))
    }

    /// The shard of a place.
    pub fn shard(&self, place: usize) -> usize {
        place >> self.shift
    }

    /// The places of each shard.
    pub fn shards(&self) -> impl Iterator<Item = Range<usize>> {
        let (size, places) = (1 << self.shift, self.asked.len());
        (0..places).step_by(size).map(move |first| first..(first + size).min(places))
    }

    /// The first and the last moment.
    pub fn range(&self) -> Option<(i64, i64)> {
        Some((self.asked.first()?.time, self.asked.last()?.time))
    }
}
