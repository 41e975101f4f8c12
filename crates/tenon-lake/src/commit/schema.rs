//! The schemas that tables have with a commit.

use std::sync::Arc;

use arrow::compute::cast_with_options;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tenon_core::DatasetName;

use crate::LakeError;
use crate::contract::quarantine_schema;
use crate::delta::log::{stored_field, stored_type};

/// The schema that a quarantine gets with a commit; none where it stays.
pub(crate) fn quarantine_table_schema(
    held: Option<&SchemaRef>,
    is_empty: bool,
) -> Result<Option<SchemaRef>, LakeError> {
    if is_empty {
        return Ok(None);
    }
    let misfit = |what| LakeError::Misfit { table: "the quarantine".to_owned(), what };
    merged_schema(held, &quarantine_schema()).map_err(misfit)
}

/// The schema that a dataset's table gets with this commit; none where it stays.
pub(crate) fn table_schema(
    dataset: &DatasetName,
    held: Option<&SchemaRef>,
    contract: &SchemaRef,
) -> Result<Option<SchemaRef>, LakeError> {
    merged_schema(held, contract).map_err(|what| {
        LakeError::contract(dataset.as_str(), format!("its table stands in the way: {what}; declare a new dataset"))
    })
}

/// `wanted`, then what the table holds beyond it; none where that is what it holds already. Rows that are there do not
/// have a column that comes later, so that it is nullable, and so is one that does not come any more.
pub(crate) fn merged_schema(held: Option<&SchemaRef>, wanted: &SchemaRef) -> Result<Option<SchemaRef>, String> {
    let Some(held) = held else { return Ok(Some(Arc::clone(wanted))) };
    let mut fields = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let nullable = match held.field_with_name(field.name()) {
            Ok(old) if old.data_type() != field.data_type() => {
                return Err(format!("`{}` is {} there and {} here", field.name(), old.data_type(), field.data_type()));
            }
            Ok(old) => old.is_nullable() || field.is_nullable(),
            Err(_) => true,
        };
        fields.push(Field::new(field.name(), field.data_type().clone(), nullable));
    }
    for old in held.fields() {
        if wanted.field_with_name(old.name()).is_err() {
            fields.push(old.as_ref().clone().with_nullable(true));
        }
    }
    let same = fields.len() == held.fields().len()
        && fields.iter().zip(held.fields()).all(|(new, old)| {
            new.name() == old.name() && new.data_type() == old.data_type() && new.is_nullable() == old.is_nullable()
        });
    Ok((!same).then(|| Arc::new(Schema::new(fields))))
}

/// Rows in the types that tables hold.
pub(super) fn stored(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let fields: Vec<_> = batch.schema_ref().fields().iter().map(stored_field).collect();
    let columns = batch.columns().iter().map(|column| {
        let kind = stored_type(column.data_type());
        if *column.data_type() == kind { Ok(Arc::clone(column)) } else { cast_with_options(column, &kind, &STRICT) }
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect::<Result<_, _>>()?)
}

/// A value that does not fit is an error, never a null.
const STRICT: arrow::compute::CastOptions<'static> =
    arrow::compute::CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };
