//! Features that are computed when they are asked for, and definitions that stay after they have changed.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Float32Type;
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_features::{FeatureError, FeatureStatus, FeatureStore, Origin};

use crate::fixture::{self, HOUR, MODEL, VIEW, flights};
use crate::{World, model, moment};

const DERIVED: &str = "pods/arrivals/derived/pressure.toml";

fn files() -> Vec<SpecFile> {
    let mut files = fixture::files();
    for file in &mut files {
        if file.path.ends_with("schedule.toml") {
            file.text.push_str("[contract.columns.distance]\ntype = \"int64\"\nnullable = true\n");
        }
        if file.path == MODEL {
            file.text = file
                .text
                .replace("[\"aircraft_delay\"]", "[\"pressure\", \"twofold\", \"aircraft_delay\"]")
                .replace("late AS label", "late AS label, distance");
        }
    }
    files.push(SpecFile {
        path: DERIVED.to_owned(),
        text: "description = \"d\"\nviews = [\"aircraft_delay\"]\nrequest = { distance = \"float64\" }\n[features]\n\
               delay_per_km = { sql = \"last_arr_delay / nullif(distance, 0)\" }\n\
               above_mean = { sql = \"last_arr_delay > coalesce(mean_arr_delay_6h, 0)\" }\n\
               is_evening = { sql = \"date_part('hour', moment) >= 18\" }\n"
            .to_owned(),
    });
    files.push(SpecFile {
        path: DERIVED.replace("pressure", "twofold"),
        text: "description = \"d\"\nviews = [\"pressure\"]\n[features]\ntwice = { sql = \"2 * delay_per_km\" }\n"
            .to_owned(),
    });
    files
}

fn specs(path: &str, from: &str, to: &str) -> SpecSet {
    fixture::changed(files(), path, from, to)
}

contract! {
    the_same_expression_gives_the_same_in_training_one_by_one_and_in_bulk
    what_a_caller_sends_must_fit
    expressions_that_do_not_work_are_told_where_they_stand
    derived_features_are_found_with_what_reads_them
    an_earlier_meaning_is_served_for_as_long_as_somebody_holds_it
}

async fn founded(world: World) -> (World, FeatureStore) {
    world.catalog.replace(SpecSet::read(&files()).unwrap());
    let store = world.store("online").await;
    land(&world, &store, "first", &[("N1", 8, 8, 30.0), ("N1", 9, 9, 10.0), ("N2", 17, 17, -6.0)]).await;
    (world, store)
}

async fn land(world: &World, store: &FeatureStore, name: &str, rows: &[(&str, i64, i64, f64)]) {
    let latest = rows.iter().map(|row| row.2).max().unwrap();
    world.clock.advance_to(moment(latest));
    let (version, accepted) = world.write("flights", name, flights(rows)).await;
    store.feed("flights", &accepted, version).await.unwrap();
}

/// Flight, aircraft, hour of decision, distance.
const ASKED: [(i64, &str, i64, Option<i64>); 5] = [
    (1, "N1", 10, Some(500)),
    (2, "N1", 12, None),
    (3, "N2", 18, Some(0)),
    (4, "N9", 19, Some(7)),
    (5, "N2", 20, Some(3)),
];

fn asked() -> RecordBatch {
    let moments: TimestampMicrosecondArray = ASKED.iter().map(|row| Some(row.2 * HOUR)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("flight_id", Arc::new(ASKED.iter().map(|row| Some(row.0)).collect::<Int64Array>()) as ArrayRef, true),
        ("tailnum", Arc::new(ASKED.iter().map(|row| Some(row.1)).collect::<StringArray>()) as ArrayRef, true),
        ("decided_at", Arc::new(moments.with_timezone("UTC")) as ArrayRef, true),
        ("late", Arc::new(ASKED.iter().map(|row| Some(row.0 % 2 == 0)).collect::<BooleanArray>()) as ArrayRef, true),
        ("distance", Arc::new(ASKED.iter().map(|row| row.3).collect::<Int64Array>()) as ArrayRef, true),
    ])
    .unwrap()
}

fn column(rows: &RecordBatch, name: &str) -> Vec<Option<u32>> {
    let column = rows.column_by_name(name).unwrap().as_primitive::<Float32Type>();
    column.iter().map(|value| value.map(f32::to_bits)).collect()
}

