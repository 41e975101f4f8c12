//! `scheduler` and `executor`: queries on several machines. Neither needs a company.

use std::net::SocketAddr;
use std::thread::available_parallelism;

use serde_json::json;
use tenon_cluster::ExecutorOptions;

use super::Context;
use super::serve::{announce, ended};
use crate::args::{Executor, Output, Scheduler};
use crate::failure::{Failure, While};
use crate::output::Answer;

/// Schedules until it is told to stop.
pub async fn scheduler(context: &Context, how: &Scheduler) -> Result<Answer, Failure> {
    let scheduler = tenon_cluster::schedule(how.listen, how.trust_network).await.during("opening the door")?;
    let ended = ended();
    announce(&ready(context, "scheduling", scheduler.address()))?;
    tokio::select! {
        ended = scheduler.run() => ended.during("scheduling")?,
        () = ended => {}
    }
    Answer::new(&json!({ "ended": true }), "ended")
}

/// Executes until it is told to stop.
pub async fn executor(context: &Context, how: Executor) -> Result<Answer, Failure> {
    let cores = how.cores.map_or_else(|| available_parallelism().map_or(2, usize::from), usize::from);
    let options = ExecutorOptions {
        scheduler: how.scheduler,
        listen: how.listen,
        advertise: how.advertise,
        trust_network: how.trust_network,
        cores,
        memory_bytes: how.memory << 20,
        scratch: how.scratch,
    };
    // Where nobody hears it, it executes all the same.
    let told = |address| announce(&ready(context, "executing", address)).unwrap_or_default();
    tenon_cluster::execute(options, told).await.during("executing")?;
    Answer::new(&json!({ "ended": true }), "ended")
}

fn ready(context: &Context, doing: &str, address: SocketAddr) -> String {
    match context.output {
        Output::Table => format!("{doing} at {address}"),
        Output::Json => json!({ "address": address.to_string() }).to_string(),
    }
}
