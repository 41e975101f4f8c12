//! `tenon`: the open foundation that an AI-native company stands on, in one binary.

mod args;
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
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("TENON_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let output = arguments.output;
    let ended = run(arguments).and_then(|answer| answer.print(output));
    match ended {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Refused) => ExitCode::from(1),
        Err(failure) => {
            say(failure.message());
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<output::Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().during("starting")?;
    runtime.block_on(commands::run(arguments))
}
