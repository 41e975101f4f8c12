//! The feature store: what is served, kept up with the lake.

mod keeper;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::record_batch::RecordBatch;
use parking_lot::RwLock;
use serde_json::{Map, Value};
use tenon_company::Catalog;
use tenon_core::fact::{TableVersion, TrainingSet};
use tenon_core::spec::{DerivedViewSpec, FeatureViewSpec, Resource, SpecSet};
use tenon_core::{AsOf, Clock, Digest, FeatureViewName, ModelName, Timestamp};
use tenon_lake::Lake;
use tenon_query::RowsQuery;
use tenon_query::point_in_time::{PointInTimeError, Session, View, moments};

use crate::definition::{self, Definition};
use crate::derived::DerivedView;
use crate::online::{self, InRedis, Live, LiveView, NEVER, OnlineFile, Redis, RedisPlace, Shape, State, Whole};
use crate::plan::{DerivedViews, Plan};
use crate::{FeatureError, FeatureRef, OnlineRow, Selected, TrainingFrame, training};

/// So many committed rows may wait in memory before they are written without being asked.
const MANY_UNWRITTEN: usize = 1 << 17;

/// Where the online store is. It holds nothing that the lake does not: without it, it is built anew.
#[derive(Clone)]
pub enum OnlinePlace {
    /// In this file, and in memory.
    File(PathBuf),
    /// In a Redis or Valkey.
    Redis(RedisPlace),
}

/// What a feature store needs from outside.
pub struct FeatureStoreOptions {
    /// Where the online store is.
    pub online: OnlinePlace,
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
/// may a read ask. A read from before that is refused, not answered wrongly. Of a view with a feature of a lifetime, what
/// older rows say together is kept for each entity; in Redis, the rows themselves.
///
/// In Redis it is the same: what is committed is written there at once, rows and cursor together. Where Redis does not
/// answer, nothing but reads notice it: rows land, wait for a while, and are written or read from the lake when it is back.
#[derive(Clone)]
pub struct FeatureStore {
    inner: Arc<Inner>,
}

struct Inner {
    lake: Lake,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    place: Place,
    live: RwLock<Arc<Live>>,
    writer: tokio::sync::Mutex<Writer>,
}

/// Where what is committed is written.
enum Place {
    File(Arc<OnlineFile>),
    Redis(Arc<Redis>),
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
    /// [`FeatureError::InUse`], [`FeatureError::File`] and [`FeatureError::Address`]. A view that cannot be served does not keep others from it:
    /// reading it says why.
    pub async fn open(options: FeatureStoreOptions) -> Result<Self, FeatureError> {
        let FeatureStoreOptions { online, lake, catalog, clock } = options;
        let place = match online {
            OnlinePlace::File(path) => {
                Place::File(Arc::new(tokio::task::spawn_blocking(move || OnlineFile::open(&path)).await??))
            }
            OnlinePlace::Redis(place) => Place::Redis(Redis::open(&place, Arc::clone(&clock)).await?),
        };
        let inner =
            Inner { lake, catalog, clock, place, live: RwLock::default(), writer: tokio::sync::Mutex::default() };
        let store = Self { inner: Arc::new(inner) };
        store.refresh().await?;
        if let Place::Redis(redis) = &store.inner.place {
            tokio::spawn(keeper::keep(Arc::clone(redis), Arc::downgrade(&store.inner)));
        }
        Ok(store)
    }

    /// Computes a model's training set from the newest tables by `known_by`, using only what was known by then.
    ///
    /// # Errors
    /// Says which table, file, column or row stands in the way.
    pub async fn training_set(&self, model: &ModelName, known_by: Timestamp) -> Result<TrainingFrame, FeatureError> {
        let specs = self.specs();
        let tables = training::pin(&self.inner.lake, &specs, model, known_by).await?;
        training::frame(&self.inner.lake, &specs, &self.derived(&specs), model, known_by, tables).await
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
        let (lake, derived, tables) = (&self.inner.lake, self.derived(specs), record.tables.clone());
        let frame = training::frame(lake, specs, &derived, model, record.known_by, tables).await?;
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
        let specs = self.specs();
        let mut features = Vec::new();
        for view in views {
            features.extend(definition::refs(&definition::view(&specs, view)?));
        }
        self.point_in_time_under(&specs, &features, observations, decided_at, tables).await
    }

