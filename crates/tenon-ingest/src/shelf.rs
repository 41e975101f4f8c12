//! Where a dataset's files lie: in a folder, or in a bucket of an object store.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use object_store::ObjectMeta;
use tenon_core::spec::{ObjectPattern, Source};
use tenon_core::{DatasetName, Digest};

use crate::formats::Format;
use crate::growing::unfinished;
use crate::objects::Bucket;
use crate::{IngestError, files};

/// Files that are declared together.
pub(crate) enum Shelf {
    /// Below the company folder.
    Folder { root: PathBuf, pattern: String },
    /// In an object store.
    Bucket(Box<Bucket>),
}

/// One file of a shelf.
#[derive(Debug)]
pub(crate) struct Found {
    /// What the record calls it.
    pub name: String,
    /// What is known of it without reading it.
    pub look: Look,
    at: At,
}

#[derive(Debug)]
enum At {
    Path(PathBuf),
    Object(Box<ObjectMeta>),
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub bytes: u64,
    pub changed: Option<SystemTime>,
    /// The name that its store gives to this state of it.
    pub etag: Option<String>,
    /// Whether nobody can be writing it still: an object is there when all of it is.
    pub is_whole: bool,
}

impl Shelf {
    /// The shelf that a dataset declares.
    pub(crate) fn open(dataset: &DatasetName, source: &Source, root: &Path) -> Result<Self, IngestError> {
        let pattern = source.files.clone().ok_or_else(|| IngestError::NoFiles(dataset.to_string()))?;
        match ObjectPattern::read(&pattern) {
            None => Ok(Self::Folder { root: root.to_owned(), pattern }),
            Some(Err(why)) => Err(IngestError::Address(why)),
            Some(Ok(pattern)) => {
                let access = source.store.clone().unwrap_or_default();
                Ok(Self::Bucket(Box::new(Bucket::open(dataset, pattern, &access, root)?)))
            }
        }
    }

    /// The files that are there now, in the order of their names.
    pub(crate) async fn list(&self) -> Result<Vec<Found>, IngestError> {
        match self {
            Self::Folder { root, pattern } => {
                Ok(files::matching(root, pattern)?.into_iter().filter_map(|path| in_folder(root, path)).collect())
            }
            Self::Bucket(bucket) => {
                let found = |object: ObjectMeta| Found {
                    name: bucket.name(&object),
                    look: Look {
                        bytes: object.size,
                        changed: Some(object.last_modified.into()),
                        etag: object.e_tag.clone(),
                        is_whole: true,
                    },
                    at: At::Object(Box::new(object)),
                };
                Ok(bucket.list().await?.into_iter().map(found).collect())
            }
        }
    }

    /// The digest of a file, where it is known without reading it.
    pub(crate) fn digest(&self, found: &Found) -> Option<Digest> {
        match (self, &found.at) {
            (Self::Bucket(bucket), At::Object(object)) => bucket.digest(object),
            _ => None,
        }
    }

    /// What a file lacks that its writer has not ended; none where that is not so, or not to be told from here.
    pub(crate) fn unfinished(&self, found: &Found) -> Result<Option<&'static str>, IngestError> {
        let (At::Path(path), Ok(format)) = (&found.at, Format::of(Path::new(&found.name))) else { return Ok(None) };
        let looked = File::open(path).and_then(|mut file| unfinished(format, &mut file));
        looked.map_err(|source| IngestError::Io { path: found.name.clone(), source })
    }

    /// Whether an opened file still looks as it was found: nobody has written to it meanwhile. What was fetched of a bucket
    /// is nobody else's.
    pub(crate) fn rests(&self, found: &Found, file: &File) -> bool {
        matches!(found.at, At::Object(_)) || file.metadata().is_ok_and(|metadata| look(&metadata) == found.look)
    }

    /// Opens a file and digests its bytes. What is read from it later is that file, whatever takes its name meanwhile.
    pub(crate) async fn fetch(&self, found: &Found) -> Result<(File, Digest), IngestError> {
        match (self, &found.at) {
            (Self::Bucket(bucket), At::Object(object)) => bucket.fetch(object).await,
            (_, At::Path(path)) => open(path.clone(), &found.name).await,
            _ => Err(IngestError::Interrupted(found.name.clone())),
        }
    }
}

#[cfg(test)]
impl Found {
    pub(crate) fn for_tests(name: &str, look: Look) -> Self {
        Self { name: name.to_owned(), look, at: At::Path(PathBuf::from(name)) }
    }
}

/// A file of a folder; one that is gone meanwhile is none.
fn in_folder(root: &Path, path: PathBuf) -> Option<Found> {
    let look = look(&path.metadata().ok()?);
    let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
    Some(Found { name, look, at: At::Path(path) })
}

fn look(metadata: &Metadata) -> Look {
    Look { bytes: metadata.len(), changed: metadata.modified().ok(), etag: None, is_whole: false }
}

async fn open(path: PathBuf, name: &str) -> Result<(File, Digest), IngestError> {
    let read = move || {
        let mut file = File::open(path)?;
        let mut digest = Digest::builder();
        io::copy(&mut io::BufReader::with_capacity(1 << 20, &mut file), &mut digest)?;
        Ok::<_, io::Error>((file, digest.finish()))
    };
    let opened = tokio::task::spawn_blocking(read).await.map_err(|_| IngestError::Interrupted(name.to_owned()))?;
    opened.map_err(|source| IngestError::Io { path: name.to_owned(), source })
}
