//! Ids of things that happen. They sort by time (UUID version 7, RFC 9562), and each kind has its own type.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// Where the random half of an id comes from.
pub trait IdSource: Send + Sync {
    /// A fresh id for something that happens at `now`.
    fn next(&self, now: Timestamp) -> Uuid;
}

/// Ids with the operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let mut random = [0; 10];
        random.copy_from_slice(&Uuid::now_v7().as_bytes()[6..]);
        uuid::Builder::from_unix_timestamp_millis(millis(now), &random).into_uuid()
    }
}

/// Ids that depend only on a seed and on how many were drawn: tests and replays.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededIds {
    /// The sequence of ids that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl IdSource for SeededIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let digest = crate::Digest::of([self.seed.to_le_bytes(), n.to_le_bytes()].concat());
        let mut random = [0; 10];
        random.copy_from_slice(&digest.as_bytes()[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis(now), &random).into_uuid()
    }
}

fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(with = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id.
            pub fn new(ids: &dyn IdSource, now: Timestamp) -> Self {
                Self(ids.next(now))
            }

            /// Wraps an id that exists already.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    )+};
}

id_types! {
    /// One execution of a job: a training, an ingest.
    RunId,
    /// One decision that was served.
    DecisionId,
    /// One planned change of traffic.
    RolloutId,
    /// One crossing of a monitor's threshold that people handle.
    IncidentId,
    /// One thing done at most once: a write outside the ledger carries it, the fact that seals the write repeats it.
    OperationId,
}

impl OperationId {
    /// The operation that these parts name: the same parts give the same id (UUID version 5), so doing the thing again
    /// after a crash is recognised as the same operation.
    pub fn derive(parts: &[&str]) -> Self {
        const NAMESPACE: Uuid = Uuid::from_u128(0x7465_6e6f_6e00_5000_8000_6f70_6572_6174);
        // Each part carries its length, so that ["ab", "c"] and ["a", "bc"] differ.
        let name: String = parts.iter().map(|part| format!("{}:{part};", part.len())).collect();
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_seeded_ids_repeat() {
        let (early, late) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(2_000_000));
        assert!(RunId::new(&RandomIds, early) < RunId::new(&RandomIds, late));
        let (a, b) = (SeededIds::new(7), SeededIds::new(7));
        assert_eq!(a.next(early), b.next(early));
        assert_ne!(a.next(early), a.next(early));
    }

    #[test]
    fn derived_operations_depend_on_every_part_and_on_where_it_ends() {
        assert_eq!(OperationId::derive(&["a", "b"]), OperationId::derive(&["a", "b"]));
        assert_ne!(OperationId::derive(&["ab", "c"]), OperationId::derive(&["a", "bc"]));
    }
}
