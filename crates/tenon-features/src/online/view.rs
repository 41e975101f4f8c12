//! One feature view in memory, ready to be read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tenon_core::spec::{FeatureViewSpec, Metric};
use tenon_core::{Digest, FeatureViewName, Span, Timestamp};
use tenon_query::RowsQuery;
use tenon_query::point_in_time::{Folding, KeyType, PointInTimeError, Rows, SourceRows, Timeline, View};

use super::past::{Whole, put_past};
use super::redis::InRedis;
use super::{Fetched, Stored, ViewRecord};
use crate::nearest::Vectors;
use crate::{FeatureError, definition};

/// How late a row may arrive, and how far back a read may ask: for so long beyond its time to live the store keeps each
/// row, counted from the view's newest event.
pub(crate) const SLACK: Span = Span::days(2);

/// Later than every moment.
pub(crate) const NEVER: i64 = i64::MAX;

const SHARDS: usize = 64;

pub(super) type Shard = HashMap<Box<[u8]>, Timeline>;

/// What a view is, worked out of its declaration once.
pub(crate) struct Shape {
    pub name: FeatureViewName,
    pub dataset: String,
    pub view: View,
    pub types: Vec<KeyType>,
    /// By what the nearest of each vector feature are found.
    pub metrics: Vec<Metric>,
    /// The columns of the dataset, for which the source is compiled.
    pub input: SchemaRef,
    /// The digest of the declaration, of the order of its features, which canonical JSON leaves out, and of the dataset's
    /// columns.
    pub definition: Digest,
}

impl Shape {
    pub(crate) fn new(
        name: &FeatureViewName,
        spec: &FeatureViewSpec,
        dataset: &SchemaRef,
        source: &Schema,
    ) -> Result<Self, PointInTimeError> {
        let view = View::new(spec)?;
        Ok(Self {
            name: name.clone(),
            dataset: spec.dataset.as_str().to_owned(),
            view,
            types: KeyType::all_of(source, &spec.entity)?,
            metrics: spec.vectors.values().map(|vector| vector.metric).collect(),
            input: Arc::clone(dataset),
            definition: definition::digest(&(
                spec.meaning(),
                spec.features.keys().collect::<Vec<_>>(),
                format!("{:?}", dataset.fields()),
            )),
        })
    }
}

/// One feature view: each entity's recent rows, and what of them has yet to be written. All of them are in memory, or the
/// rows that are not in Redis.
pub(crate) struct LiveView {
    pub shape: Shape,
    /// The view's source.
    pub source: String,
    query: RowsQuery,
    /// Where most of its rows are, where that is not here.
    pub redis: Option<InRedis>,
    /// How rows are folded that are too old to be asked about by themselves; none: they are forgotten, or, in Redis, kept.
    pub(super) folding: Option<Arc<Folding>>,
    pub(super) shards: Vec<RwLock<Shard>>,
    /// Every row whose event is at or after this moment is here. Raised before the first older row goes.
    horizon: AtomicI64,
    /// When the first of all rows was known, also of those that are forgotten; [`NEVER`]: there are none.
    began: AtomicI64,
    log: Mutex<Log>,
    /// What finds the nearest of its vectors.
    pub vectors: Vectors,
}

/// Where a view stands.
#[derive(Clone, Copy)]
pub(crate) struct State {
    /// As [`Log::applied`].
    pub applied: Option<u64>,
    /// As [`Log::newest`].
    pub newest: i64,
    /// As [`Log::began`].
    pub began: i64,
    /// Every row whose event is at or after this moment is there.
    pub horizon: i64,
}

/// What a view has taken in, and what of it has yet to be written. Rows are, in turn: fed ahead (in memory, not in the
/// lake), committed (in the lake; in memory, not in the file) and written. A crash loses the first two here, and the
/// cursor in the file says so.
pub(crate) struct Log {
    /// The version of the dataset's table up to which every row is in; none: no version.
    pub applied: Option<u64>,
    /// The newest event that is not in the future.
    pub newest: i64,
    /// When the first of all committed rows was known; [`NEVER`]: there are none.
    pub began: i64,
    /// Rows that were fed ahead of their commit.
    pub ahead: Vec<SourceRows>,
    /// Committed rows that are not in the file or in Redis, with the version in which they came.
    pub unwritten: Vec<(u64, Arc<SourceRows>)>,
    /// The entities whose past is not in the file as it is.
    pub folded: BTreeSet<Box<[u8]>>,
    /// The file's rows are to be replaced, not added to.
    pub replace: bool,
    /// The file's cursor is behind.
    pub stale: bool,
}

