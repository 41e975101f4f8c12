//! The doors: one module a protocol. Everybody who comes in is somebody, and asks the policies once.

mod caller;
mod decide;
mod doors;
mod problem;
mod routes;

pub use doors::{Doors, router, serve};
