//! The lake from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod branches;
mod cost;
mod fixture;
mod pages;
mod read;
mod replay;
mod stretches;
mod together;
mod trials;
mod versions;
mod write;
