//! Fills the console's pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tenon_console::view::{
    BudgetRow, ColumnRow, DatasetRow, DecisionView, DeploymentView, DriftMark, FactsView, Frame, GateView, HomeView,
    LedgerView, Mark, ModelView, MonitorView, Part, PeriodRow, QualityMark, SkewMark, VersionRow,
};
use tenon_core::fact::{DatasetCommitted, Payload, Reason, TrafficReason, TrafficShare};
use tenon_core::spec::{Column, DatasetSpec, DeploymentSpec, Resource, Severity, SpecSet};
use tenon_core::{DatasetName, DeploymentName, ModelVersionRef, MonitorName};
use tenon_models::VersionRecord;
use tenon_policy::{Action, Request, Target};
use tenon_serve::{TrafficPeriod, decisions_table, outcomes_table};

use crate::caller::Caller;
use crate::decisions::checked;
use crate::house::{House, aside};
use crate::problem::{Problem, Trouble};
use crate::told;

/// Facts on the home page.
const LAST_FACTS: usize = 12;
/// Facts and batches on a page.
const PAGE: usize = 100;
/// Batches whose reasons are summed.
const SUMMED: usize = 10_000;

/// A page that fetches nothing from elsewhere and stands in nobody's frame.
pub(crate) struct Page(pub(crate) String);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        const POLICY: &str = "default-src 'self'; img-src 'self' data:; script-src 'none'; object-src 'none'; \
                              base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, self.0).into_response()
    }
}

/// `GET /console/style.css`.
pub(crate) async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, tenon_console::STYLE).into_response()
}

/// `GET /`: the whole loop.
pub(crate) async fn home(
    State(house): State<Arc<House>>,
    Extension(Caller(by)): Extension<Caller>,
) -> Result<Page, Trouble> {
    let reads =
        house.guard.judge(&Request::new(by, Action::LedgerRead, Target::Ledger)).map_err(Problem::from)?.allowed;
    let page = aside(move || {
        let specs = house.catalog.specs();
        let view = HomeView {
            frame: frame(&house),
            description: specs.company.description.clone(),
            datasets: specs
                .datasets
                .iter()
                .map(|(name, set)| dataset_row(&house, name, set))
                .collect::<Result<_, _>>()?,
            versions: versions(&house, &specs)?,
            deployments: deployments(&house, &specs)?,
            monitors: monitors(&house, &specs)?,
            budgets: budgets(&house, &specs)?,
            facts: match reads {
                true => Some(house.ledger.newest(&[], LAST_FACTS)?.iter().map(told::row).collect()),
                false => None,
            },
            ledger: ledger(&house)?,
        };
        Ok(Page(tenon_console::home(&view)))
    });
    Ok(page.await?)
}

pub(crate) fn frame(house: &House) -> Frame {
    Frame { company: house.catalog.specs().company.name.clone(), now: house.clock.now() }
}

fn ledger(house: &House) -> Result<LedgerView, Problem> {
    let checkpoint = house.ledger.checkpoint()?;
    let mut lines = checkpoint.lines();
    let mut line = || lines.next().unwrap_or_default().to_owned();
    let (origin, size, root) = (line(), line(), line());
    Ok(LedgerView { origin, size: size.parse().unwrap_or(0), root, key: house.ledger.verifier_key() })
}

pub(crate) fn dataset_row(
    house: &House,
    name: &DatasetName,
    dataset: &Resource<DatasetSpec>,
) -> Result<DatasetRow, Problem> {
    let state = house.lake.state(name.as_str())?;
    let newest = state.as_ref().map(|state| &state.newest);
    Ok(DatasetRow {
        name: name.to_string(),
        pod: dataset.pod.to_string(),
        description: dataset.spec.description.clone(),
        version: newest.map(|commit| commit.version),
        updated: newest.map(|commit| commit.at),
        rows: state.as_ref().map_or(0, |state| state.rows),
        quarantined: state.as_ref().map_or(0, |state| state.quarantined),
        computed: dataset.spec.source.sql.is_some(),
    })
}

