//! Versions whose features were read lately. As long as one is here, its views are kept up, where they are no longer those
//! that are declared; without it each request would read them anew from the lake, while all who push rows wait.

use std::sync::Arc;

use parking_lot::Mutex;
use tenon_core::{ModelVersionRef, Span, Timestamp};
use tenon_features::Selected;

/// So long after it was last read a version is let go.
const KEPT: Span = Span::hours(1);
/// The most versions: each may hold rows in memory.
const MOST: usize = 8;

/// Each version with the moment when it was last read, and its features; the last that was read is the last.
#[derive(Default)]
pub(crate) struct Lately(Mutex<Vec<(Timestamp, ModelVersionRef, Arc<Selected>)>>);

impl Lately {
    /// The features of a version, where it was read lately.
    pub(crate) fn get(&self, version: &ModelVersionRef, now: Timestamp) -> Option<Arc<Selected>> {
        let mut read = self.0.lock();
        read.retain(|(at, ..)| now - *at < KEPT);
        let known = read.iter().position(|(_, known, _)| known == version)?;
        let (_, version, selected) = read.remove(known);
        read.push((now, version, Arc::clone(&selected)));
        Some(selected)
    }

    /// Keeps the features of a version that was read now.
    pub(crate) fn keep(&self, version: ModelVersionRef, selected: Arc<Selected>, now: Timestamp) {
        let mut read = self.0.lock();
        read.retain(|(_, known, _)| *known != version);
        read.push((now, version, selected));
        if read.len() > MOST {
            read.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_version_that_was_read_last_stays_longest() {
        let lately = Lately::default();
        let version = |number: usize| format!("late@{}", number + 1).parse::<ModelVersionRef>().unwrap();
        let at = |minute: i64| Timestamp::from_micros(minute * 60_000_000);
        for number in 0..MOST {
            lately.keep(version(number), Arc::default(), at(0));
        }
        assert!(lately.get(&version(0), at(30)).is_some());
        lately.keep(version(MOST), Arc::default(), at(30));
        assert!(lately.get(&version(1), at(30)).is_none(), "it made room");
        assert!(lately.get(&version(0), at(70)).is_some());
        assert!(lately.get(&version(2), at(70)).is_none(), "it was read long ago");
    }
}
