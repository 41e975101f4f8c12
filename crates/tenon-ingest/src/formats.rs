//! Files as batches of rows, piece by piece.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tenon_core::spec::Contract;

use crate::json::rows_from_lines;

/// Rows of a piece. A piece of a wide table takes some tens of megabytes.
const ROWS_A_PIECE: usize = 65_536;

/// Reads a file and gives its pieces to `take`, until there are no more or `take` says that it has enough.
///
/// # Errors
/// A sentence that says why the file cannot be read, such as that it ends early.
pub(crate) fn read(
    path: &Path,
    mut file: File,
    contract: &Contract,
    take: impl FnMut(RecordBatch) -> bool,
) -> Result<(), String> {
    file.rewind().map_err(|error| error.to_string())?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "parquet" | "pq" => read_parquet(file, take),
        "arrow" | "arrows" | "ipc" | "feather" => read_arrow(file, take),
        "csv" => read_csv(file, take),
        "ndjson" | "jsonl" | "json" => read_json(file, contract, take),
        other => Err(format!("files that end in `.{other}` are not understood: use .parquet, .arrow, .csv or .ndjson")),
    }
}

fn read_parquet(file: File, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let damaged = |error: String| format!("this is no whole Parquet file, perhaps it was cut off: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(error.to_string()))?;
    let reader = builder.with_batch_size(ROWS_A_PIECE).build().map_err(|error| damaged(error.to_string()))?;
    for batch in reader {
        if !take(batch.map_err(|error| damaged(error.to_string()))?) {
            break;
        }
    }
    Ok(())
}

/// Arrow IPC: the file format, which begins with its name, or else a stream.
fn read_arrow(mut file: File, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let damaged = |error: String| format!("this is no whole Arrow IPC file, perhaps it was cut off: {error}");
    let mut head = [0; 6];
    let is_file = file.read_exact(&mut head).is_ok() && &head == b"ARROW1";
    file.rewind().map_err(|error| error.to_string())?;
    // The readers were not written for damaged bytes; where one gives up by panicking, only this file ends.
    let read = std::panic::AssertUnwindSafe(|| -> Result<(), String> {
        let failed = |error: arrow::error::ArrowError| damaged(error.to_string());
        let mut take_all = |batches: &mut dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>| {
            for batch in batches {
                if !take(batch.map_err(failed)?) {
                    break;
                }
            }
            Ok(())
        };
        if is_file {
            take_all(&mut ipc::reader::FileReader::try_new_buffered(file, None).map_err(failed)?)
        } else {
            take_all(&mut ipc::reader::StreamReader::try_new_buffered(file, None).map_err(failed)?)
        }
    });
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err(damaged("its parts do not fit together".to_owned())))
}

/// All columns as text; the contract says what they are.
fn read_csv(mut file: File, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let format = csv::reader::Format::default().with_header(true);
    let (header, _) = format.infer_schema(&mut file, Some(0)).map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    if header.fields().is_empty() {
        return Err("the file is empty: its first line must name the columns".to_owned());
    }
    // Spreadsheets put a byte order mark before the first name.
    let field =
        |field: &Arc<Field>| Field::new(field.name().trim_start_matches('\u{feff}').trim(), DataType::Utf8, true);
    let schema = Schema::new(header.fields().iter().map(field).collect::<Vec<_>>());
    let reader = csv::ReaderBuilder::new(Arc::new(schema))
        .with_format(format)
        .with_batch_size(ROWS_A_PIECE)
        .build(file)
        .map_err(|error| error.to_string())?;
    for batch in reader {
        if !take(batch.map_err(|error| error.to_string())?) {
            break;
        }
    }
    Ok(())
}

fn read_json(file: File, contract: &Contract, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let mut lines = BufReader::new(file).lines();
    let mut first = 1;
    loop {
        let piece: Result<Vec<String>, _> = lines.by_ref().take(ROWS_A_PIECE).collect();
        let piece = piece.map_err(|error| error.to_string())?;
        if piece.is_empty() {
            return Ok(());
        }
        let rows = rows_from_lines(contract, piece.iter().map(String::as_str), first);
        first += piece.len();
        if !take(rows.map_err(|error| error.to_string())?) {
            return Ok(());
        }
    }
}
