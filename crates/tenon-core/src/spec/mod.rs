//! What a company's files say.
//!
//! Each kind of file is one struct: what the file says, typed field by field ([`Span`](crate::Span),
//! [`Share`](crate::Share), names), unknown fields refused, with a JSON Schema. What no single field can know (does that
//! view exist, is there a cycle) is checked over the whole set by [`SpecSet::check`], which reports every fault at once.

mod changes;
mod cleaning;
mod column_type;
mod dataset;
mod deployment;
mod derived_view;
mod engine;
mod fault;
mod feature_view;
mod kafka;
mod model;
mod monitor;
mod organisation;
mod set;
mod store;
mod table_rules;
pub mod units;
mod vectors;
mod window;

pub use cleaning::{CleanColumn, Cleaning, Epoch, Parse, SourceUnit, WholeNumber};
pub use column_type::{ColumnType, ColumnTypeError};
pub use dataset::{Check, Column, Compaction, Contract, DataClass, DatasetSpec, Dedup, Late, Severity, Source};
pub use deployment::{DeploymentSpec, Guardrail, GuardrailMetric, RolloutSpec};
pub use derived_view::{DerivedFeatureSpec, DerivedViewSpec, MOMENT, Meaning, ViewRef, ViewSpec};
pub use engine::{EngineAddress, EngineError};
pub use fault::{FileFaults, SpecFault, SpecFile, closest, parse};
pub use feature_view::{Aggregate, FeatureSpec, FeatureViewSpec, Promise};
pub use kafka::{
    ChangeFormat, KafkaFormat, KafkaSecurity, KafkaSource, KafkaStart, Registry, Sasl, SaslMechanism, Secret,
};
pub use model::{Gate, ModelSpec, QualityMetric, Split, SplitBy, Trainer};
pub use monitor::{DriftRule, MonitorSpec, OnDrift, QualityRule, SkewRule};
pub use organisation::{
    Autonomy, Budget, BudgetPeriod, BudgetsSpec, ClockSpec, CompanySpec, Identity, Lake, Ledger, Member, Online,
    PodSpec, Prices,
};
pub use set::{Resource, ResourceKind, ResourceRef, SpecSet};
pub use store::{ObjectPattern, StoreAccess, StoreKind};
pub use table_rules::{Distribution, Freshness, Volume};
pub use vectors::{Dimensions, DimensionsError, Metric, VectorSpec};
pub use window::Window;
