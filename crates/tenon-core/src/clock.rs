//! Where "now" comes from. `--as-of`, replay and `reproduce` depend on nobody asking the machine directly.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::time::{Span, Timestamp};

/// A source of the present moment.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(chrono::Utc::now().timestamp_micros())
    }
}

/// A clock that stands still until it is moved, and then only forwards: tests and replays.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    /// Moves the clock to `moment`; a moment in its past leaves it as it is.
    pub fn advance_to(&self, moment: Timestamp) {
        let mut now = self.0.lock();
        *now = (*now).max(moment);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// A clock that continues a replayed company's time: it starts at the company's newest moment and runs at the speed of
/// the world from there.
#[derive(Debug)]
pub struct ContinuingClock {
    from: Timestamp,
    since: Instant,
}

impl ContinuingClock {
    /// A clock that shows `from` now.
    pub fn from(from: Timestamp) -> Self {
        Self { from, since: Instant::now() }
    }
}

impl Clock for ContinuingClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.from + Span::from_micros(elapsed)
    }
}
