//! A run: from the training set to a version that the gates have judged.

use serde::Serialize;
use tenon_compute::{Budgets, Cost, Meter, Spend};
use tenon_core::fact::{ModelVersionRegistered, RunFailed, RunFinished, RunStarted};
use tenon_core::id::{OperationId, RunId};
use tenon_core::spec::{Meaning, SpecSet, Trainer};
use tenon_core::{Digest, ModelName, ModelVersionRef, NewFact, Payload, PodName, Principal, Timestamp};
use tenon_features::TrainingFrame;
use tenon_onnx::ModelMeta;

use crate::artifacts::Kind;
use crate::evaluation::Evaluation;
use crate::gates::{self, Case, Champion};
use crate::models::{Inner, Models, resource};
use crate::projection::{self, VersionRecord};
use crate::table::Table;
use crate::trainer::fit;
use crate::{ModelError, ReferenceDistributions};

/// What a model's first training is expected to use, in processor seconds; later ones are expected to use what the
/// last did.
const FIRST_SECONDS: f64 = 60.0;

/// A request for a training.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The model.
    pub model: ModelName,
    /// Why, for the record.
    pub cause: String,
    /// Learn only from what was known by then.
    pub known_by: Timestamp,
    /// Shuffle the labels with this seed: a drill that makes a bad candidate on purpose.
    pub drill_shuffle_seed: Option<u64>,
}

/// Facts by one principal for one pod.
struct Facts<'a> {
    by: &'a Principal,
    pod: &'a PodName,
    facts: Vec<NewFact>,
}

impl<'a> Facts<'a> {
    fn new(by: &'a Principal, pod: &'a PodName) -> Self {
        Self { by, pod, facts: Vec::new() }
    }

    fn add<P: Payload>(&mut self, payload: &P) -> Result<&mut NewFact, ModelError> {
        let fact =
            NewFact::new(self.by.clone(), Some(self.pod.clone()), payload).map_err(ModelError::json("a fact"))?;
        self.facts.push(fact);
        let last = self.facts.len() - 1;
        Ok(&mut self.facts[last])
    }
}

impl Models {
    /// Trains and registers a version, and has the gates judge it. What the gates say is on the version's record.
    ///
    /// # Errors
    /// [`ModelError::OverBudget`] before anything is spent; what stands in the way of the training set; a training
    /// that failed, which is on record as such.
    pub async fn train(&self, by: &Principal, request: TrainRequest) -> Result<ModelVersionRef, ModelError> {
        self.train_as(by, request, None).await
    }

    /// The same, as an operation that starts at most once.
    pub(crate) async fn train_as(
        &self,
        by: &Principal,
        request: TrainRequest,
        operation: Option<OperationId>,
    ) -> Result<ModelVersionRef, ModelError> {
        let inner = &self.inner;
        let specs = inner.catalog.specs();
        let declared = resource(&specs, &request.model)?;
        let pod = &declared.pod;
        inner.ask_budget(pod, &request.model)?;
        let meter = Meter::process();
        let frame = inner.features.training_set(&request.model, request.known_by).await;
        let frame = frame.map_err(|source| ModelError::TrainingSet { model: request.model.clone(), source })?;
        let (digest, rows, artifacts) = (frame.record.digest, frame.rows.clone(), inner.artifacts.clone());
        tokio::task::spawn_blocking(move || artifacts.put_rows(&digest, &rows)).await??;

        let run = RunId::new(&*inner.ids, inner.clock.now());
        let started = RunStarted {
            run,
            model: request.model,
            cause: request.cause,
            training_set: frame.record.clone(),
            trainer: serde_json::to_value(&declared.spec.trainer).map_err(ModelError::json("the trainer"))?,
            code: format!("tenon {}", env!("CARGO_PKG_VERSION")),
            drill_shuffle_seed: request.drill_shuffle_seed,
        };
        inner.running.lock().insert(run);
        let outcome = self.run(by, &specs, &started, frame, meter, operation).await;
        inner.running.lock().remove(&run);
        outcome
    }

