//! Facts as bytes: canonical JSON, RFC 8785.
//!
//! Writing and checking are two separate pieces of code on purpose: a verifier must not trust what made the bytes.

use std::cmp::Ordering;

use serde_json::Value;
use tenon_core::id::OperationId;
use tenon_core::{NewFact, Timestamp};

use crate::LedgerError;

/// The largest fact that fits an entry bundle's 16-bit length prefix, in bytes.
pub(crate) const MAX_BYTES: usize = 65_535;
/// A moment with as many characters as any that RFC 3339 can write: 9999-12-31T23:59:59.999999Z.
const LONGEST_MOMENT: i64 = 253_402_300_799_999_999;
/// How deep a body may be nested, so that every JSON reader can read it back.
const MAX_DEPTH: usize = 100;
/// The largest whole number up to which doubles hold every whole number.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A fact that waits for its moment, as canonical JSON but for that: whoever appends does the work, the writer only adds
/// when it happened.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub kind: String,
    pub operation: Option<OperationId>,
    /// The canonical bytes behind the moment, which sorts first of a fact's members.
    rest: Vec<u8>,
}

impl Draft {
    /// # Errors
    /// What [`LedgerError`] says of facts that cannot be kept as they are.
    pub fn new(fact: &NewFact) -> Result<Self, LedgerError> {
        check(fact)?;
        let NewFact { kind, version, by, pod, operation, body } = fact;
        let mut rest = Vec::with_capacity(512);
        rest.extend_from_slice(b",\"body\":");
        write(&mut rest, body)?;
        rest.extend_from_slice(b",\"by\":");
        write_string(&mut rest, &by.to_string())?;
        rest.extend_from_slice(b",\"kind\":");
        write_string(&mut rest, kind)?;
        if let Some(operation) = operation {
            rest.extend_from_slice(b",\"operation\":");
            write_string(&mut rest, &operation.to_string())?;
        }
        if let Some(pod) = pod {
            rest.extend_from_slice(b",\"pod\":");
            write_string(&mut rest, pod.as_str())?;
        }
        rest.extend_from_slice(format!(",\"version\":{version}}}").as_bytes());
        let draft = Self { kind: kind.clone(), operation: *operation, rest };
        let bytes = draft.at(Timestamp::from_micros(LONGEST_MOMENT)).len();
        if bytes > MAX_BYTES { Err(LedgerError::TooLong { kind: draft.kind, bytes }) } else { Ok(draft) }
    }

    /// The canonical bytes of the fact at its moment: the leaf of the log.
    pub fn at(&self, moment: Timestamp) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.rest.len() + 40);
        bytes.extend_from_slice(b"{\"at\":\"");
        bytes.extend_from_slice(moment.to_string().as_bytes());
        bytes.push(b'"');
        bytes.extend_from_slice(&self.rest);
        bytes
    }
}

/// Writes a value, RFC 8785. Whole numbers are within what [`check`] allows.
fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), serde_json::Error> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            out.append(&mut serde_json_canonicalizer::to_vec(&number.as_f64())?);
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(out, text)?,
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(out, item)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push(b'{');
            for (position, (key, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_string(out, key)?;
                out.push(b':');
                write(out, member)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Writes a string: serde_json escapes exactly what RFC 8785 section 3.2.2.2 wants escaped, and in the same way.
fn write_string(out: &mut Vec<u8>, text: &str) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, text)
}

/// Refuses what canonical JSON would change without a word: whole numbers that doubles cannot hold.
fn check(fact: &NewFact) -> Result<(), LedgerError> {
    let mut path = String::new();
    check_value(&fact.kind, &fact.body, &mut path, 0)
}

