//! What one check costs: the same question again, and questions that were never asked.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tenon_core::Principal;
use tenon_core::spec::{ResourceKind, SpecFile, SpecSet};
use tenon_policy::{Action, Policies, Request, Rulebook, Target};

fn main() {
    let pod = "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n";
    let mut files = vec![("company.toml".to_owned(), "name = \"acme\"\n".to_owned())];
    for n in 0..20 {
        files.push((format!("pods/p{n}/pod.toml"), pod.to_owned()));
        for d in 0..10 {
            let text = "description = \"d\"\n[source]\npush = true\n[contract.columns.x]\ntype = \"int64\"\n";
            files.push((format!("pods/p{n}/datasets/d{n}_{d}.toml"), text.to_owned()));
        }
    }
    let files: Vec<SpecFile> = files.into_iter().map(|(path, text)| SpecFile { path, text }).collect();
    let specs = Arc::new(SpecSet::read(&files).unwrap());
    let start = Instant::now();
    let policies = Arc::new(Policies::parse(&specs.policies).unwrap());
    println!("parse and validate the policies: {:?}", start.elapsed());
    let start = Instant::now();
    let rules = Rulebook::new(specs, policies).unwrap();
    println!("200 datasets in 20 pods made entities: {:?}", start.elapsed());

    let ask = |person: &str, dataset: &str| {
        Request::new(Principal::person(person), Action::DatasetWrite, Target::resource(ResourceKind::Dataset, dataset))
    };
    let (rounds, same) = (1_000_000_u32, ask("ana", "d7_3"));
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(rules.judge(black_box(&same)).unwrap());
    }
    println!("the same question again: {:?} each", start.elapsed() / rounds);
    let (rounds, start) = (2_000_u32, Instant::now());
    for n in 0..rounds {
        black_box(rules.judge(&ask(&format!("stranger{n}"), "d7_3")).unwrap());
    }
    println!("a question never asked, by a stranger: {:?} each", start.elapsed() / rounds);
    let people_questions = (0..20).flat_map(|n| (0..10).map(move |d| format!("d{n}_{d}"))).collect::<Vec<_>>();
    let start = Instant::now();
    for dataset in &people_questions {
        black_box(rules.judge(&ask("ana", dataset)).unwrap());
    }
    println!("a question never asked, by a member: {:?} each", start.elapsed() / 200);
}
