//! The model format: ONNX in, ONNX out, and answers in between.
//!
//! - [`Session`] is the one seam of inference: it evaluates a model in pure Rust when every operator is known here
//!   (trees, linear models, scaling and the glue that exporters put around them), and hands it to ONNX Runtime,
//!   found at run time by [`Runtime::find`], when not.
//! - [`TreeEnsemble`] is built by a trainer or read from a model, predicts, and writes itself as ONNX, the same bytes
//!   for the same trees. Covers travel in `nodes_hitrates`, so the artifact alone can be explained.
//! - [`TreeShap`] gives the exact path-dependent Shapley values of an ensemble.
//!
//! This crate knows ONNX and no other part of the program.

mod attributes;
mod ensemble;
mod error;
mod info;
mod model;
mod ops;
pub mod proto;
mod runtime;
mod session;
mod shap;
mod tensor;
mod transform;

pub use ensemble::{Aggregate, Labels, ModelMeta, Node, Tree, TreeEnsemble, f32_at_or_above};
pub use error::{OnnxError, Result};
pub use model::{MAX_MODEL_BYTES, Model};
pub use runtime::{Runtime, RuntimeSession};
pub use session::Session;
pub use shap::{Attributions, TreeShap};
pub use tensor::{DType, Dim, Tensor, TensorData, TensorInfo};
pub use transform::Transform;
