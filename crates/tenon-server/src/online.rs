//! `POST /api/v1/features/{service}/online`: features of many entities at once, Arrow in and Arrow out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, Int8Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use axum::Extension;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tenon_core::Timestamp;
use tenon_features::{FeatureRef, FeatureStatus, OnlineColumn, Selected};
use tokio::runtime::Handle;

use crate::arrow_stream;
use crate::caller::Caller;
use crate::decisions::AHEAD;
use crate::features::{Service, of_service, told};
use crate::house::{House, Room, aside};
use crate::problem::Problem;

/// The most bytes of one request.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// The most values of one answer: each takes some 20 bytes of it.
const MOST_VALUES: usize = 4_000_000;
/// So many rows are looked up at once.
const ROWS_AT_ONCE: usize = 16_384;
/// How to read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// The column with the moment as of which a row is read; without it, all rows are read as of now.
    #[serde(default)]
    at: Option<String>,
}

/// `POST /api/v1/features/{service}/online?at=`: takes the entities' columns, and answers for each of their rows, in their
/// order and for each feature: `NAME` (float32, null where there is none), `NAME__status` and `NAME__event_at`.
pub(crate) async fn read(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Extension(room): Extension<Room>,
    Path(service): Path<String>,
    how: Result<Query<How>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Query(How { at }) = how.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Service { features, selected } = of_service(&house, &caller, &service).await?;
    let (now, body) = (house.clock.now(), body?);
    let bytes = aside(move || {
        let _room = room;
        answer(&selected, &features, &entities(body, features.len())?, at.as_deref(), now)
    });
    Ok(([(header::CONTENT_TYPE, arrow_stream::KIND)], bytes.await?).into_response())
}

fn entities(body: Bytes, features: usize) -> Result<Vec<RecordBatch>, Problem> {
    let batches = arrow_stream::read(body)?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows.saturating_mul(features) > MOST_VALUES {
        let sentence = format!(
            "{rows} rows with {features} features are {} values, and {MOST_VALUES} are the most at once; ask several times",
            rows.saturating_mul(features)
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(batches)
}

fn answer(
    selected: &Selected,
    features: &[FeatureRef],
    entities: &[RecordBatch],
    at: Option<&str>,
    now: Timestamp,
) -> Result<Vec<u8>, Problem> {
    let schema = schema(features);
    // This is beside the requests: a store that is not in memory may be waited for.
    let waiting = Handle::current();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(FeatureStatus::ALL.map(FeatureStatus::as_str)));
    for batch in entities {
        for first in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
            let rows = batch.slice(first, ROWS_AT_ONCE.min(batch.num_rows() - first));
            let columns = match at {
                Some(column) => waiting.block_on(selected.read_each(&rows, column, now + AHEAD)),
                None => waiting.block_on(selected.read(&rows, now)),
            };
            writer.write(&table(&schema, &words, columns.map_err(told)?)?)?;
        }
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}

fn schema(features: &[FeatureRef]) -> SchemaRef {
    let status = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = features.iter().flat_map(|FeatureRef { feature, .. }| {
        [
            Field::new(feature, DataType::Float32, true),
            Field::new(format!("{feature}__status"), status.clone(), false),
            Field::new(format!("{feature}__event_at"), moment.clone(), true),
        ]
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn table(schema: &SchemaRef, words: &ArrayRef, columns: Vec<OnlineColumn>) -> Result<RecordBatch, Problem> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for OnlineColumn { values, statuses, event_at, .. } in columns {
        let number =
            |status: FeatureStatus| FeatureStatus::ALL.iter().position(|known| *known == status).unwrap_or_default();
        let numbers: Int8Array = statuses.into_iter().map(|status| Some(number(status) as i8)).collect();
        let moments: TimestampMicrosecondArray = event_at.into_iter().map(|at| at.map(Timestamp::as_micros)).collect();
        arrays.push(Arc::new(Float32Array::from(values)));
        arrays.push(Arc::new(DictionaryArray::<Int8Type>::try_new(numbers, Arc::clone(words))?));
        arrays.push(Arc::new(moments.with_timezone("UTC")));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}
