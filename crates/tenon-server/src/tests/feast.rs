//! Feast's feature server, as its client speaks to it.

use serde_json::{Value, json};

use super::{Answer, World};

impl Answer {
    /// What Feast's client would raise: the status, the class, the message.
    #[track_caller]
    fn raised(&self) -> (u16, String, String) {
        let detail: Value = serde_json::from_str(self.json().as_str().unwrap()).unwrap();
        assert_eq!(detail["module"], "feast.errors");
        let text = |field: &str| detail[field].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("class"), text("message"))
    }
}

#[tokio::test]
async fn features_come_back_column_by_column() {
    let world = World::with_rows().await;
    let asked = json!({
        "entities": { "tailnum": ["N1", "N9", null, "N2"] },
        "features": ["aircraft:landings", "aircraft:last_delay"],
        "include_feature_view_version_metadata": true, "something_new": 1,
    });
    let answer = world.post("/get-online-features", &asked).await.ok().json();
    let (eleven, none) = ("2013-06-01T11:00:00Z", "1970-01-01T00:00:00Z");
    assert_eq!(
        answer,
        json!({
            "metadata": {
                "feature_names": ["tailnum", "landings", "last_delay"],
                "feature_view_metadata": [{ "name": "aircraft", "version": 0 }],
            },
            "results": [
                { "values": ["N1", "N9", null, "N2"], "statuses": ["PRESENT", "PRESENT", "PRESENT", "PRESENT"],
                  "event_timestamps": [none, none, none, none] },
                { "values": [1.0, 0.0, null, 1.0], "statuses": ["PRESENT", "PRESENT", "NOT_FOUND", "PRESENT"],
                  "event_timestamps": [eleven, none, none, eleven] },
                { "values": [40.0, null, null, -3.0], "statuses": ["PRESENT", "NOT_FOUND", "NOT_FOUND", "PRESENT"],
                  "event_timestamps": [eleven, none, none, eleven] },
            ],
        })
    );
}

#[tokio::test]
async fn a_service_is_a_model_or_one_of_its_versions() {
    let world = World::with_rows().await;
    for service in ["late", "late@1"] {
        let asked = json!({
            "entities": { "tailnum": ["N1"] }, "feature_service": service, "full_feature_names": true,
        });
        let answer = world.post("/get-online-features", &asked).await.ok().json();
        assert_eq!(
            answer["metadata"],
            json!({ "feature_names": ["tailnum", "aircraft__last_delay", "aircraft__landings"] })
        );
        assert_eq!(answer["results"][1]["values"], json!([40.0]));
    }
}

#[tokio::test]
async fn what_is_null_and_what_is_too_old_is_told_apart() {
    let world = World::with_rows().await;
    let rows = "{\"tailnum\":\"N3\",\"landed_at\":\"2013-06-01T11:00:00Z\",\"arr_delay\":null}\n\
                {\"tailnum\":\"N4\",\"landed_at\":\"2013-05-31T23:00:00Z\",\"arr_delay\":1}\n";
    world.call("POST", "/ingest/flights", &[], rows).await.ok();
    let asked = json!({ "entities": { "tailnum": ["N3", "N4"] }, "features": ["aircraft:last_delay"] });
    let answer = world.post("/get-online-features", &asked).await.ok().json();
    assert_eq!(answer["results"][1]["statuses"], json!(["NULL_VALUE", "OUTSIDE_MAX_AGE"]));
    assert_eq!(answer["results"][1]["values"], json!([null, null]));
}

#[tokio::test]
async fn what_is_wrong_with_a_read_is_raised_as_an_error_of_feasts() {
    let world = World::with_rows().await;
    let one = json!({ "tailnum": ["N1"] });
    let many: Vec<_> = (0..10_001).map(|tail| json!(format!("N{tail}"))).collect();
    let delay = ["aircraft:last_delay"];
    for (body, status, class, words) in [
        (
            json!({ "entities": one, "features": ["aircraf:x"] }),
            404,
            "FeatureViewNotFoundException",
            "did you mean `aircraft`?",
        ),
        (json!({ "entities": one, "features": ["no such:x"] }), 404, "FeatureViewNotFoundException", "`no such`"),
        (
            json!({ "entities": one, "features": ["aircraft:x"] }),
            404,
            "SpecifiedFeaturesNotPresentError",
            "it has `last_delay`",
        ),
        (json!({ "entities": one, "features": ["last_delay"] }), 422, "FeastError", "it is written `view:feature`"),
        (json!({ "entities": one, "features": [] }), 422, "FeastError", "no feature is asked for"),
        (
            json!({ "entities": one, "features": ["aircraft:landings", "aircraft:landings"] }),
            422,
            "FeatureNameCollisionError",
            "`landings`",
        ),
        (
            json!({ "entities": one, "feature_service": "lat" }),
            404,
            "FeatureServiceNotFoundException",
            "did you mean `late`?",
        ),
        (json!({ "entities": one, "feature_service": "late@7" }), 404, "FeatureServiceNotFoundException", "late@7"),
        (
            json!({ "entities": { "tailnm": ["N1"] }, "features": delay }),
            404,
            "EntityNotFoundException",
            "did you mean `tailnum`?",
        ),
        (json!({ "entities": {}, "features": delay }), 422, "FeastError", "no entity is named"),
        (json!({ "entities": { "tailnum": [7] }, "features": delay }), 422, "FeastError", "the request has 7"),
        (json!({ "entities": { "tailnum": ["N1", ["N2"]] }, "features": delay }), 422, "FeastError", "in row 2"),
        (json!({ "entities": { "tailnum": "N1" }, "features": delay }), 422, "FeastError", "entities"),
        (json!({ "entities": { "tailnum": many }, "features": delay }), 413, "FeastError", "10001 entities"),
        (json!({ "features": delay }), 422, "FeastError", "missing field `entities`"),
    ] {
        let (found, raised, message) = world.post("/get-online-features", &body).await.raised();
        assert!(found == status && raised == class && message.contains(words), "{found} {raised} {message}");
    }
    let json = ("content-type", "application/json");
    let large = world.call("POST", "/get-online-features", &[json], vec![b' '; 5 << 20]).await;
    assert_eq!(large.raised().0, 413);
    let world = world.stranger();
    let asked = json!({ "entities": one, "features": delay });
    assert_eq!(world.post("/get-online-features", &asked).await.raised().1, "FeastPermissionError");
    let mut world = world;
    world.token = Some("wrong".to_owned());
    assert_eq!(world.post("/get-online-features", &asked).await.raised().0, 401, "the way in speaks the same");
}

