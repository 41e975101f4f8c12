//! What a message says of a row, as Debezium writes it.
//! <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events>

use serde_json::{Map, Value};
use tenon_core::Timestamp;
use tenon_core::spec::{ChangeFormat, DatasetSpec};

use super::decode::Poison;

/// What a message says of a row.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// It is like this now.
    Row(Map<String, Value>),
    /// It is gone; it was like this, or this was its key.
    Gone(Map<String, Value>),
}

/// What stands in the place of a large value that did not change, as it is and in base64.
const NOT_SENT: [&str; 2] = ["__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="];

/// How messages of one dataset are understood.
pub(crate) struct Reader {
    format: ChangeFormat,
    /// The key's columns as the source calls them.
    key: Vec<String>,
    /// The columns that are read, as the source calls them; none where any may be.
    read: Option<Vec<String>>,
    /// Whether the contract declares `_op` and `_changed_at`.
    wants_op: bool,
    wants_moment: bool,
}

impl Reader {
    pub(crate) fn of(spec: &DatasetSpec, format: ChangeFormat) -> Self {
        let called = |name: &String| {
            let from = spec.clean.columns.get(name).and_then(|clean| clean.from.clone());
            from.unwrap_or_else(|| name.clone())
        };
        let columns = &spec.contract.columns;
        let derives = spec.clean.columns.values().any(|clean| clean.sql.is_some());
        Self {
            format,
            key: spec.contract.key.iter().map(called).collect(),
            read: (!derives).then(|| columns.keys().map(called).collect()),
            wants_op: columns.contains_key("_op"),
            wants_moment: columns.contains_key("_changed_at"),
        }
    }

    /// What a message says. `value` is none where it has none; `key` reads the message's key.
    pub(crate) fn said(
        &self,
        value: Option<Map<String, Value>>,
        key: impl FnOnce() -> Result<Value, Poison>,
    ) -> Result<Said, Poison> {
        let value = match value.map(Value::Object).map(without_schema) {
            None | Some(Value::Null) => return self.gone(None, key),
            Some(Value::Object(value)) => value,
            Some(_) => return Err(Poison::new("not a change as Debezium writes it", "its payload is no object")),
        };
        match self.format {
            ChangeFormat::Debezium => self.whole(value, key),
            ChangeFormat::DebeziumFlattened => {
                let is_true = |value: &Value| value == "true" || *value == Value::Bool(true);
                let is_gone =
                    value.get("__deleted").is_some_and(is_true) || value.get("__op").is_some_and(|op| op == "d");
                if is_gone { self.gone(Some(value), key) } else { self.row(value) }
            }
        }
    }

    /// A change with `op`, `before` and `after`.
    fn whole(
        &self,
        mut value: Map<String, Value>,
        key: impl FnOnce() -> Result<Value, Poison>,
    ) -> Result<Said, Poison> {
        let Some(op) = value.get("op").and_then(Value::as_str).map(str::to_owned) else {
            return Err(Poison::new("not a change as Debezium writes it", "it has no `op`"));
        };
        let before = value.remove("before");
        match op.as_str() {
            "c" | "r" | "u" => {
                let Some(Value::Object(mut after)) = value.remove("after") else {
                    return Err(Poison::new("not a change as Debezium writes it", format!("`{op}` has no `after`")));
                };
                if let Some(Value::Object(before)) = &before
                    && self.key.iter().any(|name| is_other(before.get(name), after.get(name)))
                {
                    let what = "Debezium tells such a change as a delete and a create, by the source's primary key";
                    return Err(Poison::new("it changes its key", what));
                }
                if self.wants_op {
                    after.insert("_op".to_owned(), Value::from(op));
                }
                if let Some(at) = changed_at(&value).filter(|_| self.wants_moment) {
                    after.insert("_changed_at".to_owned(), Value::from(at.to_string()));
                }
                self.row(after)
            }
            "d" => match before {
                Some(Value::Object(before)) => self.gone(Some(before), key),
                _ => self.gone(None, key),
            },
            "t" => Err(Poison::new("a truncate is not followed", "the rows stay: it has no order among partitions")),
            _ => Err(Poison::new("an operation that is not known", format!("it is `{op}`"))),
        }
    }

    /// A row as it is now, with all values that are read.
    fn row(&self, row: Map<String, Value>) -> Result<Said, Poison> {
        let is_read = |name: &String| self.read.as_ref().is_none_or(|read| read.contains(name));
        let not_sent = |value: &Value| value.as_str().is_some_and(|text| NOT_SENT.contains(&text));
        match row.iter().find(|(name, value)| not_sent(value) && is_read(name)) {
            None => Ok(Said::Row(row)),
            Some((name, _)) => {
                let what = format!("`{name}`; in PostgreSQL, REPLICA IDENTITY FULL has it sent");
                Err(Poison::new("a value that did not change was not sent", what))
            }
        }
    }

    /// A row that is gone, named by what it was where that has its key, and else by the message's key.
    fn gone(
        &self,
        was: Option<Map<String, Value>>,
        key: impl FnOnce() -> Result<Value, Poison>,
    ) -> Result<Said, Poison> {
        let is_whole =
            |row: &Map<String, Value>| self.key.iter().all(|name| row.get(name).is_some_and(|v| !v.is_null()));
        if let Some(was) = was.filter(is_whole) {
            return Ok(Said::Gone(was));
        }
        match (without_schema(key()?), self.key.as_slice()) {
            (Value::Object(key), _) => Ok(Said::Gone(key)),
            // A key of one column may come as its value alone.
            (value @ (Value::String(_) | Value::Number(_)), [name]) => {
                Ok(Said::Gone(Map::from_iter([(name.clone(), value)])))
            }
            _ => Err(Poison::new("a delete that names no key", "")),
        }
    }
}

