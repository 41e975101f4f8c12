//! Monitors, triggers, incidents.
//!
//! [`Watch`] compares windows of decisions with what the version in charge was trained on, and with their outcomes,
//! and records what it finds. Drift that is sure becomes one incident and one `drift.detected` fact a version; whoever
//! reacts to it reads the fact. What counts as sure is decided by [`plan`] from values alone. Where a monitor asks for it,
//! served features are held against what training sees (`skew`).

mod drift;
mod error;
pub mod plan;
mod projection;
mod quality;
mod skew;
mod watch;
mod window;

pub use error::WatchError;
pub use projection::{DriftPoint, Incident, MonitorState, QualityPoint, SkewPoint, projection};
pub use watch::{Measurement, Watch, WatchOptions};
