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
/// Parts of a batch's keys.
const PARTS: usize = 16;

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
    /// The rows that hold keys, shared out by the keys' hashes: a part fits into a core's own cache, and parts are looked
    /// through at once.
    parts: [Places; PARTS],
}

/// The piece and row that holds a key, by the key's hash. Keys of the same hash stand at the numbers that follow it.
type Places = HashMap<u64, (u32, u32)>;

impl Seen {
    /// Set where a row that is not in `out` already has the key of an earlier one; the earlier one stays.
    pub(crate) fn repeated(
        &mut self,
        rows: &RecordBatch,
        key: &[usize],
        out: Option<&BooleanBuffer>,
    ) -> Result<BooleanBuffer, ArrowError> {
        self.pieces.push(key.iter().map(|at| Arc::clone(rows.column(*at))).collect());
        let pieces = &self.pieces;
        let hashes = hashes(&pieces[pieces.len() - 1], rows.num_rows())?;
        let counted = |row: usize| out.is_none_or(|out| !out.value(row));
        let look = |(part, places): (usize, &mut Places)| {
            let own = hashes.iter().enumerate().filter(|(_, hash)| part_of(**hash) == part);
            repeated_in(places, pieces, own.map(|(row, hash)| (row, *hash)).filter(|(row, _)| counted(*row)))
        };
        let found: Vec<Vec<usize>> = if rows.num_rows() < ROWS_A_CHUNK {
            self.parts.iter_mut().enumerate().map(look).collect::<Result<_, _>>()?
        } else {
            self.parts.par_iter_mut().enumerate().map(look).collect::<Result<_, _>>()?
        };
        let mut repeated = vec![false; rows.num_rows()];
        found.into_iter().flatten().for_each(|row| repeated[row] = true);
        Ok(repeated.into())
    }
}

/// The part that keys of a hash are in. The map of a part goes by other bits.
fn part_of(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
}

/// Which of the newest piece's rows, given with their hashes in their order, have the key of an earlier row.
fn repeated_in(
    places: &mut Places,
    pieces: &[Vec<ArrayRef>],
    rows: impl Iterator<Item = (usize, u64)>,
) -> Result<Vec<usize>, ArrowError> {
    let newest = pieces.len() - 1;
    // Comparing is for keys of equal hash only: with few repeated keys there is next to nothing to compare.
    let mut comparators: HashMap<usize, Vec<DynComparator>> = HashMap::new();
    let mut repeated = Vec::new();
    for (row, hash) in rows {
        let mut at = hash;
        let taken = loop {
            let (holding, holder) = match places.entry(at) {
                Entry::Occupied(holder) => *holder.get(),
                Entry::Vacant(free) => {
                    free.insert((newest as u32, row as u32));
                    break false;
                }
            };
            let (holding, holder) = (holding as usize, holder as usize);
            let same = match comparators.entry(holding) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(comparing(&pieces[holding], &pieces[newest])?),
            };
            if same.iter().all(|compare| compare(holder, row).is_eq()) {
                break true;
            }
            at = at.wrapping_add(1);
        };
        if taken {
            repeated.push(row);
        }
    }
    Ok(repeated)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn the_first_row_of_a_key_stays_in_batches_of_all_sizes() {
        let (mut seen, mut known) = (Seen::default(), std::collections::HashSet::new());
        let mut begin = 0_i64;
        for rows in [10, ROWS_A_CHUNK as i64 * 2, 100] {
            // Some keys come again at once, some in a later piece; null is a key like others.
            let key = |row: i64| ((row % 7 != 3).then_some(row * 7_919 % 50_021), (row % 13).to_string());
            let keys: Vec<(Option<i64>, String)> = (begin..begin + rows).map(key).collect();
            let numbers: Int64Array = keys.iter().map(|key| key.0).collect();
            let texts = StringArray::from_iter_values(keys.iter().map(|key| &key.1));
            let columns: Vec<(&str, ArrayRef)> = vec![("number", Arc::new(numbers)), ("text", Arc::new(texts))];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let out: BooleanBuffer = (begin..begin + rows).map(|row| row % 5 == 0).collect();
            let expected: BooleanBuffer =
                keys.into_iter().enumerate().map(|(row, key)| !out.value(row) && !known.insert(key)).collect();
            assert!(rows < 1_000 || expected.count_set_bits() > 100);
            assert_eq!(seen.repeated(&batch, &[0, 1], Some(&out)).unwrap(), expected);
            begin += rows - 50;
        }
    }
}
