//! Rows from an Arrow IPC stream that a stranger wrote.

use std::io::Cursor;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::{MessageHeader, root_as_message};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::problem::Problem;

/// What such streams are called: https://www.iana.org/assignments/media-types.
pub(crate) const KIND: &str = "application/vnd.apache.arrow.stream";

/// Reads a whole stream.
///
/// # Errors
/// 400 when it is damaged, cut off, compressed, or claims more than it holds.
pub(crate) fn read(bytes: Bytes) -> Result<Vec<RecordBatch>, Problem> {
    walk(&bytes)?;
    let most_rows = bytes.len().saturating_mul(8);
    // The reader was not written for hostile bytes; where it gives up by panicking, only this request ends.
    let read = std::panic::catch_unwind(move || {
        StreamReader::try_new(Cursor::new(bytes), None)?.collect::<Result<Vec<RecordBatch>, _>>()
    });
    let batches = match read {
        Ok(Ok(batches)) => batches,
        Ok(Err(error)) => return Err(damaged(&error.to_string())),
        Err(_) => return Err(damaged("its parts do not fit together")),
    };
    // A column of nulls takes no bytes and could claim any number of rows.
    let rows = batches.iter().try_fold(0_usize, |rows, batch| rows.checked_add(batch.num_rows()));
    match rows {
        Some(rows) if rows <= most_rows => Ok(batches),
        _ => Err(damaged("it claims more rows than it holds")),
    }
}

/// Walks the messages: each must be there as long as it claims, since the reader makes room by what is claimed.
fn walk(mut bytes: &[u8]) -> Result<(), Problem> {
    loop {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
            return if bytes.is_empty() { Ok(()) } else { Err(damaged("it is cut off")) };
        };
        let (length, rest) = match *head {
            [0xff, 0xff, 0xff, 0xff] => rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut off"))?,
            _ => (head, rest),
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            return Ok(());
        }
        let (metadata, rest) = rest.split_at_checked(length).ok_or_else(|| damaged("it is cut off"))?;
        let message = root_as_message(metadata).map_err(|error| damaged(&error.to_string()))?;
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
            _ => None,
        };
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return Err(Problem::bad_request("the Arrow stream is compressed; send it uncompressed"));
        }
        let body = usize::try_from(message.bodyLength()).ok();
        let body = body.and_then(|length| rest.split_at_checked(length));
        bytes = body.ok_or_else(|| damaged("it is cut off"))?.1;
    }
}

fn damaged(what: &str) -> Problem {
    Problem::bad_request(format!("this is not a whole Arrow IPC stream: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, NullArray, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    fn rows() -> Vec<u8> {
        let carriers: DictionaryArray<Int32Type> = ["UA", "AA", "UA"].into_iter().collect();
        stream(vec![
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
            ("t", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
            ("c", Arc::new(carriers)),
        ])
    }

    #[test]
    fn a_whole_stream_is_read() {
        let batches = read(rows().into()).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    }

    #[test]
    fn a_stream_cut_anywhere_is_refused_or_shorter_and_never_a_panic() {
        let whole = rows();
        for length in 0..whole.len() {
            if let Ok(batches) = read(whole[..length].to_vec().into()) {
                assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() <= 3, "{length}");
            }
        }
        let damaged = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            read(bytes.into())
        };
        for at in 0..whole.len() {
            let _ = damaged(at);
        }
    }

    #[test]
    fn a_claim_is_not_believed() {
        let mut huge = vec![0xff, 0xff, 0xff, 0xff];
        huge.extend(u32::MAX.to_le_bytes());
        assert_eq!(read(huge.into()).unwrap_err().status.as_u16(), 400);
        let nulls = stream(vec![("nothing", Arc::new(NullArray::new(100_000)) as ArrayRef)]);
        let problem = read(nulls.into()).unwrap_err();
        assert!(problem.sentence.contains("more rows than it holds"), "{}", problem.sentence);
    }
}
