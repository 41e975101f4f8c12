//! Live traffic: half a year replayed in event order through ingest and the decision path, as fast as it goes. Outcomes
//! arrive when flights land; the monitor measures daily; what follows from that, follows through the subscribers.

use std::collections::HashMap;
use std::net::SocketAddr;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::kernels::cmp::gt;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::{Value, json};
use tenon_core::fact::TrafficReason;
use tenon_core::id::DecisionId;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DatasetName, Digest, ModelVersionRef, Principal, Span, Timestamp};
use tenon_ingest::Buffer;
use tenon_lake::{BatchSource, WriteOutcome};
use tenon_models::TrainRequest;
use tenon_policy::{Action, Secret, Target};
use tenon_serve::Outcome;

use super::closing::{Closing, DatasetLine, DriftLine, MoveLine};
use super::{LIVE_FROM, LIVE_UNTIL, Stage, moment};
use crate::commands::waive_as;
use crate::failure::{Failure, While};
use crate::output::count;
use crate::progress::Steps;

/// One decision in so many is asked for over HTTP, with its explanation, like a real caller's.
const HTTP_EVERY: usize = 40;
/// From this moment on the drill may begin.
const DRILL_FROM: &str = "2013-08-20T00:00:00Z";
const HOUR: Span = Span::hours(1);

/// Replays the live half-year.
pub async fn replay(stage: &Stage, door: &SocketAddr, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let (from, until) = (moment(LIVE_FROM), moment(LIVE_UNTIL));
    let hours = ((until - from).as_micros() / HOUR.as_micros()) as u64;
    let step = steps.begin("live traffic", Some(hours));
    let mut replay = Replay::new(stage, door)?;
    replay.may().await?;
    for hour in 0..hours {
        let start = from + Span::hours(hour as i64);
        let end = start + HOUR;
        replay.hear(start, end).await?;
        replay.decide(start, end).await?;
        replay.learn_outcomes(start, end).await?;
        stage.clock.advance_to(end);
        if end.as_micros() % Span::days(1).as_micros() == 0 {
            replay.close_the_day(end, closing).await?;
        }
        step.at(hour + 1);
    }
    replay.tally(closing);
    step.end(&format!(
        "{} decisions, {} of them over HTTP with reasons; {} outcomes came back",
        count(closing.decisions),
        count(closing.http_decisions),
        count(closing.outcomes)
    ));
    told(stage, steps, closing)
}

/// What the half-year brought, step by step.
fn told(stage: &Stage, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let step = steps.begin("watch", None);
    let incidents = stage.platform.watch.incidents().during("reading the incidents")?;
    for incident in incidents.into_iter().filter(|incident| incident.skew.is_empty()) {
        closing.drift.push(DriftLine {
            at: incident.opened,
            version: incident.version.to_string(),
            sentence: incident.sentence,
        });
    }
    step.end(&closing.drift.first().map_or_else(|| "no drift was met".to_owned(), |drift| drift.sentence.clone()));
    let step = steps.begin("retrain and roll out", None);
    for record in stage.platform.models.versions(&stage.model).during("reading the versions")?.iter().skip(1) {
        closing.version(record);
    }
    for period in stage.platform.serving.history(&stage.deployment).during("reading the history")? {
        if period.reason == TrafficReason::Finished {
            let version = period.traffic.first().map(|part| part.version.to_string()).unwrap_or_default();
            if closing.champions.last() != Some(&version) {
                closing.champions.push(version);
            }
        }
        if period.reason == TrafficReason::RolledBack {
            closing.rollbacks += 1;
        }
        closing.moves.push(MoveLine { at: period.from, reason: period.reason, sentence: period.sentence });
    }
    let rolled_back = closing.moves.iter().find(|line| line.reason == TrafficReason::RolledBack);
    let rolled_back = rolled_back.map_or("", |line| line.sentence.as_str());
    step.end(&format!("{} took over in turn; {rolled_back}", closing.champions.join(", ")));
    Ok(())
}

struct Replay<'a> {
    stage: &'a Stage,
    replayer: Principal,
    buffers: Vec<(&'static str, Buffer)>,
    asked: Asked,
    awaiting: HashMap<String, DecisionId>,
    http: Caller,
    decisions: u64,
    http_decisions: u64,
    outcomes: u64,
    drilled: bool,
}

/// Every flight with the moment of its decision, rising.
struct Asked {
    rows: RecordBatch,
    moments: Vec<i64>,
}

impl<'a> Replay<'a> {
    fn new(stage: &'a Stage, door: &SocketAddr) -> Result<Self, Failure> {
        let mut buffers = Vec::new();
        for name in ["schedule", "weather", "departures", "flights"] {
            let dataset: DatasetName = name.parse().during("naming the dataset")?;
            buffers.push((name, stage.platform.ingest.buffer(&dataset)));
        }
        Ok(Self {
            stage,
            replayer: Principal::service("replay"),
            buffers,
            asked: Asked::of(stage)?,
            awaiting: HashMap::new(),
            http: Caller::to(door, stage)?,
            decisions: 0,
            http_decisions: 0,
            outcomes: 0,
            drilled: false,
        })
    }

