//! A company to ask about: arrivals works by itself, hiring is supervised and decides about people.

use std::sync::Arc;

use tenon_core::Principal;
use tenon_core::spec::{ResourceKind, SpecFile, SpecSet};
use tenon_policy::{Policies, Rulebook, Target};

pub const FRAMEWORK: &str = include_str!("framework.cedar");

fn file(path: impl Into<String>, text: impl Into<String>) -> SpecFile {
    SpecFile { path: path.into(), text: text.into() }
}

fn pod(files: &mut Vec<SpecFile>, name: &str, head: &str, class: &str, about_people: bool) {
    files.push(file(format!("pods/{name}/pod.toml"), format!("mission = \"m\"\n{head}")));
    files.push(file(
        format!("pods/{name}/datasets/{name}_rows.toml"),
        format!(
            "description = \"d\"\n[source]\nfiles = \"data/*.parquet\"\n[contract.columns.who]\ntype = \"string\"\n\
             class = \"{class}\"\n[contract.columns.at]\ntype = \"timestamp\"\n"
        ),
    ));
    files.push(file(
        format!("pods/{name}/features/{name}_view.toml"),
        format!(
            "description = \"d\"\nentity = [\"who\"]\nevent_time = \"at\"\nttl = \"12h\"\ndataset = \"{name}_rows\"\n\
             source = \"SELECT who, at FROM {name}_rows\"\n[features]\nn = {{ aggregate = \"count\" }}\n"
        ),
    ));
    files.push(file(
        format!("pods/{name}/models/{name}_model.toml"),
        format!(
            "description = \"d\"\nlimits = \"l\"\nobservations = \"SELECT 1\"\nkey = \"who\"\ndecided_at = \"at\"\n\
             features = [\"{name}_view\"]\nsplit = {{ by = \"time\", test = \"20%\" }}\ntrainer = {{ kind = \"gbdt\" }}\n"
        ),
    ));
    files.push(file(
        format!("pods/{name}/deployments/{name}_live.toml"),
        format!("description = \"d\"\nmodel = \"{name}_model\"\nabout_people = {about_people}\n"),
    ));
    files.push(file(
        format!("pods/{name}/monitors/{name}_watch.toml"),
        format!("description = \"d\"\ndeployment = \"{name}_live\"\nwindow = \"7d\"\nevery = \"1d\"\n"),
    ));
}

/// The company with these policy files.
pub fn specs(policies: &[(&str, &str)]) -> SpecSet {
    let mut files = vec![file("company.toml", "name = \"acme\"\n[clock]\nreplay = true\n")];
    let members = "autonomy = \"automatic\"\n[members.ana]\nrole = \"lead\"\n[members.ben]\nrole = \"engineer\"\n\
                   [members.aud]\nrole = \"auditor\"\n";
    pod(&mut files, "arrivals", members, "identifier", false);
    pod(&mut files, "hiring", "[members.hal]\nrole = \"lead\"\n[members.ida]\nrole = \"engineer\"\n", "personal", true);
    files.push(file("pods/drifters/pod.toml", "mission = \"m\"\n[members.dan]\nrole = \"engineer\"\n"));
    files.extend(policies.iter().map(|(name, text)| file(format!("policies/{name}"), *text)));
    SpecSet::read(&files).unwrap()
}

pub fn rulebook(specs: SpecSet) -> Rulebook {
    let policies = Policies::parse(&specs.policies).unwrap();
    Rulebook::new(Arc::new(specs), Arc::new(policies)).unwrap()
}

pub fn who(text: &str) -> Principal {
    match text.strip_prefix("service:") {
        Some(name) => Principal::service(name),
        None => Principal::person(text),
    }
}

/// `model hiring_model`, `ledger`, `token t of ana`.
pub fn what(text: &str) -> Target {
    let words: Vec<&str> = text.split(' ').collect();
    let kind = |word: &str| match word {
        "company" => ResourceKind::Company,
        "budgets" => ResourceKind::Budgets,
        "pod" => ResourceKind::Pod,
        "dataset" => ResourceKind::Dataset,
        "view" => ResourceKind::FeatureView,
        "model" => ResourceKind::Model,
        "deployment" => ResourceKind::Deployment,
        "monitor" => ResourceKind::Monitor,
        "policy" => ResourceKind::Policy,
        other => panic!("no kind is called {other}"),
    };
    match words.as_slice() {
        ["ledger"] => Target::Ledger,
        ["token", name, "of", holder] => Target::Token { name: (*name).to_owned(), acts_as: who(holder) },
        [of, name] => Target::resource(kind(of), *name),
        _ => panic!("`{text}` is no target"),
    }
}
