//! How plans look on the way.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use tenon_query::PlanCodec;

/// The one form of plans between who asks, scheduler and executors: our operator's, then Ballista's own.
pub(crate) fn codec() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(PlanCodec::new(Arc::new(BallistaPhysicalExtensionCodec::default())))
}
