//! Every fixture answers as ONNX Runtime did.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tenon_onnx::{Model, Tensor, TensorData};

pub fn path(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

pub fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

pub fn model(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.onnx"))).unwrap()
}

/// A matrix of the JSON rows: null is NaN, and infinities are text.
pub fn rows(name: &str, rows: &Value) -> Tensor {
    let rows = rows.as_array().unwrap();
    let width = rows[0].as_array().unwrap().len();
    Tensor::matrix(name, numbers(rows).into_iter().map(|x| x as f32).collect(), width).unwrap()
}

pub fn numbers(values: &[Value]) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Array(inner) => numbers(inner),
        Value::Null => vec![f64::NAN],
        Value::String(text) => vec![text.parse().unwrap()],
        number => vec![number.as_f64().unwrap()],
    };
    values.iter().flat_map(number).collect()
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        TensorData::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
        TensorData::I64(values) => values.iter().map(|&v| v as f64).collect(),
        other => panic!("unexpected {:?}", other.dtype()),
    }
}

pub fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (at, (a, e)) in actual.iter().zip(expected).enumerate() {
        let close = a == e || a.is_nan() && e.is_nan() || (a - e).abs() <= tolerance * (1.0 + e.abs());
        assert!(close, "{what}, element {at}: {a} instead of {e}");
    }
}

fn assert_answers(model: &Model, rows: Tensor, expected: &Value, what: &str) {
    let input = Tensor { name: model.inputs()[0].name.clone(), ..rows };
    let n_rows = input.shape[0];
    let outputs = model.run(&[input]).unwrap_or_else(|error| panic!("{what}: {error}"));
    let expected = expected.as_object().unwrap();
    assert_eq!(outputs.len(), expected.len(), "{what}");
    for output in outputs {
        let wanted = expected[&output.name].as_array().unwrap();
        if what != "glue" {
            assert_eq!(output.shape[0], n_rows, "{what}");
        }
        assert_close(&floats(&output), &numbers(wanted), 1e-5, &format!("{what}, `{}`", output.name));
    }
}

#[test]
fn exported_models_answer_as_onnx_runtime() {
    let mut seen = 0;
    for entry in std::fs::read_dir(path("")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "onnx") {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let model = Model::load(&model(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let case = json(&format!("{name}.json"));
            assert_answers(&model, rows("X", &case["rows"]), &case["outputs"], &name);
            seen += 1;
        }
    }
    assert!(seen >= 13, "{seen} models");
}

#[test]
fn every_option_of_an_operator_answers_as_onnx_runtime() {
    let operators = json("operators.json");
    let cases = operators["cases"].as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let bytes = base64(case["model"].as_str().unwrap());
        let model = Model::load(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = rows("X", &operators[case["rows"].as_str().unwrap()]);
        assert_answers(&model, input, &case["outputs"], name);
    }
}

#[test]
fn one_row_and_many_agree() {
    let model = Model::load(&model("lightgbm_classifier")).unwrap();
    let trees = model.ensemble().unwrap();
    let input = rows("X", &json("lightgbm_classifier.json")["rows"]);
    let (values, width) = (input.as_f32().unwrap(), input.shape[1]);
    let many = values.repeat(2000);
    let batch = trees.predict(&many, width).unwrap();
    for (row, probabilities) in many.chunks(width).zip(batch.chunks(2)) {
        assert_eq!(trees.predict_row(row).unwrap() as f32, probabilities[1]);
    }
}

pub fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sixes: Vec<u32> =
        text.bytes().filter_map(|byte| ALPHABET.iter().position(|&a| a == byte)).map(|at| at as u32).collect();
    let bytes = sixes.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0, |bits, six| bits << 6 | six) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}
