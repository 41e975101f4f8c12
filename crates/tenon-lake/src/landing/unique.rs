//! Columns of which no value may come twice: a batch is held against the whole table, and once more where another batch
//! landed before it could.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use tenon_core::Timestamp;

use crate::contract::{KeySet, Rules};
use crate::lake::Checker;
use crate::landing::place::Place;
use crate::{Checked, Lake, LakeError};

/// The name that the batch has beside the table; no dataset can have it.
const BATCH: &str = "__batch";

impl Checker {
    /// Checks a piece of a dataset with unique columns.
    pub(crate) async fn check_unique(
        &mut self,
        rules: &Arc<Rules>,
        rows: RecordBatch,
        references: HashMap<String, Arc<KeySet>>,
    ) -> Result<Checked, LakeError> {
        let misfit = |error: arrow::error::ArrowError| LakeError::Misfit {
            table: self.dataset.to_string(),
            what: error.to_string(),
        };
        let interrupted = |error: tokio::task::JoinError| LakeError::Interrupted(error.to_string());
        let (compiled, given) = (Arc::clone(rules), rows.clone());
        let convert = move || compiled.convert(&given, &references);
        let converted = match tokio::task::spawn_blocking(convert).await.map_err(interrupted)?.map_err(misfit)? {
            Ok(converted) => converted,
            Err(refused) => return Ok(refused),
        };
        let place = Place { dataset: &self.dataset, branch: self.branch.as_ref() };
        let (at, held) = self.lake.settled_head(&place).await?;
        let mut taken = HashMap::new();
        for (column, name) in rules.unique() {
            if held.as_ref().is_some_and(|held| held.field_with_name(name).is_ok()) {
                let known = self.lake.values_in_table(&place, name, converted.table.column(column)).await?;
                taken.insert(column, known);
            }
        }
        let checked = rules.finish(&rows, converted, &mut self.seen, self.landed.as_deref_mut(), &taken);
        let mut checked = checked.map_err(misfit)?;
        checked.unique_at = Some(at);
        Ok(checked)
    }
}

impl Lake {
    /// How many versions a dataset's table has, here or on a branch, and its schema, with nothing left unsealed.
    pub(crate) async fn settled_head(
        &self,
        place: &Place<'_>,
    ) -> Result<(u64, Option<arrow::datatypes::SchemaRef>), LakeError> {
        let table = self.table(&place.table()).await?;
        if !table.head.lock().await.unsealed.is_empty() {
            self.settle_at(place).await?;
        }
        let head = table.head.lock().await;
        Ok((head.version.map_or(0, |version| version + 1), head.schema.clone()))
    }

    /// Which of some values a column of a table has.
    async fn values_in_table(&self, place: &Place<'_>, column: &str, values: &ArrayRef) -> Result<KeySet, LakeError> {
        let dataset = place.dataset;
        let name = column.replace('"', "\"\"");
        let bounds = bounds(values)
            .map_or_else(String::new, |(low, high)| format!(" WHERE t.\"{name}\" >= {low} AND t.\"{name}\" <= {high}"));
        let sql = format!(
            "SELECT DISTINCT t.\"{name}\" FROM \"{dataset}\" t JOIN \"{BATCH}\" b ON t.\"{name}\" = b.\"{name}\"{bounds}"
        );
        let schema = Schema::new(vec![Field::new(column, values.data_type().clone(), true)]);
        let misfit =
            |error: arrow::error::ArrowError| LakeError::Misfit { table: place.table(), what: error.to_string() };
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(values)]).map_err(misfit)?;
        let found = self.query_beside(place.branch, &sql, BATCH, batch).await?;
        KeySet::of(found.iter().map(|rows| rows.column(0))).map_err(misfit)
    }
}

/// The least and the greatest value as SQL writes them, so that files that cannot have one are not read.
fn bounds(values: &ArrayRef) -> Option<(String, String)> {
    match values.data_type() {
        DataType::Int32 | DataType::Int64 => {
            let values = cast(values, &DataType::Int64).ok()?;
            let values = values.as_primitive::<Int64Type>();
            Some((min(values)?.to_string(), max(values)?.to_string()))
        }
        DataType::Timestamp(..) => {
            let values = values.as_primitive::<TimestampMicrosecondType>();
            let text = |micros: i64| format!("TIMESTAMP '{}'", Timestamp::from_micros(micros));
            Some((text(min(values)?), text(max(values)?)))
        }
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
            let (low, high) = (texts.iter().flatten().min()?, texts.iter().flatten().max()?);
            Some((quoted(low), quoted(high)))
        }
        _ => None,
    }
}
