//! Fetching the rows of entities.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, cmd};
use tenon_query::point_in_time::{Rows, Timeline};
use tokio::time::Instant;

use super::{Down, InRedis, Known, LiveView, Redis, SLACK};

/// So many keys are fetched in one round trip; more take several, so that the server answers others in between.
const MOST_KEYS: usize = 4_096;

/// How long a read waits for a write that it has met to be settled, before it looks again.
const A_MOMENT: Duration = Duration::from_millis(1);

/// What a read needs of a view.
#[derive(Default)]
pub(crate) struct Found {
    /// The keys of entities, in order, each once.
    keys: Vec<Vec<u8>>,
    /// Their rows.
    rows: Vec<Option<Timeline>>,
    /// As [`LiveView::began`].
    pub began: Option<i64>,
    /// The earliest moment that can be served; none: every one.
    pub from: Option<i64>,
}

impl Found {
    /// An entity's rows.
    pub(crate) fn rows(&self, key: &[u8]) -> Rows<'_> {
        let at = self.keys.binary_search_by(|known| known.as_slice().cmp(key)).ok();
        at.and_then(|at| self.rows[at].as_ref()).map_or_else(Rows::none, Timeline::rows)
    }

    /// All rows, by entity.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Timeline> {
        self.rows.into_iter().flatten()
    }

    /// The two, of which the other has the greater keys and was read later.
    fn and(mut self, later: Self) -> Self {
        self.keys.extend(later.keys);
        self.rows.extend(later.rows);
        Self { began: later.began, from: self.from.max(later.from), ..self }
    }
}

/// Entities of one view: its keys in order, each once.
pub(crate) struct Wanted<'a> {
    pub view: &'a LiveView,
    pub at: &'a InRedis,
    pub keys: Vec<Vec<u8>>,
}

/// What is in memory beside what Redis holds, for some keys.
struct Beside {
    known: Arc<Known>,
    rows: Vec<Option<Timeline>>,
    began: Option<i64>,
    horizon: i64,
}

/// Why a view's rows were not found.
enum Miss {
    /// A write is under way: look again.
    Again,
    Lost(Down),
}

impl Redis {
    /// The rows of entities of several views: in one round trip, where they are not very many.
    pub(crate) async fn fetch(&self, wanted: Vec<Wanted<'_>>) -> Vec<Result<Found, Down>> {
        if wanted.iter().map(|wanted| wanted.keys.len()).sum::<usize>() <= MOST_KEYS {
            return self.fetch_at_once(wanted).await;
        }
        let mut found = Vec::with_capacity(wanted.len());
        for Wanted { view, at, keys } in wanted {
            let mut whole = Ok(Found::default());
            for some in keys.chunks(MOST_KEYS) {
                let piece = self.fetch_at_once(vec![Wanted { view, at, keys: some.to_vec() }]).await;
                whole = piece.into_iter().fold(whole, |whole, piece| Ok(whole?.and(piece?)));
            }
            found.push(whole);
        }
        found
    }

    /// One `MGET` of everything, again where a write came in between.
    async fn fetch_at_once(&self, wanted: Vec<Wanted<'_>>) -> Vec<Result<Found, Down>> {
        let deadline = Instant::now() + self.link.timeout;
        loop {
            let beside: Vec<Option<Beside>> = wanted.iter().map(Wanted::beside).collect();
            let replies = match self.ask(deadline, &wanted, &beside).await {
                Ok(replies) => replies,
                Err(down) => return wanted.iter().map(|_| Err(down.clone())).collect(),
            };
            let mut replies = replies.into_iter();
            let found = wanted.iter().zip(beside).map(|(wanted, beside)| {
                let beside = beside.ok_or_else(|| Miss::Lost(read_again()))?;
                let cursor = replies.next().flatten();
                let values = replies.by_ref().take(wanted.keys.len()).collect();
                wanted.found(beside, cursor, values)
            });
            let found: Vec<Result<Found, Miss>> = found.collect();
            let again = found.iter().any(|found| matches!(found, Err(Miss::Again)));
            if again && Instant::now() < deadline {
                tokio::time::sleep(A_MOMENT).await;
                continue;
            }
            return found.into_iter().zip(wanted).map(|(found, wanted)| wanted.concluded(found)).collect();
        }
    }

