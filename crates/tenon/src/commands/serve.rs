//! `serve`.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use super::Context;
use crate::failure::{Failure, While};
use crate::args::{Output, Serve};
use crate::output::{Answer, say};
use crate::platform::Platform;

/// How often decisions go from the journal into the lake.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Or sooner, when so many wait.
const FLUSH_ROWS: u64 = 20_000;
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
    let listener = tokio::net::TcpListener::bind(how.listen).await.during("opening the door")?;
    let address = listener.local_addr().during("opening the door")?;
    let ready = match context.output {
        Output::Table => format!("serving at http://{address}"),
        Output::Json => serde_json::json!({ "address": format!("http://{address}") }).to_string(),
    };
    let (stop, _) = watch::channel(false);
    let mut stopped = stop.subscribe();
    let doors = tenon_server::serve(platform.doors(), listener, async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let doors = tokio::spawn(doors);
    announce(&ready)?;
    serve_until(&platform, ended()).await?;
    let _ = stop.send(true);
    doors.await.during("serving")?.during("serving")?;
    Answer::new(&serde_json::json!({ "ended": true }), "ended")
}

fn announce(line: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).during("telling the address")
}

/// Ctrl-C, or the signal that service managers send.
async fn ended() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs what goes on beside the doors — reactions, flushing, rollouts, monitors — until `end` is ready.
///
/// # Errors
/// When a part cannot end well.
pub async fn serve_until<T>(platform: &Platform, end: impl Future<Output = T>) -> Result<(), Failure> {
    let (stop, _) = watch::channel(false);
    let stopped = || {
        let mut stopped = stop.subscribe();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let serving = platform.serving.clone();
    let flushing = tokio::spawn({
        let stopped = stopped();
        async move { serving.run(FLUSH_EVERY, FLUSH_ROWS, stopped).await }
    });
    let subscribers = platform.subscribers.clone();
    let reacting = tokio::spawn({
        let stopped = stopped();
        async move { subscribers.run(stopped).await }
    });
    let watching = tokio::spawn(watching(platform.clone(), stopped()));
    end.await;
    let _ = stop.send(true);
    reacting.await.during("ending")?.during("letting the subscribers react")?;
    watching.await.during("ending")?;
    flushing.await.during("ending")?;
    platform.features.flush().await.during("writing the online store")
}

async fn watching(platform: Platform, stopped: impl Future<Output = ()>) {
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        if let Err(error) = platform.watch.tick().await {
            say(format!("the monitors could not measure: {error}"));
        }
    }
}
