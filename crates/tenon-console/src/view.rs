//! What the pages show, as plain values.

use tenon_core::Timestamp;
use tenon_core::fact::{TrafficReason, Verdict};

/// What every page's frame says.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The company's name.
    pub company: String,
    /// The company's present moment.
    pub now: Timestamp,
}

/// The whole loop on one page.
#[derive(Debug, Clone, PartialEq)]
pub struct HomeView {
    /// The frame.
    pub frame: Frame,
    /// What the company is for.
    pub description: Option<String>,
    /// The datasets, by name.
    pub datasets: Vec<DatasetRow>,
    /// The model versions, newest first.
    pub versions: Vec<VersionRow>,
    /// The deployments, by name.
    pub deployments: Vec<DeploymentView>,
    /// The monitors, by name.
    pub monitors: Vec<MonitorView>,
    /// Money, by pod.
    pub budgets: Vec<BudgetRow>,
    /// The last facts, newest first; none: the reader may not see them.
    pub facts: Option<Vec<FactRow>>,
    /// The record as it stands.
    pub ledger: LedgerView,
}

/// A dataset in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetRow {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub pod: String,
    /// What it holds.
    pub description: String,
    /// The newest version; none: nothing has landed.
    pub version: Option<u64>,
    /// When that was sealed.
    pub updated: Option<Timestamp>,
    /// Rows that landed.
    pub rows: u64,
    /// Rows that were set aside.
    pub quarantined: u64,
    /// Whether it is computed from others.
    pub computed: bool,
}

/// A model version in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionRow {
    /// Its name: `late_arrival@2`.
    pub version: String,
    /// When it was registered.
    pub at: Timestamp,
    /// Why it was trained.
    pub cause: String,
    /// Area under the ROC curve on the held-out rows.
    pub roc_auc: Option<f64>,
    /// What the gates said.
    pub gates: Vec<GateView>,
    /// Whether it may be deployed; none: not judged yet.
    pub approved: Option<bool>,
    /// Whether it answers now.
    pub serving: bool,
}

/// What a gate said.
#[derive(Debug, Clone, PartialEq)]
pub struct GateView {
    /// The gate's kind.
    pub gate: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why.
    pub sentence: String,
}

/// One version's part of the traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The version.
    pub version: String,
    /// Its share, between 0 and 1.
    pub share: f64,
}

/// A deployment and who answers.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentView {
    /// Its name.
    pub name: String,
    /// What callers get.
    pub description: String,
    /// Who answers now.
    pub traffic: Vec<Part>,
    /// The rollout that is under way, in words.
    pub rollout: Option<String>,
    /// Decisions in the lake.
    pub decisions: u64,
    /// Outcomes that joined one.
    pub outcomes: u64,
    /// Who answered when, newest first.
    pub history: Vec<PeriodRow>,
}

/// A stretch of time in which the traffic stood still.
#[derive(Debug, Clone, PartialEq)]
pub struct PeriodRow {
    /// Its begin.
    pub from: Timestamp,
    /// Its end; none: now.
    pub until: Option<Timestamp>,
    /// Who answered.
    pub traffic: Vec<Part>,
    /// What began it.
    pub reason: TrafficReason,
    /// The same in words.
    pub sentence: String,
    /// The fact's index.
    pub fact: u64,
}

/// What a monitor saw.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorView {
    /// Its name.
    pub name: String,
    /// What it watches.
    pub deployment: String,
    /// What it asks.
    pub description: String,
    /// The population stability index that counts as moved far, in nats.
    pub threshold: f64,
    /// The comparisons with the training set, oldest first.
    pub drift: Vec<DriftMark>,
    /// The area under the ROC curve that was promised.
    pub quality_at_least: Option<f64>,
    /// The measurements of quality, oldest first.
    pub quality: Vec<QualityMark>,
    /// The last comparison of what was served with what training sees.
    pub skew: Option<SkewMark>,
    /// When drift was detected, oldest first.
    pub detections: Vec<Mark>,
    /// When a version took over, oldest first.
    pub takeovers: Vec<Mark>,
}

