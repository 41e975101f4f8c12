//! Writing: what is committed, to rows and cursor together; or a whole view, as a new generation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Pipeline, Value, pipe};
use tenon_query::point_in_time::{SourceRows, Timeline};

use super::link::Up;
use super::{CLOCKS_APART, Cursor, Down, InRedis, Known, LiveView, Redis, SLACK, State};

/// More entities than this are not written in one transaction, during which the server answers nobody else: the view is
/// read again from the lake instead.
const MOST_ENTITIES: usize = 20_000;

/// So many keys are asked for or set in one step of a long work.
const KEYS_AT_ONCE: usize = 1_000;

/// More rows than this do not wait in memory for a server that is down.
const MOST_WAITING: usize = 1 << 17;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// Redis holds all that is committed.
    All,
    /// Redis holds something else than it should, or there is too much to write: the view is to be read again.
    ReadAgain,
    /// Redis does not answer; the rows wait.
    NotYet,
}

impl LiveView {
    /// Writes what is committed and not in Redis. What an earlier write that was given up may have done is found out first:
    /// no row is written twice. Rows leave memory only when they are known to be there, so that this may be dropped at any
    /// `await`. Only one at a time may write.
    pub(crate) async fn write_to_redis(&self, at: &InRedis) -> Wrote {
        let Some(known) = at.known() else { return Wrote::ReadAgain };
        let (chunks, record) = {
            let log = self.log();
            (log.unwritten.clone(), self.record(&log))
        };
        let cursor = Cursor { generation: known.cursor.generation, record };
        match at.redis.append(self, &known, &chunks, cursor).await {
            Ok(Some(now)) => {
                let mut place = at.known.write();
                let mut log = self.log();
                chunks.iter().for_each(|(_, rows)| self.remove(rows));
                log.unwritten.drain(..chunks.len());
                log.stale = false;
                *place = Some(Arc::new(now));
                at.suspect.store(false, Ordering::SeqCst);
                Wrote::All
            }
            Ok(None) => Wrote::ReadAgain,
            Err(_) => {
                let waiting: usize = chunks.iter().map(|(_, rows)| rows.len()).sum();
                if waiting > MOST_WAITING {
                    self.lose(at);
                }
                Wrote::NotYet
            }
        }
    }

    /// Replaces everything that Redis holds of the view: `rows` are all rows from the horizon on. Where it does not work, the
    /// view is not served until it does.
    pub(crate) async fn replace_in_redis(&self, at: &InRedis, rows: SourceRows, state: State) {
        let record = super::ViewRecord {
            definition: self.shape.definition,
            applied: state.applied,
            newest: state.newest,
            began: state.began,
            horizon: state.horizon,
        };
        match at.redis.replace(self, &rows, record).await {
            Ok(known) => self.settle(at, Some(known), state),
            Err(_) => self.lose(at),
        }
        at.redis.sweep_due.store(true, Ordering::SeqCst);
        at.redis.link.wake.notify_one();
    }
}

impl Redis {
    /// Adds rows to their entities' and moves the cursor, both or neither. None where the store does not hold what it should,
    /// or the rows are of too many entities.
    async fn append(
        &self,
        view: &LiveView,
        known: &Known,
        chunks: &[(u64, Arc<SourceRows>)],
        cursor: Cursor,
    ) -> Result<Option<Known>, Down> {
        let horizon = cursor.record.horizon;
        let mut touched: BTreeMap<&[u8], Vec<(u64, &SourceRows, usize)>> = BTreeMap::new();
        for (version, rows) in chunks {
            for row in (0..rows.len()).filter(|row| rows.events()[*row] >= horizon) {
                touched.entry(rows.key(row)).or_default().push((*version, rows, row));
            }
        }
        if touched.len() > MOST_ENTITIES {
            return Ok(None);
        }
        let up = self.link.up()?;
        let mut connection = up.writes.clone();
        let prefix = self.entity_prefix(view, known.cursor.generation);
        let keys: Vec<Vec<u8>> = touched.keys().map(|key| [&prefix[..], *key].concat()).collect();
        let ask = self.ask_under_watch(view, &keys);
        let mut replies = flattened(self.link.write(&up, ask.query_async(&mut connection)).await?);
        let stored = replies.next().flatten().and_then(Known::read).map(|stored| stored.cursor);
        let Some(stored) = stored.filter(|stored| is_between(stored, &known.cursor, &cursor)) else {
            return Ok(None);
        };
        let now = Known::of(cursor)?;
        if stored == now.cursor {
            return Ok(Some(now));
        }
        let mut tell = pipe();
        tell.atomic();
        let width = view.shape.view.columns.len();
        for ((rows, key), value) in touched.into_values().zip(&keys).zip(replies) {
            let timeline =
                value.map_or_else(|| Some(Timeline::new(width)), |bytes| Timeline::from_bytes(&bytes, width));
            let Some(mut timeline) = timeline else { return Ok(None) };
            timeline.forget_before(horizon);
            for (_, rows, row) in
                rows.into_iter().filter(|(version, ..)| stored.record.applied.is_none_or(|in_it| in_it < *version))
            {
                let (event, known, values) = rows.row(row);
                timeline.insert(event, known, values);
            }
            self.set(&mut tell, view, key, &timeline);
        }
        tell.cmd("SET").arg(self.cursor_key(view)).arg(&now.bytes);
        self.told_if_watched(&up, &tell).await?;
        Ok(Some(now))
    }

