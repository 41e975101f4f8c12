//! Rows as they came, kept beside a dataset in `NAME__raw`, so that a corrected rule can be replayed over them.
//!
//! Each batch is one version of the table, written with the columns and types that its source had. Sources differ: where a
//! column comes in another type than the table has under its name, it stands under that name and its type
//! (`delay__utf8`), and the file says what the source calls it. Types that no Delta table holds are kept as text.

mod batch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rayon::prelude::*;
use tenon_core::spec::ColumnType;

use crate::RAW;
use crate::contract::{ROWS_IN_PARALLEL, convert, legible, texts};
use crate::delta::log::{is_held, stored_field, stored_type};

pub(crate) use batch::{RawPiece, RawRows, file_schema, raw_rows};

/// The number of a row in its batch.
pub(crate) const ROW_NUMBER: &str = "_row_number";
/// What the program itself adds to each row.
const OWN: [&str; 4] = [ROW_NUMBER, "_source", "_source_digest", "_received_at"];
/// The metadata of a field that says what its source calls it.
const CALLED: &str = "source.name";

/// The name of the table with a dataset's rows as they came.
pub fn raw_of(dataset: &str) -> String {
    format!("{dataset}{RAW}")
}

/// Names that columns have in the table, and their types.
struct Names {
    /// By the name in lower case, as readers of Delta tables do not tell `A` from `a`.
    known: BTreeMap<String, (String, DataType)>,
}

impl Names {
    fn of(held: Option<&SchemaRef>) -> Self {
        let fields = held.iter().flat_map(|schema| schema.fields().iter());
        let known =
            fields.map(|field| (field.name().to_lowercase(), (field.name().clone(), field.data_type().clone())));
        Self { known: known.collect() }
    }

    /// The name under which a source's column stands.
    fn place(&mut self, name: &str, kind: &DataType, used: &mut BTreeSet<String>) -> String {
        let of_kind = format!("{name}__{}", word(kind));
        let numbered = (2..).map(|number| format!("{of_kind}_{number}"));
        for candidate in [name.to_owned(), of_kind.clone()].into_iter().chain(numbered) {
            let key = candidate.to_lowercase();
            if used.contains(&key) || OWN.contains(&key.as_str()) {
                continue;
            }
            match self.known.get(&key) {
                Some((known, held)) if *known != candidate || held != kind => {}
                _ => {
                    self.known.insert(key.clone(), (candidate.clone(), kind.clone()));
                    used.insert(key);
                    return candidate;
                }
            }
        }
        of_kind
    }
}

/// A type as part of a name: `int64`.
fn word(kind: &DataType) -> String {
    let text = kind.to_string().to_lowercase();
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Rows as they came, in types that a table holds.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    rows: RecordBatch,
    /// For each column, the column of the clean rows that has the very same values, where cleaning left it alone.
    same: Vec<Option<usize>>,
}

impl Raw {
    /// Rows as they came beside the clean ones, before those that do not land are taken out.
    ///
    /// # Errors
    /// Arrow's, when a column is larger than its type can say.
    pub(crate) fn of(rows: &RecordBatch, clean: &RecordBatch) -> Result<Self, ArrowError> {
        let keep = |(field, column): (&Arc<Field>, &ArrayRef)| {
            let column = kept(field, column)?;
            let namesake = clean.schema_ref().index_of(field.name()).ok();
            let same = namesake.filter(|at| is_same(&column, clean.column(*at)));
            Ok((Field::new(field.name(), column.data_type().clone(), true), column, same))
        };
        let given: Vec<_> = rows.schema_ref().fields().iter().zip(rows.columns()).collect();
        let kept: Vec<Result<_, ArrowError>> = if rows.num_rows() < ROWS_IN_PARALLEL {
            given.into_iter().map(keep).collect()
        } else {
            given.into_par_iter().with_max_len(1).map(keep).collect()
        };
        let (mut fields, mut columns, mut same) = (Vec::new(), Vec::new(), Vec::new());
        for kept in kept {
            let (field, column, namesake) = kept?;
            fields.push(field);
            columns.push(column);
            same.push(namesake);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        Ok(Self { rows, same })
    }

    pub(crate) fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }
}

fn is_same(one: &ArrayRef, other: &ArrayRef) -> bool {
    one.data_type() == other.data_type()
        && !one.data_type().is_nested()
        && (one.to_data().ptr_eq(&other.to_data()) || one == other)
}