    /// Asks the policies once for all that the replay does.
    async fn may(&self) -> Result<(), Failure> {
        let platform = &self.stage.platform;
        for (name, _) in &self.buffers {
            let dataset = ResourceRef::new(ResourceKind::Dataset, *name);
            platform.allow(&self.replayer, Action::DatasetWrite, dataset).await?;
        }
        for action in [Action::DeploymentDecide, Action::OutcomeRecord] {
            let deployment = ResourceRef::new(ResourceKind::Deployment, self.stage.deployment.as_str());
            platform.allow(&self.replayer, action, deployment).await?;
        }
        Ok(())
    }

    /// Takes in what becomes known in this hour; features see it at once.
    async fn hear(&mut self, start: Timestamp, end: Timestamp) -> Result<(), Failure> {
        for (name, buffer) in &mut self.buffers {
            let rows = self.stage.world.feed(name)?.between(start, end);
            if rows.num_rows() > 0 {
                buffer.add(&[rows]).await.during("ingesting")?;
            }
        }
        Ok(())
    }

    /// Decides about the flights that leave in an hour.
    async fn decide(&mut self, start: Timestamp, end: Timestamp) -> Result<(), Failure> {
        let asked = self.asked.between(start, end);
        if asked.num_rows() == 0 {
            return Ok(());
        }
        let flights = texts(&asked, "flight_id")?;
        let over_http = |row: usize| (self.decisions as usize + row).is_multiple_of(HTTP_EVERY);
        let in_bulk: BooleanArray = (0..asked.num_rows()).map(|row| Some(!over_http(row))).collect();
        let bulk = arrow::compute::filter_record_batch(&asked, &in_bulk).during("choosing the callers")?;
        let serving = &self.stage.platform.serving;
        let made = serving.decide_many(&self.stage.deployment, &bulk, "at", false).await.during("deciding")?;
        for (flight, id) in texts(&bulk, "flight_id")?.iter().flatten().zip(made.ids) {
            self.awaiting.insert(flight.to_owned(), id);
        }
        for row in (0..asked.num_rows()).filter(|row| over_http(*row)) {
            let id = self.http.decide(&asked, row).await?;
            self.awaiting.insert(flights.value(row).to_owned(), id);
            self.http_decisions += 1;
        }
        self.decisions += asked.num_rows() as u64;
        Ok(())
    }

    /// Tells what became of the decisions about the flights that landed.
    async fn learn_outcomes(&mut self, start: Timestamp, end: Timestamp) -> Result<(), Failure> {
        let landed = self.stage.world.feed("flights")?.between(start, end);
        let flights = texts(&landed, "flight_id")?;
        let delays = column(&landed, "arr_delay")?.as_primitive::<Int64Type>();
        let late = gt(delays, &arrow::array::Int64Array::new_scalar(15)).during("reading the outcomes")?;
        let moments = column(&landed, "closed_at")?;
        let moments = moments.as_primitive::<TimestampMicrosecondType>();
        let outcomes: Vec<Outcome> = (0..landed.num_rows())
            .filter(|row| delays.is_valid(*row))
            .filter_map(|row| {
                let decision = self.awaiting.remove(flights.value(row))?;
                let known_at = Timestamp::from_micros(moments.value(row));
                Some(Outcome { decision, outcome: late.value(row), known_at })
            })
            .collect();
        if !outcomes.is_empty() {
            let taken = self.stage.platform.serving.record_outcomes(&self.stage.deployment, &outcomes).await;
            self.outcomes += taken.during("recording the outcomes")?.joined;
        }
        Ok(())
    }

    /// Commits the day, measures it, and lets everybody react.
    async fn close_the_day(&mut self, end: Timestamp, closing: &mut Closing) -> Result<(), Failure> {
        let platform = &self.stage.platform;
        for (name, buffer) in &mut self.buffers {
            let source = BatchSource::new(format!("live until {end}"), Digest::of(format!("live:{name}:{end}")));
            match buffer.flush(&self.replayer, &source).await.during("committing the day")? {
                Some(WriteOutcome::Committed { fact, .. }) => closing.add(DatasetLine::of(&fact)),
                Some(WriteOutcome::Refused(_)) => closing.refused_batches += 1,
                Some(WriteOutcome::Already(_)) | None => {}
            }
        }
        platform.serving.flush().await.during("logging the decisions")?;
        platform.watch.tick().await.during("measuring")?;
        platform.subscribers.run_until_idle().await.during("letting the subscribers react")?;
        platform.serving.advance().await.during("moving the rollouts on")?;
        self.drill_when_due(end).await
    }

