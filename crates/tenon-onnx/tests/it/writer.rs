//! What is written is what was built.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenon_onnx::{Dim, Model, ModelMeta, Node, Tensor, TensorData, Tree, TreeEnsemble};

use crate::trees;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn an_ensemble_survives_its_file(
        trees in proptest::collection::vec(trees::tree(4, 5), 1..10),
        rows in proptest::collection::vec(trees::row(4), 1..20),
        base in -1.0..1.0_f64,
    ) {
        let ensemble = TreeEnsemble::regressor(&trees, base, 4).unwrap();
        let bytes = ensemble.to_onnx(&ModelMeta::default());
        prop_assert_eq!(&bytes, &ensemble.clone().to_onnx(&ModelMeta::default()));
        let read = Model::load(&bytes).unwrap();
        prop_assert_eq!(&bytes, &read.ensemble().unwrap().to_onnx(&ModelMeta::default()));

        let flat = rows.concat();
        let margins = ensemble.margins(&flat, 4).unwrap();
        prop_assert_eq!(&margins, &read.ensemble().unwrap().margins(&flat, 4).unwrap());
        for (row, margin) in rows.iter().zip(&margins) {
            let sum: f64 = trees.iter().map(|tree| trees::predict(tree, row)).sum();
            prop_assert!((sum + f64::from(base as f32) - margin).abs() < 1e-9);
        }
    }
}

fn stump(left: f64, right: f64) -> Tree {
    let split = Node::Split { feature: 1, threshold: 0.1, missing_left: false, left: 1, right: 2, cover: 10.0 };
    Tree { nodes: vec![split, Node::Leaf { value: left, cover: 4.0 }, Node::Leaf { value: right, cover: 6.0 }] }
}

#[test]
fn a_classifier_declares_itself() {
    let ensemble = TreeEnsemble::binary_classifier(&[stump(-1.0, 1.0)], 0.25, 3).unwrap();
    let metadata = BTreeMap::from([("units".to_owned(), "minutes".to_owned()), ("a".to_owned(), "b".to_owned())]);
    let model =
        Model::load(&ensemble.to_onnx(&ModelMeta { metadata: metadata.clone(), ..ModelMeta::default() })).unwrap();
    assert_eq!(model.metadata(), &metadata);
    let [input] = model.inputs() else { panic!("one input") };
    assert_eq!((input.name.as_str(), &input.shape[1]), ("features", &Dim::Fixed(3)));
    let names: Vec<_> = model.outputs().iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["label", "probabilities"]);

    let outputs =
        model.run(&[Tensor::matrix("features", vec![0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0], 3).unwrap()]).unwrap();
    assert_eq!(outputs[0].data, TensorData::I64(vec![1, 0]));
    let p = 1.0 / (1.0 + (-1.25_f64).exp());
    assert!((f64::from(outputs[1].as_f32().unwrap()[1]) - p).abs() < 1e-7);
    assert_eq!(model.ensemble().unwrap().predict_row(&[0.0, 5.0, 0.0]).unwrap(), p);
}

#[test]
fn margins_without_a_negative_leaf_stay_margins() {
    let ensemble = TreeEnsemble::binary_classifier(&[stump(0.1, 0.2)], -0.15, 2).unwrap();
    let model = Model::load(&ensemble.to_onnx(&ModelMeta::default())).unwrap();
    let outputs = model.run(&[Tensor::matrix("features", vec![0.0, 0.0, 0.0, 1.0], 2).unwrap()]).unwrap();
    assert_eq!(outputs[0].data, TensorData::I64(vec![0, 1]));
    assert_eq!(model.ensemble().unwrap().margins(&[0.0, 1.0], 2).unwrap(), ensemble.margins(&[0.0, 1.0], 2).unwrap());
}
