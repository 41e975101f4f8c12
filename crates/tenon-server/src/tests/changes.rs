//! Versions made and given up, rows released: over HTTP.

use serde_json::{Value, json};

use super::World;

const BAD: &str = "{\"tailnum\":\"N5\",\"landed_at\":\"2013-06-01T11:30:00Z\",\"arr_delay\":9999}\n\
                   {\"tailnum\":\"N6\",\"landed_at\":\"2013-06-01T11:30:00Z\",\"arr_delay\":7}\n";

async fn rows(world: &World, how: Value) -> i64 {
    let mut asked = json!({ "sql": "SELECT count(*) AS n FROM flights" });
    asked.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    world.post("/api/v1/query", &asked).await.ok().json()["rows"][0]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn a_tag_is_made_read_by_and_given_up() {
    let world = World::with_rows().await;
    let made = world.post("/api/v1/tags", &json!({ "tag": "q1", "reason": "seen" })).await.ok().json();
    assert_eq!(made["tag"]["tables"], json!([{ "dataset": "flights", "version": 0 }]));
    world.call("POST", "/ingest/flights", &[], BAD).await.ok();
    assert_eq!((rows(&world, json!({})).await, rows(&world, json!({ "as_of": "q1" })).await), (3, 2));
    let again = world.post("/api/v1/tags", &json!({ "tag": "q1" })).await;
    assert_eq!(again.error().0, 409);
    assert_eq!(
        world.call("DELETE", "/api/v1/tags/q1?reason=done", &[], "").await.ok().json(),
        json!({ "deleted": "q1" })
    );
    assert_eq!(world.get("/api/v1/tags").await.ok().json(), json!([]));
    assert_eq!(world.call("DELETE", "/api/v1/tags/q1", &[], "").await.error().0, 404);
    assert_eq!(world.call("DELETE", "/api/v1/tags/Q%201", &[], "").await.error().0, 400);
    let unknown = world.post("/api/v1/tags", &json!({ "tag": "q2", "datasets": ["flight"] })).await.error();
    assert_eq!(unknown, (404, "there is no dataset `flight`; did you mean `flights`?".to_owned()));
    assert_eq!(world.post("/api/v1/tags", &json!({ "tag": "q2", "what": 1 })).await.error().0, 422);
}

#[tokio::test]
async fn a_restore_is_served_at_once_and_can_be_undone() {
    let world = World::with_rows().await;
    world.call("POST", "/ingest/flights", &[], BAD).await.ok();
    let late = async || {
        let asked = json!({ "entities": { "tailnum": "N6" }, "at": "2013-06-01T12:00:00Z" });
        let decided = world.post("/decide/late", &asked).await.ok().json();
        decided["features"][0]["value"].clone()
    };
    assert_eq!(late().await, json!(7.0));
    let restored = world.post("/api/v1/datasets/flights/restore", &json!({ "to": "0", "reason": "a drill" })).await;
    let restored = restored.ok().json();
    assert_eq!((&restored["restored"]["version"], &restored["restored"]["rows_removed"]), (&json!(2), &json!(1)));
    assert_eq!(restored["learnt_from_later_versions"], json!([]));
    assert_eq!((rows(&world, json!({})).await, late().await), (2, Value::Null));
    let same =
        world.post("/api/v1/datasets/flights/restore", &json!({ "to": "2", "reason": "again" })).await.ok().json();
    assert_eq!(same, json!({ "restored": null }));
    world.post("/api/v1/datasets/flights/restore", &json!({ "to": "1", "reason": "it was right" })).await.ok();
    assert_eq!((rows(&world, json!({})).await, late().await), (3, json!(7.0)));
    let none = world.post("/api/v1/datasets/flights/restore", &json!({ "to": "99", "reason": "r" })).await.error();
    assert_eq!(none.0, 404, "{}", none.1);
}

#[tokio::test]
async fn a_branch_is_made_merged_and_dropped() {
    let world = World::with_rows().await;
    let made = world.post("/api/v1/branches", &json!({ "branch": "audit", "datasets": ["flights"] })).await.ok().json();
    assert_eq!(made["branch"]["tables"][0]["version"], 0);
    let stands = world.get("/api/v1/branches/audit").await.ok().json();
    assert_eq!((&stands["tables"][0]["begun"], &stands["tables"][0]["rows_added"]), (&json!(0), &json!(0)));
    let merged = world.post("/api/v1/branches/audit/merge", &json!({})).await.ok().json();
    assert_eq!(merged["merged"]["branch"], "audit");
    assert_eq!(world.get("/api/v1/branches/audit").await.error().0, 404);
    world.post("/api/v1/branches", &json!({ "branch": "again", "datasets": ["flights"] })).await.ok();
    let dropped = world.call("DELETE", "/api/v1/branches/again?reason=enough", &[], "").await.ok().json();
    assert_eq!(dropped, json!({ "dropped": "again" }));
    assert_eq!(world.post("/api/v1/branches", &json!({ "branch": "x", "datasets": [] })).await.error().0, 422);
}

#[tokio::test]
async fn a_hold_stands_until_somebody_says_why_not() {
    let world = World::with_rows().await;
    world.post("/api/v1/holds", &json!({ "hold": "case", "reason": "the court asks" })).await.ok();
    let plan = world.get("/api/v1/vacuum?retain=0d").await.ok().json();
    let kept = plan["tables"][0]["kept"].as_array().unwrap();
    assert!(kept.iter().any(|kept| kept["why"].as_str().unwrap().contains("case")), "{plan}");
    assert_eq!(world.get("/api/v1/vacuum?retain=soon").await.error().0, 422);
    assert_eq!(world.call("DELETE", "/api/v1/holds/case", &[], "").await.error().0, 422);
    world.call("DELETE", "/api/v1/holds/case?reason=closed", &[], "").await.ok();
    assert_eq!(world.get("/api/v1/holds").await.ok().json(), json!([]));
    assert_eq!(world.call("DELETE", "/api/v1/holds/case?reason=r", &[], "").await.error().0, 404);
}

#[tokio::test]
async fn quarantined_rows_are_listed_released_and_discarded() {
    let world = World::with_rows().await;
    world.call("POST", "/ingest/flights", &[], BAD).await.ok();
    let list = async |how: &str| world.get(&format!("/api/v1/datasets/flights/quarantine{how}")).await.ok().json();
    let open = list("").await;
    assert_eq!(open["sums"], json!({ "open": 1, "released": 0, "discarded": 0 }));
    let row = &open["rows"][0];
    assert!(row["row"].as_str().unwrap().contains("9999") && row["resolution"] == "open", "{row}");
    let release = "/api/v1/datasets/flights/quarantine/release";
    let still = world.post(release, &json!({ "reason": "try" })).await;
    let (status, told) = (still.status.as_u16(), still.json());
    assert!(status == 422 && told["chosen"] == 1 && !told["still_broken"].as_array().unwrap().is_empty(), "{told}");
    assert_eq!(world.post(release, &json!({ "where": "no_such = 1", "reason": "r" })).await.error().0, 400);
    let repaired = json!({ "where": "tailnum = 'N5'", "set": { "arr_delay": "99" }, "reason": "a nine too many" });
    let released = world.post(release, &repaired).await.ok().json();
    assert_eq!((&released["chosen"], &released["released"]["rows"]), (&json!(1), &json!(1)));
    assert_eq!(list("?state=released").await["rows"][0]["resolution"], "released");
    assert_eq!(list("?state=open").await["rows"], json!([]));
    let asked = json!({ "entities": { "tailnum": "N5" } });
    let served = world.post("/decide/late", &asked).await.ok().json();
    assert_eq!(served["features"][0]["value"], json!(99.0), "what is released is served at once");
    world
        .call("POST", "/ingest/flights", &[("idempotency-key", "2")], BAD.replace("N5", "N7").replace("N6", "N8"))
        .await
        .ok();
    let discarded = world.post("/api/v1/datasets/flights/quarantine/discard", &json!({ "reason": "a drill" })).await;
    assert_eq!(discarded.ok().json()["discarded"]["rows"], 1);
    assert_eq!(list("").await["sums"], json!({ "open": 0, "released": 1, "discarded": 1 }));
    let wrong = world.get("/api/v1/datasets/flights/quarantine?state=gone").await.error();
    assert!(wrong.0 == 422 && wrong.1.contains("open, released or discarded"), "{wrong:?}");
}

#[tokio::test]
async fn small_files_are_taken_together() {
    let world = World::with_rows().await;
    world.call("POST", "/ingest/flights", &[], BAD).await.ok();
    let done = world.post("/api/v1/datasets/flights/compact", &json!({})).await.ok().json();
    assert_eq!((&done[0]["table"], &done[0]["files_after"]), (&json!("flights"), &json!(1)));
    assert_eq!(rows(&world, json!({})).await, 3);
    assert_eq!(world.post("/api/v1/datasets/flights/compact", &json!({ "target_mb": 0 })).await.error().0, 422);
}