/// One comparison with the training set.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftMark {
    /// The end of its window.
    pub at: Timestamp,
    /// The input that moved most.
    pub most_moved: Option<String>,
    /// Its population stability index, in nats.
    pub psi: f64,
    /// The prediction's, in nats.
    pub prediction_psi: f64,
}

/// One comparison of what was served with what training sees.
#[derive(Debug, Clone, PartialEq)]
pub struct SkewMark {
    /// The end of its window.
    pub at: Timestamp,
    /// Decisions that were looked at.
    pub rows: u64,
    /// The feature that differs most often, and in how many of them; none: all are the same.
    pub most_often: Option<(String, u64)>,
}

/// One measurement of quality.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityMark {
    /// The end of its window.
    pub at: Timestamp,
    /// Area under the ROC curve.
    pub auc: f64,
    /// The ends of its 95% interval.
    pub interval: (f64, f64),
}

/// Something that happened at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// A few letters for the chart: `@2`.
    pub label: String,
    /// In words.
    pub sentence: String,
}

/// Money of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetRow {
    /// The pod.
    pub pod: String,
    /// The period: `2013-09`.
    pub period: String,
    /// What was spent in it, in US dollars.
    pub spent_usd: f64,
    /// What may be, in US dollars; none: no limit.
    pub limit_usd: Option<f64>,
}

/// A fact in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct FactRow {
    /// Its index.
    pub index: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Who did it.
    pub by: String,
    /// In words.
    pub what: String,
    /// A page that says more.
    pub link: Option<String>,
}

/// The record as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerView {
    /// Which log it is.
    pub origin: String,
    /// How many facts it holds.
    pub size: u64,
    /// The root of its tree, in base64.
    pub root: String,
    /// The verifier key of its checkpoints.
    pub key: String,
}

/// One model version.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelView {
    /// The frame.
    pub frame: Frame,
    /// The version as in lists.
    pub row: VersionRow,
    /// Heading and sentences, in plain words.
    pub card: Vec<(String, Vec<String>)>,
    /// The inputs by mean absolute SHAP value in log-odds, the weightiest first.
    pub importance: Vec<(String, f64)>,
    /// Measures on the held-out rows.
    pub metrics: Vec<(String, f64)>,
    /// What it is made of: name and digest, or figure.
    pub evidence: Vec<(String, String)>,
    /// The registration's fact.
    pub fact: u64,
}

/// One dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetView {
    /// The frame.
    pub frame: Frame,
    /// The dataset as in lists.
    pub row: DatasetRow,
    /// Above this share of bad rows a batch is refused whole, in words.
    pub max_quarantined: Option<String>,
    /// The columns.
    pub columns: Vec<ColumnRow>,
    /// Rules over whole rows: name, condition, what happens.
    pub checks: Vec<(String, String, String)>,
    /// Why rows were set aside, over all batches: rule and rows, most first.
    pub quarantined: Vec<(String, u64)>,
    /// What rows that landed were remarked on for: rule and rows, most first.
    pub warned: Vec<(String, u64)>,
    /// The batches, newest first.
    pub commits: Vec<CommitRow>,
    /// What it holds, in figures.
    pub profile: Shown<ProfileView>,
    /// The rows that were set aside.
    pub quarantine: Shown<QuarantineView>,
    /// The tags, branches and holds that are about it.
    pub marks: Vec<MarkRow>,
}

/// A column's promises.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRow {
    /// Its name.
    pub name: String,
    /// Its type, with the unit.
    pub kind: String,
    /// What it promises, in words.
    pub promises: String,
    /// What happens to a row that breaks them.
    pub otherwise: String,
}