fn check_value(kind: &str, value: &Value, path: &mut String, depth: usize) -> Result<(), LedgerError> {
    if depth > MAX_DEPTH {
        return Err(LedgerError::TooDeep { kind: kind.to_owned(), limit: MAX_DEPTH });
    }
    let length = path.len();
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|size| size > MAX_SAFE) {
                let (kind, path, number) = (kind.to_owned(), path.clone(), number.to_string());
                return Err(LedgerError::UnsafeInteger { kind, path, number });
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if item.is_array() || item.is_object() || item.is_number() {
                    path.push_str(&format!("/{index}"));
                    check_value(kind, item, path, depth + 1)?;
                    path.truncate(length);
                }
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                if member.is_array() || member.is_object() || member.is_number() {
                    path.push('/');
                    path.push_str(key);
                    check_value(kind, member, path, depth + 1)?;
                    path.truncate(length);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
    Ok(())
}

/// Whether bytes are exactly what RFC 8785 makes of the value that they hold.
pub fn is_canonical(bytes: &[u8]) -> bool {
    if std::str::from_utf8(bytes).is_err() {
        return false;
    }
    let mut scan = Scan { bytes, at: 0 };
    scan.value(0).is_some() && scan.at == bytes.len()
}

/// A reader that goes on only while what it sees is canonical.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.bytes.get(self.at)? {
            _ if depth > MAX_DEPTH + 20 => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.word(b"{")?;
        if self.bytes.get(self.at) == Some(&b'}') {
            return self.word(b"}");
        }
        let mut last: Option<&[u8]> = None;
        loop {
            let key = self.string()?;
            if last.is_some_and(|last| compare_keys(last, key) != Ordering::Less) {
                return None;
            }
            last = Some(key);
            self.word(b":")?;
            self.value(depth + 1)?;
            match self.bytes.get(self.at)? {
                b',' => self.at += 1,
                _ => return self.word(b"}"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.word(b"[")?;
        if self.bytes.get(self.at) == Some(&b']') {
            return self.word(b"]");
        }
        loop {
            self.value(depth + 1)?;
            match self.bytes.get(self.at)? {
                b',' => self.at += 1,
                _ => return self.word(b"]"),
            }
        }
    }

    /// A string with its quotes: each character written in the one way that RFC 8785 section 3.2.2.2 leaves.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.word(b"\"")?;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return self.bytes.get(start..self.at);
                }
                b'\\' => self.escape()?,
                0x00..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                let lower = digits.iter().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d));
                let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
                let has_short_form = matches!(code, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
                if !lower || code > 0x1f || has_short_form {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let text = &rest[..length];
        self.at += length;
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let plain = match digits {
            [b'0'] => text.len() == 1,
            [b'1'..=b'9', more @ ..] => more.len() < 15 && more.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if plain {
            return Some(());
        }
        let text = std::str::from_utf8(text).ok()?;
        let number: f64 = text.parse().ok()?;
        (serde_json_canonicalizer::to_string(&number).ok()? == text).then_some(())
    }
}

/// The order of two keys, written with their quotes: by UTF-16 code units.
fn compare_keys(left: &[u8], right: &[u8]) -> Ordering {
    let plain = |key: &[u8]| key.iter().all(|byte| byte.is_ascii() && *byte != b'\\');
    if plain(left) && plain(right) {
        return left[1..left.len() - 1].cmp(&right[1..right.len() - 1]);
    }
    let units = |key: &[u8]| -> Vec<u16> {
        serde_json::from_slice::<String>(key).map(|key| key.encode_utf16().collect()).unwrap_or_default()
    };
    units(left).cmp(&units(right))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;
    use tenon_core::Principal;

    use super::*;

    fn fact(body: Value) -> NewFact {
        NewFact { kind: "a.b".into(), version: 1, by: Principal::person("ann"), pod: None, operation: None, body }
    }

    #[test]
    fn the_example_of_rfc_8785_comes_out_as_printed_there() {
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        )
        .unwrap();
        let text = serde_json_canonicalizer::to_string(&value).unwrap();
        let printed = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
        assert_eq!(text, printed);
        assert!(is_canonical(text.as_bytes()));
    }

    #[test]
    fn keys_are_ordered_by_utf_16() {
        // U+1F600 starts with the code unit 0xD83D and so comes before U+FB33, though its UTF-8 bytes are greater.
        assert!(is_canonical("{\"\u{1f600}\":1,\"\u{fb33}\":2}".as_bytes()));
        assert!(!is_canonical("{\"\u{fb33}\":2,\"\u{1f600}\":1}".as_bytes()));
    }

    #[test]
    fn other_ways_to_write_the_same_value_are_found() {
        for text in [
            r#"{"a": 1}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            "1.0",
            "1e2",
            "-0",
            "01",
            "+1",
            "1E30",
            "[1 ]",
            r#""\u0041""#,
            r#""\/""#,
            r#""\u000A""#,
            r#""\u000a""#,
            r#""\u001F""#,
            "\"\u{1}\"",
            "[1,]",
            "{}x",
            "",
            "[",
            "tru",
            "9007199254740993",
            "1e400",
            "nul",
        ] {
            assert!(!is_canonical(text.as_bytes()), "{text}");
        }
        assert!(!is_canonical(b"\"\xff\""));
    }

    #[test]
    fn whole_numbers_beyond_doubles_are_refused_with_their_place() {
        assert!(check(&fact(json!({"n": MAX_SAFE, "m": -(MAX_SAFE as i64), "x": 1e300}))).is_ok());
        for number in [json!(MAX_SAFE + 1), json!(-(MAX_SAFE as i64) - 1), json!(u64::MAX)] {
            let error = check(&fact(json!({"rows": [{"n": 1}, {"n": number}]}))).unwrap_err();
            assert!(matches!(&error, LedgerError::UnsafeInteger { path, .. } if path == "/rows/1/n"), "{error}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = (0..MAX_DEPTH + 1).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(check(&fact(deep)), Err(LedgerError::TooDeep { .. })));
        let fits = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        assert!(check(&fact(fits.clone())).is_ok());
        let text = serde_json_canonicalizer::to_string(&fits).unwrap();
        assert!(is_canonical(text.as_bytes()));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no such number", |x| x.is_finite()).prop_map(Value::from),
            (-(MAX_SAFE as i64)..=MAX_SAFE as i64).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_draft_at_its_moment_is_the_canonical_form_of_the_fact(body in json_value(), name: String, sealed: bool, micros in 0..LONGEST_MOMENT) {
            let mut new = fact(body);
            new.kind = name.clone();
            new.by = Principal::service(format!("x{name}"));
            new.pod = sealed.then(|| tenon_core::PodName::new("arrivals").unwrap());
            new.operation = sealed.then(|| OperationId::derive(&[&name]));
            let at = Timestamp::from_micros(micros);
            let NewFact { kind, version, by, pod, operation, body } = new.clone();
            let whole = tenon_core::Fact { kind, version, at, by, pod, operation, body };
            let reference = serde_json_canonicalizer::to_vec(&whole).unwrap();
            prop_assert_eq!(Draft::new(&new).unwrap().at(at), reference);
        }

        #[test]
        fn what_is_written_is_canonical_and_stays_so_when_read_back(value in json_value()) {
            let text = serde_json_canonicalizer::to_string(&value).unwrap();
            prop_assert!(is_canonical(text.as_bytes()), "{}", text);
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json_canonicalizer::to_string(&back).unwrap(), text);
        }

        #[test]
        fn a_text_is_canonical_exactly_when_rewriting_leaves_it(value in json_value(), at: prop::sample::Index, byte in 0x20_u8..0x7f) {
            let mut text = serde_json_canonicalizer::to_vec(&value).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            let rewritten = serde_json::from_slice::<Value>(&text).ok().map(|v| serde_json_canonicalizer::to_vec(&v).unwrap());
            prop_assert_eq!(is_canonical(&text), rewritten.as_deref() == Some(&text[..]), "{}", String::from_utf8_lossy(&text));
        }
    }
}
