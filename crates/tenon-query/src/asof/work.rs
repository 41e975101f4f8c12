//! One feature table on its way to the observations.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use parking_lot::Mutex;

use super::cells::{Arriving, Held};
use super::heap::{Heap, unpack};
use super::keys::NOBODY;
use super::shard::{NO_EVENT, Rows, Shard};
use super::table::Table;
use super::timelines::{Finger, Timelines};

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
    /// For each order of the observations where its entities were last asked for.
    fingers: Vec<Vec<Finger>>,
    /// For each shard the rows that go there, and their places.
    places: Vec<Vec<(u32, u32)>>,
}

impl Work {
    pub fn new(table: Arc<Table>, timelines: Arc<Timelines>, schema: &Schema, columns: Vec<usize>) -> Self {
        let types: Vec<DataType> = columns.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let shard = |entities: Range<u32>| {
            let places = timelines.places(entities.start).start..timelines.places(entities.end - 1).end;
            Mutex::new(Shard::new(places, table.known.is_some(), &types))
        };
        let shards = timelines.shards().map(shard).collect();
        Self { table, timelines, columns, types, shards }
    }

    /// Takes in a batch. Workers begin at different shards, so that they seldom wait for each other. Returns by how many
    /// bytes what is held grew or shrank.
    pub fn take_in(&self, batch: &RecordBatch, scratch: &mut Scratch, worker: usize) -> Result<isize> {
        let events = self.table.event.read(batch, self.table.unit)?;
        let known = self.table.known.as_ref().map(|known| known.read(batch, self.table.unit)).transpose()?;
        let keys = self.table.entity.read(batch)?;
        let Scratch { entities, fingers, places } = scratch;
        self.timelines.keys.find(&keys, batch.num_rows(), entities)?;
        fingers.resize_with(fingers.len().max(self.table.order + 1), Vec::new);
        let fingers = &mut fingers[self.table.order];
        fingers.resize(self.timelines.entities(), Finger::NOWHERE);
        places.resize_with(self.shards.len(), Vec::new);
        places.iter_mut().for_each(Vec::clear);
        let nulls = [Some(&events), known.as_ref()].into_iter().flatten().any(|moments| moments.null_count() > 0);
        let is_null = |row| events.is_null(row) || known.as_ref().is_some_and(|known| known.is_null(row));
        let known_values = known.as_ref().map(|known| known.values().as_ref());
        for (row, entity) in entities.iter().enumerate() {
            if *entity == NOBODY || (nulls && is_null(row)) {
                continue;
            }
            let finger = &mut fingers[*entity as usize];
            let known = known_values.map(|known| known[row]);
            if let Some(place) = self.place(*entity, events.values()[row], known, finger) {
                places[self.timelines.shard(*entity)].push((row as u32, place as u32));
            }
        }
        let columns =
            self.columns.iter().map(|column| Arriving::new(batch.column(*column))).collect::<Result<Vec<_>>>()?;
        let rows = Rows { events: events.values(), known: known_values, columns: &columns };
        let mut grown = 0;
        for step in 0..self.shards.len() {
            let shard = (step + worker * self.shards.len() / 2) % self.shards.len();
            if !places[shard].is_empty() {
                grown += self.shards[shard].lock().take_in(&places[shard], &rows)?;
            }
        }
        Ok(grown)
    }

    /// The place of the first observation that may see a row; none where there is none, or the row is too old by then.
    fn place(&self, entity: u32, event: i64, known: Option<i64>, finger: &mut Finger) -> Option<usize> {
        let mut seen = self.table.event.seen_from(event);
        if let (Some(known), Some(before)) = (known, &self.table.known) {
            seen = seen.max(before.seen_from(known));
        }
        let place = self.timelines.first_from(entity, seen, finger)?;
        (event != NO_EVENT && self.counts(place, event)).then_some(place)
    }

    /// Whether a row of this event is young enough for the observation at a place.
    fn counts(&self, place: usize, event: i64) -> bool {
        self.table.max_age.is_none_or(|age| self.timelines.times[place].saturating_sub(event) <= age)
    }

    /// What the observations get, once all batches have come in.
    pub fn finish(self) -> Result<Joined> {
        let mut places = vec![NOTHING; self.timelines.observations];
        for (shard, entities) in self.shards.iter().zip(self.timelines.shards()) {
            let shard = shard.lock();
            for entity in entities {
                shard.carry(self.timelines.places(entity), |place, from, event| {
                    if self.counts(place, event) {
                        places[self.timelines.rows[place] as usize] = from as u32;
                    }
                });
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