    async fn run(
        &self,
        by: &Principal,
        specs: &SpecSet,
        started: &RunStarted,
        frame: TrainingFrame,
        meter: Meter,
        operation: Option<OperationId>,
    ) -> Result<ModelVersionRef, ModelError> {
        let inner = &self.inner;
        let pod = &resource(specs, &started.model)?.pod;
        let mut facts = Facts::new(by, pod);
        let fact = facts.add(started)?;
        fact.operation = operation;
        inner.ledger.append(facts.facts).await?;
        tracing::info!(run = %started.run, model = %started.model, rows = started.training_set.train_rows, "training started");
        let version = match inner.make(by, pod, specs, started, frame, meter).await {
            Ok(version) => version,
            Err(error) => {
                inner.fail(by, pod, started.run, &tenon_core::words::chain(&error)).await?;
                return Err(error);
            }
        };
        self.judge(by, &version).await?;
        Ok(version)
    }

    /// Has the gates judge a version by its stored training set.
    pub(crate) async fn judge(&self, by: &Principal, version: &ModelVersionRef) -> Result<(), ModelError> {
        let inner = &self.inner;
        let specs = inner.catalog.specs();
        let declared = resource(&specs, &version.model)?;
        let record = self.version(version)?;
        let state = inner.budgets.remaining(&declared.pod, inner.clock.now())?;
        let champion =
            projection::champion(&inner.ledger.docs(), &version.model)?.filter(|champion| champion != version);
        let champion = champion.map(|champion| self.version(&champion)).transpose()?;
        let (gates, thresholds) = (declared.spec.gates.clone(), thresholds(&specs, &version.model));
        let models = self.clone();
        let decided = tokio::task::spawn_blocking(move || {
            let inner = &models.inner;
            let table = inner.stored_table(&record)?;
            let ensemble = inner.ensemble(&record)?;
            let case = Case {
                version: &record.registered.version,
                table: &table,
                ensemble: &ensemble,
                evaluation: &Evaluation::of(&ensemble, &table)?,
                champion: inner.champion_scores(champion.as_ref(), &table)?,
                thresholds: &thresholds,
                budget: (&state, record.finished.usd),
            };
            gates::decide(&gates, &case)
        });
        let decided = decided.await??;
        let judged = gates::judge(version, &decided);
        let mut facts = Facts::new(by, &declared.pod);
        for gate in &decided {
            facts.add(gate)?;
        }
        facts.add(&judged)?;
        inner.ledger.append(facts.facts).await?;
        tracing::info!(%version, approved = judged.approved, failed = ?judged.failed, "gates decided");
        Ok(())
    }

    /// Ends runs that a crash left open, and judges versions that it left unjudged. For the start of the program, as
    /// the one process that works on the company: a run that another process is at would be ended too. Returns how many
    /// runs were ended and how many versions were judged.
    ///
    /// # Errors
    /// When the ledger or a file fails.
    pub async fn sweep(&self, by: &Principal) -> Result<(usize, usize), ModelError> {
        let inner = &self.inner;
        let open: Vec<_> = projection::runs(&inner.ledger.docs())?.into_iter().filter(|run| run.is_open()).collect();
        let mut ended = 0;
        for run in open.iter().filter(|run| !inner.running.lock().contains(&run.started.run)) {
            let specs = inner.catalog.specs();
            let pod = run.pod.clone().or_else(|| Some(resource(&specs, &run.started.model).ok()?.pod.clone()));
            let Some(pod) = pod else { continue };
            inner.fail(by, &pod, run.started.run, INTERRUPTED).await?;
            ended += 1;
        }
        let unjudged = projection::versions(&inner.ledger.docs(), None)?
            .into_iter()
            .filter(|record| record.judged.is_none() && !inner.running.lock().contains(&record.run.run));
        let mut judged = 0;
        for record in unjudged {
            if inner.catalog.specs().models.contains_key(&record.run.model) {
                self.judge(by, &record.registered.version).await?;
                judged += 1;
            }
        }
        Ok((ended, judged))
    }
}

