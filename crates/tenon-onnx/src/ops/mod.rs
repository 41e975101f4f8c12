//! The operators that are evaluated in Rust.

mod arithmetic;
mod linear;
mod scale;
mod shape;

use arithmetic::Arithmetic;
use linear::Linear;
use scale::{Imputer, Norm, Scaler};

use crate::attributes::Attributes;
use crate::ensemble::TreeEnsemble;
use crate::error::{OnnxError, Result, bad_input, invalid, unsupported};
use crate::proto::NodeProto;
use crate::tensor::{DType, Tensor, TensorData};

/// One operator with its attributes.
#[derive(Debug)]
pub(crate) enum Op {
    TreeClassifier(TreeEnsemble),
    TreeRegressor(TreeEnsemble),
    Linear(Linear),
    Scaler(Scaler),
    Normalizer(Norm),
    Imputer(Imputer),
    FeatureVectorizer,
    ArrayFeatureExtractor,
    Constant(Tensor),
    Identity,
    Cast(DType),
    Arithmetic(Arithmetic),
    Sigmoid,
    Concat { axis: i64 },
    Gather { axis: i64 },
    Reshape,
    Flatten { axis: i64 },
}

impl Op {
    pub(crate) fn read(node: &NodeProto, attributes: &Attributes) -> Result<Self> {
        let axis = |default| attributes.int("axis").unwrap_or(default);
        Ok(match (node.domain.as_str(), node.op_type.as_str()) {
            ("ai.onnx.ml", "TreeEnsembleClassifier") => {
                Self::TreeClassifier(TreeEnsemble::read_classifier(attributes)?)
            }
            ("ai.onnx.ml", "TreeEnsembleRegressor") => Self::TreeRegressor(TreeEnsemble::read_regressor(attributes)?),
            ("ai.onnx.ml", "LinearClassifier") => Self::Linear(Linear::read_classifier(attributes)?),
            ("ai.onnx.ml", "LinearRegressor") => Self::Linear(Linear::read_regressor(attributes)?),
            ("ai.onnx.ml", "Scaler") => Self::Scaler(Scaler::read(attributes)?),
            ("ai.onnx.ml", "Normalizer") => Self::Normalizer(Norm::read(attributes)?),
            ("ai.onnx.ml", "Imputer") => Self::Imputer(Imputer::read(attributes)?),
            ("ai.onnx.ml", "FeatureVectorizer") => Self::FeatureVectorizer,
            ("ai.onnx.ml", "ArrayFeatureExtractor") => Self::ArrayFeatureExtractor,
            ("ai.onnx.ml", "ZipMap") => {
                return Err(OnnxError::Unsupported {
                    what: "ZipMap".to_owned(),
                    place: attributes.place.clone(),
                    hint: "export the model with `zipmap=False`, so that it returns a tensor of probabilities"
                        .to_owned(),
                });
            }
            ("" | "ai.onnx", "Constant") => match attributes.tensor("value") {
                Some(value) => Self::Constant(Tensor::from_proto(value)?),
                None => return Err(unsupported("Constant without a tensor", &attributes.place)),
            },
            ("" | "ai.onnx", "Identity") => Self::Identity,
            ("" | "ai.onnx", "Cast") => {
                let to = attributes.int("to").and_then(|to| i32::try_from(to).ok()).unwrap_or(0);
                match DType::from_onnx(to, &attributes.place)? {
                    DType::String => return Err(unsupported("Cast to text", &attributes.place)),
                    to => Self::Cast(to),
                }
            }
            ("" | "ai.onnx", "Add") => Self::Arithmetic(Arithmetic::Add),
            ("" | "ai.onnx", "Sub") => Self::Arithmetic(Arithmetic::Sub),
            ("" | "ai.onnx", "Mul") => Self::Arithmetic(Arithmetic::Mul),
            ("" | "ai.onnx", "Div") => Self::Arithmetic(Arithmetic::Div),
            ("" | "ai.onnx", "Sigmoid") => Self::Sigmoid,
            ("" | "ai.onnx", "Concat") => Self::Concat { axis: axis(1) },
            ("" | "ai.onnx", "Gather") => Self::Gather { axis: axis(0) },
            ("" | "ai.onnx", "Reshape") => Self::Reshape,
            ("" | "ai.onnx", "Flatten") => Self::Flatten { axis: axis(1) },
            ("" | "ai.onnx", other) => return Err(unsupported(other, &attributes.place)),
            (domain, other) => return Err(unsupported(format!("{domain}.{other}"), &attributes.place)),
        })
    }

