//! Which bytes an object had when it was fetched, by its ETag: so that what did not change is not fetched again.
//!
//! It is a cache and nothing more: whether bytes were taken is on the ledger, by their digest. A line that was cut off by
//! a crash is no line, and costs one more fetch.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use object_store::ObjectMeta;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenon_core::Digest;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    etag: String,
    bytes: u64,
    digest: Digest,
}

/// What is known of a dataset's objects.
pub(super) struct Known {
    path: PathBuf,
    digests: Mutex<HashMap<(String, String, u64), Digest>>,
}

impl Known {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut digests = HashMap::new();
        match File::open(&path) {
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    if let Ok(Line { name, etag, bytes, digest }) = serde_json::from_slice(&line?) {
                        digests.insert((name, etag, bytes), digest);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path, digests: Mutex::new(digests) })
    }

    /// The digest of an object that looks as it did when it was fetched.
    pub(super) fn digest(&self, name: &str, object: &ObjectMeta) -> Option<Digest> {
        let etag = strong(object)?;
        self.digests.lock().get(&(name.to_owned(), etag.to_owned(), object.size)).copied()
    }

    /// Remembers what was fetched.
    pub(super) fn remember(&self, name: &str, object: &ObjectMeta, digest: Digest) -> io::Result<()> {
        let Some(etag) = strong(object) else { return Ok(()) };
        let key = (name.to_owned(), etag.to_owned(), object.size);
        if self.digests.lock().insert(key, digest) == Some(digest) {
            return Ok(());
        }
        let line = Line { name: name.to_owned(), etag: etag.to_owned(), bytes: object.size, digest };
        // A line of its own, also after one that was cut off.
        let text = format!("\n{}\n", serde_json::to_string(&line)?);
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())
    }
}

/// An ETag that stands for the bytes; a weak one stands for what they mean.
fn strong(object: &ObjectMeta) -> Option<&str> {
    object.e_tag.as_deref().filter(|etag| !etag.starts_with("W/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(etag: Option<&str>, size: u64) -> ObjectMeta {
        ObjectMeta {
            location: "a.csv".into(),
            last_modified: Default::default(),
            size,
            e_tag: etag.map(str::to_owned),
            version: None,
        }
    }

    #[test]
    fn what_was_fetched_is_known_as_long_as_it_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.ndjson");
        let digest = Digest::of("bytes");
        let known = Known::open(path.clone()).unwrap();
        known.remember("s3://raw/a.csv", &object(Some("\"1\""), 5), digest).unwrap();
        known.remember("s3://raw/b.csv", &object(Some("W/\"1\""), 5), digest).unwrap();
        known.remember("s3://raw/c.csv", &object(None, 5), digest).unwrap();
        // The program was killed while it wrote a line, and went on.
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        Known::open(path.clone()).unwrap().remember("s3://raw/d.csv", &object(Some("\"2\""), 7), digest).unwrap();
        let known = Known::open(path).unwrap();
        let digest_of = |name: &str, etag: Option<&str>, size| known.digest(name, &object(etag, size));
        assert_eq!(digest_of("s3://raw/a.csv", Some("\"1\""), 5), Some(digest));
        assert_eq!(digest_of("s3://raw/d.csv", Some("\"2\""), 7), Some(digest));
        assert_eq!(digest_of("s3://raw/a.csv", Some("\"2\""), 5), None);
        assert_eq!(digest_of("s3://raw/a.csv", Some("\"1\""), 6), None);
        assert_eq!(digest_of("s3://raw/b.csv", Some("W/\"1\""), 5), None);
        assert_eq!(digest_of("s3://raw/c.csv", None, 5), None);
    }
}
