//! `contract export` and `contract import`: contracts of the Open Data Contract Standard.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use serde::Serialize;
use tenon_company::odcs::{Owner, Remark, export as written, import as read};
use tenon_company::read_folder;
use tenon_core::DatasetName;
use tenon_core::fact::{Payload, SpecApplied};
use tenon_core::spec::{DatasetSpec, FileFaults, ResourceKind, SpecFile, parse};
use tenon_ledger::Ledger;
use tenon_policy::{Action, Target};

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, say};

/// Larger files are not even read.
const MOST_BYTES: u64 = 1 << 20;
/// How many facts are looked at in one go.
const FACTS: usize = 1000;

/// Writes the contract of what is applied.
pub async fn export(context: &Context, dataset: &DatasetName, to: Option<&Path>) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    platform.allow(&by, Action::CompanyRead, Target::resource(ResourceKind::Dataset, dataset.as_str())).await?;
    let specs = platform.catalog.specs();
    let declared = specs.datasets.get(dataset);
    let declared = declared.ok_or_else(|| Failure::Usage(format!("there is no dataset `{dataset}`")))?;
    let owner = Owner {
        company: &specs.company.name,
        pod: &declared.pod,
        team: specs.pods.get(&declared.pod),
        version: declarations(&platform.ledger, dataset)?,
    };
    let (document, text) = written(&owner, dataset, &declared.spec).during("writing the contract")?;
    let Some(to) = to else { return Answer::new(&document, text) };
    std::fs::write(context.path(to), text).during(&format!("writing {}", to.display()))?;
    Answer::new(&document, format!("the contract of {dataset} is in {}", to.display()))
}

/// How often a dataset was declared.
fn declarations(ledger: &Ledger, dataset: &DatasetName) -> Result<u64, Failure> {
    let (mut count, mut from) = (0, 0);
    loop {
        let facts = ledger.facts_of(&[SpecApplied::KIND], from, FACTS).during("reading the ledger")?;
        let Some(last) = facts.last() else { return Ok(count) };
        from = last.index + 1;
        let of_it = |applied: &SpecApplied| applied.kind == ResourceKind::Dataset && applied.name == dataset.as_str();
        count += facts.iter().filter_map(|stored| stored.fact.payload().ok()).filter(of_it).count() as u64;
    }
}

/// How a contract is taken over.
pub struct Import<'a> {
    /// Which table of it.
    pub object: Option<&'a str>,
    /// Whether promises may be left out.
    pub allow_weaker: bool,
    /// The file to write.
    pub to: Option<&'a Path>,
}

/// What an import says to machines.
#[derive(Serialize)]
struct Taken<'a> {
    dataset: &'a DatasetName,
    toml: &'a str,
    weaker: &'a [Remark],
    lost: &'a [Remark],
}

/// Makes a declaration of a contract. It reads the folder and changes nothing that is applied, as `plan` does.
pub fn import(context: &Context, file: &Path, dataset: &DatasetName, how: &Import<'_>) -> Result<Answer, Failure> {
    let path = file.display().to_string();
    let text = text_of(file)?;
    let known = declared(context.dir(), dataset)?;
    let taken = read(&text, dataset, how.object, known.as_ref()).map_err(|remarks| faults(&path, &text, &remarks))?;
    if !taken.weaker.is_empty() && !how.allow_weaker {
        say("without these promises the contract would be weaker; --allow-weaker goes on without them");
        return Err(faults(&path, &text, &taken.weaker));
    }
    for remark in taken.weaker.iter().chain(&taken.lost) {
        let Remark { line, column, message, hint } = remark;
        let hint = hint.as_ref().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
        say(format!("{path}:{line}:{column}: {message}{hint}"));
    }
    let toml = toml::to_string_pretty(&taken.spec).during("writing the declaration")?;
    parse::<DatasetSpec>(&SpecFile { path: "declaration.toml".to_owned(), text: toml.clone() })
        .map_err(|fault| Failure::Usage(format!("no declaration can be made of it: {}", fault.message)))?;
    let said = match how.to {
        Some(to) => {
            write_new(to, &toml)?;
            format!("{} declares {dataset}; `tenon plan` shows what it would change", to.display())
        }
        None => toml.clone(),
    };
    Answer::new(&Taken { dataset, toml: &toml, weaker: &taken.weaker, lost: &taken.lost }, said)
}

fn faults(path: &str, text: &str, remarks: &[Remark]) -> Failure {
    let file = SpecFile { path: path.to_owned(), text: text.to_owned() };
    let faults = remarks.iter().map(|remark| remark.fault(path, text)).collect();
    Failure::Files(miette::Report::new(FileFaults::locate(faults, &[file])))
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let path = file.display();
    let opened = std::fs::File::open(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Usage(format!("there is no file {path}")),
        _ => Failure::other(&format!("reading {path}"), error),
    })?;
    let mut bytes = Vec::new();
    opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).during(&format!("reading {path}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failure::Refused(format!("{path} is larger than a contract may be (1 MiB)")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Failure::Refused(format!("{path}:{line}:{column}: this is no text in UTF-8"))
    })
}

/// The dataset as the company folder declares it, where there is one.
fn declared(folder: &Path, dataset: &DatasetName) -> Result<Option<DatasetSpec>, Failure> {
    if !folder.join("company.toml").is_file() {
        return Ok(None);
    }
    let files = read_folder(folder).during("reading the company folder")?;
    let name = format!("{dataset}.toml");
    let declares = |file: &&SpecFile| matches!(file.path.split('/').collect::<Vec<_>>().as_slice(), ["pods", _, "datasets", last] if *last == name);
    let Some(file) = files.iter().find(declares) else { return Ok(None) };
    let read = parse::<DatasetSpec>(file);
    let faulty =
        |fault| Failure::Files(miette::Report::new(FileFaults::locate(vec![fault], std::slice::from_ref(file))));
    read.map(Some).map_err(faulty)
}

/// Writes a file that is not there yet: a declaration that stands has comments that nobody wants to lose.
fn write_new(to: &Path, text: &str) -> Result<(), Failure> {
    let path = to.display();
    let mut file = std::fs::File::create_new(to).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::Refused(format!("{path} is there already\n  hint: name another file, and compare the two"))
        }
        _ => Failure::other(&format!("writing {path}"), error),
    })?;
    file.write_all(text.as_bytes()).during(&format!("writing {path}"))
}
