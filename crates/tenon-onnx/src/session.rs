//! The one seam of inference.

use std::collections::BTreeMap;

use crate::ensemble::TreeEnsemble;
use crate::error::{OnnxError, Result};
use crate::model::Model;
use crate::runtime::{Runtime, RuntimeSession};
use crate::tensor::{Tensor, TensorInfo};

/// A model ready to answer, by whichever engine can.
#[derive(Debug)]
pub enum Session {
    /// Every operator is evaluated in Rust.
    Native(Model),
    /// ONNX Runtime holds the model.
    Runtime(RuntimeSession),
}

impl Session {
    /// Loads a model: natively where every operator is known, else with the runtime that `find` finds. It is not looked
    /// for before.
    ///
    /// # Errors
    /// `RuntimeNeeded`, naming the operator, when the model needs a runtime and there is none; otherwise what
    /// [`Model::load`] or [`Runtime::load`] say.
    pub fn load(bytes: &[u8], find: impl FnOnce() -> Result<Runtime>) -> Result<Self> {
        match Model::load(bytes) {
            Ok(model) => Ok(Self::Native(model)),
            Err(OnnxError::Unsupported { what, place, hint }) => match find() {
                Ok(runtime) => runtime.load(bytes).map(Self::Runtime),
                Err(source) => Err(OnnxError::RuntimeNeeded { what, place, hint, source: Box::new(source) }),
            },
            Err(error) => Err(error),
        }
    }

    /// What must be passed to [`Self::run`].
    pub fn inputs(&self) -> &[TensorInfo] {
        match self {
            Self::Native(model) => model.inputs(),
            Self::Runtime(session) => session.inputs(),
        }
    }

    /// What [`Self::run`] returns, in this order.
    pub fn outputs(&self) -> &[TensorInfo] {
        match self {
            Self::Native(model) => model.outputs(),
            Self::Runtime(session) => session.outputs(),
        }
    }

    /// The free entries of the file (`metadata_props`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Native(model) => model.metadata(),
            Self::Runtime(session) => session.metadata(),
        }
    }

    /// The trees, when the model can be explained by [`crate::TreeShap`].
    pub fn ensemble(&self) -> Option<&TreeEnsemble> {
        if let Self::Native(model) = self { model.ensemble() } else { None }
    }

    /// Evaluates the model. Tensors are matched to inputs by name.
    ///
    /// # Errors
    /// As [`Model::run`] or [`RuntimeSession::run`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Self::Native(model) => model.run(inputs),
            Self::Runtime(session) => session.run(inputs),
        }
    }
}