    /// The same for chosen features, under other specs than those applied now, such as those of the day.
    ///
    /// # Errors
    /// As [`FeatureStore::point_in_time`].
    pub async fn point_in_time_under(
        &self,
        specs: &SpecSet,
        features: &[FeatureRef],
        observations: &RecordBatch,
        decided_at: &str,
        tables: &[TableVersion],
    ) -> Result<RecordBatch, FeatureError> {
        let derived = self.derived(specs);
        training::join(&self.inner.lake, specs, &derived, features, observations, decided_at, tables).await
    }

    /// The tables that features are computed from, in their versions as of a moment; none where one of them holds nothing.
    ///
    /// # Errors
    /// As [`FeatureStore::point_in_time`].
    pub async fn tables_of(
        &self,
        specs: &SpecSet,
        features: &[FeatureRef],
        as_of: AsOf,
    ) -> Result<Option<Vec<TableVersion>>, FeatureError> {
        training::tables_of(&self.inner.lake, &Plan::of(specs, &self.derived(specs), features)?, specs, as_of).await
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

    /// What callers of a model send besides the entities' keys, each once: what its derived features read.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn request_columns(&self, model: &ModelName) -> Result<Vec<String>, FeatureError> {
        Ok(Definition::of(&self.specs(), model)?.request())
    }

    /// What each view means that a model reads, itself or through others, as `specs` declare them: the same digest is the same
    /// meaning. Two models' features are the same where their views are.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn meanings(
        &self,
        specs: &SpecSet,
        model: &ModelName,
    ) -> Result<BTreeMap<FeatureViewName, Digest>, FeatureError> {
        Ok(Definition::of(specs, model)?.meanings())
    }

    /// The features of a model exactly as `specs` declare them, those applied now or those of the day on which a version
    /// learnt. Views whose meaning has changed since are kept up beside today's, for as long as what is returned is held.
    ///
    /// # Errors
    /// [`FeatureError::NoModel`], [`FeatureError::NotServed`], and what the lake says where such a view must be read.
    pub async fn service(&self, specs: &Arc<SpecSet>, model: &ModelName) -> Result<Arc<Selected>, FeatureError> {
        let live = self.live();
        match live.serves(specs) {
            true => live.model(model),
            false => self.select_under(specs, &self.features_under(specs, model)?).await,
        }
    }

    /// Features to be read together as `specs` declare them.
    ///
    /// # Errors
    /// As [`FeatureStore::service`] and [`FeatureStore::select`].
    pub async fn select_under(
        &self,
        specs: &Arc<SpecSet>,
        features: &[FeatureRef],
    ) -> Result<Arc<Selected>, FeatureError> {
        if self.live().serves(specs) {
            return self.select(features);
        }
        let mut writer = self.inner.writer.lock().await;
        self.follow_specs(&mut writer).await?;
        let live = self.live();
        if live.serves(specs) {
            return live.chosen(features);
        }
        let plan = Plan::of(specs, &self.derived(specs), features)?;
        let kept = live.kept();
        let mut views = HashMap::new();
        for (name, _) in &plan.rows {
            if let Some(declared) = specs.feature_views.get(name) {
                views.insert(name.clone(), self.load(name, &declared.spec, &kept, &writer).await?);
            }
        }
        let new = views.values().filter(|view| kept.iter().all(|known| !Arc::ptr_eq(known, view)));
        let pinned = live.pinned.iter().cloned().chain(new.map(Arc::downgrade)).collect();
        let view = |name: &FeatureViewName| views.get(name).cloned().ok_or_else(|| FeatureError::NoView(name.clone()));
        let selected = Arc::new(Selected::of(plan, view)?);
        *self.inner.live.write() = Arc::new(live.with_pinned(pinned));
        Ok(selected)
    }

    /// The derived views of some specs, compiled: those that are served already are.
    fn derived(&self, specs: &SpecSet) -> DerivedViews {
        let live = self.live();
        match live.specs.as_deref().is_some_and(|served| std::ptr::eq(served, specs)) {
            true => live.derived.clone(),
            false => self.compile(specs),
        }
    }

