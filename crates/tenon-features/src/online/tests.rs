#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::json;
use tenon_core::{FeatureViewName, Timestamp};
use tenon_query::RowsQuery;

use super::*;
use crate::FeatureStatus;
use crate::fixture::{self, HOUR, flights};

const FAR: i64 = i64::MAX;

async fn view() -> Arc<LiveView> {
    of(&fixture::company()).await
}

/// The view of the company as these specs declare it, without rows.
pub(super) async fn of(specs: &SpecSet) -> Arc<LiveView> {
    let name = FeatureViewName::new("aircraft_delay").unwrap();
    let spec = &specs.feature_views[&name].spec;
    let session = tenon_query::session(1 << 24, &std::env::temp_dir().join("tenon-tests")).unwrap();
    let schema = flights(&[]).schema();
    let query = RowsQuery::plan(&session, &spec.source, "flights", Arc::clone(&schema)).await.unwrap();
    let shape = Shape::new(&name, spec, &schema, query.schema()).unwrap();
    Arc::new(LiveView::new(shape, &spec.source, query, None))
}

/// What [`crate::FeatureStore::feed`] does with a version that comes next.
pub(super) async fn feed(view: &LiveView, rows: &RecordBatch, version: u64) {
    let taken = view.take(std::slice::from_ref(rows)).await.unwrap();
    let mut log = view.log();
    view.insert(&mut log, &taken, FAR);
    view.commit(&mut log, [taken], version);
}

pub(super) fn write(file: &OnlineFile, views: &[Arc<LiveView>]) {
    let known: Vec<String> = views.iter().map(|view| view.stored_as()).collect();
    file.write(&take_unwritten(views), Some(&known)).unwrap();
}

async fn reopened(file: &OnlineFile) -> (Option<u64>, Arc<LiveView>) {
    let restored = view().await;
    let stored = file.load(&restored.stored_as(), |_| None).unwrap().unwrap();
    let ViewRecord { applied, definition, .. } = stored.record;
    assert_eq!(definition, restored.shape.definition);
    restored.restore(stored, FAR);
    (applied, restored)
}

/// Day `day` of a stream with late and equal rows.
pub(super) fn day(day: i64) -> RecordBatch {
    let rows: Vec<_> = (0..24)
        .flat_map(|hour| {
            let at = day * 24 + hour;
            let tail = ["N1", "N2", "", "N4"][(at % 4) as usize];
            [(tail, at, at + at % 5, at as f64), (tail, at - 30, at, 1.0), (tail, at, at + at % 5, at as f64)]
        })
        .collect();
    flights(&rows)
}

#[tokio::test]
async fn a_row_from_the_future_or_the_deep_past_changes_no_answer() {
    let views = [view().await];
    feed(&views[0], &flights(&[("N1", 8, 8, 10.0), ("N1", 9, 12, 99.0), ("N1", 14, 14, 50.0)]), 1).await;
    let read = async |tail: &str, at: i64| one(&views[0], json!({ "tailnum": tail }), at * HOUR).await.unwrap();
    let row = read("N1", 11).await;
    assert_eq!(row.values, [Some(10.0), Some(10.0), Some(1.0)]);
    assert_eq!(row.known_at, vec![Some(Timestamp::from_micros(8 * HOUR)); 3]);
    assert_eq!(read("N1", 12).await.values[0], Some(99.0));
    assert_eq!(read("N1", 12).await.known_at[0], Some(Timestamp::from_micros(12 * HOUR)));
    assert_eq!(read("N1", 12).await.event_at[0], Some(Timestamp::from_micros(9 * HOUR)));
    let stale = read("N1", 40).await;
    assert_eq!(stale.values, [None, None, Some(0.0)]);
    assert_eq!(stale.statuses[..2], [FeatureStatus::OutsideMaxAge; 2]);
    let nobody = [FeatureStatus::NotFound, FeatureStatus::NotFound, FeatureStatus::IncompleteWindow];
    assert_eq!(read("N9", 11).await.statuses, nobody);
    assert_eq!(
        read("N9", 20).await.statuses[2],
        FeatureStatus::Present,
        "from 8 to 20 the history says that there was none"
    );
    let [last, mean, count] = read("N1", 12).await.statuses[..] else { panic!() };
    assert_eq!(
        (last, mean, count),
        (FeatureStatus::Present, FeatureStatus::IncompleteWindow, FeatureStatus::IncompleteWindow)
    );
}

