//! Random ensembles.

use proptest::prelude::*;
use tenon_onnx::{Node, Tree};

/// A tree grown from random bytes: at most `depth` deep, over `features` features, covers that add up.
pub fn tree(features: u32, depth: u32) -> impl Strategy<Value = Tree> {
    proptest::collection::vec((any::<u8>(), -3_i8..4, any::<u8>(), any::<bool>()), 1 << (depth + 1)).prop_map(
        move |choices| {
            let mut nodes = Vec::new();
            grow(&mut nodes, &choices, features, depth, 100.0);
            Tree { nodes }
        },
    )
}

fn grow(nodes: &mut Vec<Node>, choices: &[(u8, i8, u8, bool)], features: u32, depth: u32, cover: f64) -> u32 {
    let at = nodes.len();
    let (kind, threshold, share, missing_left) = choices[at % choices.len()];
    nodes.push(Node::Leaf { value: f64::from(threshold) * 0.25 + f64::from(share) * 0.01, cover });
    if depth > 0 && kind > 40 {
        let to_left = cover * (0.05 + 0.9 * f64::from(share) / 255.0);
        let left = grow(nodes, choices, features, depth - 1, to_left);
        let right = grow(nodes, choices, features, depth - 1, cover - to_left);
        let feature = u32::from(kind) % features;
        let threshold = f64::from(threshold) * 0.5;
        nodes[at] = Node::Split { feature, threshold, missing_left, left, right, cover };
    }
    at as u32
}

/// A row whose values lie on, between and beyond the thresholds, or are missing.
pub fn row(features: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(
        prop_oneof![8 => (-8_i8..9).prop_map(|x| f32::from(x) * 0.25), 1 => Just(f32::NAN)],
        features,
    )
}

/// The leaf that a row reaches, walked as the definition says.
pub fn predict(tree: &Tree, row: &[f32]) -> f64 {
    let mut at = 0;
    loop {
        match tree.nodes[at] {
            Node::Leaf { value, .. } => return f64::from(value as f32),
            Node::Split { feature, threshold, missing_left, left, right, .. } => {
                let x = row[feature as usize];
                let goes_left = if x.is_nan() { missing_left } else { f64::from(x) < threshold };
                at = if goes_left { left } else { right } as usize;
            }
        }
    }
}
