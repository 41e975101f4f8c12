//! The decision journal: what makes a decision durable before its caller hears of it.
//!
//! | state | where it is | after a crash |
//! |---|---|---|
//! | accepted | in memory, queued for the writer | gone; its caller never heard of it |
//! | durable | whole in a segment file, synced; now it is acknowledged | read back when the journal is opened |
//! | logged | in the lake under the segment's operation | recognised by the operation, not repeated |
//! | sealed | the `decisions.logged` fact is in the ledger | the segment is removed when the journal is opened |
//!
//! A segment is a file of frames: length (u32, little-endian), the length again with the bits of the frame's kind
//! turned over, the RFC 6962 leaf hash of the payload, and the payload. The hash is the checksum and the leaf of the
//! batch's Merkle tree at once. One thread writes; whoever waits while it syncs shares the next sync.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenon_core::Digest;
use tenon_core::id::DecisionId;
use tenon_core::time::Timestamp;
use tenon_ledger::merkle;
use tokio::sync::oneshot;

use crate::decision::Outcome;
use crate::error::ServeError;
use crate::record::DecisionRecord;

/// What is turned over in the second length of each kind of frame.
const DECISION: u32 = 0x4443_534e;
const OUTCOMES: u32 = 0x4f55_5443;
const HEADER: usize = 40;
const EXTENSION: &str = "journal";

/// One entry of a segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// A decision with its leaf hash.
    Decision(Box<DecisionRecord>, Digest),
    /// Outcomes that were reported together.
    Outcomes(OutcomesEntry),
}

/// Outcomes that were reported together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutcomesEntry {
    pub(crate) deployment: String,
    pub(crate) ignored: u64,
    pub(crate) outcomes: Vec<(DecisionId, bool, Timestamp)>,
}

impl OutcomesEntry {
    pub(crate) fn rows(&self) -> impl Iterator<Item = Outcome> {
        self.outcomes.iter().map(|&(decision, outcome, known_at)| Outcome { decision, outcome, known_at })
    }
}

/// Entries with their bytes, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Frames {
    pub(crate) fn decision(&mut self, record: DecisionRecord) {
        let payload = record.canonical_json();
        let leaf = frame(&mut self.bytes, DECISION, payload.as_bytes());
        self.entries.push(Entry::Decision(Box::new(record), leaf));
    }

    pub(crate) fn outcomes(&mut self, entry: OutcomesEntry) -> Result<(), ServeError> {
        let payload = serde_json::to_vec(&entry).map_err(ServeError::Json)?;
        frame(&mut self.bytes, OUTCOMES, &payload);
        self.entries.push(Entry::Outcomes(entry));
        Ok(())
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u32, payload: &[u8]) -> Digest {
    // A payload is a few kilobytes, or the outcomes of one call; a caller with four gigabytes has run out of memory.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let leaf = merkle::leaf_hash(payload);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&(length ^ kind).to_le_bytes());
    bytes.extend_from_slice(leaf.as_bytes());
    bytes.extend_from_slice(payload);
    leaf
}

/// A closed segment: nothing is written to it any more.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
}

impl Segment {
    /// Decisions and outcomes in it.
    pub(crate) fn rows(&self) -> i64 {
        let rows = |entry: &Entry| match entry {
            Entry::Decision(..) => 1,
            Entry::Outcomes(entry) => i64::try_from(entry.outcomes.len()).unwrap_or(i64::MAX),
        };
        self.entries.iter().map(rows).sum()
    }

    /// Removes the file; what it held is sealed.
    pub(crate) fn remove(&self) -> Result<(), ServeError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ServeError::Journal { path: self.path.clone(), action: "removed", source: error })
            }
            _ => Ok(()),
        }
    }
}

enum Message {
    Append(Frames, oneshot::Sender<io::Result<()>>),
    Rotate(oneshot::Sender<io::Result<Option<Segment>>>),
}

