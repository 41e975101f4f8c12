//! Reading: which tables a query means, at which versions, and the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use tenon_core::{AsOf, BranchName, DatasetName};
use tenon_query::{QueryError, RowsQuery, Stated, StatedTable, empty_table, fresh, register_view};

use crate::contract::contract_schema;
use crate::encode::properties;
use crate::sql::all_of;
use crate::{BranchRecord, Lake, LakeError, QUARANTINE, RAW, branch_table, quarantine_schema};

/// Prepared queries over handed-in rows beyond this number are forgotten and planned anew.
const PREPARED: usize = 512;

/// What a query reads, with its views opened up.
#[derive(Debug, Default)]
struct Reads {
    tables: BTreeSet<String>,
    /// Views before those that are made of them.
    views: Vec<(String, String)>,
    /// Tables and views as of a state that the query says of each.
    stated: Vec<StatedTable>,
    /// The tables that those read.
    stated_tables: BTreeSet<String>,
}

/// What a table holds at a version.
pub(crate) enum Contents {
    /// No rows yet, of these columns.
    Nothing(SchemaRef),
    Snapshot(DeltaTable),
}

/// Where a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// In this program.
    Here,
    /// On the engine that the company names.
    Elsewhere,
}

impl Lake {
    /// What somebody asks: as [`Lake::query`] answers it, by the engine that the company names. On a branch, its tables stand
    /// in for the datasets that they began with. Versions, views and branches are settled here; what travels are files of the
    /// tables.
    ///
    /// # Errors
    /// As there; [`LakeError::NoSuch`]; and when the engine cannot be reached, or a table cannot travel.
    pub async fn ask(
        &self,
        branch: Option<&BranchName>,
        sql: &str,
        as_of: AsOf,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let branch = branch.map(|branch| self.branch(branch)).transpose()?;
        let runs = if self.engine.is_some() { Runs::Elsewhere } else { Runs::Here };
        self.query_in(branch.as_ref(), sql, as_of, runs).await.map_err(|error| match error {
            LakeError::Query(QueryError::Engine(what)) => LakeError::Engine(what),
            other => other,
        })
    }

    /// SQL over all datasets, their quarantines (`flights__quarantine`) and the program's tables, as of a moment, a
    /// version or a tag. A table that had no commit by then is empty. A state that the query itself says of a table
    /// (`flights FOR VERSION AS OF 7`) goes before `as_of`.
    ///
    /// # Errors
    /// [`LakeError::Query`] says what is wrong with the query; [`LakeError::VersionOfMany`] and [`LakeError::NoVersion`].
    pub async fn query(&self, sql: &str, as_of: AsOf) -> Result<Vec<RecordBatch>, LakeError> {
        self.query_in(None, sql, as_of, Runs::Here).await
    }

    pub(crate) async fn query_in(
        &self,
        branch: Option<&BranchRecord>,
        sql: &str,
        as_of: AsOf,
        runs: Runs,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let (sql, reads) = self.reads(sql)?;
        let session = self.session_at(&reads, branch, as_of, runs).await?;
        Ok(tenon_query::run(&session, &sql).await?)
    }

    /// The same at exact versions of the tables that are named (what a training set pinned); others are not visible.
    /// The answer is the same for ever, so that functions like `now()` are refused.
    ///
    /// # Errors
    /// As [`Lake::query`].
    pub async fn query_at(&self, sql: &str, tables: &[(String, u64)]) -> Result<Vec<RecordBatch>, LakeError> {
        let (session, sql) = self.session_of_versions(sql, tables).await?;
        Ok(tenon_query::run_repeatable(&session, &sql).await?)
    }

