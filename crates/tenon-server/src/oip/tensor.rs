//! One tensor, in JSON and in the binary form: little-endian, row-major, texts with their length in four bytes before them.

use serde_json::value::RawValue;
use tenon_onnx::{DType, TensorData};

use super::elements;
use crate::problem::Problem;

/// Element types of the protocol that no model here has.
const NOT_HERE: [&str; 8] = ["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "FP16", "BF16"];

/// The element type that a word names.
pub(crate) fn dtype(word: &str, tensor: &str) -> Result<DType, Problem> {
    Ok(match word {
        "BOOL" => DType::Bool,
        "INT32" => DType::I32,
        "INT64" => DType::I64,
        "FP32" => DType::F32,
        "FP64" => DType::F64,
        "BYTES" => DType::String,
        _ => {
            let what = if NOT_HERE.contains(&word) { "which no model here takes" } else { "which is no datatype" };
            return Err(Problem::bad_request(format!(
                "the input `{tensor}` is {word}, {what}; models here take BOOL, INT32, INT64, FP32, FP64 and BYTES"
            )));
        }
    })
}

/// How many elements a shape holds.
pub(crate) fn elements_of(shape: &[usize], tensor: &str) -> Result<usize, Problem> {
    let elements = shape.iter().try_fold(1_usize, |all, extent| all.checked_mul(*extent));
    elements.ok_or_else(|| Problem::bad_request(format!("the input `{tensor}` has an absurd shape: {shape:?}")))
}

/// The elements from JSON, flat or nested.
pub(crate) fn from_json(tensor: &str, dtype: DType, elements: usize, json: &RawValue) -> Result<TensorData, Problem> {
    let json = json.get();
    let data = match dtype {
        DType::F32 => elements::read(json, elements).map(TensorData::F32),
        DType::F64 => elements::read(json, elements).map(TensorData::F64),
        DType::I64 => elements::read(json, elements).map(TensorData::I64),
        DType::I32 => elements::read(json, elements).map(TensorData::I32),
        DType::Bool => elements::read(json, elements).map(TensorData::Bool),
        DType::String => elements::read(json, elements).map(TensorData::String),
    };
    let data =
        data.map_err(|error| Problem::bad_request(format!("the data of the input `{tensor}` is wrong: {error}")))?;
    if data.len() < elements {
        let found = data.len();
        let what = format!("the input `{tensor}` has {found} elements, its shape {elements}");
        return Err(Problem::bad_request(what));
    }
    Ok(data)
}

/// The elements from their binary form.
pub(crate) fn from_binary(tensor: &str, dtype: DType, elements: usize, bytes: &[u8]) -> Result<TensorData, Problem> {
    let wrong = || {
        let found = bytes.len();
        Problem::bad_request(format!(
            "the {found} bytes of the input `{tensor}` are not the {elements} elements of its shape"
        ))
    };
    let fits = |width: usize| elements.checked_mul(width) == Some(bytes.len());
    macro_rules! numbers {
        ($number:ty) => {{
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$number>() }>();
            if !fits(size_of::<$number>()) {
                return Err(wrong());
            }
            chunks.iter().map(|chunk| <$number>::from_le_bytes(*chunk)).collect()
        }};
    }
    Ok(match dtype {
        DType::F32 => TensorData::F32(numbers!(f32)),
        DType::F64 => TensorData::F64(numbers!(f64)),
        DType::I64 => TensorData::I64(numbers!(i64)),
        DType::I32 => TensorData::I32(numbers!(i32)),
        DType::Bool if fits(1) => TensorData::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        DType::Bool => return Err(wrong()),
        DType::String => TensorData::String(texts(bytes, elements).ok_or_else(wrong)?),
    })
}

fn texts(mut bytes: &[u8], elements: usize) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        bytes = rest;
    }
    (bytes.is_empty() && texts.len() == elements).then_some(texts)
}

/// The elements as a flat JSON array; a number that is none is null.
pub(crate) fn to_json(data: &TensorData) -> Result<Box<RawValue>, serde_json::Error> {
    use serde_json::value::to_raw_value;
    match data {
        TensorData::F32(values) => to_raw_value(values),
        TensorData::F64(values) => to_raw_value(values),
        TensorData::I64(values) => to_raw_value(values),
        TensorData::I32(values) => to_raw_value(values),
        TensorData::Bool(values) => to_raw_value(values),
        TensorData::String(values) => to_raw_value(values),
    }
}

/// Appends the elements in their binary form.
pub(crate) fn to_binary(data: &TensorData, bytes: &mut Vec<u8>) {
    match data {
        TensorData::F32(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        TensorData::F64(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        TensorData::I64(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        TensorData::I32(values) => values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
        TensorData::Bool(values) => bytes.extend(values.iter().map(|value| u8::from(*value))),
        TensorData::String(values) => {
            for text in values {
                // A text of 4 GiB does not come out of a model that took a request of a few MiB.
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
}
