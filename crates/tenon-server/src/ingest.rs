//! Rows that callers push.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde_json::{Value, json};
use tenon_core::fact::DatasetCommitted;
use tenon_core::{DatasetName, Digest};
use tenon_ingest::Once;
use tenon_lake::WriteOutcome;

use crate::arrow_stream;
use crate::caller::Caller;
use crate::house::{House, Room, aside, to_its_end};
use crate::problem::Problem;

/// The most bytes of one push.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// The longest idempotency key.
const LONGEST_KEY: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Arrow,
}

/// `POST /ingest/{dataset}`: NDJSON, or an Arrow IPC stream by its content type. A push with an `Idempotency-Key` is
/// taken once for the key, and refused where the key came with another body; others are taken once for their rows.
pub(crate) async fn push(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
    Extension(room): Extension<Room>,
    Path(dataset): Path<DatasetName>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (format, key) = (format(&headers)?, key(&headers)?);
    let body = body?;
    let taken = to_its_end(async move {
        let _room = room;
        let (reader, name, keyed) = (Arc::clone(&house), dataset.clone(), key.is_some());
        let read = aside(move || {
            let digest = keyed.then(|| Digest::of(&body));
            rows(&reader, &name, format, body).map(|rows| (rows, digest))
        });
        let (rows, digest) = read.await?;
        let once = key.as_deref().zip(digest).map(|(key, body)| Once { key, body });
        Ok(house.ingest.push(&by, &dataset, rows, once).await?)
    });
    Ok(match taken.await? {
        WriteOutcome::Committed { fact, .. } => Json(landed("committed", &fact)).into_response(),
        WriteOutcome::Already(fact) => Json(landed("already", &fact)).into_response(),
        WriteOutcome::Refused(fact) => {
            let refused = json!({
                "error": fact.sentence, "outcome": "refused", "dataset": fact.dataset, "reasons": fact.reasons,
            });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response()
        }
    })
}

fn rows(house: &House, dataset: &DatasetName, format: Format, body: Bytes) -> Result<Vec<RecordBatch>, Problem> {
    match format {
        Format::Arrow => arrow_stream::read(body),
        Format::Ndjson => {
            let text = std::str::from_utf8(&body);
            let text = text.map_err(|error| Problem::bad_request(format!("the rows are not UTF-8: {error}")))?;
            Ok(vec![house.ingest.rows_from_json(dataset, text)?])
        }
    }
}

/// What became of a push, for its caller.
pub(crate) fn landed(outcome: &str, fact: &DatasetCommitted) -> Value {
    json!({
        "outcome": outcome, "dataset": fact.dataset, "version": fact.version, "rows_in": fact.rows_in,
        "accepted": fact.accepted, "quarantined": fact.quarantined, "reasons": fact.reasons, "warnings": fact.warnings,
        "duplicates": fact.duplicates, "dropped": fact.dropped, "quarantine_version": fact.quarantine_version,
    })
}

fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Format::Ndjson) };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        arrow_stream::KIND => Ok(Format::Arrow),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/json"
        | "text/plain"
        | "application/octet-stream"
        | "application/x-www-form-urlencoded" => Ok(Format::Ndjson),
        other => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("`{other}` is not taken here: send application/x-ndjson or {}", arrow_stream::KIND),
        )),
    }
}

/// The idempotency key of a push.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= LONGEST_KEY => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request(format!("the Idempotency-Key is 1 to {LONGEST_KEY} visible ASCII characters"))),
    }
}