/// What a run that a crash ended is told to have died of.
pub(crate) const INTERRUPTED: &str = "the program ended before the training did";

/// What a training leaves on disk and in memory.
struct Made {
    artifact: Digest,
    reference: Digest,
    evaluation: Evaluation,
    metrics: indexmap::IndexMap<String, f64>,
}

impl Inner {
    fn ask_budget(&self, pod: &PodName, model: &ModelName) -> Result<(), ModelError> {
        let last = projection::versions(&self.ledger.docs(), Some(model))?.pop();
        let seconds = last.map_or(FIRST_SECONDS, |record| record.finished.cpu_seconds);
        let expected = Spend::cpu(seconds, &self.budgets.prices()).usd;
        let state = self.budgets.remaining(pod, self.clock.now())?;
        let verdict = state.judge(expected);
        if verdict.allows() {
            return Ok(());
        }
        let sentence = format!("{}, and a training is expected to cost {expected:.4} USD: {verdict}", state.sentence());
        Err(ModelError::OverBudget { model: model.clone(), pod: pod.to_string(), sentence })
    }

    /// Trains, stores what came out, and registers it.
    async fn make(
        &self,
        by: &Principal,
        pod: &PodName,
        specs: &SpecSet,
        started: &RunStarted,
        frame: TrainingFrame,
        meter: Meter,
    ) -> Result<ModelVersionRef, ModelError> {
        let inputs = frame.features.clone();
        let meta = meta(specs, started, &inputs)?;
        let (job, artifacts) = (started.clone(), self.artifacts.clone());
        let made = tokio::task::spawn_blocking(move || {
            let (bytes, table) = artifact(&job, frame, &meta)?;
            let ensemble = crate::models::trees(&bytes)?;
            let evaluation = Evaluation::of(&ensemble, &table)?;
            let reference = ReferenceDistributions::of(&table, &evaluation)?;
            let reference = serde_json::to_vec(&reference).map_err(ModelError::json("the reference distributions"))?;
            Ok::<_, ModelError>(Made {
                metrics: evaluation.metrics(&table)?,
                evaluation,
                artifact: artifacts.put(Kind::Model, &bytes)?,
                reference: artifacts.put(Kind::Reference, &reference)?,
            })
        });
        let made = made.await??;
        let spend = meter.spend(&self.budgets.prices());
        let run = started.run;
        let finished = RunFinished { run, cpu_seconds: spend.seconds, usd: spend.usd, metrics: made.metrics };
        let cost = Cost { subject: format!("run {run}"), resource: "cpu".to_owned(), spend };
        // Only one process writes to a ledger, so this lock is enough for numbers without gaps or twins.
        let _numbering = self.numbering.lock().await;
        let newest = projection::versions(&self.ledger.docs(), Some(&started.model))?.pop();
        let number = 1 + newest.map_or(0, |record| record.registered.version.version);
        let version = ModelVersionRef { model: started.model.clone(), version: number };
        let registered = ModelVersionRegistered {
            version: version.clone(),
            run,
            artifact: made.artifact,
            format: "onnx".to_owned(),
            inputs,
            importance: made.evaluation.importance,
            reference: made.reference,
        };
        let mut facts = Facts::new(by, pod);
        facts.add(&finished)?;
        facts.facts.push(Budgets::fact(by, Some(pod), &cost)?);
        facts.add(&registered)?;
        self.ledger.append(facts.facts).await?;
        Ok(version)
    }

    pub(crate) async fn fail(
        &self,
        by: &Principal,
        pod: &PodName,
        run: RunId,
        sentence: &str,
    ) -> Result<(), ModelError> {
        tracing::warn!(%run, sentence, "training failed");
        let mut facts = Facts::new(by, pod);
        let failed = RunFailed { run, sentence: sentence.to_owned() };
        facts.add(&failed)?;
        self.ledger.append(facts.facts).await?;
        Ok(())
    }

