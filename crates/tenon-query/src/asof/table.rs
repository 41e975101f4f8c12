//! A feature table, and what observations are put in order by, as the operator reads them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::condition::TimeToLive;
use super::kinds::{moments, nanos, strict};

/// What names an entity, and as what its parts are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub types: Vec<DataType>,
}

impl Entity {
    /// The keys of a batch's rows, one array a part.
    pub fn read(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let read = |(expr, data_type): (&Arc<dyn PhysicalExpr>, &DataType)| {
            strict(&expr.evaluate(batch)?.into_array(batch.num_rows())?, data_type)
        };
        self.exprs.iter().zip(&self.types).map(read).collect()
    }
}

/// What observations are put in order by: entity, then moment.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub entity: Entity,
    pub moment: Arc<dyn PhysicalExpr>,
    pub unit: TimeUnit,
}

impl Order {
    /// Whether both put observations in the same order.
    pub fn is_same(&self, other: &Self) -> bool {
        self.entity == other.entity && *self.moment == *other.moment && self.unit == other.unit
    }
}

/// A column that must lie before the moment.
#[derive(Debug, Clone)]
pub(super) struct Before {
    pub expr: Arc<dyn PhysicalExpr>,
    /// Whether the moment itself is too late.
    pub strict: bool,
}

impl Before {
    pub fn read(&self, batch: &RecordBatch, unit: TimeUnit) -> Result<Int64Array> {
        read_moments(&self.expr, batch, unit)
    }

    /// The first moment that may see a row of this one.
    fn seen_from(&self, moment: i64) -> i64 {
        moment.saturating_add(i64::from(self.strict))
    }
}

/// A feature table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Whether observations without a row are left out.
    pub inner: bool,
    pub entity: Entity,
    pub event: Before,
    pub known: Option<Before>,
    /// In which moments are told, its own and the observations'.
    pub unit: TimeUnit,
    /// How old a row may be, in that unit.
    pub max_age: Option<i64>,
    /// Which order of the observations it is joined by.
    pub order: usize,
}

impl Table {
    /// The first moment that may see each of these rows, into `seen`.
    pub fn seen_from(&self, events: &[i64], known: Option<&[i64]>, seen: &mut Vec<i64>) {
        seen.clear();
        seen.extend(events.iter().map(|event| self.event.seen_from(*event)));
        if let (Some(known), Some(before)) = (known, &self.known) {
            seen.iter_mut().zip(known).for_each(|(seen, known)| *seen = (*seen).max(before.seen_from(*known)));
        }
    }

    /// Whether a row of this event is young enough at a moment, which is asked for where there is a time to live.
    pub fn counts(&self, moment: impl FnOnce() -> i64, event: i64) -> bool {
        self.max_age.is_none_or(|age| moment().saturating_sub(event) <= age)
    }
}

pub(super) fn read_moments(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, unit: TimeUnit) -> Result<Int64Array> {
    moments(&expr.evaluate(batch)?.into_array(batch.num_rows())?, unit)
}

/// The greatest age in a unit that a time to live lets count.
pub(super) fn max_age(ttl: TimeToLive, unit: TimeUnit) -> i64 {
    let length = nanos(unit);
    match ttl.inclusive {
        true => ttl.nanos / length,
        // Whatever is less than the whole: one unit less where it is whole.
        false => (ttl.nanos / length + i64::from(ttl.nanos % length != 0)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_in_a_coarser_unit_lets_the_same_ages_count() {
        let age = |nanos, inclusive| max_age(TimeToLive { nanos, inclusive }, TimeUnit::Microsecond);
        assert_eq!([age(2_000, true), age(2_000, false)], [2, 1]);
        assert_eq!([age(2_500, true), age(2_500, false)], [2, 2]);
        assert_eq!([age(0, true), age(0, false)], [0, -1]);
    }
}
