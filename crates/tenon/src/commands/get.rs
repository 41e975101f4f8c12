//! `get`, `describe`.

use serde_json::{Value, json};
use tenon_company::Catalog;
use tenon_core::spec::{ResourceKind, ResourceRef, SpecSet, ViewSpec};
use tenon_core::{DeploymentName, ModelName, ModelVersionRef, MonitorName, Timestamp};
use tenon_policy::Action;
use tenon_watch::SkewPoint;

use super::Context;
use super::models::judged;
use super::traffic::shares;
use crate::args::{Describe, Get, GetKind};
use crate::failure::{Failure, While};
use crate::output::{Answer, count, table};
use crate::platform::{Platform, company_failure};

/// Lists things of a kind.
pub async fn get(context: &Context, what: &Get) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
    let moment = platform.lake.moment(&what.as_of).during("reading as of")?;
    let specs = specs(&platform, moment)?;
    match what.kind {
        GetKind::Datasets => datasets(&platform, &specs, moment),
        GetKind::Features => features(&specs),
        GetKind::Models => models(&platform, &specs),
        GetKind::Versions => versions(&platform, &specs, moment),
        GetKind::Deployments => deployments(&platform, &specs, moment),
        GetKind::Monitors => monitors(&platform, &specs),
        GetKind::Incidents => incidents(&platform),
        GetKind::Facts => facts(&platform),
    }
}

fn specs(platform: &Platform, as_of: Option<Timestamp>) -> Result<std::sync::Arc<SpecSet>, Failure> {
    match as_of {
        None => Ok(platform.catalog.specs()),
        Some(at) => Ok(Catalog::as_of(&platform.ledger, at).map_err(company_failure)?.specs()),
    }
}

fn datasets(platform: &Platform, specs: &SpecSet, at: Option<Timestamp>) -> Result<Answer, Failure> {
    let states =
        at.map_or_else(|| platform.lake.list(), |at| platform.lake.list_as_of(at)).during("reading the lake")?;
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (name, dataset) in &specs.datasets {
        let state = states.iter().find(|state| state.newest.table == name.as_str());
        let (version, landed, set_aside) = match &state {
            Some(state) => (state.newest.version.to_string(), count(state.rows), count(state.quarantined)),
            None => ("—".to_owned(), "0".to_owned(), "0".to_owned()),
        };
        rows.push([
            name.to_string(),
            dataset.pod.to_string(),
            version,
            landed,
            set_aside,
            dataset.spec.description.clone(),
        ]);
        json.push(json!({ "name": name, "pod": dataset.pod, "state": state, "description": dataset.spec.description }));
    }
    Answer::new(&json, table(&["dataset", "pod", "version", "rows", "quarantined", "what"], rows))
}

fn features(specs: &SpecSet) -> Result<Answer, Failure> {
    let json: Vec<Value> =
        specs.views().map(|view| json!({ "name": view.name, "pod": view.pod, "spec": view.spec })).collect();
    let rows = specs.views().flat_map(|view| {
        view.spec.readable().into_iter().map(move |feature| {
            let meaning = view.spec.meaning(feature).unwrap_or_default();
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            [
                view.name.to_string(),
                view.spec.keys().join(", "),
                feature.to_owned(),
                text(meaning.unit),
                text(meaning.description),
            ]
        })
    });
    Answer::new(&json, table(&["view", "entity", "feature", "unit", "what"], rows))
}

fn models(platform: &Platform, specs: &SpecSet) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (name, model) in &specs.models {
        let versions = platform.models.versions(name).during("reading the versions")?;
        rows.push([
            name.to_string(),
            model.pod.to_string(),
            versions.len().to_string(),
            model.spec.description.clone(),
        ]);
        json.push(json!({ "name": name, "pod": model.pod, "versions": versions.len(), "spec": model.spec }));
    }
    Answer::new(&json, table(&["model", "pod", "versions", "what"], rows))
}

fn versions(platform: &Platform, specs: &SpecSet, at: Option<Timestamp>) -> Result<Answer, Failure> {
    let mut records = Vec::new();
    for name in specs.models.keys() {
        let versions = match at {
            Some(at) => platform.models.versions_as_of(name, at),
            None => platform.models.versions(name),
        };
        records.extend(versions.during("reading the versions")?);
    }
    let rows = records.iter().map(|record| {
        let standing = match &record.judged {
            Some(judged) if judged.approved => "approved".to_owned(),
            Some(judged) => format!("failed {}", judged.failed.join(", ")),
            None => "not judged".to_owned(),
        };
        let auc = record.finished.metrics.get("roc_auc").map_or_else(String::new, |auc| format!("{auc:.4}"));
        [record.registered.version.to_string(), record.at.to_string(), auc, standing, record.run.cause.clone()]
    });
    Answer::new(&records, table(&["version", "registered", "ROC AUC", "gates", "why it was trained"], rows))
}

