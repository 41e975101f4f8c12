//! Keys of changed rows: the last change of each, and which files may hold their rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use serde_json::Value;
use tenon_core::fact::RowChanges;

/// The columns that name a row, in the contract's types.
#[derive(Debug, Clone)]
pub(super) struct KeyColumns {
    pub names: Vec<String>,
    kinds: Vec<DataType>,
}

impl KeyColumns {
    /// All columns of a schema.
    pub(super) fn of(schema: &SchemaRef) -> Self {
        let (names, kinds) =
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).unzip();
        Self { names, kinds }
    }

    /// The keys of rows, as bytes that are equal where the keys are.
    pub(super) fn encoded(&self, rows: &RecordBatch) -> Result<Rows, ArrowError> {
        let fields = self.kinds.iter().map(|kind| SortField::new(kind.clone())).collect();
        RowConverter::new(fields)?.convert_columns(&self.values(rows)?)
    }

    /// Whether rows have all the columns.
    pub(super) fn are_in(&self, rows: &RecordBatch) -> bool {
        self.names.iter().all(|name| rows.column_by_name(name).is_some())
    }

    fn values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        let value = |(name, kind): (&String, &DataType)| {
            let column = rows
                .column_by_name(name)
                .ok_or_else(|| ArrowError::SchemaError(format!("the key's column `{name}` is not there")))?;
            if column.data_type() == kind { Ok(ArrayRef::clone(column)) } else { cast(column, kind) }
        };
        self.names.iter().zip(&self.kinds).map(value).collect()
    }
}

/// The last change of each key.
#[derive(Debug, Default)]
pub(super) struct Winners {
    by_key: HashMap<Box<[u8]>, Winner>,
    superseded: u64,
}

#[derive(Debug)]
struct Winner {
    /// Its place in the batch.
    at: u64,
    /// The row among those that were accepted; none for a delete.
    row: Option<u32>,
    /// How many rows of the key the table had.
    had: u64,
}

