//! Rows as JSON, one object a line.
//!
//! A value of the wrong kind is no error here: its column is handed on as text, so that the contract sets that one row
//! aside with the value in its reason, and not the whole batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use tenon_core::spec::{Column, ColumnType, Contract};

use crate::IngestError;

/// Rows of a dataset from NDJSON. A field that a row does not have is missing there; fields that the contract does not
/// know are kept for the quarantine's sake.
///
/// # Errors
/// [`IngestError::Json`] names the first line that is not an object.
pub fn rows_from_json(contract: &Contract, ndjson: &str) -> Result<RecordBatch, IngestError> {
    rows_from_lines(contract, ndjson.lines(), 1)
}

/// The same from lines that were cut already; `first` is the number of the first.
pub(crate) fn rows_from_lines<'a>(
    contract: &Contract,
    lines: impl Iterator<Item = &'a str>,
    first: usize,
) -> Result<RecordBatch, IngestError> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for (at, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = serde_json::from_str(line).map(|Row(row)| row);
        rows.push(row.map_err(|error| IngestError::Json { line: first + at, what: error.to_string() })?);
    }
    rows_from_objects(contract, &rows, Vec::new(), false)
        .map_err(|error| IngestError::Json { line: first, what: error.to_string() })
}

/// A JSON object whose fields have names of their own. Of two fields with one name, which other readers take the last of
/// or the first, nobody could tell which was meant.
#[derive(Debug)]
pub(crate) struct Row(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Row, A::Error> {
        let mut row = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            match row.entry(name) {
                Entry::Vacant(field) => field.insert(fields.next_value()?),
                Entry::Occupied(field) => {
                    return Err(serde::de::Error::custom(format!("field `{}` is there twice", field.key())));
                }
            };
        }
        Ok(Row(row))
    }
}

/// Rows of a dataset from JSON objects, with columns that their source knows of them beside. Where `each_alone`, rows
/// that came together by chance, a field that none of them has is missing in each.
pub(crate) fn rows_from_objects(
    contract: &Contract,
    rows: &[Map<String, Value>],
    beside: Vec<(&str, ArrayRef)>,
    each_alone: bool,
) -> Result<RecordBatch, ArrowError> {
    let mut fields: Vec<Field> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let beside: Vec<_> =
        beside.into_iter().filter(|(name, _)| !rows.iter().any(|row| row.contains_key(*name))).collect();
    let mut add = |name: &str, column: ArrayRef| {
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    };
    for (name, column) in &contract.columns {
        if beside.iter().any(|(known, _)| known == name) {
            continue;
        }
        // A field that no row has: where it may be missing it is, and where not the contract says so once.
        if each_alone || column.nullable || rows.iter().any(|row| row.contains_key(name)) || rows.is_empty() {
            add(name, typed(rows, name, column));
        }
    }
    let mut others: Vec<&String> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !contract.columns.contains_key(name) && !others.contains(&name) {
            others.push(name);
        }
    }
    for name in others {
        add(name, texts(rows, name));
    }
    beside.into_iter().for_each(|(name, column)| add(name, column));
    let schema = Arc::new(Schema::new(fields));
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

/// A column in its own JSON kind, or as text where one value is of another kind.
fn typed(rows: &[Map<String, Value>], name: &str, column: &Column) -> ArrayRef {
    let values = || rows.iter().map(|row| row.get(name).filter(|value| !value.is_null()));
    let all = |is: fn(&Value) -> bool| values().flatten().all(is);
    match column.data_type {
        ColumnType::Boolean if all(Value::is_boolean) => {
            Arc::new(values().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
        }
        ColumnType::Int32 | ColumnType::Int64 if all(Value::is_i64) => {
            Arc::new(values().map(|value| value.and_then(Value::as_i64)).collect::<Int64Array>())
        }
        ColumnType::Float32 | ColumnType::Float64 if all(Value::is_number) => {
            Arc::new(values().map(|value| value.and_then(Value::as_f64)).collect::<Float64Array>())
        }
        _ => texts(rows, name),
    }
}

fn texts(rows: &[Map<String, Value>], name: &str) -> ArrayRef {
    let text = |row: &Map<String, Value>| match row.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Arc::new(rows.iter().map(text).collect::<StringArray>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::datatypes::DataType;

    use super::*;

    fn contract() -> Contract {
        let text = "[columns]\nid = { type = \"string\" }\nn = { type = \"int64\", nullable = true }\nx = { type = \"float64\", nullable = true }";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_keep_their_kind_where_all_agree_and_are_texts_where_not() {
        let rows =
            rows_from_json(&contract(), "{\"id\":\"a\",\"n\":1,\"x\":2}\n\n{\"id\":\"b\",\"x\":null,\"more\":[1]}")
                .unwrap();
        let kinds: Vec<_> = rows.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
        let expected =
            [("id", DataType::Utf8), ("n", DataType::Int64), ("x", DataType::Float64), ("more", DataType::Utf8)];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
        let rows = rows_from_json(&contract(), "{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":\"one\"}").unwrap();
        assert_eq!(rows.column_by_name("n").unwrap().data_type(), &DataType::Utf8);
    }

    #[test]
    fn a_field_that_no_row_has_is_missing_only_where_it_may_not_be() {
        let rows = rows_from_json(&contract(), "{\"n\":1}").unwrap();
        assert!(rows.column_by_name("id").is_none());
        assert_eq!(rows.column_by_name("x").unwrap().null_count(), 1);
    }

    #[test]
    fn the_line_that_is_no_object_is_named() {
        let error = rows_from_json(&contract(), "{\"id\":\"a\"}\n[1]").unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not a JSON object"), "{error}");
        let error = rows_from_json(&contract(), "{\"id\":\"a\",\"n\":1,\"id\":\"b\"}").unwrap_err();
        assert!(
            error.to_string().contains("line 1") && error.to_string().contains("field `id` is there twice"),
            "{error}"
        );
    }
}
