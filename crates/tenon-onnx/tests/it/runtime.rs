//! The seam between the two engines. `scripts/test.sh` names ONNX Runtime's library in `ORT_DYLIB_PATH`; without it its
//! half is skipped, and says so where `cargo test` hides nothing. A library that is named and not there fails the test.

use prost::Message;
use tenon_onnx::proto::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, attribute_type};
use tenon_onnx::{Model, ModelMeta, Node, OnnxError, Runtime, Session, Tensor, Tree, TreeEnsemble};

use crate::fixtures::{json, model, rows};
use crate::shap::lightgbm_tree;

/// `scaled_logistic` with one more operator behind the probabilities.
fn followed_by(domain: &str, operator: &str) -> Vec<u8> {
    let mut model = ModelProto::decode(model("scaled_logistic").as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let probabilities = graph.output[1].name.clone();
    graph.output[1].name = "after".to_owned();
    graph.node.push(NodeProto {
        input: vec![probabilities],
        output: vec!["after".to_owned()],
        op_type: operator.to_owned(),
        domain: domain.to_owned(),
        attribute: if operator == "Elu" { vec![alpha()] } else { vec![] },
        ..NodeProto::default()
    });
    if model.opset_import.iter().all(|opset| opset.domain() != "") {
        model.opset_import.push(OperatorSetIdProto { domain: Some(String::new()), version: Some(15) });
    }
    model.encode_to_vec()
}

fn alpha() -> AttributeProto {
    AttributeProto {
        name: "alpha".to_owned(),
        f: Some(1.0),
        r#type: attribute_type::FLOAT,
        ..AttributeProto::default()
    }
}

#[test]
fn an_unknown_operator_is_named() {
    let nowhere = || Err(OnnxError::RuntimeMissing { looked_at: vec!["ORT_DYLIB_PATH (not set)".to_owned()] });
    let error = Session::load(&followed_by("", "Elu"), nowhere).unwrap_err();
    assert!(matches!(error, OnnxError::RuntimeNeeded { .. }));
    assert!(error.to_string().contains("`Elu`"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("ORT_DYLIB_PATH") && source.contains("pip install onnxruntime"), "{source}");
    let error = Session::load(&followed_by("ai.onnx.ml", "ZipMap"), nowhere).unwrap_err().to_string();
    assert!(error.contains("zipmap=False"), "{error}");
}

#[test]
fn the_runtime_is_not_looked_for_in_vain() {
    let known = Session::load(&model("scaled_logistic"), || unreachable!("every operator is known")).unwrap();
    assert!(matches!(known, Session::Native(_)));
    assert!(Session::load(b"no model", || unreachable!("it is no model")).is_err());
}

/// One test, since a process loads the library once.
#[test]
fn the_runtime_runs_what_is_not_native() {
    let nowhere = tempfile::tempdir().unwrap();
    let missing = Runtime::find(Some(&nowhere.path().join("libonnxruntime.so")), None).unwrap_err();
    assert!(missing.to_string().contains("pip install onnxruntime"), "{missing}");
    let fake = nowhere.path().join("libonnxruntime.so");
    std::fs::write(&fake, "no library").unwrap();
    assert!(matches!(Runtime::find(Some(&fake), None), Err(OnnxError::Runtime { .. })));

    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        skipped();
        return;
    }
    let runtime = Runtime::find(None, None).unwrap();
    assert!(Runtime::find(None, None).is_ok());
    let known = Session::load(&model("scaled_logistic"), || Ok(runtime.clone())).unwrap();
    assert!(matches!(known, Session::Native(_)));
    let session = Session::load(&followed_by("", "Elu"), || Ok(runtime.clone())).unwrap();
    assert!(matches!(session, Session::Runtime(_)));
    assert_eq!(session.inputs(), known.inputs());

    let input = rows("X", &json("scaled_logistic.json")["rows"]);
    let input = [input];
    let (ours, theirs) = (known.run(&input).unwrap(), session.run(&input).unwrap());
    assert_eq!(ours[0], theirs[0]);
    for (a, b) in ours[1].as_f32().unwrap().iter().zip(theirs[1].as_f32().unwrap()) {
        assert!((a - b).abs() < 1e-6);
    }
    let error = session.run(&[Tensor::matrix("X", vec![0.0; 5], 5).unwrap()]).unwrap_err();
    assert!(matches!(error, OnnxError::Input { .. }));
    assert!(runtime.load(b"\x3a\x00").is_err());
    what_is_written_answers_alike(&runtime);
}

/// Says so past the test harness, which keeps what a passing test prints to itself.
#[allow(clippy::explicit_write, reason = "what `eprintln!` says of a test that passes is not shown")]
fn skipped() {
    use std::io::Write;
    let words =
        "SKIPPED: ORT_DYLIB_PATH is not set, so nothing was tested against ONNX Runtime (scripts/test.sh sets it)";
    writeln!(std::io::stderr(), "{words}").unwrap();
}

/// With and without a negative leaf, which decides how runtimes read a single column of scores.
fn what_is_written_answers_alike(runtime: &Runtime) {
    let case = json("lightgbm_shap.json");
    let input = [rows("features", &case["rows"])];
    let trees: Vec<_> = case["trees"].as_array().unwrap().iter().map(lightgbm_tree).collect();
    let positive = trees.iter().map(|tree| Tree { nodes: tree.nodes.iter().map(positive).collect() }).collect();
    for (trees, base) in [(trees, 0.3), (positive, -1.0)] {
        let bytes = TreeEnsemble::binary_classifier(&trees, base, 6).unwrap().to_onnx(&ModelMeta::default());
        let ours = Model::load(&bytes).unwrap().run(&input).unwrap();
        let theirs = runtime.load(&bytes).unwrap().run(&input).unwrap();
        assert_eq!(ours[0], theirs[0]);
        for (a, b) in ours[1].as_f32().unwrap().iter().zip(theirs[1].as_f32().unwrap()) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}

fn positive(node: &Node) -> Node {
    match *node {
        Node::Leaf { value, cover } => Node::Leaf { value: value.abs(), cover },
        split => split,
    }
}
