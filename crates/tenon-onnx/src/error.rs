//! What can go wrong with a model, one variant for each distinct next step.

use std::fmt::Write;

/// The result of this crate's functions.
pub type Result<T, E = OnnxError> = std::result::Result<T, E>;

/// Why a model could not be read, run, written or explained.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file is larger than any model this program is meant to hold.
    #[error("the model has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the given model.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no ONNX protobuf at all.
    #[error("not an ONNX model; export it again, or check that the file is complete")]
    Malformed(#[source] prost::DecodeError),
    /// A well-formed file whose parts contradict each other: the exporter or the trainer is at fault.
    #[error("invalid model: {place}: {reason}")]
    Invalid {
        /// The node, tree or value at fault.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A valid model that needs an operator, type or option that is lacking here; the hint says what may have it.
    #[error("`{what}` at {place} is not supported; {hint}")]
    Unsupported {
        /// The operator, type or option.
        what: String,
        /// Where it stands in the model.
        place: String,
        /// What to do.
        hint: String,
    },
    /// The same, and ONNX Runtime, which may have it, cannot be used; the source says why not and what to do.
    #[error("`{what}` at {place} is not evaluated without ONNX Runtime; {hint}")]
    RuntimeNeeded {
        /// The operator, type or option.
        what: String,
        /// Where it stands in the model.
        place: String,
        /// What to do.
        hint: String,
        /// Why there is no runtime.
        source: Box<OnnxError>,
    },
    /// The caller's tensors do not fit the model.
    #[error("input `{name}`: {reason}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model can be run but not explained by TreeSHAP.
    #[error("no exact explanation: {0}")]
    NotExplainable(String),
    /// ONNX Runtime's library was found nowhere.
    #[error(
        "the ONNX Runtime library was not found (looked at {}); install it with `pip install onnxruntime`, \
         or set ORT_DYLIB_PATH to libonnxruntime.so of version 1.20 or newer", list(.looked_at)
    )]
    RuntimeMissing {
        /// Each place that was tried.
        looked_at: Vec<String>,
    },
    /// ONNX Runtime was found but refused the library, the model or the request.
    #[error("ONNX Runtime could not {action}: {message}")]
    Runtime {
        /// What was being done.
        action: &'static str,
        /// ONNX Runtime's own words.
        message: String,
    },
}

fn list(places: &[String]) -> String {
    places.iter().fold(String::new(), |mut text, place| {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}`{place}`");
        text
    })
}

pub(crate) fn invalid(place: impl Into<String>, reason: impl Into<String>) -> OnnxError {
    OnnxError::Invalid { place: place.into(), reason: reason.into() }
}

pub(crate) fn unsupported(what: impl Into<String>, place: impl Into<String>) -> OnnxError {
    OnnxError::Unsupported {
        what: what.into(),
        place: place.into(),
        hint: "run it with ONNX Runtime (`pip install onnxruntime`)".to_owned(),
    }
}

pub(crate) fn bad_input(name: impl Into<String>, reason: impl Into<String>) -> OnnxError {
    OnnxError::Input { name: name.into(), reason: reason.into() }
}