/// A batch that landed.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitRow {
    /// The table's version.
    pub version: u64,
    /// When it was sealed.
    pub at: Timestamp,
    /// Rows that landed.
    pub rows: u64,
    /// Rows that were set aside.
    pub quarantined: u64,
    /// Where they came from, or what else made the version: a restore, a merge, a compaction.
    pub source: String,
    /// The fact's index.
    pub fact: u64,
    /// Rows that went.
    pub removed: u64,
    /// What points at the version: `tag q1`, `branch audit began here`.
    pub marks: Vec<String>,
}

/// One decision with its receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionView {
    /// The frame.
    pub frame: Frame,
    /// Its id.
    pub id: String,
    /// Who was asked.
    pub deployment: String,
    /// Who answered.
    pub version: String,
    /// `champion` or `candidate`.
    pub variant: String,
    /// The moment that it is about.
    pub at: Timestamp,
    /// Who it was about: column and value.
    pub entities: Vec<(String, String)>,
    /// The predicted probability of yes.
    pub probability: f64,
    /// What was decided.
    pub decision: bool,
    /// What became of it, and when that was known.
    pub outcome: Option<(bool, Timestamp)>,
    /// The strongest reasons: sentence and weight in log-odds.
    pub reasons: Vec<(String, f64)>,
    /// The inputs: name, value, when it was known.
    pub inputs: Vec<(String, Option<f32>, Option<Timestamp>)>,
    /// How long it took, in microseconds.
    pub latency_us: i64,
    /// What it cost, in US dollars.
    pub usd: f64,
    /// The way from the row to the signed log, step by step.
    pub proof: Vec<(String, String)>,
    /// Why the proof does not hold; none: it does.
    pub fault: Option<String>,
}

/// A stretch of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct FactsView {
    /// The frame.
    pub frame: Frame,
    /// The record as it stands.
    pub ledger: LedgerView,
    /// The facts, newest first.
    pub facts: Vec<FactRow>,
    /// The index from which older facts are shown next.
    pub older: Option<u64>,
    /// The index from which newer facts are shown next.
    pub newer: Option<u64>,
}

/// What a dataset holds, in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileView {
    /// As of when, as it was asked for: `12`, `q1`; none: now.
    pub as_of: Option<String>,
    /// The version; none for what is computed from others.
    pub version: Option<u64>,
    /// Its rows.
    pub rows: u64,
    /// The rows that the figures come from.
    pub looked_at: u64,
    /// Its columns, in order.
    pub columns: Vec<ColumnFigures>,
}

/// A column in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnFigures {
    /// Its name.
    pub name: String,
    /// Its type, with the unit.
    pub kind: String,
    /// Rows without a value.
    pub nulls: u64,
    /// About how many different values there are.
    pub distinct: u64,
    /// The least value, as text.
    pub least: Option<String>,
    /// The greatest value, as text.
    pub greatest: Option<String>,
    /// The mean of numbers.
    pub mean: Option<f64>,
    /// Where 5%, 25%, 50%, 75% and 95% of the numbers lie below.
    pub quantiles: Option<[f64; 5]>,
    /// How the values are spread.
    pub spread: Spread,
}

/// How the values of a column are spread.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Counts of numbers in bars of equal width from the first value to the second.
    Numbers(Vec<u64>, f64, f64),
    /// The same of moments.
    Moments(Vec<u64>, Timestamp, Timestamp),
    /// The most frequent values and their counts.
    Top(Vec<(String, u64)>),
    /// There is nothing to draw, for this reason.
    Nothing(&'static str),
}

/// Something that is shown, or why it is not.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown<T> {
    /// It is.
    Yes(T),
    /// It is not, for this reason.
    No(String),
}

/// The rows that were set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantineView {
    /// Rows that nobody has decided about.
    pub open: u64,
    /// Rows that landed after all.
    pub released: u64,
    /// Rows that never will.
    pub discarded: u64,
    /// The newest of them.
    pub rows: Vec<QuarantineRow>,
}

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantineRow {
    /// When.
    pub at: Timestamp,
    /// Where it came from, and its number in its batch.
    pub source: String,
    /// Why.
    pub reason: String,
    /// The row as it came.
    pub row: String,
    /// `open`, `released` or `discarded`.
    pub state: String,
    /// When that was decided.
    pub resolved_at: Option<Timestamp>,
}

