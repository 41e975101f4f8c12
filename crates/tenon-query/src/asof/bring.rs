//! Rows on their way to places.
//!
//! Rows that come in the order in which they may be seen go along the observations, batch by batch, and all that is asked
//! in between is where their entity stands: a few bytes an entity, that stay in a cache. Others are looked up one by one.

use super::fingers::Finger;
use super::keys::NOBODY;
use super::shard::NO_EVENT;
use super::table::Table;
use super::timelines::{Asked, Timelines};

/// How many observations may be passed for each row, on the whole; beyond that rows are brought one by one.
const PASSED: usize = 4;
/// No row of an entity waits.
const NONE: u32 = u32::MAX;

/// What a worker remembers from batch to batch.
#[derive(Default)]
pub(super) struct Memory {
    /// From which moment on each row may be seen.
    seen: Vec<i64>,
    /// For each order of the observations.
    walks: Vec<Walk>,
    /// For each shard the rows that go there, and their places.
    pub places: Vec<Vec<(u32, u32)>>,
}

/// How far a worker has come along the observations of an order.
#[derive(Default)]
struct Walk {
    /// How many observations have been passed.
    passed: usize,
    /// How many more may be.
    may_pass: usize,
    /// Empty before rows have come in order.
    entities: Vec<Standing>,
    /// Where entities were last asked for, by rows that came in no order.
    fingers: Vec<Finger>,
}

/// Where an entity stands.
#[derive(Clone, Copy)]
struct Standing {
    /// Its best row that waits for an observation; none between two batches.
    row: u32,
    /// The place of its next observation, or [`Asked::END`].
    next: u32,
}

/// Rows of a feature table.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    /// [`NOBODY`] where nobody may see the row.
    pub entities: &'a [u32],
    pub events: &'a [i64],
    pub known: Option<&'a [i64]>,
}

/// Finds the place of the first observation that may see each row. Rows that are too old by then are left out, and may be
/// where another row is better.
pub(super) fn bring(rows: Arrived<'_>, table: &Table, timelines: &Timelines, shards: usize, memory: &mut Memory) {
    let Memory { seen, walks, places } = memory;
    table.seen_from(rows.events, rows.known, seen);
    places.resize_with(shards, Vec::new);
    places.iter_mut().for_each(Vec::clear);
    walks.resize_with(walks.len().max(table.order + 1), Walk::default);
    let walk = &mut walks[table.order];
    let mut bringing = Bringing { rows, table, timelines, seen, places };
    match walk.to(timelines, seen) {
        Some(end) => bringing.together(walk, end),
        None => bringing.one_by_one(walk),
    }
}

impl Walk {
    /// Where rows lead that may be seen from these moments on: how many observations come before the last of them. None
    /// where they come in no order, or the way would be too long.
    fn to(&mut self, timelines: &Timelines, seen: &[i64]) -> Option<usize> {
        let (first, last) = (*seen.first()?, *seen.last()?);
        if !seen.is_sorted() {
            return None;
        }
        if self.entities.is_empty() {
            self.may_pass = timelines.asked.len() + timelines.entities();
        }
        self.may_pass += PASSED * seen.len();
        let end = timelines.before(last);
        let goes_on = !self.entities.is_empty()
            && (self.passed == 0 || timelines.asked.get(self.passed - 1).is_some_and(|asked| asked.time < first));
        let way = if goes_on { end - self.passed } else { timelines.entities() + end };
        self.may_pass = self.may_pass.checked_sub(way)?;
        if !goes_on {
            self.passed = 0;
            self.entities.clear();
            self.entities.extend(timelines.firsts.iter().map(|next| Standing { row: NONE, next: *next }));
        }
        Some(end)
    }
}

struct Bringing<'a> {
    rows: Arrived<'a>,
    table: &'a Table,
    timelines: &'a Timelines,
    seen: &'a [i64],
    places: &'a mut [Vec<(u32, u32)>],
}

impl Bringing<'_> {
    /// Goes along rows and observations in the order of their moments, up to the observation `end`. Of an entity's rows
    /// between two of its observations the best alone counts.
    fn together(&mut self, walk: &mut Walk, end: usize) {
        let Self { rows, timelines, seen, .. } = *self;
        let Walk { passed, entities, .. } = walk;
        let mut before = None;
        for (row, (entity, seen)) in rows.entities.iter().zip(seen).enumerate() {
            while let Some(asked) = timelines.asked[*passed..end].first().filter(|asked| asked.time < *seen) {
                let waiting =
                    std::mem::replace(&mut entities[asked.entity as usize], Standing { row: NONE, next: asked.next });
                self.put(waiting.row, *passed as u32);
                *passed += 1;
            }
            if *entity == NOBODY {
                continue;
            }
            let standing = &mut entities[*entity as usize];
            // A row that is seen later than those before happened later, too, unless it says itself when it was known.
            let is_best = before != Some(*seen) && rows.known.is_none();
            if is_best || standing.row == NONE || self.replaces(row, *standing) {
                standing.row = row as u32;
            }
            before = Some(*seen);
        }
        for (row, entity) in rows.entities.iter().enumerate().filter(|(_, entity)| **entity != NOBODY) {
            let standing = &mut entities[*entity as usize];
            if standing.row == row as u32 {
                standing.row = NONE;
                self.put(row as u32, standing.next);
            }
        }
    }

    /// Whether a row takes the place of one that waits. Where they tie by time, the one that waits is brought to its place:
    /// values are compared there.
    fn replaces(&mut self, row: usize, waiting: Standing) -> bool {
        let moments = |row: usize| (self.rows.events[row], self.rows.known.map(|known| known[row]));
        let order = moments(row).cmp(&moments(waiting.row as usize));
        if order.is_eq() {
            self.put(waiting.row, waiting.next);
        }
        order.is_ge()
    }

    /// Looks each row's place up. Rows of one place that stand together are held against each other first.
    fn one_by_one(&mut self, walk: &mut Walk) {
        let Self { rows, timelines, seen, .. } = *self;
        walk.fingers.resize(timelines.entities(), Finger::NOWHERE);
        let by_entity = timelines.by_entity();
        let mut standing = Standing { row: NONE, next: Asked::END };
        for (row, (entity, seen)) in rows.entities.iter().zip(seen).enumerate() {
            if *entity == NOBODY {
                continue;
            }
            let next = by_entity.first_from(*entity, *seen, &mut walk.fingers[*entity as usize]);
            if next != standing.next {
                self.put(standing.row, standing.next);
            } else if standing.row != NONE && !self.replaces(row, standing) {
                continue;
            }
            standing = Standing { row: row as u32, next };
        }
        self.put(standing.row, standing.next);
    }

    /// Puts a row, if there is one, to a place, if there is one. What is too old there is so at those after it.
    fn put(&mut self, row: u32, place: u32) {
        if row == NONE || place == Asked::END {
            return;
        }
        let event = self.rows.events[row as usize];
        if event != NO_EVENT && self.table.counts(|| self.timelines.asked[place as usize].time, event) {
            self.places[self.timelines.shard(place as usize)].push((row, place));
        }
    }
}
