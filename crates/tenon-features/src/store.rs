//! The feature store: what is served, kept up with the lake.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use parking_lot::RwLock;
use serde_json::{Map, Value};
use tenon_company::Catalog;
use tenon_core::fact::{TableVersion, TrainingSet};
use tenon_core::spec::{FeatureViewSpec, SpecSet};
use tenon_core::{AsOf, Clock, FeatureViewName, ModelName, Timestamp};
use tenon_lake::Lake;
use tenon_query::RowsQuery;
use tenon_query::point_in_time::{PointInTimeError, Session, View, moments};

use crate::definition::Definition;
use crate::online::{self, Live, LiveView, NEVER, OnlineFile, Shape, State};
use crate::{FeatureError, FeatureRef, OnlineRow, Selected, TrainingFrame, training};

/// So many committed rows may wait in memory before they are written without being asked.
const MANY_UNWRITTEN: usize = 1 << 17;

/// What a feature store needs from outside.
pub struct FeatureStoreOptions {
    /// The file of the embedded online store. It holds nothing that the lake does not: without it, it is built anew.
    pub online: PathBuf,
    /// Where feature views read.
    pub lake: Lake,
    /// The views and models.
    pub catalog: Catalog,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

/// The feature store: training sets from the lake, and the same features online. Cheap to clone.
///
/// # Life of a row online
/// Fed (readable at once, in memory) → committed (its version of the table is the view's cursor) → written (rows and
/// cursor in one transaction of the file). After a crash the cursor says whether the file is as new as the lake; where it
/// is not, the view is read again from the lake, so that no row is lost and none counts twice. A view keeps its rows for
/// its time to live and two days more, counted from its newest event: so late may a row arrive, and so far in the past
/// may a read ask. A read from before that is refused, not answered wrongly. A view with a feature of a lifetime keeps all of its
/// rows.
#[derive(Clone)]
pub struct FeatureStore {
    inner: Arc<Inner>,
}

struct Inner {
    lake: Lake,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    file: Arc<OnlineFile>,
    live: RwLock<Arc<Live>>,
    writer: tokio::sync::Mutex<Writer>,
}

/// What only one task at a time may do: change what is served.
#[derive(Default)]
struct Writer {
    /// Rows that were fed ahead of their commit, by dataset; a view that is applied meanwhile needs them too.
    ahead: HashMap<String, Vec<RecordBatch>>,
}

impl FeatureStore {
    /// Opens the online store and catches up with the lake.
    ///
    /// # Errors
    /// [`FeatureError::InUse`] and [`FeatureError::File`]. A view that cannot be served does not keep others from it:
    /// reading it says why.
    pub async fn open(options: FeatureStoreOptions) -> Result<Self, FeatureError> {
        let FeatureStoreOptions { online: path, lake, catalog, clock } = options;
        let file = tokio::task::spawn_blocking(move || OnlineFile::open(&path)).await??;
        let inner = Inner {
            lake,
            catalog,
            clock,
            file: Arc::new(file),
            live: RwLock::default(),
            writer: tokio::sync::Mutex::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.refresh().await?;
        Ok(store)
    }

    /// Computes a model's training set from the newest tables by `known_by`, using only what was known by then.
    ///
    /// # Errors
    /// Says which table, file, column or row stands in the way.
    pub async fn training_set(&self, model: &ModelName, known_by: Timestamp) -> Result<TrainingFrame, FeatureError> {
        let specs = self.specs();
        let tables = training::pin(&self.inner.lake, &specs, model, known_by).await?;
        training::frame(&self.inner.lake, &specs, model, known_by, tables).await
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.inner.lake
    }

    /// Computes a recorded training set again, from exactly its tables.
    ///
    /// # Errors
    /// [`FeatureError::NotReproduced`] when it is not the same, and as [`FeatureStore::training_set`].
    pub async fn training_set_again(
        &self,
        model: &ModelName,
        record: &TrainingSet,
    ) -> Result<TrainingFrame, FeatureError> {
        self.training_set_again_under(&self.specs(), model, record).await
    }

    /// The same under other specs than those applied now, such as those of the day.
    ///
    /// # Errors
    /// As [`FeatureStore::training_set_again`].
    pub async fn training_set_again_under(
        &self,
        specs: &SpecSet,
        model: &ModelName,
        record: &TrainingSet,
    ) -> Result<TrainingFrame, FeatureError> {
        let frame = training::frame(&self.inner.lake, specs, model, record.known_by, record.tables.clone()).await?;
        if frame.record.digest == record.digest {
            return Ok(frame);
        }
        let because = match frame.record.definition == record.definition {
            true => "the definitions are the same, so the tables are not what they were",
            false => "the model or its feature views are declared differently now",
        };
        Err(FeatureError::NotReproduced { recorded: record.digest, found: frame.record.digest, because })
    }

    /// The point-in-time join of views to observations that hold the entities' columns and a moment: the observations
    /// in their order, then one Float32 column a feature.
    ///
    /// # Errors
    /// When a view is not applied, a table is not named, or a column is missing.
    pub async fn point_in_time(
        &self,
        views: &[FeatureViewName],
        observations: &RecordBatch,
        decided_at: &str,
        tables: &[TableVersion],
    ) -> Result<RecordBatch, FeatureError> {
        training::join(&self.inner.lake, &self.specs(), views, observations, decided_at, tables).await
    }

    /// The features of a model, in order.
    ///
    /// # Errors
    /// When the model or one of its views is not applied, or two views share a feature's name.
    pub fn feature_names(&self, model: &ModelName) -> Result<Vec<String>, FeatureError> {
        Ok(Definition::of(&self.specs(), model)?.features())
    }

    /// The entity columns that a model's views need, each once.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn entity_columns(&self, model: &ModelName) -> Result<Vec<String>, FeatureError> {
        Ok(Definition::of(&self.specs(), model)?.entities())
    }