impl Winners {
    /// Takes changes with their places: rows as they are now, or rows that are gone.
    pub(super) fn take(&mut self, keys: &Rows, places: &[u64], are_rows: bool) {
        for (row, (key, at)) in keys.iter().zip(places).enumerate() {
            let winner = Winner { at: *at, row: are_rows.then_some(row as u32), had: 0 };
            match self.by_key.entry(key.as_ref().into()) {
                Entry::Vacant(new) => {
                    new.insert(winner);
                }
                Entry::Occupied(mut known) => {
                    self.superseded += 1;
                    if known.get().at < winner.at {
                        known.insert(winner);
                    }
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The rows that win, in the order in which they came.
    pub(super) fn rows(&self, accepted: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut rows: Vec<u32> = self.by_key.values().filter_map(|winner| winner.row).collect();
        if rows.len() == accepted.num_rows() {
            return Ok(accepted.clone());
        }
        rows.sort_unstable();
        take_record_batch(accepted, &UInt32Array::from(rows))
    }

    /// Set where a row of the table stays, because its key is none of these; none where all of them do.
    pub(super) fn others(&mut self, keys: &Rows) -> Option<BooleanArray> {
        let mut is_other = vec![true; keys.num_rows()];
        for (key, is_other) in keys.iter().zip(&mut is_other) {
            if let Some(winner) = self.by_key.get_mut(key.as_ref()) {
                winner.had += 1;
                *is_other = false;
            }
        }
        is_other.contains(&false).then(|| BooleanArray::from(is_other))
    }

    /// What the changes did, once all files were looked at.
    pub(super) fn counts(&self) -> RowChanges {
        let mut counts = RowChanges { superseded: self.superseded, ..RowChanges::default() };
        for winner in self.by_key.values() {
            match (winner.row.is_some(), winner.had) {
                (true, 0) => {}
                (false, 0) => counts.absent += 1,
                (true, _) => counts.updated += 1,
                (false, _) => counts.deleted += 1,
            }
            counts.repeated += winner.had.saturating_sub(1);
        }
        counts
    }

    /// Where the keys lie, column by column.
    pub(super) fn spread(&self, columns: &KeyColumns) -> Result<Spread, ArrowError> {
        let fields = columns.kinds.iter().map(|kind| SortField::new(kind.clone())).collect();
        let converter = RowConverter::new(fields)?;
        let parser = converter.parser();
        let keys = self.by_key.keys().map(|key| parser.parse(key));
        let values = converter.convert_rows(keys)?;
        let columns = columns.names.iter().zip(&values).map(|(name, values)| (name.clone(), Sorted::of(values)));
        Ok(Spread { columns: columns.collect() })
    }
}

/// The values of changed keys, column by column.
pub(super) struct Spread {
    columns: Vec<(String, Sorted)>,
}

enum Sorted {
    Whole(Vec<i64>),
    Texts(Vec<String>),
    /// Values that are not held against the bounds of files.
    Unknown,
}

impl Sorted {
    fn of(values: &ArrayRef) -> Self {
        match values.data_type() {
            DataType::Int32 | DataType::Int64 => {
                let Ok(values) = cast(values, &DataType::Int64) else { return Self::Unknown };
                let mut values: Vec<i64> = values.as_primitive::<Int64Type>().iter().flatten().collect();
                values.sort_unstable();
                Self::Whole(values)
            }
            DataType::Utf8 => {
                let mut values: Vec<String> = values.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
                values.sort_unstable();
                Self::Texts(values)
            }
            _ => Self::Unknown,
        }
    }

    /// Whether one of the values may lie between a file's bounds.
    fn has_between(&self, low: Option<&Value>, high: Option<&Value>) -> bool {
        match self {
            Self::Whole(values) => match (low.and_then(Value::as_i64), high.and_then(Value::as_i64)) {
                (Some(low), Some(high)) => {
                    values.get(values.partition_point(|value| *value < low)).is_some_and(|value| *value <= high)
                }
                _ => true,
            },
            Self::Texts(values) => match (low.and_then(Value::as_str), high.and_then(Value::as_str)) {
                (Some(low), Some(high)) => {
                    let first = values.get(values.partition_point(|value| value.as_str() < low));
                    first.is_some_and(|value| value.as_str() <= high)
                }
                _ => true,
            },
            Self::Unknown => true,
        }
    }
}

impl Spread {
    /// Whether a file may hold one of the keys, as its statistics say.
    pub(super) fn may_be_in(&self, stats: &str) -> bool {
        let Ok(stats) = serde_json::from_str::<Value>(stats) else { return true };
        let bound = |which: &str, column: &str| stats.get(which).and_then(|bounds| bounds.get(column)).cloned();
        self.columns.iter().all(|(name, values)| {
            let (low, high) = (bound("minValues", name), bound("maxValues", name));
            values.has_between(low.as_ref(), high.as_ref())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use serde_json::json;

    use super::*;

    fn keys(numbers: &[i64], texts: &[&str]) -> RecordBatch {
        let columns = [
            ("id", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef),
            ("area", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn the_last_change_of_a_key_counts_wherever_it_stands() {
        let rows = keys(&[1, 2, 1, 3], &["a", "a", "a", "a"]);
        let columns = KeyColumns::of(&rows.schema());
        let mut winners = Winners::default();
        winners.take(&columns.encoded(&rows).unwrap(), &[0, 3, 6, 4], true);
        let gone = keys(&[2, 3, 4], &["a", "a", "a"]);
        winners.take(&columns.encoded(&gone).unwrap(), &[1, 5, 7], false);
        // 1 by its second row, 2 by its row after the delete; 3 and 4 are gone.
        let left = winners.rows(&rows).unwrap();
        assert_eq!(left.column(0).as_primitive::<Int64Type>().values().to_vec(), [2, 1]);
        let table = keys(&[1, 3, 5], &["a", "a", "a"]);
        let others = winners.others(&columns.encoded(&table).unwrap()).unwrap();
        assert_eq!(others.iter().flatten().collect::<Vec<_>>(), [false, false, true]);
        assert!(winners.others(&columns.encoded(&keys(&[9, 1], &["a", "b"])).unwrap()).is_none());
        let expected = RowChanges { updated: 1, deleted: 1, absent: 1, superseded: 3, ..RowChanges::default() };
        assert_eq!(winners.counts(), expected);
    }

    #[test]
    fn files_whose_bounds_leave_no_room_for_a_key_are_not_read() {
        let rows = keys(&[10, 20], &["m", "x"]);
        let columns = KeyColumns::of(&rows.schema());
        let mut winners = Winners::default();
        winners.take(&columns.encoded(&rows).unwrap(), &[0, 1], true);
        let spread = winners.spread(&columns).unwrap();
        let file = |low: i64, high: i64, first: &str, last: &str| {
            let stats = json!({"minValues": {"id": low, "area": first}, "maxValues": {"id": high, "area": last}});
            spread.may_be_in(&stats.to_string())
        };
        assert!(file(1, 10, "a", "z") && file(20, 30, "x", "x") && file(0, 100, "n", "xx"));
        assert!(!file(11, 19, "a", "z") && !file(21, 30, "a", "z") && !file(1, 100, "n", "w"));
        // A file without bounds may hold anything.
        assert!(spread.may_be_in("") && spread.may_be_in("{\"numRecords\":3}"));
    }
}
