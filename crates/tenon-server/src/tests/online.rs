//! Features of many entities in Arrow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Float32Type, Int8Type, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde_json::json;
use tenon_core::Timestamp;

use super::World;

const ARROW: [(&str, &str); 1] = [("content-type", "application/vnd.apache.arrow.stream")];

fn stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn tails(tails: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(tails.to_vec()))
}

fn moments(texts: &[Option<&str>]) -> ArrayRef {
    let micros = |text: &&str| text.parse::<Timestamp>().unwrap().as_micros();
    let moments: TimestampMicrosecondArray = texts.iter().map(|text| text.as_ref().map(micros)).collect();
    Arc::new(moments.with_timezone("UTC"))
}

fn table(bytes: &[u8]) -> RecordBatch {
    let batches: Vec<_> = StreamReader::try_new(bytes, None).unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn statuses(table: &RecordBatch, column: &str) -> Vec<String> {
    let column = table.column_by_name(column).unwrap().as_dictionary::<Int8Type>();
    let words = column.downcast_dict::<StringArray>().unwrap();
    words.into_iter().map(|word| word.unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_table_of_entities_is_answered_by_a_table_of_features() {
    let world = World::with_rows().await;
    let asked = stream(vec![("tailnum", tails(&[Some("N2"), Some("N9"), None, Some("N1")]))]);
    for service in ["late", "late@1"] {
        let answer =
            world.call("POST", &format!("/api/v1/features/{service}/online"), &ARROW, asked.clone()).await.ok();
        assert_eq!(answer.headers["content-type"], ARROW[0].1);
        let table = table(&answer.bytes);
        let names: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
        let expected = ["last_delay", "last_delay__status", "last_delay__event_at", "landings", "landings__status"];
        assert_eq!(names[..5], expected);
        let delays = table.column_by_name("last_delay").unwrap().as_primitive::<Float32Type>();
        assert_eq!(delays.iter().collect::<Vec<_>>(), [Some(-3.0), None, None, Some(40.0)]);
        assert_eq!(statuses(&table, "last_delay__status"), ["PRESENT", "NOT_FOUND", "NOT_FOUND", "PRESENT"]);
        let events = table.column_by_name("last_delay__event_at").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(events.value(3), "2013-06-01T11:00:00Z".parse::<Timestamp>().unwrap().as_micros());
        assert!(events.is_null(1));
    }
}

#[tokio::test]
async fn each_row_may_ask_as_of_its_own_moment() {
    let world = World::with_rows().await;
    let at = moments(&[Some("2013-06-01T10:59:59Z"), Some("2013-06-01T11:00:00Z"), Some("2013-06-01T12:30:00Z"), None]);
    let asked = stream(vec![("tailnum", tails(&[Some("N1"); 4])), ("when", at)]);
    let answer = world.call("POST", "/api/v1/features/late/online?at=when", &ARROW, asked).await.ok();
    let table = table(&answer.bytes);
    assert_eq!(statuses(&table, "last_delay__status"), ["NOT_FOUND", "PRESENT", "PRESENT", "NOT_FOUND"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_table_is_said() {
    let world = World::with_rows().await;
    let asked = async |path: &str, body: Vec<u8>| world.call("POST", path, &ARROW, body).await.error();
    let good = || stream(vec![("tailnum", tails(&[Some("N1")]))]);
    let late = "/api/v1/features/late/online";
    for (path, body, status, words) in [
        ("/api/v1/features/lat/online", good(), 404, "there is no model `lat`; did you mean `late`?"),
        ("/api/v1/features/late@9/online", good(), 404, "there is no version `late@9`"),
        ("/api/v1/features/late@x/online", good(), 404, "there is no version `late@x`"),
        (late, good()[..good().len() / 2].to_vec(), 400, "not a whole Arrow IPC stream"),
        (
            late,
            stream(vec![("tail", tails(&[Some("N1")]))]),
            422,
            "there is no column `tailnum`; the columns are `tail`",
        ),
        (
            late,
            stream(vec![("tailnum", Arc::new(Int64Array::from(vec![1])))]),
            422,
            "column `tailnum` holds Int64, where text is needed",
        ),
        ("/api/v1/features/late/online?at=when", good(), 422, "there is no column `when`"),
        ("/api/v1/features/late/online?when=x", good(), 400, "unknown field `when`"),
        (
            "/api/v1/features/late/online?at=when",
            stream(vec![("tailnum", tails(&[Some("N1")])), ("when", moments(&[Some("2013-06-01T13:00:01Z")]))]),
            422,
            "row 1 asks as of 2013-06-01T13:00:01Z, which is in the future",
        ),
        (
            "/api/v1/features/late/online?at=when",
            stream(vec![("tailnum", tails(&[Some("N1")])), ("when", moments(&[Some("2012-06-01T13:00:01Z")]))]),
            422,
            "read the past from the lake",
        ),
        (late, stream(vec![("tailnum", Arc::new(StringArray::from(vec![""; 2_000_001])))]), 413, "4000002 values"),
        (late, vec![b' '; crate::online::MOST_BYTES + 1], 413, ""),
    ] {
        let (found, sentence) = asked(path, body).await;
        assert!(found == status && sentence.contains(words), "{path}: {found} {sentence}");
    }
}

#[tokio::test]
async fn features_are_found_by_what_is_said_of_them() {
    let world = World::with_rows().await;
    let names = async |words: &str| {
        let found = world.get(&format!("/api/v1/features/search?q={words}")).await.ok().json();
        found.as_array().unwrap().iter().map(|one| one["feature"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["last_delay", "landings"]);
    assert_eq!(names("MINUTES+landing").await, ["last_delay"]);
    assert_eq!(names("landings").await, ["landings"]);
    assert_eq!(names("flights+ana").await, ["last_delay", "landings"], "by dataset and lead");
    assert_eq!(names("nothing").await, Vec::<String>::new());
    let found = world.get("/api/v1/features/search?q=last_delay").await.ok().json();
    let found = &found[0];
    assert_eq!(
        (&found["models"], &found["deployments"], &found["dataset"], &found["window"]),
        (&json!(["late"]), &json!(["idle", "late"]), &json!("flights"), &json!("12h"))
    );
    assert_eq!(
        found["online"],
        json!({ "newest_event": "2013-06-01T11:00:00Z", "age": "1h", "table_version": found["online"]["table_version"],
                "entities": 2, "with_value": 2,
                "distribution": { "least": -3.0, "p05": -3.0, "median": 40.0, "p95": 40.0, "greatest": 40.0, "mean": 18.5 } })
    );
    assert_eq!(world.get("/api/v1/features/search?what=x").await.error().0, 400);
}