/// What stands within `schema` and `payload`, or the value itself.
fn without_schema(mut value: Value) -> Value {
    match value.as_object_mut() {
        Some(wrapper) if wrapper.len() == 2 && wrapper.contains_key("schema") => match wrapper.remove("payload") {
            Some(payload) => payload,
            None => value,
        },
        _ => value,
    }
}

/// Whether a part of a key is known before and after, and is another.
fn is_other(before: Option<&Value>, after: Option<&Value>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if !before.is_null() && before != after)
}

/// When a row changed in its database.
fn changed_at(envelope: &Map<String, Value>) -> Option<Timestamp> {
    let source = envelope.get("source").and_then(|source| source.get("ts_ms")).and_then(Value::as_i64);
    let millis = source.filter(|millis| *millis > 0).or_else(|| envelope.get("ts_ms").and_then(Value::as_i64));
    millis?.checked_mul(1_000).map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn reader(format: ChangeFormat) -> Reader {
        let spec = "description = \"d\"\n[source.kafka]\nbrokers = \"b\"\ntopics = [\"t\"]\nchanges = \"debezium\"\n\
            [clean.columns.number]\nfrom = \"id\"\n[contract]\nkey = [\"number\"]\n[contract.columns]\n\
            number = { type = \"int64\" }\nname = { type = \"string\" }\n_op = { type = \"string\" }\n\
            _changed_at = { type = \"timestamp\" }\n";
        Reader::of(&toml::from_str(spec).unwrap(), format)
    }

    fn said(format: ChangeFormat, value: Value, key: Value) -> Result<Said, String> {
        let value = match value {
            Value::Object(value) => Some(value),
            _ => None,
        };
        reader(format).said(value, || Ok(key)).map_err(|poison| poison.rule)
    }

    fn whole(value: Value) -> Result<Said, String> {
        said(ChangeFormat::Debezium, value, json!({"id": 9}))
    }

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn rows_come_and_go_with_and_without_a_schema_around_them() {
        let created = json!({"before": null, "after": {"id": 1, "name": "a"}, "op": "c",
            "source": {"ts_ms": 1_767_225_600_000_i64}, "ts_ms": 1_767_225_600_500_i64});
        let expected = row(json!({"id": 1, "name": "a", "_op": "c", "_changed_at": "2026-01-01T00:00:00Z"}));
        assert_eq!(whole(created.clone()), Ok(Said::Row(expected.clone())));
        assert_eq!(whole(json!({"schema": {"type": "struct"}, "payload": created})), Ok(Said::Row(expected)));
        let deleted = json!({"before": {"id": 1, "name": null}, "after": null, "op": "d"});
        assert_eq!(whole(deleted), Ok(Said::Gone(row(json!({"id": 1, "name": null})))));
        // The key says which where `before` does not.
        assert_eq!(whole(json!({"before": null, "op": "d"})), Ok(Said::Gone(row(json!({"id": 9})))));
        assert_eq!(whole(Value::Null), Ok(Said::Gone(row(json!({"id": 9})))));
        assert_eq!(whole(json!({"schema": null, "payload": null})), Ok(Said::Gone(row(json!({"id": 9})))));
        let wrapped = json!({"schema": {}, "payload": {"id": 5}});
        assert_eq!(said(ChangeFormat::Debezium, Value::Null, wrapped), Ok(Said::Gone(row(json!({"id": 5})))));
        assert_eq!(said(ChangeFormat::Debezium, Value::Null, json!(5)), Ok(Said::Gone(row(json!({"id": 5})))));
    }

    #[test]
    fn flattened_rows_say_that_they_are_gone() {
        let flat = |value| said(ChangeFormat::DebeziumFlattened, value, json!({"id": 9}));
        let there = json!({"id": 1, "op": "x", "__deleted": "false"});
        assert_eq!(flat(there.clone()), Ok(Said::Row(row(there))));
        for gone in
            [json!({"id": 1, "__deleted": "true"}), json!({"id": 1, "__deleted": true}), json!({"id": 1, "__op": "d"})]
        {
            assert_eq!(flat(gone.clone()), Ok(Said::Gone(row(gone))));
        }
        assert_eq!(flat(Value::Null), Ok(Said::Gone(row(json!({"id": 9})))));
    }

    #[test]
    fn what_cannot_be_followed_says_why() {
        let told = |value| whole(value).unwrap_err();
        assert_eq!(told(json!({"id": 1})), "not a change as Debezium writes it");
        assert_eq!(told(json!({"op": "u", "after": null})), "not a change as Debezium writes it");
        assert_eq!(told(json!({"op": "t", "before": null, "after": null})), "a truncate is not followed");
        assert_eq!(told(json!({"op": "m"})), "an operation that is not known");
        let moved = json!({"op": "u", "before": {"id": 1}, "after": {"id": 2, "name": "a"}});
        assert_eq!(told(moved), "it changes its key");
        let toast = |column: &str| json!({"op": "u", "after": {"id": 1, column: NOT_SENT[0]}});
        assert_eq!(told(toast("name")), "a value that did not change was not sent");
        assert!(whole(toast("a column that nobody reads")).is_ok());
        assert_eq!(
            said(ChangeFormat::Debezium, Value::Null, Value::Null),
            Err("a delete that names no key".to_owned())
        );
    }
}