impl LiveView {
    /// A view without rows.
    pub(crate) fn new(shape: Shape, source: &str, query: RowsQuery, redis: Option<InRedis>) -> Self {
        let folding = if redis.is_none() { shape.view.kernel().folding() } else { None };
        Self {
            shape,
            source: source.to_owned(),
            query,
            redis,
            folding: folding.map(Arc::new),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            horizon: AtomicI64::new(i64::MIN),
            began: AtomicI64::new(NEVER),
            log: Mutex::new(Log {
                applied: None,
                newest: i64::MIN,
                began: NEVER,
                ahead: Vec::new(),
                unwritten: Vec::new(),
                folded: BTreeSet::new(),
                replace: true,
                stale: true,
            }),
            vectors: Vectors::default(),
        }
    }

    /// What the store calls it: its name with what it means, so that two definitions of one name stand side by side.
    pub(crate) fn stored_as(&self) -> String {
        format!("{}@{}", self.shape.name, &self.shape.definition.hex()[..16])
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    pub(crate) fn horizon(&self) -> i64 {
        self.horizon.load(Ordering::SeqCst)
    }

    /// Runs the view's source over rows of its dataset.
    pub(crate) async fn take(&self, rows: &[RecordBatch]) -> Result<SourceRows, FeatureError> {
        let view = || self.shape.name.clone();
        let rows = rows.iter().map(|batch| conformed(batch, &self.shape.input)).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|source| FeatureError::View { view: view(), source })?;
        let batches = self.query.run(&rows).await.map_err(|source| FeatureError::Source { view: view(), source })?;
        self.rows(&batches).map_err(|source| FeatureError::View { view: view(), source })
    }

    /// Reads what the view's source returned.
    pub(crate) fn rows(&self, batches: &[RecordBatch]) -> Result<SourceRows, PointInTimeError> {
        SourceRows::read(&self.shape.view, &self.shape.types, batches)
    }

    /// Takes rows in, so that reads see them. `now` keeps an event in the far future from pushing out everything else.
    pub(crate) fn insert(&self, log: &mut Log, rows: &SourceRows, now: i64) {
        let newest = rows.events().iter().copied().filter(|event| *event <= now).max();
        log.newest = log.newest.max(newest.unwrap_or(i64::MIN));
        let horizon = self.horizon();
        for row in (0..rows.len()).filter(|row| self.matters(rows.events()[*row], horizon)) {
            put(&mut self.shard(rows.key(row)).write(), rows, row);
        }
        self.vectors.changed(rows);
    }

    /// Replaces everything by a version of the dataset's table from the state's horizon on. Rows that were fed
    /// ahead stay. Reads see all of the old rows or all of the new.
    pub(crate) fn reset(&self, log: &mut Log, Whole { rows, pasts }: Whole, state: State) {
        let mut shards: Vec<_> = self.shards.iter().map(RwLock::write).collect();
        self.resume(log, state);
        shards.iter_mut().for_each(|shard| shard.clear());
        for rows in log.ahead.iter().chain([&rows]) {
            for row in (0..rows.len()).filter(|row| self.matters(rows.events()[*row], state.horizon)) {
                put(&mut shards[shard_of(rows.key(row))], rows, row);
            }
        }
        log.folded = pasts.keys().cloned().collect();
        for (key, past) in pasts {
            put_past(&mut shards[shard_of(&key)], key, past, self.width());
        }
        log.unwritten = vec![(state.applied.unwrap_or_default(), Arc::new(rows))];
        log.replace = true;
        log.stale = true;
        drop(shards);
        self.vectors.changed_all();
    }

    /// Takes rows out again that were put in.
    pub(crate) fn remove(&self, rows: &SourceRows) {
        for row in 0..rows.len() {
            let (event, known, values) = rows.row(row);
            let mut shard = self.shard(rows.key(row)).write();
            if let Some(timeline) = shard.get_mut(rows.key(row)) {
                timeline.remove(event, known, values);
                if timeline.is_empty() {
                    shard.remove(rows.key(row));
                }
            }
        }
        self.vectors.changed(rows);
    }

