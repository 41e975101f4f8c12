//! Rows of a view with features of a lifetime that are too old to be asked about by themselves.
//!
//! **What is true.** Of an entity's committed rows, those that were known before the view's horizon are in its [`Past`], and
//! all others are rows. When a row was known decides, not when it happened: then every read that is answered may use all of a
//! past, and a row is in it or not whatever came before or after it. Rows that were fed ahead of their commit are rows,
//! however old they are: they may be taken out again, and nothing can be taken out of a past.
//!
//! In the file, pasts, horizon and chunks of rows change in one transaction. What a chunk holds that was known before the
//! horizon is in a past as well, and is passed over when the file is read.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use arrow::record_batch::RecordBatch;
use tenon_query::point_in_time::{Past, PointInTimeError, SourceRows, Timeline};

use super::view::{LiveView, Log, Shard};

/// Pasts, by the keys of their entities.
pub(crate) type Pasts = HashMap<Box<[u8]>, Past>;

/// All rows of a view from a horizon on, and what earlier ones say where they matter for ever.
#[derive(Default)]
pub(crate) struct Whole {
    pub rows: SourceRows,
    pub pasts: Pasts,
}

impl LiveView {
    /// No rows.
    pub(crate) fn nothing(&self) -> Whole {
        Whole { rows: SourceRows::new(&self.shape.view), pasts: Pasts::new() }
    }

    /// Adds what the view's source returned of a table that is read from its beginning, or from `horizon` on.
    pub(crate) fn add(&self, whole: &mut Whole, batch: &RecordBatch, horizon: i64) -> Result<(), PointInTimeError> {
        let Some(folding) = &self.folding else {
            return whole.rows.append(&self.shape.view, &self.shape.types, batch);
        };
        let rows = self.rows(std::slice::from_ref(batch))?;
        whole.rows.extend(&rows, |row| rows.known()[row] >= horizon);
        for row in (0..rows.len()).filter(|row| rows.known()[*row] < horizon) {
            let (event, known, values) = rows.row(row);
            match whole.pasts.get_mut(rows.key(row)) {
                Some(past) => past.fold(event, known, values),
                None => {
                    let mut past = Past::new(folding);
                    past.fold(event, known, values);
                    whole.pasts.insert(rows.key(row).into(), past);
                }
            }
        }
        Ok(())
    }

    /// A past that [`LiveView::pasts`] gave as bytes; none where these are not such bytes.
    pub(crate) fn past(&self, bytes: &[u8]) -> Option<Past> {
        Past::from_bytes(self.folding.as_ref()?, self.width(), bytes)
    }

    /// The pasts of entities as bytes, by key.
    pub(super) fn pasts(&self, keys: &BTreeSet<Box<[u8]>>) -> Vec<(Box<[u8]>, Vec<u8>)> {
        let past = |key: &[u8]| Some((key.into(), self.shard(key).read().get(key)?.past()?.to_bytes()));
        keys.iter().filter_map(|key| past(key)).collect()
    }

    /// Folds what was committed only now and had been known before the horizon.
    pub(super) fn fold_late(&self, log: &mut Log, rows: &SourceRows) {
        let Some(folding) = &self.folding else { return };
        let horizon = self.horizon();
        for row in (0..rows.len()).filter(|row| rows.known()[*row] < horizon) {
            let (key, (event, known, values)) = (rows.key(row), rows.row(row));
            let mut shard = self.shard(key).write();
            let Some(timeline) = shard.get_mut(key) else { continue };
            if timeline.remove(event, known, values) {
                timeline.fold(folding, event, known, values);
                log.folded.insert(key.into());
            }
        }
    }

    /// Raises the horizon where that is due, and lets go of the rows that are too old then. What is ahead of its commit must
    /// stay, and is in no hurry.
    pub(super) fn sweep(&self, log: &mut Log) {
        if !log.ahead.is_empty() || !self.raise_horizon(log.newest) {
            return;
        }
        let horizon = self.horizon();
        for shard in &self.shards {
            let mut shard = shard.write();
            match &self.folding {
                Some(folding) => {
                    for (key, timeline) in shard.iter_mut() {
                        if timeline.fold_before(folding, horizon) {
                            log.folded.insert(key.clone());
                        }
                    }
                }
                None => shard.retain(|_, timeline| {
                    timeline.forget_before(horizon);
                    !timeline.is_empty()
                }),
            }
        }
    }
}

/// Gives an entity its past.
pub(super) fn put_past(shard: &mut Shard, key: Box<[u8]>, past: Past, width: usize) {
    shard.entry(key).or_insert_with(|| Timeline::new(width)).set_past(past);
}
