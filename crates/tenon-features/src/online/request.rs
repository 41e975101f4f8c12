//! What a caller sends, as columns: keys of entities, and values that derived features read.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListBuilder, Float32Builder, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use serde_json::Value;
use tenon_core::Timestamp;
use tenon_query::point_in_time::KeyType;

use crate::FeatureError;

/// Of a value that cannot be used so many characters are repeated.
const LONGEST_TOLD: usize = 60;

/// Keys of an entity from JSON.
pub(super) fn keys(name: &str, key_type: KeyType, values: &[Value]) -> Result<ArrayRef, FeatureError> {
    let wrong = |row: usize, value: &Value| {
        let found = told(row, values.len(), value);
        FeatureError::EntityType { column: name.to_owned(), found, wanted: key_type.words() }
    };
    let values: Vec<&Value> = values.iter().collect();
    Ok(match key_type {
        KeyType::Text => Arc::new(column::<StringArray, _>(&values, |value| value.as_str().map(str::to_owned), wrong)?),
        KeyType::Integer => Arc::new(column::<Int64Array, _>(&values, Value::as_i64, wrong)?),
        KeyType::Boolean => Arc::new(column::<BooleanArray, _>(&values, Value::as_bool, wrong)?),
    })
}

/// Values of a request from JSON, as a column of a type. Moments and days are text (RFC 3339).
pub(super) fn from_json(name: &str, kind: &DataType, values: &[&Value]) -> Result<ArrayRef, FeatureError> {
    let wrong = |row: usize, value: &Value| FeatureError::RequestType {
        column: name.to_owned(),
        found: told(row, values.len(), value),
        wanted: kind.clone(),
    };
    let array: ArrayRef = match kind {
        DataType::Boolean => Arc::new(column::<BooleanArray, _>(values, Value::as_bool, wrong)?),
        DataType::Utf8 => Arc::new(column::<StringArray, _>(values, |value| value.as_str().map(str::to_owned), wrong)?),
        DataType::Int64 | DataType::Int32 => Arc::new(column::<Int64Array, _>(values, Value::as_i64, wrong)?),
        DataType::Timestamp(..) => {
            let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_micros);
            Arc::new(column::<TimestampMicrosecondArray, _>(values, moment, wrong)?.with_timezone("UTC"))
        }
        DataType::FixedSizeList(_, length) => {
            let mut vectors = FixedSizeListBuilder::new(Float32Builder::new(), *length);
            for (row, value) in values.iter().enumerate() {
                match value {
                    Value::Null => vectors.values().append_nulls(*length as usize),
                    value => vectors.values().append_slice(&vector(value, *length).ok_or_else(|| wrong(row, value))?),
                }
                vectors.append(!value.is_null());
            }
            Arc::new(vectors.finish())
        }
        DataType::Date32 => {
            Arc::new(column::<StringArray, _>(values, |value| value.as_str().map(str::to_owned), wrong)?)
        }
        _ => Arc::new(column::<Float64Array, _>(values, Value::as_f64, wrong)?),
    };
    strictly(name, &array, kind)
}

/// A list of so many finite numbers.
fn vector(value: &Value, length: i32) -> Option<Vec<f32>> {
    let numbers = value.as_array().filter(|numbers| i32::try_from(numbers.len()) == Ok(length))?;
    let numbers = numbers.iter().map(|number| number.as_f64().map(|number| number as f32));
    numbers.map(|number| number.filter(|number| number.is_finite())).collect()
}

/// A column of a request, or of observations, in a type; where there is none, nulls.
pub(crate) fn from_batch(name: &str, kind: &DataType, sent: &RecordBatch) -> Result<ArrayRef, FeatureError> {
    match sent.column_by_name(name) {
        Some(column) => strictly(name, column, kind),
        None => Ok(new_null_array(kind, sent.num_rows())),
    }
}

fn column<A, T>(
    values: &[&Value],
    read: impl Fn(&Value) -> Option<T>,
    wrong: impl Fn(usize, &Value) -> FeatureError,
) -> Result<A, FeatureError>
where
    A: FromIterator<Option<T>>,
{
    let value = |(row, value): (usize, &&Value)| match value {
        Value::Null => Ok(None),
        value => read(value).map(Some).ok_or_else(|| wrong(row, value)),
    };
    values.iter().enumerate().map(value).collect()
}

/// A value that does not fit the type is an error, not a null.
fn strictly(name: &str, column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, FeatureError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &options).map_err(|error| FeatureError::RequestType {
        column: name.to_owned(),
        found: error.to_string(),
        wanted: kind.clone(),
    })
}

fn told(row: usize, rows: usize, value: &Value) -> String {
    let mut found: String = value.to_string().chars().take(LONGEST_TOLD).collect();
    if rows > 1 {
        found.push_str(&format!(" in row {}", row + 1));
    }
    found
}
