//! Messages as rows. One that is no row never stops the others: it is set aside with all its bytes, and says why and where
//! it was.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::error::ArrowError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tenon_core::spec::{Contract, KafkaSource};
use tenon_lake::SetAside;

use super::batch::{Batch, Seen};
use crate::json::{JsonRows, Row};

/// What became of a batch's messages.
pub(crate) struct Decoded {
    pub rows: RecordBatch,
    pub set_aside: Vec<SetAside>,
}

/// Why a message is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poison {
    /// In words that name no value.
    pub rule: String,
    /// What more there is to say of this one.
    pub what: String,
}

impl Poison {
    pub(crate) fn new(rule: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule: rule.into(), what: what.into() }
    }
}

/// Makes rows of a batch's messages; `read` takes one value.
pub(crate) fn decode(
    batch: &Batch,
    source: &KafkaSource,
    contract: &Contract,
    read: impl Fn(&[u8], &mut JsonRows<'_>) -> Result<(), Poison>,
) -> Result<Decoded, ArrowError> {
    let (mut good, mut set_aside) = (Vec::with_capacity(batch.len()), Vec::new());
    let rows = JsonRows::fill(contract, |rows| {
        good.clear();
        set_aside.clear();
        for message in batch.messages() {
            match value(&message, source).and_then(|value| read(value, rows)) {
                Ok(()) => good.push(message),
                Err(poison) => set_aside.push(as_set_aside(&message, &poison.rule, &poison.what)),
            }
        }
        Ok::<_, ArrowError>(())
    });
    let rows = rows?.finish(beside(&good), true)?;
    Ok(Decoded { rows, set_aside })
}

/// The value of a message, where it is one that may be read.
pub(crate) fn value<'a>(message: &Seen<'a>, source: &KafkaSource) -> Result<&'a [u8], Poison> {
    let Some(value) = message.value else { return Err(Poison::new("the message has no value", "")) };
    no_longer(value, source)
}

/// The same bytes, where they are no more than a message may have.
pub(crate) fn no_longer<'a>(value: &'a [u8], source: &KafkaSource) -> Result<&'a [u8], Poison> {
    if value.len() > source.max_bytes as usize {
        let rule = format!("the message has more than {} bytes", source.max_bytes);
        return Err(Poison::new(rule, format!("it has {}", value.len())));
    }
    Ok(value)
}

/// Takes a JSON object that is nested no deeper than `max_depth`, and has no field twice, as a row.
pub(crate) fn json_row(value: &[u8], max_depth: u16, rows: &mut JsonRows<'_>) -> Result<(), Poison> {
    let text = json_text(value, max_depth)?;
    rows.push(text).map_err(|error| no_object(text, &error))
}

/// The same as an object.
pub(crate) fn json_object(value: &[u8], max_depth: u16) -> Result<Map<String, Value>, Poison> {
    let text = json_text(value, max_depth)?;
    serde_json::from_str::<Row>(text).map(|Row(row)| row).map_err(|error| no_object(text, &error))
}

/// Why a text is no JSON object with fields of their own.
fn no_object(text: &str, error: &serde_json::Error) -> Poison {
    match error.is_data() {
        false => Poison::new("not JSON", error.to_string()),
        true if text.trim_start().starts_with('{') => Poison::new("a field is there twice", error.to_string()),
        true => Poison::new("not a JSON object", ""),
    }
}

/// Reads a JSON value that is nested no deeper than `max_depth`.
pub(crate) fn json_value(value: &[u8], max_depth: u16) -> Result<Value, Poison> {
    let text = json_text(value, max_depth)?;
    serde_json::from_str(text).map_err(|error| Poison::new("not JSON", error.to_string()))
}

/// The text of what says that it is JSON.
fn json_text(value: &[u8], max_depth: u16) -> Result<&str, Poison> {
    let text = std::str::from_utf8(value)
        .map_err(|error| Poison::new("not UTF-8", format!("from byte {} on", error.valid_up_to())))?;
    match is_deeper(value, max_depth) {
        true => Err(Poison::new(format!("nested deeper than {max_depth} levels"), "")),
        false => Ok(text),
    }
}

