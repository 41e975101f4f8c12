//! What a commit says in a Delta log: the actions of the protocol, reader version 1 and writer version 2, as JSON lines.
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions>

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenon_core::fact::DatasetCommitted;
use tenon_core::id::OperationId;
use tenon_core::{Payload, PodName, Principal, Timestamp};

/// What a commit carries for the one who finds it unsealed: enough to append the fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The operation that the commit belongs to.
    pub operation: OperationId,
    /// The fact that seals it, where this commit is the operation's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// What the operation changes in the dataset's quarantine after this commit and before its fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
}

/// A change that follows a commit, whose files are written already: who finds it undone can do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Then {
    pub added: Vec<DataFile>,
    pub removed: Vec<String>,
}

/// The fact that seals a commit, before it is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seal {
    pub by: Principal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    pub fact: Sealing,
}

/// The payload that seals a commit, or who decides about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sealing {
    /// A batch of rows landed.
    Committed(Box<DatasetCommitted>),
    /// Something else happened to the table.
    Other { kind: String, version: u32, body: Value },
    /// The commit is one of several that become true together: the last of them, in this table, carries the fact.
    Part { decided_by: String },
}

impl Sealing {
    pub(crate) fn of<P: Payload>(payload: &P) -> Self {
        // Payloads hold names, numbers and texts, which are always JSON.
        let body = serde_json::to_value(payload).unwrap_or_default();
        Self::Other { kind: P::KIND.to_owned(), version: P::VERSION, body }
    }

    /// The same, where a commit that follows made this version of the quarantine.
    pub(crate) fn with_quarantine_version(mut self, version: u64) -> Self {
        if let Self::Other { body: Value::Object(body), .. } = &mut self {
            body.insert("quarantine_version".to_owned(), version.into());
        }
        self
    }
}

/// A data file that a commit adds or removes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// Its path from the table's folder.
    pub path: String,
    pub bytes: usize,
    /// Delta's statistics in JSON.
    pub stats: String,
}

pub(crate) fn protocol() -> Value {
    json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
}

/// The table's schema. `id` names the table for ever.
pub(crate) fn metadata(id: &str, table: &str, schema: &Schema, at: Timestamp) -> Result<Value, String> {
    Ok(json!({"metaData": {
        "id": id,
        "name": table,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": struct_type(schema.fields())?.to_string(),
        "partitionColumns": [],
        "createdTime": at.as_millis(),
        "configuration": {},
    }}))
}

pub(crate) fn add(file: &DataFile, at: Timestamp) -> Value {
    let mut add = json!({"add": {
        "path": file.path,
        "partitionValues": {},
        "size": file.bytes,
        "modificationTime": at.as_millis(),
        "dataChange": true,
    }});
    // A file of another program may come without.
    if !file.stats.is_empty() {
        add["add"]["stats"] = json!(file.stats);
    }
    add
}

pub(crate) fn remove(path: &str, at: Timestamp) -> Value {
    json!({"remove": {"path": path, "deletionTimestamp": at.as_millis(), "dataChange": true}})
}

/// Marks an `add` or `remove` as one that only moves rows from file to file.
pub(crate) fn changes_no_rows(action: &mut Value) {
    for kind in ["add", "remove"] {
        if let Some(action) = action.get_mut(kind) {
            action["dataChange"] = Value::Bool(false);
        }
    }
}

/// How far a source is: its next place is `next`.
pub(crate) fn txn(source: &str, next: u64, at: Timestamp) -> Value {
    json!({"txn": {"appId": source, "version": next, "lastUpdated": at.as_millis()}})
}

pub(crate) fn commit_info(at: Timestamp, operation: &str, note: &Note) -> Value {
    let note = serde_json::to_string(note).unwrap_or_default();
    json!({"commitInfo": {
        "timestamp": at.as_millis(),
        "operation": operation,
        "operationParameters": {"mode": "Append", "partitionBy": "[]"},
        "isBlindAppend": operation == "WRITE",
        "engineInfo": concat!("tenon/", env!("CARGO_PKG_VERSION")),
        "userMetadata": note,
    }})
}

/// The bytes of a log entry.
pub(crate) fn entry(actions: &[Value]) -> Vec<u8> {
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    lines.join("\n").into_bytes()
}

/// What matters here of a log entry that was written before, by this program or another.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The note, where this program wrote it.
    pub note: Option<Note>,
    /// The files that it added.
    pub added: Vec<String>,
    /// The rows of each of them, as its statistics say.
    pub added_rows: Vec<Option<u64>>,
    /// The files that it removed.
    pub removed: Vec<String>,
    /// Whether it only puts the same rows into other files.
    pub rearranges: bool,
    /// Whether it changes the schema or the protocol.
    pub changes_table: bool,
    /// How far sources are with it.
    pub positions: BTreeMap<String, u64>,
    /// Rows of the files that it added, as their statistics say; none where one has no statistics.
    pub rows: Option<u64>,
}

