//! The first steps: a company, its data, its features, its first model, its doors.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tenon_core::clock::ManualClock;
use tenon_core::fact::Verdict;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DatasetName, Principal, Timestamp};
use tenon_lake::WriteOutcome;
use tenon_models::TrainRequest;
use tenon_policy::Action;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::closing::{Closing, DatasetLine};
use super::world::World;
use super::{LIVE_FROM, Stage, moment};
use crate::args::Quickstart;
use crate::commands;
use crate::failure::{Failure, While};
use crate::output::count;
use crate::progress::Steps;
use crate::scaffold;

const DATASETS: [&str; 5] = ["planes", "weather", "schedule", "departures", "flights"];

/// Scaffolds the company, tells the world, founds the ledger.
pub async fn company(folder: &Path, steps: &mut Steps, closing: &mut Closing) -> Result<Stage, Failure> {
    let step = steps.begin("ledger", None);
    scaffold::example(folder)?;
    let scratch = tempfile::tempdir().during("making a folder to work in")?;
    let world = World::tell(scratch.path()).await?;
    for dataset in DATASETS {
        let rows = world.feed(dataset)?.between(Timestamp::from_micros(i64::MIN), moment(LIVE_FROM));
        write_parquet(&folder.join(format!("data/{dataset}/2013-q1.parquet")), &rows)?;
    }
    let clock = ManualClock::at(moment(LIVE_FROM));
    let (company, applied) = commands::found(folder, &Principal::person("ana"), clock.clone()).await?;
    closing.company = folder.display().to_string();
    let stage = Stage::open(folder, company, clock, world).await?;
    step.end(&format!("founded with a signing key of its own; {applied} declarations applied"));
    Ok(stage)
}

fn write_parquet(path: &Path, rows: &RecordBatch) -> Result<(), Failure> {
    let what = format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).during(&what)?;
    }
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).during(&what)?, rows.schema(), Some(properties)).during(&what)?;
    writer.write(rows).during(&what)?;
    writer.close().during(&what)?;
    Ok(())
}

/// Brings January to March in, under the contracts.
pub async fn ingest(stage: &Stage, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let step = steps.begin("ingest", Some(DATASETS.len() as u64));
    for (done, name) in DATASETS.iter().enumerate() {
        let dataset: DatasetName = name.parse().during("naming the dataset")?;
        let target = ResourceRef::new(ResourceKind::Dataset, *name);
        stage.platform.allow(&stage.ana, Action::DatasetWrite, target).await?;
        for file in stage.platform.ingest.files(&stage.ana, &dataset, &stage.folder).await.during("ingesting")? {
            match file.outcome.during("ingesting")? {
                WriteOutcome::Committed { fact, .. } | WriteOutcome::Already(fact) => {
                    closing.datasets.push(DatasetLine::of(&fact));
                }
                WriteOutcome::Refused(fact) => return Err(Failure::Refused(fact.sentence)),
            }
        }
        step.at(done as u64 + 1);
    }
    let landed: u64 = closing.datasets.iter().map(|line| line.accepted).sum();
    let aside: u64 = closing.datasets.iter().map(|line| line.quarantined).sum();
    step.end(&format!("{} rows landed, {} in quarantine with their reasons", count(landed), count(aside)));
    Ok(())
}

/// Joins the features as of each decision.
pub async fn features(stage: &Stage, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let step = steps.begin("features", None);
    let frame =
        stage.platform.features.training_set(&stage.model, stage.clock_now()).await.during("joining the features")?;
    stage.platform.features.flush().await.during("writing the online store")?;
    closing.features = frame.features.len() as u64;
    closing.training_rows = frame.rows.num_rows() as u64;
    step.end(&format!(
        "{} features of {} views joined to {} decisions, each as of one hour before departure",
        closing.features,
        stage.platform.catalog.specs().feature_views.len(),
        count(closing.training_rows)
    ));
    Ok(())
}

/// Trains the first version and has the gates judge it.
pub async fn train(stage: &Stage, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let step = steps.begin("train", None);
    let target = ResourceRef::new(ResourceKind::Model, stage.model.as_str());
    stage.platform.allow(&stage.ana, Action::ModelTrain, target).await?;
    let request = TrainRequest {
        model: stage.model.clone(),
        cause: format!("asked for by {}", stage.ana),
        known_by: stage.clock_now(),
        drill_shuffle_seed: None,
    };
    let version = stage.platform.models.train(&stage.ana, request).await.during("training")?;
    let record = stage.platform.models.version(&version).during("reading the version")?;
    let auc = record.finished.metrics.get("roc_auc").copied().unwrap_or_default();
    step.end(&format!("{version}: ROC AUC {auc:.3} on the last fifth of the time, ${:.5}", record.finished.usd));
    let step = steps.begin("gates", None);
    closing.version(&record);
    let failed: Vec<&str> =
        record.gates.iter().filter(|gate| gate.verdict == Verdict::Failed).map(|gate| gate.sentence.as_str()).collect();
    if !failed.is_empty() {
        return Err(Failure::Refused(format!("{version} is not deployed: {}", failed.join("; "))));
    }
    let gates: Vec<&str> = record.gates.iter().map(|gate| gate.gate.as_str()).collect();
    step.end(&format!("passed {}", gates.join(", ")));
    Ok(())
}

/// The running server.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Door {
    /// Stops the server once the requests under way are answered.
    ///
    /// # Errors
    /// When it had failed.
    pub async fn close(self) -> Result<(), Failure> {
        // Nobody to tell means that it has ended.
        let _ = self.stop.send(());
        match self.serving.await {
            Ok(ended) => ended.during("serving"),
            Err(error) => Err(Failure::other("serving", error)),
        }
    }
}

/// Lets the approved version roll out and opens the doors.
pub async fn deploy(
    stage: &Stage,
    how: &Quickstart,
    steps: &mut Steps,
    closing: &mut Closing,
) -> Result<Door, Failure> {
    let step = steps.begin("deploy and serve", None);
    stage.platform.subscribers.run_until_idle().await.during("letting the subscribers react")?;
    let state = stage.platform.serving.state(&stage.deployment).during("reading the traffic")?;
    let champion = state.champion.ok_or_else(|| Failure::Refused("no version took over the deployment".to_owned()))?;
    closing.champions.push(champion.version.to_string());
    let listener = tokio::net::TcpListener::bind(how.listen).await.during("opening the door")?;
    let address = listener.local_addr().during("opening the door")?;
    let (stop, stopped) = oneshot::channel();
    let doors = stage.platform.doors();
    let serving = tokio::spawn(tenon_server::serve(doors, listener, async {
        let _ = stopped.await;
    }));
    step.end(&format!("{} answers all traffic at http://{address}", champion.version));
    Ok(Door { address, stop, serving })
}

impl Stage {
    /// The company's moment.
    pub fn clock_now(&self) -> Timestamp {
        tenon_core::Clock::now(&*self.clock)
    }
}
