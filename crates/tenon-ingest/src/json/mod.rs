//! Rows as JSON, one object a line.
//!
//! A value of the wrong kind is no error here: its column is handed on as text, so that the contract sets that one row
//! aside with the value in its reason, and not the whole batch.

mod object;
mod rows;

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::map::Entry;
use serde_json::{Map, Value};
use tenon_core::spec::Contract;

use crate::IngestError;
pub(crate) use rows::JsonRows;

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
    let mut lines: Vec<(usize, &str)> = (first..).zip(lines).collect();
    lines.retain(|(_, line)| !line.trim().is_empty());
    let rows = JsonRows::fill(contract, |rows| {
        let mut lines = lines.iter();
        lines.try_for_each(|(line, json)| {
            rows.push(json).map_err(|error| IngestError::Json { line: *line, what: error.to_string() })
        })
    });
    rows?.finish(Vec::new(), false).map_err(|error| IngestError::Json { line: first, what: error.to_string() })
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

/// Rows of a dataset from JSON objects, as [`JsonRows::finish`] makes them.
pub(crate) fn rows_from_objects(
    contract: &Contract,
    objects: &[Map<String, Value>],
    beside: Vec<(&str, ArrayRef)>,
    each_alone: bool,
) -> Result<RecordBatch, ArrowError> {
    let rows = JsonRows::fill(contract, |rows| {
        objects.iter().for_each(|object| rows.push_object(object));
        Ok::<_, ArrowError>(())
    });
    rows?.finish(beside, each_alone)
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
