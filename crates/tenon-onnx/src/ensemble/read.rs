//! From the operators TreeEnsembleClassifier and TreeEnsembleRegressor (ai.onnx.ml 1 to 3).

use std::collections::HashMap;

use super::build::{LeafValues, RawNode, check_feature};
use super::{Aggregate, Head, Labels, TreeEnsemble};
use crate::attributes::Attributes;
use crate::error::{Result, invalid, unsupported};
use crate::transform::Transform;

/// The most leaf values (nodes × outputs) of one ensemble: a small file can claim many.
const MAX_LEAF_VALUES: usize = 1 << 26;

/// The two operators call the same things by different names.
struct Names {
    ids: &'static str,
    nodes: &'static str,
    trees: &'static str,
    weights: &'static str,
}

const CLASS: Names =
    Names { ids: "class_ids", nodes: "class_nodeids", trees: "class_treeids", weights: "class_weights" };
const TARGET: Names =
    Names { ids: "target_ids", nodes: "target_nodeids", trees: "target_treeids", weights: "target_weights" };

pub(crate) fn labels(node: &Attributes) -> Result<Labels> {
    let strings = node.strings("classlabels_strings")?;
    Ok(match strings.is_empty() {
        // TreeEnsembleClassifier says int64s where LinearClassifier says ints.
        true => Labels::Ints([node.ints("classlabels_int64s"), node.ints("classlabels_ints")].concat()),
        false => Labels::Strings(strings.into_iter().map(str::to_owned).collect()),
    })
}

impl TreeEnsemble {
    pub(crate) fn read_classifier(node: &Attributes) -> Result<Self> {
        let labels = labels(node)?;
        if labels.len() < 2 {
            return Err(unsupported("classifier of fewer than two classes", &node.place));
        }
        // One column of scores, said to be for class 0, is about the second of two classes.
        let one_column = labels.len() == 2 && node.ints(CLASS.ids).iter().all(|&id| id == 0);
        let n_outputs = if one_column { 1 } else { labels.len() };
        let one_column_is_probability = one_column && node.floats(CLASS.weights).iter().all(|&w| w >= 0.0);
        let transform = Transform::parse(node.string("post_transform")?, &node.place)?;
        if one_column && transform == Transform::Probit {
            return Err(unsupported("PROBIT of a single score column", &node.place));
        }
        let head = Head::Classifier { labels, one_column_is_probability };
        Self::empty(n_outputs, head, Aggregate::Sum, transform).read(node, &CLASS)
    }

    pub(crate) fn read_regressor(node: &Attributes) -> Result<Self> {
        let n_targets = node.int("n_targets").unwrap_or(1);
        let n_targets = usize::try_from(n_targets).ok().filter(|&n| (1..=1 << 16).contains(&n));
        let n_targets = n_targets.ok_or_else(|| invalid(&node.place, "n_targets is out of range"))?;
        let aggregate = match node.string("aggregate_function")? {
            None | Some("SUM" | "") => Aggregate::Sum,
            Some("AVERAGE") => Aggregate::Average,
            Some("MIN") => Aggregate::Min,
            Some("MAX") => Aggregate::Max,
            Some(other) => return Err(unsupported(format!("aggregate_function {other}"), &node.place)),
        };
        let transform = Transform::parse(node.string("post_transform")?, &node.place)?;
        Self::empty(n_targets, Head::Regressor, aggregate, transform).read(node, &TARGET)
    }

    fn read(mut self, node: &Attributes, names: &Names) -> Result<Self> {
        let place = node.place.as_str();
        for doubles in ["nodes_values_as_tensor", "base_values_as_tensor", "nodes_hitrates_as_tensor"] {
            if node.has(doubles) {
                return Err(unsupported(doubles, place));
            }
        }
        match node.floats("base_values") {
            [] => {}
            base if base.len() == self.n_outputs => self.base = base.iter().map(|&v| f64::from(v)).collect(),
            base => {
                let needed = self.n_outputs;
                return Err(unsupported(format!("{} base_values for {needed} score columns", base.len()), place));
            }
        }

        let tree_ids = node.ints("nodes_treeids");
        let node_ids = column(node, "nodes_nodeids", tree_ids.len())?;
        let positions: HashMap<(i64, i64), usize> =
            tree_ids.iter().zip(node_ids).enumerate().map(|(at, (&tree, &id))| ((tree, id), at)).collect();
        if positions.len() != tree_ids.len() {
            return Err(invalid(place, "two nodes of one tree have the same id"));
        }
        let leaf_values = self.read_leaf_values(node, names, &positions)?;
        let raw = self.read_nodes(node, &positions, &leaf_values)?;

        // A tree's first node is its root, and its nodes stand together.
        let mut first = 0;
        for group in tree_ids.chunk_by(|a, b| a == b) {
            self.push_tree(&raw, first, &format!("{place}, tree {}", group[0]))?;
            first += group.len();
        }
        self.finish(None)
    }