    /// Takes over what the file holds.
    pub(crate) fn restore(&self, stored: Stored, now: i64) {
        let mut log = self.log();
        let ViewRecord { applied, newest, began, horizon, .. } = stored.record;
        self.resume(&mut log, State { applied, newest, began, horizon });
        for (key, past) in stored.pasts {
            put_past(&mut self.shard(&key).write(), key, past, self.width());
        }
        stored.chunks.iter().for_each(|rows| self.insert(&mut log, rows, now));
        (log.replace, log.stale) = (false, false);
    }

    fn resume(&self, log: &mut Log, state: State) {
        log.applied = state.applied;
        log.newest = state.newest;
        log.began = state.began;
        self.horizon.store(state.horizon, Ordering::SeqCst);
        self.begin(log);
    }

    /// Takes rows that are committed into the log.
    pub(crate) fn commit(&self, log: &mut Log, rows: impl IntoIterator<Item = SourceRows>, version: u64) {
        for rows in rows {
            log.began = log.began.min(rows.began().unwrap_or(NEVER));
            self.fold_late(log, &rows);
            log.unwritten.push((version, Arc::new(rows)));
        }
        log.applied = Some(version);
        log.stale = true;
        self.begin(log);
        self.sweep(log);
    }

    /// Says when the view's history began, by the log.
    pub(crate) fn begin(&self, log: &Log) {
        let ahead = log.ahead.iter().filter_map(SourceRows::began).min().unwrap_or(NEVER);
        self.began.store(log.began.min(ahead), Ordering::SeqCst);
    }

    /// When the first of all rows was known, in microseconds; none: there are none.
    pub(crate) fn began(&self) -> Option<i64> {
        Some(self.began.load(Ordering::SeqCst)).filter(|began| *began < NEVER)
    }

    /// Whether it is kept in Redis, and Redis holds nothing of use.
    pub(crate) fn is_lost(&self) -> bool {
        self.redis.as_ref().is_some_and(InRedis::is_lost)
    }

    /// Reads one entity's rows as of `at` (microseconds), with what [`LiveView::began`] says.
    ///
    /// # Errors
    /// The earliest moment that can be served, where `at` lies before it.
    pub(crate) fn read<T>(
        &self,
        key: &[u8],
        at: i64,
        read: impl FnOnce(Rows<'_>, Option<i64>) -> T,
    ) -> Result<T, Timestamp> {
        let shard = self.shard(key).read();
        // Under the lock: a row that is gone from this shard went after the horizon had been raised.
        if let Some(from) = self.serves_from(self.horizon()).filter(|from| at < *from) {
            return Err(Timestamp::from_micros(from));
        }
        Ok(read(shard.get(key).map_or_else(Rows::none, Timeline::rows), self.began()))
    }

    /// The earliest moment that can be served, where all rows from `horizon` on are there; none: every one.
    pub(crate) fn serves_from(&self, horizon: i64) -> Option<i64> {
        let from = horizon.saturating_add(self.shape.view.ttl.as_micros()).saturating_sub(1);
        (horizon > i64::MIN).then_some(from)
    }

    /// The newest event of an entity that is in memory, in microseconds; none: it has no rows.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<i64> {
        self.shard(key).read().get(key).and_then(Timeline::newest)
    }

    /// A copy of an entity's rows that are in memory.
    pub(crate) fn held(&self, key: &[u8]) -> Option<Timeline> {
        self.shard(key).read().get(key).cloned()
    }

    /// Where the view stands, by its log.
    pub(crate) fn record(&self, log: &Log) -> ViewRecord {
        ViewRecord {
            definition: self.shape.definition,
            applied: log.applied,
            newest: log.newest,
            began: log.began,
            horizon: self.horizon(),
        }
    }

