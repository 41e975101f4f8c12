//! A whole file, each column in the narrowest type that all of its values have: to be measured before there is a contract.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tenon_core::spec::Contract;

use crate::{IngestError, formats};

/// The rows of a Parquet, CSV or NDJSON file. Texts become numbers, days or moments where every value is one.
///
/// # Errors
/// [`IngestError::Unreadable`] says why not.
pub fn rows_of_file(path: &Path) -> Result<RecordBatch, IngestError> {
    let failed = |what: String| IngestError::Unreadable { path: path.display().to_string(), what };
    let io = |source| IngestError::Io { path: path.display().to_string(), source };
    let (mut pieces, file) = (Vec::new(), File::open(path).map_err(io)?);
    let take = |piece| {
        pieces.push(piece);
        true
    };
    formats::read(path, file, &Contract::default(), take).map_err(failed)?;
    let Some(first) = pieces.first() else { return Err(failed("it has no rows".to_owned())) };
    let whole = concat_batches(first.schema_ref(), &pieces).map_err(|error| failed(error.to_string()))?;
    let columns: Vec<ArrayRef> = whole.columns().iter().map(narrowest).collect();
    let fields = whole.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<Field> =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| failed(error.to_string()))
}

/// A text column in the first type that takes all of its values; `01` and the like are codes, and stay text.
fn narrowest(column: &ArrayRef) -> ArrayRef {
    if *column.data_type() != DataType::Utf8 || column.null_count() == column.len() {
        return Arc::clone(column);
    }
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let is_same = |whole: &ArrayRef| {
        let back = cast_with_options(whole, &DataType::Utf8, &CastOptions::default());
        back.is_ok_and(|back| back.as_ref() == column.as_ref())
    };
    let options = CastOptions { safe: true, ..CastOptions::default() };
    for kind in [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Date32, moment] {
        let Ok(taken) = cast_with_options(column, &kind, &options) else { continue };
        let exact = kind != DataType::Int64 || is_same(&taken);
        if taken.null_count() == column.null_count() && exact && !(kind == DataType::Float64 && has_codes(column)) {
            return taken;
        }
    }
    Arc::clone(column)
}

/// Whether a text looks like a number and is a code: it begins with a zero that is not the whole part.
fn has_codes(column: &ArrayRef) -> bool {
    use arrow::array::AsArray;
    column.as_string::<i32>().iter().flatten().any(|text| {
        let digits = text.trim_start_matches(['-', '+']);
        digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_get_the_narrowest_type_that_all_values_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "n,x,code,day,mixed,gap\n1,0.5,007,2013-01-01,1,\n-2,3,010,2013-02-01,one,4\n").unwrap();
        let rows = rows_of_file(&path).unwrap();
        let kinds: Vec<String> = rows.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(kinds, ["Int64", "Float64", "Utf8", "Date32", "Utf8", "Int64"]);
        assert!(matches!(rows_of_file(&folder.path().join("no.csv")), Err(IngestError::Io { .. })));
    }
}
