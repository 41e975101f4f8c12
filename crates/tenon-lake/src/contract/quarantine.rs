//! Rows that are set aside: each keeps everything that it came with, and says why it is there.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::ArrayFormatter;
use tenon_core::Timestamp;
use tenon_core::spec::Severity;

use super::broken::{Broken, ShownValue};
use super::legible::{SHOWN, legible, text};
use crate::delta::log::utc;

/// Longer values are cut where a reason shows them; the row itself keeps all.
const LONGEST_SHOWN: usize = 80;

/// Rows that broke the contract, without what only the commit knows.
#[derive(Debug, Clone)]
pub(crate) struct Quarantined {
    reasons: StringArray,
    names: StringArray,
    rules: Int32Array,
    numbers: Int64Array,
    rows: StringArray,
}

/// A row that could not even be read as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// What is wrong, in words that name no value: `not JSON`.
    pub rule: String,
    /// What is wrong with this one.
    pub reason: String,
    /// All of it, as a JSON object.
    pub row: String,
}

/// The schema of every quarantine table. `_row` is the source's row as JSON, so that any source fits and nothing is
/// lost; `_row_number` counts the rows of the batch from 0. `_rules` are the broken rules without values;
/// `_resolution` is missing while nobody has decided about the row, and then `released` or `discarded`; `_released_by` are
/// the operations that released it, also such as a restore undid since.
pub fn quarantine_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_reason", DataType::Utf8, false),
        Field::new("_rules_broken", DataType::Int32, false),
        Field::new("_row_number", DataType::Int64, false),
        Field::new("_row", DataType::Utf8, false),
        Field::new("_source", DataType::Utf8, false),
        Field::new("_source_digest", DataType::Utf8, false),
        Field::new("_quarantined_at", utc(), false),
        Field::new("_rules", DataType::Utf8, true),
        Field::new("_resolution", DataType::Utf8, true),
        Field::new("_resolved_at", utc(), true),
        Field::new("_released_by", DataType::Utf8, true),
    ]))
}

impl Quarantined {
    /// Rows that could not be read, in their order.
    pub(crate) fn of(rows: Vec<SetAside>) -> Self {
        Self {
            reasons: StringArray::from_iter_values(rows.iter().map(|row| &row.reason)),
            names: StringArray::from_iter_values(rows.iter().map(|row| &row.rule)),
            rules: Int32Array::from_value(1, rows.len()),
            numbers: (0..rows.len() as i64).collect::<Vec<_>>().into(),
            rows: StringArray::from_iter_values(rows.iter().map(|row| &row.row)),
        }
    }

    /// The same rows, where row `n` of those that were checked has the number `numbers[n]` in its batch.
    pub(crate) fn numbered(mut self, numbers: &Int64Array) -> Self {
        self.numbers = self.numbers.unary(|row| numbers.value(row as usize));
        self
    }

    /// The rows as the quarantine table holds them; `first` is the number of their batch's first row.
    pub(crate) fn into_batch(
        self,
        first: u64,
        source: &str,
        digest: &str,
        at: Timestamp,
    ) -> Result<RecordBatch, ArrowError> {
        let count = self.reasons.len();
        let repeated = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count)));
        let numbers: Int64Array = self.numbers.unary(|number| number + first as i64);
        let moments = TimestampMicrosecondArray::from_value(at.as_micros(), count).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.reasons),
            Arc::new(self.rules),
            Arc::new(numbers),
            Arc::new(self.rows),
            repeated(source),
            repeated(digest),
            Arc::new(moments),
            Arc::new(self.names),
            new_null_array(&DataType::Utf8, count),
            new_null_array(&utc(), count),
            new_null_array(&DataType::Utf8, count),
        ];
        RecordBatch::try_new(quarantine_schema(), columns)
    }
}

/// Takes the rows that are set in `out` aside, with every rule that each of them broke.
pub(crate) fn quarantine_rows(
    rows: &RecordBatch,
    broken: &[Broken],
    out: &BooleanBuffer,
) -> Result<Quarantined, ArrowError> {
    let numbers: Vec<usize> = out.set_indices().collect();
    let mut reasons: Vec<Vec<String>> = vec![Vec::new(); numbers.len()];
    let mut names: Vec<String> = vec![String::new(); numbers.len()];
    for rule in broken.iter().filter(|rule| rule.severity != Severity::Warn) {
        let value = rule.value.as_ref().map(|value| Ok::<_, ArrowError>((value, shown(value)?))).transpose()?;
        for ((reasons, names), row) in reasons.iter_mut().zip(&mut names).zip(&numbers) {
            if rule.rows.value(*row) {
                if !names.is_empty() {
                    names.push_str("; ");
                }
                names.push_str(&rule.rule);
                reasons.push(match &value {
                    Some((value, shown)) => value.reason(shown, *row)?,
                    None => rule.rule.clone(),
                });
            }
        }
    }
    let texts = reasons.iter().map(|reasons| reasons.join("; "));
    let kept = filter_record_batch(rows, &BooleanArray::new(out.clone(), None))?;
    Ok(Quarantined {
        reasons: StringArray::from_iter_values(texts),
        names: StringArray::from_iter_values(names),
        rules: reasons.iter().map(|reasons| reasons.len() as i32).collect::<Vec<_>>().into(),
        numbers: numbers.iter().map(|row| *row as i64).collect::<Vec<_>>().into(),
        rows: json_rows(&kept)?,
    })
}

fn shown(value: &ShownValue) -> Result<ArrayFormatter<'_>, ArrowError> {
    ArrayFormatter::try_new(value.values.as_ref(), &SHOWN)
}

impl ShownValue {
    fn reason(&self, shown: &ArrayFormatter<'_>, row: usize) -> Result<String, ArrowError> {
        let text = text(&self.values, shown, row)?;
        let cut: String = text.chars().take(LONGEST_SHOWN).collect();
        let dots = if cut.len() < text.len() { "…" } else { "" };
        let is_text = matches!(self.values.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let quote = if is_text { "\"" } else { "" };
        Ok(format!("{}: {quote}{cut}{dots}{quote} {}", self.column, self.verdict))
    }
}

/// Each row as a JSON object with all its columns, nulls included.
fn json_rows(rows: &RecordBatch) -> Result<StringArray, ArrowError> {
    let columns: Vec<ArrayRef> = rows.columns().iter().map(legible).collect::<Result<_, _>>()?;
    let fields = rows.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<Field> =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true)).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&rows)?;
    writer.finish()?;
    let bytes = writer.into_inner();
    let mut lines = StringBuilder::with_capacity(rows.num_rows(), bytes.len());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        lines.append_value(String::from_utf8_lossy(line));
    }
    Ok(lines.finish())
}