fn versions(house: &House, specs: &SpecSet) -> Result<Vec<VersionRow>, Problem> {
    let mut records = Vec::new();
    for name in specs.models.keys() {
        records.extend(house.models.versions(name)?);
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.fact));
    let answering = answering(house, specs)?;
    Ok(records.iter().map(|record| version_row(record, &answering)).collect())
}

/// The versions that get traffic now.
pub(crate) fn answering(house: &House, specs: &SpecSet) -> Result<Vec<ModelVersionRef>, Problem> {
    let mut versions = Vec::new();
    for name in specs.deployments.keys() {
        versions.extend(house.serving.state(name)?.traffic.into_iter().map(|part| part.version));
    }
    Ok(versions)
}

pub(crate) fn version_row(record: &VersionRecord, answering: &[ModelVersionRef]) -> VersionRow {
    let gate = |gate: &tenon_core::fact::GateDecided| GateView {
        gate: gate.gate.clone(),
        verdict: gate.verdict,
        sentence: gate.sentence.clone(),
    };
    VersionRow {
        version: record.registered.version.to_string(),
        at: record.at,
        cause: record.run.cause.clone(),
        roc_auc: record.finished.metrics.get("roc_auc").copied(),
        gates: record.gates.iter().map(gate).collect(),
        approved: record.judged.as_ref().map(|judged| judged.approved),
        serving: answering.contains(&record.registered.version),
    }
}

fn parts(traffic: &[TrafficShare]) -> Vec<Part> {
    traffic.iter().map(|part| Part { version: part.version.to_string(), share: part.share.fraction() }).collect()
}

fn deployments(house: &House, specs: &SpecSet) -> Result<Vec<DeploymentView>, Problem> {
    specs.deployments.iter().map(|(name, deployment)| deployment_view(house, name, deployment)).collect()
}

/// A deployment with all of its history.
pub(crate) fn deployment_view(
    house: &House,
    name: &DeploymentName,
    deployment: &Resource<DeploymentSpec>,
) -> Result<DeploymentView, Problem> {
    let state = house.serving.state(name)?;
    let rollout = state.rollout.as_ref().map(|rollout| match rollout.step {
        Some(step) => format!("{} is on step {} of {}", rollout.candidate, step + 1, rollout.steps.len()),
        None => format!("{} is about to take its first step", rollout.candidate),
    });
    let rows = |table: String| Ok::<_, Problem>(house.lake.state(&table)?.map_or(0, |state| state.rows));
    let period = |period: &TrafficPeriod| PeriodRow {
        from: period.from,
        until: period.until,
        traffic: parts(&period.traffic),
        reason: period.reason,
        sentence: period.sentence.clone(),
        fact: period.fact,
    };
    Ok(DeploymentView {
        name: name.to_string(),
        description: deployment.spec.description.clone(),
        traffic: parts(&state.traffic),
        rollout,
        decisions: rows(decisions_table(name))?,
        outcomes: rows(outcomes_table(name))?,
        history: house.serving.history(name)?.iter().rev().map(period).collect(),
    })
}

fn monitors(house: &House, specs: &SpecSet) -> Result<Vec<MonitorView>, Problem> {
    let incidents = house.watch.incidents()?;
    let mut views = Vec::new();
    for (name, monitor) in &specs.monitors {
        let deployment = &monitor.spec.deployment;
        let drifted = incidents.iter().filter(|incident| incident.monitor == *name && incident.skew.is_empty());
        let detection = |incident: &tenon_watch::Incident| Mark {
            at: incident.opened,
            label: format!("@{}", incident.version.version),
            sentence: incident.sentence.clone(),
        };
        let finished = house.serving.history(deployment)?;
        let finished = finished.iter().filter(|period| period.reason == TrafficReason::Finished);
        let takeover = |period: &TrafficPeriod| Mark {
            at: period.from,
            label: period.traffic.first().map(|part| format!("@{}", part.version.version)).unwrap_or_default(),
            sentence: period.sentence.clone(),
        };
        views.push(MonitorView {
            name: name.to_string(),
            deployment: deployment.to_string(),
            description: monitor.spec.description.clone(),
            threshold: monitor.spec.drift.psi,
            drift: drift(house, name)?,
            quality_at_least: monitor.spec.quality.as_ref().map(|rule| rule.roc_auc_at_least),
            quality: quality(house, name)?,
            skew: house.watch.skew(name)?.pop().map(|look| SkewMark {
                at: look.until,
                rows: look.rows,
                most_often: look.most_often,
            }),
            detections: drifted.map(detection).collect(),
            takeovers: finished.map(takeover).collect(),
        });
    }
    Ok(views)
}

