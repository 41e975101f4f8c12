//! A graph of known operators, checked once and run many times.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use prost::Message;

use crate::attributes::Attributes;
use crate::ensemble::TreeEnsemble;
use crate::error::{OnnxError, Result, bad_input, invalid, unsupported};
use crate::info::tensor_info;
use crate::ops::Op;
use crate::proto::{GraphProto, ModelProto};
use crate::tensor::{Dim, Tensor, TensorInfo};

/// The largest model file that is read.
pub const MAX_MODEL_BYTES: usize = 512 << 20;

/// A model whose operators are all evaluated in Rust.
#[derive(Debug)]
pub struct Model {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    metadata: BTreeMap<String, String>,
    /// Values known from the file, by slot.
    constants: Vec<(usize, Tensor)>,
    steps: Vec<Step>,
    output_slots: Vec<usize>,
    n_slots: usize,
}

/// One node: where its values come from and go to. Slots `0..inputs.len()` are the model's inputs.
#[derive(Debug)]
struct Step {
    place: String,
    op: Op,
    inputs: Vec<usize>,
    outputs: Vec<Option<usize>>,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(ModelProto, GraphProto)> {
    if bytes.len() > MAX_MODEL_BYTES {
        return Err(OnnxError::TooLarge { bytes: bytes.len(), limit: MAX_MODEL_BYTES });
    }
    let mut model = ModelProto::decode(bytes).map_err(OnnxError::Malformed)?;
    let graph = model.graph.take().ok_or_else(|| invalid("the model", "it has no graph"))?;
    if graph.output.is_empty() {
        return Err(invalid("the graph", "it has no outputs"));
    }
    Ok((model, graph))
}

pub(crate) fn metadata(model: &ModelProto) -> BTreeMap<String, String> {
    model.metadata_props.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
}

impl Model {
    /// Reads and checks a model.
    ///
    /// # Errors
    /// `TooLarge`, `Malformed` and `Invalid` for what is no model; `Unsupported`, naming the operator, for one that
    /// needs ONNX Runtime.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let (model, graph) = decode(bytes)?;
        let mut slots = Slots::default();
        let given = |name: &String| graph.initializer.iter().any(|initializer| initializer.name == *name);
        let declared: Vec<_> =
            graph.input.iter().filter(|input| !given(&input.name)).map(tensor_info).collect::<Result<_>>()?;
        for input in &declared {
            slots.define(&input.name, "the graph's inputs")?;
        }
        let mut constants = Vec::new();
        for initializer in &graph.initializer {
            constants.push((slots.define(&initializer.name, "the initializers")?, Tensor::from_proto(initializer)?));
        }
        let mut steps = Vec::with_capacity(graph.node.len());
        for node in &graph.node {
            let attributes = Attributes::of(node);
            let place = attributes.place.clone();
            if node.input.iter().any(String::is_empty) {
                return Err(unsupported("omitted optional input", place));
            }
            let inputs = node.input.iter().map(|name| slots.find(name, &place)).collect::<Result<Vec<_>>>()?;
            let mut op = Op::read(node, &attributes)?;
            if let Op::TreeClassifier(trees) | Op::TreeRegressor(trees) = &mut op
                && let Some(Dim::Fixed(width)) = inputs.first().and_then(|&slot| declared.get(slot)?.shape.get(1))
            {
                trees.set_width(*width, &place)?;
            }
            let mut outputs = Vec::with_capacity(node.output.len());
            for name in &node.output {
                outputs.push(if name.is_empty() { None } else { Some(slots.define(name, &place)?) });
            }
            if let (Op::Constant(tensor), Some(Some(slot))) = (&op, outputs.first()) {
                constants.push((*slot, tensor.clone()));
                continue;
            }
            op.check_arity(inputs.len(), outputs.len(), &place)?;
            steps.push(Step { place, op, inputs, outputs });
        }
        let outputs = graph.output.iter().map(tensor_info).collect::<Result<Vec<_>>>()?;
        let output_slots =
            outputs.iter().map(|output| slots.find(&output.name, "the graph's outputs")).collect::<Result<_>>()?;
        let (metadata, n_slots) = (metadata(&model), slots.by_name.len());
        Ok(Self { inputs: declared, outputs, metadata, constants, steps, output_slots, n_slots })
    }

    /// What must be passed to [`Self::run`].
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// What [`Self::run`] returns, in this order.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The free entries of the file (`metadata_props`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The trees, when the model is one ensemble over its only input, so that [`crate::TreeShap`] explains the features
    /// as they come in. What follows the ensemble in the graph is no part of its margin.
    pub fn ensemble(&self) -> Option<&TreeEnsemble> {
        let mut found = None;
        for step in &self.steps {
            if let Op::TreeClassifier(ensemble) | Op::TreeRegressor(ensemble) = &step.op {
                if found.is_some() || self.inputs.len() != 1 || step.inputs != [0] {
                    return None;
                }
                found = Some(ensemble);
            }
        }
        found
    }

    /// Evaluates the model. Tensors are matched to inputs by name.
    ///
    /// # Errors
    /// `Input` when a tensor is missing or unknown, or when its type or shape does not fit.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        if let Some(stranger) = inputs.iter().find(|tensor| self.inputs.iter().all(|info| info.name != tensor.name)) {
            let known: Vec<_> = self.inputs.iter().map(|info| format!("`{}`", info.name)).collect();
            return Err(bad_input(&stranger.name, format!("the model has no such input, only {}", known.join(", "))));
        }
        let mut values: Vec<Option<Cow<Tensor>>> = vec![None; self.n_slots];
        for (slot, info) in self.inputs.iter().enumerate() {
            let tensor = inputs.iter().find(|tensor| tensor.name == info.name);
            let tensor = tensor.ok_or_else(|| bad_input(&info.name, "the model needs it, and it was not given"))?;
            info.check(tensor)?;
            values[slot] = Some(Cow::Borrowed(tensor));
        }
        for (slot, constant) in &self.constants {
            values[*slot] = Some(Cow::Borrowed(constant));
        }
        for step in &self.steps {
            let operands: Vec<&Tensor> = step.inputs.iter().filter_map(|&slot| values[slot].as_deref()).collect();
            let results = step.op.run(&operands, &step.place)?;
            for (slot, result) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    values[*slot] = Some(Cow::Owned(result));
                }
            }
        }
        let named = self.output_slots.iter().zip(&self.outputs).enumerate().map(|(at, (&slot, info))| {
            let again = self.output_slots[at + 1..].contains(&slot);
            let value = if again { values[slot].clone() } else { values[slot].take() };
            let value = value.ok_or_else(|| invalid(format!("output `{}`", info.name), "no node computes it"))?;
            Ok(Tensor { name: info.name.clone(), ..value.into_owned() })
        });
        named.collect()
    }
}

/// The numbering of values while a graph is read.
#[derive(Default)]
struct Slots<'a> {
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Slots<'a> {
    fn define(&mut self, name: &'a str, place: &str) -> Result<usize> {
        let slot = self.by_name.len();
        match self.by_name.insert(name, slot) {
            None => Ok(slot),
            Some(_) => Err(invalid(place, format!("`{name}` is defined a second time"))),
        }
    }

    fn find(&self, name: &str, place: &str) -> Result<usize> {
        let slot = self.by_name.get(name).copied();
        slot.ok_or_else(|| {
            invalid(place, format!("`{name}` comes from no earlier node (it is missing, or the graph has a cycle)"))
        })
    }
}
