//! Rows pushed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use serde_json::json;

use super::World;

#[tokio::test]
async fn a_push_lands_once_and_says_what_it_set_aside() {
    let world = World::with_rows().await;
    let rows = "{\"tailnum\":\"N3\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":5}\n\
                {\"tailnum\":\"N4\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":9999}\n";
    let key = [("idempotency-key", "k1"), ("content-type", "application/x-ndjson")];
    let first = world.call("POST", "/ingest/flights", &key, rows).await.ok().json();
    assert_eq!(
        (&first["outcome"], &first["accepted"], &first["quarantined"]),
        (&json!("committed"), &json!(1), &json!(1))
    );
    assert_eq!(first["reasons"][0]["rows"], 1);
    let again = world.call("POST", "/ingest/flights", &key, rows).await.ok().json();
    assert_eq!((&again["outcome"], &again["version"]), (&json!("already"), &first["version"]));
    let other = world.call("POST", "/ingest/flights", &key, rows.replace("N3", "N5")).await.error();
    assert!(other.0 == 422 && other.1.contains("idempotency key `k1` was used for other rows"), "{other:?}");
    let fresh = [("idempotency-key", "k2"), ("content-type", "application/x-ndjson")];
    assert_eq!(
        world.call("POST", "/ingest/flights", &fresh, rows.replace("N3", "N5")).await.ok().json()["accepted"],
        1
    );
}

#[tokio::test]
async fn a_batch_with_too_many_bad_rows_is_refused_whole() {
    let world = World::new().await;
    let rows = "{\"tailnum\":\"N4\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":9999}\n";
    let answer = world.call("POST", "/ingest/flights", &[], rows).await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["outcome"]), (422, &json!("refused")));
    assert!(!json["error"].as_str().unwrap().is_empty() && !json["reasons"].as_array().unwrap().is_empty(), "{json}");
}

#[tokio::test]
async fn rows_may_come_as_an_arrow_stream() {
    let world = World::new().await;
    let landed: TimestampMicrosecondArray = vec![1_370_084_400_000_000].into();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("tailnum", Arc::new(StringArray::from(vec!["N9"])) as ArrayRef, true),
        ("landed_at", Arc::new(landed.with_timezone("UTC")) as ArrayRef, true),
        ("arr_delay", Arc::new(Float64Array::from(vec![20.0])) as ArrayRef, true),
    ])
    .unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let bytes = writer.into_inner().unwrap();
    let kind = [("content-type", "application/vnd.apache.arrow.stream")];
    let half = world.call("POST", "/ingest/flights", &kind, bytes[..bytes.len() / 2].to_vec()).await;
    assert_eq!(half.error().0, 400);
    assert_eq!(world.call("POST", "/ingest/flights", &kind, bytes).await.ok().json()["accepted"], 1);
    let decided = world.post("/decide/late", &json!({ "entities": { "tailnum": "N9" } })).await.ok().json();
    assert_eq!(decided["decision"], true, "what landed is a feature at once");
}

#[tokio::test]
async fn what_is_wrong_with_a_push_is_said() {
    let world = World::new().await;
    let push = async |headers: &[(&str, &str)], body: &str| {
        world.call("POST", "/ingest/flights", headers, body.to_owned()).await.error()
    };
    assert_eq!(push(&[], "{}\n[1]\n").await.0, 400);
    assert!(push(&[], "{}\nnot json\n").await.1.starts_with("line 2 is not a JSON object"));
    assert_eq!(push(&[("content-type", "image/png")], "{}").await.0, 415);
    assert_eq!(push(&[("idempotency-key", "")], "{}").await.0, 400);
    assert_eq!(world.call("POST", "/ingest/flight", &[], "{}").await.error().0, 404);
    let invalid = world.call("POST", "/ingest/flights", &[], vec![0xff, 0xfe]).await.error();
    assert!(invalid.0 == 400 && invalid.1.contains("UTF-8"), "{invalid:?}");
    let most = crate::ingest::MOST_BYTES;
    assert_eq!(world.call("POST", "/ingest/flights", &[], vec![b' '; most + 1]).await.error().0, 413);
}
