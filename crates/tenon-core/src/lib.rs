//! The vocabulary that every part of Tenon shares.
//!
//! Names, references, digests, time, what a company's files say (as written and as checked), and the payload of every
//! fact. No I/O, no async runtime; the only clock here is the one that is handed in ([`clock::Clock`]).
//! A payload that two capabilities share lives here, below both, so that one can react to the other's facts without
//! knowing it.

pub mod clock;
pub mod digest;
pub mod fact;
pub mod id;
pub mod name;
pub mod principal;
pub mod reference;
pub mod share;
pub mod spec;
pub mod time;
pub mod words;

pub use clock::Clock;
pub use digest::{Digest, DigestBuilder};
pub use fact::{Fact, NewFact, Payload};
pub use name::{
    BranchName, DatasetName, DeploymentName, FeatureViewName, HoldName, ModelName, MonitorName, PodName, TagName,
};
pub use principal::Principal;
pub use reference::{AsOf, ModelVersionRef};
pub use share::Share;
pub use time::{Span, Timestamp};