    /// Takes in rows that have just been accepted into a dataset at a table version: every view over it is updated at
    /// once. A version that is in already is left out; where versions in between were missed, the view is read again
    /// from the lake.
    ///
    /// # Errors
    /// When a view's source fails on the rows. Other views have taken them all the same.
    pub async fn feed(&self, dataset: &str, rows: &[RecordBatch], table_version: u64) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        self.follow_specs(&mut writer).await?;
        let views = self.live().over(dataset);
        let mut outcome = Ok(());
        for view in &views {
            outcome = outcome.and(self.feed_view(view, rows, table_version).await);
        }
        self.flush_if_many().await?;
        outcome
    }

    /// Takes in rows ahead of their commit: readable at once, and only in memory until [`FeatureStore::committed`] or
    /// [`FeatureStore::discard_ahead`].
    ///
    /// # Errors
    /// As [`FeatureStore::feed`].
    pub async fn feed_ahead(&self, dataset: &str, rows: &[RecordBatch]) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        self.follow_specs(&mut writer).await?;
        let mut outcome = Ok(());
        for view in &self.live().over(dataset) {
            match view.take(rows).await {
                Ok(taken) => {
                    let mut log = view.log();
                    view.insert(&mut log, &taken, self.now());
                    log.ahead.push(taken);
                    view.begin(&log);
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        writer.ahead.entry(dataset.to_owned()).or_default().extend_from_slice(rows);
        outcome
    }

    /// The rows that were fed ahead, all of them and nothing else, are what the lake took into this version of the table.
    ///
    /// # Errors
    /// When a view has missed versions in between and cannot be read again from the lake.
    pub async fn committed(&self, dataset: &str, table_version: u64) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        writer.ahead.remove(dataset);
        let mut outcome = Ok(());
        for view in &self.live().over(dataset) {
            if !take_ahead_as(view, table_version) {
                outcome = outcome.and(self.read_again(view).await);
            }
        }
        self.flush_if_many().await?;
        outcome
    }

    /// The rows that were fed ahead were not accepted: takes them out again.
    ///
    /// # Errors
    /// None at present.
    pub async fn discard_ahead(&self, dataset: &str) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        writer.ahead.remove(dataset);
        for view in &self.live().over(dataset) {
            let mut log = view.log();
            let ahead = std::mem::take(&mut log.ahead);
            view.begin(&log);
            drop(log);
            ahead.iter().for_each(|rows| view.remove(rows));
        }
        Ok(())
    }

