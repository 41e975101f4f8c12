//! `serve`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::follow::run_sources;
use super::{Context, beside};
use crate::args::{Output, Serve};
use crate::failure::{Failure, While};
use crate::output::{Answer, say};
use crate::platform::Platform;

/// How often decisions go from the journal into the lake.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Or sooner, when so many wait.
const FLUSH_ROWS: u64 = 20_000;
/// How often small files are looked for where a dataset declares that they are taken together.
const COMPACT_EVERY: Duration = Duration::from_secs(20);
/// How often counts of refusals become facts.
const SETTLE_EVERY: Duration = Duration::from_secs(20);
/// How often monitors look whether they are due.
const WATCH_EVERY: Duration = Duration::from_secs(30);

/// Opens the doors until it is told to stop.
pub async fn serve(context: &Context, how: &Serve) -> Result<Answer, Failure> {
    let (platform, _) = context.platform().await?;
    if !how.listen.ip().is_loopback() && !platform.identity.require_token {
        return Err(Failure::Refused(format!(
            "{} can be reached from other machines, and callers need no token\n  hint: set identity.require_token = true in company.toml",
            how.listen
        )));
    }
    platform.serving.warm_up().await;
    let listener = tokio::net::TcpListener::bind(how.listen).await.during("opening the door")?;
    let address = listener.local_addr().during("opening the door")?;
    let ready = match context.output {
        Output::Table => format!("serving at http://{address}"),
        Output::Json => serde_json::json!({ "address": format!("http://{address}") }).to_string(),
    };
    let stop = CancellationToken::new();
    let doors = tokio::spawn(tenon_server::serve(platform.doors(), listener, stop.clone().cancelled_owned()));
    let beside = beside::open(&platform, &context.background);
    let ended = ended();
    announce(&ready)?;
    serve_until(&platform, &context.background, ended).await?;
    beside.close().await?;
    stop.cancel();
    doors.await.during("serving")?.during("serving")?;
    platform.guard.settle(true).await.during("writing down what was refused")?;
    Answer::new(&serde_json::json!({ "ended": true }), "ended")
}

/// Tells whoever started the program that it is ready.
pub fn announce(line: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).during("telling the address")
}

/// Ctrl-C, or the signal that service managers send. Both are heard from this call on, and not only when it is waited for: who
/// was told that the program is ready may end it at once.
pub fn ended() -> impl Future<Output = ()> {
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match heard {
            (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
            _ => _ = tokio::signal::ctrl_c().await,
        }
    }
}

/// Runs what goes on beside the doors — reactions, flushing, rollouts, monitors — until `end` is ready.
///
/// # Errors
/// When a part cannot end well.
pub async fn serve_until<T>(
    platform: &Platform,
    background: &Handle,
    end: impl Future<Output = T>,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let flushing = background.spawn({
        let (serving, stopped) = (platform.serving.clone(), stop.clone().cancelled_owned());
        async move { serving.run(FLUSH_EVERY, FLUSH_ROWS, stopped).await }
    });
    let reacting = background.spawn({
        let (subscribers, stopped) = (Arc::clone(&platform.subscribers), stop.clone().cancelled_owned());
        async move { subscribers.run(stopped).await }
    });
    let watching = background.spawn(watching(platform.clone(), stop.clone()));
    let compacting = background.spawn(compacting(platform.clone(), stop.clone()));
    let settling = background.spawn(settling(platform.clone(), stop.clone()));
    let sources = run_sources(platform, background, &stop);
    end.await;
    stop.cancel();
    sources.join_all().await;
    reacting.await.during("ending")?.during("letting the subscribers react")?;
    watching.await.during("ending")?;
    compacting.await.during("ending")?;
    settling.await.during("ending")?;
    flushing.await.during("ending")?;
    platform.features.flush().await.during("writing the online store")
}

async fn watching(platform: Platform, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(WATCH_EVERY)).await.is_some() {
        if let Err(error) = platform.watch.tick().await {
            say(format!("the monitors could not measure: {error}"));
        }
    }
}

async fn settling(platform: Platform, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SETTLE_EVERY)).await.is_some() {
        if let Err(error) = platform.guard.settle(false).await {
            say(format!("what was refused could not be written down: {error}"));
        }
    }
    if let Err(error) = platform.guard.settle(true).await {
        say(format!("what was refused could not be written down: {error}"));
    }
}

async fn compacting(platform: Platform, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(COMPACT_EVERY)).await.is_some() {
        if let Err(failure) = super::versions::compact_due(&platform).await {
            say(format!("small files could not be taken together: {}", failure.message()));
        }
    }
}