#[tokio::test]
async fn keys_that_are_missing_give_nulls_and_keys_of_another_type_an_error() {
    let views = [view().await];
    let read = |entities: serde_json::Value| one(&views[0], entities, 0);
    assert_eq!(read(json!({})).await.unwrap().values, [None; 3]);
    assert_eq!(read(json!({ "tailnum": null })).await.unwrap().statuses, [FeatureStatus::NotFound; 3]);
    let told = read(json!({ "tailnum": 7 })).await.unwrap_err().to_string();
    assert_eq!(told, "`tailnum` names an entity by text, and the request has 7");
}

#[tokio::test]
async fn the_past_beyond_what_is_kept_is_refused_and_memory_stays_bounded() {
    let views = [view().await];
    for version in 0..30 {
        feed(&views[0], &day(version), version as u64).await;
    }
    // 12 hours of life, two days of slack, and at most one day until the next sweep.
    let rows = views[0].dump().len();
    assert!(rows <= 2 * 84 * 3, "{rows} rows are kept");
    let read = |day: i64| one(&views[0], json!({ "tailnum": "N1" }), day * 24 * HOUR);
    assert!(read(28).await.unwrap().values[0].is_some());
    assert!(matches!(read(20).await, Err(FeatureError::TooFarBack { .. })));
}

#[tokio::test]
async fn an_event_in_the_far_future_pushes_nothing_out() {
    let view = view().await;
    let rows = flights(&[("N1", 8, 8, 10.0), ("N1", 1_000_000, 1_000_000, 1.0)]);
    let taken = view.take(&[rows]).await.unwrap();
    view.insert(&mut view.log(), &taken, 9 * HOUR);
    assert_eq!(view.dump().len(), 2);
    let known = view.read(taken.key(0), 9 * HOUR, |rows, _| rows.events().len());
    assert_eq!(known, Ok(2));
}

#[tokio::test]
async fn after_a_crash_the_file_holds_what_was_committed_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    let (live, whole) = (view().await, view().await);
    let views = [Arc::clone(&live)];
    {
        let file = OnlineFile::open(&path).unwrap();
        assert!(matches!(OnlineFile::open(&path), Err(FeatureError::InUse(_))), "one process at a time");
        for version in 0..3 {
            feed(&live, &day(version), version as u64).await;
            feed(&whole, &day(version), version as u64).await;
            write(&file, &views);
        }
        // Rows ahead of their commit, and committed rows that nobody flushed: the crash comes before.
        let ahead = live.take(&[day(3)]).await.unwrap();
        live.insert(&mut live.log(), &ahead, FAR);
        live.log().ahead.push(ahead);
        write(&file, &views);
        feed(&live, &day(4), 3).await;
    }
    let file = OnlineFile::open(&path).unwrap();
    let (applied, restored) = reopened(&file).await;
    assert_eq!(applied, Some(2), "the cursor tells that version 3 is missing");
    let kept = whole.dump().into_iter().filter(|row| row.1 >= restored.horizon()).collect::<Vec<_>>();
    assert_eq!(restored.dump(), kept);
    assert!(!kept.is_empty());
}

#[test]
fn a_file_that_is_no_store_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    std::fs::write(&path, "not a database").unwrap();
    let told = OnlineFile::open(&path).err().unwrap().to_string();
    assert!(told.contains("online.redb failed; when its disk is sound, delete it"), "{told}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a database");
}

#[test]
fn what_an_earlier_version_of_the_program_wrote_goes() {
    use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let views: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("views_v1");
    transaction.open_table(views).unwrap().insert("aircraft_delay@1", &b"{}"[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let file = OnlineFile::open(&path).unwrap();
    assert!(file.load("aircraft_delay@1", |_| None).unwrap().is_none(), "the lake has it");
    file.write(&[], None).unwrap();
    drop(file);
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let mut tables: Vec<_> = transaction.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    tables.sort();
    assert_eq!(tables, ["chunks_v2", "pasts_v1", "views_v2"]);
}

#[tokio::test]
async fn what_a_disk_changed_in_the_file_is_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    let live = view().await;
    {
        let file = OnlineFile::open(&path).unwrap();
        for version in 0..2 {
            feed(&live, &day(version), version as u64).await;
            write(&file, &[Arc::clone(&live)]);
        }
    }
    let whole = std::fs::read(&path).unwrap();
    let stored = live.stored_as();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(509) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        // Refused, or not as new as the lake, or none the worse for it.
        let Ok(file) = OnlineFile::open(&path) else {
            refused += 1;
            continue;
        };
        let restored = view().await;
        if let Some(held) = file.load(&stored, |bytes| restored.past(bytes)).unwrap()
            && held.record.applied == Some(1)
        {
            restored.restore(held, FAR);
            assert_eq!(restored.dump(), live.dump(), "byte {at}");
        }
    }
    assert!(refused > 0, "something of it counts");
}

