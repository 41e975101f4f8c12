//! What one check of the policies costs: the same question again, and questions that were never asked. The company has
//! 200 datasets in 20 pods.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tenon_benches::{Fault, Figure, Report, fault};
use tenon_core::Principal;
use tenon_core::spec::{ResourceKind, SpecFile, SpecSet};
use tenon_policy::{Action, Policies, Request, Rulebook, Target};

const PODS: usize = 20;
const DATASETS: usize = 10;

fn main() -> Result<(), Fault> {
    let mut report = Report::of("policy");
    let specs = Arc::new(SpecSet::read(&company())?);
    let start = Instant::now();
    let policies = Arc::new(Policies::parse(&specs.policies).map_err(|faults| fault(format!("{faults:?}")))?);
    report.add(Figure::cost("parse and validate the policies", start.elapsed().as_secs_f64() * 1e3, "ms"));
    let start = Instant::now();
    let rules = Rulebook::new(specs, policies)?;
    report.add(Figure::cost("make 200 datasets in 20 pods entities", start.elapsed().as_secs_f64() * 1e3, "ms"));

    let same = [ask("ana", "d7_3")];
    report.add(Figure::cost("the same question again", each(&rules, same.iter().cycle().take(1_000_000))?, "µs"));
    let strangers: Vec<Request> = (0..2_000).map(|number| ask(&format!("stranger{number}"), "d7_3")).collect();
    report.add(Figure::cost("a question never asked, by a stranger", each(&rules, strangers.iter())?, "µs"));
    let datasets = (0..PODS).flat_map(|pod| (0..DATASETS).map(move |dataset| format!("d{pod}_{dataset}")));
    let members: Vec<Request> = datasets.map(|dataset| ask("ana", &dataset)).collect();
    report.add(Figure::cost("a question never asked, by a member", each(&rules, members.iter())?, "µs"));
    report.tell()
}

/// Microseconds a question.
fn each<'a>(rules: &Rulebook, questions: impl Iterator<Item = &'a Request>) -> Result<f64, Fault> {
    let (mut asked, start) = (0_u32, Instant::now());
    for question in questions {
        black_box(rules.judge(black_box(question))?);
        asked += 1;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(asked))
}

fn ask(person: &str, dataset: &str) -> Request {
    Request::new(Principal::person(person), Action::DatasetWrite, Target::resource(ResourceKind::Dataset, dataset))
}

fn company() -> Vec<SpecFile> {
    let file = |path: String, text: &str| SpecFile { path, text: text.to_owned() };
    let mut files = vec![file("company.toml".to_owned(), "name = \"acme\"\n")];
    for pod in 0..PODS {
        files.push(file(format!("pods/p{pod}/pod.toml"), "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"));
        for dataset in 0..DATASETS {
            let text = "description = \"d\"\n[source]\npush = true\n[contract.columns.x]\ntype = \"int64\"\n";
            files.push(file(format!("pods/p{pod}/datasets/d{pod}_{dataset}.toml"), text));
        }
    }
    files
}
