//! The point-in-time join of a whole table to observations.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Builder};
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;

use super::rows::order;
use super::{KeyType, Keys, PointInTimeError, Rows, SourceRows, View, moments};

/// Observations that one task joins at a time.
const CHUNK: usize = 2048;

/// A view's rows over all of time, grouped by entity and in order.
pub struct History {
    types: Vec<KeyType>,
    entities: HashMap<Box<[u8]>, Range<usize>>,
    events: Vec<i64>,
    known: Vec<i64>,
    values: Vec<f64>,
    width: usize,
    /// When the first of all rows was known.
    began: Option<i64>,
}

impl History {
    /// Groups and orders what a view's source returned.
    ///
    /// # Errors
    /// When a column is missing or of a type that cannot be used.
    pub fn new(view: &View, types: &[KeyType], batches: &[RecordBatch]) -> Result<Self, PointInTimeError> {
        let rows = SourceRows::read(view, types, batches)?;
        let mut ids: HashMap<&[u8], u32> = HashMap::new();
        let ids_of_rows: Vec<u32> = (0..rows.len())
            .map(|row| {
                let next = ids.len() as u32;
                *ids.entry(rows.key(row)).or_insert(next)
            })
            .collect();
        let mut sorted: Vec<u32> = (0..rows.len() as u32).collect();
        // Rows that compare as equal are equal bit by bit, so an unstable sort gives one result.
        sorted.par_sort_unstable_by(|a, b| {
            let (a, b) = (*a as usize, *b as usize);
            ids_of_rows[a].cmp(&ids_of_rows[b]).then_with(|| order(rows.row(a), rows.row(b)))
        });
        let mut history = Self {
            types: types.to_vec(),
            entities: HashMap::with_capacity(ids.len()),
            events: Vec::with_capacity(rows.len()),
            known: Vec::with_capacity(rows.len()),
            values: Vec::with_capacity(rows.values.len()),
            width: rows.width,
            began: rows.began(),
        };
        for group in sorted.chunk_by(|a, b| ids_of_rows[*a as usize] == ids_of_rows[*b as usize]) {
            let start = history.events.len();
            for row in group {
                let (event, known, values) = rows.row(*row as usize);
                history.events.push(event);
                history.known.push(known);
                history.values.extend_from_slice(values);
            }
            history.entities.insert(rows.key(group[0] as usize).into(), start..history.events.len());
        }
        Ok(history)
    }

    /// The rows of one entity.
    pub fn rows(&self, key: &[u8]) -> Rows<'_> {
        match self.entities.get(key).cloned() {
            Some(range) => Rows::new(
                &self.events[range.clone()],
                &self.known[range.clone()],
                &self.values[range.start * self.width..range.end * self.width],
                self.width,
            ),
            None => Rows::none(),
        }
    }

    /// The view's features, a row for each observation as of its own moment. Where a part of an observation's entity or its
    /// moment is null, so are the features.
    ///
    /// # Errors
    /// When the observations lack a column of the entity or the moment, or hold another type.
    pub fn join(&self, view: &View, observations: &RecordBatch, decided_at: &str) -> Result<Joined, PointInTimeError> {
        let keys = Keys::read(observations, &view.entity, &self.types)?;
        let decided = moments(observations, decided_at)?;
        let (rows, width) = (observations.num_rows(), view.features.len());
        let mut values = vec![f32::NAN; rows * width];
        let kernel = view.kernel();
        let chunk = |(chunk, values): (usize, &mut [f32])| {
            let (mut key, mut evaluator, mut incomplete) = (Vec::new(), kernel.evaluator(), vec![0; width]);
            for (at, values) in values.chunks_mut(width).enumerate() {
                let row = chunk * CHUNK + at;
                key.clear();
                if decided.is_null(row) || !keys.write(row, &mut key) {
                    continue;
                }
                let mut places = values.iter_mut().zip(&mut incomplete);
                evaluator.evaluate(self.rows(&key), decided.value(row), self.began, |feature| {
                    if let Some((value, incomplete)) = places.next() {
                        *value = feature.value.unwrap_or(f32::NAN);
                        *incomplete += u64::from(feature.value.is_ok() && !feature.complete);
                    }
                });
            }
            incomplete
        };
        let sum = |one: Vec<u64>, other: Vec<u64>| one.into_iter().zip(other).map(|(one, other)| one + other).collect();
        let incomplete =
            values.par_chunks_mut(CHUNK * width.max(1)).enumerate().map(chunk).reduce(|| vec![0; width], sum);
        let column = |feature: usize| {
            let mut column = Float32Builder::with_capacity(rows);
            (0..rows).map(|row| values[row * width + feature]).for_each(|value| {
                column.append_option((!value.is_nan()).then_some(value));
            });
            Arc::new(column.finish()) as ArrayRef
        };
        Ok(Joined { columns: (0..width).into_par_iter().map(column).collect(), incomplete })
    }
}

/// A view's features, joined to observations.
///
/// # Shapes
/// Both `[features]`, in the view's order.
pub struct Joined {
    /// One Float32 column of `[observations]` each.
    pub columns: Vec<ArrayRef>,
    /// In how many rows the value is of a window that begins before the view's history.
    pub incomplete: Vec<u64>,
}
