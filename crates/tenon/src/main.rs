//! `tenon`: the open foundation that an AI-native company stands on, in one binary.

mod args;
mod background;
mod commands;
mod failure;
mod output;
mod platform;
mod progress;
mod quickstart;
mod scaffold;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Arguments;
use crate::failure::{Failure, While};
use crate::output::{Verdict, say};

fn main() -> ExitCode {
    tenon_ingest::share_heaps();
    let arguments = Arguments::parse();
    // What Ballista's client logs of a query that failed is the error, which is told anyway.
    let usual = "warn,ballista_core::execution_plans::distributed_query=off";
    let filter = EnvFilter::try_from_env("TENON_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    // A log that cannot be written, such as one redirected to a full disk, is no reason to fail: telling of it would panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    let output = arguments.output;
    let ended = run(arguments).and_then(|answer| answer.print(output));
    match ended {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Refused) => ExitCode::from(1),
        Ok(Verdict::Failed) => ExitCode::from(3),
        Err(failure) => {
            say(failure.message());
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<output::Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().during("starting")?;
    let background = background::runtime().during("starting")?;
    runtime.block_on(commands::run(arguments, background.handle().clone()))
}
