//! An executor: fetches tasks from a scheduler, and keeps what they give until it is fetched.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use datafusion::execution::session_state::SessionStateBuilder;
use tenon_core::spec::EngineAddress;
use tokio::time::{sleep, timeout};

use crate::codec::codec;
use crate::{ClusterError, guard};

/// How long an executor waits for its scheduler when it starts, and how long from one try to the next.
const CONNECT: Duration = Duration::from_secs(10);
const CONNECT_AGAIN: Duration = Duration::from_millis(200);
/// How long what queries left is kept where the scheduler did not say that it may go, and how often that is looked at.
const LEFTOVER_SECONDS: u64 = 3600;
const LEFTOVER_LOOK_SECONDS: u64 = 600;

/// What an executor is told.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// Whose tasks it does.
    pub scheduler: EngineAddress,
    /// Where others fetch what its tasks gave; port 0 takes one that is free.
    pub listen: SocketAddr,
    /// The name under which others reach it, where that is not the address it listens at.
    pub advertise: Option<String>,
    /// Whether it may be reached from other machines.
    pub trust_network: bool,
    /// How many tasks it does at a time.
    pub cores: usize,
    /// What these may take of memory, together; beyond it they spill.
    pub memory_bytes: u64,
    /// Where it keeps what tasks give; without it, a folder of its own among the temporary ones.
    pub scratch: Option<PathBuf>,
}

/// Executes tasks until the process is told to stop (Ctrl-C, SIGTERM); `ready` hears the address before the first one.
///
/// # Errors
/// When nobody can listen there, the folder cannot be used, or the scheduler does not answer within 10 seconds. A scheduler
/// that goes away later is waited for.
pub async fn execute(options: ExecutorOptions, ready: impl FnOnce(SocketAddr)) -> Result<(), ClusterError> {
    let ExecutorOptions { scheduler, listen, advertise, trust_network, cores, memory_bytes, scratch } = options;
    guard(listen, trust_network)?;
    let reached = match advertise {
        Some(name) => name.parse::<Ipv6Addr>().map_or(name, |address| in_url(address.into())),
        // Whoever is told "every address" asks himself.
        None if listen.ip().is_unspecified() => return Err(ClusterError::Nameless(listen)),
        None => in_url(listen.ip()),
    };
    let address = free(listen).map_err(|source| ClusterError::Listen { address: listen, source })?;
    let temporary = match &scratch {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("tenon-executor-")
                .tempdir()
                .map_err(|source| ClusterError::Folder { path: std::env::temp_dir(), source })?,
        ),
    };
    let folder = match (&scratch, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    std::fs::create_dir_all(&folder).map_err(|source| ClusterError::Folder { path: folder.clone(), source })?;
    // Ballista's own list lacks the functions on arrays.
    let functions = SessionStateBuilder::new().with_default_features().build();
    let config = ExecutorProcessConfig {
        bind_host: in_url(address.ip()),
        external_host: Some(reached),
        port: address.port(),
        scheduler_host: scheduler.host.clone(),
        scheduler_port: scheduler.port,
        vcores: cores.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: Some(folder.display().to_string()),
        job_data_ttl_seconds: LEFTOVER_SECONDS,
        job_data_clean_up_interval_seconds: LEFTOVER_LOOK_SECONDS,
        memory_pool_size: Some(memory_bytes),
        override_function_registry: Some(Arc::new(BallistaFunctionRegistry::from(&functions))),
        override_physical_codec: Some(codec()),
        ..ExecutorProcessConfig::default()
    };
    wait_for(&scheduler).await?;
    ready(address);
    start_executor_process(Arc::new(config)).await.map_err(|error| ClusterError::Failed(error.to_string()))
}

/// Waits until somebody listens there. Ballista's own waiting has no end.
async fn wait_for(scheduler: &EngineAddress) -> Result<(), ClusterError> {
    let scheduler = scheduler.authority();
    let mut last = "it takes too long".to_owned();
    let heard = timeout(CONNECT, async {
        while let Err(error) = tokio::net::TcpStream::connect(&scheduler).await {
            last = error.to_string();
            sleep(CONNECT_AGAIN).await;
        }
    });
    heard.await.map_err(|_| ClusterError::NoScheduler { scheduler, what: last })
}

/// An address as it stands before a port.
fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The address, with a port that is free. Ballista opens it again by itself, and tells nobody when it cannot.
fn free(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    TcpListener::bind(listen)?.local_addr()
}