    /// Reads every view over a dataset again from its newest version: rows went, or came without being fed.
    ///
    /// # Errors
    /// When a view cannot be read again from the lake. Others are all the same.
    pub async fn read_anew(&self, dataset: &str) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        self.follow_specs(&mut writer).await?;
        let mut outcome = Ok(());
        for view in &self.live().over(dataset) {
            outcome = outcome.and(self.read_again(view).await);
        }
        self.flush_if_many().await?;
        outcome
    }

    /// Serves what is applied now: new and changed views are read from the lake, and views that could not be served are
    /// tried again. [`FeatureStore::feed`] does it by itself when specs have changed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn refresh(&self) -> Result<(), FeatureError> {
        let mut writer = self.inner.writer.lock().await;
        self.serve_specs(&mut writer).await
    }

    /// Writes what is committed to the file, in one transaction.
    ///
    /// # Errors
    /// [`FeatureError::File`]; what could not be written is kept for the next time.
    pub async fn flush(&self) -> Result<(), FeatureError> {
        let _writer = self.inner.writer.lock().await;
        self.write_out().await
    }

    /// A model's features for one set of entity keys as of `at`. Where a part of an entity's key is missing or null, so
    /// are its features; of an entity without rows, counts and sums are 0 and other features are null, as in training.
    ///
    /// # Errors
    /// [`FeatureError::NoModel`], [`FeatureError::NotServed`], [`FeatureError::EntityType`], [`FeatureError::TooFarBack`].
    pub fn online(
        &self,
        model: &ModelName,
        entities: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<OnlineRow, FeatureError> {
        online::one(self.live().model(model)?, entities, at)
    }

    /// A model's features for many rows of entity columns, each as of its own moment in the column `at`.
    ///
    /// # Errors
    /// As [`FeatureStore::online`], and when a column is missing.
    pub fn online_many(
        &self,
        model: &ModelName,
        entities: &RecordBatch,
        at: &str,
    ) -> Result<Vec<OnlineRow>, FeatureError> {
        online::many(self.live().model(model)?, entities, at)
    }

    /// Features to be read together, of one or several views.
    ///
    /// # Errors
    /// [`FeatureError::NoView`], [`FeatureError::NotServed`], [`FeatureError::NoFeature`], [`FeatureError::EntityTypes`].
    pub fn select(&self, features: &[FeatureRef]) -> Result<Selected, FeatureError> {
        Selected::of(&self.live(), features)
    }

    /// The features of a model with the views that they are of, in order.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn features_of(&self, model: &ModelName) -> Result<Vec<FeatureRef>, FeatureError> {
        let specs = self.specs();
        let definition = Definition::of(&specs, model)?;
        let of = |(view, spec): &(&FeatureViewName, &FeatureViewSpec)| {
            let view = (*view).clone();
            let refs =
                spec.features.keys().map(move |feature| FeatureRef { view: view.clone(), feature: feature.clone() });
            refs.collect::<Vec<_>>()
        };
        Ok(definition.views.iter().flat_map(of).collect())
    }

    /// Of rows that have landed in a dataset and were fed: how many are older than the newest that is served of their
    /// entity, by view. They count in windows, and no last value goes back to them.
    ///
    /// # Errors
    /// When a view's source fails on the rows.
    pub async fn overtaken(
        &self,
        dataset: &str,
        rows: &[RecordBatch],
    ) -> Result<BTreeMap<FeatureViewName, usize>, FeatureError> {
        let mut overtaken = BTreeMap::new();
        for view in self.live().over(dataset) {
            let taken = view.take(rows).await?;
            overtaken.insert(view.shape.name.clone(), view.overtaken(&taken));
        }
        Ok(overtaken)
    }

    /// A session to plan queries in.
    pub(crate) fn session(&self) -> Session {
        self.inner.lake.session()
    }

    pub(crate) fn specs(&self) -> Arc<SpecSet> {
        self.inner.catalog.specs()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// A view as it is served, or why it is not.
    pub(crate) fn served(&self, view: &FeatureViewName) -> Result<Arc<LiveView>, String> {
        let served = self.live().views.get(view).cloned();
        served.unwrap_or_else(|| Err("it was applied a moment ago, and is not read yet".to_owned()))
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.inner.live.read())
    }

    fn now(&self) -> i64 {
        self.inner.clock.now().as_micros()
    }

    async fn feed_view(&self, view: &LiveView, rows: &[RecordBatch], version: u64) -> Result<(), FeatureError> {
        let applied = view.log().applied;
        match applied {
            Some(applied) if version <= applied => Ok(()),
            _ if misses(applied, version) => self.read_again(view).await,
            _ => {
                let taken = view.take(rows).await?;
                let mut log = view.log();
                view.insert(&mut log, &taken, self.now());
                view.commit(&mut log, [taken], version);
                Ok(())
            }
        }
    }

    async fn follow_specs(&self, writer: &mut Writer) -> Result<(), FeatureError> {
        match self.live().specs.as_ref().is_some_and(|specs| Arc::ptr_eq(specs, &self.specs())) {
            true => Ok(()),
            false => self.serve_specs(writer).await,
        }
    }

    async fn serve_specs(&self, writer: &mut Writer) -> Result<(), FeatureError> {
        let (specs, live) = (self.specs(), self.live());
        let mut views = BTreeMap::new();
        for (name, resource) in &specs.feature_views {
            let known = live.views.get(name).and_then(|known| known.as_ref().ok());
            let view = self.load(name, &resource.spec, known, writer).await;
            let why = |error| match error {
                FeatureError::NotServed { reason, .. } => reason,
                other => tenon_core::words::chain(&other),
            };
            views.insert(name.clone(), view.map_err(why));
        }
        *self.inner.live.write() = Arc::new(Live::new(specs, views));
        self.write_out().await
    }

    /// A view as it is served already, as the file has it, or as the lake has it.
    async fn load(
        &self,
        name: &FeatureViewName,
        spec: &FeatureViewSpec,
        known: Option<&Arc<LiveView>>,
        writer: &Writer,
    ) -> Result<Arc<LiveView>, FeatureError> {
        let failed = |source| FeatureError::View { view: name.clone(), source };
        let dataset = spec.dataset.as_str();
        let schema = self.inner.lake.schema(dataset).await?;
        let query = RowsQuery::plan(&self.session(), &spec.source, dataset, Arc::clone(&schema)).await;
        let query = query.map_err(|source| FeatureError::Source { view: name.clone(), source })?;
        if !query.is_row_by_row() {
            let reason = "its source looks at several rows at once; `tenon plan` shows where".to_owned();
            return Err(FeatureError::NotServed { view: name.clone(), reason });
        }
        let shape = Shape::new(name, spec, &schema, query.schema()).map_err(failed)?;
        if let Some(known) = known.filter(|known| known.shape.definition == shape.definition) {
            return Ok(Arc::clone(known));
        }
        let view = Arc::new(LiveView::new(shape, &spec.source, query));
        let newest = self.inner.lake.version(dataset, AsOf::Latest).await?;
        let file = Arc::clone(&self.inner.file);
        let stored = name.as_str().to_owned();
        match tokio::task::spawn_blocking(move || file.load(&stored)).await?? {
            Some((record, chunks)) if record.definition == view.shape.definition && record.applied == newest => {
                view.restore(&record, &chunks, self.now());
            }
            _ => self.read_again(&view).await?,
        }
        if let Some(rows) = writer.ahead.get(dataset) {
            let taken = view.take(rows).await?;
            let mut log = view.log();
            view.insert(&mut log, &taken, self.now());
            log.ahead.push(taken);
            view.begin(&log);
        }
        Ok(view)
    }

    /// Reads a view's recent rows from the newest version of its dataset's table, in place of those that it has.
    async fn read_again(&self, view: &LiveView) -> Result<(), FeatureError> {
        let failed = |source| FeatureError::View { view: view.shape.name.clone(), source };
        let dataset = view.shape.dataset.as_str();
        let Some(version) = self.inner.lake.version(dataset, AsOf::Latest).await? else {
            let nothing = State { applied: None, newest: i64::MIN, began: NEVER, horizon: i64::MIN };
            view.reset(&mut view.log(), Default::default(), nothing);
            return Ok(());
        };
        let pins = [(dataset.to_owned(), version)];
        let source = view.source.trim().trim_end_matches(';');
        let event = quoted(&view.shape.view.event_time);
        let now = literal(self.now());
        let newest = format!("SELECT max({event}) AS moment FROM ({source}\n) AS source WHERE {event} <= {now}");
        let newest = self.moment(&newest, &pins).await?.map_err(failed)?.unwrap_or(i64::MIN);
        let began = self.moment(&first_known(&view.shape.view, source), &pins).await?.map_err(failed)?.unwrap_or(NEVER);
        let horizon = view.keep_from(newest);
        let recent = match horizon > EARLIEST {
            true => format!("SELECT * FROM ({source}\n) AS source WHERE {event} >= {}", literal(horizon)),
            false => source.to_owned(),
        };
        let rows = view.rows(&self.inner.lake.query_at(&recent, &pins).await?).map_err(failed)?;
        view.reset(&mut view.log(), rows, State { applied: Some(version), newest, began, horizon });
        Ok(())
    }

    /// The one moment that a query returns in its column `moment`, in microseconds; none where that is null.
    async fn moment(
        &self,
        query: &str,
        pins: &[(String, u64)],
    ) -> Result<Result<Option<i64>, PointInTimeError>, FeatureError> {
        let told = self.inner.lake.query_at(query, pins).await?;
        let told: Result<Vec<_>, _> = told.iter().map(|batch| moments(batch, "moment")).collect();
        Ok(told.map(|told| told.iter().flatten().flatten().next()))
    }

    async fn flush_if_many(&self) -> Result<(), FeatureError> {
        let live = self.live();
        let views = live.views.values().flatten();
        let waiting: usize = views.map(|view| view.log().unwritten.iter().map(|rows| rows.len()).sum::<usize>()).sum();
        if waiting > MANY_UNWRITTEN { self.write_out().await } else { Ok(()) }
    }

    async fn write_out(&self) -> Result<(), FeatureError> {
        let live = self.live();
        let views: Vec<Arc<LiveView>> = live.views.values().flatten().cloned().collect();
        let known: Vec<String> = live.views.keys().map(|name| name.as_str().to_owned()).collect();
        let writes = online::take_unwritten(&views);
        if writes.is_empty() {
            return Ok(());
        }
        let file = Arc::clone(&self.inner.file);
        let (writes, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = file.write(&writes, &known);
            (writes, outcome)
        })
        .await?;
        outcome.inspect_err(|_| online::put_back(&views, writes))
    }
}

