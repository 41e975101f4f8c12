//! The digest of rows: the same for the same rows, however they were cut into batches.
//!
//! Each column is hashed on its own (so that columns can be hashed at once) by two SHA-256 streams: one of *presence*,
//! a byte a row, 1 for a value and 0 for none; one of *values*, in little-endian bytes of fixed width with zeros where
//! there is none, a byte for a boolean, and for a text its length in 4 bytes followed by its UTF-8 bytes (nothing for
//! none). The rows' digest is the SHA-256 over, for each column in order, its name, its type, and both digests, and at
//! the end the number of rows.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, SortField};
use rayon::prelude::*;
use tenon_core::Digest;
use tenon_core::digest::DigestBuilder;

/// The digest of rows that have this schema.
pub fn rows_digest(schema: &Schema, batches: &[RecordBatch]) -> Digest {
    let columns: Vec<(Digest, Digest)> = (0..schema.fields().len())
        .into_par_iter()
        .map(|at| column_digest(batches.iter().map(|batch| batch.column(at))))
        .collect();
    let mut whole = Digest::builder();
    for (field, (presence, values)) in schema.fields().iter().zip(columns) {
        for text in [field.name().clone(), field.data_type().to_string()] {
            whole.update((text.len() as u64).to_le_bytes());
            whole.update(text);
        }
        whole.update(presence.as_bytes());
        whole.update(values.as_bytes());
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    whole.update((rows as u64).to_le_bytes());
    whole.finish()
}

fn column_digest<'a>(arrays: impl Iterator<Item = &'a ArrayRef>) -> (Digest, Digest) {
    let (mut presence, mut values) = (Digest::builder(), Digest::builder());
    let mut scratch = Vec::new();
    for array in arrays {
        scratch.clear();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => scratch.extend(nulls.iter().map(u8::from)),
            None => scratch.resize(array.len(), 1),
        }
        presence.update(&scratch);
        scratch.clear();
        add_values(array, &mut values, &mut scratch);
    }
    (presence.finish(), values.finish())
}

fn add_values(array: &ArrayRef, values: &mut DigestBuilder, scratch: &mut Vec<u8>) {
    match array.data_type() {
        DataType::Boolean => add_booleans(array.as_boolean(), values, scratch),
        DataType::Utf8 => add_texts(array.as_string(), values, scratch),
        kind => match kind.primitive_width() {
            Some(width) => add_fixed(&array.to_data(), width, values, scratch),
            None => add_rows(array, values),
        },
    }
}

fn add_booleans(array: &BooleanArray, values: &mut DigestBuilder, scratch: &mut Vec<u8>) {
    scratch.extend((0..array.len()).map(|row| u8::from(array.is_valid(row) && array.value(row))));
    values.update(scratch);
}

fn add_fixed(data: &ArrayData, width: usize, values: &mut DigestBuilder, scratch: &mut Vec<u8>) {
    let start = data.offset() * width;
    let bytes = &data.buffers()[0].as_slice()[start..start + data.len() * width];
    match data.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => values.update(bytes),
        Some(nulls) => {
            scratch.extend_from_slice(bytes);
            for (value, present) in scratch.chunks_exact_mut(width).zip(nulls.iter()) {
                if !present {
                    value.fill(0);
                }
            }
            values.update(scratch);
        }
    }
}

fn add_texts(array: &StringArray, values: &mut DigestBuilder, scratch: &mut Vec<u8>) {
    const FULL: usize = 1 << 16;
    /// A copy of so many bytes, whatever a short text needs of them, costs less than asking how many to copy.
    const SHORT: usize = 32;
    let (bytes, offsets) = (array.value_data(), array.value_offsets());
    scratch.resize(FULL + SHORT, 0);
    let mut end = 0;
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        // Arrow's offsets are 32 bits wide, so a text's length is too.
        let (begin, length) = (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize);
        if end + size_of::<u32>() + length > FULL {
            values.update(&scratch[..end]);
            end = 0;
        }
        scratch[end..end + size_of::<u32>()].copy_from_slice(&(length as u32).to_le_bytes());
        end += size_of::<u32>();
        match (bytes[begin..].first_chunk::<SHORT>(), scratch[end..].first_chunk_mut::<SHORT>()) {
            (Some(text), Some(copy)) if length <= SHORT => *copy = *text,
            _ if length <= FULL - size_of::<u32>() => {
                scratch[end..end + length].copy_from_slice(&bytes[begin..begin + length])
            }
            _ => {
                values.update(&scratch[..end]);
                values.update(&bytes[begin..begin + length]);
                end = 0;
                continue;
            }
        }
        end += length;
    }
    values.update(&scratch[..end]);
}

/// Lists and structs, which only the program's own tables hold: Arrow's row format says the same for the same value.
fn add_rows(array: &ArrayRef, values: &mut DigestBuilder) {
    let converted = RowConverter::new(vec![SortField::new(array.data_type().clone())])
        .and_then(|converter| converter.convert_columns(std::slice::from_ref(array)));
    if let Ok(rows) = converted {
        rows.iter().for_each(|row| values.update(row.as_ref()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array};
    use arrow::datatypes::Field;

    use super::*;

    fn rows(texts: &[Option<&str>], numbers: &[Option<i32>]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("number", DataType::Int32, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("real", DataType::Float64, true),
        ]);
        let flags: BooleanArray = numbers.iter().map(|number| number.map(|number| number > 0)).collect();
        let reals: Float64Array = numbers.iter().map(|number| number.map(f64::from)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(texts.to_vec())),
            Arc::new(Int32Array::from(numbers.to_vec())),
            Arc::new(flags),
            Arc::new(reals),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    #[test]
    fn texts_of_all_lengths_are_hashed_with_their_lengths() {
        let texts: Vec<Option<String>> = [0, 1, 31, 32, 33, 40_000, 30_000, 65_531, 65_532, 65_533, 200_000, 3]
            .into_iter()
            .flat_map(|length| [Some("x".repeat(length)), None, Some("é".repeat(length / 2))])
            .collect();
        let (mut expected, mut digest) = (Digest::builder(), Digest::builder());
        for text in texts.iter().flatten() {
            expected.update((text.len() as u32).to_le_bytes());
            expected.update(text);
        }
        add_texts(&StringArray::from(texts), &mut digest, &mut Vec::new());
        assert_eq!(digest.finish(), expected.finish());
    }

    #[test]
    fn the_digest_sees_rows_and_not_batches() {
        let whole = rows(&[Some("a"), None, Some("bc"), Some("")], &[Some(1), Some(0), None, Some(-7)]);
        let digest = |batches: &[RecordBatch]| rows_digest(&whole.schema(), batches);
        let all = digest(std::slice::from_ref(&whole));
        for cut in 0..=4 {
            assert_eq!(digest(&[whole.slice(0, cut), whole.slice(cut, 4 - cut)]), all, "cut at {cut}");
        }
        let others = [
            rows(&[Some("ab"), None, Some("c"), Some("")], &[Some(1), Some(0), None, Some(-7)]),
            rows(&[Some("a"), Some(""), Some("bc"), None], &[Some(1), Some(0), None, Some(-7)]),
            rows(&[Some("a"), None, Some("bc"), Some("")], &[Some(1), None, Some(0), Some(-7)]),
        ];
        for other in others {
            assert_ne!(digest(&[other]), all);
        }
        assert_ne!(digest(&[whole.slice(0, 3)]), all);
    }
}
