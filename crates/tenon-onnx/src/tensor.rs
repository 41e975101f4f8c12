//! Tensors as they enter and leave a model.

use crate::error::{Result, bad_input, invalid, unsupported};
use crate::proto::{TensorProto, data_type};

/// More elements than this in one tensor is taken for an absurd shape rather than for data.
const MAX_ELEMENTS: usize = 1 << 28;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 32-bit float, the type of nearly every feature.
    F32,
    /// 64-bit float.
    F64,
    /// 64-bit integer, the type of labels.
    I64,
    /// 32-bit integer.
    I32,
    /// Boolean.
    Bool,
    /// UTF-8 text.
    String,
}

impl DType {
    pub(crate) fn from_onnx(code: i32, place: &str) -> Result<Self> {
        Ok(match code {
            data_type::FLOAT => Self::F32,
            data_type::DOUBLE => Self::F64,
            data_type::INT64 => Self::I64,
            data_type::INT32 => Self::I32,
            data_type::BOOL => Self::Bool,
            data_type::STRING => Self::String,
            0 => return Err(invalid(place, "the tensor has no element type")),
            other => return Err(unsupported(format!("element type {other}"), place)),
        })
    }
}

/// One extent of a declared shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// Known only when running; with the name the model gives it, if any.
    Dynamic(Option<String>),
}

/// What a model declares about one of its inputs or outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name by which the tensor is passed.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its extents, outermost first; empty when undeclared.
    pub shape: Vec<Dim>,
}

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the element types of `DType`")]
pub enum TensorData {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
    String(Vec<String>),
}

/// Applies one expression to the vector inside any [`TensorData`].
macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::TensorData::F32($v) => $body,
            $crate::tensor::TensorData::F64($v) => $body,
            $crate::tensor::TensorData::I64($v) => $body,
            $crate::tensor::TensorData::I32($v) => $body,
            $crate::tensor::TensorData::Bool($v) => $body,
            $crate::tensor::TensorData::String($v) => $body,
        }
    };
}
/// Like `each!`, but wraps the result in the same variant.
macro_rules! map_each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::TensorData::F32($v) => $crate::tensor::TensorData::F32($body),
            $crate::tensor::TensorData::F64($v) => $crate::tensor::TensorData::F64($body),
            $crate::tensor::TensorData::I64($v) => $crate::tensor::TensorData::I64($body),
            $crate::tensor::TensorData::I32($v) => $crate::tensor::TensorData::I32($body),
            $crate::tensor::TensorData::Bool($v) => $crate::tensor::TensorData::Bool($body),
            $crate::tensor::TensorData::String($v) => $crate::tensor::TensorData::String($body),
        }
    };
}
pub(crate) use map_each;

impl TensorData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::I64(_) => DType::I64,
            Self::I32(_) => DType::I32,
            Self::Bool(_) => DType::Bool,
            Self::String(_) => DType::String,
        }
    }
}