fn deployments(platform: &Platform, specs: &SpecSet, at: Option<Timestamp>) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (name, deployment) in &specs.deployments {
        let state = match at {
            Some(at) => platform.serving.state_as_of(name, at),
            None => platform.serving.state(name),
        };
        let state = state.during("reading the traffic")?;
        let rollout =
            state.rollout.as_ref().map_or_else(|| "—".to_owned(), |rollout| format!("to {}", rollout.candidate));
        rows.push([
            name.to_string(),
            deployment.pod.to_string(),
            shares(&state.traffic),
            rollout,
            deployment.spec.description.clone(),
        ]);
        json.push(json!({ "name": name, "pod": deployment.pod, "state": state }));
    }
    Answer::new(&json, table(&["deployment", "pod", "traffic", "rollout", "what"], rows))
}

fn monitors(platform: &Platform, specs: &SpecSet) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (name, monitor) in &specs.monitors {
        let points = platform.watch.drift(name).during("reading the monitor")?;
        let last = points.last().map_or_else(
            || "not measured yet".to_owned(),
            |point| match &point.most_moved {
                Some((feature, psi)) => format!("{}: {feature} moved most, PSI {psi:.3}", point.until),
                None => point.until.to_string(),
            },
        );
        let looks = platform.watch.skew(name).during("reading the monitor")?;
        let look = looks.last();
        let again = look.map_or_else(|| "not looked at".to_owned(), served_again);
        let measured = points.len();
        rows.push([name.to_string(), monitor.spec.deployment.to_string(), measured.to_string(), last, again]);
        let deployment = &monitor.spec.deployment;
        json.push(json!({ "name": name, "deployment": deployment, "measurements": measured, "skew": look }));
    }
    Answer::new(&json, table(&["monitor", "deployment", "measurements", "last", "served as training sees it"], rows))
}

/// What a look at served features found.
fn served_again(look: &SkewPoint) -> String {
    let rows = count(look.rows);
    match &look.most_often {
        Some((feature, differ)) => {
            format!("{}: of {rows} decisions, `{feature}` differs in {}", look.until, count(*differ))
        }
        None => format!("{}: {rows} decisions, none differs", look.until),
    }
}

fn incidents(platform: &Platform) -> Result<Answer, Failure> {
    let incidents = platform.watch.incidents().during("reading the incidents")?;
    let rows = incidents.iter().map(|incident| {
        let closed = incident.closed.map_or_else(|| "open".to_owned(), |at| at.to_string());
        [incident.opened.to_string(), closed, incident.version.to_string(), incident.sentence.clone()]
    });
    Answer::new(&incidents, table(&["opened", "closed", "version", "what"], rows))
}

fn facts(platform: &Platform) -> Result<Answer, Failure> {
    let facts = platform.ledger.newest(&[], 30).during("reading the facts")?;
    let rows = facts.iter().map(|stored| {
        [stored.index.to_string(), stored.fact.at.to_string(), stored.fact.kind.clone(), stored.fact.by.to_string()]
    });
    let json: Vec<Value> = facts.iter().map(|stored| json!({ "index": stored.index, "fact": stored.fact })).collect();
    Answer::new(&json, table(&["fact", "at", "kind", "by"], rows))
}

/// Says all about one thing.
pub async fn describe(context: &Context, what: &Describe) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
    if let Ok(version) = what.reference.parse::<ModelVersionRef>() {
        return describe_version(&platform, &version);
    }
    let moment = platform.lake.moment(&what.as_of).during("reading as of")?;
    let specs = specs(&platform, moment)?;
    describe_declared(&platform, &specs, &what.reference)
}

fn describe_version(platform: &Platform, version: &ModelVersionRef) -> Result<Answer, Failure> {
    let card = platform.models.describe(version).during("describing the version")?;
    let record = platform.models.version(version).during("reading the version")?;
    let fairness = card.fairness.join("\n  ");
    let text = format!(
        "{version}: {}\n\nwhat it cannot do\n  {}\nhow good it is\n  {}\nwhat it looks at most\n  {}\nhow evenly it treats groups\n  {}\nwhat it learnt from\n  {}\nwhere it stands\n  {}\nwhom to ask\n  {}\n\n{}",
        card.what,
        card.limits,
        card.quality,
        card.looks_at.join("\n  "),
        if fairness.is_empty() { "not measured" } else { &fairness },
        card.data,
        card.standing,
        card.ask,
        judged(&record),
    );
    Answer::new(&json!({ "card": card, "record": record }), text)
}

