//! Rows of a view's source, as plain numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use tenon_core::Digest;

use super::key::column;
use super::vectors::Vectors;
use super::{KeyType, Keys, Past, PointInTimeError, View};

/// One entity's rows in order: by event, then by when it was known, then by value. The last makes the order, and with it
/// every aggregate, independent of the order in which rows arrived.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    events: &'a [i64],
    known: &'a [i64],
    values: &'a [f64],
    width: usize,
    past: Option<&'a Past>,
}

impl<'a> Rows<'a> {
    /// # Shapes
    /// `events`, `known` (microseconds): `[rows]`; `values` (NaN where null): `[rows, width]`, row by row.
    pub(super) fn new(events: &'a [i64], known: &'a [i64], values: &'a [f64], width: usize) -> Self {
        debug_assert!(events.len() == known.len() && events.len() * width == values.len());
        Self { events, known, values, width, past: None }
    }

    /// The same, after rows that are not kept.
    pub(super) fn after(self, past: Option<&'a Past>) -> Self {
        Self { past, ..self }
    }

    /// No rows.
    pub fn none() -> Self {
        Self { events: &[], known: &[], values: &[], width: 0, past: None }
    }

    /// What rows that are not kept say; each of them was known by every moment that may be asked for.
    pub(super) fn past(&self) -> Option<&'a Past> {
        self.past
    }

    /// When each row's event happened, in microseconds; never falling.
    pub fn events(&self) -> &'a [i64] {
        self.events
    }

    /// When each row was known, in microseconds; never before its event.
    pub fn known(&self) -> &'a [i64] {
        self.known
    }

    /// A value; NaN where it is null.
    pub fn value(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.width + column]
    }

    pub(super) fn row(&self, row: usize) -> Row<'a> {
        (self.events[row], self.known[row], &self.values[row * self.width..(row + 1) * self.width])
    }
}

/// A row's event, when it was known (both in microseconds), and its values.
pub(super) type Row<'a> = (i64, i64, &'a [f64]);

/// The order of rows of one entity. Nulls are all the same NaN, and are the greatest.
pub(super) fn order(a: Row<'_>, b: Row<'_>) -> Ordering {
    let values =
        || a.2.iter().zip(b.2).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
    a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)).then_with(values)
}

/// What a view's source returned: for each row its entity's key, its moments and the values that features aggregate.
/// Rows without an entity, an event or a moment at which they were known can never be used, and are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceRows {
    pub(super) keys: Vec<u8>,
    pub(super) key_ends: Vec<u32>,
    pub(super) events: Vec<i64>,
    pub(super) known: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) width: usize,
}

impl SourceRows {
    /// Reads what a view's source returned.
    ///
    /// # Errors
    /// When a column is missing or of a type that cannot be used.
    pub fn read(view: &View, types: &[KeyType], batches: &[RecordBatch]) -> Result<Self, PointInTimeError> {
        let mut rows = Self::new(view);
        for batch in batches {
            rows.append(view, types, batch)?;
        }
        Ok(rows)
    }

    /// No rows yet.
    pub fn new(view: &View) -> Self {
        Self { width: view.columns.len(), ..Self::default() }
    }

