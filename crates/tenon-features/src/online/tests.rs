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
    let specs = fixture::company();
    let name = FeatureViewName::new("aircraft_delay").unwrap();
    let spec = &specs.feature_views[&name].spec;
    let session = tenon_query::session(1 << 24, &std::env::temp_dir().join("tenon-tests")).unwrap();
    let schema = flights(&[]).schema();
    let query = RowsQuery::plan(&session, &spec.source, "flights", Arc::clone(&schema)).await.unwrap();
    let shape = Shape::new(&name, spec, &schema, query.schema()).unwrap();
    Arc::new(LiveView::new(shape, &spec.source, query))
}

/// What [`crate::FeatureStore::feed`] does with a version that comes next.
async fn feed(view: &LiveView, rows: &RecordBatch, version: u64) {
    let taken = view.take(std::slice::from_ref(rows)).await.unwrap();
    let mut log = view.log();
    view.insert(&mut log, &taken, FAR);
    log.unwritten.push(taken);
    (log.applied, log.stale) = (Some(version), true);
}

fn write(file: &OnlineFile, views: &[Arc<LiveView>]) {
    let known: Vec<String> = views.iter().map(|view| view.shape.name.as_str().to_owned()).collect();
    file.write(&take_unwritten(views), &known).unwrap();
}

async fn reopened(file: &OnlineFile) -> (Option<u64>, Arc<LiveView>) {
    let restored = view().await;
    let (record, chunks) = file.load("aircraft_delay").unwrap().unwrap();
    assert_eq!(record.definition, restored.shape.definition);
    restored.restore(&record, &chunks, FAR);
    (record.applied, restored)
}

/// Day `day` of a stream with late and equal rows.
fn day(day: i64) -> RecordBatch {
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
    let read = |tail: &str, at: i64| {
        let entities = json!({ "tailnum": tail });
        one(&views, entities.as_object().unwrap(), Timestamp::from_micros(at * HOUR)).unwrap()
    };
    let row = read("N1", 11);
    assert_eq!(row.values, [Some(10.0), Some(10.0), Some(1.0)]);
    assert_eq!(row.known_at, vec![Some(Timestamp::from_micros(8 * HOUR)); 3]);
    assert_eq!(read("N1", 12).values[0], Some(99.0));
    assert_eq!(read("N1", 12).known_at[0], Some(Timestamp::from_micros(12 * HOUR)));
    assert_eq!(read("N1", 12).event_at[0], Some(Timestamp::from_micros(9 * HOUR)));
    let stale = read("N1", 40);
    assert_eq!(stale.values, [None, None, Some(0.0)]);
    assert_eq!(stale.statuses[..2], [FeatureStatus::OutsideMaxAge; 2]);
    assert_eq!(read("N9", 11).statuses, [FeatureStatus::NotFound, FeatureStatus::NotFound, FeatureStatus::Present]);
}

#[tokio::test]
async fn keys_that_are_missing_give_nulls_and_keys_of_another_type_an_error() {
    let views = [view().await];
    let read = |entities: serde_json::Value| one(&views, entities.as_object().unwrap(), Timestamp::from_micros(0));
    assert_eq!(read(json!({})).unwrap().values, [None; 3]);
    assert_eq!(read(json!({ "tailnum": null })).unwrap().statuses, [FeatureStatus::NotFound; 3]);
    let told = read(json!({ "tailnum": 7 })).unwrap_err().to_string();
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
    let entities = json!({ "tailnum": "N1" });
    let read = |day: i64| one(&views, entities.as_object().unwrap(), Timestamp::from_micros(day * 24 * HOUR));
    assert!(read(28).unwrap().values[0].is_some());
    assert!(matches!(read(20), Err(FeatureError::TooFarBack { .. })));
}

#[tokio::test]
async fn an_event_in_the_far_future_pushes_nothing_out() {
    let view = view().await;
    let rows = flights(&[("N1", 8, 8, 10.0), ("N1", 1_000_000, 1_000_000, 1.0)]);
    let taken = view.take(&[rows]).await.unwrap();
    view.insert(&mut view.log(), &taken, 9 * HOUR);
    assert_eq!(view.dump().len(), 2);
    let known = view.read(taken.key(0), 9 * HOUR, |rows| rows.events().len());
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
    let (_, chunks) = file.load("aircraft_delay").unwrap().unwrap();
    assert!(chunks.len() <= 65, "{} chunks", chunks.len());
    let (applied, restored) = reopened(&file).await;
    assert_eq!(applied, Some(149));
    assert_eq!(restored.dump(), views[0].dump());
    file.write(&[], &[]).unwrap();
    assert!(file.load("aircraft_delay").unwrap().is_none(), "views that are gone are forgotten");
}

#[tokio::test]
async fn a_reset_replaces_everything_but_rows_ahead() {
    let (view, fresh) = (view().await, view().await);
    feed(&view, &day(1), 1).await;
    let ahead = view.take(&[flights(&[("N7", 30, 30, 7.0)])]).await.unwrap();
    view.insert(&mut view.log(), &ahead, FAR);
    view.log().ahead.push(ahead);
    let rows = view.take(&[day(1)]).await.unwrap();
    view.reset(&mut view.log(), rows, Some(5), 48 * HOUR, i64::MIN);
    feed(&fresh, &day(1), 1).await;
    feed(&fresh, &flights(&[("N7", 30, 30, 7.0)]), 2).await;
    assert_eq!(view.dump(), fresh.dump());
    assert_eq!(view.log().applied, Some(5));
}
