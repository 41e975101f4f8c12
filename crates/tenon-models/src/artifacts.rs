//! Immutable files by digest: models, training sets, reference distributions.
//!
//! A file is complete and durable before a fact names it, is never changed afterwards, and is checked against its name
//! whenever it is read. What a crash leaves is a file that no fact names; the same bytes made again find it in place.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;
use tenon_core::Digest;
use tenon_lake::rows_digest;

use crate::ModelError;

/// What kind of file, which says the folder and the ending.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Model,
    Reference,
}

impl Kind {
    fn place(self, digest: &Digest) -> PathBuf {
        match self {
            Self::Model => Path::new("models").join(format!("{}.onnx", digest.hex())),
            Self::Reference => Path::new("references").join(format!("{}.json", digest.hex())),
        }
    }
}

/// The folder of immutable files.
#[derive(Debug, Clone)]
pub(crate) struct Artifacts(PathBuf);

impl Artifacts {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Stores bytes under their digest.
    pub(crate) fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Digest, ModelError> {
        let digest = Digest::of(bytes);
        self.write(&self.0.join(kind.place(&digest)), bytes)?;
        Ok(digest)
    }

    /// The bytes of that digest.
    pub(crate) fn get(&self, kind: Kind, digest: &Digest) -> Result<Vec<u8>, ModelError> {
        let path = self.0.join(kind.place(digest));
        let bytes = fs::read(&path).map_err(failed(&path, "read"))?;
        checked(path, *digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Stores the rows of a training set under the digest of the rows (not of the file, whose bytes depend on the
    /// writer).
    pub(crate) fn put_rows(&self, digest: &Digest, rows: &RecordBatch) -> Result<(), ModelError> {
        let path = self.rows_path(digest);
        if path.exists() {
            return Ok(());
        }
        let level = ZstdLevel::try_new(3)?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties))?;
        writer.write(rows)?;
        writer.close()?;
        self.write(&path, &bytes)
    }

    /// The rows of a training set, checked against their digest.
    pub(crate) fn get_rows(&self, digest: &Digest) -> Result<RecordBatch, ModelError> {
        let path = self.rows_path(digest);
        let file = File::open(&path).map_err(failed(&path, "read"))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = reader.schema().clone();
        let batches = reader.with_batch_size(1 << 16).build()?.collect::<Result<Vec<_>, _>>()?;
        checked(path, *digest, rows_digest(&schema, &batches))?;
        Ok(concat_batches(&schema, &batches)?)
    }

    fn rows_path(&self, digest: &Digest) -> PathBuf {
        self.0.join("training_sets").join(format!("{}.parquet", digest.hex()))
    }

    /// Writes a file beside its place, makes it durable and read-only, and moves it there.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
        let failed = failed(path, "written");
        if path.exists() {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.0);
        let write = || {
            fs::create_dir_all(folder)?;
            // Removed when it is dropped before it has its place: a full disk does not keep the half that was written.
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.as_file().set_permissions(read_only(file.as_file())?)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(failed)
    }
}

fn read_only(file: &File) -> std::io::Result<Permissions> {
    let mut permissions = file.metadata()?.permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o444);
    #[cfg(not(unix))]
    permissions.set_readonly(true);
    Ok(permissions)
}

fn failed(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::File { path: path.clone(), action, source }
}

fn checked(path: PathBuf, recorded: Digest, found: Digest) -> Result<(), ModelError> {
    if found == recorded { Ok(()) } else { Err(ModelError::Changed { path, recorded, found }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn bytes_come_back_and_a_changed_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().join("artifacts"));
        let digest = artifacts.put(Kind::Model, b"trees").unwrap();
        assert_eq!(artifacts.put(Kind::Model, b"trees").unwrap(), digest);
        assert_eq!(artifacts.get(Kind::Model, &digest).unwrap(), b"trees");
        let path = artifacts.0.join(Kind::Model.place(&digest));
        assert!(fs::metadata(&path).unwrap().permissions().readonly());
        let others = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(others, 1, "nothing temporary is left");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"treez").unwrap();
        assert!(matches!(artifacts.get(Kind::Model, &digest), Err(ModelError::Changed { .. })));
        assert!(matches!(artifacts.get(Kind::Reference, &digest), Err(ModelError::File { action: "read", .. })));
    }

    #[test]
    fn the_rows_of_a_training_set_come_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().to_owned());
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(StringArray::from(vec![Some("a"), None])) as _, true),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC")) as _, true),
            ("label", Arc::new(BooleanArray::from(vec![true, false])) as _, true),
            ("x", Arc::new(Float32Array::from(vec![None, Some(0.1)])) as _, true),
        ])
        .unwrap();
        let digest = rows_digest(rows.schema_ref(), std::slice::from_ref(&rows));
        artifacts.put_rows(&digest, &rows).unwrap();
        assert_eq!(artifacts.get_rows(&digest).unwrap(), rows);
        let other = Digest::of("other");
        fs::rename(artifacts.rows_path(&digest), artifacts.rows_path(&other)).unwrap();
        assert!(matches!(artifacts.get_rows(&other), Err(ModelError::Changed { found, .. }) if found == digest));
    }
}
