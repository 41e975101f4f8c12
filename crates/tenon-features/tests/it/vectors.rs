//! Vector features: the same in training and online, and the nearest of them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float32Type, Float64Type};
use serde_json::json;
use tenon_core::FeatureViewName;
use tenon_core::spec::{Metric, SpecFile, SpecSet};
use tenon_features::{Asked, FeatureError, FeatureStore, Neighbours, To};

use crate::fixture::{self, HOUR, MODEL, VIEW};
use crate::{World, model, moment};

const DERIVED: &str = "pods/arrivals/derived/taste.toml";

fn files() -> Vec<SpecFile> {
    let mut files = fixture::files();
    for file in &mut files {
        let column = |name: &str| format!("[contract.columns.{name}]\ntype = \"vector(3)\"\nnullable = true\n");
        match file.path.as_str() {
            path if path.ends_with("flights.toml") => file.text.push_str(&column("style")),
            path if path.ends_with("schedule.toml") => file.text.push_str(&column("query")),
            VIEW => {
                file.text = file.text.replace("arr_delay FROM", "arr_delay, style FROM");
                file.text.push_str("[vectors.style]\ncolumn = \"style\"\ndimensions = 3\n");
                file.text.push_str("[vectors.place]\ncolumn = \"style\"\ndimensions = 3\nmetric = \"l2\"\n");
            }
            MODEL => {
                file.text = file.text.replace("[\"aircraft_delay\"]", "[\"taste\", \"aircraft_delay\"]");
                file.text = file.text.replace("late AS label", "late AS label, query");
            }
            _ => {}
        }
    }
    files.push(SpecFile {
        path: DERIVED.to_owned(),
        text: "description = \"d\"\nviews = [\"aircraft_delay\"]\nrequest = { query = \"vector(3)\" }\n[features]\n\
               far = { sql = \"cosine_distance(style, query)\" }\n\
               first = { sql = \"style[1]\" }\n"
            .to_owned(),
    });
    files
}

fn specs(path: &str, from: &str, to: &str) -> SpecSet {
    fixture::changed(files(), path, from, to)
}

type Style = Option<[f64; 3]>;

fn moments(hours: impl Iterator<Item = i64>) -> ArrayRef {
    let moments: TimestampMicrosecondArray = hours.map(|hour| Some(hour * HOUR)).collect();
    Arc::new(moments.with_timezone("UTC"))
}

fn styles(styles: impl Iterator<Item = Style>) -> ArrayRef {
    let styles = styles.map(|style| style.map(|style| style.map(Some)));
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(styles))
}

/// Rows of (tail number, landed at, closed at, style).
fn rows(rows: &[(&str, i64, i64, Style)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("tailnum", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()) as ArrayRef, true),
        ("landed_at", moments(rows.iter().map(|row| row.1)), true),
        ("closed_at", moments(rows.iter().map(|row| row.2)), true),
        ("arr_delay", Arc::new(arrow::array::Float64Array::from(vec![1.0; rows.len()])), true),
        ("style", styles(rows.iter().map(|row| row.3)), true),
    ])
    .unwrap()
}

async fn land(world: &World, store: &FeatureStore, name: &str, landed: &[(&str, i64, i64, Style)]) {
    let (version, accepted) = world.write("flights", name, rows(landed)).await;
    store.feed("flights", &accepted, version).await.unwrap();
}

fn asked(feature: &str, to: To, k: usize) -> Asked {
    Asked { view: FeatureViewName::new("aircraft_delay").unwrap(), feature: feature.to_owned(), to, k }
}

fn near(store: &FeatureStore, vector: [f64; 3]) -> Neighbours {
    store.nearest(&asked("style", To::Vector(vector.to_vec()), 10)).unwrap()
}

/// The aircraft that are near, with their distances in thousandths.
fn told(found: &Neighbours) -> Vec<(String, i64)> {
    let aircraft = |entity: &serde_json::Map<String, serde_json::Value>| entity["tailnum"].as_str().unwrap().to_owned();
    let neighbours = found.neighbours.iter();
    neighbours.map(|near| (aircraft(&near.entity), (near.distance * 1e3).round() as i64)).collect()
}