    /// The answer of [`Lake::query_at`] batch by batch, in no order: not all of it is in memory at once.
    ///
    /// # Errors
    /// As there, and what `take` says of a batch.
    pub async fn query_each_at<E: From<LakeError>>(
        &self,
        sql: &str,
        tables: &[(String, u64)],
        mut take: impl FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let (session, sql) = self.session_of_versions(sql, tables).await?;
        let mut answer = tenon_query::stream_repeatable(&session, &sql).await.map_err(LakeError::from)?;
        while let Some(batch) = answer.next().await {
            let batch = batch.map_err(QueryError::from).and_then(tenon_query::plain_texts);
            take(batch.map_err(LakeError::from)?)?;
        }
        Ok(())
    }

    /// A session that knows exact versions of the tables that are named, and nothing else; and the query to be asked there.
    async fn session_of_versions(
        &self,
        sql: &str,
        tables: &[(String, u64)],
    ) -> Result<(SessionContext, String), LakeError> {
        let (sql, reads) = self.reads(sql)?;
        if let Some(stated) = reads.stated.first() {
            return Err(LakeError::StatedPin(stated.table.clone()));
        }
        let pinned: BTreeMap<&str, u64> = tables.iter().map(|(table, version)| (table.as_str(), *version)).collect();
        let session = fresh(&self.inner.session);
        for table in &reads.tables {
            let known = || pinned.keys().map(|table| (*table).to_owned()).collect();
            let version = *pinned.get(table.as_str()).ok_or_else(|| QueryError::no_table(table, known()))?;
            let provider = self.provider(&session, table, Some(version)).await?;
            register(&session, table, provider)?;
        }
        register_views(&session, &reads).await?;
        Ok((session, sql))
    }

    /// A query over the newest versions of tables, or of a branch's, and some rows beside them, under a name of their own.
    pub(crate) async fn query_beside(
        &self,
        branch: Option<&BranchRecord>,
        sql: &str,
        name: &str,
        rows: RecordBatch,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let (sql, mut reads) = self.reads(sql)?;
        reads.tables.remove(name);
        let session = self.session_at(&reads, branch, AsOf::Latest, Runs::Here).await?;
        register(&session, name, tenon_query::memory_table(rows.schema(), vec![rows])?)?;
        Ok(tenon_query::run(&session, &sql).await?)
    }