    /// Once, when nothing else moves: a candidate that learnt from shuffled labels, let through its gates by two people.
    async fn drill_when_due(&mut self, now: Timestamp) -> Result<(), Failure> {
        let state = self.stage.platform.serving.state(&self.stage.deployment).during("reading the traffic")?;
        if self.drilled || now < moment(DRILL_FROM) || state.rollout.is_some() {
            return Ok(());
        }
        self.drilled = true;
        let request = TrainRequest {
            model: self.stage.model.clone(),
            cause: "drill: a candidate that learnt from shuffled labels".to_owned(),
            known_by: now,
            drill_shuffle_seed: Some(13),
        };
        let platform = &self.stage.platform;
        let target = ResourceRef::new(ResourceKind::Model, self.stage.model.as_str());
        platform.allow(&self.stage.ana, Action::ModelTrain, target).await?;
        let bad = platform.models.train(&self.stage.ana, request).await.during("training the drill's candidate")?;
        self.waive_all(&bad).await?;
        platform.subscribers.run_until_idle().await.during("letting the subscribers react")?;
        Ok(())
    }

    /// Ana asks, Ben agrees: he shows it with a token of his own, which is made for this and revoked after it.
    async fn waive_all(&self, version: &ModelVersionRef) -> Result<(), Failure> {
        let (platform, ana) = (&self.stage.platform, &self.stage.ana);
        let ben = Principal::person("ben");
        let token = Target::Token { name: "drill".to_owned(), acts_as: ben.clone() };
        platform.allow(&ben, Action::TokenCreate, token.clone()).await?;
        let secret = Secret::random().during("making a token")?;
        platform.tokens.create(&ben, "drill", ben.clone(), None, &secret).await.during("making a token")?;
        let approver = platform.tokens.authenticate(secret.reveal()).during("reading the token")?;
        let approver = approver.ok_or_else(|| Failure::Refused("the token counts for nothing".to_owned()))?;
        let judged = platform.models.version(version).during("reading the version")?.judged;
        for gate in judged.map(|judged| judged.failed).unwrap_or_default() {
            waive_as(platform, ana, &approver, version, &gate, "drill: the guardrails must catch it").await?;
        }
        platform.allow(&ben, Action::TokenRevoke, token).await?;
        platform.tokens.revoke(&ben, "drill").await.during("revoking the token")
    }

    fn tally(&self, closing: &mut Closing) {
        closing.decisions = self.decisions;
        closing.http_decisions = self.http_decisions;
        closing.outcomes = self.outcomes;
        closing.example_decision = self.http.last_late;
    }
}

impl Asked {
    fn of(stage: &Stage) -> Result<Self, Failure> {
        let planned = stage.world.feed("schedule")?.rows();
        let leaves = column(planned, "sched_dep_at")?;
        let zone = arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let leaves = arrow::compute::cast(leaves, &zone).during("reading the schedule")?;
        let at = leaves
            .as_primitive::<TimestampMicrosecondType>()
            .unary::<_, TimestampMicrosecondType>(|at| at - HOUR.as_micros());
        let at = at.with_timezone("UTC");
        // The schedule is published a day before departure, so in its order the decisions rise as well.
        let moments = at.values().to_vec();
        let keys = ["flight_id", "tailnum", "origin", "carrier", "dest"];
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for key in keys {
            columns.push((key, column(planned, key)?.clone()));
        }
        columns.push(("at", std::sync::Arc::new(at)));
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
        Ok(Self { rows: rows.during("reading the schedule")?, moments })
    }

    fn between(&self, start: Timestamp, end: Timestamp) -> RecordBatch {
        let first = self.moments.partition_point(|at| *at < start.as_micros());
        let last = self.moments.partition_point(|at| *at < end.as_micros());
        self.rows.slice(first, last - first)
    }
}

/// A caller of the decision door, over HTTP.
struct Caller {
    client: reqwest::Client,
    url: String,
    /// The newest decision that said yes.
    last_late: Option<DecisionId>,
}

impl Caller {
    fn to(door: &SocketAddr, stage: &Stage) -> Result<Self, Failure> {
        let client =
            reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build().during("calling")?;
        Ok(Self { client, url: format!("http://{door}/decide/{}", stage.deployment), last_late: None })
    }

    async fn decide(&mut self, asked: &RecordBatch, row: usize) -> Result<DecisionId, Failure> {
        let mut entities = serde_json::Map::new();
        for key in ["flight_id", "tailnum", "origin", "carrier", "dest"] {
            let values = texts(asked, key)?;
            entities.insert(key.to_owned(), if values.is_valid(row) { json!(values.value(row)) } else { Value::Null });
        }
        let at = column(asked, "at")?.as_primitive::<TimestampMicrosecondType>().value(row);
        let body = json!({ "entities": entities, "at": Timestamp::from_micros(at), "explain": true });
        let reply = self.client.post(&self.url).json(&body).send().await.during("asking for a decision over HTTP")?;
        let status = reply.status();
        let reply: Value = reply.json().await.during("reading a decision")?;
        let id = reply["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| Failure::Refused(format!("the door answered {status}: {reply}")))?;
        if reply["decision"] == json!(true) {
            self.last_late = Some(id);
        }
        Ok(id)
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Failure> {
    rows.column_by_name(name).ok_or_else(|| Failure::Usage(format!("the example data has no column `{name}`")))
}

fn texts<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Failure> {
    column(rows, name)?.as_string_opt().ok_or_else(|| Failure::Usage(format!("column `{name}` is not text")))
}
