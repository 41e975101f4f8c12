//! Rows to Parquet, and the statistics that Delta keeps of a file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches, max, min};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::datatypes::{SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowWriter, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
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

/// A Parquet file in memory.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub bytes: Vec<u8>,
    pub stats: String,
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
        many => concat_batches(schema, many)?,
    };
    let starts = (0..rows).step_by(ROWS_A_FILE);
    starts.map(|start| encode_file(schema, &whole.slice(start, ROWS_A_FILE.min(rows - start)), unique)).collect()
}

fn encode_file(schema: &SchemaRef, rows: &RecordBatch, unique: &[String]) -> Result<Encoded, ParquetError> {
    // Texts have their bounds in the table's log, where readers look first.
    let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8);
    let properties = texts.fold(properties(), |properties, field| {
        properties.set_column_statistics_enabled(ColumnPath::new(vec![field.name().clone()]), EnabledStatistics::None)
    });
    let properties = unique.iter().fold(properties, |properties, column| {
        properties.set_column_dictionary_enabled(ColumnPath::new(vec![column.clone()]), false)
    });
    let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties.build()))?;
    let (mut file, factory) = writer.into_serialized_writer()?;
    // One writer a leaf: a column that nests has several, and takes its share from the front.
    let mut writers = factory.create_column_writers(0)?.into_iter();
    let mut columns: Vec<(usize, Vec<ArrowColumnWriter>)> = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let leaves = compute_leaves(field, &rows.column(at).slice(0, 0))?.len();
        columns.push((at, writers.by_ref().take(leaves).collect()));
    }
    let encode_column = |(at, writers): (usize, Vec<ArrowColumnWriter>)| {
        let leaves = compute_leaves(schema.field(at), rows.column(at))?;
        let chunks = writers.into_iter().zip(leaves).map(|(mut writer, leaf)| {
            writer.write(&leaf)?;
            writer.close()
        });
        let chunks = chunks.collect::<Result<Vec<ArrowColumnChunk>, ParquetError>>()?;
        let bounds = if at < COLUMNS_WITH_STATISTICS { bounds(rows.column(at)) } else { None };
        Ok::<_, ParquetError>((chunks, bounds))
    };
    let encoded: Vec<(Vec<ArrowColumnChunk>, Option<Bounds>)> = if rows.num_rows() < ROWS_A_THREAD {
        columns.into_iter().map(encode_column).collect::<Result<_, _>>()?
    } else {
        columns.into_par_iter().with_max_len(1).map(encode_column).collect::<Result<_, _>>()?
    };
    let mut group = file.next_row_group()?;
    let mut every_bounds = Vec::with_capacity(encoded.len());
    for (chunks, bounds) in encoded {
        every_bounds.push(bounds);
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
    }
    group.close()?;
    Ok(Encoded { bytes: file.into_inner()?, stats: statistics(rows, every_bounds) })
}

/// The least and the greatest value of a column, in JSON.
type Bounds = (Value, Value);

/// Delta's per-file statistics: rows, and nulls, least and greatest value of the first columns.
fn statistics(rows: &RecordBatch, every_bounds: Vec<Option<Bounds>>) -> String {
    let (mut nulls, mut least, mut greatest) = (Map::new(), Map::new(), Map::new());
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).zip(every_bounds);
    for ((field, column), bounds) in columns.take(COLUMNS_WITH_STATISTICS) {
        if field.data_type().is_nested() {
            continue;
        }
        nulls.insert(field.name().clone(), json!(column.null_count()));
        if let Some((low, high)) = bounds {
            least.insert(field.name().clone(), low);
            greatest.insert(field.name().clone(), high);
        }
    }
    let rows = rows.num_rows();
    json!({"numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}).to_string()
}

/// The least and the greatest text; none where there is no text, or where they are too long to be kept. Eight bytes at a
/// time decide about almost every text, several times faster than comparing texts does.
fn text_bounds(texts: &StringArray) -> Option<(&str, &str)> {
    /// The first bytes as a number of the same order, zeros where the text has ended.
    fn start(text: &str) -> u64 {
        let bytes = text.as_bytes();
        let first = bytes.first_chunk::<8>().copied().unwrap_or_else(|| {
            let mut first = [0; 8];
            first[..bytes.len()].copy_from_slice(bytes);
            first
        });
        u64::from_be_bytes(first)
    }
    let mut texts = texts.iter().flatten();
    let first = texts.next()?;
    let (mut low, mut high) = ((start(first), first), (start(first), first));
    for text in texts {
        let text = (start(text), text);
        if text.0 <= low.0 && text < low {
            low = text;
        }
        if text.0 >= high.0 && text > high {
            high = text;
        }
    }
    (low.1.len().max(high.1.len()) <= LONGEST_BOUND).then_some((low.1, high.1))
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bounds_of_texts_are_their_least_and_greatest(
            texts in prop::collection::vec(prop::option::of("[ab\u{0}é]{0,10}"), 0..20)
        ) {
            let array = StringArray::from(texts.clone());
            let present = || texts.iter().flatten().map(String::as_str);
            prop_assert_eq!(text_bounds(&array), present().min().zip(present().max()));
        }
    }

    #[test]
    fn long_texts_are_no_bounds() {
        assert_eq!(text_bounds(&StringArray::from(vec!["a", &"b".repeat(65)])), None);
        assert_eq!(text_bounds(&StringArray::from(vec![None::<&str>])), None);
    }
}
