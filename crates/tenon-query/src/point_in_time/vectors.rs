//! Columns of vectors, as the numbers of rows.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::record_batch::RecordBatch;

use super::key::column;
use super::rows::wrong;
use super::view::VectorColumn;
use super::{PointInTimeError, Rows};

/// A batch's column of vectors.
pub(super) struct Vectors {
    lists: ListArray,
    dimensions: usize,
}

/// Whether a column of this type may hold vectors: lists of numbers.
pub fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric()
        }
        _ => false,
    }
}

impl Vectors {
    pub(super) fn read(batch: &RecordBatch, vector: &VectorColumn) -> Result<Self, PointInTimeError> {
        let array = column(batch, &vector.column)?;
        if !is_vector(array.data_type()) {
            return Err(wrong(&vector.column, array, "a list of numbers"));
        }
        let held = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
        let lists = cast_with_options(array, &held, &CastOptions { safe: true, ..CastOptions::default() })?;
        Ok(Self { lists: lists.as_list::<i32>().clone(), dimensions: vector.values.len() })
    }

    /// Appends the numbers of a row; NaN for each where it has no vector, or one of another length or with a gap.
    pub(super) fn append(&self, row: usize, into: &mut Vec<f64>) {
        let list = self.lists.is_valid(row).then(|| self.lists.value(row));
        let list = list.filter(|list| list.len() == self.dimensions && list.null_count() == 0);
        match list.as_ref().map(|list| list.as_primitive::<Float32Type>().values()) {
            Some(vector) if vector.iter().all(|number| number.is_finite()) => {
                into.extend(vector.iter().map(|number| f64::from(*number)));
            }
            _ => into.extend(std::iter::repeat_n(f64::NAN, self.dimensions)),
        }
    }
}

/// The newest vector of an entity, as the kernel finds it, and until when it is that.
#[derive(Debug, Clone, PartialEq)]
pub struct NewestVector {
    /// Its numbers; none: there is none.
    pub vector: Option<Vec<f32>>,
    /// When its event happened, in microseconds.
    pub event_at: Option<i64>,
    /// The first moment after the one asked for at which this may be different though no row comes, in microseconds: a row
    /// begins to count, or this one does not any more.
    pub until: i64,
}

impl Rows<'_> {
    /// The newest vector as of `at` within `ttl`, both in microseconds: what [`Aggregate::Last`](tenon_core::spec::Aggregate)
    /// says of each of its numbers.
    pub fn newest_vector(&self, vector: &VectorColumn, at: i64, ttl: i64) -> NewestVector {
        let by = |moment: i64| self.events().partition_point(|event| *event <= moment);
        let is_there = |row: usize| self.known()[row] <= at && !self.value(row, vector.values.start).is_nan();
        let row = (by(at.saturating_sub(ttl))..by(at)).rfind(|row| is_there(*row));
        let ends = row.map(|row| self.events()[row].saturating_add(ttl));
        let begins = self.known().iter().copied().filter(|known| *known > at).min();
        NewestVector {
            vector: row.map(|row| vector.values.clone().map(|at| self.value(row, at) as f32).collect()),
            event_at: row.map(|row| self.events()[row]),
            until: ends.into_iter().chain(begins).min().unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Float64Type;
    use proptest::prelude::*;
    use tenon_core::spec::FeatureViewSpec;

    use super::super::{Kernel, SourceRows, Timeline, View};
    use super::*;

    fn view() -> View {
        let spec: FeatureViewSpec = toml::from_str(
            "description = \"d\"\nentity = [\"id\"]\nevent_time = \"at\"\nknown_at = \"known\"\nttl = \"5ms\"\n\
             dataset = \"d\"\nsource = \"SELECT 1\"\n[features]\nrows = { aggregate = \"count\" }\n\
             [vectors.style]\ncolumn = \"v\"\ndimensions = 2\n",
        )
        .unwrap();
        View::new(&spec).unwrap()
    }

    #[test]
    fn a_vector_is_its_numbers_and_one_that_is_not_whole_is_missing() {
        let view = view();
        assert_eq!(view.columns, ["v[0]", "v[1]"]);
        let names: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(names, ["rows", "style[0]", "style[1]"]);
        let vectors = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(0.1), Some(2.0)]),
            Some(vec![Some(1.0)]),
            Some(vec![Some(1.0), None]),
            Some(vec![Some(1.0), Some(f64::INFINITY)]),
            None,
        ]);
        let moments: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4, 5]));
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![7; 5])) as ArrayRef),
            ("at", Arc::clone(&moments)),
            ("known", moments),
            ("v", Arc::new(vectors)),
        ]);
        let rows = SourceRows::read(&view, &[super::super::KeyType::Integer], &[batch.unwrap()]).unwrap();
        assert_eq!(rows.row(0).2, [f64::from(0.1_f32), 2.0]);
        assert!((1..5).all(|row| rows.row(row).2.iter().all(|number| number.is_nan())));
    }

    proptest! {
        #[test]
        fn the_newest_vector_is_the_last_of_each_number_until_it_says(
            rows in prop::collection::vec((0_i64..12_000, 0_i64..3_000, prop::option::of(0_u8..4)), 0..6),
            at in 0_i64..20_000,
        ) {
            let view = view();
            let mut timeline = Timeline::new(2);
            for (event, late, value) in &rows {
                let value = value.map_or(f64::NAN, f64::from);
                timeline.insert(*event, event + late, &[value, value + 0.5]);
            }
            let told = |at: i64| {
                let mut told = Vec::new();
                let kernel = Kernel::new(view.ttl.as_micros(), &view.features[1..]);
                kernel.evaluator().evaluate(timeline.rows(), at, Some(0), |feature| told.push((feature.value.ok(), feature.event_at)));
                told
            };
            let newest = timeline.rows().newest_vector(&view.vectors[0], at, view.ttl.as_micros());
            let numbers = |at: usize| newest.vector.as_ref().map(|vector| vector[at]);
            let of_kernel = told(at);
            prop_assert_eq!([of_kernel[0].0, of_kernel[1].0], [numbers(0), numbers(1)]);
            if newest.vector.is_some() {
                prop_assert_eq!(of_kernel[0].1, newest.event_at);
            }
            for later in at..newest.until.min(at + 6_000) {
                prop_assert_eq!(&told(later), &of_kernel);
            }
        }
    }
}