    /// Reads more of what the view's source returned.
    ///
    /// # Errors
    /// As [`SourceRows::read`].
    pub fn append(&mut self, view: &View, types: &[KeyType], batch: &RecordBatch) -> Result<(), PointInTimeError> {
        let keys = Keys::read(batch, &view.entity, types)?;
        let events = moments(batch, &view.event_time)?;
        let known = view.known_at.as_ref().map(|name| moments(batch, name)).transpose()?;
        let column = |(at, name): (usize, &String)| numbers(batch, name, view.takes_text(at));
        let single = view.vectors.first().map_or(view.columns.len(), |vector| vector.values.start);
        let columns = view.columns[..single].iter().enumerate().map(column).collect::<Result<Vec<_>, _>>()?;
        let vectors = view.vectors.iter().map(|vector| Vectors::read(batch, vector)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if events.is_null(row) || known.as_ref().is_some_and(|known| known.is_null(row)) {
                continue;
            }
            if !keys.write(row, &mut self.keys) {
                continue;
            }
            let end = u32::try_from(self.keys.len()).map_err(|_| PointInTimeError::KeysTooBig)?;
            self.key_ends.push(end);
            let event = events.value(row);
            self.events.push(event);
            self.known.push(known.as_ref().map_or(event, |known| known.value(row).max(event)));
            self.values.extend(columns.iter().map(|column| {
                let column = column.as_primitive::<Float64Type>();
                // One NaN for every null, so that equal rows have equal bits.
                if column.is_null(row) || column.value(row).is_nan() { f64::NAN } else { column.value(row) }
            }));
            vectors.iter().for_each(|vectors| vectors.append(row, &mut self.values));
        }
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The key of a row's entity.
    pub fn key(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.key_ends[before] as usize);
        &self.keys[start..self.key_ends[row] as usize]
    }

    /// A row's event, when it was known (both in microseconds), and its values.
    pub fn row(&self, row: usize) -> (i64, i64, &[f64]) {
        (self.events[row], self.known[row], &self.values[row * self.width..(row + 1) * self.width])
    }

    /// When the first of them was known, in microseconds; none: there are no rows.
    pub fn began(&self) -> Option<i64> {
        self.known.iter().copied().min()
    }

    /// The moments of the rows' events, in microseconds.
    pub fn events(&self) -> &[i64] {
        &self.events
    }

    /// When each row was known, in microseconds; never before its event.
    pub fn known(&self) -> &[i64] {
        &self.known
    }

    /// Takes over some rows of another.
    pub fn extend(&mut self, other: &Self, keep: impl Fn(usize) -> bool) {
        if self.is_empty() {
            self.width = other.width;
        }
        for row in (0..other.len()).filter(|row| keep(*row)) {
            self.keys.extend_from_slice(other.key(row));
            self.key_ends.push(self.keys.len() as u32);
            let (event, known, values) = other.row(row);
            self.events.push(event);
            self.known.push(known);
            self.values.extend_from_slice(values);
        }
    }

    /// The rows as bytes: rows, width and bytes of keys as little-endian u32, then the columns one after the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sizes = [self.len() as u32, self.width as u32, self.keys.len() as u32];
        let mut bytes = Vec::with_capacity(12 + self.keys.len() + self.len() * (20 + 8 * self.width));
        sizes.iter().for_each(|size| bytes.extend_from_slice(&size.to_le_bytes()));
        self.key_ends.iter().for_each(|end| bytes.extend_from_slice(&end.to_le_bytes()));
        self.events.iter().for_each(|event| bytes.extend_from_slice(&event.to_le_bytes()));
        self.known.iter().for_each(|known| bytes.extend_from_slice(&known.to_le_bytes()));
        self.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.extend_from_slice(&self.keys);
        bytes
    }

    /// The rows that [`SourceRows::to_bytes`] wrote; none where these are not such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut words = |count: usize| -> Option<Vec<u32>> {
            let (words, tail) = rest.split_at_checked(count.checked_mul(4)?)?;
            rest = tail;
            Some(words.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
        };
        let sizes = words(3)?;
        let (rows, width, keys) = (sizes[0] as usize, sizes[1] as usize, sizes[2] as usize);
        let key_ends = words(rows)?;
        let mut longs = |count: usize| -> Option<Vec<[u8; 8]>> {
            let (longs, tail) = rest.split_at_checked(count.checked_mul(8)?)?;
            rest = tail;
            Some(longs.as_chunks().0.to_vec())
        };
        let events = longs(rows)?.into_iter().map(i64::from_le_bytes).collect();
        let known = longs(rows)?.into_iter().map(i64::from_le_bytes).collect();
        let values = longs(rows.checked_mul(width)?)?.into_iter().map(f64::from_le_bytes).collect();
        let sound =
            rest.len() == keys && key_ends.is_sorted() && key_ends.last().map_or(0, |end| *end as usize) == keys;
        sound.then(|| Self { keys: rest.to_vec(), key_ends, events, known, values, width })
    }
}

