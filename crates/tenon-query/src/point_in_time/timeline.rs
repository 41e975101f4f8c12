//! One entity's rows in a store that takes them in as they arrive.

use super::Rows;
use super::rows::order;

/// One entity's rows, always in order.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    events: Vec<i64>,
    known: Vec<i64>,
    values: Vec<f64>,
    width: usize,
}

impl Timeline {
    /// No rows yet, each of which will have `width` values.
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// The rows, as the kernel reads them.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(&self.events, &self.known, &self.values, self.width)
    }

    /// Takes in a row, wherever its place is. `values`: `[width]`, null is NaN.
    pub fn insert(&mut self, event: i64, known: i64, values: &[f64]) {
        let place = self.place(event, known, values);
        self.events.insert(place, event);
        self.known.insert(place, known);
        let at = place * self.width;
        self.values.splice(at..at, values.iter().copied());
    }

    /// Takes one row out that is equal to this one. False where there is none.
    pub fn remove(&mut self, event: i64, known: i64, values: &[f64]) -> bool {
        let after = self.place(event, known, values);
        let Some(row) = after.checked_sub(1) else { return false };
        if order(self.rows().row(row), (event, known, values)).is_ne() {
            return false;
        }
        self.events.remove(row);
        self.known.remove(row);
        self.values.drain(row * self.width..after * self.width);
        true
    }

    /// Forgets the rows whose event was before `horizon`.
    pub fn forget_before(&mut self, horizon: i64) {
        let gone = self.events.partition_point(|event| *event < horizon);
        if gone > 0 {
            self.events.drain(..gone);
            self.known.drain(..gone);
            self.values.drain(..gone * self.width);
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The place after the last row that is not greater. Rows come mostly in order, so the end is tried first.
    fn place(&self, event: i64, known: i64, values: &[f64]) -> usize {
        let rows = self.rows();
        let row = (event, known, values);
        match self.events.last() {
            Some(last) if *last >= event => {
                let (mut low, mut high) = (0, self.len());
                while low < high {
                    let middle = low.midpoint(high);
                    if order(rows.row(middle), row).is_le() { low = middle + 1 } else { high = middle }
                }
                low
            }
            _ => self.len(),
        }
    }
}