/// Whether brackets are open more than `most` times at once, outside of texts. Needs no memory, whatever comes.
fn is_deeper(json: &[u8], most: u16) -> bool {
    // Most messages have no more brackets altogether. Sums of one byte are taken of many bytes at once.
    let brackets =
        |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(u8::from(matches!(byte, b'{' | b'['))));
    if json.chunks(128).map(|bytes| usize::from(brackets(bytes))).sum::<usize>() <= usize::from(most) {
        return false;
    }
    let (mut depth, mut within_text, mut escaped) = (0_u32, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within_text => escaped = true,
            b'"' => within_text = !within_text,
            b'{' | b'[' if !within_text => {
                depth += 1;
                if depth > u32::from(most) {
                    return true;
                }
            }
            b'}' | b']' if !within_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// All messages of a batch set aside for one reason.
pub(crate) fn all_set_aside(batch: &Batch, rule: &str) -> Vec<SetAside> {
    batch.messages().map(|message| as_set_aside(&message, rule, "")).collect()
}

pub(crate) fn as_set_aside(message: &Seen<'_>, rule: &str, what: &str) -> SetAside {
    let Seen { topic, partition, offset, .. } = message;
    let mut reason = format!("{topic}/{partition} at {offset}: {rule}");
    if !what.is_empty() {
        reason.push_str(&format!(": {what}"));
    }
    let mut row = json!({ "_topic": topic, "_partition": partition, "_offset": offset });
    for (name, bytes) in [("_key", message.key), ("_value", message.value)] {
        match bytes.map(std::str::from_utf8) {
            None => {}
            Some(Ok(text)) => row[name] = json!(text),
            Some(Err(_)) => row[format!("{name}_base64")] = json!(STANDARD.encode(bytes.unwrap_or_default())),
        }
    }
    SetAside { rule: rule.to_owned(), reason, row: row.to_string() }
}

/// What is known of messages beside their values; a contract may declare these columns.
pub(crate) fn beside(messages: &[Seen<'_>]) -> Vec<(&'static str, ArrayRef)> {
    let key = |message: &Seen<'_>| message.key.map(|key| String::from_utf8_lossy(key).into_owned());
    let offset = |message: &Seen<'_>| i64::try_from(message.offset).unwrap_or(i64::MAX);
    let times: TimestampMillisecondArray = messages.iter().map(|message| message.at).collect();
    vec![
        ("_topic", Arc::new(messages.iter().map(|message| Some(message.topic)).collect::<StringArray>()) as ArrayRef),
        ("_partition", Arc::new(messages.iter().map(|message| Some(message.partition)).collect::<Int32Array>())),
        ("_offset", Arc::new(messages.iter().map(|message| Some(offset(message))).collect::<Int64Array>())),
        ("_timestamp", Arc::new(times.with_timezone("UTC"))),
        ("_key", Arc::new(messages.iter().map(key).collect::<StringArray>())),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_object_says_why() {
        let told = |value: &[u8]| json_object(value, 4).map(|row| row.len()).map_err(|poison| poison.rule);
        assert_eq!(told(b"{\"a\":{\"b\":[1]}}"), Ok(1));
        assert_eq!(told(b"{\"a\":\"[[[[[[\\\"{{{\"}"), Ok(1), "brackets in a text are none");
        assert_eq!(told(b"[1]"), Err("not a JSON object".to_owned()));
        assert_eq!(told(b"{\"a\":"), Err("not JSON".to_owned()));
        assert_eq!(told(b""), Err("not JSON".to_owned()));
        assert_eq!(told(b" {\"a\":1,\"a\":2}"), Err("a field is there twice".to_owned()));
        assert_eq!(told(b"{\"a\":\"\xff\"}"), Err("not UTF-8".to_owned()));
        assert_eq!(told("[".repeat(1_000_000).as_bytes()), Err("nested deeper than 4 levels".to_owned()));
    }

    #[test]
    fn a_message_that_is_set_aside_keeps_all_its_bytes() {
        let message = |value| Seen { topic: "t", partition: 3, offset: 17, at: None, key: Some(b"k"), value };
        let row = |value| as_set_aside(&message(value), "not JSON", "at line 1");
        let text = row(Some(b"hello"));
        assert_eq!(text.reason, "t/3 at 17: not JSON: at line 1");
        assert_eq!(text.row, r#"{"_topic":"t","_partition":3,"_offset":17,"_key":"k","_value":"hello"}"#);
        let bytes = row(Some(b"\xff\x00"));
        assert!(bytes.row.contains(r#""_value_base64":"/wA=""#), "{}", bytes.row);
    }
}
