//! The property: whatever comes in whatever order, what is read online is what the join says of the lake.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Float32Type;
use arrow::record_batch::RecordBatch;
use proptest::collection::vec;
use proptest::prelude::*;
use tenon_core::fact::TableVersion;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_core::{AsOf, DatasetName, FeatureViewName, Timestamp};
use tenon_features::{FeatureRef, FeatureStore};

use crate::World;
use crate::fixture::{HOUR, flights};

/// Every aggregate over every kind of window, and several columns.
fn everything() -> String {
    let of_column =
        ["last", "first", "count", "sum", "mean", "min", "max", "std", "distinct", "quantile", "top_k", "age"];
    let windows = [
        "\"5h\"",
        "\"12h\"",
        "\"lifetime\"",
        "{ tumbling = \"6h\" }",
        "{ tumbling = \"5h\", origin = \"2013-01-01T03:00:00Z\" }",
        "{ session = \"2h\" }",
    ];
    let mut text = "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nknown_at = \"closed_at\"\nttl = \"12h\"\n\
         dataset = \"flights\"\nsource = \"SELECT tailnum, landed_at, closed_at, arr_delay FROM flights\"\n[features]\n"
        .to_owned();
    for (at, window) in windows.iter().enumerate() {
        for aggregate in of_column {
            let more = match aggregate {
                "quantile" => ", q = 0.9",
                "top_k" => ", k = 1",
                _ => "",
            };
            let rest = format!("aggregate = \"{aggregate}\", window = {window}{more}");
            text.push_str(&format!("{aggregate}_{at} = {{ column = \"arr_delay\", {rest} }}\n"));
        }
        for aggregate in ["count", "age", "complete", "rate"] {
            // A rate is of a window with a length.
            if aggregate != "rate" || !(window.contains("lifetime") || window.contains("session")) {
                text.push_str(&format!(
                    "{aggregate}_of_rows_{at} = {{ aggregate = \"{aggregate}\", window = {window} }}\n"
                ));
            }
        }
    }
    text
}

/// The company with a second view, of everything, and one without what is kept for ever.
fn company() -> SpecSet {
    let mut files = crate::fixture::files();
    let file = |name: &str, text: String| SpecFile { path: format!("pods/arrivals/features/{name}.toml"), text };
    files.push(file("everything", everything()));
    let forgetful =
        everything().lines().filter(|line| !line.contains("lifetime")).map(|line| format!("{line}\n")).collect();
    files.push(file("forgetful", forgetful));
    SpecSet::read(&files).unwrap()
}

const VIEWS: [&str; 3] = ["aircraft_delay", "everything", "forgetful"];

const TAILS: [&str; 5] = ["N1", "N2", "N3", "", "N4"];
/// The hour in which it begins.
const START: i64 = 200;

/// A landing: the aircraft, hours before now (also some from the future, and some long past), hours until it was known, delay.
type Landing = (usize, i64, i64, Option<i16>);

#[derive(Debug, Clone)]
enum Step {
    /// Rows land and are fed.
    Land(Vec<Landing>),
    /// The rows of an earlier step land once more, as another batch.
    Again(usize),
    /// Rows are fed ahead of their commit; then they land, or they are given up.
    Ahead(Vec<Landing>, bool),
    /// Rows land, and nobody feeds them.
    Missed(Vec<Landing>),
    /// What is committed is written.
    Flush,
    /// The program ends, and begins again from its store.
    Restart,
}

