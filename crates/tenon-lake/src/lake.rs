//! The façade: what the rest of the program sees of the lake.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use tenon_company::Catalog;
use tenon_core::fact::{BranchCommitted, DatasetCommitted, DatasetRefused};
use tenon_core::spec::{DatasetSpec, Resource};
use tenon_core::{AsOf, BranchName, Clock, DatasetName, Digest, Principal, Timestamp};
use tenon_ledger::{DocsExt, Ledger};
use tenon_query::RowsQuery;
use url::Url;

use crate::contract::{KeySet, References, Rules, SeenRows};
use crate::delta::table::{Slot, Table};
use crate::landing::landed::Landed;
use crate::landing::place::Place;
use crate::read::{Runs, on_branch};
use crate::record::projection::{COMMITS, TABLES, commits_of};
use crate::{
    BRANCHES_FOLDER, BranchRecord, Checked, LakeError, TableCommit, TableState, dataset_of, quarantine_of, raw_of,
};

/// What all queries together may take of memory; beyond it they spill.
const QUERY_MEMORY_BYTES: usize = 768 << 20;
/// What queries spill, below the lake's folder.
pub const SPILL_FOLDER: &str = "_spill";
/// Below this many rows a batch is checked where it is, without a thread of its own.
const ROWS_IN_PLACE: usize = 2_048;

/// How often a batch is held against a table that others write to, before its giver is asked to come again.
const RACES: usize = 8;

/// What a lake needs from outside.
pub struct LakeOptions {
    /// The folder with the tables.
    pub root: PathBuf,
    /// Where commits are sealed. It must hold [`crate::projection`].
    pub ledger: Ledger,
    /// The datasets.
    pub catalog: Catalog,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// The lake: every dataset's table, and the tables of the program itself. Cheap to clone.
#[derive(Clone)]
pub struct Lake {
    pub(crate) inner: Arc<Inner>,
    /// Where an engine answers what people ask: the session that has their queries run there.
    pub(crate) engine: Option<SessionContext>,
}

/// Plans of one query, by the schema of the rows that it runs over.
type Planned = Vec<(SchemaRef, Arc<RowsQuery>)>;

/// A set of keys, with the tables' versions that it was read from.
type ReadKeys = (Vec<(String, u64)>, Arc<KeySet>);

pub(crate) struct Inner {
    pub root: Url,
    pub ledger: Ledger,
    pub catalog: Catalog,
    pub clock: Arc<dyn Clock>,
    /// Limits and functions of every query; holds no tables.
    pub session: SessionContext,
    pub tables: Mutex<HashMap<String, Slot>>,
    rules: Mutex<HashMap<DatasetName, Arc<Rules>>>,
    /// What columns held at versions, for rules about their distribution.
    pub(crate) held_before: Mutex<HashMap<(String, String, u64), Arc<crate::landing::verdicts::Held>>>,
    /// Key sets by reference, with the versions that they were read from.
    keys: Mutex<HashMap<String, ReadKeys>>,
    /// Planned queries by text and dataset, one for each schema of the rows.
    pub rows_queries: Mutex<HashMap<(String, String), Planned>>,
    /// Held while tags, branches and holds are made, merged or removed, and by a vacuum.
    pub versions: tokio::sync::Mutex<()>,
    /// What has landed, by table, for datasets whose next batch is held against it.
    pub landed: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Landed>>>>,
    /// Compiled contracts of datasets that follow changes.
    pub change_rules: Mutex<HashMap<DatasetName, Arc<crate::changes::ChangeRules>>>,
    /// Profiles for pages, each computed once.
    pub profiles: Mutex<crate::look::sample::Profiles>,
    #[cfg(test)]
    pub stop_after: Mutex<Option<crate::commit::Step>>,
}

/// Where a batch came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSource {
    /// For people: `data/flights/2013-01.parquet`, `push`.
    pub name: String,
    /// The digest of its bytes, or of the key by which a caller pushes it; a batch with the same dataset and digest is taken
    /// once.
    pub digest: Digest,
    /// The digest of its rows, where `digest` is of a key: the same key may come again with the same rows alone.
    pub content: Option<Digest>,
}

