//! SQL over the lake.

use std::sync::Arc;

use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use arrow::record_batch::RecordBatch;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tenon_core::{AsOf, BranchName};
use tenon_policy::{Action, guard_of_table};

use crate::access::must_exist;
use crate::caller::Caller;
use crate::house::{House, aside};
use crate::problem::Problem;

/// The most rows of one answer.
const MOST_ROWS: usize = 10_000;

/// What `POST /api/v1/query` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    sql: String,
    /// A version, a moment, a tag, or `latest`.
    #[serde(default)]
    as_of: Option<String>,
    /// The branch to ask.
    #[serde(default)]
    branch: Option<BranchName>,
    #[serde(default = "default_limit")]
    limit: usize,
}

fn default_limit() -> usize {
    1000
}

/// What it answers.
#[derive(Debug, Serialize)]
pub(crate) struct Answered {
    columns: Vec<AnsweredColumn>,
    rows: Box<RawValue>,
    /// Whether there are more rows than these.
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct AnsweredColumn {
    name: String,
    r#type: String,
}

/// `POST /api/v1/query`: the first rows of the answer.
pub(crate) async fn query(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Json<Answered>, Problem> {
    let Json(asked) = asked?;
    let as_of = asked.as_of.as_deref().map(str::parse).transpose();
    let as_of: Option<AsOf> =
        as_of.map_err(|error: tenon_core::reference::ReferenceError| Problem::unprocessable(error.to_string()))?;
    house.allow(&caller, Action::CompanyRead, crate::access::company()).await?;
    for table in house.lake.tables_of(&asked.sql).await? {
        let (action, of) = guard_of_table(&house.catalog.specs(), &table, Action::DatasetQuery);
        // What a dataset left whose declaration is gone is there.
        if house.lake.state(&of.name)?.is_none() {
            must_exist(&house, &caller, &of)?;
        }
        house.allow(&caller, action, of).await?;
    }
    let rows = house.lake.ask(asked.branch.as_ref(), &asked.sql, as_of.unwrap_or_default()).await?;
    aside(move || answered(&rows, asked.limit.min(MOST_ROWS))).await.map(Json)
}

fn answered(batches: &[RecordBatch], limit: usize) -> Result<Answered, Problem> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let (mut left, mut truncated) = (limit, false);
    for batch in batches {
        truncated |= batch.num_rows() > left;
        let shown = batch.slice(0, batch.num_rows().min(left));
        left -= shown.num_rows();
        writer.write(&shown)?;
    }
    writer.finish()?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    let rows = RawValue::from_string(if text.is_empty() { "[]".to_owned() } else { text })?;
    let fields = batches.first().map(|batch| batch.schema().fields().clone()).unwrap_or_default();
    let column = |field: &Arc<arrow::datatypes::Field>| AnsweredColumn {
        name: field.name().clone(),
        r#type: field.data_type().to_string(),
    };
    Ok(Answered { columns: fields.iter().map(column).collect(), rows, truncated })
}
