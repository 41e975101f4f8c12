//! The lake from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cost;
mod fixture;
mod read;
mod replay;
mod stretches;
mod versions;
mod write;
