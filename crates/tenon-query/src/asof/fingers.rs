//! Places looked up entity by entity, for rows that come in no order of their moments.

use std::ops::Range;

use super::timelines::Asked;

/// How many observations are looked at one by one before the rest is halved.
const NEAR: usize = 4;

/// Each entity's observations in a row, by moment.
pub(super) struct ByEntity {
    /// Where each entity's begin, and where the last one's end: `[entities + 1]`.
    starts: Vec<u32>,
    times: Vec<i64>,
    places: Vec<u32>,
}

/// A place of an entity, and which moments lead there: those after `after`, up to `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finger {
    /// Where it stands in [`ByEntity`].
    at: u32,
    /// [`Asked::END`] after the last one.
    place: u32,
    after: i64,
    until: i64,
}

impl Finger {
    /// Not put anywhere yet.
    pub const NOWHERE: Self = Self { at: 0, place: Asked::END, after: i64::MAX, until: i64::MAX };
}

impl ByEntity {
    /// Of observations in the order of their moments.
    pub fn new(asked: &[Asked], entities: usize) -> Self {
        let mut starts = vec![0u32; entities + 1];
        for asked in asked {
            starts[asked.entity as usize + 1] += 1;
        }
        for entity in 0..entities {
            starts[entity + 1] += starts[entity];
        }
        let mut next = starts.clone();
        let (mut times, mut places) = (vec![0; asked.len()], vec![0; asked.len()]);
        for (place, asked) in asked.iter().enumerate() {
            let at = &mut next[asked.entity as usize];
            (times[*at as usize], places[*at as usize]) = (asked.time, place as u32);
            *at += 1;
        }
        Self { starts, times, places }
    }

    /// The place of an entity's first observation at or after a moment, or [`Asked::END`]. `finger` is where the entity was last asked for: rows
    /// of an entity come often in the order of their moments, so that what is sought is there or a little further.
    pub fn first_from(&self, entity: u32, moment: i64, finger: &mut Finger) -> u32 {
        if finger.after >= moment || moment > finger.until {
            *finger = self.find(entity, moment, finger);
        }
        finger.place
    }

    fn find(&self, entity: u32, moment: i64, finger: &Finger) -> Finger {
        let all = self.starts[entity as usize] as usize..self.starts[entity as usize + 1] as usize;
        let mut from = all.start;
        if moment > finger.until {
            // Beyond the finger, which has no end: the end has no time after which to seek.
            from = finger.at as usize + 1;
            let near = (from + NEAR).min(all.end);
            if let Some(found) = (from..near).find(|at| self.times[*at] >= moment) {
                return self.finger(found, &all);
            }
            from = near;
        }
        self.finger(from + self.times[from..all.end].partition_point(|time| *time < moment), &all)
    }

    fn finger(&self, at: usize, all: &Range<usize>) -> Finger {
        let after = if at > all.start { self.times[at - 1] } else { i64::MIN };
        match at < all.end {
            true => Finger { at: at as u32, place: self.places[at], after, until: self.times[at] },
            false => Finger { at: at as u32, place: Asked::END, after, until: i64::MAX },
        }
    }
}
