//! How many rows a replay brought, and how many it took.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion::common::hash_utils::{RandomState, create_hashes};

use crate::LakeError;

/// How often each row came and went. A row is told by its contract's key, or else by all its values.
pub(super) struct Balance {
    columns: Vec<(String, arrow::datatypes::DataType)>,
    counts: HashMap<u64, i64>,
}

impl Balance {
    pub(super) fn new(schema: &SchemaRef, key: &[String]) -> Self {
        let fields = schema.fields().iter().filter(|field| key.is_empty() || key.contains(field.name()));
        let columns = fields.map(|field| (field.name().clone(), field.data_type().clone())).collect();
        Self { columns, counts: HashMap::new() }
    }

    pub(super) fn add(&mut self, rows: &RecordBatch, times: i64) -> Result<(), LakeError> {
        let column = |(name, kind): &(String, arrow::datatypes::DataType)| {
            let column = rows.column_by_name(name).filter(|column| column.data_type() == kind).cloned();
            column.unwrap_or_else(|| new_null_array(kind, rows.num_rows()))
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(column).collect();
        let mut hashes = vec![0; rows.num_rows()];
        create_hashes(&columns, &RandomState::with_seed(0), &mut hashes)
            .map_err(|error| LakeError::Interrupted(error.to_string()))?;
        for hash in hashes {
            let count = self.counts.entry(hash).or_default();
            *count += times;
            if *count == 0 {
                self.counts.remove(&hash);
            }
        }
        Ok(())
    }

    /// Rows that came, and rows that went.
    pub(super) fn moved(&self) -> (u64, u64) {
        let sum = |sign: i64| self.counts.values().map(|count| (count * sign).max(0) as u64).sum();
        (sum(1), sum(-1))
    }
}
