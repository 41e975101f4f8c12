//! Facts in a few words, for lists.

use serde_json::Value;
use tenon_console::view::FactRow;
use tenon_core::words::count;
use tenon_ledger::StoredFact;

/// One fact as a row.
pub(crate) fn row(StoredFact { index, fact }: &StoredFact) -> FactRow {
    FactRow {
        index: *index,
        at: fact.at,
        kind: fact.kind.clone(),
        by: fact.by.to_string(),
        what: what(&fact.kind, &fact.body),
        link: link(&fact.body),
    }
}

fn what(kind: &str, body: &Value) -> String {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let number = |name: &str| count(body[name].as_u64().unwrap_or_default());
    if let Some(sentence) = body["sentence"].as_str() {
        return sentence.to_owned();
    }
    match kind {
        "company.created" => format!("{} was founded", text("name")),
        "spec.applied" => format!("{} {} from {}", text("kind"), text("name"), text("file")),
        "spec.removed" => format!("{} {} is gone", text("kind"), text("name")),
        "spend.recorded" => format!("${:.6} for {}", body["usd"].as_f64().unwrap_or_default(), text("subject")),
        "token.created" | "token.revoked" => format!("token {}", text("name")),
        "invitation.created" => format!("{} is invited", text("principal")),
        "invitation.redeemed" | "invitation.revoked" => format!("invitation {}", text("name")),
        "refusals.counted" => {
            let again = body["again"].as_array().into_iter().flatten().filter_map(|again| again["times"].as_u64());
            let others = body["others"].as_u64().unwrap_or_default();
            format!("{} was refused {} times more", text("principal"), count(again.sum::<u64>() + others))
        }
        "dataset.committed" => {
            format!("{}: {} rows landed, {} set aside", text("dataset"), number("accepted"), number("quarantined"))
        }
        "decisions.logged" => format!("{} decisions of {}", number("rows"), text("deployment")),
        "outcomes.recorded" => format!("{} outcomes for {}", number("rows"), text("deployment")),
        "rollout.started" => format!("{} is to take over {}", text("candidate"), text("deployment")),
        "run.started" => format!("training of {}: {}", text("model"), text("cause")),
        "run.finished" => format!("{:.1} s of processor time", body["cpu_seconds"].as_f64().unwrap_or_default()),
        "model_version.registered" => format!("{} exists", text("version")),
        "model_version.judged" => match body["approved"].as_bool() {
            Some(true) => format!("{} may be deployed", text("version")),
            _ => format!("{} may not be deployed", text("version")),
        },
        "gate.waived" => format!("{} was let through {}: {}", text("version"), text("gate"), text("reason")),
        "monitor.measured" => format!("{} decisions against what {} learnt", number("rows"), text("reference")),
        "quality.measured" => {
            format!("ROC AUC {:.3} over {} outcomes", body["roc_auc"][0].as_f64().unwrap_or_default(), number("rows"))
        }
        _ => String::new(),
    }
}

fn link(body: &Value) -> Option<String> {
    if let Some(version) = body["version"].as_str().filter(|version| version.contains('@')) {
        return Some(format!("/console/models/{version}"));
    }
    if let Some(dataset) = body["dataset"].as_str() {
        return Some(format!("/console/datasets/{dataset}"));
    }
    body["deployment"].as_str().map(|deployment| format!("/console/deployments/{deployment}"))
}
