//! The façade: files and pushes into the lake.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tenon_company::Catalog;
use tenon_core::fact::DatasetCommitted;
use tenon_core::spec::{Contract, DatasetSpec};
use tenon_core::words::count;
use tenon_core::{BranchName, DatasetName, Digest, Principal};
use tenon_lake::{BatchSource, Checked, Checker, Lake, WriteOutcome, rows_digest};
use tokio::sync::mpsc;

use crate::formats::Format;
use crate::shelf::{Found, Shelf};
use crate::{Buffer, IngestError, formats, growing, rows_from_json};

/// Pieces of a file that wait to be checked.
const PIECES_AHEAD: usize = 2;

/// The facts that sealed the newest batch of each source of a dataset, by the source's name, once they are asked for.
pub(crate) type Earlier = Option<HashMap<String, u64>>;

/// What one who is fed says when it could not take rows.
pub type FeedError = Box<dyn std::error::Error + Send + Sync>;

/// One who wants the accepted rows at once: the feature store. An error stops nothing that has landed.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Takes rows that have landed in this version of the dataset's table.
    async fn feed(&self, dataset: &str, rows: &[RecordBatch], version: u64) -> Result<(), FeedError>;
    /// Takes rows that keep the contract and will land later, with others.
    async fn feed_ahead(&self, dataset: &str, rows: &[RecordBatch]) -> Result<(), FeedError>;
    /// All rows that were fed ahead, and no others, have landed in this version.
    async fn committed(&self, dataset: &str, version: u64) -> Result<(), FeedError>;
    /// The rows that were fed ahead will not land.
    async fn discard_ahead(&self, dataset: &str) -> Result<(), FeedError>;
    /// Rows of the dataset changed or went, so that what was fed of it is to be read again.
    async fn changed(&self, dataset: &str) -> Result<(), FeedError>;
}

/// Taking rows in. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) lake: Lake,
    catalog: Catalog,
    feed: Option<Arc<dyn Feed>>,
    /// Where rows land instead of in the datasets themselves.
    branch: Option<BranchName>,
}

/// What a caller promises of a push: it is taken once for a key, which never comes with another body.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The key, such as the header `Idempotency-Key` says.
    pub key: &'a str,
    /// The digest of what came with it.
    pub body: Digest,
}

/// What became of one file.
#[derive(Debug)]
pub struct FileOutcome {
    /// Its path from the company folder.
    pub path: String,
    /// What the lake did with it.
    pub outcome: Result<WriteOutcome, IngestError>,
}

impl Ingest {
    /// Taking rows into `lake`, with one who wants them at once.
    pub fn new(lake: Lake, catalog: Catalog, feed: Option<Arc<dyn Feed>>) -> Self {
        Self { lake, catalog, feed, branch: None }
    }

    /// The same onto a branch: rows are checked and land there, and nobody is fed with them before they are merged.
    #[must_use]
    pub fn on(&self, branch: BranchName) -> Self {
        Self { feed: None, branch: Some(branch), ..self.clone() }
    }

    /// The fact that sealed a batch here before.
    fn sealed(&self, dataset: &DatasetName, source: &BatchSource) -> Result<Option<DatasetCommitted>, IngestError> {
        Ok(match &self.branch {
            Some(branch) => self.lake.sealed_batch_on(branch, dataset, source)?,
            None => self.lake.sealed_batch(dataset, source)?,
        })
    }

    fn checker(&self, dataset: &DatasetName) -> Result<Checker, IngestError> {
        Ok(match &self.branch {
            Some(branch) => self.lake.checker_on(branch, dataset)?,
            None => self.lake.checker(dataset),
        })
    }

    /// Commits a batch here.
    async fn commit(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        checked: Vec<Checked>,
    ) -> Result<WriteOutcome, IngestError> {
        Ok(match &self.branch {
            Some(branch) => self.lake.commit_checked_on(branch, by, dataset, source, checked).await?,
            None => self.lake.commit_checked(by, dataset, source, checked).await?,
        })
    }

    /// Takes every file that the dataset's pattern names, each exactly once. A file that cannot be taken does not keep
    /// the others from it.
    ///
    /// # Errors
    /// [`IngestError`] when there is no such dataset, or its folder or bucket cannot be read.
    pub async fn files(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        root: &Path,
    ) -> Result<Vec<FileOutcome>, IngestError> {
        let shelf = Shelf::open(dataset, &self.spec(dataset)?.source, root)?;
        let (mut outcomes, mut earlier) = (Vec::new(), None);
        for found in shelf.list().await? {
            let outcome = self.file(by, dataset, &shelf, &found, &mut earlier).await;
            outcomes.push(FileOutcome { path: found.name, outcome });
        }
        Ok(outcomes)
    }

    /// Takes one file, exactly once by its bytes. `earlier` is kept from one file to the next, each of another name.
    pub(crate) async fn file(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        shelf: &Shelf,
        found: &Found,
        earlier: &mut Earlier,
    ) -> Result<WriteOutcome, IngestError> {
        let spec = self.spec(dataset)?;
        let name = found.name.as_str();
        if let Some(digest) = shelf.digest(found) {
            let source = BatchSource::new(name, digest);
            if let Some(sealed) = self.sealed(dataset, &source)? {
                return Ok(WriteOutcome::Already(sealed));
            }
        }
        let (file, digest) = shelf.fetch(found).await?;
        let source = BatchSource::new(name, digest);
        if let Some(sealed) = self.sealed(dataset, &source)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        let again = || file.try_clone().map_err(|source| IngestError::Io { path: name.to_owned(), source });
        if let Some(sentence) = self.taken_in_part(dataset, name, again()?, earlier).await? {
            return Ok(self.lake.refuse_batch(by, dataset, &source, sentence).await?);
        }
        let mut checker = self.checker(dataset)?;
        let checked = self.check_file(&mut checker, &spec.contract, again()?, name).await?;
        // Rows that were written after the digest was made are not of it.
        if !shelf.rests(found, &file) {
            return Err(IngestError::Changed(name.to_owned()));
        }
        let outcome = match checked {
            Ok(checked) => self.commit(by, dataset, &source, checked).await?,
            Err(sentence) => self.lake.refuse_batch(by, dataset, &source, sentence).await?,
        };
        self.hand_on(dataset, &outcome).await?;
        Ok(outcome)
    }

