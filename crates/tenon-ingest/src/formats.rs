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
use parquet::file::metadata::ParquetMetaData;
use tenon_core::spec::Contract;

use crate::json::rows_from_lines;

/// Rows of a piece. A piece of a wide table takes some tens of megabytes.
const ROWS_A_PIECE: usize = 65_536;
/// Bytes of a piece, where rows are so long that it has fewer of them.
const PIECE_BYTES: usize = 32 << 20;
/// The longest row of a file of text.
const MOST_ROW_MIB: usize = 64;
const MOST_ROW_BYTES: usize = MOST_ROW_MIB << 20;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The most lines of one field of CSV: in one with more of them a quote is open that nobody closed.
const MOST_FIELD_LINES: usize = 1_000;

/// What a file holds, by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Arrow,
    Csv,
    Json,
}

impl Format {
    /// # Errors
    /// A sentence that says which endings there are.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "parquet" | "pq" => Ok(Self::Parquet),
            "arrow" | "arrows" | "ipc" | "feather" => Ok(Self::Arrow),
            "csv" => Ok(Self::Csv),
            "ndjson" | "jsonl" | "json" => Ok(Self::Json),
            other => {
                Err(format!("files that end in `.{other}` are not understood: use .parquet, .arrow, .csv or .ndjson"))
            }
        }
    }

    /// Whether its rows are lines of text, to which more can be written.
    pub(crate) fn has_lines(self) -> bool {
        matches!(self, Self::Csv | Self::Json)
    }
}

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
    match Format::of(path)? {
        Format::Parquet => read_parquet(file, take),
        Format::Arrow => read_arrow(file, take),
        Format::Csv => read_csv(file, take),
        Format::Json => read_json(file, contract, take),
    }
}

fn read_parquet(file: File, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let damaged = |error: String| format!("this is no whole Parquet file, perhaps it was cut off: {error}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(error.to_string()))?;
    let rows = parquet_rows(builder.metadata());
    let reader = builder.with_batch_size(rows).build().map_err(|error| damaged(error.to_string()))?;
    for batch in reader {
        if !take(batch.map_err(|error| damaged(error.to_string()))?) {
            break;
        }
    }
    Ok(())
}

/// How many rows of a Parquet file a piece has, by how many bytes they take.
fn parquet_rows(file: &ParquetMetaData) -> usize {
    let groups = file.row_groups().iter();
    let (rows, bytes) = groups.fold((0, 0), |(rows, bytes), group| {
        (rows + group.num_rows().max(0).unsigned_abs(), bytes + group.total_byte_size().max(0).unsigned_abs())
    });
    let row_bytes = (bytes / rows.max(1)).max(1);
    (PIECE_BYTES as u64 / row_bytes).clamp(1, ROWS_A_PIECE as u64) as usize
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
        type Batches<'a> = &'a mut dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>;
        let mut take_all = |batches: Batches<'_>| -> Result<bool, String> {
            for batch in batches {
                if !take(batch.map_err(failed)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if is_file {
            take_all(&mut ipc::reader::FileReader::try_new_buffered(file, None).map_err(failed)?)?;
            return Ok(());
        }
        let mut stream = ipc::reader::StreamReader::try_new_buffered(file, None).map_err(failed)?;
        // A second stream behind the first would be left out in silence.
        if take_all(&mut stream)? && !stream.get_mut().fill_buf().map_err(|error| error.to_string())?.is_empty() {
            return Err("bytes follow the end of its stream: write each stream into a file of its own".to_owned());
        }
        Ok(())
    });
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err(damaged("its parts do not fit together".to_owned())))
}