    /// The stored training set of a version.
    fn stored_table(&self, record: &VersionRecord) -> Result<Table, ModelError> {
        let set = &record.run.training_set;
        let rows = self.artifacts.get_rows(&set.digest)?;
        Table::new(rows, record.registered.inputs.clone(), set.train_rows as usize)
    }

    fn champion_scores(&self, champion: Option<&VersionRecord>, table: &Table) -> Result<Champion, ModelError> {
        let Some(record) = champion else { return Ok(Champion::None) };
        let version = record.registered.version.clone();
        let inputs = &record.registered.inputs;
        let Some(rows) = table.held_out_as(inputs) else { return Ok(Champion::ReadsOtherFeatures(version)) };
        let margins = self.ensemble(record)?.margins(&rows, inputs.len())?;
        Ok(Champion::Scores(version, margins.into_iter().map(crate::evaluation::logistic).collect()))
    }
}

/// The artifact's bytes, and the table with the labels that it was judged by.
pub(crate) fn artifact(
    started: &RunStarted,
    frame: TrainingFrame,
    meta: &ModelMeta,
) -> Result<(Vec<u8>, Table), ModelError> {
    let trainer = recorded_trainer(started)?;
    let mut table = Table::new(frame.rows, frame.features, frame.train_rows)?;
    if let Some(seed) = started.drill_shuffle_seed {
        table.shuffle_labels(seed);
    }
    Ok((fit(&trainer, &table)?.to_onnx(meta), table))
}

fn recorded_trainer(started: &RunStarted) -> Result<Trainer, ModelError> {
    serde_json::from_value(started.trainer.clone()).map_err(ModelError::json("the recorded trainer"))
}

/// An input, as the artifact describes it.
#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    description: Option<&'a str>,
}

/// What the artifact says about itself: all of it is on the record, and nothing else, so that the same record gives the
/// same bytes.
pub(crate) fn meta(specs: &SpecSet, started: &RunStarted, inputs: &[String]) -> Result<ModelMeta, ModelError> {
    let declared = &resource(specs, &started.model)?.spec;
    let (producer, producer_version) = started.code.split_once(' ').unwrap_or((&started.code, ""));
    let features: Vec<Input<'_>> = inputs
        .iter()
        .map(|name| {
            let Meaning { unit, description } = specs.meaning(&declared.features, name).unwrap_or_default();
            Input { name, unit, description }
        })
        .collect();
    let mut metadata = vec![
        ("tenon.model", started.model.to_string()),
        ("tenon.limits", declared.limits.clone()),
        ("tenon.features", serde_json::to_string(&features).map_err(ModelError::json("the features"))?),
        ("tenon.training_set", started.training_set.digest.to_string()),
        ("tenon.trainer", canonical(&started.trainer)),
    ];
    if let Some(seed) = started.drill_shuffle_seed {
        metadata.push(("tenon.drill_shuffle_seed", seed.to_string()));
    }
    Ok(ModelMeta {
        name: started.model.to_string(),
        description: declared.description.clone(),
        producer: producer.to_owned(),
        producer_version: producer_version.to_owned(),
        input: String::new(),
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    })
}

/// The same text whether the value comes from a file or from the ledger, where keys are sorted (RFC 8785).
fn canonical(value: &serde_json::Value) -> String {
    serde_json_canonicalizer::to_string(value).unwrap_or_default()
}

/// The thresholds at which deployments of a model say yes, ascending; one half where it has none yet.
fn thresholds(specs: &SpecSet, model: &ModelName) -> Vec<f64> {
    let of_model = specs.deployments.values().filter(|deployment| deployment.spec.model == *model);
    let mut thresholds: Vec<f64> = of_model.map(|deployment| deployment.spec.threshold).collect();
    thresholds.sort_unstable_by(f64::total_cmp);
    thresholds.dedup();
    if thresholds.is_empty() {
        thresholds.push(0.5);
    }
    thresholds
}
