//! Protobuf: schemas as the registry tells them, and messages by them, as the same rows that JSON would have brought.
//! <https://protobuf.dev/programming-guides/json/>, with the fields' own names and whole numbers as numbers.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FileDescriptor, MessageDescriptor, SerializeOptions};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::{Map, Value};

use super::decode::Poison;

/// The name of the schema's own file; no import can have it.
const ROOT: &str = "_.proto";
const OPTIONS: SerializeOptions =
    SerializeOptions::new().stringify_64_bit_integers(false).use_proto_field_name(true).skip_default_fields(false);

/// A schema: a file of message types, with what it imports.
#[derive(Debug)]
pub(crate) struct Schema {
    file: FileDescriptor,
}

/// Files by the names under which they are imported, as the registry has them.
struct InMemory(HashMap<String, String>);

impl FileResolver for InMemory {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => file(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// A file from its text, or from its descriptor in base64, which is how some producers register it.
fn file(name: &str, text: &str) -> Result<File, protox::Error> {
    let descriptor = STANDARD.decode(text.trim()).ok().filter(|bytes| !bytes.is_empty());
    let descriptor = descriptor.and_then(|bytes| File::decode_file_descriptor_proto(bytes.as_slice()).ok());
    match descriptor {
        Some(file) => {
            let mut descriptor = file.file_descriptor_proto().clone();
            descriptor.name = Some(name.to_owned());
            Ok(File::from_file_descriptor_proto(descriptor))
        }
        None => File::from_source(name, text),
    }
}

impl Schema {
    /// Reads a schema, with those that it refers to.
    ///
    /// # Errors
    /// Why it cannot be followed.
    pub(crate) fn parse(text: &str, references: HashMap<String, String>) -> Result<Self, String> {
        let mut files = references;
        files.insert(ROOT.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(InMemory(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.open_file(ROOT).map_err(|error| tenon_core::words::chain(&error))?;
        let file = compiler.descriptor_pool().get_file_by_name(ROOT).ok_or("it holds nothing")?;
        Ok(Self { file })
    }

    /// Reads what comes after the schema's id: which of its message types it is, and the message.
    pub(crate) fn message(&self, bytes: &[u8], max_depth: u16) -> Result<Map<String, Value>, Poison> {
        let mut rest = bytes;
        let path = indexes(&mut rest)?;
        let kind = self.kind(&path).ok_or_else(|| {
            let path: Vec<String> = path.iter().map(u64::to_string).collect();
            Poison::new("its schema has no such message type", format!("it is [{}]", path.join(", ")))
        })?;
        let message = DynamicMessage::decode(kind, rest).map_err(|error| damaged(&error.to_string()))?;
        let row = message.serialize_with_options(serde_json::value::Serializer, &OPTIONS);
        match row.map_err(|error| damaged(&error.to_string()))? {
            Value::Object(row) if row.values().all(|value| !is_deeper(value, max_depth.saturating_sub(1))) => Ok(row),
            Value::Object(_) => Err(Poison::new(format!("nested deeper than {max_depth} levels"), "")),
            _ => Err(Poison::new("not a message with fields of its own", "")),
        }
    }

    /// The type that a path of numbers leads to: of a message in the file, of one within that, and so on.
    fn kind(&self, path: &[u64]) -> Option<MessageDescriptor> {
        let (first, within) = path.split_first()?;
        let mut kind = self.file.messages().nth(usize::try_from(*first).ok()?)?;
        for number in within {
            let next = kind.child_messages().nth(usize::try_from(*number).ok()?)?;
            kind = next;
        }
        Some(kind)
    }
}

/// The numbers that say which message type it is: how many there are, then each, in zig-zag code. None stand for the first.
fn indexes(rest: &mut &[u8]) -> Result<Vec<u64>, Poison> {
    /// Types are not nested deeper than this.
    const MOST: u64 = 64;
    let broken = || Poison::new("it does not say which message type it is", "");
    let count = number(rest).ok_or_else(broken)?;
    match count {
        0 => Ok(vec![0]),
        1..=MOST => (0..count).map(|_| number(rest).ok_or_else(broken)).collect(),
        _ => Err(broken()),
    }
}

/// A number in zig-zag code, seven bits a byte; none where it is cut off, negative, or too long.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (number & 1 == 0).then_some(number >> 1);
        }
    }
    None
}

fn is_deeper(value: &Value, most: u16) -> bool {
    let nested: Vec<&Value> = match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => return false,
    };
    match most.checked_sub(1) {
        Some(most) => nested.into_iter().any(|value| is_deeper(value, most)),
        None => true,
    }
}

fn damaged(what: &str) -> Poison {
    Poison::new("not what its Protobuf schema says", what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = r#"syntax = "proto3";
        package acme;
        import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";
        import "common/place.proto";
        message Other { int32 n = 1; message Deep { string text = 1; } }
        message Reading {
          int64 id = 1;
          optional double value = 2;
          google.protobuf.Timestamp at = 3;
          enum Kind { HOT = 0; COLD = 1; }
          Kind kind = 4;
          repeated string tags = 5;
          bytes raw = 6;
          map<string, int32> counts = 7;
          google.protobuf.Int64Value maybe = 8;
          acme.common.Place place = 9;
          Reading more = 10;
        }"#;
    const PLACE: &str = "syntax = \"proto3\"; package acme.common; message Place { string name = 1; }";

    fn schema() -> Schema {
        let references = HashMap::from([("common/place.proto".to_owned(), PLACE.to_owned())]);
        Schema::parse(SCHEMA, references).unwrap()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
    }

    /// As written by Python's protobuf 7.36.2: the second type; id 7, value 1.5, 2026-01-01T00:00:00Z, COLD, [a, b], ff00, {k: 3}, maybe 5, place Newark.
    const MESSAGE: &str = "02 02 0807 11000000000000f83f 1a060880f2d6ca06 2001 2a0161 2a0162 3202ff00 \
        3a050a016b1003 42020805 4a080a064e657761726b";

    #[test]
    fn a_message_is_the_row_that_json_would_have_brought() {
        let row = schema().message(&bytes(MESSAGE), 8).unwrap();
        let expected = json!({
            "id": 7, "value": 1.5, "at": "2026-01-01T00:00:00Z", "kind": "COLD", "tags": ["a", "b"], "raw": "/wA=",
            "counts": {"k": 3}, "maybe": 5, "place": {"name": "Newark"},
        });
        assert_eq!(Value::Object(row), expected);
        // What a message leaves out has its default; what it may lack is lacking.
        let row = schema().message(&bytes("02 02"), 8).unwrap();
        let expected = json!({"id": 0, "kind": "HOT", "tags": [], "raw": "", "counts": {}});
        assert_eq!(Value::Object(row), expected);
    }

    #[test]
    fn the_type_is_found_by_its_path() {
        assert_eq!(Value::Object(schema().message(&bytes("00 0803"), 8).unwrap()), json!({"n": 3}));
        assert_eq!(Value::Object(schema().message(&bytes("04 0000 0a0178"), 8).unwrap()), json!({"text": "x"}));
        let rule = |hex: &str| schema().message(&bytes(hex), 8).unwrap_err().rule;
        assert_eq!(rule("02 04"), "its schema has no such message type");
        assert_eq!(rule("04 0002"), "its schema has no such message type");
        for none in ["", "02", "01", "80808080808080", "ffff03"] {
            assert_eq!(rule(none), "it does not say which message type it is", "{none}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_or_another_row_and_never_a_panic() {
        let (schema, whole) = (schema(), bytes(MESSAGE));
        assert_eq!(schema.message(&whole[..whole.len() - 1], 8).unwrap_err().rule, "not what its Protobuf schema says");
        for length in 0..whole.len() {
            let _ = schema.message(&whole[..length], 8);
        }
        for at in 0..whole.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                let _ = schema.message(&damaged, 8);
            }
        }
    }

    #[test]
    fn what_nests_too_deep_is_not_read() {
        // `more` in `more`, each in its own length.
        let nested = |levels: usize| {
            (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
                let mut outer = vec![0x52, inner.len() as u8];
                outer.extend(inner);
                outer
            })
        };
        let read = |levels| schema().message(&[vec![2, 2], nested(levels)].concat(), 8);
        assert!(read(6).is_ok());
        assert_eq!(read(10).unwrap_err().rule, "nested deeper than 8 levels");
        assert!(read(60).is_err());
    }

    #[test]
    fn a_schema_that_cannot_be_followed_says_why() {
        let why = Schema::parse(SCHEMA, HashMap::new()).unwrap_err();
        assert!(why.contains("common/place.proto"), "{why}");
        assert!(Schema::parse("message {", HashMap::new()).is_err());
        let itself = HashMap::from([("a.proto".to_owned(), "import \"a.proto\";".to_owned())]);
        assert!(Schema::parse("import \"a.proto\"; message M {}", itself).is_err());
    }
}