    /// Whether a node of this kind has the right number of inputs and outputs.
    pub(crate) fn check_arity(&self, inputs: usize, outputs: usize, place: &str) -> Result<()> {
        let wanted = match self {
            Self::Constant(_) => 0..=0,
            Self::Concat { .. } | Self::FeatureVectorizer => 1..=usize::MAX,
            Self::Arithmetic(_) | Self::ArrayFeatureExtractor | Self::Gather { .. } | Self::Reshape => 2..=2,
            _ => 1..=1,
        };
        let most = match self {
            Self::TreeClassifier(_) => 2,
            Self::Linear(linear) if linear.is_classifier() => 2,
            _ => 1,
        };
        if wanted.contains(&inputs) && (1..=most).contains(&outputs) {
            return Ok(());
        }
        Err(invalid(place, format!("{inputs} inputs and {outputs} outputs are not what the operator takes and gives")))
    }

    /// The outputs, for as many operands as [`Self::check_arity`] allows.
    pub(crate) fn run(&self, operands: &[&Tensor], place: &str) -> Result<Vec<Tensor>> {
        let &[first, ..] = operands else { return Err(invalid(place, "an input has no value")) };
        let second = operands.last().copied().unwrap_or(first);
        let result = match self {
            Self::TreeClassifier(trees) | Self::TreeRegressor(trees) => return run_trees(trees, first, place),
            Self::Linear(linear) => return linear.run(first, place),
            Self::Scaler(scaler) => scaler.run(first, place)?,
            Self::Normalizer(norm) => norm.run(first, place)?,
            Self::Imputer(imputer) => imputer.run(first, place)?,
            Self::FeatureVectorizer => {
                let floats =
                    operands.iter().map(|t| Ok(Tensor::unnamed(t.shape.clone(), TensorData::F32(floats(t, place)?))));
                let floats = floats.collect::<Result<Vec<_>>>()?;
                shape::concat(&floats.iter().collect::<Vec<_>>(), 1, place)?
            }
            Self::ArrayFeatureExtractor => shape::extract(first, second, place)?,
            Self::Constant(value) => value.clone(),
            Self::Identity => first.clone(),
            Self::Cast(to) => arithmetic::cast(first, *to, place)?,
            Self::Arithmetic(operation) => operation.run(first, second, place)?,
            Self::Sigmoid => arithmetic::sigmoid(first, place)?,
            Self::Concat { axis } => shape::concat(operands, *axis, place)?,
            Self::Gather { axis } => shape::gather(first, second, *axis, place)?,
            Self::Reshape => shape::reshape(first, second, place)?,
            Self::Flatten { axis } => shape::flatten(first, *axis, place)?,
        };
        Ok(vec![result])
    }
}

fn run_trees(trees: &TreeEnsemble, input: &Tensor, place: &str) -> Result<Vec<Tensor>> {
    let (rows, columns) = input.rows_and_columns(place)?;
    let values = trees
        .rows_of(&input.data)
        .ok_or_else(|| bad_input(place, format!("trees take float32 rows, these are {:?}", input.data.dtype())))?;
    if rows == 0 {
        trees.check_rows(&[], columns)?;
    }
    let margins = trees.margins(&values, columns).map_err(|error| at(error, place))?;
    let outputs = TensorData::F32(trees.outputs(&margins));
    let width =
        outputs.len().checked_div(rows).unwrap_or_else(|| trees.labels().map_or(trees.n_outputs(), |l| l.len()));
    let outputs = Tensor::unnamed(vec![rows, width], outputs);
    Ok(match trees.labels() {
        Some(labels) => vec![Tensor::unnamed(vec![rows], trees.row_labels(labels, &margins)), outputs],
        None => vec![outputs],
    })
}

/// The elements as float32, for the operators that compute in it whatever comes in.
fn floats(tensor: &Tensor, place: &str) -> Result<Vec<f32>> {
    Ok(match &tensor.data {
        TensorData::F32(values) => values.clone(),
        TensorData::F64(values) => values.iter().map(|&v| v as f32).collect(),
        TensorData::I64(values) => values.iter().map(|&v| v as f32).collect(),
        TensorData::I32(values) => values.iter().map(|&v| v as f32).collect(),
        other => return Err(bad_input(place, format!("numbers are needed, these are {:?}", other.dtype()))),
    })
}

/// The same error, said of another place.
fn at(error: OnnxError, place: &str) -> OnnxError {
    if let OnnxError::Input { reason, .. } = error { bad_input(place, reason) } else { error }
}
