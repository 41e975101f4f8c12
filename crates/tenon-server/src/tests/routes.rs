//! Who may come in.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;
use tenon_core::fact::{AuthorizationRefused, Payload, RefusalsCounted};

use super::World;
use crate::access::Access;
use crate::house::{House, Weight};
use crate::metrics::Metrics;
use crate::routes::{Route, all, router};

#[test]
fn every_route_says_what_it_asks_of_whoever_takes_it() {
    let line = |route: &Route| format!("{:6} {:46} {}", route.method, route.path, route.access);
    let table: Vec<String> = all().iter().map(line).collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    GET    /health                                        open: probes carry no token, and hear only that it runs
    GET    /metrics                                       company.read on the company
    GET    /v2                                            company.read on the company
    GET    /v2/health/live                                open: probes carry no token, and hear only that it runs
    GET    /v2/health/ready                               open: probes carry no token, and hear only that it runs
    GET    /v2/models/{model}                             model.read on model {model}
    GET    /v2/models/{model}/ready                       model.read on model {model}
    GET    /v2/models/{model}/config                      model.read on model {model}
    GET    /v2/models/{model}/stats                       model.read on model {model}
    POST   /v2/models/{model}/infer                       deployment.infer on the deployment of model {model}
    GET    /v2/models/{model}/versions/{version}          model.read on model {model}
    GET    /v2/models/{model}/versions/{version}/ready    model.read on model {model}
    GET    /v2/models/{model}/versions/{version}/config   model.read on model {model}
    GET    /v2/models/{model}/versions/{version}/stats    model.read on model {model}
    POST   /v2/models/{model}/versions/{version}/infer    deployment.infer on the deployment of model {model}
    POST   /v2/repository/index                           company.read on the company
    POST   /decide/{deployment}                           deployment.decide on deployment {deployment}
    POST   /outcomes/{deployment}                         outcome.record on deployment {deployment}
    GET    /decisions/{id}                                decision.read on the deployment that made the decision, which only the record tells
    POST   /ingest/{dataset}                              dataset.write on dataset {dataset}
    GET    /log/checkpoint                                ledger.read on the ledger
    GET    /log/key                                       ledger.read on the ledger
    GET    /log/tile/{*tile}                              ledger.read on the ledger
    GET    /api/v1/datasets                               company.read on the company
    GET    /api/v1/features                               company.read on the company
    GET    /api/v1/models                                 company.read on the company
    GET    /api/v1/versions                               company.read on the company
    GET    /api/v1/deployments                            company.read on the company
    GET    /api/v1/monitors                               company.read on the company
    GET    /api/v1/incidents                              company.read on the company
    GET    /api/v1/facts                                  ledger.read on the ledger
    GET    /api/v1/facts/{index}                          ledger.read on the ledger
    GET    /api/v1/history/{deployment}                   company.read on deployment {deployment}
    POST   /api/v1/rollouts/{deployment}                  rollout.start on deployment {deployment}, knowing what the gates said of the candidate in the body
    POST   /api/v1/rollbacks/{deployment}                 rollout.stop on deployment {deployment}
    POST   /api/v1/query                                  dataset.query on each table that the query reads, after company.read
    GET    /api/v1/tags                                   company.read on the company
    GET    /api/v1/branches                               company.read on the company
    GET    /api/v1/datasets/{dataset}/diff                dataset.read on dataset {dataset}
    POST   /api/v1/tags                                   dataset.tag on each dataset that the request names, or on all, after company.read
    DELETE /api/v1/tags/{tag}                             dataset.tag on each dataset that the tag pins, after company.read
    POST   /api/v1/branches                               dataset.write on each dataset that the request names, or on all, after company.read
    GET    /api/v1/branches/{branch}                      dataset.read on each dataset that the branch holds, after company.read
    POST   /api/v1/branches/{branch}/merge                branch.merge on each dataset that the branch holds, after company.read
    DELETE /api/v1/branches/{branch}                      dataset.write on each dataset that the branch holds, after company.read
    GET    /api/v1/holds                                  company.read on the company
    POST   /api/v1/holds                                  dataset.hold on each dataset that the request names, or on all, after company.read
    DELETE /api/v1/holds/{hold}                           dataset.hold on each dataset that the hold keeps, after company.read
    POST   /api/v1/datasets/{dataset}/restore             dataset.restore on dataset {dataset}
    POST   /api/v1/datasets/{dataset}/compact             dataset.compact on dataset {dataset}
    GET    /api/v1/vacuum                                 dataset.vacuum on each dataset that the request names, or on all, after company.read
    GET    /api/v1/datasets/{dataset}/profile             dataset.query on dataset {dataset}
    GET    /api/v1/datasets/{dataset}/quarantine          dataset.query on dataset {dataset}
    POST   /api/v1/datasets/{dataset}/quarantine/release  quarantine.release on dataset {dataset}
    POST   /api/v1/datasets/{dataset}/quarantine/discard  quarantine.discard on dataset {dataset}
    GET    /api/v1/decisions                              decision.read on the deployment that is asked for, or on each, without those that it refuses; after company.read
    GET    /                                              company.read on the company
    GET    /console/models/{version}                      model.read on model {version}
    GET    /console/datasets/{dataset}                    company.read on dataset {dataset}
    GET    /console/deployments/{deployment}              company.read on deployment {deployment}
    GET    /console/decisions                             decision.read on the deployment that is asked for, or on each, without those that it refuses; after company.read
    GET    /console/decisions/{id}                        decision.read on the deployment that made the decision, which only the record tells
    GET    /console/facts                                 ledger.read on the ledger
    GET    /console/style.css                             open: the same for everybody, and says nothing
    POST   /get-online-features                           feature.read on each feature view that the request names, or that its model reads, after model.read
    POST   /push                                          dataset.write on the dataset that the request names, or that its feature view reads
    POST   /write-to-online-store                         dataset.write on the dataset that the request names, or that its feature view reads
    POST   /api/v1/features/{service}/online              feature.read on each feature view of the model, after model.read
    POST   /api/v1/features/{view}/nearest                feature.read on feature_view {view}
    GET    /api/v1/features/search                        company.read on the company
    POST   /tokens/invite                                 token.invite on the pod that the body names
    POST   /tokens/redeem                                 open: who has no token yet shows a code, which is good once; tries are limited
    ");
}

