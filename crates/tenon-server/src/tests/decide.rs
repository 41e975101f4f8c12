//! Decisions, their outcomes and receipts.

use serde_json::{Value, json};

use super::World;

#[tokio::test]
async fn a_decision_is_explained_followed_and_proven() {
    let world = World::with_rows().await;
    let asked = json!({ "entities": { "tailnum": "N1" }, "explain": true });
    let decision = world.post("/decide/late", &asked).await.ok().json();
    assert_eq!((&decision["decision"], &decision["version"]), (&json!(true), &json!("late@1")));
    assert_eq!(decision["reasons"][0]["feature"], "last_delay");
    let id = decision["id"].as_str().unwrap();
    let told = json!({ "outcomes": [{ "decision": id, "outcome": true }] });
    assert_eq!(world.post("/outcomes/late", &told).await.ok().json(), json!({ "joined": 1, "ignored": 0 }));
    assert_eq!(world.post("/outcomes/late", &told).await.ok().json(), json!({ "joined": 0, "ignored": 1 }));
    let receipt = world.get(&format!("/decisions/{id}")).await.ok().json();
    assert_eq!((&receipt["verified"], &receipt["fault"]), (&json!(true), &Value::Null));
    assert_eq!((&receipt["outcome"]["outcome"], &receipt["probability"]), (&json!(true), &decision["probability"]));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let world = World::with_rows().await;
    let entities = json!({ "tailnum": "N1" });
    for (path, body, status, words) in [
        ("/decide/late", json!({ "entities": {} }), 422, "the request names no `tailnum`"),
        ("/decide/late", json!({ "entities": { "tailnum": ["N1"] } }), 422, "`tailnum` is an array"),
        ("/decide/late", json!({ "entities": entities, "at": "2013-06-01T13:00:01Z" }), 422, "which is in the future"),
        ("/decide/late", json!({ "entities": entities, "at": "soon" }), 422, "at"),
        ("/decide/late", json!({ "entities": entities, "explian": true }), 422, "unknown field `explian`"),
        ("/decide/late", json!([]), 422, ""),
        ("/decide/idle", json!({ "entities": entities }), 409, "nothing is deployed as `idle` yet"),
        ("/decide/gone", json!({ "entities": entities }), 404, "there is no deployment `gone`"),
        ("/outcomes/late", json!({ "outcomes": [{ "decision": "x", "outcome": true }] }), 422, ""),
        ("/api/v1/rollouts/late", json!({ "version": "late@9" }), 404, "there is no version `late@9`"),
        ("/api/v1/rollouts/late", json!({ "version": "late@1" }), 409, "in charge of `late` already"),
        ("/api/v1/rollbacks/late", json!({ "reason": "r" }), 409, "no earlier version"),
    ] {
        let (found, sentence) = world.post(path, &body).await.error();
        assert!(found == status && sentence.contains(words), "{path} {body}: {found} {sentence}");
    }
    let broken = world.call("POST", "/decide/late", &[("content-type", "application/json")], "{").await;
    assert_eq!(broken.error().0, 400);
    assert_eq!(world.call("POST", "/decide/late", &[], "{}").await.error().0, 415);
    assert_eq!(world.get("/decisions/x").await.error(), (404, "there is no decision `x`".to_owned()));
}

#[tokio::test]
async fn a_moment_a_little_ahead_is_taken() {
    let world = World::with_rows().await;
    let asked = json!({ "entities": { "tailnum": "N1" }, "at": "2013-06-01T12:59:00Z" });
    assert_eq!(world.post("/decide/late", &asked).await.ok().json()["at"], "2013-06-01T12:59:00Z");
}

#[tokio::test]
async fn the_lake_answers_queries() {
    let world = World::with_rows().await;
    let sql = "SELECT tailnum, arr_delay FROM flights ORDER BY tailnum";
    let answer = world.post("/api/v1/query", &json!({ "sql": sql, "limit": 1 })).await.ok().json();
    assert_eq!(answer["rows"], json!([{ "tailnum": "N1", "arr_delay": 40.0 }]));
    assert_eq!((&answer["truncated"], &answer["columns"][1]["name"]), (&json!(true), &json!("arr_delay")));
    let before = json!({ "sql": sql, "as_of": "2013-05-01T00:00:00Z" });
    assert_eq!(world.post("/api/v1/query", &before).await.ok().json()["rows"], json!([]));
    for (sql, expected, words) in [
        ("SELEC", 400, "not valid SQL"),
        ("SELECT * FROM flight", 404, "no dataset `flight`; did you mean `flights`?"),
        ("DROP TABLE flights", 400, "SELECT"),
    ] {
        let (status, sentence) = world.post("/api/v1/query", &json!({ "sql": sql })).await.error();
        assert!(status == expected && sentence.contains(words), "{sql}: {status} {sentence}");
    }
}

#[tokio::test]
async fn lists_say_what_there_is() {
    let world = World::with_rows().await;
    let name = |list: &Value| list[0]["name"].clone();
    for (what, expected) in
        [("datasets", "flights"), ("features", "aircraft"), ("models", "late"), ("monitors", "late")]
    {
        assert_eq!(name(&world.get(&format!("/api/v1/{what}")).await.ok().json()), json!(expected), "{what}");
    }
    let versions = world.get("/api/v1/versions").await.ok().json();
    assert_eq!(versions[0]["registered"]["version"], "late@1");
    let history = world.get("/api/v1/history/late").await.ok().json();
    assert_eq!(history[0]["traffic"][0]["version"], "late@1");
    let facts = world.get("/api/v1/facts?from=2&limit=2").await.ok().json();
    assert_eq!((&facts["facts"][0]["index"], facts["facts"].as_array().unwrap().len()), (&json!(2), 2));
    assert_eq!(world.get("/api/v1/facts?from=x").await.error().0, 400);
    let one = world.get("/api/v1/facts/2").await.ok().json();
    assert_eq!((&one["fact"], &one["inclusion"]["index"]), (&facts["facts"][0]["fact"], &json!(2)));
}