/// A tag, a branch or a hold of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkRow {
    /// `tag`, `branch` or `hold`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The version that it pins or began with; none: all of them.
    pub version: Option<u64>,
    /// Since when.
    pub at: Timestamp,
    /// Who made it.
    pub by: String,
    /// What for.
    pub reason: String,
    /// The fact's index.
    pub fact: u64,
}

/// Decisions, a page at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionsView {
    /// The frame.
    pub frame: Frame,
    /// The deployments whose decisions the reader may see.
    pub deployments: Vec<String>,
    /// The one that was chosen; none: all.
    pub chosen: Option<String>,
    /// The deployments whose decisions the reader may not see.
    pub hidden: Vec<String>,
    /// The decisions, newest first.
    pub decisions: Vec<DecisionRow>,
    /// The id before which older ones are shown next.
    pub older: Option<String>,
    /// Whether this is not the first page.
    pub later_pages: bool,
}

/// A decision in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRow {
    /// Its id.
    pub id: String,
    /// Who was asked.
    pub deployment: String,
    /// Who answered.
    pub version: String,
    /// Whether that was a candidate.
    pub candidate: bool,
    /// The moment that it is about.
    pub at: Timestamp,
    /// Who it was about: column and value.
    pub entities: Vec<(String, String)>,
    /// The predicted probability of yes.
    pub probability: f64,
    /// What was decided.
    pub decision: bool,
    /// What became of it.
    pub outcome: Option<bool>,
}

/// A deployment's own page.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentPageView {
    /// The frame.
    pub frame: Frame,
    /// The deployment as on the home page, with all of its history.
    pub deployment: DeploymentView,
    /// Its owner.
    pub pod: String,
    /// The model whose versions answer.
    pub model: String,
    /// Whether it decides about people.
    pub about_people: bool,
    /// A probability at or above it decides yes.
    pub threshold: f64,
    /// The candidate's shares, step by step.
    pub steps: Vec<f64>,
    /// How many outcomes a step needs.
    pub bake_outcomes: u64,
    /// What rolls a candidate back, in words.
    pub guardrails: Vec<String>,
    /// What the guardrails of the running rollout see: step and sentences.
    pub readings: Vec<(usize, Vec<String>)>,
    /// The versions that ever got traffic, newest first.
    pub versions: Vec<DeployedRow>,
    /// The incidents, newest first.
    pub incidents: Vec<IncidentRow>,
    /// Decisions over time.
    pub activity: Shown<ActivityView>,
    /// The newest decisions.
    pub decisions: Vec<DecisionRow>,
}

/// A version that got traffic of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeployedRow {
    /// The version as in lists; none where nothing is on record of it.
    pub version: VersionRow,
    /// When it first got traffic.
    pub first: Timestamp,
    /// Until when it got traffic; none: it still does.
    pub last: Option<Timestamp>,
    /// The largest share that it had, between 0 and 1.
    pub most: f64,
    /// How often it was taken out.
    pub rolled_back: usize,
}

/// Something that people handle.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentRow {
    /// When it was seen.
    pub opened: Timestamp,
    /// When another version took over; none: it is open.
    pub closed: Option<Timestamp>,
    /// The version that was in charge.
    pub version: String,
    /// In words.
    pub sentence: String,
    /// Whether a new version was asked for.
    pub retrain: bool,
    /// The fact's index.
    pub fact: u64,
}

/// Decisions over time.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityView {
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// The hours in which there were any, oldest first.
    pub hours: Vec<ActivityMark>,
}

/// The decisions of an hour.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityMark {
    /// Its begin.
    pub at: Timestamp,
    /// How many.
    pub decisions: u64,
    /// How many decided yes.
    pub yes: u64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The latency that 99% stay below, in microseconds.
    pub p99_us: f64,
}
