//! A replay: events arrive by the hour, are committed by the day, and decisions are made in between.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use serde_json::json;
use tenon_core::{FeatureViewName, ModelName, Timestamp};
use tenon_features::{FeatureError, FeatureStore, OnlineRow};

use crate::fixture::{HOUR, VIEW, flights, specs};
use crate::{World, model, moment};

const DAYS: i64 = 6;
const TAILS: [&str; 4] = ["N1", "N2", "N3", "N4"];

contract! {
    what_a_decision_read_is_what_its_training_row_says
    a_crash_at_any_moment_leaves_what_the_lake_has
    versions_count_once_and_missed_ones_are_read_again
    a_view_that_is_applied_later_is_served_with_all_that_came_before
    features_in_another_order_are_the_same_features
    a_view_of_a_lifetime_goes_on_from_what_its_store_holds
    many_reads_are_as_single_ones_and_as_the_join
    a_training_set_without_data_is_told
    a_selection_is_as_the_join_and_what_is_found_says_how_it_stands
}

/// What becomes known in an hour: landings of just then, and some of hours ago whose record was closed only now.
fn landings(hour: i64) -> RecordBatch {
    let mix = |salt: i64| (hour * 7 + salt * 13) % 11;
    let rows = [
        (TAILS[(hour % 4) as usize], hour, hour, mix(1) as f64 / 3.0),
        (TAILS[(hour * 3 % 4) as usize], hour - mix(2), hour, if mix(3) == 0 { f64::NAN } else { mix(4) as f64 * 1.7 }),
        ("N1", hour, hour, 1.0 / 3.0),
        ("N1", hour, hour, 1.0 / 3.0),
        ("", hour, hour, 9.0),
    ];
    flights(&rows)
}

/// A decision an hour for one aircraft, and for one that nobody knows.
fn decisions(hour: i64) -> [(i64, &'static str); 2] {
    [(hour * 2, TAILS[(hour * 5 % 4) as usize]), (hour * 2 + 1, if hour % 3 == 0 { "N99" } else { "N1" })]
}

fn observations(hours: std::ops::Range<i64>) -> RecordBatch {
    let rows: Vec<(i64, &str, i64)> =
        hours.flat_map(|hour| decisions(hour).map(|(id, tail)| (id, tail, hour))).collect();
    let moments: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.2 * HOUR)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("flight_id", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()) as ArrayRef, true),
        ("tailnum", Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()) as ArrayRef, true),
        ("decided_at", Arc::new(moments.with_timezone("UTC")) as ArrayRef, true),
        ("late", Arc::new(rows.iter().map(|row| Some(row.0 % 3 == 0)).collect::<BooleanArray>()) as ArrayRef, true),
    ])
    .unwrap()
}

async fn read(store: &FeatureStore, tail: &str, at: Timestamp) -> OnlineRow {
    store.online(&model(), json!({ "tailnum": tail }).as_object().unwrap(), at).await.unwrap()
}

fn bits(values: &[Option<f32>]) -> Vec<Option<u32>> {
    values.iter().map(|value| value.map(f32::to_bits)).collect()
}

/// Lives through some days; returns what each decision read.
async fn live(world: &World, store: &FeatureStore, days: std::ops::Range<i64>) -> Vec<(i64, OnlineRow)> {
    let mut decided = Vec::new();
    for day in days {
        let hours = day * 24..(day + 1) * 24;
        let mut rows = Vec::new();
        for hour in hours.clone() {
            world.clock.advance_to(moment(hour));
            rows.push(landings(hour));
            store.feed_ahead("flights", &[landings(hour)]).await.unwrap();
            for (id, tail) in decisions(hour) {
                decided.push((id, read(store, tail, moment(hour)).await));
            }
        }
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        let (version, _) = world.write("flights", &day.to_string(), rows).await;
        store.committed("flights", version).await.unwrap();
        world.write("schedule", &day.to_string(), observations(hours)).await;
    }
    decided
}

