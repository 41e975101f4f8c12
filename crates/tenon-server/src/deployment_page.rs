//! Fills a deployment's page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use tenon_console::view::{ActivityMark, ActivityView, DeployedRow, DeploymentPageView, IncidentRow, PeriodRow, Shown};
use tenon_core::fact::TrafficReason;
use tenon_core::spec::{Guardrail, GuardrailMetric};
use tenon_core::{DeploymentName, ModelVersionRef, Span};
use tenon_serve::Activity;
use tenon_serve::rollout::GuardrailReading;

use crate::caller::Caller;
use crate::console::{Page, answering, deployment_view, frame, version_row};
use crate::house::{House, aside};
use crate::listing::{may_see, row};
use crate::problem::{Problem, Trouble};

/// How far back the chart of decisions goes from the newest.
const ACTIVE: Span = Span::days(14);
const HOUR: Span = Span::hours(1);
/// Decisions that the page lists.
const NEWEST: usize = 10;

/// `GET /console/deployments/{deployment}`.
pub(crate) async fn page(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<DeploymentName>,
) -> Result<Page, Trouble> {
    let (activity, decisions) = match may_see(&house, &caller, &name)? {
        true => active(&house, &name).await?,
        false => (Shown::No("You may not see its decisions.".to_owned()), Vec::new()),
    };
    let seen = house.serving.guardrails(&name).await.map_err(Problem::from)?;
    let told = |step: Vec<GuardrailReading>| -> Vec<String> { step.iter().map(GuardrailReading::figures).collect() };
    let readings = seen.into_iter().map(told).enumerate().collect();
    let page = aside(move || {
        let specs = house.catalog.specs();
        let found = specs.deployments.get(&name);
        let resource = found.ok_or_else(|| Problem::not_found(format!("there is no deployment `{name}`")))?;
        let deployment = deployment_view(&house, &name, resource)?;
        let spec = &resource.spec;
        let incidents = house.watch.incidents()?.into_iter().rev();
        let incident = |incident: tenon_watch::Incident| IncidentRow {
            opened: incident.opened,
            closed: incident.closed,
            version: incident.version.to_string(),
            sentence: incident.sentence,
            retrain: incident.retrain,
            fact: incident.fact,
        };
        let view = DeploymentPageView {
            frame: frame(&house),
            versions: deployed(&house, &deployment.history)?,
            deployment,
            pod: resource.pod.to_string(),
            model: spec.model.to_string(),
            about_people: spec.about_people,
            threshold: spec.threshold,
            steps: spec.rollout.steps.iter().map(|share| share.fraction()).collect(),
            bake_outcomes: spec.rollout.bake_outcomes,
            guardrails: spec.rollout.guardrails.iter().map(promised).collect(),
            readings,
            incidents: incidents.filter(|incident| incident.deployment == name).map(incident).collect(),
            activity,
            decisions,
        };
        Ok(Page(tenon_console::deployment(&view)))
    });
    Ok(page.await?)
}

type Active = (Shown<ActivityView>, Vec<tenon_console::view::DecisionRow>);

/// The decisions of the fourteen days up to the newest, by the hour; and the newest.
async fn active(house: &House, name: &DeploymentName) -> Result<Active, Problem> {
    let newest = house.serving.decisions(std::slice::from_ref(name), None, NEWEST).await?;
    let last = newest.first().map_or_else(|| house.clock.now(), |decision| decision.at);
    let until = last.floor(HOUR) + HOUR;
    let from = until - ACTIVE;
    let hours = house.serving.activity(name, (from, until), HOUR).await?;
    let mark = |hour: Activity| ActivityMark {
        at: hour.from,
        decisions: hour.decisions,
        yes: hour.yes,
        p50_us: hour.latency_p50_us,
        p99_us: hour.latency_p99_us,
    };
    let view = ActivityView { from, until, hours: hours.into_iter().map(mark).collect() };
    Ok((Shown::Yes(view), newest.into_iter().map(row).collect()))
}

fn promised(guardrail: &Guardrail) -> String {
    let of = match guardrail.metric {
        GuardrailMetric::Brier => "its Brier score is higher",
        GuardrailMetric::Errors => "its share of failed requests is higher",
    };
    let Guardrail { at_most, confidence, .. } = guardrail;
    format!(
        "A candidate is rolled back when {of} than the champion's by more than {at_most}, with {confidence} confidence."
    )
}

/// The versions that ever got traffic; `history` is newest first.
fn deployed(house: &House, history: &[PeriodRow]) -> Result<Vec<DeployedRow>, Problem> {
    let answering = answering(house, &house.catalog.specs())?;
    let mut rows: Vec<DeployedRow> = Vec::new();
    let mut before: &[tenon_console::view::Part] = &[];
    for period in history.iter().rev() {
        for part in &period.traffic {
            if let Some(row) = rows.iter_mut().find(|row| row.version.version == part.version) {
                row.last = period.until;
                row.most = row.most.max(part.share);
                continue;
            }
            let Ok(version) = part.version.parse::<ModelVersionRef>() else { continue };
            let record = house.models.version(&version)?;
            rows.push(DeployedRow {
                version: version_row(&record, &answering),
                first: period.from,
                last: period.until,
                most: part.share,
                rolled_back: 0,
            });
        }
        if period.reason == TrafficReason::RolledBack {
            let gone = before.iter().filter(|part| period.traffic.iter().all(|now| now.version != part.version));
            for part in gone {
                let row = rows.iter_mut().find(|row| row.version.version == part.version);
                row.into_iter().for_each(|row| row.rolled_back += 1);
            }
        }
        before = &period.traffic;
    }
    rows.reverse();
    Ok(rows)
}
