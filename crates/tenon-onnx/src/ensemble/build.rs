//! From a trainer's trees, or a file's, to the flat representation.

use super::{Aggregate, EQUALITY, FEATURE, FlatNode, Head, Labels, MISSING_LEFT, TreeEnsemble};
use crate::error::{Result, invalid};
use crate::transform::Transform;

/// One tree as a trainer made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The nodes; the first is the root.
    pub nodes: Vec<Node>,
}

/// One node of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// Rows with `row[feature] < threshold` go left, others right.
    Split {
        /// Index of the feature.
        feature: u32,
        /// The bound, as the trainer's float64; kept exact for float32 rows, see [`f32_at_or_above`].
        threshold: f64,
        /// Whether a missing value (NaN) goes left.
        missing_left: bool,
        /// Index of the left child in the tree.
        left: u32,
        /// Index of the right child in the tree.
        right: u32,
        /// Training weight that reached the node (a number of rows or a sum of hessians).
        cover: f64,
    },
    /// An end.
    Leaf {
        /// What the tree adds to the score, in margin space.
        value: f64,
        /// Training weight that reached the leaf.
        cover: f64,
    },
}

/// The least float32 at or above `threshold`: for every float32 `x`, `x < threshold` exactly when `x` is less than it.
pub fn f32_at_or_above(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) < threshold { nearest.next_up() } else { nearest }
}

/// A node whose test is already in the flat form.
pub(super) enum RawNode {
    Split { feature: u32, threshold: f32, equality: bool, missing_left: bool, left: usize, right: usize, cover: f32 },
    Leaf { values: LeafValues, cover: f32 },
}

/// One value, or a row of several in the ensemble's `leaf_rows`.
pub(super) enum LeafValues {
    One(f32),
    Row(u32),
}

impl TreeEnsemble {
    /// A classifier of the labels 0 and 1: the probability of 1 is the logistic function of `base` plus the leaves.
    ///
    /// # Errors
    /// `Invalid` when there are no trees, a child or feature index is out of range, a tree has a cycle or a shared
    /// node, or a number is not finite.
    pub fn binary_classifier(trees: &[Tree], base: f64, n_features: usize) -> Result<Self> {
        let head = Head::Classifier { labels: Labels::Ints(vec![0, 1]), one_column_is_probability: false };
        Self::from_trees(trees, base, n_features, head, Transform::Logistic)
    }

    /// A regression of one target: `base` plus the leaves.
    ///
    /// # Errors
    /// As [`Self::binary_classifier`].
    pub fn regressor(trees: &[Tree], base: f64, n_features: usize) -> Result<Self> {
        Self::from_trees(trees, base, n_features, Head::Regressor, Transform::None)
    }

    fn from_trees(trees: &[Tree], base: f64, n_features: usize, head: Head, transform: Transform) -> Result<Self> {
        let mut ensemble = Self::empty(1, head, Aggregate::Sum, transform);
        ensemble.base = vec![f64::from(finite(base, "the base score")?)];
        for (number, tree) in trees.iter().enumerate() {
            let place = format!("tree {number}");
            let raw = tree.nodes.iter().map(|node| raw_node(node, &place)).collect::<Result<Vec<_>>>()?;
            ensemble.push_tree(&raw, 0, &place)?;
        }
        ensemble.finish(Some(n_features))
    }

    pub(super) fn empty(n_outputs: usize, head: Head, aggregate: Aggregate, transform: Transform) -> Self {
        Self {
            n_features: 1,
            n_outputs,
            nodes: Vec::new(),
            roots: Vec::new(),
            depth: 0,
            leaf_rows: Vec::new(),
            covers: Vec::new(),
            base: vec![0.0; n_outputs],
            aggregate,
            transform,
            head,
            has_equalities: false,
        }
    }

    /// Appends the tree that starts at `raw[root]`, in breadth-first order with siblings side by side.
    pub(super) fn push_tree(&mut self, raw: &[RawNode], root: usize, place: &str) -> Result<()> {
        if raw.is_empty() {
            return Err(invalid(place, "the tree has no nodes"));
        }
        let start = u32::try_from(self.nodes.len()).map_err(|_| invalid(place, "the ensemble has too many nodes"))?;
        self.roots.push(start);
        let mut seen = vec![false; raw.len()];
        // Nodes in flat order, with their depths; a node's position here is its place in the tree.
        let mut queue = vec![(root, 0_u32)];
        let mut next = 0;
        while let Some(&(index, depth)) = queue.get(next) {
            let at = start + next as u32;
            next += 1;
            let node = raw.get(index).ok_or_else(|| invalid(place, format!("there is no node {index}")))?;
            if std::mem::replace(&mut seen[index], true) {
                return Err(invalid(place, format!("node {index} has two parents or is its own ancestor")));
            }
            self.depth = self.depth.max(depth);
            match *node {
                RawNode::Leaf { ref values, cover } => {
                    let payload = match *values {
                        LeafValues::One(value) => value.to_bits(),
                        LeafValues::Row(row) => row,
                    };
                    self.nodes.push(FlatNode::leaf(at, payload));
                    self.covers.push(cover);
                }
                RawNode::Split { feature, threshold, equality, missing_left, left, right, cover } => {
                    self.n_features = self.n_features.max(feature as usize + 1);
                    self.has_equalities |= equality;
                    let flags = if missing_left { MISSING_LEFT } else { 0 } | if equality { EQUALITY } else { 0 };
                    let left_at = start + queue.len() as u32;
                    self.nodes.push(FlatNode { threshold, feature: feature | flags, left: left_at, payload: 0 });
                    self.covers.push(cover);
                    queue.extend([(left, depth + 1), (right, depth + 1)]);
                }
            }
        }
        Ok(())
    }

