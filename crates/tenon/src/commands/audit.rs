//! `audit …`, `ledger rebuild`.

use std::path::Path;

use serde_json::json;
use tenon_lake::Sums;
use tenon_ledger::VerifyReport;
use tenon_policy::{Action, Guard, Request, Target};

use super::Context;
use crate::args::{Audit, LedgerCommand};
use crate::failure::{Failure, While};
use crate::output::{Answer, count, table};
use crate::platform::{Access, Company, company_failure, lake_to_read};

/// Checks of the record.
pub async fn audit(context: &Context, what: &Audit) -> Result<Answer, Failure> {
    match what {
        Audit::Verify { export: Some(dir), key: Some(key), .. } => verify_export(dir, key),
        Audit::Verify { against, .. } => verify(context, against.as_deref()).await,
        Audit::Export { to } => {
            let company = allowed(context, Action::LedgerExport, Access::Read).await?;
            company.ledger.export(to).during("exporting the log")?;
            let key = company.ledger.verifier_key();
            let said = format!(
                "the log is in {}\ncheck it anywhere: tenon audit verify --export {} --key '{key}'",
                to.display(),
                to.display()
            );
            Answer::new(&json!({ "to": to, "key": key }), said)
        }
        Audit::Checkpoint => {
            let company = allowed(context, Action::LedgerRead, Access::Read).await?;
            let checkpoint = company.ledger.checkpoint().during("reading the checkpoint")?;
            Answer::new(&json!({ "checkpoint": checkpoint, "key": company.ledger.verifier_key() }), checkpoint)
        }
        Audit::Prove { index } => {
            let company = allowed(context, Action::LedgerRead, Access::Read).await?;
            let proof = company.ledger.inclusion(*index).during("proving the fact")?;
            let path: Vec<String> = proof.path.iter().map(ToString::to_string).collect();
            let said = format!(
                "fact {index} is in the log of {} facts:\n{}\n\n{}",
                proof.size,
                path.join("\n"),
                proof.checkpoint
            );
            Answer::new(&proof, said)
        }
        Audit::Data => data(context).await,
    }
}

/// Whether a row was lost or doubled anywhere in the history.
async fn data(context: &Context) -> Result<Answer, Failure> {
    let company = allowed(context, Action::LedgerRead, Access::Read).await?;
    let catalog = tenon_company::Catalog::load(&company.ledger).map_err(company_failure)?;
    let lake = lake_to_read(&company, &catalog)?;
    let found = lake.conservation().await.during("adding the batches up")?;
    let rows = found.datasets.iter().map(|(name, sums)| {
        let without_row = sums.changes.map_or(0, |changes| changes.without_row());
        let Sums { commits, merged, rows_in, accepted, quarantined, duplicates, dropped, .. } = *sums;
        let numbers = [commits, merged, rows_in, accepted, quarantined, duplicates, dropped, without_row];
        std::iter::once(name.to_string()).chain(numbers.map(count)).collect::<Vec<_>>()
    });
    let header = [
        "dataset",
        "batches",
        "of branches",
        "rows in",
        "accepted",
        "quarantined",
        "duplicates",
        "dropped",
        "deletes, overtaken",
    ];
    let said = match &found.gap {
        None => format!("no row was lost or doubled\n{}", table(&header, rows)),
        Some(gap) => {
            let fact = gap.fact.map_or_else(String::new, |fact| format!(" (fact {fact})"));
            format!("the books do NOT balance: dataset `{}`, {}{fact}: {}", gap.dataset, gap.stretch, gap.problem)
        }
    };
    Ok(Answer::new(&found, said)?.refused_if(found.gap.is_some()))
}

async fn verify(context: &Context, against: Option<&Path>) -> Result<Answer, Failure> {
    let company = allowed(context, Action::LedgerRead, Access::Read).await?;
    let report = match against {
        Some(file) => {
            let checkpoint = std::fs::read_to_string(file).during("reading the kept checkpoint")?;
            company.ledger.verify_against(&checkpoint, |_, _| ())
        }
        None => company.ledger.verify(|_, _| ()),
    };
    verified(&report.during("walking the log")?)
}

fn verify_export(dir: &Path, key: &str) -> Result<Answer, Failure> {
    verified(&tenon_ledger::verify::verify_export(dir, key).during("walking the exported log")?)
}

fn verified(report: &VerifyReport) -> Result<Answer, Failure> {
    let walked = format!(
        "{} facts, {} checkpoints, {} documents; root {}",
        count(report.facts),
        count(report.checkpoints),
        count(report.documents),
        report.root
    );
    let said = if report.ok() {
        format!("the record holds: {walked}")
    } else {
        let rows = report.findings.iter().map(|finding| {
            let index = finding.index.map_or_else(|| "—".to_owned(), |index| index.to_string());
            [index, finding.kind.clone().unwrap_or_default(), finding.problem.clone()]
        });
        format!("the record does NOT hold: {walked}\n{}", table(&["fact", "kind", "problem"], rows))
    };
    Ok(Answer::new(report, said)?.refused_if(!report.ok()))
}

/// Maintenance of the ledger.
pub async fn ledger(context: &Context, what: &LedgerCommand) -> Result<Answer, Failure> {
    let LedgerCommand::Rebuild { replace } = what;
    let company = allowed(context, Action::LedgerRebuild, Access::Write).await?;
    let report = company.ledger.rebuild(*replace).during("folding the facts anew")?;
    let equal = report.differences.is_empty();
    let folded = format!("{} documents from {} facts", count(report.documents), count(report.facts));
    let said = if equal {
        format!("{folded}: equal to what stands")
    } else {
        let rows = report.differences.iter().map(|d| [d.collection.clone(), d.key.clone(), d.problem.clone()]);
        let what = if report.replaced { "what stood was replaced" } else { "--replace puts them in its place" };
        format!("{folded}: NOT equal to what stands; {what}\n{}", table(&["collection", "key", "problem"], rows))
    };
    Ok(Answer::new(&report, said)?.refused_if(!equal && !report.replaced))
}

/// The company, where its policies let the caller do this to the ledger.
async fn allowed(context: &Context, action: Action, access: Access) -> Result<Company, Failure> {
    let company = Company::open(context.dir(), access, None)?;
    let by = company.identify(context.token.as_deref())?;
    // A record that cannot be read any more must still be verifiable: only then the policies have no say.
    if let Ok(catalog) = tenon_company::Catalog::load(&company.ledger).map_err(company_failure) {
        let answer = Guard::new(catalog, company.ledger.clone()).judge(&Request::new(by, action, Target::Ledger));
        let answer = answer.during("asking the policies")?;
        if !answer.allowed {
            return Err(Failure::Refused(answer.sentence));
        }
    }
    Ok(company)
}
