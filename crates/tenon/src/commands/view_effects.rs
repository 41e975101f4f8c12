//! What changed feature views mean for those who use them: told before they change.

use std::path::Path;

use serde::Serialize;
use tenon_company::{Catalog, Change, ChangeKind, Plan};
use tenon_core::FeatureViewName;
use tenon_core::spec::{ResourceKind, SpecSet, ViewSpec};

use super::effects::{owned, stands};
use crate::failure::{Failure, While};
use crate::platform::{Access, Company, company_failure};

/// What one changed feature view means.
#[derive(Debug, Serialize)]
pub struct ViewEffect {
    /// The view.
    pub view: FeatureViewName,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Features that are gone, or are computed otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Who uses it, with the pods that own them.
    pub readers: Vec<String>,
}

/// What becomes of a view that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Becomes {
    /// It is described or promised otherwise, and means what it meant.
    Reworded,
    /// Its features are other values under the same names, or some are gone.
    AnotherMeaning,
    /// It is there no more.
    Gone,
}

/// What a plan's changed and removed feature views mean.
///
/// # Errors
/// When the ledger cannot be read.
pub fn effects(dir: &Path, plan: &Plan, specs: &SpecSet) -> Result<Vec<ViewEffect>, Failure> {
    let changed =
        |change: &&Change| change.resource.kind == ResourceKind::FeatureView && change.change != ChangeKind::Add;
    let changes: Vec<&Change> = plan.changes.iter().filter(changed).collect();
    if changes.is_empty() || !stands(dir)? {
        return Ok(Vec::new());
    }
    let company = Company::open(dir, Access::Read, None)?;
    let standing = Catalog::load(&company.ledger).map_err(company_failure)?.specs();
    let mut effects = Vec::new();
    for change in changes {
        let view: FeatureViewName = change.resource.name.parse().during("reading a feature view's name")?;
        let Some(before) = standing.view(&view) else { continue };
        let after = specs.view(&view).map(|view| view.spec);
        let becomes = match after {
            None => Becomes::Gone,
            Some(after) if means_the_same(before.spec, after) => Becomes::Reworded,
            Some(_) => Becomes::AnotherMeaning,
        };
        let features = before.spec.readable().into_iter();
        let features =
            features.filter(|feature| after.is_some_and(|after| !computed_alike(before.spec, after, feature)));
        effects.push(ViewEffect {
            becomes,
            features: features.map(str::to_owned).collect(),
            readers: change.affects.iter().map(|reader| owned(reader, specs)).collect(),
            view,
        });
    }
    Ok(effects)
}

fn means_the_same(before: ViewSpec<'_>, after: ViewSpec<'_>) -> bool {
    match (before, after) {
        (ViewSpec::Rows(before), ViewSpec::Rows(after)) => before.meaning() == after.meaning(),
        (ViewSpec::Derived(before), ViewSpec::Derived(after)) => before.meaning() == after.meaning(),
        _ => false,
    }
}

/// Whether a feature is declared alike, words aside; what its view reads may differ all the same.
fn computed_alike(before: ViewSpec<'_>, after: ViewSpec<'_>, feature: &str) -> bool {
    match (before, after) {
        (ViewSpec::Rows(before), ViewSpec::Rows(after)) => {
            let (before, after) = (before.meaning(), after.meaning());
            before.features.get(feature) == after.features.get(feature)
                && before.vectors.get(feature) == after.vectors.get(feature)
        }
        (ViewSpec::Derived(before), ViewSpec::Derived(after)) => {
            before.meaning().features.get(feature) == after.meaning().features.get(feature)
        }
        _ => false,
    }
}

/// The effects in words.
pub fn told(effects: &[ViewEffect]) -> String {
    let mut text = String::new();
    for effect in effects.iter().filter(|effect| effect.becomes != Becomes::Reworded) {
        text.push_str(&format!("\n\nfeature view {}", effect.view));
        text.push_str(match effect.becomes {
            Becomes::Gone => "\n  is gone: versions in charge go on with it as they learnt it, and nothing can learn from it any more",
            _ => "\n  means something else: versions in charge go on with what they learnt; train a version to take it up",
        });
        if !effect.features.is_empty() {
            text.push_str(&format!("\n  other or gone: {}", effect.features.join(", ")));
        }
        if !effect.readers.is_empty() {
            text.push_str(&format!("\n  whom: {}", effect.readers.join(", ")));
        }
    }
    text
}
