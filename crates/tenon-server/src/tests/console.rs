//! The pages.

use serde_json::json;

use super::World;

#[tokio::test]
async fn every_page_is_filled_and_fetches_nothing_from_elsewhere() {
    let world = World::with_rows().await;
    let asked = json!({ "entities": { "tailnum": "N1" }, "explain": true });
    let decision = world.post("/decide/late", &asked).await.ok().json();
    let decision = format!("/console/decisions/{}", decision["id"].as_str().unwrap());
    world.doors.serving.flush().await.unwrap();
    for (path, words) in [
        ("/", &["late@1", "flights", "Not measured yet", "dataset.committed"][..]),
        ("/console/models/late@1", &["In plain words", "Gates"]),
        ("/console/datasets/flights", &["always", "A batch with more than 50% bad rows is refused whole."][1..]),
        (&decision, &["✓ proven", "late: yes"]),
        ("/console/facts?from=3", &["model_version.registered"]),
        ("/console/decisions", &["N1", "late@1", "yes", "not known yet"]),
        ("/console/decisions?deployment=late", &["Decisions of"]),
        ("/console/deployments/late", &["late@1", "decisions an hour", "Brier score", "N1"]),
        ("/console/deployments/idle", &["No version answers yet", "Nothing was decided yet"]),
    ] {
        let answer = world.get(path).await.ok();
        for word in words {
            assert!(answer.text().contains(word), "{word} on {path}");
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
    }
    let style = world.get("/console/style.css").await.ok();
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
}

#[tokio::test]
async fn a_dataset_s_page_says_what_it_holds_now_and_then() {
    let world = World::with_rows().await;
    let rows = "{\"tailnum\":\"N3\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":5}\n\
                {\"tailnum\":\"N4\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":9999}\n";
    world.call("POST", "/ingest/flights", &[], rows).await.ok();
    world
        .post("/api/v1/tags", &json!({ "tag": "q1", "as_of": "0", "datasets": ["flights"], "reason": "seen" }))
        .await
        .ok();
    world.post("/api/v1/holds", &json!({ "hold": "case-17", "reason": "the court asks" })).await.ok();
    let page = world.get("/console/datasets/flights").await.ok();
    for words in ["3 rows", "spread-2", "▲", "1 open, 0 released", "9999", "case-17", "the court asks", "tag q1"] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    let then = world.get("/console/datasets/flights?as_of=q1").await.ok();
    assert!(then.text().contains("2 rows") && then.text().contains("as of q1"), "{}", then.text());
    let none = world.get("/console/datasets/flights?as_of=q9").await.ok();
    assert!(none.text().contains("there is no tag"), "{}", none.text());
    let figures = world.get("/api/v1/datasets/flights/profile").await.ok().json();
    assert_eq!((&figures["rows"], &figures["looked_at"]), (&json!(3), &json!(3)));
    let delay = &figures["columns"][2];
    assert_eq!(
        (&delay["name"], &delay["least"], &delay["greatest"]),
        (&json!("arr_delay"), &json!("-3.0"), &json!("40.0"))
    );
}

#[tokio::test]
async fn a_page_of_decisions_follows_the_one_before() {
    let world = World::with_rows().await;
    for _ in 0..3 {
        world.post("/decide/late", &json!({ "entities": { "tailnum": "N1" } })).await.ok();
    }
    world.doors.serving.flush().await.unwrap();
    let all = world.get("/api/v1/decisions").await.ok().json();
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|decision| decision["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 3 && ids.is_sorted_by(|a, b| a > b), "{all}");
    let first = world.get("/api/v1/decisions?deployment=late&limit=2").await.ok().json();
    assert_eq!(first.as_array().unwrap()[..], all.as_array().unwrap()[..2]);
    let rest = world.get(&format!("/api/v1/decisions?before={}", ids[1])).await.ok().json();
    assert_eq!(rest.as_array().unwrap()[..], all.as_array().unwrap()[2..]);
    assert_eq!(world.get("/api/v1/decisions?deployment=idle").await.ok().json(), json!([]));
    assert_eq!(world.get("/api/v1/decisions?deployment=lat").await.error().0, 404);
}

#[tokio::test]
async fn trouble_is_a_page_too() {
    let world = World::new().await;
    for (path, status) in [
        ("/console/models/late@9", 404),
        ("/console/models/none@1", 404),
        ("/console/datasets/x", 404),
        ("/console/deployments/lat", 404),
        ("/console/decisions?deployment=lat", 404),
        ("/console/decisions?before=x", 404),
        ("/console/decisions/x", 404),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{path}: {}", answer.text());
    }
    let answer = world.stranger().get("/").await;
    assert!(answer.status == 403 && answer.text().starts_with("<!DOCTYPE html>"));
}