async fn the_same_expression_gives_the_same_in_training_one_by_one_and_in_bulk(world: World) {
    let (world, store) = founded(world).await;
    world.clock.advance_to(moment(30));
    world.write("schedule", "asked", asked()).await;
    let frame = store.training_set(&model(), moment(30)).await.unwrap();
    assert_eq!(
        frame.features,
        ["delay_per_km", "above_mean", "is_evening", "twice", "last_arr_delay", "mean_arr_delay_6h", "landings"]
    );
    assert_eq!(frame.record.views.len(), 3, "each view that is read is on the record");
    assert_eq!(store.request_columns(&model()).unwrap(), ["distance"]);
    let known =
        [Some(10.0 / 500.0), None, None, None, Some(-2.0_f32)].map(|value: Option<f32>| value.map(f32::to_bits));
    assert_eq!(column(&frame.rows, "delay_per_km"), known);
    let evening = [0.0_f32, 0.0, 1.0, 1.0, 1.0].map(|value| Some(value.to_bits()));
    assert_eq!(column(&frame.rows, "is_evening"), evening);

    let service = store.service(&world.catalog.specs(), &model()).await.unwrap();
    assert_eq!(service.request().collect::<Vec<_>>(), ["distance"]);
    let in_bulk = service.read_each(&asked(), "decided_at", moment(30)).await.unwrap();
    for (at, feature) in frame.features.iter().enumerate() {
        let bits: Vec<_> = in_bulk[at].values.iter().map(|value| value.map(f32::to_bits)).collect();
        assert_eq!(bits, column(&frame.rows, feature), "{feature}");
    }
    for (row, (_, tail, hour, distance)) in ASKED.into_iter().enumerate() {
        let sent = json!({ "tailnum": tail, "distance": distance });
        let one = service.row(sent.as_object().unwrap(), moment(hour)).await.unwrap();
        for (at, column) in in_bulk.iter().enumerate() {
            assert_eq!(
                (one.values[at].map(f32::to_bits), one.statuses[at], one.known_at[at]),
                (column.values[row].map(f32::to_bits), column.statuses[row], column.known_at[row]),
                "{tail} {at}"
            );
        }
    }
    // A derived value is as old as what it reads, and is missing for the reason that what it reads is.
    assert_eq!(in_bulk[0].known_at[0], Some(moment(9)));
    assert_eq!(in_bulk[0].statuses[1], FeatureStatus::NullValue, "nobody said how far it is");
    assert_eq!(in_bulk[0].statuses[3], FeatureStatus::NotFound, "nothing is known of the aircraft");
}

async fn what_a_caller_sends_must_fit(world: World) {
    let (world, store) = founded(world).await;
    let service = store.service(&world.catalog.specs(), &model()).await.unwrap();
    let told = async |sent: Value| {
        let read = service.row(sent.as_object().unwrap(), moment(10)).await;
        read.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let far = told(json!({ "tailnum": "N1", "distance": "far" })).await;
    assert!(far.contains("`distance`") && far.contains("\"far\""), "{far}");
    assert_eq!(told(json!({ "tailnum": "N1" })).await, "", "what is not sent is null");
    let texts = Arc::new(StringArray::from(vec!["far"])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("tailnum", Arc::clone(&texts)), ("distance", texts)]).unwrap();
    let told = service.read(&batch, moment(10)).await.unwrap_err();
    assert!(matches!(told, FeatureError::RequestType { .. }), "{told}");
}

