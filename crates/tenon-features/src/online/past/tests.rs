#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use proptest::collection::vec;
use proptest::prelude::*;
use tenon_query::point_in_time::{Evaluated, Rows, Timeline};

use super::super::tests::{day, feed, of, write};
use super::super::{LiveView, OnlineFile, State, put_back, take_unwritten};
use crate::fixture::{self, HOUR, flights};

const TAILS: [&str; 4] = ["N1", "N2", "N3", "N4"];

/// A view of twelve hours and of a lifetime, without rows.
async fn view() -> Arc<LiveView> {
    let of_lifetime = |aggregate: &str, more: &str| {
        format!(
            "ever_{aggregate} = {{ aggregate = \"{aggregate}\", column = \"arr_delay\", window = \"lifetime\"{more} }}\n"
        )
    };
    let plain = ["last", "first", "count", "sum", "mean", "min", "max", "std", "distinct", "age"];
    let mut features: String = plain.map(|aggregate| of_lifetime(aggregate, "")).concat();
    features.push_str(&of_lifetime("quantile", ", q = 0.3"));
    features.push_str(&of_lifetime("top_k", ", k = 2"));
    features.push_str("landings = { aggregate = \"count\" }\n");
    of(&fixture::specs(fixture::VIEW, "landings = { aggregate = \"count\" }\n", &features)).await
}

/// What is true of a view beside all rows that were committed.
struct Beside {
    view: Arc<LiveView>,
    /// The rows that each version brought.
    versions: Vec<RecordBatch>,
}

impl Beside {
    async fn nothing() -> Self {
        Self { view: view().await, versions: Vec::new() }
    }

    async fn land(&mut self, rows: RecordBatch) {
        feed(&self.view, &rows, self.versions.len() as u64).await;
        self.versions.push(rows);
    }

    async fn ahead(&self, rows: &RecordBatch) {
        let taken = self.view.take(std::slice::from_ref(rows)).await.unwrap();
        let mut log = self.view.log();
        self.view.insert(&mut log, &taken, i64::MAX);
        log.ahead.push(taken);
        self.view.begin(&log);
    }

    /// What was fed ahead is committed.
    fn accept(&mut self, rows: RecordBatch) {
        let mut log = self.view.log();
        let ahead = std::mem::take(&mut log.ahead);
        self.view.commit(&mut log, ahead, self.versions.len() as u64);
        drop(log);
        self.versions.push(rows);
    }

    /// What was fed ahead is taken out again.
    fn give_up(&self) {
        let mut log = self.view.log();
        std::mem::take(&mut log.ahead).iter().for_each(|rows| self.view.remove(rows));
        self.view.begin(&log);
    }

    /// Begins again from the file where that is as new as what is committed, and else from all rows.
    async fn reopen(&mut self, file: &OnlineFile) {
        self.view = view().await;
        let view = &self.view;
        let applied = self.versions.len().checked_sub(1).map(|version| version as u64);
        match file.load(&view.stored_as(), |bytes| view.past(bytes)).unwrap() {
            Some(stored) if stored.record.applied == applied => view.restore(stored, i64::MAX),
            _ => self.read_again(),
        }
    }

    fn read_again(&self) {
        let rows = self.view.rows(&self.versions).unwrap();
        let newest = rows.events().iter().copied().max().unwrap_or(i64::MIN);
        let horizon = self.view.keep_from(newest);
        let mut whole = self.view.nothing();
        self.versions.iter().for_each(|batch| self.view.add(&mut whole, batch, horizon).unwrap());
        let applied = self.versions.len().checked_sub(1).map(|version| version as u64);
        let state = State { applied, newest, began: rows.began().unwrap_or(i64::MAX), horizon };
        self.view.reset(&mut self.view.log(), whole, state);
    }

    /// Holds the view against all rows at a moment in hours; what is `ahead` counts, and nothing else is held.
    fn check(&self, ahead: Option<&RecordBatch>, now: i64) {
        let versions: Vec<_> = self.versions.iter().chain(ahead).cloned().collect();
        let rows = self.view.rows(&versions).unwrap();
        let kept = self.view.dump().len();
        let horizon = self.view.horizon();
        let committed = self.view.rows(&self.versions).unwrap();
        let recent = committed.known().iter().filter(|known| **known >= horizon).count();
        assert_eq!(kept, recent + rows.len() - committed.len(), "what is old is folded, and nothing else");
        let kernel = self.view.shape.view.kernel();
        let told = |rows: Rows<'_>, at: i64, began: Option<i64>| {
            let mut told = Vec::new();
            kernel.evaluator().evaluate(rows, at, began, |Evaluated { value, event_at, known_at, complete }| {
                told.push((value.map(f32::to_bits), event_at, known_at, complete));
            });
            told
        };
        for tail in TAILS {
            let key = self.view.rows(&[flights(&[(tail, 0, 0, 0.0)])]).unwrap().key(0).to_vec();
            let mut timeline = Timeline::new(1);
            for row in (0..rows.len()).filter(|row| rows.key(*row) == key) {
                let (event, known, values) = rows.row(row);
                timeline.insert(event, known, values);
            }
            assert_eq!(self.view.newest(&key), timeline.newest());
            for at in [now, now - 5, now - 40].map(|at| at * HOUR) {
                let read = self.view.read(&key, at, |rows, began| told(rows, at, began));
                assert_eq!(read, Ok(told(timeline.rows(), at, rows.began())), "{tail} at {at}");
            }
        }
    }
}

