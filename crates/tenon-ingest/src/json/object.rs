//! Reading the fields of one object, without a value of its own for each.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::rows::{Cell, JsonRows};

/// Reads an object into the row that is being read.
pub(super) struct Fields<'r, 'c>(pub &'r mut JsonRows<'c>);

impl<'de> Visitor<'de> for Fields<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(at) = fields.next_key_seed(Name(self.0))? {
            let cell = fields.next_value_seed(Field(self.0))?;
            self.0.cells.push((at, cell));
        }
        Ok(())
    }
}

/// Reads a field's name: the place of its column.
struct Name<'r, 'c>(&'r mut JsonRows<'c>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        self.0.field(name).ok_or_else(|| E::custom(format!("field `{name}` is there twice")))
    }
}

/// Reads a field's value.
struct Field<'r, 'c>(&'r mut JsonRows<'c>);

impl Field<'_, '_> {
    fn nested<E: Error>(self, value: Result<Value, E>) -> Result<Cell, E> {
        value.map(|value| self.0.written(&value.to_string()))
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_, '_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_, '_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Cell, E> {
        Ok(Cell::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cell, E> {
        Ok(i64::try_from(number).map_or_else(|_| Cell::Number(number.into()), Cell::Int))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Number::from_f64(number).map_or(Cell::Null, Cell::Number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cell, E> {
        Ok(self.0.written(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Cell, A::Error> {
        self.nested(Value::deserialize(SeqAccessDeserializer::new(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Cell, A::Error> {
        self.nested(Value::deserialize(MapAccessDeserializer::new(object)))
    }
}