async fn what_a_decision_read_is_what_its_training_row_says(world: World) {
    let store = world.store("online").await;
    let decided = live(&world, &store, 0..DAYS).await;
    let known_by = moment(DAYS * 24);
    world.clock.advance_to(known_by);
    let frame = store.training_set(&model(), known_by).await.unwrap();
    assert_eq!(frame.rows.num_rows(), decided.len());
    let ids = frame.rows.column_by_name("flight_id").unwrap().as_primitive::<Int64Type>();
    let mut values = 0;
    for row in 0..frame.rows.num_rows() {
        let (_, online) = decided.iter().find(|(id, _)| *id == ids.value(row)).unwrap();
        let offline: Vec<Option<f32>> = frame
            .features
            .iter()
            .map(|feature| {
                let column = frame.rows.column_by_name(feature).unwrap().as_primitive::<Float32Type>();
                column.is_valid(row).then(|| column.value(row))
            })
            .collect();
        assert_eq!(bits(&offline), bits(&online.values), "flight {}", ids.value(row));
        values += offline.iter().flatten().count();
    }
    assert!(values > decided.len(), "there was something to compare");

    // Later knowledge changes neither the features nor the digest.
    live(&world, &store, DAYS..DAYS + 1).await;
    let again = store.training_set_again(&model(), &frame.record).await.unwrap();
    assert_eq!(again.record, frame.record);
    assert_eq!(again.rows, frame.rows);
    let as_of = store.training_set(&model(), known_by).await.unwrap();
    assert_eq!(as_of.record, frame.record);
    world.catalog.replace(specs(VIEW, "window = \"6h\"", "window = \"5h\""));
    let told = store.training_set_again(&model(), &frame.record).await.unwrap_err();
    assert!(told.to_string().ends_with("the model or its feature views are declared differently now"), "{told}");
}

async fn a_crash_at_any_moment_leaves_what_the_lake_has(world: World) {
    let mut store = world.store("online").await;
    for day in 0..DAYS {
        live(&world, &store, day..day + 1).await;
        match day % 3 {
            // Flushed, then an hour that no commit ever held.
            0 => {
                store.flush().await.unwrap();
                store.feed_ahead("flights", &[landings((day + 1) * 24)]).await.unwrap();
            }
            // Committed and not flushed.
            1 => {}
            // Committed to the lake, and the process dies before the store hears of it.
            _ => {
                world.write("flights", &format!("unheard {day}"), landings((day + 1) * 24 - 1)).await;
            }
        }
        // Nothing is written when a store goes, as when its process is killed.
        drop(store);
        store = world.store("online").await;
        let built = world.store(&format!("built-{day}")).await;
        for hour in (day * 24 - 20).max(0)..(day + 1) * 24 {
            for tail in TAILS {
                assert_eq!(
                    read(&store, tail, moment(hour)).await,
                    read(&built, tail, moment(hour)).await,
                    "{tail} at {hour}"
                );
            }
        }
    }
}

async fn versions_count_once_and_missed_ones_are_read_again(world: World) {
    let (store, other) = (world.store("online").await, world.store("other").await);
    let (late, ahead) = (world.store("late").await, world.store("ahead").await);
    let mut versions = Vec::new();
    for hour in 0..5 {
        world.clock.advance_to(moment(hour));
        versions.push((world.write("flights", &hour.to_string(), landings(hour)).await, hour));
    }
    for ((version, accepted), _) in &versions {
        other.feed("flights", accepted, *version).await.unwrap();
        other.feed("flights", accepted, *version).await.unwrap();
    }
    // The first, then the last before those in between.
    for at in [0, 4, 1, 2, 3] {
        let ((version, accepted), _) = &versions[at];
        store.feed("flights", accepted, *version).await.unwrap();
    }
    // The very first is missed.
    late.feed("flights", &versions[4].0.1, versions[4].0.0).await.unwrap();
    ahead.feed_ahead("flights", &[landings(4)]).await.unwrap();
    ahead.committed("flights", versions[4].0.0).await.unwrap();
    let built = world.store("built").await;
    for tail in TAILS {
        let row = read(&built, tail, moment(4)).await;
        assert_eq!(read(&late, tail, moment(4)).await, row);
        assert_eq!(read(&ahead, tail, moment(4)).await, row);
        assert_eq!(read(&store, tail, moment(4)).await, row);
        assert_eq!(read(&other, tail, moment(4)).await, row);
    }
    // What was refused leaves no trace.
    store.feed_ahead("flights", &[landings(4)]).await.unwrap();
    assert_ne!(read(&store, "N1", moment(4)).await, read(&built, "N1", moment(4)).await);
    store.discard_ahead("flights").await.unwrap();
    assert_eq!(read(&store, "N1", moment(4)).await, read(&built, "N1", moment(4)).await);
}