fn landings() -> impl Strategy<Value = Vec<Landing>> {
    let ago = prop_oneof![8 => 0..50_i64, 1 => -3..0_i64, 1 => 60..300_i64];
    vec((0..TAILS.len(), ago, 0..8_i64, proptest::option::weighted(0.9, -60..500_i16)), 1..8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => landings().prop_map(Step::Land),
        1 => (0..4_usize).prop_map(Step::Again),
        3 => (landings(), any::<bool>()).prop_map(|(rows, kept)| Step::Ahead(rows, kept)),
        1 => landings().prop_map(Step::Missed),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

fn rows(landings: &[Landing], now: i64) -> RecordBatch {
    let row = |(tail, ago, late, delay): &Landing| {
        let event = now - ago;
        (TAILS[*tail], event, event + late, delay.map_or(f64::NAN, |delay| f64::from(delay) / 3.0))
    };
    flights(&landings.iter().map(row).collect::<Vec<_>>())
}

/// Every aircraft, and one that nobody knows, at some moments up to now.
fn observations(now: i64) -> RecordBatch {
    let asked = [0, 1, 7, 30].map(|ago| now - ago);
    let all = || asked.iter().flat_map(|at| ["N1", "N2", "N3", "N4", "N99"].map(|tail| (tail, *at)));
    let moments: TimestampMicrosecondArray = all().map(|(_, at)| Some(at * HOUR)).collect();
    RecordBatch::try_from_iter([
        ("tailnum", Arc::new(all().map(|(tail, _)| Some(tail)).collect::<StringArray>()) as ArrayRef),
        ("decided_at", Arc::new(moments.with_timezone("UTC"))),
    ])
    .unwrap()
}

async fn compare(world: &World, store: &FeatureStore, now: i64) -> Result<(), TestCaseError> {
    let asked = observations(now);
    let dataset = DatasetName::new("flights").unwrap();
    let Some(version) = world.lake.version("flights", AsOf::Latest).await.unwrap() else { return Ok(()) };
    let tables = [TableVersion { dataset, version }];
    for view in VIEWS.map(|view| FeatureViewName::new(view).unwrap()) {
        let names = world.catalog.specs().feature_views[&view].spec.features.keys().cloned().collect::<Vec<_>>();
        let features: Vec<_> = names.into_iter().map(|feature| FeatureRef { view: view.clone(), feature }).collect();
        let online = store.select(&features).unwrap();
        let online = online.read_each(&asked, "decided_at", Timestamp::from_micros(now * HOUR)).await.unwrap();
        let joined = store.point_in_time(&[view], &asked, "decided_at", &tables).await.unwrap();
        for (at, (feature, column)) in features.iter().zip(&online).enumerate() {
            let offline = joined.column(2 + at).as_primitive::<Float32Type>();
            let bits =
                |values: Vec<Option<f32>>| values.into_iter().map(|value| value.map(f32::to_bits)).collect::<Vec<_>>();
            prop_assert_eq!(bits(offline.iter().collect()), bits(column.values.clone()), "{}", feature);
        }
    }
    Ok(())
}

/// Goes through steps, each so many hours after the one before: in a few days, what is old is swept.
async fn lives(world: World, steps: Vec<(Step, i64)>) -> Result<(), TestCaseError> {
    world.catalog.replace(company());
    let mut store = world.store("online").await;
    let mut landed: Vec<RecordBatch> = Vec::new();
    let mut now = START;
    for (number, (step, hours)) in steps.into_iter().enumerate() {
        now += hours;
        world.clock.advance_to(Timestamp::from_micros(now * HOUR));
        let name = format!("step {number}");
        match step {
            Step::Land(landings) => {
                let rows = rows(&landings, now);
                let (version, accepted) = world.write("flights", &name, rows.clone()).await;
                store.feed("flights", &accepted, version).await.unwrap();
                landed.push(rows);
            }
            Step::Again(before) => {
                let Some(rows) = landed.get(before) else { continue };
                let (version, accepted) = world.write("flights", &name, rows.clone()).await;
                store.feed("flights", &accepted, version).await.unwrap();
                // And the news of it comes twice.
                store.feed("flights", &accepted, version).await.unwrap();
            }
            Step::Ahead(landings, kept) => {
                let rows = rows(&landings, now);
                store.feed_ahead("flights", std::slice::from_ref(&rows)).await.unwrap();
                if kept {
                    let (version, _) = world.write("flights", &name, rows).await;
                    store.committed("flights", version).await.unwrap();
                } else {
                    store.discard_ahead("flights").await.unwrap();
                }
            }
            Step::Missed(landings) => {
                world.write("flights", &name, rows(&landings, now)).await;
                // The next one that is fed finds the gap.
                let (version, accepted) =
                    world.write("flights", &format!("{name} b"), rows(&[(0, 1, 0, Some(1))], now)).await;
                store.feed("flights", &accepted, version).await.unwrap();
            }
            Step::Flush => store.flush().await.unwrap(),
            Step::Restart => {
                if number % 2 == 0 {
                    store.flush().await.unwrap();
                }
                drop(store);
                store = world.store("online").await;
            }
        }
        compare(&world, &store, now).await?;
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn online_is_offline_whatever_comes(steps in vec((step(), 0..36_i64), 1..12)) {
        runtime().block_on(async { lives(World::new().await, steps).await })?;
    }

    #[test]
    fn online_is_offline_whatever_comes_in_redis(steps in vec((step(), 0..36_i64), 1..12)) {
        runtime().block_on(async {
            match World::in_redis().await {
                Some(world) => lives(world, steps).await,
                None => Ok(()),
            }
        })?;
    }
}