#[tokio::test]
async fn rows_that_were_not_accepted_leave_no_trace() {
    let view = view().await;
    feed(&view, &day(1), 1).await;
    let before = view.dump();
    let ahead = view.take(&[day(1), day(2)]).await.unwrap();
    view.insert(&mut view.log(), &ahead, 0);
    assert_ne!(view.dump(), before);
    view.remove(&ahead);
    assert_eq!(view.dump(), before);
}

#[tokio::test]
async fn the_beginning_of_the_history_comes_back_with_what_began_it() {
    let view = view().await;
    assert_eq!(view.began(), None);
    feed(&view, &flights(&[("N1", 8, 9, 1.0), ("", 1, 1, 1.0)]), 1).await;
    assert_eq!(view.began(), Some(9 * HOUR), "when it was known; a row of nobody begins nothing");
    let ahead = view.take(&[flights(&[("N2", 3, 4, 1.0)])]).await.unwrap();
    let mut log = view.log();
    view.insert(&mut log, &ahead, FAR);
    log.ahead.push(ahead);
    view.begin(&log);
    assert_eq!(view.began(), Some(4 * HOUR));
    log.ahead.clear();
    view.begin(&log);
    assert_eq!(view.began(), Some(9 * HOUR));
}

#[tokio::test]
async fn rows_are_read_by_name_whatever_their_order() {
    let (view, other) = (view().await, view().await);
    let rows = day(1);
    feed(&view, &rows, 1).await;
    feed(&other, &rows.project(&[3, 1, 0, 2]).unwrap(), 1).await;
    assert_eq!(view.dump(), other.dump());
    let told = view.take(&[rows.project(&[0, 1, 2]).unwrap()]).await.unwrap_err();
    assert_eq!(
        tenon_core::words::chain(&told),
        "feature view `aircraft_delay` cannot be computed: there is no column `arr_delay`; the columns are `tailnum`, \
         `landed_at`, `closed_at`"
    );
}

#[tokio::test]
async fn many_small_flushes_are_merged_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let file = OnlineFile::open(&folder.path().join("online.redb")).unwrap();
    let views = [view().await];
    for version in 0..150u64 {
        let at = version as i64 / 4;
        feed(&views[0], &flights(&[("N1", at, at, version as f64), ("N2", at, at, 1.0)]), version).await;
        write(&file, &views);
    }
    let stored = views[0].stored_as();
    let chunks = file.load(&stored, |_| None).unwrap().unwrap().chunks;
    assert!(chunks.len() <= 65, "{} chunks", chunks.len());
    let (applied, restored) = reopened(&file).await;
    assert_eq!(applied, Some(149));
    assert_eq!(restored.dump(), views[0].dump());
    file.write(&[], None).unwrap();
    assert!(file.load(&stored, |_| None).unwrap().is_some(), "who may still want them is not known");
    file.write(&[], Some(&[])).unwrap();
    assert!(file.load(&stored, |_| None).unwrap().is_none(), "views that are gone are forgotten");
}

#[tokio::test]
async fn a_reset_replaces_everything_but_rows_ahead() {
    let (view, fresh) = (view().await, view().await);
    feed(&view, &day(1), 1).await;
    let ahead = view.take(&[flights(&[("N7", 30, 30, 7.0)])]).await.unwrap();
    view.insert(&mut view.log(), &ahead, FAR);
    view.log().ahead.push(ahead);
    let rows = Whole { rows: view.take(&[day(1)]).await.unwrap(), ..Whole::default() };
    let state = State { applied: Some(5), newest: 48 * HOUR, began: 18 * HOUR, horizon: i64::MIN };
    view.reset(&mut view.log(), rows, state);
    feed(&fresh, &day(1), 1).await;
    feed(&fresh, &flights(&[("N7", 30, 30, 7.0)]), 2).await;
    assert_eq!(view.dump(), fresh.dump());
    assert_eq!(view.log().applied, Some(5));
}

fn live(view: &Arc<LiveView>) -> Live {
    let views = [(view.shape.name.clone(), Ok(Arc::clone(view)))].into();
    Live { specs: Some(Arc::new(fixture::company())), views, ..Live::default() }
}

const FEATURES: [&str; 3] = ["last_arr_delay", "mean_arr_delay_6h", "landings"];

/// All features of one entity.
async fn one(view: &Arc<LiveView>, entities: serde_json::Value, at: i64) -> Result<crate::OnlineRow, FeatureError> {
    let selected = live(view).select(&refs(&FEATURES)).unwrap();
    selected.row(entities.as_object().unwrap(), Timestamp::from_micros(at)).await
}

