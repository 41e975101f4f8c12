//! Rows to Parquet, and the statistics that Delta keeps of a file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches, max, min};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::datatypes::{Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowWriter, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

/// Rows of one file and row group: enough to compress well, few enough to be encoded in memory.
pub(crate) const ROWS_A_FILE: usize = 1 << 20;
/// Below this many rows, starting a second thread costs more than it saves.
const ROWS_A_THREAD: usize = 16_384;
/// Delta's own default: statistics are kept for the first columns only.
const COLUMNS_WITH_STATISTICS: usize = 32;

/// A Parquet file in memory.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub bytes: Vec<u8>,
    pub stats: String,
}

/// How every Parquet file of the program is written. Numbers are packed well by their encoding already, so that Snappy is
/// enough for them; texts are worth Zstandard.
pub(crate) fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROWS_A_FILE))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("tenon ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8) {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        properties = properties.set_column_compression(ColumnPath::new(vec![field.name().clone()]), zstd);
    }
    properties.build()
}

/// Encodes rows as one file after another, at most [`ROWS_A_FILE`] rows each. No rows, no file.
pub(crate) fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Encoded>, ParquetError> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let whole = match batches {
        [one] => one.clone(),
        many => concat_batches(schema, many)?,
    };
    let starts = (0..rows).step_by(ROWS_A_FILE);
    starts.map(|start| encode_file(schema, &whole.slice(start, ROWS_A_FILE.min(rows - start)))).collect()
}

fn encode_file(schema: &SchemaRef, rows: &RecordBatch) -> Result<Encoded, ParquetError> {
    let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties(schema)))?;
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
        chunks.collect::<Result<Vec<ArrowColumnChunk>, ParquetError>>()
    };
    let chunks: Vec<Vec<ArrowColumnChunk>> = if rows.num_rows() < ROWS_A_THREAD {
        columns.into_iter().map(encode_column).collect::<Result<_, _>>()?
    } else {
        columns.into_par_iter().with_max_len(1).map(encode_column).collect::<Result<_, _>>()?
    };
    let mut group = file.next_row_group()?;
    for chunk in chunks.into_iter().flatten() {
        chunk.append_to_row_group(&mut group)?;
    }
    let written = group.close()?;
    let bytes = file.into_inner()?;
    Ok(Encoded { bytes, stats: statistics(rows, &written) })
}

/// Delta's per-file statistics: rows, and nulls, least and greatest value of the first columns.
fn statistics(rows: &RecordBatch, written: &RowGroupMetaData) -> String {
    let (mut nulls, mut least, mut greatest) = (Map::new(), Map::new(), Map::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()).take(COLUMNS_WITH_STATISTICS) {
        if field.data_type().is_nested() {
            continue;
        }
        nulls.insert(field.name().clone(), json!(column.null_count()));
        let chunk = written.columns().iter().find(|chunk| chunk.column_path().parts() == [field.name().as_str()]);
        let bounds = match (field.data_type(), chunk.and_then(ColumnChunkMetaData::statistics)) {
            (DataType::Utf8, Some(statistics)) => text_bounds(statistics),
            (DataType::Utf8, None) => None,
            _ => bounds(column),
        };
        if let Some((low, high)) = bounds {
            least.insert(field.name().clone(), low);
            greatest.insert(field.name().clone(), high);
        }
    }
    let rows = rows.num_rows();
    json!({"numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}).to_string()
}

/// What the encoder found while it wrote: looking at every text again costs as much as encoding it. Long texts it cuts,
/// and then these are no values.
fn text_bounds(statistics: &Statistics) -> Option<(Value, Value)> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| json!(text));
    let exact = statistics.min_is_exact() && statistics.max_is_exact();
    exact.then_some((text(statistics.min_bytes_opt()?)?, text(statistics.max_bytes_opt()?)?))
}

/// The least and the greatest value as Delta writes them; none where there is no value, or none worth keeping.
fn bounds(column: &ArrayRef) -> Option<(Value, Value)> {
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
