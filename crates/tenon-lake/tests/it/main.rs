//! The lake from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cost;
mod fixture;
mod pages;
mod read;
mod replay;
mod stretches;
mod together;
mod versions;
mod write;
