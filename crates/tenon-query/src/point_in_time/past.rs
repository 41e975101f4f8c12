//! An entity's rows that are not kept any more, for features of a lifetime.

use std::sync::Arc;

use super::bytes::Reader;
use super::rows::{Row, order};
use super::tally::{Tally, Wanted};

/// What a view's features of a lifetime need of rows that are not kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folding {
    pub(super) tallies: Vec<Wanted>,
    /// The columns whose first and last value is asked for; none: the rows themselves.
    pub(super) ends: Vec<Option<usize>>,
}

/// What rows of one entity, which are not kept, say together to features of a lifetime. Every one of them was known before
/// the first moment that can still be asked for. Rows come in any order, and the same rows give the same answers.
#[derive(Debug, Clone)]
pub struct Past {
    folding: Arc<Folding>,
    newest: i64,
    tallies: Box<[Tally]>,
    ends: Box<[Option<Ends>]>,
}

/// The first and the last row with a value in one column.
#[derive(Debug, Clone)]
pub(super) struct Ends {
    pub first: Kept,
    pub last: Kept,
}

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub event: i64,
    pub known: i64,
    pub values: Box<[f64]>,
}

impl Past {
    /// Of no rows yet.
    pub fn new(folding: &Arc<Folding>) -> Self {
        Self {
            folding: Arc::clone(folding),
            newest: i64::MIN,
            tallies: folding.tallies.iter().map(Tally::new).collect(),
            ends: folding.ends.iter().map(|_| None).collect(),
        }
    }

    /// Takes in a row.
    pub fn fold(&mut self, event: i64, known: i64, values: &[f64]) {
        self.newest = self.newest.max(event);
        for (wanted, tally) in self.folding.tallies.iter().zip(&mut self.tallies) {
            tally.add(wanted, event, known, wanted.column.map_or(0.0, |column| values[column]));
        }
        let row = (event, known, values);
        for (column, ends) in self.folding.ends.iter().zip(&mut self.ends) {
            if column.is_some_and(|column| values[column].is_nan()) {
                continue;
            }
            match ends {
                None => *ends = Some(Ends { first: Kept::of(row), last: Kept::of(row) }),
                Some(ends) => {
                    if order(row, ends.first.row()).is_lt() {
                        ends.first = Kept::of(row);
                    }
                    if order(row, ends.last.row()).is_gt() {
                        ends.last = Kept::of(row);
                    }
                }
            }
        }
    }

    /// The newest event, in microseconds.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    pub(super) fn tally(&self, column: Option<usize>) -> Option<&Tally> {
        self.folding
            .tallies
            .iter()
            .zip(&self.tallies)
            .find(|(wanted, _)| wanted.column == column)
            .map(|(_, tally)| tally)
    }

    pub(super) fn ends(&self, column: Option<usize>) -> Option<&Ends> {
        self.folding
            .ends
            .iter()
            .zip(&self.ends)
            .find(|(known, _)| **known == column)
            .and_then(|(_, ends)| ends.as_ref())
    }

    /// As bytes, for a store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.newest.to_le_bytes().to_vec();
        self.tallies.iter().for_each(|tally| tally.write(&mut bytes));
        for ends in &self.ends {
            bytes.push(u8::from(ends.is_some()));
            if let Some(ends) = ends {
                ends.first.write(&mut bytes);
                ends.last.write(&mut bytes);
            }
        }
        bytes
    }

    /// What [`Past::to_bytes`] wrote under the same `folding`, of rows with `width` values; none where these are not such bytes.
    pub fn from_bytes(folding: &Arc<Folding>, width: usize, bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader(bytes);
        let newest = bytes.i64()?;
        let tallies = folding.tallies.iter().map(|wanted| Tally::read(wanted, &mut bytes)).collect::<Option<_>>()?;
        let mut end = |_: &Option<usize>| match bytes.byte()? {
            0 => Some(None),
            _ => Some(Some(Ends { first: Kept::read(width, &mut bytes)?, last: Kept::read(width, &mut bytes)? })),
        };
        let ends = folding.ends.iter().map(&mut end).collect::<Option<_>>()?;
        bytes.0.is_empty().then(|| Self { folding: Arc::clone(folding), newest, tallies, ends })
    }
}

impl Kept {
    fn of((event, known, values): Row<'_>) -> Self {
        Self { event, known, values: values.into() }
    }

