//! The last step: everything proven, as an outsider would.

use tenon_core::ModelVersionRef;

use super::Stage;
use super::closing::Closing;
use crate::failure::{Failure, While};
use crate::output::count;
use crate::progress::Steps;

/// Verifies the log from an export, makes a version again, and shows one decision's receipt.
pub async fn prove(stage: &Stage, steps: &mut Steps, closing: &mut Closing) -> Result<(), Failure> {
    let step = steps.begin("prove", None);
    let ledger = &stage.platform.ledger;
    let walked = ledger.verify(|_, _| ()).during("walking the log")?;
    let folder = tempfile::tempdir().during("making a folder for the export")?;
    ledger.export(folder.path()).during("exporting the log")?;
    let outside =
        tenon_ledger::verify::verify_export(folder.path(), &ledger.verifier_key()).during("walking the export")?;
    if let Some(finding) = walked.findings.iter().chain(&outside.findings).next() {
        return Err(Failure::Refused(format!("the record does not hold: {}", finding.problem)));
    }
    closing.facts = walked.facts;
    closing.root = Some(walked.root);
    let again = ModelVersionRef { model: stage.model.clone(), version: 2 };
    let newest = stage.platform.models.versions(&stage.model).during("reading the versions")?;
    let version = if newest.len() > 1 { again } else { ModelVersionRef { model: stage.model.clone(), version: 1 } };
    let reproduced = stage.platform.models.reproduce(&version).await.during("making a version again")?;
    if reproduced.recorded != reproduced.reproduced {
        return Err(Failure::Refused(format!("{version} came out differently: {reproduced:?}")));
    }
    closing.reproduced = Some(version.to_string());
    if let Some(decision) = closing.example_decision {
        let receipt = stage.platform.serving.why(decision).await.during("looking for the decision")?;
        receipt
            .verify(&ledger.verifier_key())
            .map_err(|fault| Failure::Refused(format!("the receipt does not hold: {fault}")))?;
        closing.receipt = Some(crate::commands::receipt_text(&receipt));
    }
    step.end(&format!(
        "{} facts hold from an empty verifier; {version} made again byte for byte; one decision's receipt proven",
        count(walked.facts)
    ));
    Ok(())
}