/// All columns as text; the contract says what they are.
fn read_csv(mut file: File, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let format = csv::reader::Format::default().with_header(true);
    let first = Read::by_ref(&mut file).take(MOST_ROW_BYTES as u64);
    let (header, _) = format.infer_schema(first, Some(0)).map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    if header.fields().is_empty() {
        return Err("the file is empty: its first line must name the columns".to_owned());
    }
    // Spreadsheets put a byte order mark before the first name.
    let field =
        |field: &Arc<Field>| Field::new(field.name().trim_start_matches('\u{feff}').trim(), DataType::Utf8, true);
    let schema = Schema::new(header.fields().iter().map(field).collect::<Vec<_>>());
    let builder = csv::ReaderBuilder::new(Arc::new(schema)).with_format(format).with_batch_size(ROWS_A_PIECE);
    let mut decoder = builder.build_decoder();
    let mut flush = |decoder: &mut csv::reader::Decoder| -> Result<bool, String> {
        let piece = decoder.flush().map_err(|error| error.to_string())?;
        Ok(piece.is_none_or(&mut take))
    };
    let (mut reader, mut ends, mut held) = (BufReader::with_capacity(BUFFER_BYTES, file), RowEnds::default(), 0);
    loop {
        let buffer = reader.fill_buf().map_err(|error| error.to_string())?;
        let whole = if buffer.is_empty() { ends.end()? } else { ends.pass(buffer)? };
        let length = whole.unwrap_or(buffer.len());
        let mut rest = &buffer[..length];
        loop {
            let decoded = decoder.decode(rest).map_err(|error| error.to_string())?;
            rest = &rest[decoded..];
            if rest.is_empty() {
                break;
            }
            // As many rows as a piece has.
            held = 0;
            if !flush(&mut decoder)? {
                return Ok(());
            }
        }
        reader.consume(length);
        held += length;
        // Fewer rows, and as many bytes as a piece should have.
        if length == 0 || (whole.is_some() && held >= PIECE_BYTES) {
            held = 0;
            if !flush(&mut decoder)? || length == 0 {
                return Ok(());
            }
        }
    }
}

/// Where rows of CSV end, as bytes pass by. A quote that nobody closed takes the rows behind it into one field: it is told
/// where the file ends within it, where the field goes on after a quote that closes it, and where it has too many lines.
#[derive(Debug, Default, Clone, Copy)]
struct RowEnds {
    place: Place,
    /// Rows that have ended, and bytes of the one that has not.
    rows: usize,
    bytes: usize,
    /// Lines that have ended, and characters of the one that has not.
    lines: usize,
    characters: usize,
    /// Where the last quote was that opened a field: its line and its character there, from 1.
    opened: (usize, usize),
}

/// Where in a row of CSV a byte is.
#[derive(Debug, Default, Clone, Copy)]
enum Place {
    /// Before the first byte of a field.
    #[default]
    Start,
    /// In a field without quotes.
    Plain,
    /// Between quotes.
    Quoted,
    /// After a quote that ends a field, if no other follows it.
    Closed,
}

impl RowEnds {
    /// Passes over the next bytes: up to behind the last row that ends in them, or all of them where none does.
    fn pass(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let mut whole = None;
        for (at, byte) in bytes.iter().enumerate() {
            if self.step(*byte)? {
                whole = Some((at + 1, *self));
            }
        }
        // What lies behind the last end comes again.
        whole.map_or(Ok(None), |(end, there)| {
            *self = there;
            Ok(Some(end))
        })
    }

