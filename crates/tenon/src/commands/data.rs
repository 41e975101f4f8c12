//! `ingest`, `query`.

use arrow::json::ArrayWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use serde_json::{Value, json};
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::{AsOf, DatasetName};
use tenon_lake::WriteOutcome;
use tenon_policy::Action;

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, Verdict, count, say, table};

/// Brings files into the lake.
pub async fn ingest(context: &Context, dataset: Option<&str>) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let specs = platform.catalog.specs();
    let names: Vec<DatasetName> = match dataset {
        Some(name) => {
            vec![name.parse().map_err(|error: tenon_core::name::NameError| Failure::Usage(error.to_string()))?]
        }
        None => specs
            .datasets
            .iter()
            .filter(|(_, set)| set.spec.source.files.is_some())
            .map(|(name, _)| name.clone())
            .collect(),
    };
    let mut told = Vec::new();
    let (mut refused, mut failed) = (false, false);
    for name in names {
        platform.allow(&by, Action::DatasetWrite, ResourceRef::new(ResourceKind::Dataset, name.as_str())).await?;
        let files = platform.ingest.files(&by, &name, &platform.root).await.during("ingesting")?;
        for file in files {
            let (outcome, verdict) = outcome(&file.outcome);
            refused |= verdict == Verdict::Refused;
            failed |= verdict == Verdict::Failed;
            told.push((name.to_string(), file.path, outcome));
        }
    }
    if let Err(error) = platform.features.flush().await {
        // It is a cache of the lake: what was said of the files stands.
        say(format!("the online store was not written, and catches up when it is opened again: {}", chain(&error)));
        failed = true;
    }
    let rows = told.iter().map(|(name, path, outcome)| [name.clone(), path.clone(), outcome.1.clone()]);
    let text =
        if told.is_empty() { "no file to take".to_owned() } else { table(&["dataset", "file", "outcome"], rows) };
    let json: Vec<Value> = told
        .into_iter()
        .map(|(name, path, outcome)| json!({ "dataset": name, "file": path, "outcome": outcome.0 }))
        .collect();
    Ok(Answer::new(&json, text)?.refused_if(refused).failed_if(failed))
}

/// What became of a batch, for machines and for people, and what it means for the exit code.
pub fn outcome<E: std::error::Error>(outcome: &Result<WriteOutcome, E>) -> ((Value, String), Verdict) {
    match outcome {
        Ok(WriteOutcome::Committed { fact, .. }) => {
            let mut text = format!("version {}: {} rows landed", fact.version, count(fact.accepted));
            if fact.quarantined > 0 {
                let reasons: Vec<String> =
                    fact.reasons.iter().map(|r| format!("{} ({})", r.rule, count(r.rows))).collect();
                text.push_str(&format!(", {} quarantined: {}", count(fact.quarantined), reasons.join("; ")));
            }
            let warned: Vec<String> = fact.warnings.iter().map(|r| format!("{} ({})", r.rule, count(r.rows))).collect();
            if !warned.is_empty() {
                text.push_str(&format!("; remarked on: {}", warned.join("; ")));
            }
            if fact.dropped > 0 {
                text.push_str(&format!("; {} dropped as declared", count(fact.dropped)));
            }
            for verdict in fact.verdicts.iter().filter(|verdict| !verdict.kept) {
                text.push_str(&format!("; {}: {}", verdict.rule, verdict.sentence));
            }
            ((json!({ "committed": fact }), text), Verdict::Done)
        }
        Ok(WriteOutcome::Already(fact)) => {
            ((json!({ "already": fact }), format!("taken before, as version {}", fact.version)), Verdict::Done)
        }
        Ok(WriteOutcome::Refused(fact)) => {
            let broken: Vec<String> = fact.reasons.iter().map(|r| format!("{} ({})", r.rule, count(r.rows))).collect();
            let text = match broken.is_empty() {
                true => format!("refused: {}", fact.sentence),
                false => format!("refused: {}: {}", fact.sentence, broken.join("; ")),
            };
            ((json!({ "refused": fact }), text), Verdict::Refused)
        }
        Err(error) => {
            let chain = chain(error);
            ((json!({ "failed": chain }), format!("failed: {chain}")), Verdict::Failed)
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Asks the lake.
pub async fn query(context: &Context, sql: &str, as_of: AsOf, limit: usize) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    for name in platform.lake.tables_of(sql).await.during("reading the query")? {
        let dataset = name.split("__").next().unwrap_or(&name).to_owned();
        platform.allow(&by, Action::DatasetQuery, ResourceRef::new(ResourceKind::Dataset, dataset)).await?;
    }
    let rows = platform.lake.query(sql, as_of).await.during("answering the query")?;
    answer(&rows, limit)
}

/// Rows as an answer, at most `limit` of them.
pub fn answer(rows: &[RecordBatch], limit: usize) -> Result<Answer, Failure> {
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let mut left = limit;
    let shown: Vec<RecordBatch> = rows
        .iter()
        .map(|batch| {
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            batch
        })
        .collect();
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write_batches(&shown.iter().collect::<Vec<_>>()).during("writing the answer")?;
    writer.finish().during("writing the answer")?;
    let bytes = writer.into_inner();
    let json: Value =
        if bytes.is_empty() { json!([]) } else { serde_json::from_slice(&bytes).during("writing the answer")? };
    let mut text = pretty_format_batches(&shown).during("writing the answer")?.to_string();
    if total > limit {
        text.push_str(&format!("\n{} of {} rows; --limit shows more", count(limit as u64), count(total as u64)));
    }
    Answer::new(&json, text)
}
