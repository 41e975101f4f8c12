//! The types of a column's values, as files name them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use super::Dimensions;

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Whole numbers of 32 bits.
    Int32,
    /// Whole numbers of 64 bits.
    Int64,
    /// Floating-point numbers of 32 bits.
    Float32,
    /// Floating-point numbers of 64 bits.
    Float64,
    /// Text in UTF-8.
    String,
    /// A moment in UTC, in microseconds.
    Timestamp,
    /// A calendar day.
    Date,
    /// So many finite floating-point numbers of 32 bits: `vector(64)`.
    Vector(Dimensions),
}

/// The words of all types but vectors.
const PLAIN: [(&str, ColumnType); 8] = [
    ("boolean", ColumnType::Boolean),
    ("int32", ColumnType::Int32),
    ("int64", ColumnType::Int64),
    ("float32", ColumnType::Float32),
    ("float64", ColumnType::Float64),
    ("string", ColumnType::String),
    ("timestamp", ColumnType::Timestamp),
    ("date", ColumnType::Date),
];

/// What a type may be called, for who wrote another word.
const KNOWN: [&str; 9] =
    ["boolean", "int32", "int64", "float32", "float64", "string", "timestamp", "date", "vector(64)"];

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, PLAIN.iter().find(|(_, kind)| kind == self)) {
            (Self::Vector(dimensions), _) => write!(f, "vector({dimensions})"),
            (_, plain) => f.write_str(plain.map_or("", |(word, _)| word)),
        }
    }
}

/// Why a word names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnTypeError {
    /// Nothing is called so.
    #[error("unknown variant `{0}`")]
    Unknown(String),
    /// A vector of no possible length.
    #[error("`{0}` is no vector: say how many numbers it has, from 1 to {most}, such as `vector(64)`", most = Dimensions::MOST)]
    Dimensions(String),
}

impl FromStr for ColumnType {
    type Err = ColumnTypeError;

    fn from_str(text: &str) -> Result<Self, ColumnTypeError> {
        if let Some((_, kind)) = PLAIN.iter().find(|(word, _)| *word == text) {
            return Ok(*kind);
        }
        let Some(rest) = text.strip_prefix("vector") else { return Err(ColumnTypeError::Unknown(text.to_owned())) };
        let digits = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let dimensions = digits.and_then(|digits| digits.parse().ok()).and_then(Dimensions::new);
        dimensions.map(Self::Vector).ok_or_else(|| ColumnTypeError::Dimensions(text.to_owned()))
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| match error {
            ColumnTypeError::Unknown(word) => D::Error::unknown_variant(&word, &KNOWN),
            other => D::Error::custom(other),
        })
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let plain: Vec<&str> = PLAIN.iter().map(|(word, _)| *word).collect();
        json_schema!({
            "description": "The type of a column's values; `vector(64)` is 64 numbers of 32 bits.",
            "anyOf": [{ "enum": plain }, { "type": "string", "pattern": r"^vector\([1-9][0-9]*\)$" }],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_is_read_back_from_its_word() {
        let vector = ColumnType::Vector(Dimensions::new(64).unwrap());
        assert_eq!(vector.to_string(), "vector(64)");
        for kind in PLAIN.iter().map(|(_, kind)| *kind).chain([vector]) {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_vector_without_a_length_is_told() {
        for wrong in ["vector", "vector(0)", "vector(4097)", "vector(-1)", "vector(6", "vector 64"] {
            assert_eq!(wrong.parse::<ColumnType>(), Err(ColumnTypeError::Dimensions(wrong.to_owned())));
        }
        let told = serde_json::from_str::<ColumnType>("\"vector(0)\"").unwrap_err().to_string();
        insta::assert_snapshot!(told, @"`vector(0)` is no vector: say how many numbers it has, from 1 to 4096, such as `vector(64)`");
    }
}