    fn compile(&self, specs: &SpecSet) -> DerivedViews {
        let session = self.session();
        let compile = |(name, view): (&FeatureViewName, &Resource<DerivedViewSpec>)| {
            let compiled = DerivedView::compile(&session, specs, name, &view.spec).map(Arc::new);
            (
                name.clone(),
                compiled.map_err(|(feature, error)| format!("its feature `{feature}` does not work: {error}")),
            )
        };
        specs.derived_views.iter().map(compile).collect()
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

    /// Writes what is committed to the file, in one transaction, or to Redis. A Redis that does not answer is no error.
    ///
    /// # Errors
    /// [`FeatureError::File`]; what could not be written is kept for the next time.
    pub async fn flush(&self) -> Result<(), FeatureError> {
        let _writer = self.inner.writer.lock().await;
        self.write_out(true).await
    }

    /// A model's features for one set of entity keys as of `at`. Where a part of an entity's key is missing or null, so
    /// are its features; of an entity without rows, counts and sums are 0 and other features are null, as in training. Where
    /// the store of a view does not answer, its features are [`FeatureStatus::Unavailable`](crate::FeatureStatus::Unavailable).
    ///
    /// # Errors
    /// [`FeatureError::NoModel`], [`FeatureError::NotServed`], [`FeatureError::EntityType`], [`FeatureError::TooFarBack`].
    pub async fn online(
        &self,
        model: &ModelName,
        entities: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<OnlineRow, FeatureError> {
        self.live().model(model)?.row(entities, at).await
    }

    /// A model's features for many rows of entity columns, each as of its own moment in the column `at`.
    ///
    /// # Errors
    /// As [`FeatureStore::online`], and when a column is missing.
    pub async fn online_many(
        &self,
        model: &ModelName,
        entities: &RecordBatch,
        at: &str,
    ) -> Result<Vec<OnlineRow>, FeatureError> {
        self.live().model(model)?.rows(entities, at).await
    }

    /// Features to be read together, of one or several views.
    ///
    /// # Errors
    /// [`FeatureError::NoView`], [`FeatureError::NotServed`], [`FeatureError::NoFeature`], [`FeatureError::EntityTypes`].
    pub fn select(&self, features: &[FeatureRef]) -> Result<Arc<Selected>, FeatureError> {
        self.live().chosen(features)
    }

    /// The features of a model with the views that they are of, in order.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn features_of(&self, model: &ModelName) -> Result<Vec<FeatureRef>, FeatureError> {
        self.features_under(&self.specs(), model)
    }

    /// The same as `specs` declare them.
    ///
    /// # Errors
    /// As [`FeatureStore::feature_names`].
    pub fn features_under(&self, specs: &SpecSet, model: &ModelName) -> Result<Vec<FeatureRef>, FeatureError> {
        Ok(Definition::of(specs, model)?.refs())
    }

    /// Of rows that have landed in a dataset and were fed: how many are older than the newest that is served of their
    /// entity, by view. They count in windows, and no last value goes back to them. Views that cannot be read now are not in it.
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
            if let Some(older) = view.overtaken(&taken).await {
                overtaken.insert(view.shape.name.clone(), older);
            }
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

    /// Why a derived view cannot be computed; none: it can.
    pub(crate) fn not_compiled(&self, view: &FeatureViewName) -> Option<String> {
        match self.live().derived.get(view) {
            Some(compiled) => compiled.as_ref().err().cloned(),
            None => Some("it was applied a moment ago, and is not read yet".to_owned()),
        }
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
            _ if view.is_lost() || misses(applied, version) => self.read_again(view).await,
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
        match self.live().serves(&self.specs()) {
            true => Ok(()),
            false => self.serve_specs(writer).await,
        }
    }

    async fn serve_specs(&self, writer: &mut Writer) -> Result<(), FeatureError> {
        let (specs, live) = (self.specs(), self.live());
        let kept = live.kept();
        let mut views = BTreeMap::new();
        for (name, resource) in &specs.feature_views {
            let view = self.load(name, &resource.spec, &kept, writer).await;
            let why = |error| match error {
                FeatureError::NotServed { reason, .. } => reason,
                other => tenon_core::words::chain(&other),
            };
            views.insert(name.clone(), view.map_err(why));
        }
        let derived = self.compile(&specs);
        *self.inner.live.write() = Arc::new(Live::new(specs, views, derived, &kept));
        if let Place::Redis(redis) = &self.inner.place {
            redis.sweep_due.store(true, Ordering::SeqCst);
        }
        // Where nothing was served before, those who need earlier definitions have not asked for them yet.
        self.write_out(live.specs.is_some()).await
    }

    /// A view as it is served already, as the file or Redis has it, or as the lake has it.
    async fn load(
        &self,
        name: &FeatureViewName,
        spec: &FeatureViewSpec,
        kept: &[Arc<LiveView>],
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
        let is_it = |known: &&Arc<LiveView>| known.shape.name == *name && known.shape.definition == shape.definition;
        if let Some(known) = kept.iter().find(is_it) {
            return Ok(Arc::clone(known));
        }
        let redis = match &self.inner.place {
            Place::File(_) => None,
            Place::Redis(redis) => Some(InRedis::new(redis)),
        };
        let view = Arc::new(LiveView::new(shape, &spec.source, query, redis));
        if !self.take_up(&view).await? {
            self.read_again(&view).await?;
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

    /// Goes on from what the file or Redis holds of a view. False where that is not all that the lake has.
    async fn take_up(&self, view: &Arc<LiveView>) -> Result<bool, FeatureError> {
        let newest = self.inner.lake.version(&view.shape.dataset, AsOf::Latest).await?;
        let file = match (&self.inner.place, &view.redis) {
            (Place::File(file), _) => Arc::clone(file),
            (Place::Redis(_), at) => {
                return Ok(match at {
                    Some(at) => view.resume_in_redis(at, newest).await,
                    None => false,
                });
            }
        };
        let of = Arc::clone(view);
        let load = move || file.load(&of.stored_as(), |bytes| of.past(bytes));
        match tokio::task::spawn_blocking(load).await?? {
            Some(stored) if stored.record.applied == newest => {
                view.restore(stored, self.now());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Reads a view's recent rows from the newest version of its dataset's table, in place of those that it has. Where they
    /// belong into a Redis that does not answer, the keeper does it when it is back.
    async fn read_again(&self, view: &LiveView) -> Result<(), FeatureError> {
        if let Some(at) = view.redis.as_ref().filter(|at| !at.redis.link.is_up()) {
            view.lose(at);
            return Ok(());
        }
        let (whole, state) = self.whole(view).await?;
        match &view.redis {
            Some(at) => view.replace_in_redis(at, whole.rows, state).await,
            None => view.reset(&mut view.log(), whole, state),
        }
        Ok(())
    }

    /// A view from its horizon on, of the newest version of its dataset's table, read batch by batch.
    async fn whole(&self, view: &LiveView) -> Result<(Whole, State), FeatureError> {
        let failed = |source| FeatureError::View { view: view.shape.name.clone(), source };
        let dataset = view.shape.dataset.as_str();
        let Some(version) = self.inner.lake.version(dataset, AsOf::Latest).await? else {
            let nothing = State { applied: None, newest: i64::MIN, began: NEVER, horizon: i64::MIN };
            return Ok((view.nothing(), nothing));
        };
        let pins = [(dataset.to_owned(), version)];
        let source = view.source.trim().trim_end_matches(';');
        let event = quoted(&view.shape.view.event_time);
        let now = literal(self.now());
        let newest = format!("SELECT max({event}) AS moment FROM ({source}\n) AS source WHERE {event} <= {now}");
        let newest = self.moment(&newest, &pins).await?.map_err(failed)?.unwrap_or(i64::MIN);
        let began = self.moment(&first_known(&view.shape.view, source), &pins).await?.map_err(failed)?.unwrap_or(NEVER);
        let horizon = view.keep_from(newest);
        let needed = match horizon > EARLIEST && !view.shape.view.is_lifelong() {
            true => format!("SELECT * FROM ({source}\n) AS source WHERE {event} >= {}", literal(horizon)),
            false => source.to_owned(),
        };
        let mut whole = view.nothing();
        let take = |batch: RecordBatch| view.add(&mut whole, &batch, horizon).map_err(failed);
        self.inner.lake.query_each_at(&needed, &pins, take).await?;
        Ok((whole, State { applied: Some(version), newest, began, horizon }))
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

    /// Other readers of a Redis expect there what is committed; the file can wait.
    async fn flush_if_many(&self) -> Result<(), FeatureError> {
        if let Place::Redis(_) = self.inner.place {
            return self.write_out(true).await;
        }
        let kept = self.live().kept();
        let waiting: usize =
            kept.iter().map(|view| view.log().unwritten.iter().map(|(_, rows)| rows.len()).sum::<usize>()).sum();
        if waiting > MANY_UNWRITTEN { self.write_out(true).await } else { Ok(()) }
    }

    /// Writes what is committed; with `forget`, what is stored of views that nobody reads any more goes.
    async fn write_out(&self, forget: bool) -> Result<(), FeatureError> {
        let views = self.live().kept();
        let file = match &self.inner.place {
            Place::File(file) => Arc::clone(file),
            Place::Redis(_) => return self.write_to_redis(&views).await,
        };
        let known = forget.then(|| views.iter().map(|view| view.stored_as()).collect::<Vec<_>>());
        let writes = online::take_unwritten(&views);
        if writes.is_empty() {
            return Ok(());
        }
        let (writes, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = file.write(&writes, known.as_deref());
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
    if view.is_lost() {
        drop(log);
        ahead.iter().for_each(|rows| view.remove(rows));
        return false;
    }
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