fn drift(house: &House, monitor: &MonitorName) -> Result<Vec<DriftMark>, Problem> {
    let points = house.watch.drift(monitor)?.into_iter();
    Ok(points
        .map(|point| {
            let (most_moved, psi) = point.most_moved.map_or((None, 0.0), |(feature, psi)| (Some(feature), psi));
            DriftMark { at: point.until, most_moved, psi, prediction_psi: point.prediction_psi }
        })
        .collect())
}

fn quality(house: &House, monitor: &MonitorName) -> Result<Vec<QualityMark>, Problem> {
    let points = house.watch.quality(monitor)?.into_iter();
    Ok(points
        .map(|point| {
            let (auc, low, high) = point.roc_auc;
            QualityMark { at: point.until, auc, interval: (low, high) }
        })
        .collect())
}

fn budgets(house: &House, specs: &SpecSet) -> Result<Vec<BudgetRow>, Problem> {
    let now = house.clock.now();
    let of = |pod: &tenon_core::PodName| {
        let state = house.budgets.remaining(pod, now)?;
        let period = state.period.as_str().to_owned();
        Ok(BudgetRow { pod: pod.to_string(), period, spent_usd: state.spent_usd, limit_usd: state.limit_usd })
    };
    specs.pods.keys().map(of).collect()
}

/// `GET /console/models/{version}`.
pub(crate) async fn model(State(house): State<Arc<House>>, Path(version): Path<String>) -> Result<Page, Trouble> {
    let page = aside(move || {
        let version: ModelVersionRef = version
            .parse()
            .map_err(|error: tenon_core::reference::ReferenceError| Problem::not_found(error.to_string()))?;
        let record = house.models.version(&version)?;
        let card = house.models.describe(&version)?;
        let answering = answering(&house, &house.catalog.specs())?;
        let mut importance: Vec<(String, f64)> = record.registered.importance.clone().into_iter().collect();
        importance.sort_by(|a, b| b.1.total_cmp(&a.1));
        let set = &record.run.training_set;
        let tables: Vec<String> =
            set.tables.iter().map(|table| format!("{} v{}", table.dataset, table.version)).collect();
        let view = ModelView {
            frame: frame(&house),
            row: version_row(&record, &answering),
            card: [
                ("what it answers", vec![card.what]),
                ("what it cannot do", vec![card.limits]),
                ("how good it is", vec![card.quality]),
                ("what it looks at most", card.looks_at),
                ("how evenly it treats groups", card.fairness),
                ("what it learnt from", vec![card.data]),
                ("where it stands", vec![card.standing]),
                ("whom to ask", vec![card.ask]),
            ]
            .map(|(heading, sentences)| (heading.to_owned(), sentences))
            .to_vec(),
            importance,
            metrics: record.finished.metrics.clone().into_iter().collect(),
            evidence: vec![
                ("artifact".to_owned(), record.registered.artifact.to_string()),
                ("training set".to_owned(), set.digest.to_string()),
                ("tables".to_owned(), tables.join(", ")),
                ("known by".to_owned(), set.known_by.to_string()),
                ("code".to_owned(), record.run.code.clone()),
                ("cost".to_owned(), format!("${:.6}", record.finished.usd)),
            ],
            fact: record.fact,
        };
        Ok(Page(tenon_console::model(&view)))
    });
    Ok(page.await?)
}

pub(crate) type Counted = Vec<(String, u64)>;

