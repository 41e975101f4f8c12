//! To ONNX: the same ensemble gives the same bytes.

use std::collections::BTreeMap;

use prost::Message;

use super::{Aggregate, EQUALITY, FlatNode, Head, Labels, MISSING_LEFT, TreeEnsemble};
use crate::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};

/// What a model file says about itself, beside the trees.
#[derive(Clone, Debug, Default)]
pub struct ModelMeta {
    /// Name of the graph.
    pub name: String,
    /// What the model is for, in plain words.
    pub description: String,
    /// The program that trained it.
    pub producer: String,
    /// Version of that program.
    pub producer_version: String,
    /// Name of the one input, float32 `[N, n_features]`; empty means `features`.
    pub input: String,
    /// Free entries (feature names, units, …), written in the order of their keys.
    pub metadata: BTreeMap<String, String>,
}

impl TreeEnsemble {
    /// The ensemble as an ONNX model: outputs `label` (int64 or string, `[N]`) and `probabilities` (`[N, classes]`) for
    /// a classifier, `variable` (`[N, targets]`) for a regression. Covers are kept in `nodes_hitrates`.
    pub fn to_onnx(&self, meta: &ModelMeta) -> Vec<u8> {
        let input = if meta.input.is_empty() { "features" } else { &meta.input };
        let (operator, outputs) = match &self.head {
            Head::Regressor => {
                let variable = value_info("variable", data_type::FLOAT, &[None, Some(self.n_outputs)]);
                ("TreeEnsembleRegressor", vec![variable])
            }
            Head::Classifier { labels, .. } => {
                let code = if matches!(labels, Labels::Ints(_)) { data_type::INT64 } else { data_type::STRING };
                let probabilities = value_info("probabilities", data_type::FLOAT, &[None, Some(labels.len())]);
                ("TreeEnsembleClassifier", vec![value_info("label", code, &[None]), probabilities])
            }
        };
        let node = NodeProto {
            input: vec![input.to_owned()],
            output: outputs.iter().map(|output| output.name.clone()).collect(),
            name: "trees".to_owned(),
            op_type: operator.to_owned(),
            domain: "ai.onnx.ml".to_owned(),
            attribute: self.attributes(),
            ..NodeProto::default()
        };
        let opset =
            |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
        let entry =
            |(key, value): (&String, &String)| StringStringEntryProto { key: key.clone(), value: value.clone() };
        let model = ModelProto {
            ir_version: Some(8),
            producer_name: meta.producer.clone(),
            producer_version: meta.producer_version.clone(),
            doc_string: meta.description.clone(),
            graph: Some(GraphProto {
                node: vec![node],
                name: if meta.name.is_empty() { "trees".to_owned() } else { meta.name.clone() },
                input: vec![value_info(input, data_type::FLOAT, &[None, Some(self.n_features)])],
                output: outputs,
                ..GraphProto::default()
            }),
            opset_import: vec![opset("ai.onnx.ml", 1), opset("", 15)],
            metadata_props: meta.metadata.iter().map(entry).collect(),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        let mut trees = NodeColumns::default();
        let mut leaves = LeafColumns::default();
        for (tree, range) in self.tree_ranges().enumerate() {
            for at in range.clone() {
                let node = &self.nodes[at];
                let (tree, id) = (tree as i64, (at - range.start) as i64);
                trees.push(tree, id, node, node.left as usize == at, range.start as u32);
                if node.left as usize == at {
                    for output in 0..self.n_outputs {
                        leaves.push(tree, id, output as i64, self.leaf_value(node, output));
                    }
                }
            }
        }
        let mut covers = self.covers.clone();
        let one_column = self.n_outputs == 1 && matches!(self.head, Head::Classifier { .. });
        let is_probability = matches!(self.head, Head::Classifier { one_column_is_probability: true, .. });
        if one_column && !is_probability && leaves.weights.iter().all(|&weight| weight >= 0.0) {
            // Without a negative weight, runtimes would take the margins for probabilities and compare them with one
            // half: a last tree, too small to change any sum, says otherwise.
            let tree = self.roots.len() as i64;
            trees.push(tree, 0, &FlatNode::leaf(0, 0), true, 0);
            leaves.push(tree, 0, 0, -f32::MIN_POSITIVE);
            if self.has_covers() {
                covers.push(covers[0]);
            }
        }
        let mut attributes = trees.into_attributes();
        if self.has_covers() {
            attributes.push(floats("nodes_hitrates", covers));
        }
        if self.base.iter().any(|&base| base != 0.0) {
            attributes.push(floats("base_values", self.base.iter().map(|&base| base as f32).collect()));
        }
        attributes.push(text("post_transform", self.transform.name()));
        match &self.head {
            Head::Classifier { labels, .. } => {
                attributes.extend(leaves.into_attributes("class"));
                attributes.push(match labels {
                    Labels::Ints(labels) => ints("classlabels_int64s", labels.clone()),
                    Labels::Strings(labels) => texts("classlabels_strings", labels.iter().map(String::as_str)),
                });
            }
            Head::Regressor => {
                attributes.extend(leaves.into_attributes("target"));
                attributes.push(AttributeProto {
                    name: "n_targets".to_owned(),
                    i: Some(self.n_outputs as i64),
                    r#type: attribute_type::INT,
                    ..AttributeProto::default()
                });
                let name = match self.aggregate {
                    Aggregate::Sum => "SUM",
                    Aggregate::Average => "AVERAGE",
                    Aggregate::Min => "MIN",
                    Aggregate::Max => "MAX",
                };
                attributes.push(text("aggregate_function", name));
            }
        }
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        attributes
    }
}

#[derive(Default)]
struct NodeColumns {
    tree_ids: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    thresholds: Vec<f32>,
    trues: Vec<i64>,
    falses: Vec<i64>,
    missing: Vec<i64>,
}

impl NodeColumns {
    fn push(&mut self, tree: i64, id: i64, node: &FlatNode, is_leaf: bool, root: u32) {
        // A threshold that is not a number stands for "every number goes left".
        let (mode, threshold) = match (is_leaf, node.threshold) {
            (true, _) => ("LEAF", 0.0),
            (false, t) if node.feature & EQUALITY != 0 => ("BRANCH_EQ", t),
            (false, t) if t.is_nan() => ("BRANCH_LEQ", f32::INFINITY),
            (false, t) => ("BRANCH_LT", t),
        };
        let left = i64::from(node.left.wrapping_sub(root));
        self.tree_ids.push(tree);
        self.ids.push(id);
        self.features.push(node.feature() as i64);
        self.modes.push(mode);
        self.thresholds.push(threshold);
        self.trues.push(if is_leaf { 0 } else { left });
        self.falses.push(if is_leaf { 0 } else { left + 1 });
        self.missing.push(i64::from(!is_leaf && node.feature & MISSING_LEFT != 0));
    }

