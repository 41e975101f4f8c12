//! A request for inference and its answer: JSON, with the tensors in it or, in binary, behind it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tenon_onnx::Tensor;
use tenon_serve::{InferRequest, InferResponse, datatype};

use super::tensor::{dtype, elements_of, from_binary, from_json, to_binary, to_json};
use crate::problem::Problem;

/// A request, read.
#[derive(Debug)]
pub(crate) struct Asked {
    id: Option<String>,
    pub(crate) request: InferRequest,
    /// Whether outputs come in binary unless they say otherwise.
    binary: bool,
    /// What single outputs say.
    binary_by_output: Vec<Option<bool>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Serialize)]
struct Answer {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Answered>,
}

#[derive(Serialize)]
struct Answered {
    name: String,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// Reads a request: `header_length` is what the header says of its JSON part, none when all of it is JSON.
///
/// # Errors
/// 400 with what is wrong. No room is made for what is only claimed.
pub(crate) fn decode(header_length: Option<&str>, body: &[u8]) -> Result<Asked, Problem> {
    let (json, mut binary) = match header_length {
        None => (body, &[][..]),
        Some(text) => split(text, body)?,
    };
    let request: Request<'_> = serde_json::from_slice(json)
        .map_err(|error| Problem::bad_request(format!("the request is not what the protocol asks for: {error}")))?;
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for input in &request.inputs {
        inputs.push(tensor(input, &mut binary)?);
    }
    if !binary.is_empty() {
        let left = binary.len();
        return Err(Problem::bad_request(format!(
            "{left} bytes stand behind the last input; does an input lack its `binary_data_size`?"
        )));
    }
    let of_outputs = request.outputs.iter().map(|output| {
        if output.parameters.get("classification").is_some_and(|classes| classes != 0) {
            return Err(Problem::bad_request(format!(
                "the output `{}` is asked for as classes, which is not done here",
                output.name
            )));
        }
        flag(&output.parameters, "binary_data")
    });
    Ok(Asked {
        id: request.id,
        binary: flag(&request.parameters, "binary_data_output")?.unwrap_or(false),
        binary_by_output: of_outputs.collect::<Result<_, _>>()?,
        request: InferRequest { inputs, outputs: request.outputs.into_iter().map(|output| output.name).collect() },
    })
}

fn split<'a>(text: &str, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Problem> {
    let length = text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = length.ok_or_else(|| {
        Problem::bad_request(format!("Inference-Header-Content-Length is `{text}`, not a number of bytes"))
    })?;
    body.split_at_checked(length).ok_or_else(|| {
        let found = body.len();
        Problem::bad_request(format!("Inference-Header-Content-Length is {length}, and the body has {found} bytes"))
    })
}

fn flag(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(Problem::bad_request(format!("`{name}` is {other}, not true or false"))),
    }
}

fn tensor(input: &Input<'_>, binary: &mut &[u8]) -> Result<Tensor, Problem> {
    let name = &input.name;
    let kind = dtype(&input.datatype, name)?;
    let elements = elements_of(&input.shape, name)?;
    if input.parameters.contains_key("shared_memory_region") {
        return Err(Problem::bad_request(format!("the input `{name}` lies in shared memory, which is not read here")));
    }
    let data = match (input.data, input.parameters.get("binary_data_size")) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request(format!("the input `{name}` has both `data` and binary data")));
        }
        (None, None) => return Err(Problem::bad_request(format!("the input `{name}` has no `data`"))),
        (Some(json), None) => from_json(name, kind, elements, json)?,
        (None, Some(size)) => {
            let claimed = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let claimed = claimed.ok_or_else(|| {
                Problem::bad_request(format!(
                    "the `binary_data_size` of the input `{name}` is {size}, not a number of bytes"
                ))
            })?;
            let (bytes, rest) = binary.split_at_checked(claimed).ok_or_else(|| {
                let left = binary.len();
                Problem::bad_request(format!(
                    "the input `{name}` claims {claimed} bytes, and {left} are left in the body"
                ))
            })?;
            *binary = rest;
            from_binary(name, kind, elements, bytes)?
        }
    };
    Ok(Tensor { name: name.clone(), shape: input.shape.clone(), data })
}

/// Writes an answer. The length of its JSON part, where binary tensors follow; and the bytes.
pub(crate) fn encode(asked: &Asked, response: &InferResponse) -> Result<(Option<usize>, Vec<u8>), Problem> {
    let mut behind = Vec::new();
    let mut any_binary = false;
    let mut outputs = Vec::with_capacity(response.outputs.len());
    for (at, output) in response.outputs.iter().enumerate() {
        let own = asked.binary_by_output.get(at).copied().flatten();
        let (parameters, data) = if own.unwrap_or(asked.binary) {
            any_binary = true;
            let before = behind.len();
            to_binary(&output.data, &mut behind);
            (Some(json!({ "binary_data_size": behind.len() - before })), None)
        } else {
            (None, Some(to_json(&output.data)?))
        };
        let datatype = datatype(output.data.dtype());
        outputs.push(Answered { name: output.name.clone(), datatype, shape: output.shape.clone(), parameters, data });
    }
    let answer = Answer {
        model_name: response.version.model.to_string(),
        model_version: response.version.version.to_string(),
        id: asked.id.clone(),
        outputs,
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    let length = any_binary.then_some(bytes.len());
    bytes.append(&mut behind);
    Ok((length, bytes))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
