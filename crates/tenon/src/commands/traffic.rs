//! `decide`, `rollout`, `rollback`, `history`, `why`.

use serde_json::{Map, Value};
use tenon_core::id::DecisionId;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{DeploymentName, ModelVersionRef, Principal, Timestamp};
use tenon_policy::{Action, Request};
use tenon_serve::{DecideRequest, Decision, FeatureUsed, Receipt};

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, table};
use crate::platform::Platform;

fn named(deployment: &str) -> Result<(DeploymentName, ResourceRef), Failure> {
    let name: DeploymentName =
        deployment.parse().map_err(|error: tenon_core::name::NameError| Failure::Usage(error.to_string()))?;
    Ok((name, ResourceRef::new(ResourceKind::Deployment, deployment)))
}

/// Asks for a decision.
pub async fn decide(
    context: &Context,
    deployment: &str,
    entities: &[String],
    at: Option<Timestamp>,
) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (name, target) = named(deployment)?;
    platform.allow(&by, Action::DeploymentDecide, target).await?;
    let specs = platform.catalog.specs();
    let service = match specs.deployments.get(&name) {
        Some(deployment) => platform.features.service(&specs, &deployment.spec.model).await.ok(),
        // Deciding says so.
        None => None,
    };
    let is_no_text = |column: &str| service.as_ref().is_some_and(|service| service.is_no_text(column));
    let entities = entities.iter().map(|pair| entity(pair, is_no_text)).collect::<Result<Map<_, _>, _>>()?;
    let request = DecideRequest { entities, explain: true, at };
    let decision = platform.serving.decide(&name, request).await.during("deciding")?;
    platform.serving.flush().await.during("logging the decision")?;
    Answer::new(&decision, decided(&decision))
}

/// What is not text is read as JSON; where it is none, the features say what they want instead.
pub fn entity(pair: &str, is_no_text: impl Fn(&str) -> bool) -> Result<(String, Value), Failure> {
    let (key, text) = pair.split_once('=').ok_or_else(|| Failure::Usage(format!("`{pair}` is not `KEY=VALUE`")))?;
    let value = match text {
        "" => Value::Null,
        text if is_no_text(key) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        text => Value::from(text),
    };
    Ok((key.to_owned(), value))
}

fn decided(decision: &Decision) -> String {
    let reasons = decision.reasons.iter().map(|reason| format!("  {:+.3}  {}", reason.phi, reason.sentence));
    format!(
        "{}: {} ({:.1}%) by {} as of {}\ndecision {}\nbecause\n{}",
        decision.deployment,
        if decision.decision { "yes" } else { "no" },
        decision.probability * 100.0,
        decision.version,
        decision.at,
        decision.id,
        reasons.collect::<Vec<_>>().join("\n")
    )
}

/// Sends traffic to a version.
pub async fn rollout(context: &Context, deployment: &str, version: &ModelVersionRef) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (name, target) = named(deployment)?;
    let (fairness, approved) = candidate(&platform, version)?;
    platform
        .allow_request(&Request::new(by.clone(), Action::RolloutStart, target).candidate(fairness, approved))
        .await?;
    platform.serving.start_rollout(&by, &name, version.version).await.during("starting the rollout")?;
    let state = platform.serving.state(&name).during("reading the traffic")?;
    Answer::new(&state, shares(&state.traffic))
}

/// What the policies ask of a candidate: whether it passed the fairness gate, and whether no gate failed.
fn candidate(platform: &Platform, version: &ModelVersionRef) -> Result<(bool, bool), Failure> {
    let record = platform.models.version(version).during("reading the version")?;
    Ok((record.passed("fairness"), record.is_approved()))
}

/// Sends traffic back.
pub async fn rollback(context: &Context, deployment: &str, reason: &str) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (name, target) = named(deployment)?;
    platform.allow(&by, Action::RolloutStop, target).await?;
    let shifted = platform.serving.rollback(&by, &name, reason).await.during("rolling back")?;
    Answer::new(&shifted, &*shifted.sentence)
}

/// Says who answered when.
pub async fn history(context: &Context, deployment: &str) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let (name, target) = named(deployment)?;
    platform.allow(&by, Action::CompanyRead, target).await?;
    let periods = platform.serving.history(&name).during("reading the history")?;
    let rows = periods.iter().map(|period| {
        let until = period.until.map_or_else(|| "now".to_owned(), |until| until.to_string());
        [period.from.to_string(), until, shares(&period.traffic), period.sentence.clone()]
    });
    Answer::new(&periods, table(&["from", "until", "who answered", "why"], rows))
}

