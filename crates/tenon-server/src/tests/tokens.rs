//! First tokens, over HTTP.

use serde_json::json;

use super::World;

#[tokio::test]
async fn who_was_invited_gets_a_token_from_elsewhere_once() {
    let mut world = World::new().await;
    let asked = json!({ "person": "ana", "pod": "p", "name": "ana-phone", "expires": "1h" });
    let answer = world.post("/tokens/invite", &asked).await.ok();
    assert_eq!(answer.headers["cache-control"], "no-store");
    let code = answer.json()["code"].as_str().unwrap().to_owned();
    assert_eq!(world.post("/tokens/invite", &asked).await.status, 409);

    world.loopback = false;
    assert_eq!(world.get("/api/v1/datasets").await.status, 401);
    let answer = world.post("/tokens/redeem", &json!({ "code": code })).await.ok();
    assert_eq!(answer.headers["cache-control"], "no-store");
    let given = answer.json();
    assert_eq!((given["name"].as_str(), given["acts_as"].as_str()), (Some("ana-phone"), Some("person:ana")));
    world.token = given["token"].as_str().map(str::to_owned);
    world.get("/api/v1/datasets").await.ok();

    world.token = None;
    let (status, sentence) = world.post("/tokens/redeem", &json!({ "code": code })).await.error();
    assert_eq!((status, sentence.contains("used already")), (403, true), "{sentence}");
    world.token = Some(code);
    assert_eq!(world.get("/api/v1/datasets").await.status, 401, "a code is no token");
}

#[tokio::test]
async fn wrong_codes_are_refused_and_then_have_to_wait() {
    let world = World::new().await;
    for body in [json!({}), json!({ "code": 7 }), json!({ "code": "x", "more": 1 })] {
        assert_eq!(world.post("/tokens/redeem", &body).await.status, 422);
    }
    for _ in 0..5 {
        assert_eq!(world.post("/tokens/redeem", &json!({ "code": "tni_x" })).await.status, 403);
    }
    let answer = world.post("/tokens/redeem", &json!({ "code": "tni_x" })).await;
    assert_eq!((answer.status.as_u16(), answer.headers["retry-after"].to_str().unwrap()), (429, "60"));
    let large = world.call("POST", "/tokens/redeem", &[("content-type", "application/json")], vec![b' '; 5000]).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn nobody_invites_strangers_or_into_what_is_not_theirs() {
    let world = World::new().await;
    let (status, sentence) = world.post("/tokens/invite", &json!({ "person": "eve", "pod": "p" })).await.error();
    assert_eq!(status, 422, "{sentence}");
    assert_eq!(world.post("/tokens/invite", &json!({ "person": "ana", "pod": "q" })).await.status, 403);
    let world = world.stranger();
    assert_eq!(world.post("/tokens/invite", &json!({ "person": "ana", "pod": "p" })).await.status, 403);
}
