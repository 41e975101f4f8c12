//! Files that lie in an object store.
//!
//! A store is listed, and an object is fetched piece by piece into a file that has no name, so that its rows are read from
//! bytes that no longer change; its digest says whether it was taken before. Each piece is asked for with the ETag that
//! was listed: one that changed meanwhile is read anew from its start, or told. A request that fails or takes too long is
//! made again by the library, with waits that grow.

mod connect;
mod fetch;
mod known;
mod words;

use std::path::Path;
use std::sync::Arc;

use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore};
use tenon_core::DatasetName;
use tenon_core::spec::{ObjectPattern, StoreAccess};

use crate::IngestError;
use crate::files::is_match;
use known::Known;
use words::Words;

/// Where, below the company folder, fetched objects stand for a moment, and what is known of those that were fetched.
const FOLDER: &str = ".tenon/objects";

/// A bucket, and what of it a dataset reads.
pub(crate) struct Bucket {
    pattern: ObjectPattern,
    client: Arc<dyn ObjectStore>,
    words: Words,
    known: Known,
    /// Where fetched bytes stand.
    spool: std::path::PathBuf,
}

impl Bucket {
    /// Gets ready to ask; nothing is connected yet.
    pub(crate) fn open(
        dataset: &DatasetName,
        pattern: ObjectPattern,
        access: &StoreAccess,
        root: &Path,
    ) -> Result<Self, IngestError> {
        let spool = root.join(FOLDER);
        let io = |source| IngestError::Io { path: spool.display().to_string(), source };
        std::fs::create_dir_all(&spool).map_err(io)?;
        let known = Known::open(spool.join(format!("{dataset}.ndjson"))).map_err(io)?;
        let (client, words) = connect::client(&pattern, access, root)?;
        Ok(Self { pattern, client, words, known, spool })
    }

    /// The objects that are there now, in the order of their keys.
    pub(crate) async fn list(&self) -> Result<Vec<ObjectMeta>, IngestError> {
        let folder = Key::parse(&self.pattern.folder).map_err(|error| self.failed(&error.into()))?;
        let listed = self.client.list_with_delimiter(Some(&folder)).await;
        let mut objects = listed.map_err(|error| self.failed(&error))?.objects;
        objects.retain(|object| object.location.filename().is_some_and(|name| is_match(&self.pattern.last, name)));
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// What the record calls an object.
    pub(crate) fn name(&self, object: &ObjectMeta) -> String {
        format!("{}://{}/{}", self.pattern.kind.scheme(), self.pattern.bucket, object.location)
    }

    fn failed(&self, error: &object_store::Error) -> IngestError {
        IngestError::Store { address: self.pattern.to_string(), what: self.words.of(error) }
    }
}
