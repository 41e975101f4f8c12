//! What applying the files would change. Pure: files in, plan out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tenon_core::fact::ContractBreakAllowed;
use tenon_core::spec::{FileFaults, ResourceKind, ResourceRef, SpecFault, SpecFile, SpecSet};
use tenon_core::{Digest, PodName};

use crate::Graph;

/// How a thing would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// Its file says something else than what is applied.
    Change,
    /// Its file is gone.
    Remove,
}

/// One thing that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How.
    pub change: ChangeKind,
    /// What.
    pub resource: ResourceRef,
    /// The pod that owns it; absent for the company's own.
    pub pod: Option<PodName>,
    /// Its file, from the company folder.
    pub file: String,
    /// Everything that reads it, directly or through others, and is there already.
    pub affects: Vec<ResourceRef>,
    /// The file's new text; none where it is removed.
    #[serde(skip)]
    pub text: Option<String>,
}

impl Change {
    /// The digest of the file's new bytes.
    pub fn digest(&self) -> Option<Digest> {
        self.text.as_ref().map(Digest::of)
    }
}

/// What applying the files would change, in the order of their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
    /// Changes that break others and are let through on purpose, for the record.
    #[serde(skip)]
    pub allowed_breaks: Vec<ContractBreakAllowed>,
}

/// Compares the files of the folder with those that are applied.
///
/// # Errors
/// Every fault in the wanted files, also a cycle among them.
pub fn plan(applied: &[SpecFile], wanted: &[SpecFile]) -> Result<(Plan, SpecSet), FileFaults> {
    let specs = SpecSet::read(wanted)?;
    let graph = Graph::of(&specs);
    if let Some(cycle) = graph.cycle() {
        return Err(FileFaults::locate(vec![cycle_fault(&cycle, &specs)], wanted));
    }
    let old: BTreeMap<&str, &str> = applied.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let new: BTreeMap<&str, &str> = wanted.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let known_before: BTreeSet<ResourceRef> = old.keys().filter_map(|path| declares(path)).collect();
    let paths: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let changes = paths.into_iter().filter_map(|path| {
        let change = match (old.get(path), new.get(path)) {
            (None, Some(_)) => ChangeKind::Add,
            (Some(_), None) => ChangeKind::Remove,
            (Some(before), Some(after)) if before != after => ChangeKind::Change,
            _ => return None,
        };
        let resource = declares(path)?;
        let affects = graph.downstream(&resource).into_iter().filter(|reader| known_before.contains(reader)).collect();
        let text = new.get(path).map(|text| (*text).to_owned());
        Some(Change { change, pod: owner(path), file: path.to_owned(), resource, affects, text })
    });
    Ok((Plan { changes: changes.collect(), allowed_breaks: Vec::new() }, specs))
}

/// The thing that a file declares, by where the file is.
fn declares(path: &str) -> Option<ResourceRef> {
    let parts: Vec<&str> = path.split('/').collect();
    let (kind, name) = match parts.as_slice() {
        ["company.toml"] => (ResourceKind::Company, "company"),
        ["budgets.toml"] => (ResourceKind::Budgets, "budgets"),
        ["policies", file] => (ResourceKind::Policy, file.strip_suffix(".cedar")?),
        ["pods", pod, "pod.toml"] => (ResourceKind::Pod, *pod),
        ["pods", _, folder, file] => {
            let kind = match *folder {
                "datasets" => ResourceKind::Dataset,
                "features" | "derived" => ResourceKind::FeatureView,
                "models" => ResourceKind::Model,
                "deployments" => ResourceKind::Deployment,
                "monitors" => ResourceKind::Monitor,
                _ => return None,
            };
            (kind, file.strip_suffix(".toml")?)
        }
        _ => return None,
    };
    Some(ResourceRef::new(kind, name))
}

fn owner(path: &str) -> Option<PodName> {
    path.strip_prefix("pods/")?.split('/').next()?.parse().ok()
}

fn cycle_fault(cycle: &[ResourceRef], specs: &SpecSet) -> SpecFault {
    let way: Vec<String> = cycle.iter().map(|resource| format!("`{}`", resource.name)).collect();
    let file = cycle.iter().find_map(|resource| {
        specs.datasets.iter().find(|(name, _)| name.as_str() == resource.name).map(|(_, dataset)| dataset.file.as_str())
    });
    let message = format!("the definition goes round in a circle: {}", way.join(" reads into "));
    SpecFault::at(file.unwrap_or("company.toml"), &["source", "sql"], message)
        .hint("a definition may only read what does not depend on it")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str, text: &str) -> SpecFile {
        SpecFile { path: path.to_owned(), text: text.to_owned() }
    }

    fn company() -> Vec<SpecFile> {
        let dataset = "description = \"d\"\n[source]\npush = true\n[contract.columns.t]\ntype = \"timestamp\"\n\
                       [contract.columns.k]\ntype = \"string\"\n";
        let view = "description = \"d\"\nentity = [\"k\"]\nevent_time = \"t\"\nttl = \"1h\"\ndataset = \"raw\"\n\
                    source = \"SELECT * FROM raw\"\n[features]\nn = { aggregate = \"count\" }\n";
        vec![
            file("company.toml", "name = \"acme\"\n"),
            file("pods/p/datasets/raw.toml", dataset),
            file("pods/p/features/counts.toml", view),
            file("pods/p/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"),
        ]
    }

    #[test]
    fn a_plan_says_what_changes_and_what_that_affects() {
        let applied = company();
        let mut wanted = company();
        wanted[1].text.push_str("nullable = true\n");
        wanted.remove(2);
        let told = |plan: &Plan| {
            plan.changes
                .iter()
                .map(|change| format!("{:?} {} → {:?}", change.change, change.resource, change.affects))
                .collect::<Vec<_>>()
        };
        let (first, _) = plan(&[], &applied).unwrap();
        assert_eq!(first.changes.len(), 4);
        assert!(first.changes.iter().all(|change| change.affects.is_empty()), "nothing was there to be affected");
        assert_eq!(plan(&applied, &applied).unwrap().0, Plan::default());
        assert_eq!(
            told(&plan(&applied, &wanted).unwrap().0),
            ["Change dataset raw → []", "Remove feature_view counts → []"]
        );
        let mut changed = company();
        changed[1].text.push_str("nullable = true\n");
        let affected = plan(&applied, &changed).unwrap().0.changes[0].affects.clone();
        assert_eq!(affected, [ResourceRef::new(ResourceKind::FeatureView, "counts")]);
    }

    #[test]
    fn a_circle_is_refused_and_named() {
        let mut files = company();
        for (name, other) in [("a", "b"), ("b", "a")] {
            let text = format!("description = \"d\"\n[source]\nsql = \"SELECT * FROM {other}\"\n");
            files.push(file(&format!("pods/p/datasets/{name}.toml"), &text));
        }
        let faults = plan(&[], &files).unwrap_err();
        let fault = faults.faults().next().unwrap().clone();
        assert_eq!(fault.message, "the definition goes round in a circle: `a` reads into `b` reads into `a`");
    }
}