    pub(super) fn row(&self) -> Row<'_> {
        (self.event, self.known, &self.values)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.event.to_le_bytes());
        bytes.extend_from_slice(&self.known.to_le_bytes());
        self.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    }

    fn read(width: usize, bytes: &mut Reader<'_>) -> Option<Self> {
        let (event, known) = (bytes.i64()?, bytes.i64()?);
        let values = (0..width).map(|_| bytes.f64()).collect::<Option<_>>()?;
        Some(Self { event, known, values })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use tenon_core::spec::{Aggregate, Window};

    use super::super::{Feature, Kernel, Rows, Timeline};
    use super::*;

    /// Every aggregate of a lifetime.
    fn features() -> Vec<Feature> {
        let of = |aggregate, q, k| Feature {
            q,
            k,
            ..Feature::new(&format!("{aggregate:?}"), aggregate, Some(0), Window::Lifetime)
        };
        let plain = [
            Aggregate::Last,
            Aggregate::First,
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Mean,
            Aggregate::Min,
            Aggregate::Max,
            Aggregate::Std,
            Aggregate::Distinct,
            Aggregate::Age,
            Aggregate::Complete,
        ];
        let mut features: Vec<_> = plain.into_iter().map(|aggregate| of(aggregate, None, None)).collect();
        features.extend([0.0, 0.01, 0.5, 0.99, 1.0].map(|q| of(Aggregate::Quantile, Some(q), None)));
        features.extend([1, 2, 7].map(|k| of(Aggregate::TopK, None, Some(k))));
        features.push(Feature::new("rows", Aggregate::Count, None, Window::Lifetime));
        features
    }

    fn told(kernel: &Kernel, rows: Rows<'_>) -> Vec<(Option<u32>, Option<i64>, Option<i64>)> {
        let mut told = Vec::new();
        kernel.evaluator().evaluate(rows, 1 << 40, Some(0), |feature| {
            told.push((feature.value.ok().map(f32::to_bits), feature.event_at, feature.known_at));
        });
        told
    }

    /// Row `row` of a stream with equal moments, nulls, zeros of both signs, and numbers of every size.
    fn row(row: u64) -> (i64, i64, [f64; 1]) {
        let mixed = row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let value = match mixed % 8 {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            3 => f64::from_bits(mixed << 20 & !(1 << 62)),
            4 => (mixed % 50) as f64 * 1e200,
            _ => mixed as f64 / 3.0 - 1e9,
        };
        let event = (mixed >> 8) as i64 % 5_000;
        (event, event + mixed as i64 % 3, [value])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Rows kept or not, in whatever order they came, and whether they went through a file: the same bits.
        #[test]
        fn what_is_folded_says_what_its_rows_say(rows in 0u64..4_000, kept in 1u64..9, salt in any::<u64>(), begin in any::<u64>()) {
            let kernel = Kernel::new(1, &features());
            let folding = Arc::new(kernel.folding().unwrap());
            let begin = begin >> 1;
            let (mut whole, mut folded, mut again) = (Timeline::new(1), Timeline::new(1), Timeline::new(1));
            let mut order: Vec<u64> = (begin..begin + rows).collect();
            order.iter().for_each(|at| { let (event, known, values) = row(*at); whole.insert(event, known, &values) });
            order.sort_by_key(|at| (at ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut past = Past::new(&folding);
            for at in order {
                let (event, known, values) = row(at);
                if at % kept == 0 {
                    folded.insert(event, known, &values);
                    again.insert(event, known, &values);
                } else {
                    folded.fold(&folding, event, known, &values);
                    past.fold(event, known, &values);
                }
                if at % 500 == 0 {
                    past = Past::from_bytes(&folding, 1, &past.to_bytes()).unwrap();
                }
            }
            again.set_past(past);
            let told_of_rows = told(&kernel, whole.rows());
            prop_assert_eq!(&told(&kernel, folded.rows()), &told_of_rows);
            if rows > 0 {
                prop_assert_eq!(&told(&kernel, again.rows()), &told_of_rows);
            }
            // Some of the features alone read the same.
            let some: Vec<Feature> = features().into_iter().step_by(3).collect();
            let told_of_some = told(&Kernel::new(1, &some), folded.rows());
            prop_assert_eq!(told_of_some, told_of_rows.into_iter().step_by(3).collect::<Vec<_>>());
        }
    }

    #[test]
    fn damage_is_seen() {
        let folding = Arc::new(Kernel::new(1, &features()).folding().unwrap());
        let mut past = Past::new(&folding);
        (0..3_000).for_each(|at| {
            let (event, known, values) = row(at);
            past.fold(event, known, &values)
        });
        let bytes = past.to_bytes();
        assert_eq!(Past::from_bytes(&folding, 1, &bytes).unwrap().to_bytes(), bytes);
        for length in (0..bytes.len()).step_by(7) {
            assert!(Past::from_bytes(&folding, 1, &bytes[..length]).is_none(), "{length} of {} bytes", bytes.len());
        }
        assert!(Past::from_bytes(&folding, 2, &bytes).is_none(), "another width");
    }
}