    /// Asks for the cursor of a view and for keys. From here on, nothing is executed on this connection when the cursor has
    /// changed since: neither by another, nor by what an earlier connection had left on its way.
    fn ask_under_watch(&self, view: &LiveView, keys: &[Vec<u8>]) -> Pipeline {
        let cursor = self.cursor_key(view);
        let mut ask = pipe();
        ask.cmd("UNWATCH").ignore().cmd("WATCH").arg(&cursor).ignore().cmd("MGET").arg(&cursor);
        for some in keys.chunks(KEYS_AT_ONCE) {
            ask.cmd("MGET").arg(some);
        }
        ask
    }

    /// Writes a view as a new generation, and then the cursor that names it: under a watch, so that what an earlier try had left
    /// on its way does not name its own generation afterwards.
    async fn replace(&self, view: &LiveView, rows: &SourceRows, record: super::ViewRecord) -> Result<Known, Down> {
        let horizon = record.horizon;
        let now = Known::of(Cursor { generation: self.next_generation(), record })?;
        let up = self.link.up()?;
        let mut connection = up.writes.clone();
        self.link.write(&up, self.ask_under_watch(view, &[]).exec_async(&mut connection)).await?;
        let prefix = self.entity_prefix(view, now.cursor.generation);
        let mut order: Vec<usize> = (0..rows.len()).filter(|row| rows.events()[*row] >= horizon).collect();
        order.sort_by(|a, b| rows.key(*a).cmp(rows.key(*b)));
        let entities: Vec<&[usize]> = order.chunk_by(|a, b| rows.key(*a) == rows.key(*b)).collect();
        for some in entities.chunks(KEYS_AT_ONCE) {
            let mut tell = pipe();
            for entity in some {
                let mut timeline = Timeline::new(view.shape.view.columns.len());
                for row in *entity {
                    let (event, known, values) = rows.row(*row);
                    timeline.insert(event, known, values);
                }
                self.set(&mut tell, view, &[&prefix[..], rows.key(entity[0])].concat(), &timeline);
            }
            self.link.write(&up, tell.exec_async(&mut connection)).await?;
        }
        let mut tell = pipe();
        tell.atomic();
        tell.cmd("SET").arg(self.cursor_key(view)).arg(&now.bytes);
        self.told_if_watched(&up, &tell).await?;
        Ok(now)
    }

    /// Executes a transaction, unless somebody else wrote since the watch; the next try finds out what.
    async fn told_if_watched(&self, up: &Up, tell: &Pipeline) -> Result<(), Down> {
        let mut connection = up.writes.clone();
        match self.link.write(up, tell.query_async::<Value>(&mut connection)).await? {
            Value::Nil => Err(Down("its rows were changed by another at the same moment".into())),
            _ => Ok(()),
        }
    }

    /// Sets an entity's rows, for as long as they are of use.
    fn set(&self, tell: &mut Pipeline, view: &LiveView, key: &[u8], timeline: &Timeline) {
        let Some(newest) = timeline.rows().events().last() else {
            tell.cmd("DEL").arg(key).ignore();
            return;
        };
        let lives = |now: i64| {
            let until = [view.shape.view.ttl, SLACK, CLOCKS_APART]
                .iter()
                .fold(*newest, |at, span| at.saturating_add(span.as_micros()));
            until.saturating_sub(now) / 1_000
        };
        match self.now_if_expiring(view).map(lives) {
            Some(millis) if millis <= 0 => tell.cmd("DEL").arg(key),
            Some(millis) => tell.cmd("SET").arg(key).arg(timeline.to_bytes()).arg("PX").arg(millis),
            None => tell.cmd("SET").arg(key).arg(timeline.to_bytes()),
        }
        .ignore();
    }
}

/// Whether a cursor can be that of a write which began at `from` and was to come to `to`, wholly, in part or not at all.
fn is_between(stored: &Cursor, from: &Cursor, to: &Cursor) -> bool {
    let applied = stored.record.applied;
    stored.generation == from.generation && applied >= from.record.applied && applied <= to.record.applied
}

/// The values of several `MGET`s, one after the other.
fn flattened(replies: Vec<Vec<Option<Vec<u8>>>>) -> impl Iterator<Item = Option<Vec<u8>>> {
    replies.into_iter().flatten()
}