    /// Checks what concerns the ensemble as a whole. `n_features`: the width of rows, where it is known.
    pub(super) fn finish(mut self, n_features: Option<usize>) -> Result<Self> {
        if self.roots.is_empty() {
            return Err(invalid("the ensemble", "it has no trees"));
        }
        if let Some(width) = n_features {
            self.set_width(width, "the ensemble")?;
        }
        if !self.covers_add_up() {
            self.covers.clear();
        }
        Ok(self)
    }

    /// Takes rows to be `width` wide.
    pub(crate) fn set_width(&mut self, width: usize, place: &str) -> Result<()> {
        if self.n_features > width.max(1) {
            let highest = self.n_features - 1;
            return Err(invalid(place, format!("a split looks at feature {highest}, but rows have {width}")));
        }
        self.n_features = width.max(1);
        Ok(())
    }

    /// Whether each node's cover is that of its children together. (Exporters that don't know the covers write ones.)
    fn covers_add_up(&self) -> bool {
        self.nodes.iter().enumerate().all(|(at, node)| {
            let (cover, left) = (f64::from(self.covers[at]), node.left as usize);
            if left == at {
                return cover.is_finite() && cover >= 0.0;
            }
            let below = f64::from(self.covers[left]) + f64::from(self.covers[left + 1]);
            cover > 0.0 && (cover - below).abs() <= 1e-3 * cover
        })
    }
}

fn raw_node(node: &Node, place: &str) -> Result<RawNode> {
    Ok(match *node {
        Node::Leaf { value, cover } => {
            RawNode::Leaf { values: LeafValues::One(finite(value, place)?), cover: finite(cover, place)? }
        }
        Node::Split { feature, threshold, missing_left, left, right, cover } => {
            if threshold.is_nan() {
                return Err(invalid(place, "a threshold is not a number"));
            }
            RawNode::Split {
                feature: check_feature(i64::from(feature), place)?,
                threshold: f32_at_or_above(threshold),
                equality: false,
                missing_left,
                left: left as usize,
                right: right as usize,
                cover: finite(cover, place)?,
            }
        }
    })
}

pub(super) fn check_feature(feature: i64, place: &str) -> Result<u32> {
    let index = u32::try_from(feature).ok().filter(|&index| index <= FEATURE);
    index.ok_or_else(|| invalid(place, format!("feature index {feature} is out of range")))
}

fn finite(value: f64, place: &str) -> Result<f32> {
    let single = value as f32;
    if single.is_finite() { Ok(single) } else { Err(invalid(place, format!("{value} is no finite float32"))) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn split(left: u32, right: u32) -> Node {
        Node::Split { feature: 0, threshold: 0.5, missing_left: true, left, right, cover: 2.0 }
    }

    const LEAF: Node = Node::Leaf { value: 1.0, cover: 1.0 };

    #[test]
    fn rejects_trees_that_are_no_trees() {
        let faults = [
            (vec![], "no nodes"),
            (vec![split(1, 2), LEAF], "no node 2"),
            (vec![split(1, 1), LEAF], "two parents"),
            (vec![split(1, 2), LEAF, split(0, 1)], "own ancestor"),
            (vec![Node::Leaf { value: f64::NAN, cover: 1.0 }], "finite"),
        ];
        for (nodes, words) in faults {
            let error = TreeEnsemble::regressor(&[Tree { nodes }], 0.0, 1).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(TreeEnsemble::regressor(&[], 0.0, 1).is_err());
        assert!(TreeEnsemble::regressor(&[Tree { nodes: vec![split(1, 2), LEAF, LEAF] }], 0.0, 0).is_ok());
    }

    proptest! {
        #[test]
        fn rounding_a_threshold_keeps_the_test(t in any::<f64>(), x in any::<f32>(), ulps in -2_i32..3) {
            prop_assume!(!t.is_nan());
            let near = f32::from_bits((t as f32).to_bits().wrapping_add_signed(ulps));
            for x in [x, near] {
                prop_assert_eq!(f64::from(x) < t, x < f32_at_or_above(t));
            }
        }
    }
}
