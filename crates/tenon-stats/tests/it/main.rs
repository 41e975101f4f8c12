//! Laws that the statistics keep on any input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod properties;
