//! The whole loop on a year of real flights: raw events in, a model out, decisions served, drift met, the model replaced,
//! and every step proven on the ledger.

mod closing;
mod live;
mod prove;
mod start;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenon_core::clock::ManualClock;
use tenon_core::id::RandomIds;
use tenon_core::{DeploymentName, ModelName, Principal, Timestamp};
use tokio::runtime::Handle;

use crate::args::{Output, Quickstart};
use crate::commands;
use crate::failure::{Failure, While};
use crate::output::{Answer, say};
use crate::platform::Platform;
use crate::progress::Steps;

use closing::Closing;
use world::World;

/// The backfill ends and the live traffic begins.
const LIVE_FROM: &str = "2013-04-01T00:00:00Z";
/// The live traffic ends.
const LIVE_UNTIL: &str = "2013-10-01T00:00:00Z";

/// What every step of the quickstart works on.
struct Stage {
    folder: PathBuf,
    platform: Platform,
    clock: Arc<ManualClock>,
    world: World,
    ana: Principal,
    model: ModelName,
    deployment: DeploymentName,
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::from_micros(0))
}

/// Runs the whole loop, then serves unless told otherwise.
///
/// # Errors
/// [`Failure::Refused`] when the folder holds something already; otherwise what went wrong in a step.
pub async fn run(dir: Option<&Path>, how: &Quickstart, output: Output, background: &Handle) -> Result<Answer, Failure> {
    let folder = dir.unwrap_or(Path::new("./acme"));
    refuse_occupied(folder)?;
    let mut steps = Steps::of(10);
    let mut closing = Closing::default();
    let stage = start::company(folder, &mut steps, &mut closing).await?;
    start::ingest(&stage, &mut steps, &mut closing).await?;
    start::features(&stage, &mut steps, &mut closing).await?;
    start::train(&stage, &mut steps, &mut closing).await?;
    let door = start::deploy(&stage, how, &mut steps, &mut closing).await?;
    live::replay(&stage, &door.address, &mut steps, &mut closing).await?;
    prove::prove(&stage, &mut steps, &mut closing).await?;
    closing.run_seconds = steps.elapsed().as_secs_f64();
    closing.peak_memory_bytes = peak_memory_bytes();
    closing.address = (!how.no_serve).then(|| format!("http://{}", door.address));
    let answer = Answer::new(&closing, closing.table())?;
    if how.no_serve {
        door.close().await?;
        return Ok(answer);
    }
    let beside = commands::open_beside(&stage.platform, background);
    answer.print(output)?;
    say(format!("\nserving at http://{} — open it in a browser; Ctrl-C ends it", door.address));
    commands::serve_until(&stage.platform, background, tokio::signal::ctrl_c()).await?;
    beside.close().await?;
    door.close().await?;
    Answer::new(&serde_json::json!({ "ended": true }), "")
}

/// A second run must never touch what a first one made.
fn refuse_occupied(folder: &Path) -> Result<(), Failure> {
    let occupied = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if !occupied {
        return Ok(());
    }
    let shown = folder.display();
    let hint = match folder.join("company.toml").exists() {
        true => {
            format!("`tenon --dir {shown} serve` opens the company that is there; `--dir` makes another one elsewhere")
        }
        false => "`--dir` names another folder".to_owned(),
    };
    Err(Failure::Refused(format!("{shown} is not empty; nothing was changed\n  hint: {hint}")))
}

/// The most memory that the process has held, as the kernel counts it; none where it does not say.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

impl Stage {
    async fn open(
        folder: &Path,
        company: crate::platform::Company,
        clock: Arc<ManualClock>,
        world: World,
    ) -> Result<Self, Failure> {
        let platform = Platform::open(company, Some(Arc::new(RandomIds))).await?;
        Ok(Self {
            folder: folder.to_owned(),
            platform,
            clock,
            world,
            ana: Principal::person("ana"),
            model: "late_arrival".parse().during("naming the model")?,
            deployment: "late_arrival".parse().during("naming the deployment")?,
        })
    }
}