#[tokio::test]
async fn what_is_pushed_lands_in_the_dataset_and_is_served() {
    let world = World::with_rows().await;
    let read = async |tail: &str| {
        let asked =
            json!({ "entities": { "tailnum": [tail] }, "features": ["aircraft:last_delay", "aircraft:landings"] });
        let answer = world.post("/get-online-features", &asked).await.ok().json();
        (answer["results"][1]["values"][0].clone(), answer["results"][2]["values"][0].clone())
    };
    let push = json!({
        "push_source_name": "flights", "to": "online_and_offline", "allow_registry_cache": true, "transform_on_write": true,
        "df": { "tailnum": ["N1", "N1"], "landed_at": ["2013-06-01 11:30:00", "2013-06-01T10:00:00"], "arr_delay": [5, 900] },
    });
    let told = world.post("/push", &push).await.ok().json();
    assert_eq!(
        (&told["outcome"], &told["accepted"], &told["older"]),
        (&json!("committed"), &json!(2), &json!({ "aircraft": 1 }))
    );
    assert_eq!(read("N1").await, (json!(5.0), json!(3.0)), "the older row counts, and is not the last");
    assert_eq!(world.post("/push", &push).await.ok().json()["outcome"], "already");
    let written = json!({
        "feature_view_name": "aircraft", "allow_registry_cache": false,
        "df": { "tailnum": ["N8"], "last_delay": [12.5], "event_timestamp": ["2013-06-01T11:00:00"], "created": [null] },
    });
    assert_eq!(world.post("/write-to-online-store", &written).await.ok().json()["accepted"], 1);
    assert_eq!(read("N8").await, (json!(12.5), json!(1.0)));
    let sql = json!({ "sql": "SELECT arr_delay FROM flights WHERE tailnum = 'N8'" });
    assert_eq!(
        world.post("/api/v1/query", &sql).await.ok().json()["rows"],
        json!([{ "arr_delay": 12.5 }]),
        "it is in the lake"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_push_is_raised_as_an_error_of_feasts() {
    let world = World::with_rows().await;
    let rows = json!({ "tailnum": ["N1"], "landed_at": ["2013-06-01T11:30:00Z"], "arr_delay": [5] });
    let bad = json!({ "tailnum": ["N1"], "landed_at": ["2013-06-01T11:30:00Z"], "arr_delay": [9999] });
    let push = |name: &str, to: &str, df: &Value| ("/push", json!({ "push_source_name": name, "to": to, "df": df }));
    let write = |name: &str, df: Value| ("/write-to-online-store", json!({ "feature_view_name": name, "df": df }));
    for ((path, body), status, class, words) in [
        (push("flight", "online", &rows), 404, "PushSourceNotFoundException", "did you mean `flights`?"),
        (write("aircrafts", rows.clone()), 404, "FeatureViewNotFoundException", "`aircrafts`"),
        (push("flights", "offline", &rows), 422, "FeastError", "push to `online_and_offline`"),
        (push("flights", "nowhere", &rows), 422, "FeastError", "`to` is `nowhere`"),
        (push("flights", "online", &json!({})), 422, "FeastError", "`df` has no columns"),
        (push("flights", "online", &json!({ "tailnum": [] })), 422, "FeastError", "`df` has no rows"),
        (
            push("flights", "online", &json!({ "tailnum": ["a"], "arr_delay": [] })),
            422,
            "FeastError",
            "not equally long",
        ),
        (push("flights", "online", &json!({ "tailnm": ["a"] })), 422, "FeastError", "did you mean `tailnum`?"),
        (push("flights", "online", &json!({ "tailnum": "a" })), 422, "FeastError", "is not what this address takes"),
        (push("flights", "online", &bad), 422, "FeastError", ""),
        (
            write("aircraft", json!({ "tailnum": ["a"], "landings": [1] })),
            422,
            "FeastError",
            "`landings` is computed from rows",
        ),
        (
            write("aircraft", json!({ "tailnum": ["a"], "last_delay": [1], "arr_delay": [1] })),
            422,
            "FeastError",
            "which is there already",
        ),
    ] {
        let (found, raised, message) = world.post(path, &body).await.raised();
        assert!(found == status && raised == class && message.contains(words), "{path}: {found} {raised} {message}");
    }
    let large = world.call("POST", "/push", &[], vec![b' '; crate::feast::MOST_BYTES + 1]).await;
    assert_eq!(large.raised().0, 413);
}
