//! The crate against ONNX Runtime, shap and damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod fixtures;
mod runtime;
mod shap;
mod trees;
mod writer;
