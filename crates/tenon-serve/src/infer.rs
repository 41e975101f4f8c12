//! Bare inference: tensors in, tensors out, nothing looked up and nothing logged.

use serde::Serialize;
use tenon_core::ModelVersionRef;
use tenon_onnx::{DType, Dim, Tensor, TensorInfo};

use crate::error::InferError;

/// A request for inference.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InferRequest {
    /// The inputs by name, row-major.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted, by name; empty: all.
    pub outputs: Vec<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct InferResponse {
    /// The version that answered.
    pub version: ModelVersionRef,
    /// The outputs, in the order asked.
    pub outputs: Vec<Tensor>,
}

/// What a model takes or gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorMetadata {
    /// The tensor's name.
    pub name: String,
    /// Its element type in the words of the Open Inference Protocol: `FP32`.
    pub datatype: &'static str,
    /// Its extents, -1 for any.
    pub shape: Vec<i64>,
}

/// What a model is, for callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// The model's name.
    pub name: String,
    /// The versions that may answer, oldest first.
    pub versions: Vec<u32>,
    /// The version that this describes.
    pub version: u32,
    /// The artifact's format: `onnx_onnxv1`.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
    /// The features that fill the columns of its input, in order.
    pub feature_names: Vec<String>,
}

/// The Open Inference Protocol's word for an element type.
pub const fn datatype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "FP32",
        DType::F64 => "FP64",
        DType::I64 => "INT64",
        DType::I32 => "INT32",
        DType::Bool => "BOOL",
        DType::String => "BYTES",
    }
}

pub(crate) fn metadata(info: &TensorInfo) -> TensorMetadata {
    TensorMetadata { name: info.name.clone(), datatype: datatype(info.dtype), shape: extents(info) }
}

fn extents(info: &TensorInfo) -> Vec<i64> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(extent) => i64::try_from(*extent).unwrap_or(i64::MAX),
        Dim::Dynamic(_) => -1,
    };
    info.shape.iter().map(extent).collect()
}

/// Checks a request's inputs against what the model declares.
pub(crate) fn check_inputs(given: &[Tensor], declared: &[TensorInfo]) -> Result<(), InferError> {
    for (at, tensor) in given.iter().enumerate() {
        let Some(info) = declared.iter().find(|info| info.name == tensor.name) else {
            let expected = declared.iter().map(|info| info.name.clone()).collect();
            return Err(InferError::UnknownInput { name: tensor.name.clone(), expected });
        };
        if given[..at].iter().any(|earlier| earlier.name == tensor.name) {
            return Err(InferError::RepeatedInput { name: tensor.name.clone() });
        }
        if tensor.data.dtype() != info.dtype {
            let (expected, found) = (datatype(info.dtype), datatype(tensor.data.dtype()));
            return Err(InferError::WrongType { input: tensor.name.clone(), expected, found });
        }
        let fits = |(found, dim): (&usize, &Dim)| matches!(dim, Dim::Dynamic(_)) || *dim == Dim::Fixed(*found);
        let ranks_fit = tensor.shape.len() == info.shape.len();
        let any_shape = info.shape.is_empty();
        if !(any_shape || ranks_fit && tensor.shape.iter().zip(&info.shape).all(fits)) {
            let (input, found) = (tensor.name.clone(), tensor.shape.clone());
            return Err(InferError::WrongShape { input, expected: extents(info), found });
        }
        let held = tensor.shape.iter().try_fold(1_usize, |all, extent| all.checked_mul(*extent));
        if held != Some(tensor.data.len()) {
            let (input, shape) = (tensor.name.clone(), tensor.shape.clone());
            return Err(InferError::WrongLength { input, shape, found: tensor.data.len() });
        }
    }
    match declared.iter().find(|info| given.iter().all(|tensor| tensor.name != info.name)) {
        Some(info) => Err(InferError::MissingInput { name: info.name.clone() }),
        None => Ok(()),
    }
}

/// Picks the wanted outputs, in the order asked.
pub(crate) fn pick_outputs(outputs: Vec<Tensor>, wanted: &[String]) -> Result<Vec<Tensor>, InferError> {
    if wanted.is_empty() {
        return Ok(outputs);
    }
    let find = |name: &String| {
        outputs.iter().find(|output| output.name == *name).cloned().ok_or_else(|| InferError::UnknownOutput {
            name: name.clone(),
            expected: outputs.iter().map(|output| output.name.clone()).collect(),
        })
    };
    wanted.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_onnx::TensorData;

    fn declared() -> Vec<TensorInfo> {
        let shape = vec![Dim::Dynamic(None), Dim::Fixed(3)];
        vec![TensorInfo { name: "features".to_owned(), dtype: DType::F32, shape }]
    }

    fn tensor(name: &str, shape: &[usize], data: TensorData) -> Tensor {
        Tensor { name: name.to_owned(), shape: shape.to_vec(), data }
    }

    #[track_caller]
    fn check(given: &[Tensor], expected: Result<(), &str>) {
        let found = check_inputs(given, &declared()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn each_fault_of_a_request_is_named() {
        let six = TensorData::F32(vec![0.0; 6]);
        check(&[tensor("features", &[2, 3], six.clone())], Ok(()));
        check(&[], Err("the input `features` is missing"));
        check(&[tensor("x", &[2, 3], six.clone())], Err("the model has no input `x`, only `features`"));
        check(
            &[tensor("features", &[3, 2], six.clone())],
            Err("the input `features` has the shape [3, 2], the model takes [-1, 3] (-1: any)"),
        );
        check(
            &[tensor("features", &[6], six.clone())],
            Err("the input `features` has the shape [6], the model takes [-1, 3] (-1: any)"),
        );
        check(
            &[tensor("features", &[2, 3], TensorData::F64(vec![0.0; 6]))],
            Err("the input `features` is FP64, the model takes FP32"),
        );
        check(&[tensor("features", &[3, 3], six.clone())], Err("the input `features` of shape [3, 3] has 6 elements"));
        let twice = tensor("features", &[2, 3], six);
        check(&[twice.clone(), twice], Err("the input `features` came twice"));
    }

    #[test]
    fn outputs_come_in_the_order_asked() {
        let outputs = vec![
            tensor("label", &[1], TensorData::I64(vec![1])),
            tensor("probabilities", &[1, 2], TensorData::F32(vec![0.2, 0.8])),
        ];
        let picked = pick_outputs(outputs.clone(), &["probabilities".to_owned(), "label".to_owned()]).unwrap();
        assert_eq!(picked[0].name, "probabilities");
        assert_eq!(pick_outputs(outputs.clone(), &[]).unwrap().len(), 2);
        assert!(matches!(pick_outputs(outputs, &["x".to_owned()]), Err(InferError::UnknownOutput { .. })));
    }
}
