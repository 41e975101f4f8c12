//! Files that somebody writes still, or wrote on after they were taken, as far as their bytes tell.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use tenon_core::Digest;

use crate::formats::Format;

/// How a stream of Arrow IPC says that no more batches follow: a continuation, and a message of no bytes.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// What a whole file has and this one has not; none where it is whole. Text is whole up to the end of a line, the other
/// formats say where they end.
pub(crate) fn unfinished(format: Format, file: &mut File) -> io::Result<Option<&'static str>> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(Some("it is empty"));
    }
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    file.seek(SeekFrom::Start(length.saturating_sub(END_OF_STREAM.len() as u64)))?;
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    file.take(6).read_to_end(&mut head)?;
    let (is_whole, what) = match format {
        Format::Csv | Format::Json => (tail.ends_with(b"\n") || tail.ends_with(b"\r"), "its last line has no end"),
        // Both begin as they end.
        Format::Parquet => (length > 4 && tail.ends_with(b"PAR1"), "it has no footer"),
        Format::Arrow if head == b"ARROW1" => (length > 6 && tail.ends_with(b"ARROW1"), "it has no footer"),
        Format::Arrow => (tail.ends_with(&END_OF_STREAM), "its stream is not ended"),
    };
    Ok((!is_whole).then_some(what))
}

/// How many of the first lines of a text are the bytes of this digest; none where they are not.
pub(crate) fn lines_with(digest: Digest, file: &mut File) -> io::Result<Option<u64>> {
    file.rewind()?;
    let (mut reader, mut passed, mut lines) = (BufReader::with_capacity(1 << 20, file), Digest::builder(), 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        passed.update(&buffer[..end.unwrap_or(length)]);
        if end.is_some() {
            lines += 1;
            // The last line may have had its end, or not.
            let without_end = passed.clone().finish() == digest;
            passed.update(b"\n");
            if without_end || passed.clone().finish() == digest {
                return Ok(Some(lines));
            }
        }
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::ipc::writer::{FileWriter, StreamWriter};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Which beginnings of a file, by their length, count as whole.
    fn whole_beginnings(format: Format, bytes: &[u8]) -> Vec<usize> {
        let whole = |length: &usize| unfinished(format, &mut file(&bytes[..*length])).unwrap().is_none();
        (0..=bytes.len()).filter(whole).collect()
    }

    #[test]
    fn only_the_whole_of_a_file_counts_as_whole() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..9));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut parquet = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        parquet.write(&rows).unwrap();
        let parquet = parquet.into_inner().unwrap();
        assert_eq!(whole_beginnings(Format::Parquet, &parquet), [parquet.len()]);
        let mut arrow = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        arrow.write(&rows).unwrap();
        let arrow = arrow.into_inner().unwrap();
        assert_eq!(whole_beginnings(Format::Arrow, &arrow), [arrow.len()]);
        let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        stream.write(&rows).unwrap();
        let stream = stream.into_inner().unwrap();
        assert_eq!(whole_beginnings(Format::Arrow, &stream), [stream.len()]);
        assert_eq!(whole_beginnings(Format::Csv, b"a\n1\r\n2"), [2, 4, 5]);
        assert_eq!(whole_beginnings(Format::Json, b"{}\n{"), [3]);
    }

    #[test]
    fn what_was_written_on_is_known_by_its_beginning() {
        let lines = |taken: &str, now: &str| lines_with(Digest::of(taken), &mut file(now.as_bytes())).unwrap();
        assert_eq!(lines("a\n1\n", "a\n1\n2\n"), Some(2));
        assert_eq!(lines("a\n1", "a\n1\n2\n"), Some(2), "its last line had no end");
        assert_eq!(lines("a\n1\n", "a\n9\n2\n"), None);
        assert_eq!(lines("a\n1\n", "a\n12\n"), None);
        let long = "x".repeat(3 << 20);
        assert_eq!(lines(&format!("{long}\n"), &format!("{long}\nmore")), Some(1));
    }
}