    /// The tables that a query reads, views resolved down to them, in alphabetical order.
    ///
    /// # Errors
    /// As [`Lake::query`].
    #[expect(clippy::unused_async, reason = "a catalog behind the network will be asked here")]
    pub async fn tables_of(&self, sql: &str) -> Result<Vec<String>, LakeError> {
        let (_, reads) = self.reads(sql)?;
        Ok(reads.tables.into_iter().chain(reads.stated_tables).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// A query over given rows that stand in for one dataset; nothing else is visible. For streaming a feature view's
    /// source: it is planned once for each schema, and takes microseconds where it only selects and computes.
    ///
    /// # Errors
    /// [`LakeError::Query`].
    pub async fn query_over(
        &self,
        sql: &str,
        dataset: &str,
        rows: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let schema = match rows.first() {
            Some(batch) => batch.schema(),
            None => self.schema(dataset).await?,
        };
        let query = self.rows_query(sql, dataset, schema).await?;
        Ok(query.run(rows).await?)
    }

    /// The query behind [`Lake::query_over`], planned for rows of one schema.
    ///
    /// # Errors
    /// [`LakeError::Query`].
    pub async fn rows_query(&self, sql: &str, dataset: &str, schema: SchemaRef) -> Result<Arc<RowsQuery>, LakeError> {
        let key = (sql.to_owned(), dataset.to_owned());
        let is_for = |known: &SchemaRef| Arc::ptr_eq(known, &schema) || *known == schema;
        if let Some(known) = self.inner.rows_queries.lock().get(&key)
            && let Some((_, query)) = known.iter().find(|(known, _)| is_for(known))
        {
            return Ok(Arc::clone(query));
        }
        let query = Arc::new(RowsQuery::plan(&self.inner.session, sql, dataset, Arc::clone(&schema)).await?);
        let mut prepared = self.inner.rows_queries.lock();
        if prepared.len() >= PREPARED {
            prepared.clear();
        }
        prepared.entry(key).or_default().push((schema, Arc::clone(&query)));
        Ok(query)
    }

    /// The schema of a dataset (a view's is planned from its SQL), a quarantine, or a table of the program.
    ///
    /// # Errors
    /// [`LakeError::Query`] when there is no such table.
    pub async fn schema(&self, dataset: &str) -> Result<SchemaRef, LakeError> {
        let sql = all_of(dataset);
        let (sql, reads) = self.reads(&sql)?;
        if reads.views.is_empty()
            && let Some(schema) = self.declared_schema(dataset)
        {
            return Ok(schema);
        }
        let session = self.session_at(&reads, None, AsOf::Latest, Runs::Here).await?;
        Ok(tenon_query::schema(&session, &sql).await?)
    }

    /// The newest version of a table at or before `as_of`; none when it has no commit by then. Of the program's own
    /// tables the newest is the newest written, sealed or not.
    ///
    /// # Errors
    /// [`LakeError::NoVersion`] for a version that the table does not have.
    pub async fn version(&self, table: &str, as_of: AsOf) -> Result<Option<u64>, LakeError> {
        match as_of {
            AsOf::Latest => self.newest(table).await,
            AsOf::Version(version) => {
                let newest = self.newest(table).await?;
                if newest.is_some_and(|newest| version <= newest) {
                    Ok(Some(version))
                } else {
                    Err(LakeError::NoVersion { table: table.to_owned(), version, newest })
                }
            }
            AsOf::Time(moment) => {
                let history = self.history(table)?;
                let by_then = history.partition_point(|commit| commit.at <= moment);
                Ok(history[..by_then].last().map(|commit| commit.version))
            }
            AsOf::Tag(tag) => self.tagged_version(&tag, table),
        }
    }

    async fn newest(&self, table: &str) -> Result<Option<u64>, LakeError> {
        if self.declared_schema(table).is_some() || self.is_raw(table) {
            return self.sealed_version(table);
        }
        Ok(self.table(table).await?.head.lock().await.version)
    }

    /// Writes a snapshot as one Parquet file, whole or not at all. Returns rows written.
    ///
    /// # Errors
    /// [`LakeError::Export`] when the file cannot be written; otherwise as [`Lake::query`].
    pub async fn export(&self, table: &str, as_of: AsOf, to: &Path) -> Result<u64, LakeError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| LakeError::Export { path: to.to_owned(), source };
        let sql = all_of(table);
        let (sql, reads) = self.reads(&sql)?;
        let session = self.session_at(&reads, None, as_of, Runs::Here).await?;
        let mut rows = tenon_query::stream(&session, &sql).await?;
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let write = async {
            let file = fs::File::create(part).map_err(|error| failed(error.into()))?;
            let properties = Some(properties().build());
            let mut writer =
                ArrowWriter::try_new(file, rows.schema(), properties).map_err(|error| failed(error.into()))?;
            let mut written = 0;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(QueryError::from)?;
                written += batch.num_rows() as u64;
                writer.write(&batch).map_err(|error| failed(error.into()))?;
            }
            let file = writer.into_inner().map_err(|error| failed(error.into()))?;
            file.sync_all().map_err(|error| failed(error.into()))?;
            fs::rename(part, to).map_err(|error| failed(error.into()))?;
            Ok(written)
        };
        let written = write.await;
        if written.is_err() {
            fs::remove_file(part).ok();
        }
        written
    }

    /// A session that knows a table, or what a view is made of, as of a state; and the query for all of its rows.
    pub(crate) async fn session_of(&self, table: &str, as_of: AsOf) -> Result<(SessionContext, String), LakeError> {
        let (sql, reads) = self.reads(&all_of(table))?;
        Ok((self.session_at(&reads, None, as_of, Runs::Here).await?, sql))
    }

