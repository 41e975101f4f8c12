//! Rows from the JSON objects that a quarantine keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde_json::{Map, Value};

/// Rows with a column for each name that occurs, in the order of their first occurrence. Values keep their JSON kind where
/// a whole column has one, and are texts otherwise.
pub(crate) fn rows_from_objects(texts: &StringArray) -> Result<RecordBatch, ArrowError> {
    let object = |text: Option<&str>| serde_json::from_str::<Map<String, Value>>(text.unwrap_or("{}"));
    let rows: Result<Vec<Map<String, Value>>, _> = texts.iter().map(object).collect();
    let rows = rows.map_err(|error| ArrowError::JsonError(error.to_string()))?;
    let mut names: Vec<&String> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let columns: Vec<ArrayRef> = names.iter().map(|name| column(&rows, name)).collect();
    let field = |(name, column): (&&String, &ArrayRef)| Field::new(name.as_str(), column.data_type().clone(), true);
    let schema = Schema::new(names.iter().zip(&columns).map(field).collect::<Vec<_>>());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
}

fn column(rows: &[Map<String, Value>], name: &str) -> ArrayRef {
    let values = || rows.iter().map(|row| row.get(name).filter(|value| !value.is_null()));
    let all = |is: fn(&Value) -> bool| values().flatten().next().is_some() && values().flatten().all(is);
    if all(Value::is_boolean) {
        return Arc::new(values().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>());
    }
    if all(Value::is_i64) {
        return Arc::new(values().map(|value| value.and_then(Value::as_i64)).collect::<Int64Array>());
    }
    if all(Value::is_number) {
        return Arc::new(values().map(|value| value.and_then(Value::as_f64)).collect::<Float64Array>());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Arc::new(values().map(|value| value.map(text)).collect::<StringArray>())
}
