//! `ingest --follow`, and the sources of a company that serves.

use std::time::Duration;

use serde_json::json;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DatasetName, Principal};
use tenon_ingest::{FileOutcome, IngestError};
use tenon_lake::WriteOutcome;
use tenon_policy::Action;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::data::{sources, topics_of};
use super::serve::ended;
use super::{Context, beside};
use crate::failure::{Failure, While};
use crate::output::{Answer, say};
use crate::platform::Platform;

/// How often a folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes what comes to datasets until it is told to stop.
pub async fn ingest(context: &Context, dataset: Option<&str>) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let names = sources(&platform, dataset)?;
    for name in &names {
        platform.allow(&by, Action::DatasetWrite, ResourceRef::new(ResourceKind::Dataset, name.as_str())).await?;
        let specs = platform.catalog.specs();
        let source = specs.datasets.get(name).map(|dataset| &dataset.spec.source);
        if source.is_some_and(|source| source.files.is_none() && source.kafka.is_none()) {
            return Err(Failure::Usage(format!(
                "dataset `{name}` reads neither files nor topics: there is nothing to follow"
            )));
        }
    }
    let stop = CancellationToken::new();
    let beside = beside::open(&platform, &context.background);
    let following = follow(&platform, &context.background, &by, names, &stop);
    say("following; Ctrl-C ends it");
    ended().await;
    stop.cancel();
    beside.close().await?;
    following.join_all().await;
    platform.features.flush().await.during("writing the online store")?;
    Answer::new(&json!({ "ended": true }), "ended")
}

/// Follows datasets, each in a task of its own.
fn follow(
    platform: &Platform,
    background: &Handle,
    by: &Principal,
    names: Vec<DatasetName>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut following = JoinSet::new();
    for name in names {
        let (platform, by, stop) = (platform.clone(), by.clone(), stop.clone());
        let task = async move {
            if topics_of(&platform, &name).is_some() {
                platform.ingest.follow_topics(&by, &name, &platform.root, &stop).await;
            } else {
                let told = |file: &FileOutcome| say(format!("{name}: {}: {}", file.path, became(&file.outcome)));
                platform.ingest.follow_files(&by, &name, &platform.root, LOOK_EVERY, &stop, told).await;
            }
        };
        following.spawn_on(task, background);
    }
    following
}

/// What became of a file, in words.
fn became(outcome: &Result<WriteOutcome, IngestError>) -> String {
    match outcome {
        Err(waits @ IngestError::Unfinished { .. }) => format!("waits: {waits}"),
        outcome => super::data::outcome(outcome).0.1,
    }
}

/// Runs the sources of a company beside its doors: topics, and folders that are declared as watched.
pub fn run_sources(platform: &Platform, background: &Handle, stop: &CancellationToken) -> JoinSet<()> {
    let specs = platform.catalog.specs();
    let runs = |source: &tenon_core::spec::Source| source.kafka.is_some() || source.watch;
    let names = specs.datasets.iter().filter(|(_, dataset)| runs(&dataset.spec.source)).map(|(name, _)| name.clone());
    follow(platform, background, &Principal::service("ingest"), names.collect(), stop)
}
