//! YAML as a tree whose every value and key knows its place.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{Error, Location, Options, Spanned, budget, options};

use super::remark::Remark;

/// A contract is text that people write: more is no contract.
const MOST_BYTES: usize = 1 << 20;
const MOST_LEVELS: usize = 32;
const MOST_VALUES: usize = 100_000;

/// Where something stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

impl Place {
    /// The beginning of the file.
    pub(super) const TOP: Self = Self { line: 1, column: 1 };

    fn of(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }

    /// The bytes from here to the end of the line.
    pub(super) fn range(self, text: &str) -> Range<usize> {
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let mut start = 0;
        let mut lines = text.split_inclusive('\n');
        start += lines.by_ref().take(index(self.line)).map(str::len).sum::<usize>();
        let line = lines.next().unwrap_or_default().trim_end();
        let within = line.char_indices().nth(index(self.column)).map_or(line.len(), |(at, _)| at);
        start + within..start + line.len()
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What YAML can say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of an entry and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

impl Value {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a table of keys and values",
        }
    }

    /// The same as JSON, without the places.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => number.clone().into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(nodes) => nodes.iter().map(|node| node.value.to_json()).collect(),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.text.clone(), node.value.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

/// Reads a file's text.
///
/// # Errors
/// What is wrong with it as YAML, and where.
pub(super) fn parse(text: &str) -> Result<Node, Remark> {
    if text.len() > MOST_BYTES {
        let message = format!("the file has {} bytes, and a contract at the most {MOST_BYTES}", text.len());
        return Err(Remark::new(Place::TOP, message));
    }
    let read: Result<Spanned<Value>, _> = serde_saphyr::from_str_with_options(text, strict());
    match read {
        Ok(read) => Ok(Node { place: Place::of(read.referenced), value: read.value }),
        Err(error) => {
            let place = error.location().map_or(Place::TOP, Place::of);
            Err(Remark::new(place, fault(error.without_snippet())))
        }
    }
}

/// What is wrong, for people.
fn fault(error: &Error) -> String {
    match error {
        Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. } => {
            "anchors and aliases are not read here: write out what they stand for".to_owned()
        }
        Error::MergeKeyNotAllowed { .. } => "merge keys (`<<`) are not read here: write out what they add".to_owned(),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => "a file holds one contract".to_owned(),
        Error::Budget { .. } => "it is nested deeper, or holds more values, than a contract may".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is given twice"),
        other => {
            // The place is told apart from the message.
            let said = other.to_string();
            let said = said.split(" at line ").next().unwrap_or(&said).trim_end_matches([':', '.', ' ']);
            format!("this is no YAML that is read here: {said}")
        }
    }
}

/// No anchors and aliases, which can make much of little, and no key twice.
fn strict() -> Options {
    options! {
        budget: budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: MOST_LEVELS,
            flow_nesting_limit: MOST_LEVELS,
            max_nodes: MOST_VALUES,
            max_documents: 1,
        },
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(read) = list.next_element::<Spanned<Value>>()? {
            nodes.push(Node { place: Place::of(read.referenced), value: read.value });
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((key, read)) = map.next_entry::<Spanned<String>, Spanned<Value>>()? {
            if entries.iter().any(|(known, _)| known.text == key.value) {
                return Err(A::Error::custom(format!("`{}` is given twice", key.value)));
            }
            let node = Node { place: Place::of(read.referenced), value: read.value };
            entries.push((Key { text: key.value, place: Place::of(key.referenced) }, node));
        }
        Ok(Value::Map(entries))
    }
}