/// Values in a type that a table holds, without changing one of them.
fn kept(field: &Arc<Field>, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let DataType::Timestamp(..) = column.data_type() {
        return match convert(column, ColumnType::Timestamp) {
            Ok((moments, None)) => Ok(moments),
            // Finer than a microsecond, or beyond the calendar.
            _ => as_text(column),
        };
    }
    let kind = stored_type(column.data_type());
    if !is_held(&stored_field(field)) || !can_cast_types(column.data_type(), &kind) {
        return as_text(column);
    }
    if *column.data_type() == kind { Ok(Arc::clone(column)) } else { cast(column, &kind) }
}

fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let column = legible(column)?;
    if can_cast_types(column.data_type(), &DataType::Utf8) { cast(&column, &DataType::Utf8) } else { texts(&column) }
}

/// Rows of the table as their source had them.
///
/// # Errors
/// Arrow's, when the table was written by another program.
pub(crate) fn as_they_came(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if OWN.contains(&field.name().as_str()) {
            continue;
        }
        let name = field.metadata().get(CALLED).unwrap_or(field.name());
        fields.push(Field::new(name, field.data_type().clone(), true));
        columns.push(Arc::clone(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{AsArray, Decimal128Array, Int64Array, StringArray, TimestampNanosecondArray, UInt64Array};
    use tenon_core::{Digest, Timestamp};

    use super::*;
    use crate::BatchSource;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
        let columns = columns.into_iter().map(|(_, values)| values).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn raw(held: Option<&SchemaRef>, pieces: &[RecordBatch]) -> Vec<Vec<RecordBatch>> {
        let source = BatchSource::new("s", Digest::of("s"));
        let clean = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let piece = |rows| RawPiece { first: 0, raw: Raw::of(rows, &clean).unwrap(), gone: None };
        let pieces: Vec<RawPiece> = pieces.iter().map(piece).collect();
        raw_rows(held, &pieces, (0, &clean.schema()), &source, Timestamp::from_micros(7)).unwrap().others
    }

    fn names(rows: &RecordBatch) -> Vec<&str> {
        rows.schema_ref().fields().iter().map(|field| field.name().as_str()).skip(OWN.len()).collect()
    }

    #[test]
    fn rows_come_back_as_they_came_whatever_their_types() {
        let first = batch(vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("_source", Arc::new(StringArray::from(vec!["its own", "too"]))),
            ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 1]))),
            ("price", Arc::new(Decimal128Array::from(vec![105, 5]).with_precision_and_scale(5, 2).unwrap())),
            ("at", Arc::new(TimestampNanosecondArray::from(vec![1, 1_000]))),
        ]);
        let rows = raw(None, std::slice::from_ref(&first));
        assert_eq!(names(&rows[0][0]), ["n", "_source__utf8", "big", "price", "at"]);
        let back = as_they_came(&rows[0][0]).unwrap();
        assert_eq!(back.column_by_name("_source").unwrap().as_string::<i32>().value(0), "its own");
        assert_eq!(back.column_by_name("big").unwrap().as_string::<i32>().value(0), u64::MAX.to_string());
        assert_eq!(back.column_by_name("price").unwrap().as_string::<i32>().value(0), "1.05");
        assert!(back.column_by_name("at").unwrap().as_string::<i32>().value(0).ends_with(".000000001"));
        assert_eq!(back.column_by_name("n").unwrap(), first.column(0));
    }

    #[test]
    fn a_column_of_another_type_stands_beside_the_one_that_was_there() {
        let numbers = batch(vec![("n", Arc::new(Int64Array::from(vec![1])))]);
        let texts =
            batch(vec![("n", Arc::new(StringArray::from(vec!["1"]))), ("N", Arc::new(Int64Array::from(vec![2])))]);
        let rows = raw(None, &[numbers.clone(), numbers, texts]);
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        let rows = rows[1][0].clone();
        assert_eq!(names(&rows), ["n__utf8", "N__int64"]);
        let number = rows.column_by_name("N__int64").unwrap();
        assert_eq!(number.as_primitive::<arrow::datatypes::Int64Type>().value(0), 2);
        let back = as_they_came(&rows).unwrap();
        assert_eq!(back.schema().field(0).name(), "n");
        assert_eq!(back.schema().field(1).name(), "N");
    }
}
