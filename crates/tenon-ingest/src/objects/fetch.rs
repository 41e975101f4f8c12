//! An object's bytes, all of one state of it.

use std::fs::File;
use std::io::{self, Write};

use bytes::Bytes;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStoreExt};
use tenon_core::{Digest, DigestBuilder};

use super::Bucket;
use crate::IngestError;

/// Bytes of one request: what is in memory of an object at once.
const PIECE: u64 = 8 << 20;
/// How often a piece is asked for whose bytes stop in the middle, beyond what the library tries by itself.
const PIECE_TRIES: u32 = 5;
/// How often an object that changes while it is read is begun anew.
const STATES: u32 = 3;

/// Why a state of an object was not read to its end.
enum Broken {
    /// It is another one now.
    Changed,
    Failed(IngestError),
}

impl Bucket {
    /// The digest of an object's bytes, where it was fetched before and has not changed since.
    pub(crate) fn digest(&self, object: &ObjectMeta) -> Option<Digest> {
        self.known.digest(&self.name(object), object)
    }

    /// Fetches an object into a file without a name, which is gone with the process however that ends.
    ///
    /// # Errors
    /// [`IngestError::Changed`] when it is written again and again, [`IngestError::Store`] and [`IngestError::NoRoom`].
    pub(crate) async fn fetch(&self, object: &ObjectMeta) -> Result<(File, Digest), IngestError> {
        let (name, mut object) = (self.name(object), object.clone());
        for _ in 0..STATES {
            match self.fetch_state(&object).await {
                Ok((file, digest)) => {
                    if let Err(error) = self.known.remember(&name, &object, digest) {
                        tracing::warn!(%error, "it is not remembered that `{name}` was fetched");
                    }
                    return Ok((file, digest));
                }
                Err(Broken::Failed(error)) => return Err(error),
                Err(Broken::Changed) => {
                    tracing::warn!("`{name}` changed while it was read, and is read from its start");
                    object = self.client.head(&object.location).await.map_err(|error| self.failed(&error))?;
                }
            }
        }
        Err(IngestError::Changed(name))
    }

    async fn fetch_state(&self, object: &ObjectMeta) -> Result<(File, Digest), Broken> {
        let mut spool = Spool::new(self.spool.clone()).await.map_err(|source| self.no_room(object, source))?;
        let mut from = 0;
        while from < object.size {
            let to = (from + PIECE).min(object.size);
            let piece = self.piece(object, from..to).await?;
            spool = spool.add(piece).await.map_err(|source| self.no_room(object, source))?;
            from = to;
        }
        Ok((spool.file, spool.digest.finish()))
    }

    async fn piece(&self, object: &ObjectMeta, range: std::ops::Range<u64>) -> Result<Bytes, Broken> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: object.e_tag.clone(),
            if_unmodified_since: object.e_tag.is_none().then_some(object.last_modified),
            version: object.version.clone(),
            ..GetOptions::default()
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let got = match self.client.get_opts(&object.location, options.clone()).await {
                Ok(got) if got.meta.size != object.size => return Err(Broken::Changed),
                Ok(got) => got.bytes().await,
                Err(error) => return Err(self.broken(&error)),
            };
            match got {
                Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                Ok(_) if tries < PIECE_TRIES => {}
                Err(error) if tries < PIECE_TRIES && !is_changed(&error) => {
                    tracing::debug!(
                        "a piece of `{}` stopped in the middle: {}",
                        object.location,
                        self.words.of(&error)
                    );
                }
                Ok(bytes) => {
                    let what = format!("{} bytes came of {}", bytes.len(), range.end - range.start);
                    let address = self.name(object);
                    return Err(Broken::Failed(IngestError::Store { address, what }));
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn broken(&self, error: &Error) -> Broken {
        if is_changed(error) { Broken::Changed } else { Broken::Failed(self.failed(error)) }
    }

    fn no_room(&self, object: &ObjectMeta, source: io::Error) -> Broken {
        let (path, name) = (self.spool.display().to_string(), self.name(object));
        Broken::Failed(IngestError::NoRoom { path, name, source })
    }
}

/// Whether a store says that an object is not the one that was meant. Where that comes in the middle of a piece, the
/// library has a general error for it.
fn is_changed(error: &Error) -> bool {
    match error {
        Error::Precondition { .. } => true,
        Error::Generic { .. } => error.to_string().contains("412 Precondition Failed"),
        _ => false,
    }
}

/// A file without a name that bytes are added to.
struct Spool {
    file: File,
    digest: DigestBuilder,
}

impl Spool {
    async fn new(folder: std::path::PathBuf) -> io::Result<Self> {
        aside(move || Ok(Self { file: tempfile::tempfile_in(folder)?, digest: Digest::builder() })).await
    }

    async fn add(mut self, piece: Bytes) -> io::Result<Self> {
        aside(move || {
            self.file.write_all(&piece)?;
            self.digest.update(&piece);
            Ok(self)
        })
        .await
    }
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path as Key;
    use tenon_core::spec::{ObjectPattern, StoreKind};

    use super::super::known::Known;
    use super::super::words::Words;
    use super::*;

    fn bucket(folder: &std::path::Path) -> Bucket {
        Bucket {
            pattern: ObjectPattern::read("s3://raw/orders/*.csv").unwrap().unwrap(),
            client: Arc::new(InMemory::new()),
            words: Words::new(StoreKind::S3, true, Vec::new()),
            known: Known::open(folder.join("known.ndjson")).unwrap(),
            spool: folder.to_owned(),
        }
    }

    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        (0..length as u64).map(|at| (at.wrapping_mul(seed) >> 7) as u8).collect()
    }

    #[tokio::test]
    async fn an_object_is_fetched_in_pieces_and_known_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = bucket(folder.path());
        for (key, length) in [("none", 0), ("one", 1), ("whole", PIECE as usize), ("more", 2 * PIECE as usize + 3)] {
            let (whole, key) = (bytes(31, length), Key::from(format!("orders/{key}.csv")));
            bucket.client.put(&key, whole.clone().into()).await.unwrap();
            let object = bucket.client.head(&key).await.unwrap();
            assert_eq!(bucket.digest(&object), None);
            let (mut file, digest) = bucket.fetch(&object).await.unwrap();
            let mut fetched = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut fetched).unwrap();
            assert!(fetched == whole && digest == Digest::of(&whole), "{key}");
            assert_eq!(bucket.digest(&object), Some(digest));
        }
        assert_eq!(bucket.list().await.unwrap().len(), 4);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["known.ndjson"], "what was fetched has no name");
    }

    #[tokio::test]
    async fn an_object_that_is_another_one_by_now_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (bucket, key) = (bucket(folder.path()), Key::from("orders/a.csv"));
        bucket.client.put(&key, bytes(31, 100).into()).await.unwrap();
        let listed = bucket.client.head(&key).await.unwrap();
        bucket.client.put(&key, bytes(37, 100).into()).await.unwrap();
        let (_, digest) = bucket.fetch(&listed).await.unwrap();
        assert_eq!(digest, Digest::of(bytes(37, 100)));
        assert_eq!(bucket.digest(&listed), None, "of the one that was listed nothing is known");
        bucket.client.delete(&key).await.unwrap();
        let told = bucket.fetch(&listed).await.unwrap_err().to_string();
        assert!(told.contains("s3://raw/orders/*.csv") && told.contains("no such bucket or object"), "{told}");
    }
}