impl BatchSource {
    /// A source whose digest is of its bytes.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { name: name.into(), digest, content: None }
    }
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// It landed.
    Committed {
        /// The fact that seals it.
        fact: DatasetCommitted,
        /// The rows that landed, in the table's schema.
        accepted: Vec<RecordBatch>,
    },
    /// It had landed before.
    Already(DatasetCommitted),
    /// It was refused whole.
    Refused(DatasetRefused),
}

/// Checks the pieces of one batch: a key that a piece has taken is taken for the next. Where a dataset looks back at what
/// has landed (`late`, `dedup`), no other batch of it is checked until this is dropped: keep it until the batch is
/// committed.
pub struct Checker {
    pub(crate) lake: Lake,
    pub(crate) dataset: DatasetName,
    pub(crate) branch: Option<BranchRecord>,
    pub(crate) seen: SeenRows,
    pub(crate) landed: Option<tokio::sync::OwnedMutexGuard<Landed>>,
    /// Whether `landed` was asked for.
    pub(crate) asked: bool,
}

impl Lake {
    /// A session with the limits and functions of the lake's queries, and no tables: to plan what runs over rows.
    pub fn session(&self) -> SessionContext {
        tenon_query::fresh(&self.inner.session)
    }

    /// Opens the lake and seals or undoes what a crash left unsealed.
    ///
    /// # Errors
    /// [`LakeError`] when a table cannot be read.
    pub async fn open(options: LakeOptions) -> Result<Self, LakeError> {
        let lake = Self::open_read_only(options)?;
        lake.settle_all().await?;
        Ok(lake)
    }

    /// Opens the lake to read what is sealed, also beside a process that writes: nothing is settled, and nothing may be
    /// written.
    ///
    /// # Errors
    /// [`LakeError`] when its folder cannot be used.
    pub fn open_read_only(options: LakeOptions) -> Result<Self, LakeError> {
        let LakeOptions { root, ledger, catalog, clock } = options;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| LakeError::Table {
            table: root.display().to_string(),
            doing: "opened",
            source,
        };
        std::fs::create_dir_all(&root).map_err(|error| failed(error.into()))?;
        let absolute = std::path::absolute(&root).map_err(|error| failed(error.into()))?;
        let url = Url::from_directory_path(&absolute).map_err(|()| failed("its path is no address".into()))?;
        let session = tenon_query::session(QUERY_MEMORY_BYTES, &absolute.join(SPILL_FOLDER))?;
        Ok(Self {
            engine: None,
            inner: Arc::new(Inner {
                root: url,
                ledger,
                catalog,
                clock,
                session,
                tables: Mutex::default(),
                rules: Mutex::default(),
                held_before: Mutex::default(),
                keys: Mutex::default(),
                rows_queries: Mutex::default(),
                versions: tokio::sync::Mutex::default(),
                landed: Mutex::default(),
                change_rules: Mutex::default(),
                profiles: Mutex::default(),
                #[cfg(test)]
                stop_after: Mutex::default(),
            }),
        })
    }

    /// The same lake, of which what people ask ([`Lake::ask`]) is planned in this session, and runs where it says.
    pub fn asked_on(self, engine: SessionContext) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// How far an ordered source is in a dataset's table: where its next stretch begins.
    ///
    /// # Errors
    /// [`LakeError`] when the table cannot be read.
    pub async fn position(&self, dataset: &DatasetName, source: &str) -> Result<Option<u64>, LakeError> {
        self.table_spec(dataset)?;
        self.settle(dataset).await?;
        let table = self.table(dataset.as_str()).await?;
        let mut head = table.head.lock().await;
        table.position(&mut head, source).await
    }

    /// Seals or undoes what a crash left unsealed in the tables of datasets.
    async fn settle_all(&self) -> Result<(), LakeError> {
        let specs = self.inner.catalog.specs();
        for (name, resource) in &specs.datasets {
            if resource.spec.source.sql.is_some() {
                continue;
            }
            for table in [name.to_string(), quarantine_of(name.as_str()), raw_of(name.as_str())] {
                let sealed = self.sealed_version(&table)?;
                if Table::goes_on(&self.inner.root, &table, &table, sealed).await? {
                    self.settle(name).await?;
                    break;
                }
            }
        }
        self.settle_branches().await
    }

