//! Sets of values: those that a reference or a list allows, and those that a key has taken.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// A set of values of one column.
#[derive(Debug)]
pub(crate) enum KeySet {
    Text(HashSet<Box<str>>),
    /// Whole numbers, moments and days.
    Whole(HashSet<i64>),
}

impl KeySet {
    /// The set of all values in some arrays; nulls are no values.
    pub(crate) fn of<'a>(arrays: impl IntoIterator<Item = &'a ArrayRef>) -> Result<Self, ArrowError> {
        let (mut texts, mut whole) = (HashSet::new(), HashSet::new());
        for array in arrays {
            if is_whole(array.data_type()) {
                whole.extend(as_whole(array)?.as_primitive::<Int64Type>().iter().flatten());
            } else {
                let array = cast(array, &DataType::Utf8)?;
                texts.extend(array.as_string::<i32>().iter().flatten().map(Box::from));
            }
        }
        Ok(if whole.is_empty() { Self::Text(texts) } else { Self::Whole(whole) })
    }

    /// Set where a value is none of the set's. A null is no value, and never set.
    pub(crate) fn others(&self, array: &ArrayRef) -> Result<BooleanBuffer, ArrowError> {
        Ok(match self {
            Self::Whole(known) if is_whole(array.data_type()) => {
                let array = as_whole(array)?;
                let array = array.as_primitive::<Int64Type>();
                BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && !known.contains(&array.value(row)))
            }
            // Of two kinds, values are the same when they are written the same.
            Self::Whole(known) => {
                let texts = known.iter().map(|value| value.to_string().into()).collect();
                Self::Text(texts).others(array)?
            }
            Self::Text(known) => {
                let array = cast(array, &DataType::Utf8)?;
                let array = array.as_string::<i32>();
                BooleanBuffer::collect_bool(array.len(), |row| array.is_valid(row) && !known.contains(array.value(row)))
            }
        })
    }
}

fn is_whole(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_temporal()
}

fn as_whole(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64),
        _ => cast(array, &DataType::Int64),
    }
}

/// The keys that rows of one batch have taken so far.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashSet<Box<[u8]>>);

impl Seen {
    /// Set where a row that is not in `out` already has the key of an earlier one; the earlier one stays.
    pub(crate) fn repeated(
        &mut self,
        rows: &RecordBatch,
        key: &[usize],
        out: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer, ArrowError> {
        let columns: Vec<ArrayRef> = key.iter().map(|at| rows.column(*at).clone()).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        self.0.reserve(rows.num_rows());
        Ok(BooleanBuffer::collect_bool(rows.num_rows(), |row| {
            let out = out.is_some_and(|out| out.value(row));
            !out && !self.0.insert(keys.row(row).as_ref().into())
        }))
    }
}
