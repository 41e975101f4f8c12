//! TreeSHAP against its definition and against the shap package.

use proptest::prelude::*;
use serde_json::Value;
use tenon_onnx::{Model, ModelMeta, Node, Tree, TreeEnsemble, TreeShap};

use crate::fixtures::{assert_close, json, model, numbers, rows};
use crate::trees;

/// The expectation of the tree's value when only the features in `known` (a bit mask) are known.
fn expectation(tree: &Tree, at: usize, row: &[f32], known: u32) -> f64 {
    let cover = |child: u32| match tree.nodes[child as usize] {
        Node::Split { cover, .. } | Node::Leaf { cover, .. } => f64::from(cover as f32),
    };
    match tree.nodes[at] {
        Node::Leaf { value, .. } => f64::from(value as f32),
        Node::Split { feature, threshold, missing_left, left, right, .. } => {
            let below = |child: u32| expectation(tree, child as usize, row, known);
            if known & 1 << feature != 0 {
                let x = row[feature as usize];
                let goes_left = if x.is_nan() { missing_left } else { f64::from(x) < threshold };
                below(if goes_left { left } else { right })
            } else {
                let (l, r) = (cover(left), cover(right));
                (l * below(left) + r * below(right)) / (l + r)
            }
        }
    }
}

/// Shapley values by their definition, over all coalitions.
fn brute_force(trees: &[Tree], row: &[f32]) -> Vec<f64> {
    let n = row.len() as u32;
    let game: Vec<f64> =
        (0..1 << n).map(|known| trees.iter().map(|tree| expectation(tree, 0, row, known)).sum()).collect();
    let factorial = |k: u32| (1..=k).map(f64::from).product::<f64>();
    let gain = |feature: u32, known: u32| {
        let size = known.count_ones();
        let weight = factorial(size) * factorial(n - size - 1) / factorial(n);
        weight * (game[(known | 1 << feature) as usize] - game[known as usize])
    };
    let without = |feature: u32| (0..1_u32 << n).filter(move |known| known & 1 << feature == 0);
    (0..n).map(|feature| without(feature).map(|known| gain(feature, known)).sum()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn values_are_the_shapley_values(
        trees in proptest::collection::vec(trees::tree(5, 6), 1..4),
        row in trees::row(5),
    ) {
        let ensemble = TreeEnsemble::regressor(&trees, 0.5, 5).unwrap();
        let Ok(shap) = TreeShap::new(&ensemble, 0) else { return Ok(()) };
        let found = shap.explain(&row, 5).unwrap();
        assert_close(&found.values, &brute_force(&trees, &row), 1e-9, "shapley");
        let margin = ensemble.margins(&row, 5).unwrap()[0];
        prop_assert!((found.expected + found.values.iter().sum::<f64>() - margin).abs() < 1e-9);
    }

    #[test]
    fn deep_and_wide_paths_still_sum_to_the_margin(tree in trees::tree(60, 12), row in trees::row(60)) {
        let ensemble = TreeEnsemble::regressor(&[tree], 0.0, 60).unwrap();
        let shap = TreeShap::new(&ensemble, 0).unwrap();
        let found = shap.explain(&row, 60).unwrap();
        let margin = ensemble.margins(&row, 60).unwrap()[0];
        prop_assert!((found.expected + found.values.iter().sum::<f64>() - margin).abs() < 1e-9);
    }
}

/// LightGBM's own dump: `x <= threshold` goes left.
pub fn lightgbm_tree(root: &Value) -> Tree {
    fn visit(node: &Value, nodes: &mut Vec<Node>) -> u32 {
        let number = |key: &str| node[key].as_f64().unwrap();
        let at = nodes.len();
        if node.get("leaf_value").is_some() {
            nodes.push(Node::Leaf { value: number("leaf_value"), cover: number("leaf_count") });
            return at as u32;
        }
        nodes.push(Node::Leaf { value: 0.0, cover: 0.0 });
        let (left, right) = (visit(&node["left_child"], nodes), visit(&node["right_child"], nodes));
        nodes[at] = Node::Split {
            feature: node["split_feature"].as_u64().unwrap() as u32,
            threshold: number("threshold").next_up(),
            missing_left: node["default_left"].as_bool().unwrap(),
            left,
            right,
            cover: number("internal_count"),
        };
        at as u32
    }
    let mut nodes = Vec::new();
    visit(root, &mut nodes);
    Tree { nodes }
}

#[test]
fn values_agree_with_the_shap_package() {
    let case = json("lightgbm_shap.json");
    let trees: Vec<_> = case["trees"].as_array().unwrap().iter().map(lightgbm_tree).collect();
    let input = rows("X", &case["rows"]);
    let (values, width) = (input.as_f32().unwrap(), input.shape[1]);
    let ensemble = TreeEnsemble::binary_classifier(&trees, 0.0, width).unwrap();
    let expected = numbers(case["values"].as_array().unwrap());

    // Once as trained, and once as read back from the artifact.
    let artifact = Model::load(&ensemble.to_onnx(&ModelMeta::default())).unwrap();
    for ensemble in [&ensemble, artifact.ensemble().unwrap()] {
        let found = TreeShap::new(ensemble, 0).unwrap().explain(values, width).unwrap();
        assert_close(&found.values, &expected, 1e-6, "shap");
        assert!((found.expected - case["expected"].as_f64().unwrap()).abs() < 1e-6);
        let margins = ensemble.margins(values, width).unwrap();
        for (phi, margin) in found.values.chunks(width).zip(margins) {
            assert!((found.expected + phi.iter().sum::<f64>() - margin).abs() < 1e-6);
        }
    }
}

#[test]
fn batches_on_many_threads_give_the_same_bits() {
    let case = json("lightgbm_shap.json");
    let trees: Vec<_> = case["trees"].as_array().unwrap().iter().map(lightgbm_tree).collect();
    let input = rows("X", &case["rows"]);
    let (values, width) = (input.as_f32().unwrap(), input.shape[1]);
    let shap = TreeShap::new(&TreeEnsemble::binary_classifier(&trees, 0.0, width).unwrap(), 0).unwrap();
    let once = shap.explain(values, width).unwrap().values;
    assert_eq!(shap.explain(&values.repeat(300), width).unwrap().values, once.repeat(300));
    assert_eq!(shap.explain(&values[..width], width).unwrap().values, once[..width]);
}

#[test]
fn what_cannot_be_explained_says_why() {
    let model = Model::load(&model("lightgbm_classifier")).unwrap();
    let error = TreeShap::new(model.ensemble().unwrap(), 0).err().unwrap().to_string();
    assert!(error.contains("nodes_hitrates"), "{error}");
}
