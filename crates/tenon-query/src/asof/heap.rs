//! The values that places hold of a column whose values are of different lengths.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, make_comparator, new_empty_array};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::cells::{Arriving, Column, Held, Winner};

/// Rows that a copy makes at a time, so that texts stay below what one array can hold.
const COPIED: usize = 1 << 16;

/// Values as they came, in arrays of their own, of which those that have lost their place are thrown out now and then.
pub(super) struct Heap {
    arrays: Vec<ArrayRef>,
    /// Array and row of each place's value.
    places: Vec<u64>,
    stored: usize,
    /// How many values may be stored before those without a place go.
    limit: usize,
}

impl Heap {
    /// Where a place holds nothing.
    pub const NOTHING: u64 = u64::MAX;

    pub fn new(places: usize) -> Self {
        Self { arrays: Vec::new(), places: vec![Self::NOTHING; places], stored: 0, limit: places + 64 }
    }

    /// Throws out what has lost its place.
    fn compact(&mut self) -> Result<()> {
        let held: Vec<usize> = (0..self.places.len()).filter(|place| self.places[*place] != Self::NOTHING).collect();
        let mut arrays = Vec::with_capacity(held.len().div_ceil(COPIED));
        let sources: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        for places in held.chunks(COPIED) {
            let values: Vec<(usize, usize)> = places.iter().map(|place| unpack(self.places[*place])).collect();
            let array = plain(&interleave(&sources, &values)?);
            for (row, place) in places.iter().enumerate() {
                self.places[*place] = pack(arrays.len(), row);
            }
            arrays.push(array);
        }
        (self.arrays, self.stored) = (arrays, held.len());
        self.limit = self.stored + self.places.len() + 64;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.arrays.iter().map(|array| array.get_array_memory_size()).sum()
    }
}

impl Column for Heap {
    fn keep(&mut self, from: &Arriving, winners: &[Winner]) -> Result<isize> {
        let rows: UInt32Array = winners.iter().map(|winner| winner.row).collect();
        let taken = plain(&take(&from.array, &rows, None)?);
        for (row, winner) in winners.iter().enumerate() {
            self.places[winner.place as usize] = pack(self.arrays.len(), row);
        }
        let grown = taken.get_array_memory_size() as isize;
        self.stored += taken.len();
        self.arrays.push(taken);
        if self.stored <= self.limit {
            return Ok(grown);
        }
        let before = self.bytes() as isize;
        self.compact()?;
        Ok(grown + self.bytes() as isize - before)
    }

    fn order(&self, place: usize, from: &Arriving, row: usize) -> Result<Ordering> {
        let (array, held) = unpack(self.places[place]);
        let nulls_first = SortOptions { descending: false, nulls_first: true };
        let compare = make_comparator(&self.arrays[array], &from.array, nulls_first)?;
        Ok(compare(held, row))
    }

    fn finish(mut self: Box<Self>) -> Result<Held> {
        self.compact()?;
        Ok(Held::Heaped(self.arrays, self.places))
    }
}

/// The same values without a hold on those beside them.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => std::sync::Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(array.as_binary_view().gc()),
        _ if array.is_empty() => new_empty_array(array.data_type()),
        _ => ArrayRef::clone(array),
    }
}

const fn pack(array: usize, row: usize) -> u64 {
    ((array as u64) << 32) | row as u64
}

/// Array and row of a value.
pub(super) const fn unpack(place: u64) -> (usize, usize) {
    ((place >> 32) as usize, (place & 0xffff_ffff) as usize)
}
