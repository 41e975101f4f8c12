//! Entity keys: the same bytes whether they come from a table, from observations or from a caller.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::record_batch::RecordBatch;

use super::PointInTimeError;

/// The type of one column of an entity's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// True or false.
    Boolean,
}

impl KeyType {
    /// What a column of this type can be a key as.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::Text),
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::Boolean => Some(Self::Boolean),
            integer if integer.is_integer() => Some(Self::Integer),
            _ => None,
        }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
        }
    }

    /// The types of an entity's columns in a schema.
    ///
    /// # Errors
    /// When a column is missing or cannot be part of a key.
    pub fn all_of(schema: &Schema, entity: &[String]) -> Result<Vec<Self>, PointInTimeError> {
        let key_type = |column: &String| {
            let field = field(schema, column)?;
            Self::of(field).ok_or_else(|| PointInTimeError::WrongType {
                column: column.clone(),
                found: field.clone(),
                wanted: "text, a whole number or a boolean",
            })
        };
        entity.iter().map(key_type).collect()
    }

    const fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Boolean => DataType::Boolean,
        }
    }
}

pub(super) fn field<'a>(schema: &'a Schema, column: &str) -> Result<&'a DataType, PointInTimeError> {
    match schema.field_with_name(column) {
        Ok(field) => Ok(field.data_type()),
        Err(_) => Err(PointInTimeError::NoColumn {
            column: column.to_owned(),
            known: schema.fields().iter().map(|field| field.name().clone()).collect(),
        }),
    }
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, PointInTimeError> {
    field(batch.schema_ref(), name)?;
    let (at, _) = batch
        .schema_ref()
        .column_with_name(name)
        .ok_or_else(|| PointInTimeError::NoColumn { column: name.to_owned(), known: Vec::new() })?;
    Ok(batch.column(at))
}

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

/// A batch's entity columns, read row by row as keys.
pub struct Keys {
    columns: Vec<KeyColumn>,
}

enum KeyColumn {
    Text(StringArray),
    Integer(Int64Array),
    Boolean(BooleanArray),
}

impl Keys {
    /// Reads a batch's entity columns as keys of these types.
    ///
    /// # Errors
    /// When a column is missing or holds another type of value.
    pub fn read(batch: &RecordBatch, entity: &[String], types: &[KeyType]) -> Result<Self, PointInTimeError> {
        let read = |(name, key_type): (&String, &KeyType)| {
            let array = column(batch, name)?;
            if KeyType::of(array.data_type()) != Some(*key_type) {
                return Err(PointInTimeError::WrongType {
                    column: name.clone(),
                    found: array.data_type().clone(),
                    wanted: key_type.words(),
                });
            }
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            let array = cast_with_options(array, &key_type.data_type(), &strict)?;
            Ok(match key_type {
                KeyType::Text => KeyColumn::Text(array.as_string::<i32>().clone()),
                KeyType::Integer => KeyColumn::Integer(array.as_primitive::<Int64Type>().clone()),
                KeyType::Boolean => KeyColumn::Boolean(array.as_boolean().clone()),
            })
        };
        Ok(Self { columns: entity.iter().zip(types).map(read).collect::<Result<_, _>>()? })
    }

    /// Writes the key of one row after what `into` holds already. False where a part of it is null; `into` is then as
    /// before.
    pub fn write(&self, row: usize, into: &mut Vec<u8>) -> bool {
        let before = into.len();
        for column in &self.columns {
            match column {
                KeyColumn::Text(array) if array.is_valid(row) => Self::text(array.value(row), into),
                KeyColumn::Integer(array) if array.is_valid(row) => Self::integer(array.value(row), into),
                KeyColumn::Boolean(array) if array.is_valid(row) => Self::boolean(array.value(row), into),
                _ => {
                    into.truncate(before);
                    return false;
                }
            }
        }
        true
    }

    /// Writes a part of a key that is text: its length, then its bytes, so that `("a", "bc")` is not `("ab", "c")`.
    pub fn text(part: &str, into: &mut Vec<u8>) {
        into.extend_from_slice(&(part.len() as u64).to_le_bytes()[..4]);
        into.extend_from_slice(part.as_bytes());
    }

    /// Writes a part of a key that is a whole number.
    pub fn integer(part: i64, into: &mut Vec<u8>) {
        into.extend_from_slice(&part.to_le_bytes());
    }

    /// Writes a part of a key that is true or false.
    pub fn boolean(part: bool, into: &mut Vec<u8>) {
        into.push(u8::from(part));
    }

    /// The parts of a key that was written of these types; none where it was not.
    pub fn parts(mut key: &[u8], types: &[KeyType]) -> Option<Vec<KeyPart>> {
        let mut parts = Vec::with_capacity(types.len());
        for key_type in types {
            let (part, rest) = match key_type {
                KeyType::Text => {
                    let (length, rest) = key.split_first_chunk()?;
                    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                    (KeyPart::Text(String::from_utf8(text.to_vec()).ok()?), rest)
                }
                KeyType::Integer => {
                    let (number, rest) = key.split_first_chunk()?;
                    (KeyPart::Integer(i64::from_le_bytes(*number)), rest)
                }
                KeyType::Boolean => {
                    let (flag, rest) = key.split_first()?;
                    (KeyPart::Boolean(*flag != 0), rest)
                }
            };
            parts.push(part);
            key = rest;
        }
        key.is_empty().then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_apart_into_what_it_was_written_of() {
        let mut key = Vec::new();
        Keys::text("Zürich", &mut key);
        Keys::integer(-7, &mut key);
        Keys::boolean(true, &mut key);
        let types = [KeyType::Text, KeyType::Integer, KeyType::Boolean];
        let parts = vec![KeyPart::Text("Zürich".to_owned()), KeyPart::Integer(-7), KeyPart::Boolean(true)];
        assert_eq!(Keys::parts(&key, &types), Some(parts));
        assert!((0..key.len()).all(|length| Keys::parts(&key[..length], &types).is_none()));
        assert_eq!(Keys::parts(&key, &types[..2]), None);
    }
}
