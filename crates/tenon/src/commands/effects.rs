//! What changed declarations of datasets mean: for rows that are there, and for those who read them.

use std::path::Path;

use serde::Serialize;
use tenon_company::{Catalog, Change, ChangeKind, Difference, Plan, differences};
use tenon_core::DatasetName;
use tenon_core::fact::ContractBreakAllowed;
use tenon_core::spec::{DatasetSpec, ResourceKind, ResourceRef, SpecSet};
use tenon_lake::{Lake, LakeError, Trial};

use crate::failure::{Failure, While};
use crate::output::count;
use crate::platform::{Access, Company, company_failure, company_spec, lake_to_read};

/// What one changed dataset means.
#[derive(Debug, Serialize)]
pub struct Effect {
    /// The dataset.
    pub dataset: DatasetName,
    /// How it differs from what is applied.
    pub differences: Vec<Difference>,
    /// Who reads it, with the pods that own them: `model late_arrival of pod arrivals`.
    pub readers: Vec<String>,
    /// The new declaration, held against the rows that are there; none where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Why it could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
    /// Why no row could land any more, such as under a column that is of another type in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
}

impl Effect {
    /// What breaks, where somebody reads the dataset.
    pub fn breaks(&self) -> Vec<&str> {
        let breaking = self.differences.iter().filter(|found| found.breaking && !self.readers.is_empty());
        breaking.map(|found| found.sentence.as_str()).collect()
    }

    /// Holds the new declaration against the rows that are there.
    async fn try_out(&mut self, lake: &Lake, spec: &DatasetSpec) {
        if spec.source.sql.is_some() {
            return;
        }
        match lake.try_on_history(&self.dataset, spec).await {
            Ok(trial) => self.trial = trial,
            Err(error @ LakeError::Contract { .. }) => self.impossible = Some(error.to_string()),
            Err(error) => self.untried = Some(error.to_string()),
        }
    }
}

/// What a plan's changed and removed datasets mean.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn effects(dir: &Path, plan: &Plan, specs: &SpecSet) -> Result<Vec<Effect>, Failure> {
    let changed = |change: &&Change| change.resource.kind == ResourceKind::Dataset && change.change != ChangeKind::Add;
    let changes: Vec<&Change> = plan.changes.iter().filter(changed).collect();
    if changes.is_empty() || !stands(dir)? {
        return Ok(Vec::new());
    }
    let company = Company::open(dir, Access::Read, None)?;
    let catalog = Catalog::load(&company.ledger).map_err(company_failure)?;
    let lake = lake_to_read(&company, &catalog)?;
    let standing = catalog.specs();
    let mut effects = Vec::new();
    for change in changes {
        let name: DatasetName = change.resource.name.parse().during("reading a dataset's name")?;
        let Some(before) = standing.datasets.get(&name) else { continue };
        let after = specs.datasets.get(&name);
        let readers = change.affects.iter().map(|reader| owned(reader, specs)).collect();
        let differences = match after {
            Some(after) => differences(&before.spec, &after.spec),
            None => vec![Difference { sentence: "the dataset is gone".to_owned(), breaking: true }],
        };
        let mut effect = Effect { dataset: name, differences, readers, trial: None, untried: None, impossible: None };
        if let Some(after) = after.filter(|after| after.spec.contract != before.spec.contract) {
            effect.try_out(&lake, &after.spec).await;
        }
        effects.push(effect);
    }
    Ok(effects)
}

/// Whether the company is founded.
pub fn stands(dir: &Path) -> Result<bool, Failure> {
    Ok(dir.join(&company_spec(dir)?.ledger.address).exists())
}

/// A resource with the pod that owns it, in words.
pub fn owned(reader: &ResourceRef, specs: &SpecSet) -> String {
    let name = reader.name.as_str();
    let pod = match reader.kind {
        ResourceKind::Dataset => specs.datasets.iter().find(|(of, _)| of.as_str() == name).map(|(_, of)| &of.pod),
        ResourceKind::FeatureView => specs.views().find(|view| view.name.as_str() == name).map(|view| view.pod),
        ResourceKind::Model => specs.models.iter().find(|(of, _)| of.as_str() == name).map(|(_, of)| &of.pod),
        ResourceKind::Deployment => specs.deployments.iter().find(|(of, _)| of.as_str() == name).map(|(_, of)| &of.pod),
        ResourceKind::Monitor => specs.monitors.iter().find(|(of, _)| of.as_str() == name).map(|(_, of)| &of.pod),
        _ => None,
    };
    pod.map_or_else(|| reader.to_string(), |pod| format!("{reader} of pod {pod}"))
}

/// The facts that record breaks which are let through.
pub fn allowed(effects: &[Effect], plan: &Plan) -> Vec<ContractBreakAllowed> {
    let breaking = effects.iter().filter(|effect| !effect.breaks().is_empty());
    let allowed = breaking.map(|effect| ContractBreakAllowed {
        dataset: effect.dataset.clone(),
        digest: plan
            .changes
            .iter()
            .find(|change| {
                change.resource.kind == ResourceKind::Dataset && change.resource.name == effect.dataset.as_str()
            })
            .and_then(Change::digest),
        breaks: effect.breaks().into_iter().map(str::to_owned).collect(),
        affected: effect.readers.clone(),
    });
    allowed.collect()
}

/// The effects in words.
pub fn told(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects {
        text.push_str(&format!("\n\ndataset {}", effect.dataset));
        for found in &effect.differences {
            let word = if found.breaking { "breaks" } else { "fits" };
            text.push_str(&format!("\n  {word}: {}", found.sentence));
        }
        if !effect.breaks().is_empty() {
            text.push_str(&format!("\n  whom: {}", effect.readers.join(", ")));
        }
        if let Some(trial) = &effect.trial {
            let (failing, rows) = (count(trial.failing), count(trial.rows));
            text.push_str(&format!(
                "\n  history: {failing} of the {rows} rows of version {} would not land",
                trial.version
            ));
            for reason in &trial.reasons {
                text.push_str(&format!("\n    {}: {}", reason.rule, count(reason.rows)));
            }
            if trial.failing > 0 && !effect.readers.is_empty() {
                text.push_str(&format!("\n  they fed: {}", effect.readers.join(", ")));
            }
            if trial.waiting > 0 {
                let (fitting, waiting) = (count(trial.fitting), count(trial.waiting));
                text.push_str(&format!("\n  quarantine: {fitting} of the {waiting} open rows would land"));
            }
            if let Some(first) = &trial.first_refused {
                let (refused, batches) = (count(trial.refused), count(trial.batches));
                text.push_str(&format!("\n  batches: {refused} of {batches} would be refused whole"));
                text.push_str(&format!("\n    {}: {}", first.source, first.sentence));
            }
        }
        if let Some(why) = &effect.impossible {
            text.push_str(&format!("\n  impossible: {why}"));
        }
        if let Some(why) = &effect.untried {
            text.push_str(&format!("\n  history: not tried: {why}"));
        }
    }
    text
}