const X: Style = Some([1.0, 0.0, 0.0]);
const Y: Style = Some([0.0, 2.0, 0.0]);
const XY: Style = Some([3.0, 3.0, 0.0]);

contract! {
    a_vector_is_the_same_in_training_and_online
}

async fn a_vector_is_the_same_in_training_and_online(world: World) {
    world.catalog.replace(SpecSet::read(&files()).unwrap());
    let store = world.store("online").await;
    world.clock.advance_to(moment(9));
    // The second landing of N1 is known an hour late; N2 comes without a vector after one with it.
    land(&world, &store, "first", &[("N1", 1, 1, X), ("N1", 2, 3, Y), ("N2", 1, 1, XY), ("N2", 2, 2, None)]).await;
    const HOURS: [(&str, i64); 6] = [("N1", 1), ("N1", 2), ("N1", 3), ("N2", 2), ("N3", 2), ("N2", 14)];
    let observations = RecordBatch::try_from_iter_with_nullable([
        ("flight_id", Arc::new(Int64Array::from_iter_values(0..6)) as ArrayRef, true),
        ("tailnum", Arc::new(HOURS.iter().map(|(tail, _)| Some(*tail)).collect::<StringArray>()), true),
        ("decided_at", moments(HOURS.iter().map(|(_, hour)| *hour)), true),
        ("late", Arc::new(BooleanArray::from(vec![true, false, true, false, true, false])), true),
        ("query", styles([X, X, X, X, X, X].into_iter()), true),
    ])
    .unwrap();
    world.clock.advance_to(moment(20));
    world.write("schedule", "asked", observations.clone()).await;
    let frame = store.training_set(&model(), moment(20)).await.unwrap();
    assert_eq!(frame.features[..2], ["far", "first"], "a vector is no input of a model by itself");
    let column = |name: &str| {
        let joined = store_order(&frame.rows, name);
        joined.into_iter().map(|value| value.map(|value| (value * 1e3).round() as i64)).collect::<Vec<_>>()
    };
    assert_eq!(column("first"), [Some(1000), Some(1000), Some(0), Some(3000), None, None]);
    let far = [Some(0), Some(0), Some(1000), Some(293), None, None];
    assert_eq!(column("far"), far);

    let service = store.service(&world.catalog.specs(), &model()).await.unwrap();
    let in_bulk = service.read_each(&observations, "decided_at", moment(20)).await.unwrap();
    let bits = |values: &[Option<f32>]| values.iter().map(|value| value.map(f32::to_bits)).collect::<Vec<_>>();
    for (at, feature) in frame.features.iter().enumerate().take(2) {
        assert_eq!(bits(&in_bulk[at].values), bits(&store_order(&frame.rows, feature)), "{feature}");
    }
    for (row, (tail, hour)) in HOURS.iter().enumerate() {
        let sent = json!({ "tailnum": tail, "query": [1, 0, 0] });
        let one = service.row(sent.as_object().unwrap(), moment(*hour)).await.unwrap();
        assert_eq!(bits(&one.values[..2]), bits(&[in_bulk[0].values[row], in_bulk[1].values[row]]), "{tail} {hour}");
        assert_eq!(one.event_at[1], in_bulk[1].event_at[row]);
    }
    for wrong in [json!([1, 0]), json!([1, 0, "0"]), json!(1)] {
        let sent = json!({ "tailnum": "N1", "query": wrong });
        let told = service.row(sent.as_object().unwrap(), moment(3)).await.unwrap_err().to_string();
        assert!(told.starts_with("`query` is declared as a vector of 3 numbers, and the request has"), "{told}");
    }
}

