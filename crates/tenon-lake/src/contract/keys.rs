//! Sets of values: those that a reference or a list allows, and those that a key has taken.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, RecordBatch, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::hash_map::Entry;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::{HashMap, HashSet};
use rayon::prelude::*;

/// Rows that one thread hashes at a time.
const ROWS_A_CHUNK: usize = 32_768;

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
                BooleanBuffer::collect_bool(array.len(), |row| {
                    array.is_valid(row) && !known.contains(&array.value(row))
                })
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
#[derive(Default)]
pub(crate) struct Seen {
    /// The key columns of each piece.
    pieces: Vec<Vec<ArrayRef>>,
    /// The row that holds a key, by the key's hash. Keys of the same hash stand at the numbers that follow it.
    places: HashMap<u64, (u32, u32)>,
}

impl Seen {
    /// Set where a row that is not in `out` already has the key of an earlier one; the earlier one stays.
    pub(crate) fn repeated(
        &mut self,
        rows: &RecordBatch,
        key: &[usize],
        out: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer, ArrowError> {
        let piece = self.pieces.len();
        self.pieces.push(key.iter().map(|at| Arc::clone(rows.column(*at))).collect());
        let columns = &self.pieces[piece];
        let hashes = hashes(columns, rows.num_rows())?;
        self.places.reserve(rows.num_rows());
        // Comparing is for keys of equal hash only: with few repeated keys there is next to nothing to compare.
        let mut comparators: HashMap<usize, Vec<DynComparator>> = HashMap::new();
        let mut repeated = vec![false; rows.num_rows()];
        for (row, hash) in hashes.into_iter().enumerate() {
            if out.is_some_and(|out| out.value(row)) {
                continue;
            }
            let mut at = hash;
            while let Some(&(holding, holder)) = self.places.get(&at) {
                let (holding, holder) = (holding as usize, holder as usize);
                let same = match comparators.entry(holding) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(comparing(&self.pieces[holding], columns)?),
                };
                if same.iter().all(|compare| compare(holder, row).is_eq()) {
                    repeated[row] = true;
                    break;
                }
                at = at.wrapping_add(1);
            }
            if !repeated[row] {
                self.places.insert(at, (piece as u32, row as u32));
            }
        }
        Ok(repeated.into())
    }
}

/// The hash of each row's key.
fn hashes(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>, ArrowError> {
    let mut hashes = vec![0; rows];
    let hash = |(chunk, hashes): (usize, &mut [u64])| {
        let part = |column: &ArrayRef| column.slice(chunk * ROWS_A_CHUNK, hashes.len());
        let columns: Vec<ArrayRef> = columns.iter().map(part).collect();
        create_hashes(&columns, &RandomState::with_seed(0), hashes).map(drop)
    };
    hashes.par_chunks_mut(ROWS_A_CHUNK).enumerate().try_for_each(hash)?;
    Ok(hashes)
}

fn comparing(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Vec<DynComparator>, ArrowError> {
    left.iter().zip(right).map(|(left, right)| make_comparator(left, right, SortOptions::default())).collect()
}
