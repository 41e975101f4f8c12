//! The Open Inference Protocol.

use serde_json::json;

use super::World;

#[tokio::test]
async fn a_client_finds_its_way() {
    let world = World::new().await;
    world.get("/v2/health/live").await.ok();
    world.get("/v2/health/ready").await.ok();
    assert_eq!(world.get("/v2").await.ok().json()["name"], "tenon");
    assert_eq!(world.get("/v2/models/late/ready").await.ok().json(), json!({ "name": "late", "ready": true }));
    assert_eq!(world.get("/v2/models/late/versions/9/ready").await.status, 503);
    let model = world.get("/v2/models/late/versions/1").await.ok().json();
    assert_eq!(
        (&model["name"], &model["versions"], &model["platform"]),
        (&json!("late"), &json!(["1"]), &json!("onnx_onnxv1"))
    );
    assert_eq!((&model["inputs"][0]["datatype"], &model["inputs"][0]["shape"]), (&json!("FP32"), &json!([-1, 2])));
    let index = world.post("/v2/repository/index", &json!({})).await.ok().json();
    assert_eq!(index, json!([{ "name": "late", "version": "1", "state": "READY", "reason": "" }]));
    assert_eq!(world.get("/v2/models/late/config").await.ok().json()["input"][0]["data_type"], "TYPE_FP32");
    assert_eq!(world.get("/v2/models/none").await.error().0, 404);
    assert_eq!(world.get("/v2/models/late/versions/9").await.error().0, 404);
    assert_eq!(world.get("/v2/models/late/versions/x").await.error().0, 404);
}

#[tokio::test]
async fn tensors_go_in_and_out_in_json_and_in_binary() {
    let world = World::new().await;
    let model = world.get("/v2/models/late").await.ok().json();
    let input = model["inputs"][0]["name"].as_str().unwrap();
    let asked = json!({ "id": "7", "inputs": [
        { "name": input, "shape": [2, 2], "datatype": "FP32", "data": [[40.0, 1.0], [null, 0.0]] },
    ] });
    let plain = world.post("/v2/models/late/infer", &asked).await.ok().json();
    assert_eq!(
        (&plain["id"], &plain["model_name"], &plain["model_version"]),
        (&json!("7"), &json!("late"), &json!("1"))
    );
    let scores = plain["outputs"].as_array().unwrap().iter().find(|output| output["datatype"] == "FP32").unwrap();

    let header = json!({ "parameters": { "binary_data_output": true }, "inputs": [
        { "name": input, "shape": [2, 2], "datatype": "FP32", "parameters": { "binary_data_size": 16 } },
    ] })
    .to_string();
    let mut body = header.clone().into_bytes();
    [40.0_f32, 1.0, f32::NAN, 0.0].iter().for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
    let length = header.len().to_string();
    let headers = [("inference-header-content-length", length.as_str())];
    let answer = world.call("POST", "/v2/models/late/versions/1/infer", &headers, body).await.ok();
    let length: usize = answer.headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let (head, mut behind) = answer.bytes.split_at(length);
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    for output in head["outputs"].as_array().unwrap() {
        let size = output["parameters"]["binary_data_size"].as_u64().unwrap() as usize;
        let (bytes, rest) = behind.split_at(size);
        behind = rest;
        if output["datatype"] == "FP32" {
            let (chunks, _) = bytes.as_chunks::<4>();
            let values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            let expected: Vec<f32> =
                scores["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            assert_eq!(values, expected);
        }
    }
    assert!(behind.is_empty());
    let stats = world.get("/v2/models/late/stats").await.ok().json();
    assert_eq!(
        (&stats["model_stats"][0]["inference_count"], &stats["model_stats"][0]["execution_count"]),
        (&json!(4), &json!(2))
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let world = World::new().await;
    let model = world.get("/v2/models/late").await.ok().json();
    let name = model["inputs"][0]["name"].as_str().unwrap();
    let one = |name: &str, shape: serde_json::Value, kind: &str, data: serde_json::Value| json!({ "inputs": [{ "name": name, "shape": shape, "datatype": kind, "data": data }] });
    for (body, words) in [
        (one(name, json!([1, 3]), "FP32", json!([1, 2, 3])), "the model takes [-1, 2]"),
        (one(name, json!([1, 2]), "FP64", json!([1, 2])), "is FP64, the model takes FP32"),
        (one("x", json!([1, 2]), "FP32", json!([1, 2])), "the model has no input `x`"),
        (json!({ "inputs": [] }), "is missing"),
    ] {
        let (status, sentence) = world.post("/v2/models/late/infer", &body).await.error();
        assert!(status == 400 && sentence.contains(words), "{body}: {status} {sentence}");
    }
    let body = one(name, json!([1, 2]), "FP32", json!([1, 2]));
    assert_eq!(world.post("/v2/models/none/infer", &body).await.error().0, 404);
    assert_eq!(world.post("/v2/models/late/versions/9/infer", &body).await.error().0, 404);
    let zipped = world.call("POST", "/v2/models/late/infer", &[("content-encoding", "gzip")], "x").await;
    assert_eq!(zipped.error().0, 415);
    let most = crate::oip::MOST_BYTES;
    assert_eq!(world.call("POST", "/v2/models/late/infer", &[], vec![b' '; most + 1]).await.error().0, 413);
}
