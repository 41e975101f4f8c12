//! Gradient-boosted trees for yes or no: what the built-in trainer runs. Arrays in, trees out; no files, no clock, no
//! randomness of its own, so that the same arguments give the same trees on any machine.

mod bins;
mod boost;
mod grow;

pub use boost::{Boosted, Settings, boost};
