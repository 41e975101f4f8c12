//! A version with an operator that is not evaluated in Rust is served by ONNX Runtime, or the error says how it would be.

use prost::Message;
use tenon_onnx::proto::{ModelProto, NodeProto, OperatorSetIdProto};
use tenon_onnx::{OnnxError, Runtime, Tensor, TensorData};
use tenon_serve::{FindRuntime, InferRequest, Serving, ServingOptions};

use crate::{World, onnx};

/// The model of two leaves with a `HardSigmoid` behind its probabilities: `0.2 p + 0.5`.
fn beyond_rust() -> Vec<u8> {
    let mut model = ModelProto::decode(onnx(2.0).as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let probabilities = std::mem::replace(&mut graph.output[1].name, "after".to_owned());
    graph.node.push(NodeProto {
        input: vec![probabilities],
        output: vec!["after".to_owned()],
        op_type: "HardSigmoid".to_owned(),
        ..NodeProto::default()
    });
    model.opset_import.retain(|opset| !opset.domain().is_empty());
    model.opset_import.push(OperatorSetIdProto { domain: Some(String::new()), version: Some(15) });
    model.encode_to_vec()
}

async fn serving(world: &World, journal: &str, runtime: FindRuntime) -> Serving {
    let options = ServingOptions {
        ledger: world.ledger.clone(),
        catalog: world.catalog.clone(),
        models: world.models.clone(),
        features: world.features.clone(),
        lake: world.lake.clone(),
        guard: tenon_policy::Guard::new(world.catalog.clone(), world.ledger.clone()),
        journal: world.folder.path().join(journal),
        runtime,
        clock: world.clock.clone(),
        ids: std::sync::Arc::new(tenon_core::id::RandomIds),
    };
    Serving::open(options).await.unwrap()
}

fn nowhere() -> tenon_onnx::Result<Runtime> {
    Err(OnnxError::RuntimeMissing { looked_at: vec!["ORT_DYLIB_PATH (not set)".to_owned()] })
}

#[tokio::test]
async fn a_version_beyond_rust_is_served_by_onnx_runtime_or_says_what_is_missing() {
    let world = World::deployed().await;
    world.register_artifact(2, &beyond_rust(), true).await;
    let rows = Tensor::matrix("features", vec![40.0, 1.0, 1.0], 3).unwrap();
    let request = InferRequest { inputs: vec![rows], outputs: vec!["after".to_owned()] };

    let without = serving(&world, "without", nowhere).await;
    let error = without.infer("late", Some(2), &request).unwrap_err();
    let needed = std::error::Error::source(&error).unwrap();
    assert_eq!(error.to_string(), "`late@2` could not be loaded");
    assert!(needed.to_string().starts_with("`HardSigmoid` at "), "{needed}");
    let missing = needed.source().unwrap().to_string();
    assert!(missing.contains("pip install onnxruntime") && missing.contains("ORT_DYLIB_PATH"), "{missing}");
    let known = InferRequest { outputs: Vec::new(), ..request.clone() };
    assert!(without.infer("late", Some(1), &known).is_ok(), "what is evaluated in Rust needs no library");

    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        use std::io::Write;
        let words =
            "SKIPPED: ORT_DYLIB_PATH is not set, so nothing was served by ONNX Runtime (scripts/test.sh sets it)";
        writeln!(std::io::stderr(), "{words}").unwrap();
        return;
    }
    let with = serving(&world, "with", tenon_serve::find_runtime).await;
    let answer = with.infer("late", Some(2), &request).unwrap();
    let TensorData::F32(values) = &answer.outputs[0].data else { panic!("{:?}", answer.outputs[0]) };
    let yes = 1.0 / (1.0 + (-2.25_f32).exp());
    for (value, probability) in values.iter().zip([1.0 - yes, yes]) {
        assert!((value - (0.2 * probability + 0.5)).abs() < 1e-5, "{value} for {probability}");
    }
}