/// Before this moment a timestamp in nanoseconds cannot count, and every row is kept.
const EARLIEST: i64 = -9_000_000_000_000_000;

fn literal(micros: i64) -> String {
    // Nanoseconds end in 2262.
    format!("TIMESTAMP '{}'", Timestamp::from_micros(micros.clamp(EARLIEST, -EARLIEST)))
}

fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// The query for when the first row that can ever be used was known: as [`SourceRows::began`](tenon_query::point_in_time::SourceRows::began)
/// says of all rows.
fn first_known(view: &View, source: &str) -> String {
    let event = quoted(&view.event_time);
    let known = view.known_at.as_ref().map(|known| quoted(known));
    let moment = match &known {
        Some(known) => format!("CASE WHEN {known} > {event} THEN {known} ELSE {event} END"),
        None => event.clone(),
    };
    let needed = view.entity.iter().map(|column| quoted(column)).chain(known).chain([event]);
    let there: Vec<String> = needed.map(|column| format!("{column} IS NOT NULL")).collect();
    format!("SELECT min({moment}) AS moment FROM ({source}\n) AS source WHERE {}", there.join(" AND "))
}

/// Whether a version came in between that is not in; before the first, none is.
fn misses(applied: Option<u64>, version: u64) -> bool {
    version > applied.map_or(0, |applied| applied + 1)
}

/// What was fed ahead is now in this version. False where the view has missed versions and must be read again.
fn take_ahead_as(view: &LiveView, version: u64) -> bool {
    let mut log = view.log();
    let ahead = std::mem::take(&mut log.ahead);
    match log.applied {
        Some(applied) if version <= applied => {
            // The view has been read from the lake since, with these rows.
            ahead.iter().for_each(|rows| view.remove(rows));
            view.begin(&log);
            true
        }
        applied if misses(applied, version) => false,
        _ => {
            view.commit(&mut log, ahead, version);
            true
        }
    }
}