    fn into_attributes(self) -> Vec<AttributeProto> {
        vec![
            ints("nodes_treeids", self.tree_ids),
            ints("nodes_nodeids", self.ids),
            ints("nodes_featureids", self.features),
            texts("nodes_modes", self.modes.into_iter()),
            floats("nodes_values", self.thresholds),
            ints("nodes_truenodeids", self.trues),
            ints("nodes_falsenodeids", self.falses),
            ints("nodes_missing_value_tracks_true", self.missing),
        ]
    }
}

#[derive(Default)]
struct LeafColumns {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    outputs: Vec<i64>,
    weights: Vec<f32>,
}

impl LeafColumns {
    fn push(&mut self, tree: i64, node: i64, output: i64, weight: f32) {
        self.trees.push(tree);
        self.nodes.push(node);
        self.outputs.push(output);
        self.weights.push(weight);
    }

    fn into_attributes(self, prefix: &str) -> [AttributeProto; 4] {
        [
            ints(&format!("{prefix}_treeids"), self.trees),
            ints(&format!("{prefix}_nodeids"), self.nodes),
            ints(&format!("{prefix}_ids"), self.outputs),
            floats(&format!("{prefix}_weights"), self.weights),
        ]
    }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), ints, r#type: attribute_type::INTS, ..AttributeProto::default() }
}

fn floats(name: &str, floats: Vec<f32>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), floats, r#type: attribute_type::FLOATS, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec());
    AttributeProto { name: name.to_owned(), s, r#type: attribute_type::STRING, ..AttributeProto::default() }
}

fn texts<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> AttributeProto {
    let strings = values.map(|value| value.as_bytes().to_vec()).collect();
    AttributeProto { name: name.to_owned(), strings, r#type: attribute_type::STRINGS, ..AttributeProto::default() }
}

/// A tensor's declaration; `None` is the number of rows.
fn value_info(name: &str, elem_type: i32, shape: &[Option<usize>]) -> ValueInfoProto {
    let dim = shape.iter().map(|extent| DimensionProto {
        value: Some(match extent {
            Some(extent) => DimensionValue::DimValue(*extent as i64),
            None => DimensionValue::DimParam("N".to_owned()),
        }),
    });
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim: dim.collect() }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