/// The open journal.
pub(crate) struct Journal {
    dir: PathBuf,
    queue: Option<Sender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal of a folder and returns what an earlier run left in it, oldest first.
    ///
    /// # Errors
    /// `JournalDamaged` when a record that something follows is not whole; `Journal` when the folder refuses.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Segment>), ServeError> {
        let fault = |action| move |source| ServeError::Journal { path: dir.to_owned(), action, source };
        std::fs::create_dir_all(dir).map_err(fault("made"))?;
        let mut left = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(fault("read"))? {
            let path = entry.map_err(fault("read"))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            if let (Some(number), true) = (number, path.extension().is_some_and(|end| end == EXTENSION)) {
                let bytes = std::fs::read(&path).map_err(fault("read"))?;
                let entries = read_segment(&path, &bytes)?;
                left.push(Segment { number, path, entries });
            }
        }
        left.sort_by_key(|segment| segment.number);
        let next = left.last().map_or(1, |segment| segment.number + 1);
        let active = Active::create(dir, next).map_err(fault("written"))?;
        // The new file keeps the count of segments, so the old ones may go.
        for empty in left.iter().filter(|segment| segment.entries.is_empty()) {
            empty.remove()?;
        }
        left.retain(|segment| !segment.entries.is_empty());
        let (queue, messages) = channel();
        let writer = std::thread::Builder::new().name("decision-journal".to_owned());
        let writer = writer.spawn(move || active.run(&messages)).map_err(fault("started"))?;
        Ok((Self { dir: dir.to_owned(), queue: Some(queue), writer: Mutex::new(Some(writer)) }, left))
    }

    /// Appends entries; they are durable when it returns.
    pub(crate) async fn append(&self, frames: Frames) -> Result<(), ServeError> {
        if frames.entries.is_empty() {
            return Ok(());
        }
        self.ask(|done| Message::Append(frames, done), "written").await
    }

    /// Closes the active segment and begins another; none when nothing was written to it.
    pub(crate) async fn rotate(&self) -> Result<Option<Segment>, ServeError> {
        self.ask(Message::Rotate, "rotated").await
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Message,
        action: &'static str,
    ) -> Result<T, ServeError> {
        let (done, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(ServeError::JournalStopped)?;
        queue.send(message(done)).map_err(|_| ServeError::JournalStopped)?;
        let answer = answer.await.map_err(|_| ServeError::JournalStopped)?;
        answer.map_err(|source| ServeError::Journal { path: self.dir.clone(), action, source })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

/// The segment that is being written.
struct Active {
    dir: PathBuf,
    number: u64,
    path: PathBuf,
    file: File,
    /// Bytes that are whole, synced frames.
    whole: u64,
    entries: Vec<Entry>,
}

impl Active {
    fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("{number:012}.{EXTENSION}"));
        let file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        // The folder's entry must be as durable as the frames that will be in the file.
        File::open(dir)?.sync_all()?;
        Ok(Self { dir: dir.to_owned(), number, path, file, whole: 0, entries: Vec::new() })
    }

    fn run(mut self, messages: &Receiver<Message>) {
        let mut waiting = Vec::new();
        let mut bytes = Vec::new();
        while let Ok(first) = messages.recv() {
            let mut rotation = None;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Append(mut frames, done) => {
                        bytes.append(&mut frames.bytes);
                        waiting.push((frames.entries, done));
                    }
                    Message::Rotate(done) => {
                        rotation = Some(done);
                        break;
                    }
                }
                next = messages.try_recv().ok();
            }
            if !waiting.is_empty() {
                let written = self.write(&bytes);
                bytes.clear();
                for (mut entries, done) in waiting.drain(..) {
                    let answer = match &written {
                        Ok(()) => {
                            self.entries.append(&mut entries);
                            Ok(())
                        }
                        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    };
                    // A caller that stopped waiting has no claim, but its decision stays on record.
                    let _ = done.send(answer);
                }
                if written.is_err() && self.undo().is_err() {
                    // What is in the file is unknown; only reading it again can tell. Callers see `JournalStopped`.
                    return;
                }
            }
            if let Some(done) = rotation {
                let _ = done.send(self.rotate());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.whole += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed write left.
    fn undo(&mut self) -> io::Result<()> {
        use std::io::Seek;
        self.file.set_len(self.whole)?;
        self.file.seek(io::SeekFrom::Start(self.whole))?;
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<Option<Segment>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let next = Self::create(&self.dir, self.number + 1)?;
        let closed = std::mem::replace(self, next);
        Ok(Some(Segment { number: closed.number, path: closed.path, entries: closed.entries }))
    }
}

/// Reads the whole frames of a segment. What a crash left of the last write is cut off; anything else that is not
/// whole is damage.
fn read_segment(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, ServeError> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let damaged =
            || ServeError::JournalDamaged { path: path.to_owned(), offset: at as u64, whole: entries.len() as u64 };
        // A file system may have grown the file before it wrote the bytes.
        if rest.len() < HEADER || rest.iter().all(|byte| *byte == 0) {
            break;
        }
        let word = |from: usize| u32::from_le_bytes([rest[from], rest[from + 1], rest[from + 2], rest[from + 3]]);
        let (length, kind) = (word(0) as usize, word(0) ^ word(4));
        if kind != DECISION && kind != OUTCOMES {
            return Err(damaged());
        }
        let Some(payload) = rest.get(HEADER..HEADER + length) else { break };
        let leaf = merkle::leaf_hash(payload);
        if leaf.as_bytes() != &rest[8..HEADER] {
            if HEADER + length == rest.len() {
                break;
            }
            return Err(damaged());
        }
        let shape = |reason| ServeError::StoredRow { table: path.display().to_string(), reason };
        entries.push(if kind == DECISION {
            Entry::Decision(Box::new(DecisionRecord::from_json(payload).map_err(shape)?), leaf)
        } else {
            Entry::Outcomes(serde_json::from_slice(payload).map_err(|error| shape(error.to_string()))?)
        });
        at += HEADER + length;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::tests::record;

    fn frames(seeds: std::ops::Range<u64>) -> Frames {
        let mut frames = Frames::default();
        seeds.for_each(|seed| frames.decision(record(seed)));
        frames
    }

    fn ids(segments: &[Segment]) -> Vec<DecisionId> {
        let id = |entry: &Entry| match entry {
            Entry::Decision(record, _) => Some(record.id),
            Entry::Outcomes(_) => None,
        };
        segments.iter().flat_map(|segment| &segment.entries).filter_map(id).collect()
    }

    fn expected(seeds: std::ops::Range<u64>) -> Vec<DecisionId> {
        seeds.map(|seed| record(seed).id).collect()
    }

    #[test]
    fn a_segment_cut_at_any_byte_of_its_last_record_keeps_all_others() {
        let bytes = frames(0..4).bytes;
        let last = bytes.len() - frames(3..4).bytes.len();
        for cut in last..bytes.len() {
            let found = read_segment(Path::new("s"), &bytes[..cut]).unwrap();
            assert_eq!(found.len(), 3, "cut at {cut}");
            let mut grown = bytes[..cut].to_vec();
            grown.resize(bytes.len() + 5000, 0);
            if cut == last {
                assert_eq!(read_segment(Path::new("s"), &grown).unwrap().len(), 3, "grown from {cut}");
            }
        }
        assert_eq!(read_segment(Path::new("s"), &bytes).unwrap().len(), 4);
    }

    #[test]
    fn a_changed_byte_is_never_passed_over() {
        let bytes = frames(0..3).bytes;
        let last = bytes.len() - frames(2..3).bytes.len();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            match read_segment(Path::new("s"), &changed) {
                Err(ServeError::JournalDamaged { offset, .. }) => assert!(offset as usize <= at),
                Ok(found) => assert!(at >= last && found.len() == 2, "byte {at} passed as {}", found.len()),
                Err(other) => unreachable!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_read_back_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, left) = Journal::open(dir.path()).unwrap();
        assert!(left.is_empty());
        journal.append(frames(0..2)).await.unwrap();
        let closed = journal.rotate().await.unwrap().unwrap();
        assert_eq!(ids(std::slice::from_ref(&closed)), expected(0..2));
        assert!(journal.rotate().await.unwrap().is_none(), "nothing was written since");
        journal.append(frames(2..3)).await.unwrap();
        let outcome = OutcomesEntry {
            deployment: "d".to_owned(),
            ignored: 1,
            outcomes: vec![(record(0).id, true, record(0).at)],
        };
        let mut more = Frames::default();
        more.outcomes(outcome.clone()).unwrap();
        journal.append(more).await.unwrap();
        drop(journal);

        let (journal, left) = Journal::open(dir.path()).unwrap();
        assert_eq!(ids(&left), expected(0..3));
        assert_eq!(left[1].entries[1], Entry::Outcomes(outcome));
        left.iter().for_each(|segment| segment.remove().unwrap());
        journal.append(frames(7..8)).await.unwrap();
        let fresh = journal.rotate().await.unwrap().unwrap();
        assert!(fresh.number > left[1].number, "a number is never used twice");
    }

    #[tokio::test]
    async fn concurrent_callers_are_all_acknowledged_and_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let journal = std::sync::Arc::new(Journal::open(dir.path()).unwrap().0);
        let appends: Vec<_> = (0..50_u64)
            .map(|seed| {
                let journal = std::sync::Arc::clone(&journal);
                tokio::spawn(async move { journal.append(frames(seed..seed + 1)).await })
            })
            .collect();
        for append in appends {
            append.await.unwrap().unwrap();
        }
        drop(journal);
        let (_, left) = Journal::open(dir.path()).unwrap();
        let mut found = ids(&left);
        found.sort();
        assert_eq!(found, expected(0..50));
    }
}
