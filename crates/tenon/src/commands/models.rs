//! `train`, `waive`, `reproduce`, `export`.

use std::path::Path;

use serde_json::json;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{AsOf, ModelName, ModelVersionRef, Principal};
use tenon_models::{TrainRequest, VersionRecord};
use tenon_policy::{Action, Request};

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, count, table};
use crate::platform::Platform;

fn model_target(model: impl AsRef<str>) -> ResourceRef {
    ResourceRef::new(ResourceKind::Model, model.as_ref())
}

/// Trains a version.
pub async fn train(context: &Context, model: &str) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::ModelTrain, model_target(model)).await?;
    let model: ModelName =
        model.parse().map_err(|error: tenon_core::name::NameError| Failure::Usage(error.to_string()))?;
    let cause = format!("asked for by {by}");
    let request = TrainRequest { model, cause, known_by: platform.clock.now(), drill_shuffle_seed: None };
    let version = platform.models.train(&by, request).await.during("training")?;
    let record = platform.models.version(&version).during("reading the version")?;
    let card = platform.models.describe(&version).during("describing the version")?;
    let approved = record.judged.as_ref().is_some_and(|judged| judged.approved);
    Ok(Answer::new(&record, format!("{version}: {}\n{}", card.data, judged(&record)))?.refused_if(!approved))
}

/// What the gates said of a version.
pub fn judged(record: &VersionRecord) -> String {
    let version = &record.registered.version;
    let rows = record.gates.iter().map(|gate| {
        [
            gate.gate.clone(),
            serde_json::to_value(gate.verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
            gate.sentence.clone(),
        ]
    });
    let standing = match &record.judged {
        Some(judged) if judged.approved => format!("{version} may be deployed"),
        Some(judged) => format!("{version} may not be deployed: it failed {}", judged.failed.join(", ")),
        None => format!("{version} was not judged yet"),
    };
    format!("{}\n{standing}", table(&["gate", "verdict", "why"], rows))
}

/// Lets a version through a gate.
pub async fn waive(
    context: &Context,
    version: &ModelVersionRef,
    gate: &str,
    reason: &str,
    approver_token: &str,
) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let approver = platform.tokens.authenticate(approver_token).during("reading the token")?;
    let approver = approver.ok_or_else(|| Failure::Refused("the approver's token counts for nothing".to_owned()))?;
    let judged = waive_as(&platform, &by, &approver, version, gate, reason).await?;
    let said = match judged.approved {
        true => format!("{version} may be deployed now"),
        false => format!("{version} still fails {}", judged.failed.join(", ")),
    };
    Answer::new(&judged, said)
}

/// Lets a version through a gate, after asking the policies.
///
/// # Errors
/// [`Failure::Refused`] when a policy says no.
pub async fn waive_as(
    platform: &Platform,
    by: &Principal,
    approver: &Principal,
    version: &ModelVersionRef,
    gate: &str,
    reason: &str,
) -> Result<tenon_core::fact::VersionJudged, Failure> {
    let request = Request::new(by.clone(), Action::GateWaive, model_target(version.model.as_str()));
    platform.allow_request(&request.waiving(gate, Some(approver.clone()))).await?;
    platform.models.waive(by, approver, version, gate, reason).await.during("waiving the gate")
}

/// Trains again and compares.
pub async fn reproduce(context: &Context, version: &ModelVersionRef) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::ModelReproduce, model_target(version.model.as_str())).await?;
    let again = platform.models.reproduce(version).await.during("training again")?;
    let same = again.recorded == again.reproduced;
    let said = match again.first_difference {
        _ if same => format!("{version} was made again, byte for byte: {}", again.recorded),
        Some(at) => format!(
            "{version} came out differently, first at byte {at}: recorded {}, made {}",
            again.recorded, again.reproduced
        ),
        None => format!("{version} came out differently: recorded {}, made {}", again.recorded, again.reproduced),
    };
    Ok(Answer::new(&again, said)?.refused_if(!same))
}

/// Takes a version or a dataset out.
pub async fn export(context: &Context, reference: &str, to: &Path, as_of: AsOf) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    if let Ok(version) = reference.parse::<ModelVersionRef>() {
        platform.allow(&by, Action::ModelRead, model_target(version.model.as_str())).await?;
        let bytes = platform.models.artifact(&version).during("reading the artifact")?;
        std::fs::write(context.path(to), &bytes).during("writing the file")?;
        let said = format!("{version} is in {}: {} bytes of ONNX", to.display(), count(bytes.len() as u64));
        return Answer::new(&json!({ "version": version, "to": to, "bytes": bytes.len() }), said);
    }
    platform.allow_table(&by, Action::DatasetRead, reference).await?;
    let rows = platform.lake.export(reference, as_of, &context.path(to)).await.during("exporting")?;
    let said = format!("{reference} is in {}: {} rows of Parquet", to.display(), count(rows));
    Answer::new(&json!({ "dataset": reference, "to": to, "rows": rows }), said)
}