    /// The views that a table is made of, with their SQL; none for one that holds rows.
    pub(crate) fn views_of(&self, table: &str) -> Result<Vec<(String, String)>, LakeError> {
        Ok(self.reads(&all_of(table))?.1.views)
    }

    /// A query without what it says of states, and what it reads, with views opened up.
    fn reads(&self, sql: &str) -> Result<(String, Reads), LakeError> {
        let mut reads = Reads::default();
        let Stated { sql, tables } = tenon_query::stated(sql)?;
        for stated in &tables {
            let whole = all_of(&stated.table);
            let mut of = Reads::default();
            self.add_reads(&whole, &[], &mut Vec::new(), &mut of)?;
            reads.stated_tables.append(&mut of.tables);
        }
        self.add_reads(&sql, &tables, &mut Vec::new(), &mut reads)?;
        reads.stated = tables;
        Ok((sql, reads))
    }

    fn add_reads(
        &self,
        sql: &str,
        stated: &[StatedTable],
        within: &mut Vec<String>,
        reads: &mut Reads,
    ) -> Result<(), LakeError> {
        let specs = self.inner.catalog.specs();
        for table in tenon_query::tables(&self.inner.session, sql)? {
            if stated.iter().any(|stated| stated.name == table) {
                continue;
            }
            // Tables of branches are not reached by their names.
            if table.contains(['/', '@']) {
                return Err(QueryError::no_table(table, self.names()?).into());
            }
            let dataset = DatasetName::new(table.as_str()).ok();
            let dataset = dataset.and_then(|name| specs.datasets.get(&name));
            let Some(view) = dataset.and_then(|dataset| dataset.spec.source.sql.as_deref()) else {
                reads.tables.insert(table);
                continue;
            };
            let cycle = within.iter().position(|outer| *outer == table);
            within.push(table.clone());
            if let Some(start) = cycle {
                return Err(LakeError::ViewCycle(within.split_off(start)));
            }
            if !reads.views.iter().any(|(known, _)| *known == table) {
                self.add_reads(view, &[], within, reads)?;
                reads.views.push((table, view.to_owned()));
            }
            within.pop();
        }
        Ok(())
    }

    async fn session_at(
        &self,
        reads: &Reads,
        branch: Option<&BranchRecord>,
        as_of: AsOf,
        runs: Runs,
    ) -> Result<SessionContext, LakeError> {
        let session = self.plain_session_at(reads, branch, as_of, runs).await?;
        for StatedTable { name, table, as_of } in &reads.stated {
            let (_, whole) = self.reads(&all_of(table))?;
            let then = self.plain_session_at(&whole, branch, as_of.clone(), runs).await?;
            let provider = then.table_provider(TableReference::bare(table.as_str())).await;
            register(&session, name, provider.map_err(QueryError::from)?)?;
        }
        Ok(session)
    }

    /// A session with the tables and views that no state is said of.
    async fn plain_session_at(
        &self,
        reads: &Reads,
        branch: Option<&BranchRecord>,
        as_of: AsOf,
        runs: Runs,
    ) -> Result<SessionContext, LakeError> {
        if matches!(as_of, AsOf::Version(_)) && reads.tables.len() > 1 {
            return Err(LakeError::VersionOfMany(reads.tables.iter().cloned().collect()));
        }
        let engine = self.engine.as_ref().filter(|_| runs == Runs::Elsewhere);
        let session = fresh(engine.unwrap_or(&self.inner.session));
        for table in &reads.tables {
            let holds = on_branch(branch, table).unwrap_or_else(|| table.clone());
            let version = self.version(&holds, as_of.clone()).await?;
            let provider = match engine {
                Some(_) => self.bare_files(&session, &holds, version).await?,
                None => self.provider(&session, &holds, version).await?,
            };
            register(&session, table, provider)?;
        }
        register_views(&session, reads).await?;
        Ok(session)
    }