fn describe_declared(platform: &Platform, specs: &SpecSet, name: &str) -> Result<Answer, Failure> {
    let mut told = Vec::new();
    let mut json = serde_json::Map::new();
    if let Some((name, dataset)) = specs.datasets.iter().find(|(known, _)| known.as_str() == name) {
        let history = platform.lake.history(name.as_str()).during("reading the lake")?;
        let commits = history.iter().rev().take(10).map(|commit| {
            [
                commit.version.to_string(),
                commit.at.to_string(),
                count(commit.rows),
                count(commit.quarantined),
                commit.source.clone().unwrap_or_default(),
            ]
        });
        let columns = dataset.spec.contract.columns.iter().map(|(column, promise)| {
            [
                column.clone(),
                promise.data_type.to_string(),
                if promise.nullable { "may be missing" } else { "always there" }.to_owned(),
                promise.unit.clone().unwrap_or_default(),
            ]
        });
        told.push(format!(
            "dataset {name} of pod {}: {}\n{}\nlast commits\n{}",
            dataset.pod,
            dataset.spec.description,
            table(&["column", "type", "value", "unit"], columns),
            table(&["version", "at", "rows", "quarantined", "source"], commits)
        ));
        json.insert("dataset".to_owned(), json!({ "spec": dataset.spec, "history": history }));
    }
    if let Some(view) = specs.views().find(|known| known.name.as_str() == name) {
        let (kind, from) = match view.spec {
            ViewSpec::Rows(spec) => ("feature view", format!("source: {}", spec.source.trim())),
            ViewSpec::Derived(spec) => {
                let sql = spec.features.iter().map(|(name, feature)| format!("{name} = {}", feature.sql.trim()));
                ("derived view", sql.collect::<Vec<_>>().join("\n"))
            }
        };
        told.push(format!("{kind} {} of pod {}: {}\n{from}", view.name, view.pod, view.spec.description()));
        json.insert("feature_view".to_owned(), json!(view.spec));
    }
    if let Some((name, model)) = specs.models.iter().find(|(known, _)| known.as_str() == name) {
        let versions = platform.models.versions(&ModelName::clone(name)).during("reading the versions")?;
        told.push(format!(
            "model {name} of pod {}: {}\nwhat it cannot do: {}\nversions: {}",
            model.pod,
            model.spec.description,
            model.spec.limits,
            versions.iter().map(|v| v.registered.version.to_string()).collect::<Vec<_>>().join(", ")
        ));
        json.insert("model".to_owned(), json!({ "spec": model.spec, "versions": versions }));
    }
    if let Some((name, deployment)) = specs.deployments.iter().find(|(known, _)| known.as_str() == name) {
        let state = platform.serving.state(&DeploymentName::clone(name)).during("reading the traffic")?;
        told.push(format!(
            "deployment {name} of pod {}: {}\ntraffic: {}",
            deployment.pod,
            deployment.spec.description,
            shares(&state.traffic)
        ));
        json.insert("deployment".to_owned(), json!({ "spec": deployment.spec, "state": state }));
    }
    if let Some((name, monitor)) = specs.monitors.iter().find(|(known, _)| known.as_str() == name) {
        let points = platform.watch.drift(&MonitorName::clone(name)).during("reading the monitor")?;
        let looks = platform.watch.skew(&MonitorName::clone(name)).during("reading the monitor")?;
        let again = looks.last().map(|look| format!("\nserved as training sees it: {}", served_again(look)));
        told.push(format!(
            "monitor {name} of pod {}: {}\n{} measurements{}",
            monitor.pod,
            monitor.spec.description,
            points.len(),
            again.unwrap_or_default()
        ));
        json.insert("monitor".to_owned(), json!({ "spec": monitor.spec, "drift": points, "skew": looks }));
    }
    if told.is_empty() {
        return Err(Failure::Usage(format!(
            "nothing is named `{name}`\n  hint: `tenon get datasets`, `features`, `models`, `versions`, `deployments` or `monitors` lists what there is"
        )));
    }
    Answer::new(&Value::Object(json), told.join("\n\n"))
}