    /// Checks a batch against the dataset's contract and commits it: rows that keep it to the table, rows that break it
    /// to the quarantine, then the fact that seals both.
    ///
    /// # Errors
    /// [`LakeError`] when nothing has landed; giving the batch again is safe.
    pub async fn write(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        source: &BatchSource,
        rows: Vec<RecordBatch>,
    ) -> Result<WriteOutcome, LakeError> {
        self.table_spec(dataset)?;
        if let Some(sealed) = self.sealed_batch(dataset, source)? {
            return Ok(WriteOutcome::Already(sealed));
        }
        // Others may land the same unique values meanwhile; then the batch is held against the table once more.
        for _ in 0..RACES {
            // Kept until the batch is committed, see [`Checker`].
            let mut checker = self.checker(dataset);
            let checked = checker.check(&rows).await?;
            match self.commit_checked(by, dataset, source, vec![checked]).await {
                Err(LakeError::Raced(_)) => {}
                outcome => return outcome,
            }
        }
        Err(LakeError::Raced(dataset.to_string()))
    }

    /// Checks rows against the dataset's contract without committing anything: for rows that are used at once and
    /// committed later, with others, by [`Lake::commit_checked`].
    ///
    /// # Errors
    /// [`LakeError::Contract`] when the contract cannot be followed.
    pub async fn check(&self, dataset: &DatasetName, rows: &[RecordBatch]) -> Result<Checked, LakeError> {
        self.checker(dataset).check(rows).await
    }

    /// The same while batches before it are on their way: none where it matters what they leave in the table, because the
    /// dataset looks back at what has landed, or a value must be in no row yet, or in a row of a dataset.
    ///
    /// # Errors
    /// As [`Lake::check`].
    pub async fn check_ahead(&self, dataset: &DatasetName, rows: &[RecordBatch]) -> Result<Option<Checked>, LakeError> {
        let rules = self.rules(dataset)?;
        let looks_back = rules.spec.late.is_some() || rules.spec.dedup.is_some();
        if looks_back || rules.unique().next().is_some() || rules.references().next().is_some() {
            return Ok(None);
        }
        self.check(dataset, rows).await.map(Some)
    }

    /// A check of one batch that comes in pieces.
    pub fn checker(&self, dataset: &DatasetName) -> Checker {
        Checker {
            lake: self.clone(),
            dataset: dataset.clone(),
            branch: None,
            seen: SeenRows::default(),
            landed: None,
            asked: false,
        }
    }

    /// The same on a branch: all looks at the branch's tables, so that what landed in the dataset after the branch was made
    /// does not count.
    ///
    /// # Errors
    /// [`LakeError::NoSuch`] and [`LakeError::NotOnBranch`].
    pub fn checker_on(&self, branch: &BranchName, dataset: &DatasetName) -> Result<Checker, LakeError> {
        Ok(Checker { branch: Some(self.branch_with(branch, dataset)?), ..self.checker(dataset) })
    }