async fn expressions_that_do_not_work_are_told_where_they_stand(world: World) {
    let (world, store) = founded(world).await;
    let told = async |from: &str, to: &str| {
        let faults = store.check(&specs(DERIVED, from, to)).await.unwrap();
        faults.into_iter().map(|fault| format!("[{}] {}", fault.keys.join("."), fault.message)).collect::<Vec<_>>()
    };
    let unknown = told("last_arr_delay /", "last_delay /").await;
    assert!(
        unknown[0].starts_with("[features.delay_per_km.sql] `delay_per_km` of derived view `pressure` does not work"),
        "{unknown:?}"
    );
    let text = told("date_part('hour', moment) >= 18", "'late'").await;
    assert!(text[0].contains("it gives Utf8, and a feature is a number, or true or false"), "{text:?}");
    let missing = store.check(&specs(MODEL, "late AS label, distance", "late AS label")).await.unwrap();
    assert!(missing[0].message.contains("`distance` is sent with requests"), "{missing:?}");
    assert!(store.check(&world.catalog.specs()).await.unwrap().is_empty());
    world.catalog.replace(specs(DERIVED, "last_arr_delay /", "last_delay /"));
    store.refresh().await.unwrap();
    assert!(matches!(store.feature_names(&model()), Ok(names) if names.len() == 7));
    let read = store.online(&model(), json!({ "tailnum": "N1" }).as_object().unwrap(), moment(10)).await;
    assert!(matches!(read, Err(FeatureError::NotServed { .. })), "{read:?}");
    let found = store.search("delay_per_km").await.unwrap();
    assert!(found[0].not_served.as_ref().unwrap().contains("does not work"), "{found:?}");
}

async fn derived_features_are_found_with_what_reads_them(world: World) {
    let (_world, store) = founded(world).await;
    let found = store.search("delay_per_km pressure").await.unwrap();
    let Origin::Derived(derived) = &found[0].origin else { panic!("{found:?}") };
    assert_eq!(derived.sql, "last_arr_delay / nullif(distance, 0)");
    let names = |views: &[tenon_core::FeatureViewName]| views.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((names(&found[0].derived), found[0].models.len()), (vec!["twofold".to_owned()], 1));
    let of_rows = store.search("last_arr_delay").await.unwrap();
    let of_rows = of_rows.iter().find(|found| found.feature == "last_arr_delay").unwrap();
    assert_eq!(names(&of_rows.derived), ["pressure", "twofold"]);
    let told = of_rows.online.as_ref().unwrap().distribution.unwrap();
    assert_eq!((told.least, told.greatest), (-6.0, 10.0));
}

async fn an_earlier_meaning_is_served_for_as_long_as_somebody_holds_it(world: World) {
    let (world, store) = founded(world).await;
    let before = world.catalog.specs();
    let sent = json!({ "tailnum": "N1", "distance": 100 });
    let sent = sent.as_object().unwrap();
    // The mean of six hours reaches back to 8 o'clock at 13, that of five hours does not.
    world.catalog.replace(specs(VIEW, "window = \"6h\"", "window = \"5h\""));
    let now = world.catalog.specs();
    let (old, new) = (store.service(&before, &model()).await.unwrap(), store.service(&now, &model()).await.unwrap());
    let mean =
        async |service: &tenon_features::Selected, hour| service.row(sent, moment(hour)).await.unwrap().values[5];
    assert_eq!((mean(&old, 13).await, mean(&new, 13).await), (Some(20.0), Some(10.0)));
    // Both are kept up with what arrives, ahead of its commit and after it.
    world.clock.advance_to(moment(20));
    store.feed_ahead("flights", &[flights(&[("N1", 13, 13, 90.0)])]).await.unwrap();
    assert_eq!(mean(&old, 14).await, Some((10.0 + 90.0) / 2.0));
    let (version, _) = world.write("flights", "second", flights(&[("N1", 13, 13, 90.0)])).await;
    store.committed("flights", version).await.unwrap();
    let columns = [
        ("tailnum", Arc::new(StringArray::from(vec!["N1"])) as ArrayRef),
        ("distance", Arc::new(Float64Array::from(vec![100.0]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(old.read(&batch, moment(13)).await.unwrap()[5].values, [Some((30.0 + 10.0 + 90.0) / 3.0)]);
    assert_eq!(mean(&new, 13).await, Some(50.0));
    // A change of words changes no meaning.
    let words = specs(VIEW, "description = \"d\"", "description = \"other words\"");
    let meanings = |specs: &SpecSet| store.meanings(specs, &model()).unwrap();
    assert_eq!(meanings(&words), meanings(&before));
    assert_ne!(meanings(&now), meanings(&before));
    // After a restart it is read from the lake again.
    store.flush().await.unwrap();
    drop((store, old, new));
    let store = world.store("online").await;
    let old = store.service(&before, &model()).await.unwrap();
    assert_eq!(mean(&old, 13).await, Some((30.0 + 10.0 + 90.0) / 3.0));
}