/// Calls every route that asks for something, with paths and bodies that a member could send.
async fn knock(world: &World, decision: &str) -> Vec<(String, u16)> {
    let mut answers = Vec::new();
    for route in all().iter().filter(|route| !matches!(route.access, Access::Open(_))) {
        let path = route.path.replace("{id}", decision).replace("{dataset}", "flights").replace("{*tile}", "0/000.p/1");
        let path = path.replace("{deployment}", "late").replace("{model}", "late").replace("{index}", "0");
        let path = path.replace("{service}", "late").replace("{view}", "aircraft");
        let path = match route.path.starts_with("/console") {
            true => path.replace("{version}", "late@1"),
            false => path.replace("{version}", "1"),
        };
        let body = match route.path {
            "/api/v1/query" => json!({ "sql": "SELECT * FROM flights" }),
            "/api/v1/rollouts/{deployment}" => json!({ "version": "late@1" }),
            "/api/v1/features/{view}/nearest" => json!({ "feature": "last_delay", "vector": [1] }),
            "/tokens/invite" => json!({ "person": "ana", "pod": "p" }),
            "/api/v1/tags" => json!({ "tag": "q1" }),
            "/api/v1/branches" => json!({ "branch": "audit", "datasets": ["flights"] }),
            "/api/v1/holds" => json!({ "hold": "case", "reason": "a test" }),
            "/api/v1/datasets/{dataset}/restore" => json!({ "to": "0", "reason": "a test" }),
            "/get-online-features" => json!({ "features": ["aircraft:landings"], "entities": { "tailnum": ["N1"] } }),
            "/push" => json!({ "push_source_name": "flights", "df": { "tailnum": ["N1"] } }),
            "/write-to-online-store" => json!({ "feature_view_name": "aircraft", "df": { "tailnum": ["N1"] } }),
            path if path.contains("/quarantine/") => json!({ "reason": "a test" }),
            _ => json!({}),
        };
        let path = path.replace("{tag}", "q0").replace("{branch}", "none").replace("{hold}", "none");
        let answer = match route.method {
            "GET" => world.get(&path).await,
            "DELETE" => world.call("DELETE", &path, &[], "").await,
            _ => world.post(&path, &body).await,
        };
        answers.push((format!("{} {path}", route.method), answer.status.as_u16()));
    }
    answers
}