    /// Passes over one byte. Whether a row ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, String> {
        self.bytes += 1;
        // All bytes of a character but its first begin with the bits 10.
        self.characters += usize::from(byte & 0b1100_0000 != 0b1000_0000);
        let mut ends = false;
        self.place = match (self.place, byte) {
            (Place::Start, b'"') => {
                self.opened = (self.lines + 1, self.characters);
                Place::Quoted
            }
            (Place::Closed, b'"') => Place::Quoted,
            (Place::Quoted, b'"') => Place::Closed,
            (Place::Quoted, _) => Place::Quoted,
            (_, b',') => Place::Start,
            (_, end) if is_end(end) => {
                self.rows += usize::from(self.bytes > 1);
                self.bytes = 0;
                ends = true;
                Place::Start
            }
            (Place::Closed, _) if self.lines + 1 > self.opened.0 => {
                return Err(self.open(&format!(
                    "goes on after a quote at line {}, character {}",
                    self.lines + 1,
                    self.characters - 1
                )));
            }
            _ => Place::Plain,
        };
        if byte == b'\n' {
            (self.lines, self.characters) = (self.lines + 1, 0);
            if matches!(self.place, Place::Quoted) && self.lines + 1 - self.opened.0 >= MOST_FIELD_LINES {
                return Err(self.open(&format!("has more than {MOST_FIELD_LINES} lines")));
            }
        }
        if self.bytes > MOST_ROW_BYTES {
            let row = self.rows + 1;
            return Err(match self.place {
                Place::Quoted => self.open(&format!("has more than {MOST_ROW_MIB} MiB")),
                _ => format!("row {row}, counted with the header, has more than {MOST_ROW_MIB} MiB"),
            });
        }
        Ok(ends)
    }

    /// The end of the file, where nothing passes any more.
    fn end(&self) -> Result<Option<usize>, String> {
        match self.place {
            Place::Quoted => Err(self.open("is not closed at the end of the file")),
            _ => Ok(None),
        }
    }

    fn open(&self, what: &str) -> String {
        let (line, character) = self.opened;
        format!(
            "the field that a quote opens at line {line}, character {character} {what}: perhaps that quote is never closed"
        )
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn read_json(file: File, contract: &Contract, mut take: impl FnMut(RecordBatch) -> bool) -> Result<(), String> {
    let (mut reader, mut first) = (BufReader::with_capacity(BUFFER_BYTES, file), 1);
    loop {
        let (text, lines) = next_lines(&mut reader, first)?;
        if lines == 0 {
            return Ok(());
        }
        let rows = rows_from_lines(contract, text.lines(), first);
        first += lines;
        if !take(rows.map_err(|error| error.to_string())?) {
            return Ok(());
        }
    }
}

/// As many lines as a piece has, and their number; `first` is the number of the first.
fn next_lines(reader: &mut impl BufRead, first: usize) -> Result<(String, usize), String> {
    let (mut bytes, mut lines) = (Vec::new(), 0);
    while lines < ROWS_A_PIECE && bytes.len() < PIECE_BYTES {
        let line = reader.by_ref().take(MOST_ROW_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        match line.map_err(|error| error.to_string())? {
            0 => break,
            long if long > MOST_ROW_BYTES => {
                return Err(format!("line {} has more than {MOST_ROW_MIB} MiB", first + lines));
            }
            _ => lines += 1,
        }
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = first + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8")
    })?;
    Ok((text, lines))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn read_text(name: &str, text: &[u8]) -> Result<Vec<RecordBatch>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let mut pieces = Vec::new();
        let read = read(Path::new(name), file, &Contract::default(), |piece| {
            pieces.push(piece);
            true
        });
        read.map(|()| pieces)
    }

    fn rows(pieces: &[RecordBatch]) -> Vec<usize> {
        pieces.iter().map(RecordBatch::num_rows).collect()
    }

    #[test]
    fn rows_end_outside_of_quotes() {
        let pass = |text: &str| RowEnds::default().pass(text.as_bytes());
        assert_eq!(pass("a,b\n1,2"), Ok(Some(4)));
        assert_eq!(pass("a,\"b\nc"), Ok(None), "a quote is open");
        assert_eq!(pass("a,\"b\"\"\n\"\nc"), Ok(Some(9)), "a quote in a quote");
        assert_eq!(pass("5\" pipe\nc"), Ok(Some(8)), "a quote within a field is a letter");
        assert_eq!(pass("a\r\nb\r"), Ok(Some(5)));
        // What comes in two parts is passed as if it came in one.
        let mut ends = RowEnds::default();
        assert_eq!(ends.pass(b"a\n\"b"), Ok(Some(2)));
        assert_eq!(ends.pass(b"\"b"), Ok(None));
        assert_eq!(ends.pass(b"\n\"\nc"), Ok(Some(3)));
        assert_eq!(ends.rows, 2);
    }

    #[test]
    fn a_quote_that_nobody_closed_is_told_with_its_place() {
        let told = |text: &str| read_text("a.csv", text.as_bytes()).unwrap_err();
        let perhaps = "perhaps that quote is never closed";
        assert_eq!(
            told("a,b\n1,2\nü,\"3\n4,5\n"),
            format!(
                "the field that a quote opens at line 3, character 3 is not closed at the end of the file: {perhaps}"
            )
        );
        // The quote that opens the next field with quotes seems to close it.
        assert_eq!(
            told("a,b\n1,\"2\n3,\"four\"\n"),
            format!(
                "the field that a quote opens at line 2, character 3 goes on after a quote at line 3, character 3: {perhaps}"
            )
        );
        let many = format!("a,b\n1,\"2\n{}x\"\n", "3,4\n".repeat(1_000));
        assert_eq!(
            told(&many),
            format!("the field that a quote opens at line 2, character 3 has more than 1000 lines: {perhaps}")
        );
        assert!(told("a,\"b\n1,2\n").starts_with("the field that a quote opens at line 1, character 3 "));
        // What is closed is no fault, nor are quotes within fields, nor what others write behind a quote on its line.
        let fine = format!("a,b\n1,\"{}\"\n5\" pipe,\"say \"\"hi\"\"\"\n2,\"x\" \n", "line\n".repeat(900));
        assert_eq!(rows(&read_text("a.csv", fine.as_bytes()).unwrap()), [3]);
    }

    #[test]
    fn a_stream_behind_a_stream_is_not_left_out() {
        let numbers: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..9));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut stream = ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        stream.write(&batch).unwrap();
        let stream = stream.into_inner().unwrap();
        assert_eq!(rows(&read_text("a.arrows", &stream).unwrap()), [9]);
        let told = read_text("a.arrows", &stream.repeat(2)).unwrap_err();
        assert!(told.starts_with("bytes follow the end of its stream"), "{told}");
    }

    #[test]
    fn long_rows_come_in_pieces_of_few() {
        let long = "x".repeat(3 << 20);
        let csv: String =
            std::iter::once("a,b\n".to_owned()).chain((0..25).map(|n| format!("{n},\"{long}\n\"\n"))).collect();
        let pieces = read_text("a.csv", csv.as_bytes()).unwrap();
        assert!(pieces.len() > 1 && rows(&pieces).iter().sum::<usize>() == 25, "{:?}", rows(&pieces));
        let json: String = (0..25).map(|n| format!("{{\"a\":{n},\"b\":\"{long}\"}}\n")).collect();
        let pieces = read_text("a.ndjson", json.as_bytes()).unwrap();
        assert_eq!(rows(&pieces), [11, 11, 3]);
    }

    #[test]
    fn many_short_rows_come_in_pieces_too() {
        let csv: String = std::iter::once("a\n".to_owned()).chain((0..150_000).map(|n| format!("{n}\r\n"))).collect();
        assert_eq!(rows(&read_text("a.csv", csv.trim_end().as_bytes()).unwrap()), [65_536, 65_536, 18_928]);
        let json: String = (0..150_000).map(|n| format!("{{\"a\":{n}}}\n")).collect();
        assert_eq!(rows(&read_text("a.ndjson", json.trim_end().as_bytes()).unwrap()), [65_536, 65_536, 18_928]);
    }

    #[test]
    fn a_gigantic_row_is_told_and_not_held() {
        let mut csv = b"a,b\n1,2\n3,\"".to_vec();
        csv.resize(csv.len() + MOST_ROW_BYTES, b'x');
        let told = read_text("a.csv", &csv).unwrap_err();
        assert!(told.starts_with("the field that a quote opens at line 3, character 3 has more than 64 MiB"), "{told}");
        let mut json = b"{\"a\":1}\n{\"a\":\"".to_vec();
        json.resize(json.len() + MOST_ROW_BYTES, b'x');
        assert_eq!(read_text("a.ndjson", &json).unwrap_err(), "line 2 has more than 64 MiB");
    }

    #[test]
    fn the_line_that_is_not_utf8_is_named() {
        assert_eq!(read_text("a.ndjson", b"{\"a\":1}\n{\"a\":\"\xff\"}\n").unwrap_err(), "line 2 is not UTF-8");
        let told = read_text("a.csv", b"a,b\n1,2\n3,\xff\n").unwrap_err();
        assert!(told.contains("invalid UTF-8 data for line 3"), "{told}");
    }
}
