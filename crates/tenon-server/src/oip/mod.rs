//! The Open Inference Protocol v2 over REST, with the binary tensor extension and those of Triton's additions that stock
//! clients call.
//!
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md> and
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>

mod elements;
mod message;
mod tensor;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tenon_serve::{ModelMetadata, ServeError, TensorMetadata};

use crate::house::{House, aside};
use crate::problem::Problem;

/// The most bytes of one request for inference.
pub(crate) const MOST_BYTES: usize = 32 << 20;
/// How long the JSON part is, in a message with binary tensors behind it.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// A model, or one version of it, as a path names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl Named {
    fn version(&self) -> Result<Option<u32>, Problem> {
        let Some(text) = &self.version else { return Ok(None) };
        let version = text.parse().ok().filter(|version| *version > 0);
        version.map(Some).ok_or_else(|| Problem::not_found(format!("`{}` has no version `{text}`", self.model)))
    }
}

/// `GET /v2`.
pub(crate) async fn server() -> Json<Value> {
    Json(json!({
        "name": "tenon",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository", "model_configuration", "statistics"],
    }))
}

/// `GET /v2/health/live`.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`: ready when the ledger answers.
pub(crate) async fn ready(State(house): State<Arc<House>>) -> Result<Json<Value>, Problem> {
    house.ledger.size()?;
    Ok(Json(json!({ "ready": true })))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`.
pub(crate) async fn model_ready(
    State(house): State<Arc<House>>,
    Path(named): Path<Named>,
) -> Result<Response, Problem> {
    let version = named.version()?;
    let ready = house.serving.ready(&named.model, version)?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({ "name": named.model, "ready": ready }))).into_response())
}

async fn described(house: Arc<House>, named: Named) -> Result<ModelMetadata, Problem> {
    let version = named.version()?;
    // The first look loads the model.
    aside(move || Ok(house.serving.metadata(&named.model, version)?)).await
}

/// `GET /v2/models/{model}[/versions/{version}]`.
pub(crate) async fn metadata(
    State(house): State<Arc<House>>,
    Path(named): Path<Named>,
) -> Result<Json<Value>, Problem> {
    let model = described(house, named).await?;
    let versions: Vec<String> = model.versions.iter().map(ToString::to_string).collect();
    Ok(Json(json!({
        "name": model.name, "versions": versions, "platform": model.platform, "inputs": model.inputs,
        "outputs": model.outputs, "parameters": { "feature_names": model.feature_names },
    })))
}

/// `GET /v2/models/{model}[/versions/{version}]/config`, in the words of Triton's model configuration.
pub(crate) async fn config(State(house): State<Arc<House>>, Path(named): Path<Named>) -> Result<Json<Value>, Problem> {
    let model = described(house, named).await?;
    let of = |tensor: &TensorMetadata| {
        let kind = if tensor.datatype == "BYTES" { "STRING" } else { tensor.datatype };
        json!({ "name": tensor.name, "data_type": format!("TYPE_{kind}"), "dims": tensor.shape })
    };
    Ok(Json(json!({
        "name": model.name, "platform": model.platform, "backend": "tenon", "max_batch_size": 0,
        "version_policy": { "specific": { "versions": model.versions } },
        "input": model.inputs.iter().map(of).collect::<Vec<_>>(),
        "output": model.outputs.iter().map(of).collect::<Vec<_>>(),
    })))
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`: bare inference since this program started.
pub(crate) async fn stats(State(house): State<Arc<House>>, Path(named): Path<Named>) -> Result<Json<Value>, Problem> {
    let one = named.version()?;
    let model = described(Arc::clone(&house), named).await?;
    let versions = model.versions.iter().copied().filter(|version| one.is_none_or(|one| one == *version));
    let of = |version: u32| {
        let counts = house.metrics.inference(&model.name, version);
        json!({
            "name": model.name, "version": version.to_string(),
            "inference_count": counts.rows, "execution_count": counts.succeeded,
            "inference_stats": {
                "success": { "count": counts.succeeded, "ns": counts.succeeded_nanos },
                "fail": { "count": counts.failed, "ns": counts.failed_nanos },
            },
        })
    };
    Ok(Json(json!({ "model_stats": versions.map(of).collect::<Vec<_>>() })))
}

/// `POST /v2/repository/index`: every version that may answer.
pub(crate) async fn index(State(house): State<Arc<House>>) -> Result<Json<Value>, Problem> {
    let mut index = Vec::new();
    for name in house.catalog.specs().models.keys() {
        for record in house.models.versions(name)? {
            if record.judged.is_some_and(|judged| judged.approved) {
                let version = record.registered.version.version.to_string();
                index.push(json!({ "name": name, "version": version, "state": "READY", "reason": "" }));
            }
        }
    }
    Ok(Json(Value::Array(index)))
}

/// `POST /v2/models/{model}[/versions/{version}]/infer`.
pub(crate) async fn infer(
    State(house): State<Arc<House>>,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let version = named.version()?;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed requests are not taken; send it as it is",
        ));
    }
    let length = headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap_or_default().to_owned());
    let body = body?;
    aside(move || {
        let asked = message::decode(length.as_deref(), &body)?;
        drop(body);
        let started = Instant::now();
        let rows = asked.request.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1) as u64;
        let answer = house.serving.infer(&named.model, version, &asked.request).inspect_err(|error| {
            if let (ServeError::Onnx { version, .. }, took) = (error, started.elapsed()) {
                house.metrics.inferred(version.model.as_str(), version.version, None, took);
            }
        })?;
        let of = &answer.version;
        house.metrics.inferred(of.model.as_str(), of.version, Some(rows), started.elapsed());
        let (json_bytes, bytes) = message::encode(&asked, &answer)?;
        let kind = if json_bytes.is_some() { "application/octet-stream" } else { "application/json" };
        let mut response = ([(header::CONTENT_TYPE, kind)], bytes).into_response();
        if let Some(length) = json_bytes {
            response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    })
    .await
}