#[tokio::test]
async fn a_stranger_gets_through_no_door_and_every_refusal_is_on_record() {
    let world = World::with_rows().await;
    let asked = json!({ "entities": { "tailnum": "N1" } });
    let decision = world.post("/decide/late", &asked).await.ok().json()["id"].as_str().unwrap().to_owned();
    for (route, status) in knock(&world, &decision).await {
        assert!(!matches!(status, 401 | 403 | 500..), "a member at {route}: {status}");
    }
    let world = world.stranger();
    let answers = knock(&world, &decision).await;
    for (route, status) in &answers {
        assert_eq!(*status, 403, "a stranger at {route}");
    }
    let ledger = &world.doors.ledger;
    let written = ledger.newest(&[AuthorizationRefused::KIND], 1000).unwrap();
    let mut different: Vec<AuthorizationRefused> = written.iter().map(|one| one.fact.payload().unwrap()).collect();
    different.sort_by(|a, b| (&a.action, &a.resource).cmp(&(&b.action, &b.resource)));
    different.dedup_by(|a, b| (&a.action, &a.resource) == (&b.action, &b.resource));
    assert_eq!(different.len(), written.len(), "each is written down once");
    world.doors.guard.settle(true).await.unwrap();
    let counted = ledger.newest(&[RefusalsCounted::KIND], 1000).unwrap();
    let counted: RefusalsCounted = counted[0].fact.payload().unwrap();
    let again: u64 = counted.again.iter().map(|again| again.times).sum();
    assert_eq!((written.len() as u64 + again, counted.others), (answers.len() as u64, 0));
}

#[tokio::test]
async fn without_a_token_nobody_comes_in_from_elsewhere() {
    let mut world = World::new().await;
    world.loopback = false;
    for (route, status) in knock(&world, "013e9b1c-2a00-7000-8000-0000000000aa").await {
        assert_eq!(status, 401, "{route}");
    }
    world.get("/health").await.ok();
    world.get("/console/style.css").await.ok();
    world.token = Some("wrong".to_owned());
    assert_eq!(world.get("/").await.status, 401);
    world.loopback = true;
    assert_eq!(world.get("/").await.status, 401, "a bad token does not fall back to the local person");
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let world = World::with_rows().await;
    let body = r#"{"entities":{"tailnum":"N1"}}"#;
    let json = ("content-type", "application/json");
    for headers in [
        [json, ("origin", "https://evil.example")],
        [json, ("origin", "null")],
        [json, ("sec-fetch-site", "cross-site")],
        [json, ("host", "evil.example")],
    ] {
        assert_eq!(world.call("POST", "/decide/late", &headers, body).await.status, 403, "{headers:?}");
    }
    world.call("POST", "/decide/late", &[json, ("origin", "http://localhost:8080")], body).await.ok();
    assert_eq!(world.call("GET", "/api/v1/datasets", &[("host", "evil.example")], "").await.status, 403);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let world = World::new().await;
    assert_eq!(world.get("/nothing").await.error(), (404, "there is no such address here".to_owned()));
    assert_eq!(world.get("/decide/late").await.error().0, 405);
    assert_eq!(
        world.post("/decide/lat", &json!({ "entities": {} })).await.error(),
        (404, "there is no deployment `lat`; did you mean `late`?".to_owned())
    );
    let answer = world.call("POST", "/decide/late", &[("content-type", "application/json")], vec![b' '; 2 << 20]).await;
    assert_eq!(answer.error().0, 413);
}

#[tokio::test]
async fn a_handler_that_panics_is_an_error_without_its_words() {
    let world = World::new().await;
    let handler = get(async || -> &'static str { panic!("the secret") });
    let route = Route {
        method: "GET",
        path: "/boom",
        access: Access::Open("a test"),
        weight: Weight::Light,
        most_bytes: 0,
        told: crate::way_in::Told::Program,
        handler,
    };
    let world = World { router: router(world.doors.clone(), vec![route]), ..world };
    let (status, sentence) = world.get("/boom").await.error();
    assert_eq!((status, sentence.as_str()), (500, "something went wrong; the log says more"));
}

#[tokio::test]
async fn when_there_is_no_room_callers_are_told_when_to_come_back() {
    let world = World::new().await;
    let house = Arc::new(House::new(world.doors.clone(), Metrics::new(std::iter::empty())));
    let mut held = Vec::new();
    let problem = loop {
        match house.room(Weight::Heavy) {
            Ok(room) => held.push(room),
            Err(problem) => break problem,
        }
    };
    assert!(!held.is_empty() && held.len() < 16);
    let response = axum::response::IntoResponse::into_response(problem);
    assert_eq!(
        (response.status(), response.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::TOO_MANY_REQUESTS, "1")
    );
    drop(house.room(Weight::Light).unwrap());
    held.clear();
    drop(house.room(Weight::Heavy).unwrap());
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let world = World::new().await;
    world.get("/health").await.ok();
    world.get("/api/v1/facts/99999").await;
    let text = world.get("/metrics").await.ok().text().to_owned();
    for line in [
        "tenon_http_requests_total{method=\"GET\",route=\"/health\",status=\"200\"} 1",
        "tenon_http_requests_total{method=\"GET\",route=\"/api/v1/facts/{index}\",status=\"404\"} 1",
        "tenon_decisions_total{deployment=\"late\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("tenon_facts_total "));
}
