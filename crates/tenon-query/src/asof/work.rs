//! One feature table on its way to the observations.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use parking_lot::Mutex;

use super::bring::{Arrived, Memory, bring};
use super::cells::{Arriving, Held};
use super::heap::{Heap, unpack};
use super::keys::NOBODY;
use super::shard::{NO_EVENT, Rows, Shard};
use super::table::Table;
use super::timelines::Timelines;

/// Where an observation has no row.
const NOTHING: u32 = u32::MAX;

/// A table of which batches come in, from several workers at once.
pub(super) struct Work {
    table: Arc<Table>,
    timelines: Arc<Timelines>,
    /// The table's columns that are asked for.
    columns: Vec<usize>,
    types: Vec<DataType>,
    shards: Vec<Mutex<Shard>>,
}

/// What a worker uses again and again.
#[derive(Default)]
pub(super) struct Scratch {
    entities: Vec<u32>,
    memory: Memory,
}

impl Work {
    pub fn new(table: Arc<Table>, timelines: Arc<Timelines>, schema: &Schema, columns: Vec<usize>) -> Self {
        let types: Vec<DataType> = columns.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let shard = |places: Range<usize>| Mutex::new(Shard::new(places, table.known.is_some(), &types));
        let shards = timelines.shards().map(shard).collect();
        Self { table, timelines, columns, types, shards }
    }

    /// Takes in a batch. Workers begin at different shards, so that they seldom wait for each other. Returns by how many
    /// bytes what is held grew or shrank.
    pub fn take_in(&self, batch: &RecordBatch, scratch: &mut Scratch, worker: usize) -> Result<isize> {
        let Scratch { entities, memory } = scratch;
        let events = self.table.event.read(batch, self.table.unit)?;
        let known = self.table.known.as_ref().map(|known| known.read(batch, self.table.unit)).transpose()?;
        let keys = self.table.entity.read(batch)?;
        self.timelines.keys.find(&keys, batch.num_rows(), entities)?;
        for nulls in [Some(&events), known.as_ref()].into_iter().flatten().filter_map(|moments| moments.nulls()) {
            entities.iter_mut().zip(nulls).filter(|(_, valid)| !valid).for_each(|(entity, _)| *entity = NOBODY);
        }
        let (events, known) = (events.values().as_ref(), known.as_ref().map(|known| known.values().as_ref()));
        bring(Arrived { entities, events, known }, &self.table, &self.timelines, self.shards.len(), memory);
        let columns =
            self.columns.iter().map(|column| Arriving::new(batch.column(*column))).collect::<Result<Vec<_>>>()?;
        let rows = Rows { events, known, columns: &columns };
        let mut grown = 0;
        for step in 0..self.shards.len() {
            let shard = (step + worker * self.shards.len() / 2) % self.shards.len();
            if !memory.places[shard].is_empty() {
                grown += self.shards[shard].lock().take_in(&memory.places[shard], &rows)?;
            }
        }
        Ok(grown)
    }

    /// What the observations get, once all batches have come in.
    pub fn finish(self) -> Result<Joined> {
        let timelines = &self.timelines;
        let mut places = vec![NOTHING; timelines.observations];
        let mut best = vec![Best { event: NO_EVENT, known: NO_EVENT, place: NOTHING }; timelines.entities()];
        for (shard, of) in self.shards.iter().zip(timelines.shards()) {
            for (place, (event, known)) in of.zip(shard.lock().ranks()) {
                let asked = timelines.asked[place];
                let best = &mut best[asked.entity as usize];
                if event != NO_EVENT && (event, known) >= (best.event, best.known) {
                    *best = Best { event, known, place: place as u32 };
                }
                if self.table.counts(|| asked.time, best.event) {
                    places[timelines.rows[place] as usize] = best.place;
                }
            }
        }
        let mut columns: Vec<Vec<Held>> = self.types.iter().map(|_| Vec::with_capacity(self.shards.len())).collect();
        for shard in self.shards {
            shard.into_inner().finish()?.into_iter().zip(&mut columns).for_each(|(held, column)| column.push(held));
        }
        let columns = columns.into_iter().zip(&self.types).map(|(held, data_type)| merge(held, data_type));
        Ok(Joined { inner: self.table.inner, places, columns: columns.collect::<Result<_>>()? })
    }
}

/// The best row of an entity that has been seen so far.
#[derive(Clone, Copy)]
struct Best {
    event: i64,
    known: i64,
    place: u32,
}

/// One column out of the shards' parts.
fn merge(parts: Vec<Held>, data_type: &DataType) -> Result<Held> {
    let (mut flat, mut arrays, mut places) = (Vec::new(), vec![new_null_array(data_type, 1)], Vec::new());
    for part in parts {
        match part {
            Held::Flat(array) => flat.push(array),
            Held::Heaped(more, of) => {
                let before = (arrays.len() as u64) << 32;
                // What holds nothing is the null in the first array.
                places.extend(of.iter().map(|place| if *place == Heap::NOTHING { 0 } else { place + before }));
                arrays.extend(more);
            }
        }
    }
    if flat.is_empty() {
        return Ok(Held::Heaped(arrays, places));
    }
    let parts: Vec<&dyn Array> = flat.iter().map(AsRef::as_ref).collect();
    Ok(Held::Flat(concat(&parts)?))
}

/// What a table gives to the observations.
pub(super) struct Joined {
    pub inner: bool,
    /// For each observation the place whose row it takes.
    places: Vec<u32>,
    columns: Vec<Held>,
}

impl Joined {
    /// Whether an observation has a row.
    pub fn has(&self, observation: usize) -> bool {
        self.places[observation] != NOTHING
    }

    /// The columns for these observations.
    pub fn read(&self, observations: Range<usize>) -> Result<Vec<ArrayRef>> {
        let places = &self.places[observations];
        let rows: UInt32Array = match places.contains(&NOTHING) {
            true => places.iter().map(|place| (*place != NOTHING).then_some(*place)).collect(),
            false => places.to_vec().into(),
        };
        let read = |column: &Held| match column {
            Held::Flat(values) => Ok(take(values, &rows, None)?),
            Held::Heaped(arrays, held) => {
                let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                let at = |place: &u32| if *place == NOTHING { (0, 0) } else { unpack(held[*place as usize]) };
                Ok(interleave(&arrays, &places.iter().map(at).collect::<Vec<_>>())?)
            }
        };
        self.columns.iter().map(read).collect()
    }
}
