//! The values that places hold of one column: one cell a place.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayData, ArrayRef, NullBufferBuilder, make_array};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

use super::heap::Heap;

/// A row that has won a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Winner {
    pub row: u32,
    /// Counted from the first place of the shard.
    pub place: u32,
}

/// A column of rows that arrive.
pub(super) struct Arriving {
    pub array: ArrayRef,
    data: ArrayData,
}

impl Arriving {
    pub fn new(array: &ArrayRef) -> Result<Self> {
        // Bits are no cells; bytes are.
        let array = match array.data_type() {
            DataType::Boolean => cast(array, &DataType::UInt8)?,
            _ => ArrayRef::clone(array),
        };
        let data = array.to_data();
        Ok(Self { array, data })
    }
}

/// What a column's places hold in the end.
pub(super) enum Held {
    /// One value a place.
    Flat(ArrayRef),
    /// For each place the array and the row in it; [`Heap::NOTHING`] where it holds nothing.
    Heaped(Vec<ArrayRef>, Vec<u64>),
}

/// Holds the values of one column for the places of a shard.
pub(super) trait Column: Send {
    /// Takes over the values of rows that have won. Returns by how many bytes what is held grew or shrank.
    fn keep(&mut self, from: &Arriving, winners: &[Winner]) -> Result<isize>;
    /// The value that a place holds against that of a row; a null is the least.
    fn order(&self, place: usize, from: &Arriving, row: usize) -> Result<Ordering>;
    /// Everything that is held.
    fn finish(self: Box<Self>) -> Result<Held>;
}

/// Room for a column of this type at `places` places.
pub(super) fn column(data_type: &DataType, places: usize) -> Box<dyn Column> {
    match width(data_type) {
        Some(1) => Box::new(Cells::<u8>::new(data_type, places)),
        Some(2) => Box::new(Cells::<u16>::new(data_type, places)),
        Some(4) => Box::new(Cells::<u32>::new(data_type, places)),
        Some(8) => Box::new(Cells::<u64>::new(data_type, places)),
        Some(16) => Box::new(Cells::<i128>::new(data_type, places)),
        _ => Box::new(Heap::new(places)),
    }
}

/// The bytes of a value, where all have as many.
pub(super) fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        other => other.primitive_width().filter(|width| *width <= 16),
    }
}

struct Cells<T> {
    data_type: DataType,
    values: Vec<T>,
    /// From the first null on.
    valid: Option<Vec<bool>>,
}

impl<T: ArrowNativeType> Cells<T> {
    fn new(data_type: &DataType, places: usize) -> Self {
        Self { data_type: data_type.clone(), values: vec![T::default(); places], valid: None }
    }
}

impl<T: ArrowNativeType + Into<i128>> Column for Cells<T> {
    fn keep(&mut self, from: &Arriving, winners: &[Winner]) -> Result<isize> {
        let values = from.data.buffer::<T>(0);
        for winner in winners {
            self.values[winner.place as usize] = values[winner.row as usize];
        }
        let nulls = from.data.nulls().filter(|nulls| nulls.null_count() > 0);
        if self.valid.is_none() && nulls.is_none() {
            return Ok(0);
        }
        let places = self.values.len();
        let grown = if self.valid.is_none() { places as isize } else { 0 };
        let valid = self.valid.get_or_insert_with(|| vec![true; places]);
        for winner in winners {
            valid[winner.place as usize] = nulls.is_none_or(|nulls| nulls.is_valid(winner.row as usize));
        }
        Ok(grown)
    }

    fn order(&self, place: usize, from: &Arriving, row: usize) -> Result<Ordering> {
        let held = self.valid.as_ref().is_none_or(|valid| valid[place]);
        let new = from.data.nulls().is_none_or(|nulls| nulls.is_valid(row));
        Ok(match (held, new) {
            (true, true) => {
                let rank = |value: T| rank(value.into(), size_of::<T>(), &self.data_type);
                rank(self.values[place]).cmp(&rank(from.data.buffer::<T>(0)[row]))
            }
            (held, new) => held.cmp(&new),
        })
    }

    fn finish(self: Box<Self>) -> Result<Held> {
        let nulls = self.valid.and_then(|valid| {
            let mut nulls = NullBufferBuilder::new(valid.len());
            nulls.append_slice(&valid);
            nulls.finish()
        });
        let bytes = if self.data_type == DataType::Boolean { DataType::UInt8 } else { self.data_type.clone() };
        let builder = ArrayData::builder(bytes).len(self.values.len()).nulls(nulls);
        let array = make_array(builder.add_buffer(Buffer::from_vec(self.values)).align_buffers(true).build()?);
        Ok(Held::Flat(if self.data_type == DataType::Boolean { cast(&array, &DataType::Boolean)? } else { array }))
    }
}

/// A number that is greater where the value is, of the bits of a value of `width` bytes.
fn rank(bits: i128, width: usize, data_type: &DataType) -> i128 {
    let unused = 128 - 8 * width as u32;
    // The value's own sign, where it has one.
    let signed = (bits << unused) >> unused;
    match data_type {
        unsigned if unsigned.is_unsigned_integer() || *unsigned == DataType::Boolean => bits,
        // As `total_cmp` has it: of negative numbers the bits below the sign count the other way round.
        float if float.is_floating() && signed < 0 => signed ^ ((1 << (8 * width - 1)) - 1),
        _ => signed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_values() {
        let floats = [f64::NEG_INFINITY, -2.5, -0.0, 0.0, 1e-300, 7.0, f64::INFINITY, f64::NAN];
        let ranks = floats.map(|value| rank(value.to_bits().into(), 8, &DataType::Float64));
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        let signed = [i32::MIN, -1, 0, i32::MAX].map(|value| rank((value as u32).into(), 4, &DataType::Int32));
        assert!(signed.is_sorted_by(|a, b| a < b), "{signed:?}");
        let unsigned = [0, 1, u64::MAX].map(|value| rank(value.into(), 8, &DataType::UInt64));
        assert!(unsigned.is_sorted_by(|a, b| a < b), "{unsigned:?}");
    }
}
