//! A training set as numbers.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use arrow::record_batch::RecordBatch;

use crate::ModelError;

/// The column of the observations that says what came true.
const LABEL: &str = "label";
/// How a group without a name is called.
const NO_GROUP: &str = "(none)";

/// A training set: rows in order of decision, the first to learn from, the rest held out.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) features: Vec<String>,
    /// `[rows, features]`, row-major, NaN: missing.
    values: Vec<f32>,
    labels: Vec<bool>,
    train_rows: usize,
    rows: RecordBatch,
}

/// Some rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// `[rows, features]`, row-major, NaN: missing.
    pub(crate) values: &'a [f32],
    pub(crate) labels: &'a [bool],
}

impl Table {
    /// Takes the numbers out of the rows of a training set.
    pub(crate) fn new(rows: RecordBatch, features: Vec<String>, train_rows: usize) -> Result<Self, ModelError> {
        let unlearnable = |why: String| ModelError::Unlearnable(why);
        if features.is_empty() {
            return Err(unlearnable("the model reads no feature".to_owned()));
        }
        let held_out = rows.num_rows().saturating_sub(train_rows);
        if train_rows == 0 || held_out == 0 {
            return Err(unlearnable(format!("{train_rows} rows are for learning and {held_out} held out")));
        }
        let column = |name: &str| {
            rows.column_by_name(name).ok_or_else(|| unlearnable(format!("its rows have no column `{name}`")))
        };
        let labels = cast(column(LABEL)?, &DataType::Boolean)?;
        let labels: Vec<bool> = labels.as_boolean().iter().flatten().collect();
        if labels.len() != rows.num_rows() {
            return Err(unlearnable(format!("{} rows have no label", rows.num_rows() - labels.len())));
        }
        let mut values = vec![f32::NAN; rows.num_rows() * features.len()];
        for (at, feature) in features.iter().enumerate() {
            let numbers = cast(column(feature)?, &DataType::Float32)?;
            for (row, number) in numbers.as_primitive::<Float32Type>().iter().enumerate() {
                let number = number.unwrap_or(f32::NAN);
                if number.is_infinite() {
                    let place = format!("feature `{feature}` is infinite in row {row}");
                    return Err(unlearnable(format!("{place}; mend it in the source of its feature view")));
                }
                values[row * features.len() + at] = number;
            }
        }
        Ok(Self { features, values, labels, train_rows, rows })
    }

    /// All rows.
    pub(crate) fn all(&self) -> Rows<'_> {
        Rows { values: &self.values, labels: &self.labels }
    }

    /// The rows to learn from.
    pub(crate) fn learning(&self) -> Rows<'_> {
        let end = self.train_rows * self.features.len();
        Rows { values: &self.values[..end], labels: &self.labels[..self.train_rows] }
    }

    /// The rows to judge by.
    pub(crate) fn held_out(&self) -> Rows<'_> {
        let start = self.train_rows * self.features.len();
        Rows { values: &self.values[start..], labels: &self.labels[self.train_rows..] }
    }

    /// The held-out rows as another version reads them: its features, in its order. None where this table lacks one.
    pub(crate) fn held_out_as(&self, features: &[String]) -> Option<Vec<f32>> {
        let places: Option<Vec<usize>> =
            features.iter().map(|name| self.features.iter().position(|own| own == name)).collect();
        let places = places?;
        let rows = self.held_out().values.chunks_exact(self.features.len());
        Some(rows.flat_map(|row| places.iter().map(|place| row[*place])).collect())
    }

    /// The group of each held-out row; none where there is no such column.
    pub(crate) fn groups(&self, column: &str) -> Option<Vec<String>> {
        let names = cast(self.rows.column_by_name(column)?, &DataType::Utf8).ok()?;
        let names = names.slice(self.train_rows, names.len() - self.train_rows);
        Some(names.as_string::<i32>().iter().map(|name| name.unwrap_or(NO_GROUP).to_owned()).collect())
    }

    #[cfg(test)]
    pub(crate) fn record_batch(&self) -> &RecordBatch {
        &self.rows
    }

    /// Puts the labels of the learning rows in another order: a model trained on them can only guess.
    pub(crate) fn shuffle_labels(&mut self, seed: u64) {
        crate::random::Random::new("drill", seed).shuffle(&mut self.labels[..self.train_rows]);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Float32Array, StringArray};

    use super::*;
    use crate::random::Random;

    /// Rows whose label depends on two of three features and on luck; a fifth of `a` is missing.
    pub(crate) fn synthetic(rows: usize, seed: u64) -> Table {
        let mut random = Random::new("synthetic", seed);
        let mut number = || random.below(1 << 20) as f32 / (1 << 20) as f32;
        let (mut a, mut b, mut c, mut labels, mut groups) = (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..rows {
            let (x, y, z) = (number(), (number() * 40.0).floor(), number());
            let missing = number() < 0.2;
            let odds = if missing { 0.5 } else { 4.0 * (x - 0.5) } + (y - 20.0) / 12.0 - 1.0;
            labels.push(number() < 1.0 / (1.0 + (-odds).exp()));
            a.push((!missing).then_some(x));
            b.push(Some(y));
            c.push(Some(z));
            groups.push(if z < 0.6 { "AA" } else { "UA" });
        }
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("carrier", Arc::new(StringArray::from(groups)) as ArrayRef, true),
            ("label", Arc::new(BooleanArray::from(labels)) as ArrayRef, true),
            ("a", Arc::new(Float32Array::from(a)) as ArrayRef, true),
            ("b", Arc::new(Float32Array::from(b)) as ArrayRef, true),
            ("c", Arc::new(Float32Array::from(c)) as ArrayRef, true),
        ])
        .unwrap();
        let train_rows = rows.num_rows() * 4 / 5;
        Table::new(rows, ["a", "b", "c"].map(str::to_owned).into(), train_rows).unwrap()
    }

    #[test]
    fn another_version_gets_its_own_features_in_its_own_order() {
        let table = synthetic(100, 1);
        let own = table.held_out().values;
        let other = table.held_out_as(&["c".to_owned(), "a".to_owned()]).unwrap();
        assert_eq!(other.len(), 20 * 2);
        assert_eq!((other[2].to_bits(), other[3].to_bits()), (own[5].to_bits(), own[3].to_bits()));
        assert!(table.held_out_as(&["gone".to_owned()]).is_none());
        assert_eq!(table.groups("carrier").unwrap().len(), 20);
        assert!(table.groups("gone").is_none());
    }

    #[test]
    fn an_infinite_value_is_named_with_its_place() {
        let rows = RecordBatch::try_from_iter([
            ("label", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef),
            ("x", Arc::new(Float32Array::from(vec![1.0, f32::INFINITY])) as ArrayRef),
        ])
        .unwrap();
        let error = Table::new(rows, vec!["x".to_owned()], 1).unwrap_err().to_string();
        assert!(error.contains("feature `x` is infinite in row 1"), "{error}");
    }

    #[test]
    fn only_the_learning_labels_are_shuffled_and_none_is_lost() {
        let (table, mut drilled) = (synthetic(500, 1), synthetic(500, 1));
        drilled.shuffle_labels(3);
        assert_eq!(table.held_out().labels, drilled.held_out().labels);
        assert_ne!(table.learning().labels, drilled.learning().labels);
        let positives = |table: &Table| table.learning().labels.iter().filter(|label| **label).count();
        assert_eq!(positives(&table), positives(&drilled));
    }
}