/// Why rows of the newest batches were set aside, and what they were remarked on for.
pub(crate) fn reasons(house: &House, dataset: &DatasetName) -> Result<(Counted, Counted), Problem> {
    let (mut aside, mut remarked) = (BTreeMap::new(), BTreeMap::new());
    let add = |sums: &mut BTreeMap<String, u64>, reasons: Vec<Reason>| {
        reasons.into_iter().for_each(|reason| *sums.entry(reason.rule).or_default() += reason.rows);
    };
    for stored in house.ledger.newest(&[DatasetCommitted::KIND], SUMMED)? {
        // A fact of a newer shape is for a newer program to show.
        let Ok(committed) = stored.fact.payload::<DatasetCommitted>() else { continue };
        if committed.dataset == *dataset {
            add(&mut aside, committed.reasons);
            add(&mut remarked, committed.warnings);
        }
    }
    let most_first = |sums: BTreeMap<String, u64>| {
        let mut sums: Counted = sums.into_iter().collect();
        sums.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        sums
    };
    Ok((most_first(aside), most_first(remarked)))
}

pub(crate) fn column_row(name: &str, column: &Column) -> ColumnRow {
    let kind = column.data_type;
    let mut promises = vec![if column.nullable { "may be missing" } else { "always there" }.to_owned()];
    promises.extend(column.range.map(|[least, most]| format!("{least} to {most}")));
    promises.extend(column.one_of.as_ref().map(|values| format!("one of {}", values.join(", "))));
    promises.extend(column.pattern.as_ref().map(|pattern| format!("like {pattern}")));
    promises.extend(column.references.as_ref().map(|other| format!("known in {other}")));
    ColumnRow {
        name: name.to_owned(),
        kind: column.unit.as_ref().map_or_else(|| kind.to_string(), |unit| format!("{kind}, {unit}")),
        promises: promises.join("; "),
        otherwise: otherwise(column.severity).to_owned(),
    }
}

pub(crate) fn otherwise(severity: Severity) -> &'static str {
    match severity {
        Severity::Warn => "the row lands and is remarked on",
        Severity::Quarantine => "the row is set aside",
        Severity::Refuse => "the batch is refused",
    }
}

/// `GET /console/decisions/{id}`.
pub(crate) async fn decision(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Page, Trouble> {
    let (receipt, fault) = checked(&house, &caller, &id).await?;
    let entity = |(name, value): (&String, &Value)| {
        (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let proof = &receipt.proof;
    let steps = [
        ("row", format!("{} of {} in its batch", proof.index + 1, proof.rows)),
        ("batch", format!("{} hashes up to its Merkle root", proof.path.len())),
        ("fact", format!("{} of {} in the log", proof.inclusion.index, proof.inclusion.size)),
        ("signed root", proof.inclusion.checkpoint.lines().nth(2).unwrap_or_default().to_owned()),
    ];
    let view = DecisionView {
        frame: frame(&house),
        id: receipt.id.to_string(),
        deployment: receipt.deployment.clone(),
        version: receipt.version.to_string(),
        variant: receipt.variant.word().to_owned(),
        at: receipt.at,
        entities: receipt.entities.iter().map(entity).collect(),
        probability: receipt.probability,
        decision: receipt.decision,
        outcome: receipt.outcome.map(|outcome| (outcome.outcome, outcome.known_at)),
        reasons: receipt.reasons.iter().take(8).map(|reason| (reason.sentence.clone(), reason.phi)).collect(),
        inputs: receipt.inputs.iter().map(|input| (input.name.to_string(), input.value, input.known_at)).collect(),
        latency_us: receipt.latency_us,
        usd: receipt.usd,
        proof: steps.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        fault,
    };
    Ok(Page(tenon_console::decision(&view)))
}

/// From which fact on, downwards.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    from: Option<u64>,
}

/// `GET /console/facts`: a page of the log, newest first.
pub(crate) async fn facts(State(house): State<Arc<House>>, Query(From { from }): Query<From>) -> Result<Page, Trouble> {
    let page = aside(move || {
        let size = house.ledger.size()?;
        let end = from.map_or(size, |from| from.saturating_add(1).min(size));
        let start = end.saturating_sub(PAGE as u64);
        let facts = house.ledger.facts(start..end)?;
        let view = FactsView {
            frame: frame(&house),
            ledger: ledger(&house)?,
            facts: facts.iter().rev().map(told::row).collect(),
            older: start.checked_sub(1),
            newer: (end < size).then(|| (end + PAGE as u64 - 1).min(size.saturating_sub(1))),
        };
        Ok(Page(tenon_console::facts(&view)))
    });
    Ok(page.await?)
}