    /// The fact that sealed this batch, where it landed before.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn sealed_batch(
        &self,
        dataset: &DatasetName,
        source: &BatchSource,
    ) -> Result<Option<DatasetCommitted>, LakeError> {
        self.sealed_operation(crate::commit::batch_operation(dataset, source))
    }

    /// All tables with a sealed version, in the order of their names.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn list(&self) -> Result<Vec<TableState>, LakeError> {
        let states: Vec<(String, TableState)> = self.inner.ledger.docs().list(TABLES, "")?;
        Ok(states.into_iter().map(|(_, state)| state).collect())
    }

    /// A table as it stands; none before its first sealed version.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn state(&self, table: &str) -> Result<Option<TableState>, LakeError> {
        Ok(self.inner.ledger.docs().read(TABLES, table)?)
    }

    /// All tables with a sealed version as they stood at a moment, in the order of their names.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn list_as_of(&self, at: Timestamp) -> Result<Vec<TableState>, LakeError> {
        let states: Vec<(String, TableState)> = self.inner.ledger.docs_as_of(at)?.list(TABLES, "")?;
        Ok(states.into_iter().map(|(_, state)| state).collect())
    }

    /// The sealed versions of a table, oldest first.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn history(&self, table: &str) -> Result<Vec<TableCommit>, LakeError> {
        let commits: Vec<(String, TableCommit)> = self.inner.ledger.docs().list(COMMITS, &commits_of(table))?;
        Ok(commits.into_iter().map(|(_, commit)| commit).collect())
    }

    /// The fact that sealed the newest batch of each source of files or rows, by the source's name.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn sources(
        &self,
        dataset: &DatasetName,
        branch: Option<&BranchName>,
    ) -> Result<HashMap<String, u64>, LakeError> {
        let on_branch = branch.map(|branch| crate::branch_table(branch.as_str(), dataset.as_str()));
        let mut newest = HashMap::new();
        for table in std::iter::once(dataset.to_string()).chain(on_branch) {
            let batches = self.history(&table)?.into_iter().filter(|commit| commit.batch);
            newest.extend(batches.filter_map(|commit| Some((commit.source?, commit.fact))));
        }
        Ok(newest)
    }

    /// The batch that a fact sealed, on a branch or not; none where the fact is about something else.
    ///
    /// # Errors
    /// [`LakeError::Ledger`].
    pub fn batch(&self, fact: u64) -> Result<Option<DatasetCommitted>, LakeError> {
        let Some(stored) = self.inner.ledger.facts(fact..fact + 1)?.pop() else { return Ok(None) };
        let on_branch = || stored.fact.payload::<BranchCommitted>().map(|sealed| sealed.commit);
        Ok(stored.fact.payload::<DatasetCommitted>().or_else(|_| on_branch()).ok())
    }

    pub(crate) fn sealed_version(&self, table: &str) -> Result<Option<u64>, LakeError> {
        Ok(self.state(table)?.map(|state| state.newest.version))
    }

    /// The declaration of a dataset that holds rows.
    pub(crate) fn table_spec(&self, dataset: &DatasetName) -> Result<Resource<DatasetSpec>, LakeError> {
        let specs = self.inner.catalog.specs();
        let Some(resource) = specs.datasets.get(dataset) else {
            return Err(LakeError::no_dataset(dataset.as_str(), specs.datasets.keys().map(DatasetName::as_str)));
        };
        if resource.spec.source.sql.is_some() {
            Err(LakeError::View(dataset.to_string()))
        } else {
            Ok(resource.clone())
        }
    }

    /// Whether a dataset's cleaning and contract can be followed.
    ///
    /// # Errors
    /// [`LakeError::Contract`] says what cannot.
    pub fn can_follow(&self, dataset: &DatasetName) -> Result<(), LakeError> {
        self.rules(dataset).map(drop)
    }

    /// The dataset's contract, compiled once for each time that it changes.
    pub(crate) fn rules(&self, dataset: &DatasetName) -> Result<Arc<Rules>, LakeError> {
        let resource = self.table_spec(dataset)?;
        if let Some(rules) = self.inner.rules.lock().get(dataset).filter(|rules| rules.spec == resource.spec) {
            return Ok(Arc::clone(rules));
        }
        let rules = Arc::new(Rules::compile(&self.inner.session, dataset.as_str(), &resource.spec)?);
        self.inner.rules.lock().insert(dataset.clone(), Arc::clone(&rules));
        Ok(rules)
    }

    /// The table of that name, opened once.
    pub(crate) async fn table(&self, name: &str) -> Result<Arc<Table>, LakeError> {
        let slot = Arc::clone(self.inner.tables.lock().entry(name.to_owned()).or_default());
        let table = slot.get_or_try_init(|| async {
            let sealed = self.sealed_version(name)?;
            Table::open(&self.inner.root, &self.folder(name), name, sealed).await.map(Arc::new)
        });
        Ok(Arc::clone(table.await?))
    }

    /// The folder of a table: datasets under their own name, the program's tables behind a `_`.
    pub(crate) fn folder(&self, table: &str) -> String {
        if table.contains('/') {
            return format!("{BRANCHES_FOLDER}/{table}");
        }
        let dataset = dataset_of(table);
        let is_dataset = self.inner.catalog.specs().datasets.keys().any(|name| name.as_str() == dataset);
        if is_dataset { table.to_owned() } else { format!("_{table}") }
    }

    /// The values that a contract's references allow.
    pub(crate) async fn references(
        &self,
        rules: &Rules,
        branch: Option<&BranchRecord>,
    ) -> Result<References, LakeError> {
        let mut references = References::new();
        for reference in rules.references() {
            references.insert(reference.to_owned(), self.key_set(reference, branch).await?);
        }
        Ok(references)
    }

    /// The values that a reference allows, read once for each version of the dataset that holds them.
    pub(crate) async fn key_set(
        &self,
        reference: &str,
        branch: Option<&BranchRecord>,
    ) -> Result<Arc<KeySet>, LakeError> {
        let (dataset, column) = reference.split_once('.').unwrap_or((reference, ""));
        let sql = format!("SELECT \"{column}\" FROM \"{dataset}\" WHERE \"{column}\" IS NOT NULL");
        let is_table = DatasetName::new(dataset).is_ok_and(|dataset| self.table_spec(&dataset).is_ok());
        let tables = if is_table { vec![dataset.to_owned()] } else { self.tables_of(&sql).await? };
        let mut versions = Vec::new();
        for table in tables {
            let table = on_branch(branch, &table).unwrap_or(table);
            if let Some(version) = self.version(&table, AsOf::Latest).await? {
                versions.push((table, version));
            }
        }
        if let Some((_, known)) = self.inner.keys.lock().get(reference).filter(|(read, _)| *read == versions) {
            return Ok(Arc::clone(known));
        }
        let rows = self.query_in(branch, &sql, AsOf::Latest, Runs::Here).await?;
        let failed = |error: arrow::error::ArrowError| LakeError::contract(dataset, format!("`{reference}`: {error}"));
        let known = Arc::new(KeySet::of(rows.iter().map(|batch| batch.column(0))).map_err(failed)?);
        self.inner.keys.lock().insert(reference.to_owned(), (versions, Arc::clone(&known)));
        Ok(known)
    }
}