/// Versions with their shares: `late_arrival@1 90%, late_arrival@2 10%`.
pub fn shares(traffic: &[tenon_core::fact::TrafficShare]) -> String {
    let shares: Vec<String> = traffic.iter().map(|part| format!("{} {}", part.version, part.share)).collect();
    if shares.is_empty() { "nobody answers yet".to_owned() } else { shares.join(", ") }
}

/// Lists decisions.
pub async fn decisions(
    context: &Context,
    deployment: Option<&str>,
    before: Option<DecisionId>,
    limit: usize,
) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let seen = match deployment {
        Some(deployment) => {
            let (name, target) = named(deployment)?;
            platform.allow(&by, Action::DecisionRead, target).await?;
            vec![name]
        }
        None => visible(&platform, &by)?,
    };
    let listed = platform.serving.decisions(&seen, before, limit).await.during("reading the decisions")?;
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let rows = listed.iter().map(|decision| {
        let entities = decision.entities.iter().map(|(column, value)| match value.as_str() {
            Some(text) => format!("{column}={text}"),
            None => format!("{column}={value}"),
        });
        [
            decision.at.to_string(),
            entities.collect::<Vec<_>>().join(" "),
            format!("{} ({:.1}%)", yes(decision.decision), decision.probability * 100.0),
            decision.outcome.map_or("not known yet", yes).to_owned(),
            decision.version.to_string(),
            decision.id.to_string(),
        ]
    });
    Answer::new(&listed, table(&["about the moment", "about", "decided", "what became of it", "by", "decision"], rows))
}

/// The deployments whose decisions `by` may see.
fn visible(platform: &Platform, by: &Principal) -> Result<Vec<DeploymentName>, Failure> {
    let mut seen = Vec::new();
    for deployment in platform.catalog.specs().deployments.keys() {
        let of = ResourceRef::new(ResourceKind::Deployment, deployment.as_str());
        let question = Request::new(by.clone(), Action::DecisionRead, of);
        if platform.guard.judge(&question).during("asking the policies")?.allowed {
            seen.push(deployment.clone());
        }
    }
    Ok(seen)
}

/// Shows a receipt.
pub async fn why(context: &Context, decision: DecisionId) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let receipt = platform.serving.why(decision).await.during("looking for the decision")?;
    let target = ResourceRef::new(ResourceKind::Deployment, receipt.deployment.as_str());
    platform.allow(&by, Action::DecisionRead, target).await?;
    let fault = receipt.verify(&platform.ledger.verifier_key()).err();
    let proven = match &fault {
        None => "proven: row → batch → fact → signed checkpoint".to_owned(),
        Some(fault) => format!("NOT proven: {fault}"),
    };
    Ok(Answer::new(&receipt, format!("{}\n{proven}", receipt_text(&receipt)))?.refused_if(fault.is_some()))
}

/// A receipt in plain words.
pub fn receipt_text(receipt: &Receipt) -> String {
    let inputs = receipt.inputs.iter().map(|input| {
        let known = input.known_at.map_or_else(|| "—".to_owned(), |at| at.to_string());
        [input.name.to_string(), value(input), known]
    });
    let reasons = receipt.reasons.iter().take(5).map(|reason| format!("  {:+.3}  {}", reason.phi, reason.sentence));
    let outcome = match &receipt.outcome {
        Some(outcome) => {
            format!("what became of it: {} (known {})", if outcome.outcome { "yes" } else { "no" }, outcome.known_at)
        }
        None => "what became of it is not known yet".to_owned(),
    };
    let proof = &receipt.proof;
    format!(
        "decision {} of {} at {}\n{} said {} ({:.1}%), the {} of its deployment\n{}\nbecause\n{}\n{outcome}\ncost: ${:.9}, {} µs\nproof: row {} of {} in its batch, fact {} of {} in the log",
        receipt.id,
        receipt.deployment,
        receipt.at,
        receipt.version,
        if receipt.decision { "yes" } else { "no" },
        receipt.probability * 100.0,
        receipt.variant.word(),
        table(&["input", "value", "known at"], inputs),
        reasons.collect::<Vec<_>>().join("\n"),
        receipt.usd,
        receipt.latency_us,
        proof.index,
        proof.rows,
        proof.inclusion.index,
        proof.inclusion.size,
    )
}

fn value(input: &FeatureUsed) -> String {
    input.value.map_or_else(|| "missing".to_owned(), |value| format!("{value}"))
}
