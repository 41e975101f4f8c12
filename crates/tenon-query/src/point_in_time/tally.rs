//! What rows say together of one column: of any rows, in any order, and of what others have tallied already.

use tenon_core::spec::{Aggregate, Window};

use super::bytes::Reader;
use super::exact::{ExactSquares, ExactSum};
use super::sketch::{Distinct, Frequencies, Quantiles};

/// A tally, and what of the costly things it is wanted for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    pub window: usize,
    pub column: Option<usize>,
    pub sum: bool,
    pub deviation: bool,
    pub distinct: bool,
    pub quantiles: bool,
    pub frequencies: bool,
}

impl Wanted {
    pub(super) fn want(&mut self, aggregate: Aggregate) {
        self.sum |= matches!(aggregate, Aggregate::Sum | Aggregate::Mean | Aggregate::Std);
        self.deviation |= aggregate == Aggregate::Std;
        self.distinct |= aggregate == Aggregate::Distinct;
        self.quantiles |= aggregate == Aggregate::Quantile;
        self.frequencies |= aggregate == Aggregate::TopK;
    }
}

/// What rows say together of one column, or of themselves. The same rows give the same bits, in whatever order they are
/// added and by however many tallies that are merged.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    count: u64,
    least: f64,
    greatest: f64,
    newest: i64,
    known: i64,
    sum: ExactSum,
    // In boxes, so that a tally without them is cheap to begin and small to keep.
    squares: Option<Box<ExactSquares>>,
    distinct: Option<Box<Distinct>>,
    quantiles: Option<Box<Quantiles>>,
    frequencies: Option<Box<Frequencies>>,
}

impl Tally {
    pub(super) fn new(wanted: &Wanted) -> Self {
        Self {
            count: 0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            newest: i64::MIN,
            known: i64::MIN,
            sum: ExactSum::default(),
            squares: wanted.deviation.then(Box::default),
            distinct: wanted.distinct.then(Box::default),
            quantiles: wanted.quantiles.then(Box::default),
            frequencies: wanted.frequencies.then(Box::default),
        }
    }

    /// Adds a row by its value in the column; one that is null does not count. `wanted` is what the tally was made for.
    pub(super) fn add(&mut self, wanted: &Wanted, event: i64, known: i64, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        self.least = if value < self.least { value } else { self.least };
        self.greatest = if value > self.greatest { value } else { self.greatest };
        self.newest = self.newest.max(event);
        self.known = self.known.max(known);
        if wanted.sum {
            self.sum.add(value);
        }
        if let Some(squares) = &mut self.squares {
            squares.add(value);
        }
        if let Some(distinct) = &mut self.distinct {
            distinct.add(value);
        }
        if let Some(quantiles) = &mut self.quantiles {
            quantiles.add(value);
        }
        if let Some(frequencies) = &mut self.frequencies {
            frequencies.add(value);
        }
    }

    /// Adds what another tally of the column has counted, which was made for all that this one was made for.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.newest = self.newest.max(other.newest);
        self.known = self.known.max(other.known);
        self.sum.merge(&other.sum);
        if let Some((squares, other)) = self.squares.as_mut().zip(other.squares.as_ref()) {
            squares.merge(other);
        }
        if let Some((distinct, other)) = self.distinct.as_mut().zip(other.distinct.as_ref()) {
            distinct.merge(other);
        }
        if let Some((quantiles, other)) = self.quantiles.as_mut().zip(other.quantiles.as_ref()) {
            quantiles.merge(other);
        }
        if let Some((frequencies, other)) = self.frequencies.as_mut().zip(other.frequencies.as_ref()) {
            frequencies.merge(other);
        }
    }

    /// The newest event of a row that counted, and when the last of them was known, in microseconds; none: no row counted.
    pub(super) fn moments(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.newest, self.known))
    }

    /// An aggregate of the rows that counted, of which there is one at least; NaN: it is null.
    pub(super) fn value(&mut self, aggregate: Aggregate, window: Window, q: f64, k: usize) -> f64 {
        let count = self.count as f64;
        match aggregate {
            Aggregate::Count => count,
            Aggregate::Sum => self.sum.value(),
            Aggregate::Mean => self.sum.value() / count,
            // Zero has one sign: which of two came first is no part of a tally.
            Aggregate::Min => self.least + 0.0,
            Aggregate::Max => self.greatest + 0.0,
            Aggregate::Std => {
                self.squares.as_ref().map_or(f64::NAN, |squares| squares.deviation(&self.sum, self.count))
            }
            Aggregate::Rate => count / window.span().map_or(f64::NAN, |span| span.as_secs_f64()),
            Aggregate::Distinct => self.distinct.as_ref().map_or(f64::NAN, |seen| seen.count()),
            Aggregate::Quantile => self.quantiles.as_mut().map_or(f64::NAN, |seen| seen.at(q)),
            Aggregate::TopK => self.frequencies.as_ref().map_or(f64::NAN, |seen| seen.top(k)),
            Aggregate::Last | Aggregate::First | Aggregate::Age | Aggregate::Complete => f64::NAN,
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.least.to_le_bytes());
        bytes.extend_from_slice(&self.greatest.to_le_bytes());
        bytes.extend_from_slice(&self.newest.to_le_bytes());
        bytes.extend_from_slice(&self.known.to_le_bytes());
        self.sum.write(bytes);
        self.squares.iter().for_each(|squares| squares.write(bytes));
        self.distinct.iter().for_each(|distinct| distinct.write(bytes));
        self.quantiles.iter().for_each(|quantiles| quantiles.write(bytes));
        self.frequencies.iter().for_each(|frequencies| frequencies.write(bytes));
    }

    /// The tally, made for `wanted`, that [`Tally::write`] wrote; none: these are not such bytes.
    pub(super) fn read(wanted: &Wanted, bytes: &mut Reader<'_>) -> Option<Self> {
        let mut tally = Self::new(wanted);
        tally.count = bytes.u64()?;
        tally.least = bytes.f64()?;
        tally.greatest = bytes.f64()?;
        tally.newest = bytes.i64()?;
        tally.known = bytes.i64()?;
        tally.sum = ExactSum::read(bytes)?;
        if let Some(squares) = &mut tally.squares {
            **squares = ExactSquares::read(bytes)?;
        }
        if let Some(distinct) = &mut tally.distinct {
            **distinct = Distinct::read(bytes)?;
        }
        if let Some(quantiles) = &mut tally.quantiles {
            **quantiles = Quantiles::read(bytes)?;
        }
        if let Some(frequencies) = &mut tally.frequencies {
            **frequencies = Frequencies::read(bytes)?;
        }
        Some(tally)
    }
}