impl Checker {
    /// Checks the next piece.
    ///
    /// # Errors
    /// [`LakeError::Contract`] when the contract cannot be followed.
    pub async fn check(&mut self, rows: &[RecordBatch]) -> Result<Checked, LakeError> {
        let rules = self.lake.rules(&self.dataset)?;
        if !self.asked {
            let place = Place { dataset: &self.dataset, branch: self.branch.as_ref() };
            self.landed = self.lake.landed(&place).await?;
            self.asked = true;
        }
        let references = self.lake.references(&rules, self.branch.as_ref()).await?;
        let dataset = self.dataset.to_string();
        let misfit = |error: arrow::error::ArrowError| LakeError::Misfit { table: dataset, what: error.to_string() };
        let rows = match rows {
            [one] => one.clone(),
            [] => RecordBatch::new_empty(Arc::clone(&rules.schema)),
            [first, ..] => match concat_batches(first.schema_ref(), rows) {
                Ok(rows) => rows,
                Err(error) => return Err(misfit(error)),
            },
        };
        if rules.unique().next().is_some() {
            return self.check_unique(&rules, rows, references).await;
        }
        if rows.num_rows() < ROWS_IN_PLACE {
            return rules.check(&rows, &references, &mut self.seen, self.landed.as_deref_mut()).map_err(misfit);
        }
        let (mut seen, mut landed) = (std::mem::take(&mut self.seen), self.landed.take());
        let work = move || {
            let checked = rules.check(&rows, &references, &mut seen, landed.as_deref_mut());
            (checked, seen, landed)
        };
        let (checked, seen, landed) =
            tokio::task::spawn_blocking(work).await.map_err(|error| LakeError::Interrupted(error.to_string()))?;
        (self.seen, self.landed) = (seen, landed);
        checked.map_err(misfit)
    }
}