#[tokio::test]
async fn rows_do_not_pile_up_and_what_they_say_stays() {
    let mut world = Beside::nothing().await;
    for at in 0..40 {
        world.land(day(at)).await;
        world.check(None, at * 24 + 23);
    }
    // 12 hours of life, two days of slack, and at most one day until the next sweep.
    let (rows, kept) = (world.view.rows(&world.versions).unwrap().len(), world.view.dump().len());
    assert!(rows > 2000 && kept <= 2 * 84 * 3, "{kept} of {rows} rows are kept");
    let key = world.view.rows(&world.versions).unwrap().key(0).to_vec();
    assert!(world.view.read(&key, 30 * 24 * HOUR, |_, _| ()).is_err(), "long ago is refused");
    // Later than any other view would take it.
    let late = flights(&[("N1", 20, 25, 1e9), ("N3", 21, 21, 7.0)]);
    world.land(late.clone()).await;
    world.check(None, 40 * 24);
    let taken = world.view.take(&[late]).await.unwrap();
    assert_eq!(world.view.overtaken(&taken).await, Some(1), "N3 has no other row");
}

#[tokio::test]
async fn what_is_ahead_of_its_commit_leaves_no_trace_however_old_it_is() {
    let mut world = Beside::nothing().await;
    for at in 0..10 {
        world.land(day(at)).await;
    }
    // Some of them are equal to rows that are folded, and to rows that are not.
    for ahead in [day(2), day(9), flights(&[("N3", 1, 2, 5.0), ("N1", -900, -900, 6.0)])] {
        world.ahead(&ahead).await;
        world.check(Some(&ahead), 240);
        world.give_up();
        world.check(None, 240);
    }
    // Nothing is swept from under it.
    let ahead = day(9);
    world.ahead(&ahead).await;
    let horizon = world.view.horizon();
    world.land(day(13)).await;
    assert_eq!(world.view.horizon(), horizon);
    world.check(Some(&ahead), 13 * 24 + 23);
    world.accept(ahead);
    assert!(world.view.horizon() > horizon);
    world.check(None, 13 * 24 + 23);
}

#[tokio::test]
async fn pasts_that_are_damaged_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = OnlineFile::open(&folder.path().join("online.redb")).unwrap();
    let mut world = Beside::nothing().await;
    for at in 0..8 {
        world.land(day(at)).await;
    }
    let mut writes = take_unwritten(&[Arc::clone(&world.view)]);
    writes[0].pasts[0].1.pop();
    file.write(&writes, None).unwrap();
    let stored = world.view.stored_as();
    assert!(file.load(&stored, |bytes| world.view.past(bytes)).unwrap().is_none());
    put_back(std::slice::from_ref(&world.view), writes);
    write(&file, std::slice::from_ref(&world.view));
    assert_eq!(file.load(&stored, |bytes| world.view.past(bytes)).unwrap().unwrap().pasts.len(), 3);
    file.write(&[], Some(&[])).unwrap();
    world.read_again();
    write(&file, std::slice::from_ref(&world.view));
    world.reopen(&file).await;
    world.check(None, 8 * 24);
}

/// Rows as (aircraft, hours before now, hours until it was known, delay).
type Landings = Vec<(usize, i64, i64, i16)>;

#[derive(Debug, Clone)]
enum Step {
    Land(Landings),
    /// Rows are fed ahead; others land meanwhile, or the view is read again; then they land as well, or are given up.
    Ahead(Landings, Option<Landings>, bool),
    Flush,
    /// The disk refuses.
    Refused,
    /// The program ends, and begins again.
    Reopen,
    ReadAgain,
}

fn landings() -> impl Strategy<Value = Landings> {
    let ago = prop_oneof![8 => 0..90_i64, 1 => -3..0_i64, 1 => 90..900_i64];
    vec((0..3_usize, ago, prop_oneof![3 => 0..8_i64, 1 => 0..200_i64], -60..500_i16), 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => landings().prop_map(Step::Land),
        2 => (landings(), proptest::option::of(landings()), any::<bool>())
            .prop_map(|(rows, meanwhile, kept)| Step::Ahead(rows, meanwhile, kept)),
        3 => Just(Step::Flush),
        1 => Just(Step::Refused),
        2 => Just(Step::Reopen),
        1 => Just(Step::ReadAgain),
    ]
}

async fn lives(steps: Vec<(Step, i64)>) {
    let folder = tempfile::tempdir().unwrap();
    let file = OnlineFile::open(&folder.path().join("online.redb")).unwrap();
    let mut world = Beside::nothing().await;
    let mut now = 500;
    for (step, hours) in steps {
        now += hours;
        let rows = |landings: Landings| {
            let row = |(tail, ago, late, delay): (usize, i64, i64, i16)| {
                (TAILS[tail], now - ago, now - ago + late, f64::from(delay) / 3.0)
            };
            flights(&landings.into_iter().map(row).collect::<Vec<_>>())
        };
        match step {
            Step::Land(landings) => world.land(rows(landings)).await,
            Step::Ahead(landings, meanwhile, kept) => {
                let ahead = rows(landings);
                world.ahead(&ahead).await;
                match meanwhile {
                    Some(landings) => world.land(rows(landings)).await,
                    None => world.read_again(),
                }
                write(&file, std::slice::from_ref(&world.view));
                world.check(Some(&ahead), now);
                if kept { world.accept(ahead) } else { world.give_up() }
            }
            Step::Flush => write(&file, std::slice::from_ref(&world.view)),
            Step::Refused => {
                let views = [Arc::clone(&world.view)];
                put_back(&views, take_unwritten(&views));
            }
            Step::Reopen => world.reopen(&file).await,
            Step::ReadAgain => world.read_again(),
        }
        world.check(None, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// In whatever order rows land, are swept, written, refused and read again: nothing is lost, and nothing counts twice.
    #[test]
    fn what_is_held_is_what_was_committed(steps in vec((step(), 0..60_i64), 1..24)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lives(steps));
    }
}