/// A named, dense, row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name under which the model knows it.
    pub name: String,
    /// Extents, outermost first; their product is the number of elements. Empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: TensorData,
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// `Input` when the shape does not hold exactly the given elements.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, data: TensorData) -> Result<Self> {
        let (name, held) = (name.into(), elements(&shape));
        if held != Some(data.len()) {
            return Err(bad_input(name, format!("the shape {shape:?} does not hold {} elements", data.len())));
        }
        Ok(Self { name, shape, data })
    }

    /// A float32 matrix of `rows.len() / n_features` rows.
    ///
    /// # Errors
    /// `Input` when the values do not fill whole rows.
    pub fn matrix(name: impl Into<String>, values: Vec<f32>, n_features: usize) -> Result<Self> {
        let rows = values.len().checked_div(n_features).unwrap_or(0);
        Self::new(name, vec![rows, n_features], TensorData::F32(values))
    }

    /// The elements when they are float32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let TensorData::F32(values) = &self.data { Some(values) } else { None }
    }

    /// The elements when they are int64.
    pub fn as_i64(&self) -> Option<&[i64]> {
        if let TensorData::I64(values) = &self.data { Some(values) } else { None }
    }

    pub(crate) fn unnamed(shape: Vec<usize>, data: TensorData) -> Self {
        debug_assert_eq!(elements(&shape), Some(data.len()));
        Self { name: String::new(), shape, data }
    }

    /// Rows and columns as the ai.onnx.ml operators see them: a vector is one row.
    pub(crate) fn rows_and_columns(&self, place: &str) -> Result<(usize, usize)> {
        match self.shape[..] {
            [columns] => Ok((1, columns)),
            [rows, columns] => Ok((rows, columns)),
            _ => Err(bad_input(place, format!("a matrix of rows is needed, the shape is {:?}", self.shape))),
        }
    }

    pub(crate) fn from_proto(proto: &TensorProto) -> Result<Self> {
        let place = format!("tensor `{}`", proto.name);
        if !proto.external_data.is_empty() {
            return Err(unsupported("external data", place));
        }
        let shape = proto
            .dims
            .iter()
            .map(|&dim| usize::try_from(dim).map_err(|_| invalid(&place, format!("negative extent {dim}"))))
            .collect::<Result<Vec<_>>>()?;
        let dtype = DType::from_onnx(proto.data_type, &place)?;
        let data = match &proto.raw_data {
            Some(raw) => from_raw(dtype, raw, &place)?,
            None => match dtype {
                DType::F32 => TensorData::F32(proto.float_data.clone()),
                DType::F64 => TensorData::F64(proto.double_data.clone()),
                DType::I64 => TensorData::I64(proto.int64_data.clone()),
                DType::I32 => TensorData::I32(proto.int32_data.clone()),
                DType::Bool => TensorData::Bool(proto.int32_data.iter().map(|&v| v != 0).collect()),
                DType::String => TensorData::String(
                    proto.string_data.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect(),
                ),
            },
        };
        if elements(&shape) != Some(data.len()) {
            return Err(invalid(place, format!("the shape {shape:?} does not hold {} elements", data.len())));
        }
        Ok(Self { name: proto.name.clone(), shape, data })
    }
}

/// The number of elements of a shape, `None` when it is absurd. Every part of the shape is then bounded too, even when
/// another extent is zero.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    let bound = shape.iter().try_fold(1_usize, |all, &dim| all.checked_mul(dim.max(1)))?;
    (bound <= MAX_ELEMENTS).then(|| shape.iter().product())
}

fn from_raw(dtype: DType, raw: &[u8], place: &str) -> Result<TensorData> {
    fn numbers<const W: usize, T>(raw: &[u8], place: &str, read: fn([u8; W]) -> T) -> Result<Vec<T>> {
        let (whole, rest) = raw.as_chunks::<W>();
        if !rest.is_empty() {
            return Err(invalid(place, format!("{} raw bytes are no whole number of elements", raw.len())));
        }
        Ok(whole.iter().copied().map(read).collect())
    }
    Ok(match dtype {
        DType::F32 => TensorData::F32(numbers(raw, place, f32::from_le_bytes)?),
        DType::F64 => TensorData::F64(numbers(raw, place, f64::from_le_bytes)?),
        DType::I64 => TensorData::I64(numbers(raw, place, i64::from_le_bytes)?),
        DType::I32 => TensorData::I32(numbers(raw, place, i32::from_le_bytes)?),
        DType::Bool => TensorData::Bool(raw.iter().map(|&byte| byte != 0).collect()),
        DType::String => return Err(invalid(place, "text can not be stored as raw bytes")),
    })
}

impl TensorInfo {
    /// Whether `tensor` is of the declared type and shape.
    pub(crate) fn check(&self, tensor: &Tensor) -> Result<()> {
        let fault = |reason: String| Err(bad_input(&self.name, reason));
        if tensor.data.dtype() != self.dtype {
            return fault(format!("the model takes {:?}, the tensor holds {:?}", self.dtype, tensor.data.dtype()));
        }
        if elements(&tensor.shape) != Some(tensor.data.len()) {
            return fault(format!("the shape {:?} does not hold {} elements", tensor.shape, tensor.data.len()));
        }
        let fits = self.shape.is_empty()
            || self.shape.len() == tensor.shape.len()
                && self.shape.iter().zip(&tensor.shape).all(|(dim, extent)| match dim {
                    Dim::Fixed(fixed) => fixed == extent,
                    Dim::Dynamic(_) => true,
                });
        if !fits {
            let declared: Vec<_> = self
                .shape
                .iter()
                .map(|dim| match dim {
                    Dim::Fixed(extent) => extent.to_string(),
                    Dim::Dynamic(_) => "any".to_owned(),
                })
                .collect();
            return fault(format!("the shape {:?} does not fit [{}]", tensor.shape, declared.join(", ")));
        }
        Ok(())
    }
}