impl Entry {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut entry = Self { rows: Some(0), ..Self::default() };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(action) = serde_json::from_slice::<BTreeMap<String, Value>>(line) else { continue };
            for (kind, action) in &action {
                match kind.as_str() {
                    "commitInfo" => {
                        let note = action.get("userMetadata").and_then(Value::as_str);
                        entry.note = note.and_then(|note| serde_json::from_str(note).ok());
                    }
                    "add" => {
                        let rows = action.get("stats").and_then(Value::as_str).and_then(rows_of);
                        if let Some(path) = action.get("path").and_then(Value::as_str) {
                            entry.added.push(path.to_owned());
                            entry.added_rows.push(rows);
                        }
                        entry.rearranges |= action.get("dataChange") == Some(&Value::Bool(false));
                        entry.rows = entry.rows.zip(rows).map(|(sum, rows)| sum + rows);
                    }
                    "remove" => entry.removed.extend(action.get("path").and_then(Value::as_str).map(str::to_owned)),
                    "txn" => {
                        let (source, next) = (action.get("appId"), action.get("version"));
                        if let (Some(source), Some(next)) =
                            (source.and_then(Value::as_str), next.and_then(Value::as_u64))
                        {
                            entry.positions.insert(source.to_owned(), next);
                        }
                    }
                    "metaData" | "protocol" => entry.changes_table = true,
                    _ => {}
                }
            }
        }
        entry
    }
}

/// The rows of a file, as its statistics say.
pub(crate) fn rows_of(stats: &str) -> Option<u64> {
    let stats: Value = serde_json::from_str(stats).ok()?;
    stats.get("numRecords")?.as_u64()
}

fn struct_type(fields: &Fields) -> Result<Value, String> {
    let field = |field: &Arc<Field>| {
        Ok(json!({
            "name": field.name(),
            "type": delta_type(field)?,
            "nullable": field.is_nullable(),
            "metadata": {},
        }))
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
    Ok(json!({"type": "struct", "fields": fields}))
}

fn delta_type(field: &Field) -> Result<Value, String> {
    Ok(match field.data_type() {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamp"),
        DataType::List(element) => json!({
            "type": "array",
            "elementType": delta_type(element)?,
            "containsNull": element.is_nullable(),
        }),
        DataType::Struct(fields) => struct_type(fields)?,
        other => return Err(format!("`{}` is of type {other}, which no table holds", field.name())),
    })
}

/// Whether a table can hold a column.
pub(crate) fn is_held(field: &Field) -> bool {
    delta_type(field).is_ok()
}

/// The type in which a table holds values of `kind`: text as UTF-8, moments as microseconds in UTC.
pub(crate) fn stored_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(..) => utc(),
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, values) => stored_type(values),
        DataType::LargeList(field) | DataType::List(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(stored_field(field))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect()),
        other => other.clone(),
    }
}

pub(crate) fn stored_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::new(field.name(), stored_type(field.data_type()), field.is_nullable()))
}

/// The type of a moment.
pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_reads_back_what_its_writer_noted() {
        let note = Note { operation: OperationId::derive(&["x"]), seal: None, then: None };
        let file = DataFile { path: "part-1.parquet".into(), bytes: 7, stats: "{\"numRecords\":1}".into() };
        let at = Timestamp::from_micros(1_000_000);
        let position = txn("kafka:flights/3", 17, at);
        let bytes = entry(&[protocol(), add(&file, at), position, commit_info(at, "WRITE", &note)]);
        let read = Entry::parse(&bytes);
        assert_eq!(read.note, Some(note));
        assert_eq!(read.added, ["part-1.parquet"]);
        assert!(read.changes_table && read.removed.is_empty());
        assert_eq!((read.positions.get("kafka:flights/3"), read.rows), (Some(&17), Some(1)));
        let foreign = Entry::parse(b"{\"commitInfo\":{\"operation\":\"OPTIMIZE\"}}\n{\"add\":{\"path\":\"b\"}}");
        assert!(foreign.note.is_none() && !foreign.changes_table);
    }

    #[test]
    fn types_that_a_table_cannot_hold_are_named() {
        let schema = Schema::new(vec![Field::new("n", DataType::UInt64, true)]);
        let error = metadata("id", "t", &schema, Timestamp::from_micros(0)).unwrap_err();
        assert_eq!(error, "`n` is of type UInt64, which no table holds");
    }
}