/// A feature of a training set in the order of the flights.
fn store_order(rows: &RecordBatch, name: &str) -> Vec<Option<f32>> {
    let flights = rows.column_by_name("flight_id").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
    let values = rows.column_by_name(name).unwrap().as_primitive::<Float32Type>();
    let mut found: Vec<_> = flights.values().iter().zip(values.iter()).collect();
    found.sort_by_key(|(flight, _)| **flight);
    found.into_iter().map(|(_, value)| value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_follow_what_lands_what_goes_and_the_clock() {
    let world = World::new().await;
    world.catalog.replace(SpecSet::read(&files()).unwrap());
    let store = world.store("online").await;
    world.clock.advance_to(moment(2));
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), []);
    // N4 has no direction; N5 is known in an hour.
    let first = [("N1", 1, 1, X), ("N2", 1, 1, Y), ("N3", 2, 2, XY), ("N4", 2, 2, Some([0.0; 3])), ("N5", 2, 3, X)];
    land(&world, &store, "first", &first).await;
    let all = |found: &[(&str, i64)]| found.iter().map(|(tail, far)| ((*tail).to_owned(), *far)).collect::<Vec<_>>();
    let found = near(&store, [1.0, 0.0, 0.0]);
    assert_eq!(told(&found), all(&[("N1", 0), ("N3", 293), ("N2", 1000)]));
    assert_eq!((found.metric, found.entities, found.neighbours[0].event_at), (Metric::Cosine, 3, moment(1)));
    let entity = To::Entity(json!({ "tailnum": "N3" }).as_object().unwrap().clone());
    assert_eq!(told(&store.nearest(&asked("style", entity.clone(), 1)).unwrap()), all(&[("N1", 293)]));
    // By their places N4 is one of them, and N1 is not where N3 is.
    let places = store.nearest(&asked("place", entity, 2)).unwrap();
    assert_eq!((told(&places), places.metric), (all(&[("N2", 3162), ("N1", 3606)]), Metric::L2));
    // Another hour, and N5 is known; nothing came.
    world.clock.advance_to(moment(3));
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), all(&[("N1", 0), ("N5", 0), ("N3", 293), ("N2", 1000)]));
    // A newer vector, an older one that comes late, and a newer row without one.
    land(&world, &store, "second", &[("N1", 3, 3, Y), ("N2", 0, 0, X), ("N5", 3, 3, None)]).await;
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), all(&[("N5", 0), ("N3", 293), ("N1", 1000), ("N2", 1000)]));
    // What is fed ahead counts at once, and is gone when it did not land.
    store.feed_ahead("flights", &[rows(&[("N2", 3, 3, X), ("N6", 3, 3, X)])]).await.unwrap();
    let ahead = all(&[("N2", 0), ("N5", 0), ("N6", 0), ("N3", 293), ("N1", 1000)]);
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), ahead);
    store.discard_ahead("flights").await.unwrap();
    let before = all(&[("N5", 0), ("N3", 293), ("N1", 1000), ("N2", 1000)]);
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), before);
    // After a restart it is the same.
    store.flush().await.unwrap();
    drop(store);
    let store = world.store("online").await;
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), before);
    // A vector counts for 12 hours: those of 1 o'clock are gone at 13, those of 2 at 14.
    world.clock.advance_to(moment(13));
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), all(&[("N5", 0), ("N3", 293), ("N1", 1000)]));
    world.clock.advance_to(moment(14));
    assert_eq!(told(&near(&store, [1.0, 0.0, 0.0])), all(&[("N1", 1000)]));
    world.clock.advance_to(moment(30));
    assert_eq!(near(&store, [1.0, 0.0, 0.0]).entities, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_said() {
    let world = World::new().await;
    world.catalog.replace(SpecSet::read(&files()).unwrap());
    let store = world.store("online").await;
    world.clock.advance_to(moment(2));
    land(&world, &store, "first", &[("N1", 1, 1, X)]).await;
    let vector = |numbers: &[f64]| To::Vector(numbers.to_vec());
    let entity = |entity: serde_json::Value| To::Entity(entity.as_object().unwrap().clone());
    let mut told = Vec::new();
    let mut tell = |asked: Asked| told.push(store.nearest(&asked).unwrap_err().to_string());
    tell(Asked { view: FeatureViewName::new("aircraft").unwrap(), ..asked("style", vector(&[1.0; 3]), 1) });
    tell(Asked { view: FeatureViewName::new("taste").unwrap(), ..asked("style", vector(&[1.0; 3]), 1) });
    tell(asked("stile", vector(&[1.0; 3]), 1));
    tell(asked("last_arr_delay", vector(&[1.0; 3]), 1));
    tell(asked("style", vector(&[1.0; 2]), 1));
    tell(asked("style", vector(&[1.0, f64::NAN, 0.0]), 1));
    tell(asked("style", vector(&[1.0, 1e300, 0.0]), 1));
    tell(asked("style", vector(&[0.0; 3]), 1));
    tell(asked("style", vector(&[1.0; 3]), 0));
    tell(asked("style", vector(&[1.0; 3]), 1001));
    tell(asked("style", entity(json!({ "tail": "N1" })), 1));
    tell(asked("style", entity(json!({ "tailnum": 1 })), 1));
    tell(asked("style", entity(json!({ "tailnum": "N9" })), 1));
    insta::assert_snapshot!(told.join("\n"), @r"
    there is no feature view `aircraft`; `tenon get feature_views` lists what is applied
    feature view `taste` has no vector feature `style`; it has none
    feature view `aircraft_delay` has no vector feature `stile`; did you mean `style`?
    feature view `aircraft_delay` has no vector feature `last_arr_delay`; it has `style`, `place`
    the vector has 2 numbers, and those of the feature have 3
    number 2 of the vector is not a finite number of 32 bits
    number 2 of the vector is not a finite number of 32 bits
    a vector of zeros has no direction, and nothing is near to it by its cosine
    `k` is 0, and from 1 to 1000 can be asked for
    `k` is 1001, and from 1 to 1000 can be asked for
    the request has no column `tailnum`, which names an entity of these features
    `tailnum` names an entity by text, and the request has 1
    this entity has no vector `style` in feature view `aircraft_delay` now
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_redis_the_nearest_are_not_looked_up() {
    let Some(world) = World::in_redis().await else { return };
    world.catalog.replace(SpecSet::read(&files()).unwrap());
    let store = world.store("online").await;
    let told = store.nearest(&asked("style", To::Vector(vec![1.0; 3]), 1)).unwrap_err();
    assert!(matches!(&told, FeatureError::NotServed { .. }) && told.to_string().contains("Redis"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_a_view_cannot_have_are_told() {
    let world = World::new().await;
    let store = world.store("online").await;
    let mut told = Vec::new();
    for (from, to) in [
        ("\"style\"\ndimensions = 3\nmetric", "\"style\"\ndimensions = 4\nmetric"),
        ("\"style\"\ndimensions = 3\nmetric", "\"arr_delay\"\ndimensions = 3\nmetric"),
        ("\"style\"\ndimensions = 3\nmetric", "\"stile\"\ndimensions = 3\nmetric"),
    ] {
        for fault in store.check(&specs(VIEW, from, to)).await.unwrap() {
            told.push(format!("[{}] {} ({})", fault.keys.join("."), fault.message, fault.hint.unwrap_or_default()));
        }
    }
    for fault in store.check(&specs(DERIVED, "cosine_distance(style, query)", "style")).await.unwrap() {
        told.push(format!("[{}] {}", fault.keys.join("."), fault.message));
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    [vectors.place.dimensions] `style` has 3 numbers in dataset `flights` (write dimensions = 3)
    [vectors.place.column] feature view `aircraft_delay` names a column for `place` that is Float64 in its source (it must be a list of numbers, such as a column of type `vector(64)`)
    [vectors.place.column] feature view `aircraft_delay` names a column for `place` that its source does not return (the source returns `tailnum`, `landed_at`, `closed_at`, `arr_delay`, `style`; did you mean `style`?)
    [features.far.sql] `far` of derived view `taste` does not work: the query fails: it gives FixedSizeList(3 x Float32), and a feature is a number, or true or false
    ");
}
