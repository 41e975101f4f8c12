//! Files and requests that are wrong get an error, never a panic or an endless loop.

use proptest::prelude::*;
use tenon_onnx::{Model, OnnxError, Session, Tensor, TensorData};

use crate::fixtures::{base64, json, model};

const MODELS: [&str; 5] =
    ["lightgbm_three_classes", "boosting_regressor", "imputed_columns", "scaled_logistic", "logistic_three_classes"];

/// Loads what may be damaged and, if that works, runs it.
fn try_all(bytes: &[u8]) {
    if let Ok(model) = Model::load(bytes) {
        for width in [1, 6] {
            let inputs: Vec<_> = model
                .inputs()
                .iter()
                .map(|info| Tensor::matrix(&info.name, vec![0.5; 3 * width], width).unwrap())
                .collect();
            let _ = model.run(&inputs);
        }
        if let Some(trees) = model.ensemble() {
            let _ = trees.margins(&[0.5; 60], 6);
            let _ = tenon_onnx::TreeShap::new(trees, 0).map(|shap| shap.explain(&[0.5; 60], 6));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damaged_models_never_panic(
        which in 0..MODELS.len(),
        cut in proptest::option::weighted(0.3, any::<prop::sample::Index>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = model(MODELS[which]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
    }

    #[test]
    fn damaged_operators_never_panic(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let operators = json("operators.json");
        let cases = operators["cases"].as_array().unwrap();
        let mut bytes = base64(cases[which.index(cases.len())]["model"].as_str().unwrap());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        try_all(&bytes);
    }

    #[test]
    fn noise_is_no_model(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        try_all(&bytes);
    }
}

#[test]
fn requests_that_do_not_fit_say_why() {
    let session = Session::load(&model("scaled_logistic"), || unreachable!("every operator is known")).unwrap();
    let matrix = |name: &str, width: usize| Tensor::matrix(name, vec![0.0; width], width).unwrap();
    let doubles = Tensor::new("X", vec![1, 6], TensorData::F64(vec![0.0; 6])).unwrap();
    let lying = Tensor { name: "X".into(), shape: vec![usize::MAX, 6], data: TensorData::F32(vec![0.0; 6]) };
    let requests = [
        (vec![], "was not given"),
        (vec![matrix("Y", 6)], "no such input, only `X`"),
        (vec![matrix("X", 5)], "does not fit [any, 6]"),
        (vec![doubles], "takes F32"),
        (vec![lying], "does not hold"),
    ];
    for (request, words) in requests {
        let error = session.run(&request).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(Tensor::new("X", vec![2, 3], TensorData::Bool(vec![true])).is_err());
}

#[test]
fn what_is_no_model_says_why() {
    let mut cut = model("logistic");
    cut.truncate(cut.len() / 2);
    assert!(matches!(Model::load(&cut), Err(OnnxError::Malformed(_) | OnnxError::Invalid { .. })));
    assert!(Model::load(b"").unwrap_err().to_string().contains("no graph"));
}