/// A column of moments, in microseconds of UTC. A moment without a time zone is one in UTC, a date its first moment; one
/// that is too far away for microseconds is null.
///
/// # Errors
/// When the column is missing or does not hold moments.
pub fn moments(batch: &RecordBatch, name: &str) -> Result<Int64Array, PointInTimeError> {
    read_moments(batch, name, &CastOptions::default())
}

/// The same of what a caller asks, where nothing that was said may be taken for nothing.
///
/// # Errors
/// As [`moments`], and for a moment that is too far away.
pub fn asked_moments(batch: &RecordBatch, name: &str) -> Result<Int64Array, PointInTimeError> {
    read_moments(batch, name, &CastOptions { safe: false, ..CastOptions::default() })
}

fn read_moments(batch: &RecordBatch, name: &str, how: &CastOptions<'_>) -> Result<Int64Array, PointInTimeError> {
    let array = column(batch, name)?;
    if !is_moment(array.data_type()) {
        return Err(wrong(name, array, "a moment"));
    }
    let micros = cast_with_options(array, &DataType::Timestamp(TimeUnit::Microsecond, None), how)?;
    Ok(cast(&micros, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

pub(super) fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64)
}

pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// A column as numbers. Where text will do as well, one text is one number, by the first 53 bits of its SHA-256 digest: of
/// a million texts two have one number in 1 of 18,000 cases.
fn numbers(batch: &RecordBatch, name: &str, or_text: bool) -> Result<ArrayRef, PointInTimeError> {
    let array = column(batch, name)?;
    if or_text && KeyType::of(array.data_type()) == Some(KeyType::Text) {
        let texts = cast(array, &DataType::Utf8)?;
        let number = |text: &str| {
            let first = Digest::of(text).as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
            (first >> 11) as f64
        };
        let numbers: Float64Array = texts.as_string::<i32>().iter().map(|text| text.map(number)).collect();
        return Ok(Arc::new(numbers));
    }
    if !is_number(array.data_type()) {
        return Err(wrong(name, array, "a number or a boolean"));
    }
    Ok(cast(array, &DataType::Float64)?)
}

pub(super) fn wrong(name: &str, array: &ArrayRef, wanted: &'static str) -> PointInTimeError {
    PointInTimeError::WrongType { column: name.to_owned(), found: array.data_type().clone(), wanted }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Date32Array, TimestampSecondArray};

    use super::*;

    #[test]
    fn a_moment_that_is_too_far_away_is_null_in_rows_and_refused_of_a_caller() {
        let far: [ArrayRef; 2] = [
            Arc::new(TimestampSecondArray::from(vec![Some(1), None, Some(i64::MAX)])),
            Arc::new(Date32Array::from(vec![Some(1), None, Some(i32::MAX)])),
        ];
        for column in far {
            let batch = RecordBatch::try_from_iter([("at", column)]).unwrap();
            assert_eq!(moments(&batch, "at").unwrap().null_count(), 2);
            assert!(matches!(asked_moments(&batch, "at"), Err(PointInTimeError::Arrow(_))));
            assert_eq!(asked_moments(&batch.slice(0, 2), "at").unwrap().null_count(), 1);
        }
    }

    #[test]
    fn rows_read_back_from_bytes_and_damage_is_seen() {
        let rows = SourceRows {
            keys: b"abcde".to_vec(),
            key_ends: vec![2, 5],
            events: vec![1, -2],
            known: vec![3, i64::MAX],
            values: vec![0.5, -0.0, 1e300, 4.0],
            width: 2,
        };
        let bytes = rows.to_bytes();
        assert_eq!(SourceRows::from_bytes(&bytes), Some(rows));
        for length in 0..bytes.len() {
            assert_eq!(SourceRows::from_bytes(&bytes[..length]), None, "{length} bytes");
        }
    }
}
