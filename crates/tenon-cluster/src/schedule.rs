//! The scheduler: takes plans, cuts them into stages, and hands out their tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use crate::codec::codec;
use crate::{ClusterError, guard};

/// Seconds without a word from an executor after which it counts as dead. Each asks for work ten times a second, and once in
/// five seconds while it has its hands full.
const SILENT_SECONDS: u64 = 15;
/// How often that is looked at.
const LOOK_SECONDS: u64 = 2;
/// How long a query waits for an executor where the last one died.
const DESERTED_SECONDS: u64 = 30;
/// How long the answers of queries that have ended are kept.
const KEPT_SECONDS: u64 = 300;

/// A scheduler that listens.
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
}

/// Opens a scheduler's door; port 0 takes one that is free.
///
/// # Errors
/// When nobody can listen there, or other machines could and `trust_network` does not say that they may.
pub async fn schedule(listen: SocketAddr, trust_network: bool) -> Result<Scheduler, ClusterError> {
    guard(listen, trust_network)?;
    let failed = |source| ClusterError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Scheduler { listener, address })
}

impl Scheduler {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Schedules for as long as it is polled.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] when the door fails.
    pub async fn run(self) -> Result<(), ClusterError> {
        let failed = |error: ballista_core::error::BallistaError| ClusterError::Failed(error.to_string());
        let config = SchedulerConfig {
            bind_host: self.address.ip().to_string(),
            external_host: self.address.ip().to_string(),
            bind_port: self.address.port(),
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            executor_timeout_seconds: SILENT_SECONDS,
            expire_dead_executor_interval_seconds: LOOK_SECONDS,
            no_executors_grace_period_seconds: DESERTED_SECONDS,
            finished_job_data_clean_up_interval_seconds: KEPT_SECONDS,
            finished_job_state_clean_up_interval_seconds: KEPT_SECONDS,
            override_physical_codec: Some(codec()),
            ..SchedulerConfig::default()
        };
        config.validate().map_err(failed)?;
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed)?;
        let scheduler =
            create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config)).await.map_err(failed)?;
        start_grpc_service_with_listener(self.listener, scheduler).await.map_err(failed)
    }
}
