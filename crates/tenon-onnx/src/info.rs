//! What a graph declares about its inputs and outputs.

use crate::error::{Result, unsupported};
use crate::proto::{DimensionValue, ValueInfoProto};
use crate::tensor::{DType, Dim, TensorInfo};

pub(crate) fn tensor_info(value: &ValueInfoProto) -> Result<TensorInfo> {
    let place = format!("value `{}`", value.name);
    let Some(tensor) = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
        return Err(unsupported("value that is not a tensor", place));
    };
    let shape = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match &dim.value {
        // Exporters write a batch of unknown size as 0 or -1 as well as by name.
        Some(DimensionValue::DimValue(extent)) if *extent > 0 => {
            usize::try_from(*extent).map_or(Dim::Dynamic(None), Dim::Fixed)
        }
        Some(DimensionValue::DimParam(name)) if !name.is_empty() => Dim::Dynamic(Some(name.clone())),
        _ => Dim::Dynamic(None),
    });
    Ok(TensorInfo {
        name: value.name.clone(),
        dtype: DType::from_onnx(tensor.elem_type, &place)?,
        shape: shape.collect(),
    })
}