    /// A table at a version; without rows where it has none yet.
    pub(crate) async fn provider(
        &self,
        session: &SessionContext,
        table: &str,
        version: Option<u64>,
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let snapshot = match self.contents(table, version).await? {
            Contents::Nothing(schema) => return Ok(empty_table(schema)?),
            Contents::Snapshot(snapshot) => snapshot,
        };
        let state = Arc::new(session.state());
        snapshot.update_datafusion_session(state.as_ref()).map_err(|error| LakeError::read(table, error))?;
        Ok(snapshot.table_provider().with_session(state).await.map_err(QueryError::from)?)
    }

    /// What a table holds at a version.
    pub(crate) async fn contents(&self, table: &str, version: Option<u64>) -> Result<Contents, LakeError> {
        let declared = self.declared_schema(table);
        let handle = self.table(table).await?;
        let (newest, held) = {
            let head = handle.head.lock().await;
            (head.version, head.schema.clone())
        };
        let Some(version) = version else {
            return match declared.or(held) {
                Some(schema) => Ok(Contents::Nothing(schema)),
                None => Err(QueryError::no_table(table, self.names()?).into()),
            };
        };
        if newest.is_none_or(|newest| version > newest) {
            return Err(LakeError::NoVersion { table: table.to_owned(), version, newest });
        }
        if let Some(vacuumed) = self.vacuumed(table, version)? {
            return Err(vacuumed);
        }
        Ok(Contents::Snapshot(handle.at(version).await?))
    }

    /// The schema that a dataset's contract, or that of its quarantine, declares.
    fn declared_schema(&self, table: &str) -> Option<SchemaRef> {
        let specs = self.inner.catalog.specs();
        let table = table.rsplit('/').next().unwrap_or(table);
        let dataset = table.strip_suffix(QUARANTINE).unwrap_or(table);
        let spec = &specs.datasets.get(&DatasetName::new(dataset).ok()?)?.spec;
        if spec.source.sql.is_some() {
            return None;
        }
        Some(if dataset == table { Arc::new(contract_schema(&spec.contract)) } else { quarantine_schema() })
    }

    /// Whether a table holds a dataset's rows as they came.
    fn is_raw(&self, table: &str) -> bool {
        let table = table.rsplit('/').next().unwrap_or(table);
        let dataset = table.strip_suffix(RAW).and_then(|dataset| DatasetName::new(dataset).ok());
        dataset.is_some_and(|dataset| self.inner.catalog.specs().datasets.contains_key(&dataset))
    }

    /// The names that a query may use.
    fn names(&self) -> Result<Vec<String>, LakeError> {
        let specs = self.inner.catalog.specs();
        let mut names: BTreeSet<String> = specs.datasets.keys().map(ToString::to_string).collect();
        names.extend(self.list()?.into_iter().map(|state| state.newest.table));
        Ok(names.into_iter().collect())
    }
}

/// The branch's own table that stands in for one that a query names.
pub(crate) fn on_branch(branch: Option<&BranchRecord>, table: &str) -> Option<String> {
    let branch = branch?;
    let dataset = table.strip_suffix(QUARANTINE).or_else(|| table.strip_suffix(RAW)).unwrap_or(table);
    let is_there = branch.branch.tables.iter().any(|begun| begun.dataset.as_str() == dataset);
    is_there.then(|| branch_table(branch.branch.branch.as_str(), table))
}

fn register(session: &SessionContext, table: &str, provider: Arc<dyn TableProvider>) -> Result<(), QueryError> {
    session.register_table(TableReference::bare(table), provider)?;
    Ok(())
}

async fn register_views(session: &SessionContext, reads: &Reads) -> Result<(), QueryError> {
    for (name, sql) in &reads.views {
        register_view(session, name, sql).await?;
    }
    Ok(())
}