    /// Why a text is not taken whose first lines were taken under its name before, and which was written on since.
    async fn taken_in_part(
        &self,
        dataset: &DatasetName,
        name: &str,
        mut file: File,
        earlier: &mut Earlier,
    ) -> Result<Option<String>, IngestError> {
        if !Format::of(Path::new(name)).is_ok_and(Format::has_lines) {
            return Ok(None);
        }
        let earlier = match earlier {
            Some(earlier) => earlier,
            None => earlier.insert(self.lake.sources(dataset, self.branch.as_ref())?),
        };
        let Some(fact) = earlier.get(name) else { return Ok(None) };
        let Some(before) = self.lake.batch(*fact)? else { return Ok(None) };
        let looking = tokio::task::spawn_blocking(move || growing::lines_with(before.source_digest, &mut file));
        let lines = looking.await.map_err(|_| IngestError::Interrupted(name.to_owned()))?;
        let lines = lines.map_err(|source| IngestError::Io { path: name.to_owned(), source })?;
        Ok(lines.map(|lines| {
            format!(
                "its first {} lines are what was taken of it as version {}, and would land twice: it was written on since, \
                 and rows that come later belong into a file of their own",
                count(lines),
                before.version
            )
        }))
    }

    /// Takes rows that a caller pushes, once for the key of [`Once`], or else once for the rows.
    ///
    /// # Errors
    /// [`IngestError::KeyUsed`] when the key came before, with other rows; [`IngestError`] when nothing has landed; pushing
    /// again is safe.
    pub async fn push(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        rows: Vec<RecordBatch>,
        once: Option<Once<'_>>,
    ) -> Result<WriteOutcome, IngestError> {
        let digest = match once {
            Some(Once { key, .. }) => Digest::of(format!("push:{key}")),
            None => rows.first().map_or_else(|| Digest::of("push"), |first| rows_digest(first.schema_ref(), &rows)),
        };
        let source = BatchSource { content: once.map(|once| once.body), ..BatchSource::new("push", digest) };
        let outcome = self.lake.write(by, dataset, &source, rows).await?;
        if let (WriteOutcome::Already(landed), Some(Once { key, body })) = (&outcome, once)
            && landed.content_digest.is_some_and(|landed| landed != body)
        {
            let (key, dataset) = (key.to_owned(), dataset.to_string());
            return Err(IngestError::KeyUsed { key, dataset, version: landed.version });
        }
        self.hand_on(dataset, &outcome).await?;
        Ok(outcome)
    }

    /// Rows of a dataset from NDJSON, for [`Ingest::push`].
    ///
    /// # Errors
    /// [`IngestError::Json`] names the first line that is not an object.
    pub fn rows_from_json(&self, dataset: &DatasetName, ndjson: &str) -> Result<RecordBatch, IngestError> {
        rows_from_json(&self.spec(dataset)?.contract, ndjson)
    }

    /// Rows of a dataset that are used at once and land together later.
    pub fn buffer(&self, dataset: &DatasetName) -> Buffer {
        Buffer::new(self.lake.clone(), self.feed.clone(), dataset.clone())
    }

    /// Reads a file while its pieces are checked. The inner error is a sentence that says why it cannot be read.
    async fn check_file(
        &self,
        checker: &mut Checker,
        contract: &Contract,
        file: File,
        name: &str,
    ) -> Result<Result<Vec<Checked>, String>, IngestError> {
        let (pieces, mut arriving) = mpsc::channel(PIECES_AHEAD);
        let (path, contract) = (PathBuf::from(name), contract.clone());
        let reading = tokio::task::spawn_blocking(move || {
            formats::read(&path, file, &contract, |piece| pieces.blocking_send(piece).is_ok())
        });
        let mut checked = Vec::new();
        while let Some(piece) = arriving.recv().await {
            let piece = checker.check(&[piece]).await?;
            let refused = piece.refusal().is_some();
            checked.push(piece);
            if refused {
                arriving.close();
            }
        }
        let read = reading.await.map_err(|_| IngestError::Interrupted(name.to_owned()))?;
        Ok(read.map(|()| checked))
    }

    /// Tells the one who wants accepted rows at once of those that have landed.
    pub(crate) async fn hand_on(&self, dataset: &DatasetName, outcome: &WriteOutcome) -> Result<(), IngestError> {
        if let (Some(feed), WriteOutcome::Committed { fact, accepted }) = (&self.feed, outcome) {
            let fed = match fact.changes.is_some_and(|changes| changes.removed() > 0) {
                true => feed.changed(dataset.as_str()).await,
                false => feed.feed(dataset.as_str(), accepted, fact.version).await,
            };
            fed.map_err(|source| IngestError::Feed { dataset: dataset.to_string(), source })?;
        }
        Ok(())
    }

    pub(crate) fn spec(&self, dataset: &DatasetName) -> Result<DatasetSpec, IngestError> {
        let specs = self.catalog.specs();
        let resource = specs
            .datasets
            .get(dataset)
            .ok_or_else(|| IngestError::no_dataset(dataset.as_str(), specs.datasets.keys().map(DatasetName::as_str)))?;
        Ok(resource.spec.clone())
    }
}
