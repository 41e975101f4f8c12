//! The online store in Redis or Valkey.
//!
//! `tenon:COMPANY:VIEW@DIGEST` (the digest is of what the view means) holds a view's [`Cursor`], as JSON: up to which version of the dataset's table its rows are there, and
//! of which generation they are. `tenon:COMPANY:VIEW@DIGEST:GENERATION:KEY` holds the rows of one entity ([`Timeline::to_bytes`]).
//! A view that is read again from the lake is written as a new generation, and served when the cursor names it; the keys
//! of earlier ones are swept up later.
//!
//! **What is true.** This process is the one that writes. Rows and cursor change in one `MULTI`, guarded by a `WATCH` of the
//! cursor, so that the cursor always says which rows are there. What is not there yet (rows that were fed ahead of their
//! commit, or could not be written) is in memory, as it is without Redis. A read takes a copy of that for its entities,
//! then fetches their rows together with the cursor in one `MGET`: where the cursor is the one that the copy was taken beside,
//! the two together are each row once. Where it is another, a write came in between, and it reads again; or Redis was
//! emptied, restored or written to by somebody else, and the view is read again from the lake.
//!
//! **When it is down** no read waits longer than the timeout, and those that follow do not wait at all. What is committed
//! meanwhile is kept up to a bound, and written when Redis is back; beyond that the view is read again from the lake.

mod link;
mod read;
mod sample;
mod sweep;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tenon_core::clock::SystemClock;
use tenon_core::{Clock, Span};

use self::link::Link;
pub(crate) use self::read::{Found, Wanted};
pub(crate) use self::write::Wrote;
use super::view::{LiveView, SLACK, State};
use super::{NEVER, ViewRecord};
use crate::FeatureError;

/// A key outlives its rows by so much, whatever the clocks of the two machines say.
const CLOCKS_APART: Span = Span::hours(1);

/// The company's time is the machine's where they are no farther apart. Where they are, as in a company that lives in the
/// past, Redis cannot count down its spans, and nothing expires.
const SAME_TIME: Span = Span::from_micros(60_000_000);

/// Where a Redis or Valkey is, and whose rows it takes.
#[derive(Clone)]
pub struct RedisPlace {
    /// `redis://HOST:PORT/DATABASE`, or `rediss://` with TLS.
    pub address: String,
    /// The user, of a server that has several.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// How long a read may take before the server counts as down.
    pub timeout: Duration,
    /// Whose rows these are: a part of every key. Two companies on one server need two names.
    pub company: String,
}

/// The server does not answer, or not as it should: why.
#[derive(Debug, Clone)]
pub(crate) struct Down(pub Arc<str>);

/// The online store of a company in Redis.
pub(crate) struct Redis {
    pub link: Link,
    /// What every key begins with.
    prefix: String,
    clock: Arc<dyn Clock>,
    last_generation: AtomicU64,
    /// Keys of earlier generations, or of views that are gone, may lie about.
    pub sweep_due: AtomicBool,
}

/// What the store holds of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// A part of the keys of its entities.
    pub generation: u64,
    #[serde(flatten)]
    pub record: ViewRecord,
}

/// A cursor with the bytes that stand in the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub cursor: Cursor,
    bytes: Vec<u8>,
}

impl Known {
    fn of(cursor: Cursor) -> Result<Self, Down> {
        let bytes = serde_json::to_vec(&cursor).map_err(|error| Down(error.to_string().into()))?;
        Ok(Self { cursor, bytes })
    }

    fn read(bytes: Vec<u8>) -> Option<Self> {
        Some(Self { cursor: serde_json::from_slice(&bytes).ok()?, bytes })
    }
}

/// A view whose rows are in Redis.
pub(crate) struct InRedis {
    pub redis: Arc<Redis>,
    /// What is there, as far as this process knows; none: nothing of use, and the view must be read again.
    known: RwLock<Option<Arc<Known>>>,
    /// A read found something else there.
    suspect: AtomicBool,
}

impl InRedis {
    pub(crate) fn new(redis: &Arc<Redis>) -> Self {
        Self { redis: Arc::clone(redis), known: RwLock::default(), suspect: AtomicBool::new(false) }
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().clone()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.known.read().is_none()
    }

    /// Whether the view is to be written to Redis, or read again, apart from rows that wait.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::SeqCst) || self.is_lost()
    }
}

impl Redis {
    /// # Errors
    /// [`FeatureError::Address`]. A server that does not answer is none.
    pub(crate) async fn open(place: &RedisPlace, clock: Arc<dyn Clock>) -> Result<Arc<Self>, FeatureError> {
        let link = Link::to(place)?;
        // The keeper goes on trying.
        let _ = link.connect().await;
        Ok(Arc::new(Self {
            link,
            prefix: format!("tenon:{}:", place.company),
            clock,
            last_generation: AtomicU64::new(0),
            sweep_due: AtomicBool::new(true),
        }))
    }

    fn cursor_key(&self, view: &LiveView) -> String {
        format!("{}{}", self.prefix, view.stored_as())
    }

    /// What the keys of a view's entities begin with.
    fn entity_prefix(&self, view: &LiveView, generation: u64) -> Vec<u8> {
        format!("{}{}:{generation:x}:", self.prefix, view.stored_as()).into_bytes()
    }

    /// A number that no generation had before: the machine's time, so that what an earlier process left half written is
    /// never taken for this.
    fn next_generation(&self) -> u64 {
        let now = u64::try_from(SystemClock.now().as_micros()).unwrap_or_default();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_generation.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        now.max(last.unwrap_or_default() + 1)
    }

    /// Until when (in microseconds) the rows of a view expire by themselves; none: never.
    fn now_if_expiring(&self, view: &LiveView) -> Option<i64> {
        let now = self.clock.now();
        let apart = (now - SystemClock.now()).as_micros().abs();
        (apart < SAME_TIME.as_micros() && !view.shape.view.is_lifelong()).then(|| now.as_micros())
    }
}

impl LiveView {
    /// Takes up what the store holds of the view, where that is all rows of a version of this declaration.
    pub(crate) async fn resume_in_redis(&self, at: &InRedis, newest: Option<u64>) -> bool {
        let Ok(Some(known)) = at.redis.stored(self).await else { return false };
        let ViewRecord { definition, applied, newest: event, began, horizon } = known.cursor.record;
        if definition != self.shape.definition || applied != newest {
            return false;
        }
        self.settle(at, Some(known), State { applied, newest: event, began, horizon });
        true
    }

    /// The store is known to hold this of the view, and memory nothing but rows that were fed ahead.
    fn settle(&self, at: &InRedis, known: Option<Known>, state: State) {
        let mut place = at.known.write();
        let mut log = self.log();
        self.reset(&mut log, Default::default(), state);
        log.unwritten.clear();
        (log.replace, log.stale) = (false, false);
        *place = known.map(Arc::new);
        at.suspect.store(false, Ordering::SeqCst);
    }

    /// Nothing that the store holds of the view is of use any more.
    pub(crate) fn lose(&self, at: &InRedis) {
        self.settle(at, None, State { applied: None, newest: i64::MIN, began: NEVER, horizon: i64::MIN });
    }
}

/// A pattern that these bytes match, and perhaps some others.
fn as_pattern(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if b"*?[]\\^".contains(byte) { b'?' } else { *byte }).collect()
}
