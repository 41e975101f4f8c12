//! The pages.

use serde_json::json;

use super::World;

#[tokio::test]
async fn every_page_is_filled_and_fetches_nothing_from_elsewhere() {
    let world = World::with_rows().await;
    let asked = json!({ "entities": { "tailnum": "N1" }, "explain": true });
    let decision = world.post("/decide/late", &asked).await.ok().json();
    let decision = format!("/console/decisions/{}", decision["id"].as_str().unwrap());
    for (path, words) in [
        ("/", &["late@1", "flights", "Not measured yet", "dataset.committed"][..]),
        ("/console/models/late@1", &["In plain words", "Gates"]),
        ("/console/datasets/flights", &["always", "A batch with more than 50% bad rows is refused whole."][1..]),
        (&decision, &["✓ proven", "late: yes"]),
        ("/console/facts?from=3", &["model_version.registered"]),
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
async fn trouble_is_a_page_too() {
    let world = World::new().await;
    for (path, status) in [
        ("/console/models/late@9", 404),
        ("/console/models/none@1", 404),
        ("/console/datasets/x", 404),
        ("/console/decisions/x", 404),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{path}: {}", answer.text());
    }
    let answer = world.stranger().get("/").await;
    assert!(answer.status == 403 && answer.text().starts_with("<!DOCTYPE html>"));
}