    /// For each view that is there: its cursor, then a value for each key.
    async fn ask(
        &self,
        deadline: Instant,
        wanted: &[Wanted<'_>],
        beside: &[Option<Beside>],
    ) -> Result<Vec<Option<Vec<u8>>>, Down> {
        let up = self.link.up()?;
        let keys: usize = wanted.iter().map(|wanted| wanted.keys.len() + 1).sum();
        let mut ask = Cmd::with_capacity(keys + 1, keys * 64);
        ask.arg("MGET");
        for (wanted, beside) in wanted.iter().zip(beside) {
            let Some(Beside { known, .. }) = beside else { continue };
            ask.arg(self.cursor_key(wanted.view));
            let mut key = self.entity_prefix(wanted.view, known.cursor.generation);
            let prefix = key.len();
            for entity in &wanted.keys {
                key.truncate(prefix);
                key.extend_from_slice(entity);
                ask.arg(&key[..]);
            }
        }
        if beside.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let mut connection = up.reads.clone();
        self.link.read(&up, deadline, ask.query_async(&mut connection)).await
    }

    /// The cursor of a view, as it stands in the store.
    pub(super) async fn stored(&self, view: &LiveView) -> Result<Option<Known>, Down> {
        let up = self.link.up()?;
        let mut connection = up.reads.clone();
        let mut ask = cmd("GET");
        ask.arg(self.cursor_key(view));
        let bytes: Option<Vec<u8>> = self.link.write(&up, ask.query_async(&mut connection)).await?;
        Ok(bytes.and_then(Known::read))
    }
}

impl Wanted<'_> {
    /// What is in memory of these entities; none where Redis holds nothing of use.
    fn beside(&self) -> Option<Beside> {
        // Under this lock no row moves from memory to Redis, as far as this process knows.
        let place = self.at.known.read();
        let known = Arc::clone(place.as_ref()?);
        Some(Beside {
            known,
            rows: self.keys.iter().map(|key| self.view.held(key)).collect(),
            began: self.view.began(),
            horizon: self.view.horizon(),
        })
    }

    /// The rows of the entities, where the cursor is the one that they were expected beside.
    fn found(&self, beside: Beside, cursor: Option<Vec<u8>>, values: Vec<Option<Vec<u8>>>) -> Result<Found, Miss> {
        if cursor.as_deref() != Some(&beside.known.bytes[..]) {
            return Err(self.another(&beside.known, cursor));
        }
        let width = self.view.shape.view.columns.len();
        let mut rows = Vec::with_capacity(values.len());
        for (value, beside_it) in values.into_iter().zip(beside.rows) {
            let stored = match value.map(|value| Timeline::from_bytes(&value, width)) {
                // Not what was written there.
                Some(None) => return Err(Miss::Lost(self.forget(&beside.known))),
                Some(Some(mut stored)) => {
                    stored.forget_before(beside.horizon);
                    Some(stored)
                }
                None => None,
            };
            rows.push(match (stored, beside_it) {
                (Some(mut stored), Some(beside_it)) => {
                    stored.merge(&beside_it);
                    Some(stored)
                }
                (stored, beside_it) => stored.or(beside_it),
            });
        }
        let expired = self.at.redis.now_if_expiring(self.view).map(|now| now.saturating_sub(SLACK.as_micros()));
        let from = self.view.serves_from(beside.horizon).max(expired);
        Ok(Found { keys: Vec::new(), rows, began: beside.began, from })
    }

    /// What the caller gets.
    fn concluded(self, found: Result<Found, Miss>) -> Result<Found, Down> {
        match found {
            Ok(found) => Ok(Found { keys: self.keys, ..found }),
            Err(Miss::Lost(down)) => Err(down),
            Err(Miss::Again) => {
                self.at.suspect.store(true, Ordering::SeqCst);
                self.at.redis.link.wake.notify_one();
                Err(Down("a write to it did not end in time".into()))
            }
        }
    }

    /// The cursor is not the one that was expected.
    fn another(&self, known: &Arc<Known>, cursor: Option<Vec<u8>>) -> Miss {
        if !self.at.known.read().as_ref().is_some_and(|now| Arc::ptr_eq(now, known)) {
            return Miss::Again;
        }
        let (was, is) = (&known.cursor, cursor.and_then(Known::read).map(|is| is.cursor));
        match is {
            // A write of which this process has not heard yet.
            Some(is) if is.generation == was.generation && is.record.applied >= was.record.applied => Miss::Again,
            _ => Miss::Lost(self.forget(known)),
        }
    }

    /// Redis does not hold what it should: the view is read again.
    fn forget(&self, known: &Arc<Known>) -> Down {
        let mut place = self.at.known.write();
        if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, known)) {
            *place = None;
            self.at.redis.link.wake.notify_one();
        }
        read_again()
    }
}

pub(super) fn read_again() -> Down {
    Down("it is being read again from the lake".into())
}
