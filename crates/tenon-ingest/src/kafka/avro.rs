//! Avro: schemas as the registry tells them, and records by them, as the same rows that JSON would have brought.
//! <https://avro.apache.org/docs/1.12.0/specification/>

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tenon_core::Timestamp;

use super::decode::Poison;

/// A schema, with the named types that occur in it.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Type,
    named: HashMap<String, Arc<Type>>,
}

#[derive(Debug, Clone)]
enum Type {
    Null,
    Boolean,
    Int,
    Long,
    /// A moment, in so many microseconds a unit.
    Moment(i64),
    Date,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// A number of bytes, or as many as are said, with digits behind the point.
    Decimal(Option<usize>, u32),
    Enum(Vec<String>),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(Vec<(String, Type)>),
    /// A type that is defined elsewhere in the schema.
    Named(String),
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// Why it cannot be followed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut named = HashMap::new();
        let root = parse(&schema, "", &mut named)?;
        Ok(Self { root, named })
    }

    /// Reads one record, which must take all the bytes.
    pub(crate) fn record(&self, bytes: &[u8], max_depth: u16) -> Result<Map<String, Value>, Poison> {
        let mut cursor = Cursor { schema: self, rest: bytes, depth: max_depth };
        let value = cursor.value(&self.root)?;
        if !cursor.rest.is_empty() {
            return Err(damaged(&format!("{} bytes are left over", cursor.rest.len())));
        }
        match value {
            Value::Object(row) => Ok(row),
            _ => Err(Poison::new("not an Avro record", "")),
        }
    }
}

fn parse(schema: &Value, space: &str, named: &mut HashMap<String, Arc<Type>>) -> Result<Type, String> {
    match schema {
        Value::String(name) => Ok(match name.as_str() {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::Text,
            name => Type::Named(full_name(name, space)),
        }),
        Value::Array(branches) => {
            let branches = branches.iter().map(|branch| parse(branch, space, named));
            Ok(Type::Union(branches.collect::<Result<_, _>>()?))
        }
        Value::Object(schema) => parse_object(schema, space, named),
        other => Err(format!("`{other}` is no type")),
    }
}

fn parse_object(
    schema: &Map<String, Value>,
    space: &str,
    named: &mut HashMap<String, Arc<Type>>,
) -> Result<Type, String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let Some(kind) = text("type") else {
        let inner = schema.get("type").ok_or("a type has no `type`")?;
        return parse(inner, space, named);
    };
    let space = text("namespace").unwrap_or(space);
    let name = text("name").map(|name| full_name(name, space));
    let space = name.as_deref().and_then(|name| name.rsplit_once('.')).map_or(space, |(space, _)| space).to_owned();
    let parsed = match (kind, text("logicalType")) {
        ("long", Some("timestamp-millis" | "local-timestamp-millis")) => Type::Moment(1_000),
        ("long", Some("timestamp-micros" | "local-timestamp-micros")) => Type::Moment(1),
        ("int", Some("date")) => Type::Date,
        ("bytes", Some("decimal")) => Type::Decimal(None, size("scale").unwrap_or(0) as u32),
        ("fixed", Some("decimal")) => {
            Type::Decimal(Some(size("size").ok_or("a fixed type has no `size`")?), size("scale").unwrap_or(0) as u32)
        }
        ("fixed", _) => Type::Fixed(size("size").ok_or("a fixed type has no `size`")?),
        ("enum", _) => {
            let symbols = schema.get("symbols").and_then(Value::as_array).ok_or("an enum has no `symbols`")?;
            Type::Enum(symbols.iter().map(|symbol| symbol.as_str().unwrap_or_default().to_owned()).collect())
        }
        ("array", _) => {
            Type::Array(Box::new(parse(schema.get("items").ok_or("an array has no `items`")?, &space, named)?))
        }
        ("map", _) => Type::Map(Box::new(parse(schema.get("values").ok_or("a map has no `values`")?, &space, named)?)),
        ("record" | "error", _) => {
            let fields = schema.get("fields").and_then(Value::as_array).ok_or("a record has no `fields`")?;
            let field = |field: &Value| {
                let name = field.get("name").and_then(Value::as_str).ok_or("a field has no `name`")?;
                let kind = field.get("type").ok_or_else(|| format!("field `{name}` has no `type`"))?;
                Ok::<_, String>((name.to_owned(), parse(kind, &space, named)?))
            };
            Type::Record(fields.iter().map(field).collect::<Result<_, _>>()?)
        }
        (primitive, _) => return parse(&Value::from(primitive), &space, named),
    };
    if let Some(name) = name {
        named.insert(name, Arc::new(parsed.clone()));
    }
    Ok(parsed)
}

fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

struct Cursor<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    /// How much deeper values may be nested.
    depth: u16,
}

impl<'a> Cursor<'a> {
    fn value(&mut self, kind: &Type) -> Result<Value, Poison> {
        Ok(match kind {
            Type::Null => Value::Null,
            Type::Boolean => match self.take(1)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(damaged(&format!("{other} is no boolean"))),
            },
            Type::Int | Type::Long => Value::from(self.long()?),
            Type::Moment(micros) => {
                let moment = self.long()?.checked_mul(*micros).ok_or_else(|| damaged("a moment is out of range"))?;
                Value::from(Timestamp::from_micros(moment).to_string())
            }
            Type::Date => {
                let days = self.long()?.checked_mul(86_400_000_000);
                let day = Timestamp::from_micros(days.ok_or_else(|| damaged("a day is out of range"))?).to_string();
                Value::from(day.split('T').next().unwrap_or_default())
            }
            Type::Float => real(f64::from(f32::from_le_bytes(self.array()?))),
            Type::Double => real(f64::from_le_bytes(self.array()?)),
            Type::Bytes => Value::from(STANDARD.encode(self.bytes()?)),
            Type::Fixed(size) => Value::from(STANDARD.encode(self.take(*size)?)),
            Type::Decimal(size, scale) => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                decimal(bytes, *scale)?
            }
            Type::Text => {
                let text = std::str::from_utf8(self.bytes()?);
                Value::from(text.map_err(|error| Poison::new("not UTF-8", error.to_string()))?)
            }
            Type::Enum(symbols) => {
                let at = self.index()?;
                Value::from(symbols.get(at).ok_or_else(|| damaged("an enum has no such symbol"))?.as_str())
            }
            Type::Union(branches) => {
                let at = self.index()?;
                self.value(branches.get(at).ok_or_else(|| damaged("a union has no such branch"))?)?
            }
            nested => {
                self.depth = self.depth.checked_sub(1).ok_or_else(|| Poison::new("nested too deep", ""))?;
                let value = self.nested(nested)?;
                self.depth += 1;
                value
            }
        })
    }

    fn nested(&mut self, kind: &Type) -> Result<Value, Poison> {
        match kind {
            Type::Record(fields) => {
                let mut row = Map::new();
                for (name, kind) in fields {
                    row.insert(name.clone(), self.value(kind)?);
                }
                Ok(Value::Object(row))
            }
            Type::Array(items) => {
                let mut list = Vec::new();
                self.blocks(|cursor| {
                    list.push(cursor.value(items)?);
                    Ok(())
                })?;
                Ok(Value::Array(list))
            }
            Type::Map(values) => {
                let mut map = Map::new();
                self.blocks(|cursor| {
                    let key = String::from_utf8_lossy(cursor.bytes()?).into_owned();
                    map.insert(key, cursor.value(values)?);
                    Ok(())
                })?;
                Ok(Value::Object(map))
            }
            Type::Named(name) => {
                let schema = self.schema;
                let kind = schema.named.get(name);
                self.value(kind.ok_or_else(|| Poison::new("the schema names a type that it does not define", name))?)
            }
            _ => Err(damaged("a type was not expected here")),
        }
    }

    /// The blocks of an array or a map. Each item that is claimed must find bytes, or the claim is not believed.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Poison>) -> Result<(), Poison> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or_else(|| damaged("a block is out of range"))?;
                self.long()?;
            }
            for _ in 0..count {
                let before = self.rest.len();
                item(self)?;
                if self.rest.len() == before {
                    return Err(damaged("a block claims items that take no room"));
                }
            }
        }
    }

    fn index(&mut self) -> Result<usize, Poison> {
        usize::try_from(self.long()?).map_err(|_| damaged("a number is negative"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Poison> {
        let length = self.index()?;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Poison> {
        self.take(N)?.try_into().map_err(|_| damaged("it is cut off"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Poison> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number in zig-zag code, seven bits a byte.
    fn long(&mut self) -> Result<i64, Poison> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(damaged("a number is too long"))
    }
}

/// JSON has no word for NaN and the infinities, so that they come as text.
fn real(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
}

/// A whole number in big-endian bytes, with `scale` digits behind the point.
fn decimal(bytes: &[u8], scale: u32) -> Result<Value, Poison> {
    if bytes.len() > 16 {
        return Err(damaged("a decimal has more than 128 bits"));
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative { -1_i128 } else { 0 };
    let number = bytes.iter().fold(start, |number, byte| (number << 8) | i128::from(*byte));
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale as usize + 1);
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    let sign = if negative { "-" } else { "" };
    let point = if part.is_empty() { "" } else { "." };
    Ok(Value::from(format!("{sign}{whole}{point}{part}")))
}

fn damaged(what: &str) -> Poison {
    Poison::new("not what its Avro schema says", what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Reading","namespace":"acme","fields":[
        {"name":"id","type":"long"},
        {"name":"value","type":["null","double"]},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["hot","cold"]}},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
        {"name":"more","type":["null","Reading"]}]}"#;

    /// As written by fastavro 1.13.1: id 7, value 1.5, 2026-01-01T00:00:00Z, cold, [a, b], 12.34, none.
    const RECORD: &str = "0e 02000000000000f83f 80a0d5edee66 02 040261026200 0404d2 00";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    #[test]
    fn a_record_is_the_row_that_json_would_have_brought() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let row = schema.record(&bytes(RECORD), 8).unwrap();
        let expected = json!({
            "id": 7, "value": 1.5, "at": "2026-01-01T00:00:00Z", "kind": "cold", "tags": ["a", "b"], "price": "12.34",
            "more": null,
        });
        assert_eq!(Value::Object(row), expected);
    }

    #[test]
    fn damage_anywhere_is_an_error_and_never_a_panic() {
        let (schema, whole) = (Schema::parse(SCHEMA).unwrap(), bytes(RECORD));
        for length in 0..whole.len() {
            assert!(schema.record(&whole[..length], 8).is_err(), "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                let _ = schema.record(&damaged, 8);
            }
        }
    }

    #[test]
    fn what_nests_or_claims_too_much_is_not_believed() {
        let list =
            Schema::parse(r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#).unwrap();
        assert!(list.record(&[2; 3].iter().copied().chain([0]).collect::<Vec<_>>(), 8).is_ok());
        assert_eq!(list.record(&[2; 10_000], 8).unwrap_err().rule, "nested too deep");
        let nulls = r#"{"type":"record","name":"N","fields":[{"name":"n","type":{"type":"array","items":"null"}}]}"#;
        let claim = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Schema::parse(nulls).unwrap().record(&claim, 8).is_err());
    }

    #[test]
    fn decimals_are_exact() {
        let told = |bytes: &[u8], scale| decimal(bytes, scale).unwrap();
        assert_eq!(told(&[0x04, 0xd2], 2), json!("12.34"));
        assert_eq!(told(&[0xff], 2), json!("-0.01"));
        assert_eq!(told(&[0x07], 0), json!("7"));
        assert_eq!(told(&[], 1), json!("0.0"));
    }
}