fn refs(features: &[&str]) -> Vec<FeatureRef> {
    let view = FeatureViewName::new("aircraft_delay").unwrap();
    features.iter().map(|feature| FeatureRef { view: view.clone(), feature: (*feature).to_owned() }).collect()
}

#[tokio::test]
async fn a_selection_reads_of_many_what_is_read_of_each() {
    let views = [view().await];
    for version in 0..3 {
        feed(&views[0], &day(version), version as u64).await;
    }
    let order = ["landings", "last_arr_delay"];
    let selected = live(&views[0]).select(&refs(&order)).unwrap();
    assert_eq!(selected.entities().collect::<Vec<_>>(), ["tailnum"]);
    let tails = [json!("N1"), json!("N9"), json!(null), json!("N4"), json!("")];
    let keys = selected.sent(tails.len(), |column| (column == "tailnum").then_some(&tails[..])).unwrap();
    for hour in [48, 60, 71, 80] {
        let at = Timestamp::from_micros(hour * HOUR);
        let columns = selected.read(&keys, at).await.unwrap();
        for (row, tail) in tails.iter().enumerate() {
            let one = one(&views[0], json!({ "tailnum": tail }), at.as_micros()).await.unwrap();
            for (column, place) in columns.iter().zip([2, 0]) {
                assert_eq!(
                    (column.values[row], column.statuses[row], column.event_at[row]),
                    (one.values[place], one.statuses[place], one.event_at[place]),
                    "{tail} at {hour}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_selection_as_of_each_moment_is_the_same_as_many() {
    let views = [view().await];
    feed(&views[0], &day(1), 1).await;
    let asked = flights(&[("N1", 30, 30, 0.0), ("N2", 40, 40, 0.0), ("", 41, 41, 0.0), ("N4", 47, 47, 0.0)]);
    let selected = live(&views[0]).select(&refs(&FEATURES)).unwrap();
    let columns = selected.read_each(&asked, "landed_at", Timestamp::from_micros(47 * HOUR)).await.unwrap();
    let rows = selected.rows(&asked, "landed_at").await.unwrap();
    for (row, one) in rows.iter().enumerate() {
        let read: Vec<_> = columns.iter().map(|column| column.values[row]).collect();
        assert_eq!((read, one.values.len()), (one.values.clone(), 3));
    }
    assert!(columns[0].values[0].is_some());
    let told =
        selected.read_each(&asked, "landed_at", Timestamp::from_micros(46 * HOUR)).await.unwrap_err().to_string();
    assert!(told.starts_with("row 4 asks as of 1970-01-02T23:00:00Z, which is in the future"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_selected_is_told() {
    let view = view().await;
    let of = |features: &[FeatureRef]| live(&view).select(features);
    let told = of(&refs(&["last_delay"])).err().unwrap().to_string();
    assert_eq!(
        told,
        "feature view `aircraft_delay` has no feature `last_delay`; it has `last_arr_delay`, `mean_arr_delay_6h`, `landings`"
    );
    let other = FeatureRef { view: FeatureViewName::new("other").unwrap(), feature: "x".to_owned() };
    assert!(matches!(of(&[other]), Err(FeatureError::NoView(_))));
    let selected = of(&refs(&["landings"])).unwrap();
    let keys = |values: &'static [serde_json::Value], rows: usize| selected.sent(rows, |_| Some(values));
    let values: &'static [serde_json::Value] = Box::leak(Box::new([json!("N1"), json!(7)]));
    let told = keys(values, 2).unwrap_err().to_string();
    assert_eq!(told, "`tailnum` names an entity by text, and the request has 7 in row 2");
    assert!(matches!(keys(values, 3), Err(FeatureError::NoEntity { .. })));
    assert!(matches!(selected.sent(2, |_| None), Err(FeatureError::NoEntity { .. })));
}

#[tokio::test]
async fn rows_that_came_too_late_to_be_the_last_are_counted() {
    let view = view().await;
    feed(&view, &flights(&[("N1", 8, 8, 10.0), ("N2", 8, 8, 1.0)]), 1).await;
    let late = flights(&[("N1", 7, 7, 99.0), ("N1", 8, 8, 10.0), ("N2", 9, 9, 2.0), ("N3", 1, 1, 5.0)]);
    feed(&view, &late, 2).await;
    let taken = view.take(&[late]).await.unwrap();
    assert_eq!(view.overtaken(&taken).await, Some(1));
    let row = one(&view, json!({ "tailnum": "N1" }), 9 * HOUR).await.unwrap();
    assert_eq!(
        row.values,
        [Some(10.0), Some((10.0 + 10.0 + 99.0) / 3.0), Some(3.0)],
        "the window has them, the last not"
    );
}
