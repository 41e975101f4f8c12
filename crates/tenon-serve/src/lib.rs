//! Inference, decisions, rollouts.
//!
//! [`Serving`] answers: bare tensors by [`Serving::infer`], decisions about entities by [`Serving::decide`]. A decision
//! is durable before its caller hears of it; it goes journal → lake → ledger (see `journal`), so that [`Serving::why`]
//! can prove it row by row. Outcomes join their decisions by id. Traffic moves by [`rollout`]s, whose planner is pure.

mod decide;
mod decision;
mod engine;
mod error;
mod infer;
mod journal;
mod listing;
mod log;
mod outcomes;
mod projection;
mod receipt;
mod record;
pub mod rollout;
mod route;
mod serving;
mod table;
mod words;

pub use decision::{
    DecideRequest, Decision, DecisionBatch, FeatureStatus, FeatureUsed, Outcome, OutcomesTaken, Reason, Variant,
};
pub use engine::{FindRuntime, find_runtime};
pub use error::{InferError, ReceiptFault, ServeError};
pub use infer::{InferRequest, InferResponse, ModelMetadata, TensorMetadata, datatype};
pub use listing::{Activity, ListedDecision};
pub use log::Flushed;
pub use projection::{Champion, DeploymentState, RunningRollout, TrafficMove, TrafficPeriod, projection};
pub use receipt::{DecisionProof, Receipt};
pub use record::DecisionRecord;
pub use rollout::RolloutOnApproval;
pub use serving::{Serving, ServingOptions};
pub use table::{decisions_schema, decisions_table, outcomes_schema, outcomes_table};