    /// Hands over the rows of entities, shard by shard, until there were `enough`; a shard that was begun is finished.
    pub(crate) fn each_entity(&self, enough: usize, mut take: impl FnMut(Rows<'_>)) {
        let mut seen = 0;
        for shard in &self.shards {
            if seen >= enough {
                break;
            }
            let shard = shard.read();
            seen += shard.len();
            shard.values().for_each(|timeline| take(timeline.rows()));
        }
    }

    /// What the rows of one entity that are in memory say.
    pub(crate) fn with_rows<T>(&self, key: &[u8], read: impl FnOnce(Rows<'_>) -> T) -> T {
        read(self.shard(key).read().get(key).map_or_else(Rows::none, Timeline::rows))
    }

    /// Hands over all entities that are in memory, each with its rows.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8], Rows<'_>)) {
        for shard in &self.shards {
            shard.read().iter().for_each(|(key, timeline)| take(key, timeline.rows()));
        }
    }

    /// How many of these rows, which are in, are older than the newest of their entity: they count in windows, and are not
    /// what is served as the last value. None where that cannot be found out now.
    pub(crate) async fn overtaken(self: &Arc<Self>, rows: &SourceRows) -> Option<usize> {
        let horizon = self.horizon();
        let keys = || (0..rows.len()).map(|row| rows.key(row).to_vec()).collect::<Vec<_>>();
        let fetched = Fetched::of([(self, keys)]).await;
        let mut overtaken = 0;
        for row in 0..rows.len() {
            let event = rows.events()[row];
            let newest = fetched.newest(self, rows.key(row)).ok()?;
            overtaken += usize::from(!self.matters(event, horizon) || newest.is_some_and(|newest| event < newest));
        }
        Some(overtaken)
    }

    /// How far back rows are kept when `newest` is the newest event: all of them where they matter for ever and cannot be folded.
    pub(crate) fn keep_from(&self, newest: i64) -> i64 {
        if self.shape.view.is_lifelong() && self.folding.is_none() {
            return i64::MIN;
        }
        newest.saturating_sub(self.shape.view.ttl.as_micros()).saturating_sub(SLACK.as_micros())
    }

    /// Raises the horizon in strides of half the slack, so that a sweep pays. True where it rose.
    pub(super) fn raise_horizon(&self, newest: i64) -> bool {
        if newest == i64::MIN {
            return false;
        }
        let target = self.keep_from(newest);
        let due = target.saturating_sub(self.horizon()) >= SLACK.as_micros() / 2;
        if due {
            self.horizon.store(target, Ordering::SeqCst);
        }
        due
    }

    /// Whether a row of this event says anything where nothing before `horizon` can be asked about.
    fn matters(&self, event: i64, horizon: i64) -> bool {
        self.folding.is_some() || event >= horizon
    }

    /// How many values a row has.
    pub(super) fn width(&self) -> usize {
        self.shape.view.columns.len()
    }

    pub(super) fn shard(&self, key: &[u8]) -> &RwLock<Shard> {
        &self.shards[shard_of(key)]
    }
}

/// The columns that the source is compiled for, whatever else the rows hold and in whatever order.
fn conformed(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, PointInTimeError> {
    let same =
        |(have, want): (&FieldRef, &FieldRef)| have.name() == want.name() && have.data_type() == want.data_type();
    let (have, want) = (rows.schema_ref().fields(), schema.fields());
    if have.len() == want.len() && have.iter().zip(want).all(same) {
        return Ok(rows.clone());
    }
    let column = |field: &FieldRef| match rows.column_by_name(field.name()) {
        Some(column) => Ok(cast(column, field.data_type())?),
        None => Err(PointInTimeError::NoColumn {
            column: field.name().clone(),
            known: have.iter().map(|field| field.name().clone()).collect(),
        }),
    };
    let columns = want.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let fields: Vec<_> = want.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn put(shard: &mut Shard, rows: &SourceRows, row: usize) {
    let (event, known, values) = rows.row(row);
    match shard.get_mut(rows.key(row)) {
        Some(timeline) => timeline.insert(event, known, values),
        None => {
            let mut timeline = Timeline::new(values.len());
            timeline.insert(event, known, values);
            shard.insert(rows.key(row).into(), timeline);
        }
    }
}

/// FNV-1a: a few nanoseconds for a short key, and nothing depends on its strength.
fn shard_of(key: &[u8]) -> usize {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 32) as usize % SHARDS
}

#[cfg(test)]
impl LiveView {
    /// Every row that is held, sorted: key, event, known, bits of the values.
    pub(crate) fn dump(&self) -> Vec<(Vec<u8>, i64, i64, Vec<u64>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            for (key, timeline) in shard.read().iter() {
                let rows = timeline.rows();
                for row in 0..timeline.len() {
                    let values = (0..self.shape.view.columns.len()).map(|column| rows.value(row, column).to_bits());
                    all.push((key.to_vec(), rows.events()[row], rows.known()[row], values.collect()));
                }
            }
        }
        all.sort();
        all
    }
}