    /// Where each node's leaf values stand: the summed weights of its outputs, `None` for nodes without any.
    fn read_leaf_values(
        &mut self,
        node: &Attributes,
        names: &Names,
        positions: &HashMap<(i64, i64), usize>,
    ) -> Result<Vec<Option<f32>>> {
        let place = node.place.as_str();
        let ids = node.ints(names.ids);
        let weights = node.floats(names.weights);
        if weights.len() != ids.len() {
            return Err(invalid(place, format!("`{}` and `{}` differ in length", names.ids, names.weights)));
        }
        let (trees, nodes) = (column(node, names.trees, ids.len())?, column(node, names.nodes, ids.len())?);
        let mut one = vec![None; positions.len()];
        if self.n_outputs > 1 {
            let values = positions.len().checked_mul(self.n_outputs).filter(|&n| n <= MAX_LEAF_VALUES);
            let values = values.ok_or_else(|| invalid(place, "too many leaf values"))?;
            self.leaf_rows = vec![0.0; values];
        }
        for (((&tree, &id), &output), &weight) in trees.iter().zip(nodes).zip(ids).zip(weights) {
            let at = *positions.get(&(tree, id)).ok_or_else(|| {
                invalid(place, format!("a weight belongs to node {id} of tree {tree}, which is not there"))
            })?;
            let output = usize::try_from(output).ok().filter(|&output| output < self.n_outputs);
            let output = output.ok_or_else(|| invalid(place, format!("`{}` is out of range", names.ids)))?;
            if self.n_outputs > 1 {
                self.leaf_rows[at * self.n_outputs + output] += weight;
            }
            *one[at].get_or_insert(0.0) += weight;
        }
        Ok(one)
    }

    fn read_nodes(
        &self,
        node: &Attributes,
        positions: &HashMap<(i64, i64), usize>,
        leaf_values: &[Option<f32>],
    ) -> Result<Vec<RawNode>> {
        let place = node.place.as_str();
        let count = leaf_values.len();
        let tree_ids = node.ints("nodes_treeids");
        let features = column(node, "nodes_featureids", count)?;
        let trues = column(node, "nodes_truenodeids", count)?;
        let falses = column(node, "nodes_falsenodeids", count)?;
        let modes = node.strings("nodes_modes")?;
        let thresholds = node.floats("nodes_values");
        if modes.len() != count || thresholds.len() != count {
            return Err(invalid(place, "the `nodes_` attributes differ in length"));
        }
        let missing = node.ints("nodes_missing_value_tracks_true");
        let covers = node.floats("nodes_hitrates");

        let child = |at: usize, id: i64| {
            let tree = tree_ids[at];
            let found = positions.get(&(tree, id)).copied();
            found.ok_or_else(|| invalid(place, format!("tree {tree} has no node {id}, which is somebody's child")))
        };
        (0..count)
            .map(|at| {
                let cover = covers.get(at).copied().unwrap_or(0.0);
                if modes[at] == "LEAF" {
                    let values = match self.n_outputs {
                        1 => LeafValues::One(leaf_values[at].unwrap_or(0.0)),
                        _ => LeafValues::Row(at as u32),
                    };
                    return Ok(RawNode::Leaf { values, cover });
                }
                let threshold = thresholds[at];
                if threshold.is_nan() {
                    return Err(invalid(place, "a threshold is not a number"));
                }
                let missing_true = missing.get(at) == Some(&1);
                // `x <= t` is `x < next_up(t)`, but at the top end, where every number passes.
                let at_most = if threshold == f32::INFINITY { f32::NAN } else { threshold.next_up() };
                // Threshold, equality, whether the true branch is the left one, whether a missing value is "true".
                let (threshold, equality, true_left, missing_true) = match modes[at] {
                    "BRANCH_LT" => (threshold, false, true, missing_true),
                    "BRANCH_LEQ" => (at_most, false, true, missing_true),
                    "BRANCH_GTE" => (threshold, false, false, missing_true),
                    "BRANCH_GT" => (at_most, false, false, missing_true),
                    "BRANCH_EQ" => (threshold, true, true, missing_true),
                    // A missing value differs from every number.
                    "BRANCH_NEQ" => (threshold, true, false, true),
                    other => return Err(unsupported(format!("node mode {other}"), place)),
                };
                let (yes, no) = (child(at, trues[at])?, child(at, falses[at])?);
                let (left, right) = if true_left { (yes, no) } else { (no, yes) };
                Ok(RawNode::Split {
                    feature: check_feature(features[at], place)?,
                    threshold,
                    equality,
                    missing_left: missing_true == true_left,
                    left,
                    right,
                    cover,
                })
            })
            .collect()
    }
}

fn column<'a>(node: &Attributes<'a>, name: &str, len: usize) -> Result<&'a [i64]> {
    let values = node.ints(name);
    if values.len() == len {
        return Ok(values);
    }
    Err(invalid(&node.place, format!("`{name}` has {} entries instead of {len}", values.len())))
}
