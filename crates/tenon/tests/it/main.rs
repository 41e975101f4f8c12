//! Truths about the whole workspace and its command line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command_line;
mod docs;
mod edges;
