//! Rows to Parquet, and the statistics that Delta keeps of a file.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches, max, min};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType,
};
use arrow::datatypes::{SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowWriter, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaDataPtr;
use parquet::file::properties::{
    DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// Rows of one file and row group: enough to compress well, few enough to be encoded in memory.
pub(crate) const ROWS_A_FILE: usize = 1 << 20;
/// Below this many rows, starting a second thread costs more than it saves.
const ROWS_A_THREAD: usize = 16_384;
/// Delta's own default: statistics are kept for the first columns only.
const COLUMNS_WITH_STATISTICS: usize = 32;

/// Longer texts, in bytes, are no use as bounds.
const LONGEST_BOUND: usize = 64;

/// A Parquet file of one row group, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub bytes: Bytes,
    rows: usize,
    group: RowGroupMetaDataPtr,
    columns: Vec<EncodedColumn>,
}

/// A column of such a file.
#[derive(Debug, Clone)]
struct EncodedColumn {
    name: String,
    /// Its leaves in the row group; a column that nests has several.
    leaves: Range<usize>,
    nulls: usize,
    bounds: Option<Bounds>,
}

/// What a column of a file is made of.
pub(crate) enum Part<'a> {
    Values(&'a ArrayRef),
    /// The column of this number in a file that holds the very same values in the same order.
    Lent(&'a Encoded, usize),
}

impl Encoded {
    /// Delta's per-file statistics: rows, and nulls, least and greatest value of the first columns.
    pub(crate) fn statistics(&self) -> String {
        let (mut nulls, mut least, mut greatest) = (Map::new(), Map::new(), Map::new());
        let plain = |column: &&EncodedColumn| column.leaves.len() == 1;
        for column in self.columns.iter().take(COLUMNS_WITH_STATISTICS).filter(plain) {
            nulls.insert(column.name.clone(), json!(column.nulls));
            if let Some((low, high)) = &column.bounds {
                least.insert(column.name.clone(), low.clone());
                greatest.insert(column.name.clone(), high.clone());
            }
        }
        json!({"numRecords": self.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}).to_string()
    }

    /// A column's pages, as they are copied into another file.
    fn lend(&self, column: usize) -> ColumnCloseResult {
        let metadata = self.group.column(self.columns[column].leaves.start).clone();
        ColumnCloseResult {
            bytes_written: u64::try_from(metadata.compressed_size()).unwrap_or_default(),
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        }
    }
}

/// How every Parquet file of the program is written. Snappy, as every reader has it and it costs least.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_A_FILE))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("tenon ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// Encodes rows as one file after another, at most [`ROWS_A_FILE`] rows each. No rows, no file. Of the columns in `unique`
/// no value comes twice, so that looking for one that did would be in vain.
pub(crate) fn encode(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    unique: &[String],
) -> Result<Vec<Encoded>, ParquetError> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let whole = match batches {
        [one] => one.clone(),
        many => concat_batches(many[0].schema_ref(), many)?,
    };
    let file = |range: Range<usize>| {
        let rows = whole.slice(range.start, range.len());
        let parts: Vec<Part<'_>> = rows.columns().iter().map(Part::Values).collect();
        encode_parts(schema, &parts, range.len(), unique)
    };
    file_ranges(rows).map(file).collect()
}

/// Which rows go into which file.
pub(crate) fn file_ranges(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(ROWS_A_FILE).map(move |start| start..rows.min(start + ROWS_A_FILE))
}

/// Whether a column's different values are surely more than a dictionary may hold, so that one would be built, outgrow its
/// page and be given up. Values that share a bit are counted once.
fn outgrows_dictionary(column: &ArrayRef) -> bool {
    const MOST: usize = DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT / size_of::<i64>();
    const BITS: u32 = 20;
    if column.len() - column.null_count() <= MOST
        || !matches!(column.data_type(), DataType::Int64 | DataType::Timestamp(..))
    {
        return false;
    }
    let Ok(numbers) = cast(column, &DataType::Int64) else { return false };
    let numbers = numbers.as_primitive::<Int64Type>();
    if min(numbers).zip(max(numbers)).is_none_or(|(least, greatest)| greatest.abs_diff(least) < MOST as u64) {
        return false;
    }
    let mut seen = vec![0_u64; 1 << (BITS - u64::BITS.ilog2())];
    for number in numbers.iter().flatten() {
        // Knuth's multiplicative hash: the upper bits depend on all bits of the number.
        let bit = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS);
        seen[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    seen.iter().map(|word| word.count_ones() as usize).sum::<usize>() > MOST
}

/// How the file's columns are written.
fn file_properties(schema: &SchemaRef, parts: &[Part<'_>], unique: &[String]) -> WriterProperties {
    // Texts have their bounds in the table's log, where readers look first.
    let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8);
    let properties = texts.fold(properties(), |properties, field| {
        properties.set_column_statistics_enabled(ColumnPath::new(vec![field.name().clone()]), EnabledStatistics::None)
    });
    let has_none = |(field, part): &(&Arc<Field>, &Part<'_>)| match part {
        Part::Values(values) => unique.contains(field.name()) || outgrows_dictionary(values),
        Part::Lent(..) => false,
    };
    let fields: Vec<(&Arc<Field>, &Part<'_>)> = schema.fields().iter().zip(parts).collect();
    let without_dictionary: Vec<(&Arc<Field>, &Part<'_>)> = fields.into_par_iter().filter(has_none).collect();
    let properties = without_dictionary.into_iter().fold(properties, |properties, (field, _)| {
        let path = ColumnPath::new(vec![field.name().clone()]);
        let properties = properties.set_column_dictionary_enabled(path.clone(), false);
        match field.data_type() {
            // Numbers that are given out one after the other, moments that follow each other.
            DataType::Int64 | DataType::Timestamp(..) => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            _ => properties,
        }
    });
    // Which pages hold which rows is told of all columns or of none, and of copied ones it is not known any more.
    let copies = parts.iter().any(|part| matches!(part, Part::Lent(..)));
    properties.set_offset_index_disabled(copies).build()
}

/// Encodes one file of so many rows from its columns.
pub(crate) fn encode_parts(
    schema: &SchemaRef,
    parts: &[Part<'_>],
    rows: usize,
    unique: &[String],
) -> Result<Encoded, ParquetError> {
    let mut properties = file_properties(schema, parts, unique);
    // What the file says of its types, which need not be how the values stand in memory.
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    let fields: Vec<Arc<Field>> = schema.fields().iter().zip(parts).map(|(field, part)| written(field, part)).collect();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let in_memory = Arc::new(Schema::new(fields.clone()));
    let writer = ArrowWriter::try_new_with_options(Vec::new(), in_memory, options)?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    // One writer a leaf, and each column takes its share from the front.
    let mut writers = factory.create_column_writers(0)?.into_iter();
    let mut columns: Vec<(usize, Vec<ArrowColumnWriter>)> = Vec::new();
    for (at, (field, part)) in fields.iter().zip(parts).enumerate() {
        let leaves = match part {
            Part::Values(values) => compute_leaves(field, &values.slice(0, 0))?.len(),
            Part::Lent(..) => 1,
        };
        columns.push((at, writers.by_ref().take(leaves).collect()));
    }
    let encode_column = |(at, writers): (usize, Vec<ArrowColumnWriter>)| match &parts[at] {
        Part::Values(values) => encode_column(&fields[at], values, at, writers),
        Part::Lent(from, column) => {
            let EncodedColumn { nulls, bounds, .. } = &from.columns[*column];
            Ok((Vec::new(), *nulls, bounds.clone()))
        }
    };
    let encoded: Vec<(Vec<ArrowColumnChunk>, usize, Option<Bounds>)> = if rows < ROWS_A_THREAD {
        columns.into_iter().map(encode_column).collect::<Result<_, _>>()?
    } else {
        columns.into_par_iter().with_max_len(1).map(encode_column).collect::<Result<_, _>>()?
    };
    let mut group = file.next_row_group()?;
    let (mut columns, mut leaf) = (Vec::with_capacity(encoded.len()), 0);
    for ((field, part), (chunks, nulls, bounds)) in schema.fields().iter().zip(parts).zip(encoded) {
        let leaves = leaf..leaf + chunks.len().max(1);
        leaf = leaves.end;
        columns.push(EncodedColumn { name: field.name().clone(), leaves, nulls, bounds });
        if let Part::Lent(from, column) = part {
            group.append_column(&from.bytes, from.lend(*column))?;
        }
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
    }
    let group = group.close()?;
    Ok(Encoded { bytes: file.into_inner()?.into(), rows, group, columns })
}

/// A field as its values stand in memory: texts that repeat may be there once.
fn written(field: &Arc<Field>, part: &Part<'_>) -> Arc<Field> {
    match part {
        Part::Values(values) if matches!(values.data_type(), DataType::Dictionary(..)) => {
            Arc::new(field.as_ref().clone().with_data_type(values.data_type().clone()))
        }
        _ => Arc::clone(field),
    }
}

fn encode_column(
    field: &Field,
    values: &ArrayRef,
    at: usize,
    writers: Vec<ArrowColumnWriter>,
) -> Result<(Vec<ArrowColumnChunk>, usize, Option<Bounds>), ParquetError> {
    let chunks = writers.into_iter().zip(compute_leaves(field, values)?).map(|(mut writer, leaf)| {
        writer.write(&leaf)?;
        writer.close()
    });
    let chunks = chunks.collect::<Result<Vec<ArrowColumnChunk>, ParquetError>>()?;
    let bounds = if at < COLUMNS_WITH_STATISTICS { bounds(values) } else { None };
    Ok((chunks, values.null_count(), bounds))
}

/// The least and the greatest value of a column, in JSON.
type Bounds = (Value, Value);

/// The least and the greatest text; none where there is no text, or where they are too long to be kept. The first eight bytes
/// decide about almost every text, several times faster than comparing texts does.
fn text_bounds(texts: &StringArray) -> Option<(&str, &str)> {
    const FIRST: usize = size_of::<u64>();
    struct Text {
        row: usize,
        /// The first bytes as a number of the same order, zeros where the text has ended.
        first: u64,
        length: usize,
    }
    let (bytes, offsets) = (texts.value_data(), texts.value_offsets());
    let text = |row: usize| {
        let (begin, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        let length = end - begin;
        let first = match bytes[begin..].first_chunk::<FIRST>() {
            Some(first) if length >= FIRST => u64::from_be_bytes(*first),
            Some(first) => u64::from_be_bytes(*first) & !(u64::MAX >> (8 * length)),
            None => bytes[begin..end].iter().rev().fold(0, |first, byte| first >> 8 | u64::from(*byte) << 56),
        };
        Text { row, first, length }
    };
    let precedes = |one: &Text, other: &Text| {
        one.first < other.first
            || one.first == other.first
                && match one.length.max(other.length) <= FIRST {
                    true => one.length < other.length,
                    false => texts.value(one.row) < texts.value(other.row),
                }
    };
    let mut present = (0..texts.len()).filter(|row| texts.is_valid(*row));
    let first = present.next()?;
    let (mut low, mut high) = (text(first), text(first));
    for row in present {
        let text = text(row);
        if precedes(&text, &low) {
            low = text;
        } else if precedes(&high, &text) {
            high = text;
        }
    }
    (low.length.max(high.length) <= LONGEST_BOUND).then(|| (texts.value(low.row), texts.value(high.row)))
}

/// The least and the greatest value as Delta writes them; none where there is no value, or none worth keeping.
fn bounds(column: &ArrayRef) -> Option<Bounds> {
    macro_rules! numbers {
        ($kind:ty) => {{
            let array = column.as_primitive::<$kind>();
            (json!(min(array)?), json!(max(array)?))
        }};
    }
    let bounds = match column.data_type() {
        DataType::Dictionary(..) => return bounds(column.as_any_dictionary().values()),
        DataType::Int8 | DataType::Int16 => return bounds(&cast(column, &DataType::Int32).ok()?),
        DataType::Int32 => numbers!(Int32Type),
        DataType::Int64 => numbers!(Int64Type),
        // A number that is not finite has no JSON, and is then null.
        DataType::Float32 => numbers!(Float32Type),
        DataType::Float64 => numbers!(Float64Type),
        DataType::Utf8 => {
            let (low, high) = text_bounds(column.as_string())?;
            (json!(low), json!(high))
        }
        DataType::Date32 => {
            let array = column.as_primitive::<Date32Type>();
            let text = |day: Option<i32>| {
                let day = arrow::array::Date32Array::from(vec![day?]);
                array_value_to_string(&day, 0).ok().map(Value::String)
            };
            (text(min(array))?, text(max(array))?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let array = column.as_primitive::<TimestampMicrosecondType>();
            let text = |micros: i64| json!(tenon_core::Timestamp::from_micros(micros).to_string());
            (text(min(array)?), text(max(array)?))
        }
        _ => return None,
    };
    (!bounds.0.is_null() && !bounds.1.is_null()).then_some(bounds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bounds_of_texts_are_their_least_and_greatest(
            texts in prop::collection::vec(prop::option::of("[ab\u{0}é]{0,12}"), 0..20)
        ) {
            let array = StringArray::from(texts.clone());
            let present = || texts.iter().flatten().map(String::as_str);
            prop_assert_eq!(text_bounds(&array), present().min().zip(present().max()));
        }
    }

    #[test]
    fn a_dictionary_that_would_be_given_up_is_not_begun() {
        let rows = 200_000_i64;
        let column = |number: fn(i64) -> i64| -> ArrayRef {
            let numbers = (0..rows).map(|row| (row % 10 != 0).then(|| number(row)));
            Arc::new(numbers.collect::<arrow::array::TimestampMicrosecondArray>())
        };
        assert!(outgrows_dictionary(&column(|row| row * 60_000_000)));
        assert!(!outgrows_dictionary(&column(|row| row % 100_000)));
        let names = ["many", "few"];
        let columns = [column(|row| row * 60_000_000), column(|row| row % 100_000)];
        let rows = RecordBatch::try_from_iter_with_nullable(
            names.into_iter().zip(columns).map(|(name, column)| (name, column, true)),
        );
        let rows = rows.unwrap();
        let file = encode(&rows.schema(), std::slice::from_ref(&rows), &[]).unwrap().remove(0);
        let dictionary = |column: usize| file.group.column(column).dictionary_page_offset().is_some();
        assert_eq!([dictionary(0), dictionary(1)], [false, true]);
        let read =
            ParquetRecordBatchReaderBuilder::try_new(file.bytes).unwrap().with_batch_size(rows.num_rows()).build();
        assert_eq!(read.unwrap().map(Result::unwrap).collect::<Vec<_>>(), [rows]);
    }

    #[test]
    fn long_texts_are_no_bounds() {
        assert_eq!(text_bounds(&StringArray::from(vec!["a", &"b".repeat(65)])), None);
        assert_eq!(text_bounds(&StringArray::from(vec![None::<&str>])), None);
    }
}
