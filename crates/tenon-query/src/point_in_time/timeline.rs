//! One entity's rows in a store that takes them in as they arrive.

use std::sync::Arc;

use super::rows::order;
use super::{Folding, Past, Rows};

/// One entity's rows, always in order, after those that are not kept.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    events: Vec<i64>,
    known: Vec<i64>,
    values: Vec<f64>,
    width: usize,
    past: Option<Box<Past>>,
}

impl Timeline {
    /// No rows yet, each of which will have `width` values.
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// The rows, as the kernel reads them.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(&self.events, &self.known, &self.values, self.width).after(self.past.as_deref())
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

    /// Takes in all rows of another, whose rows have as many values.
    pub fn merge(&mut self, other: &Self) {
        for row in 0..other.len() {
            let (event, known, values) = other.rows().row(row);
            self.insert(event, known, values);
        }
    }

    /// The rows as bytes: 1 where each was known at its event, else 2; the events; after 2, when each was known; the values,
    /// row by row. All of them in eight bytes, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let at_once = self.known == self.events;
        let longs = self.len() * (self.width + if at_once { 1 } else { 2 });
        let mut bytes = Vec::with_capacity(1 + 8 * longs);
        bytes.push(if at_once { 1 } else { 2 });
        let known = if at_once { &[] } else { &self.known[..] };
        self.events.iter().chain(known).for_each(|moment| bytes.extend_from_slice(&moment.to_le_bytes()));
        self.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes
    }

    /// The rows that [`Timeline::to_bytes`] wrote, of `width` values each; none where these are not such bytes.
    pub fn from_bytes(bytes: &[u8], width: usize) -> Option<Self> {
        let (kind, longs) = bytes.split_first()?;
        let moments = usize::from(*kind);
        let (longs, rest) = longs.as_chunks::<8>();
        let size = width.checked_add(moments)?;
        if !matches!(moments, 1 | 2) || !rest.is_empty() || longs.len() % size != 0 {
            return None;
        }
        let len = longs.len() / size;
        let events: Vec<i64> = longs[..len].iter().map(|long| i64::from_le_bytes(*long)).collect();
        let known = match moments {
            1 => events.clone(),
            _ => longs[len..2 * len].iter().map(|long| i64::from_le_bytes(*long)).collect(),
        };
        let values = longs[moments * len..].iter().map(|long| f64::from_le_bytes(*long)).collect();
        events.is_sorted().then_some(Self { events, known, values, width, past: None })
    }

    /// Takes in a row without keeping it. `values`: `[width]`, null is NaN.
    pub fn fold(&mut self, folding: &Arc<Folding>, event: i64, known: i64, values: &[f64]) {
        self.past.get_or_insert_with(|| Box::new(Past::new(folding))).fold(event, known, values);
    }

    /// Folds the rows that were known before `horizon`. False where there are none.
    pub fn fold_before(&mut self, folding: &Arc<Folding>, horizon: i64) -> bool {
        // A row is known no sooner than it happens.
        let old = self.events.partition_point(|event| *event < horizon);
        let mut kept = 0;
        for row in 0..old {
            if self.known[row] < horizon {
                let values = &self.values[row * self.width..(row + 1) * self.width];
                let past = self.past.get_or_insert_with(|| Box::new(Past::new(folding)));
                past.fold(self.events[row], self.known[row], values);
            } else {
                self.events[kept] = self.events[row];
                self.known[kept] = self.known[row];
                self.values.copy_within(row * self.width..(row + 1) * self.width, kept * self.width);
                kept += 1;
            }
        }
        if kept < old {
            self.events.drain(kept..old);
            self.known.drain(kept..old);
            self.values.drain(kept * self.width..old * self.width);
        }
        kept < old
    }

    /// What the rows say that are not kept; none: all of them are.
    pub fn past(&self) -> Option<&Past> {
        self.past.as_deref()
    }

    /// Puts what rows say that are not kept in the place of what there was.
    pub fn set_past(&mut self, past: Past) {
        self.past = Some(Box::new(past));
    }

    /// The newest event, also of rows that are not kept, in microseconds.
    pub fn newest(&self) -> Option<i64> {
        self.events.last().copied().max(self.past.as_ref().map(|past| past.newest()))
    }

    /// Whether no row is kept, and none was folded.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.past.is_none()
    }

    /// How many rows are kept.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn bits(timeline: &Timeline) -> (Vec<i64>, Vec<i64>, Vec<u64>) {
        let values = timeline.values.iter().map(|value| value.to_bits()).collect();
        (timeline.events.clone(), timeline.known.clone(), values)
    }

    proptest! {
        #[test]
        fn rows_come_back_from_bytes_and_damage_is_seen(
            rows in proptest::collection::vec((-9_i64..9, 0_i64..3, proptest::num::f64::ANY), 0..20),
            width in 0_usize..3,
        ) {
            let (mut timeline, mut first, mut rest) = (Timeline::new(width), Timeline::new(width), Timeline::new(width));
            for (at, (event, late, value)) in rows.iter().enumerate() {
                let values = vec![*value; width];
                timeline.insert(*event, event + late, &values);
                if at % 2 == 0 { &mut first } else { &mut rest }.insert(*event, event + late, &values);
            }
            first.merge(&rest);
            prop_assert_eq!(bits(&first), bits(&timeline));
            let bytes = timeline.to_bytes();
            prop_assert_eq!(bits(&Timeline::from_bytes(&bytes, width).unwrap()), bits(&timeline));
            prop_assert!(Timeline::from_bytes(&bytes[..bytes.len() - 1], width).is_none());
            prop_assert!(Timeline::from_bytes(&[&[3], &bytes[1..]].concat(), width).is_none());
        }
    }
}