async fn a_view_that_is_applied_later_is_served_with_all_that_came_before(world: World) {
    let store = world.store("online").await;
    live(&world, &store, 0..1).await;
    store.feed_ahead("flights", &[landings(24)]).await.unwrap();
    world.clock.advance_to(moment(24));
    world.catalog.replace(specs(VIEW, "window = \"6h\"", "window = \"5h\""));
    store.refresh().await.unwrap();
    let ahead = read(&store, "N1", moment(24)).await;
    let (version, _) = world.write("flights", "24", landings(24)).await;
    store.committed("flights", version).await.unwrap();
    assert_eq!(read(&store, "N1", moment(24)).await, ahead);
    let built = world.store("built").await;
    assert_eq!(read(&built, "N1", moment(24)).await, ahead);

    world.catalog.replace(specs(VIEW, "SELECT tailnum,", "SELECT DISTINCT tailnum,"));
    store.refresh().await.unwrap();
    let told = store.online(&model(), json!({}).as_object().unwrap(), moment(24)).await.unwrap_err();
    assert!(matches!(&told, FeatureError::NotServed { .. }), "{told}");
    assert!(store.check_view(&FeatureViewName::new("aircraft_delay").unwrap()).await.is_err());
}

async fn features_in_another_order_are_the_same_features(world: World) {
    let store = world.store("online").await;
    live(&world, &store, 0..2).await;
    let at = moment(47);
    let before = read(&store, "N1", at).await;
    let features = [
        "last_arr_delay = { aggregate = \"last\", column = \"arr_delay\" }\n",
        "mean_arr_delay_6h = { aggregate = \"mean\", column = \"arr_delay\", window = \"6h\" }\n",
        "landings = { aggregate = \"count\" }\n",
    ];
    let [last, mean, landings] = features;
    world.catalog.replace(specs(VIEW, &features.concat(), &[landings, mean, last].concat()));
    store.refresh().await.unwrap();
    let [last, mean, landings] = before.values[..] else { panic!("{before:?}") };
    assert_ne!(last, landings);
    assert_eq!(read(&store, "N1", at).await.values, [landings, mean, last]);
}

/// The sum of all delays, and the first.
const OF_A_LIFETIME: &str = "landings = { aggregate = \"sum\", column = \"arr_delay\", window = \"lifetime\" }\n\
     first = { aggregate = \"first\", column = \"arr_delay\", window = \"lifetime\" }\n";

async fn a_view_of_a_lifetime_goes_on_from_what_its_store_holds(world: World) {
    world.catalog.replace(specs(VIEW, "landings = { aggregate = \"count\" }\n", OF_A_LIFETIME));
    let mut store = world.store("online").await;
    for day in 0..3 * DAYS {
        let decided = live(&world, &store, day..day + 1).await;
        store.flush().await.unwrap();
        drop(store);
        store = world.store("online").await;
        let known_by = moment((day + 1) * 24);
        let frame = store.training_set(&model(), known_by).await.unwrap();
        let of_today = frame.rows.slice(frame.rows.num_rows() - decided.len(), decided.len());
        for (place, feature) in frame.features.iter().enumerate() {
            let offline = of_today.column_by_name(feature).unwrap().as_primitive::<Float32Type>();
            let online: Vec<_> = decided.iter().map(|(_, row)| row.values[place]).collect();
            assert_eq!(bits(&online), bits(&offline.iter().collect::<Vec<_>>()), "{feature} on day {day}");
        }
        // What was read from the store is what the lake says.
        let built = world.store(&format!("built {day}")).await;
        for tail in TAILS {
            assert_eq!(read(&store, tail, known_by).await, read(&built, tail, known_by).await, "{tail} on day {day}");
        }
    }
}

