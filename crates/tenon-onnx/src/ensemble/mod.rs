//! Ensembles of decision trees, in the one representation that is read, written, evaluated and explained.

mod build;
mod evaluate;
mod read;
mod write;

pub use build::{Node, Tree, f32_at_or_above};
pub(crate) use evaluate::highest;
pub(crate) use read::labels as read_labels;
pub use write::ModelMeta;

use crate::transform::Transform;

/// How the leaves that a row reaches make one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum.
    Sum,
    /// Their sum over the number of trees.
    Average,
    /// The least of them.
    Min,
    /// The greatest of them.
    Max,
}

/// The names of a classifier's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the element types")]
pub enum Labels {
    Ints(Vec<i64>),
    Strings(Vec<String>),
}

impl Labels {
    /// Number of classes.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Strings(labels) => labels.len(),
        }
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the scores stand for.
#[derive(Clone, Debug)]
pub(crate) enum Head {
    Regressor,
    /// One score column a class or, when `n_outputs` is 1, one for the second of two classes.
    Classifier {
        labels: Labels,
        /// ONNX Runtime takes a single column without any negative leaf for a probability.
        one_column_is_probability: bool,
    },
}

/// A node in 16 bytes. Children are neighbours (`right == left + 1`), so one step is a comparison and an addition.
/// A leaf is its own left child and its test never goes right, so stepping on from a leaf stays there: several trees
/// or rows walk in lock-step without a branch, each as long as the longest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatNode {
    /// Go right when the value is at or above it; NaN means never.
    pub(crate) threshold: f32,
    /// Index of the feature, with the flags above it.
    pub(crate) feature: u32,
    /// Index of the left child.
    pub(crate) left: u32,
    /// Leaves only: the bits of the leaf's value or, with several outputs, its row in `leaf_rows`.
    pub(crate) payload: u32,
}

/// A missing value goes left.
pub(crate) const MISSING_LEFT: u32 = 1 << 31;
/// The test is equality: go left when the value equals the threshold.
pub(crate) const EQUALITY: u32 = 1 << 30;
/// The bits of the index.
pub(crate) const FEATURE: u32 = EQUALITY - 1;

impl FlatNode {
    pub(crate) fn leaf(at: u32, payload: u32) -> Self {
        Self { threshold: f32::NAN, feature: MISSING_LEFT, left: at, payload }
    }

    pub(crate) fn feature(&self) -> usize {
        (self.feature & FEATURE) as usize
    }

    /// Whether `value` goes to the right child.
    #[inline(always)]
    pub(crate) fn goes_right<const EQUALITIES: bool>(&self, value: f32) -> bool {
        let right =
            if EQUALITIES && self.feature & EQUALITY != 0 { value != self.threshold } else { value >= self.threshold };
        if value.is_nan() { self.feature & MISSING_LEFT == 0 } else { right }
    }
}

/// An ensemble of decision trees over float32 features.
///
/// It holds exactly what its ONNX form holds: thresholds, leaf values and covers are float32 from the start, so that
/// a model predicts and explains the same before it is written and after it is read. Scores are accumulated in
/// float64, tree after tree (ONNX Runtime sums in float32, which is where the two differ, below 1e-5 of the scale).
#[derive(Clone, Debug)]
pub struct TreeEnsemble {
    pub(crate) n_features: usize,
    pub(crate) n_outputs: usize,
    pub(crate) nodes: Vec<FlatNode>,
    /// Index of each tree's root; a tree's nodes lie between its root and the next.
    pub(crate) roots: Vec<u32>,
    /// Depth of the deepest tree.
    pub(crate) depth: u32,
    /// Leaf values `[leaves, n_outputs]`; empty with one output.
    pub(crate) leaf_rows: Vec<f32>,
    /// Training weight that passed through each node; empty when unknown, or when it does not add up.
    pub(crate) covers: Vec<f32>,
    /// Added to each output after aggregation.
    pub(crate) base: Vec<f64>,
    pub(crate) aggregate: Aggregate,
    pub(crate) transform: Transform,
    pub(crate) head: Head,
    pub(crate) has_equalities: bool,
}

impl TreeEnsemble {
    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.roots.len()
    }

    /// The least width of a row: what the trainer or the model's input says, or one more than the highest feature that any
    /// tree looks at.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Number of score columns: 1 for a regression or a binary classifier, else one a target or class.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// The classes, for a classifier.
    pub fn labels(&self) -> Option<&Labels> {
        if let Head::Classifier { labels, .. } = &self.head { Some(labels) } else { None }
    }

    /// How scores become outputs.
    pub fn transform(&self) -> Transform {
        self.transform
    }

    /// Whether the training weight of every node is known, which TreeSHAP needs.
    pub fn has_covers(&self) -> bool {
        !self.covers.is_empty()
    }

    /// Node index range of each tree.
    pub(crate) fn tree_ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let ends = self.roots.iter().skip(1).map(|&root| root as usize).chain([self.nodes.len()]);
        self.roots.iter().zip(ends).map(|(&root, end)| root as usize..end)
    }

    /// The value of output `output` at leaf `node`.
    #[inline(always)]
    pub(crate) fn leaf_value(&self, node: &FlatNode, output: usize) -> f32 {
        if self.n_outputs == 1 {
            f32::from_bits(node.payload)
        } else {
            self.leaf_rows[node.payload as usize * self.n_outputs + output]
        }
    }
}
