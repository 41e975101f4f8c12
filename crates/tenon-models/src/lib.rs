//! Models: trained, registered, judged and made again, each step on the record.
//!
//! [`Models`] is the façade. A version is immutable: an ONNX file under its digest, the training set and the reference
//! distributions that it came with, and facts that say how it was made ([`Models::train`]), what the gates said, and who
//! let it through where it failed ([`Models::waive`]). [`Models::reproduce`] makes it again and compares the bytes.
//! [`RetrainOnDrift`] is the subscriber that trains when drift asks for it.

mod artifacts;
mod card;
mod error;
mod evaluation;
mod gates;
mod learnt;
mod models;
mod projection;
mod random;
mod reference;
mod reproduce;
mod retrain;
mod table;
mod train;
mod trainer;
mod waive;
mod words;

pub use card::ModelCard;
pub use error::ModelError;
pub use models::{Models, ModelsOptions};
pub use projection::{RunRecord, VersionRecord, projection};
pub use reference::ReferenceDistributions;
pub use reproduce::Reproduction;
pub use retrain::RetrainOnDrift;
pub use train::TrainRequest;