async fn many_reads_are_as_single_ones_and_as_the_join(world: World) {
    let store = world.store("online").await;
    live(&world, &store, 0..2).await;
    let asked = observations(24..48);
    let many = store.online_many(&model(), &asked, "decided_at").await.unwrap();
    let tables = store.training_set(&model(), moment(48)).await.unwrap().record.tables;
    let view = FeatureViewName::new("aircraft_delay").unwrap();
    let joined = store.point_in_time(&[view], &asked, "decided_at", &tables).await.unwrap();
    let tails = asked.column(1).as_string::<i32>();
    for (row, read_at_once) in many.iter().enumerate() {
        let at = moment(24 + row as i64 / 2);
        assert_eq!(*read_at_once, read(&store, tails.value(row), at).await);
        let offline: Vec<Option<f32>> = (4..7)
            .map(|at| {
                let column = joined.column(at).as_primitive::<Float32Type>();
                column.is_valid(row).then(|| column.value(row))
            })
            .collect();
        assert_eq!(bits(&offline), bits(&read_at_once.values));
    }
}

async fn a_training_set_without_data_is_told(world: World) {
    let store = world.store("online").await;
    let told = store.training_set(&model(), moment(1)).await.unwrap_err().to_string();
    assert_eq!(
        told,
        "dataset `schedule`, which model `late_arrival` reads, held nothing by 1970-01-01T01:00:00Z; ingest it first"
    );
    let told = store.feature_names(&ModelName::new("nobody").unwrap()).unwrap_err().to_string();
    assert_eq!(told, "there is no model `nobody`; `tenon get models` lists what is applied");
    assert_eq!(store.feature_names(&model()).unwrap(), ["last_arr_delay", "mean_arr_delay_6h", "landings"]);
    assert_eq!(store.entity_columns(&model()).unwrap(), ["tailnum"]);
}

async fn a_selection_is_as_the_join_and_what_is_found_says_how_it_stands(world: World) {
    let store = world.store("online").await;
    live(&world, &store, 0..2).await;
    let asked = observations(24..48);
    let features = store.features_of(&model()).unwrap();
    let names: Vec<&str> = features.iter().map(|feature| feature.feature.as_str()).collect();
    assert_eq!(names, ["last_arr_delay", "mean_arr_delay_6h", "landings"]);
    let columns = store.select(&features).unwrap().read_each(&asked, "decided_at", moment(48)).await.unwrap();
    let tables = store.training_set(&model(), moment(48)).await.unwrap().record.tables;
    let view = FeatureViewName::new("aircraft_delay").unwrap();
    let joined = store.point_in_time(&[view], &asked, "decided_at", &tables).await.unwrap();
    for (at, column) in columns.iter().enumerate() {
        let offline = joined.column(4 + at).as_primitive::<Float32Type>();
        assert_eq!(offline.iter().collect::<Vec<_>>(), column.values, "{}", names[at]);
    }

    let found = store.search("delay mean").await.unwrap();
    assert_eq!((found.len(), found[0].feature.as_str()), (1, "mean_arr_delay_6h"));
    let (all, state) = (store.search("").await.unwrap(), found[0].online.as_ref().unwrap());
    assert_eq!(all.len(), 3);
    assert!(state.entities >= 4 && state.with_value <= state.entities && state.newest_event.is_some(), "{state:?}");
    let counts = all.iter().find(|found| found.feature == "landings").unwrap().online.as_ref().unwrap();
    assert_eq!(counts.with_value, counts.entities, "a count is always there");
    world.catalog.replace(specs(VIEW, "SELECT tailnum,", "SELECT DISTINCT tailnum,"));
    store.refresh().await.unwrap();
    let found = store.search("landings").await.unwrap();
    assert!(found[0].online.is_none() && found[0].not_served.as_ref().unwrap().contains("several rows at once"));
    assert_ne!(found[0].definition, all[0].definition, "another meaning is another definition");
}
