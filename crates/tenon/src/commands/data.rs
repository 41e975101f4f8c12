//! `ingest`, `query`.

use std::collections::BTreeSet;

use arrow::json::ArrayWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use serde_json::{Value, json};
use tenon_core::fact::{Reason, RowChanges};
use tenon_core::spec::{ResourceKind, ResourceRef, SpecSet};
use tenon_core::words::chain;
use tenon_core::{AsOf, BranchName, DatasetName};
use tenon_ingest::{FileOutcome, IngestError, Taken};
use tenon_lake::WriteOutcome;
use tenon_policy::Action;

use super::Context;
use crate::failure::{Failure, While};
use crate::output::{Answer, Verdict, count, say, table};
use crate::platform::Platform;

/// Brings files into the lake.
pub async fn ingest(context: &Context, dataset: Option<&str>, branch: Option<&BranchName>) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let mut names = sources(&platform, dataset)?;
    if let Some(branch) = branch.filter(|_| dataset.is_none()) {
        let held = platform.lake.branch(branch).during("reading the branch")?.branch.tables;
        names.retain(|name| held.iter().any(|begun| begun.dataset == *name));
    }
    let ingest = branch.map_or_else(|| platform.ingest.clone(), |branch| platform.ingest.on(branch.clone()));
    let mut told = Vec::new();
    let (mut refused, mut failed) = (false, false);
    for name in names {
        platform.allow(&by, Action::DatasetWrite, ResourceRef::new(ResourceKind::Dataset, name.as_str())).await?;
        if let Some(topics) = topics_of(&platform, &name) {
            if branch.is_some() {
                let why = format!("`{name}` reads topics, and what comes from topics lands in the dataset itself");
                return Err(Failure::Usage(why));
            }
            let taken = platform.ingest.topics(&by, &name, &platform.root).await;
            let (outcome, verdict) = taken_words(&taken);
            failed |= verdict == Verdict::Failed;
            told.push((name.to_string(), topics, outcome));
            continue;
        }
        let files = match ingest.files(&by, &name, &platform.root).await {
            // A store that is away keeps no other dataset from its files.
            Err(error @ (IngestError::Store { .. } | IngestError::Secret { .. })) => {
                vec![FileOutcome { path: files_of(&platform, &name), outcome: Err(error) }]
            }
            files => files.during("ingesting")?,
        };
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
        if told.is_empty() { "no file to take".to_owned() } else { table(&["dataset", "source", "outcome"], rows) };
    let json: Vec<Value> = told
        .into_iter()
        .map(|(name, path, outcome)| json!({ "dataset": name, "file": path, "outcome": outcome.0 }))
        .collect();
    Ok(Answer::new(&json, text)?.refused_if(refused).failed_if(failed))
}

/// The dataset that is meant, or all that read files or topics: those before others whose columns point to them, since rows
/// that point to nothing are set aside.
pub fn sources(platform: &Platform, dataset: Option<&str>) -> Result<Vec<DatasetName>, Failure> {
    let bad = |error: tenon_core::name::NameError| Failure::Usage(error.to_string());
    if let Some(name) = dataset {
        return Ok(vec![name.parse().map_err(bad)?]);
    }
    let specs = platform.catalog.specs();
    let reads = |source: &tenon_core::spec::Source| source.files.is_some() || source.kafka.is_some();
    let mut names = pointed_to_first(&specs);
    names.retain(|name| specs.datasets.get(name).is_some_and(|dataset| reads(&dataset.spec.source)));
    Ok(names)
}

/// All datasets, each behind those to which its columns point; in the order of their names otherwise.
fn pointed_to_first(specs: &SpecSet) -> Vec<DatasetName> {
    fn place(specs: &SpecSet, name: &str, seen: &mut BTreeSet<String>, placed: &mut Vec<DatasetName>) {
        let Some((name, dataset)) = specs.datasets.iter().find(|(known, _)| known.as_str() == name) else { return };
        // Also where they point to each other in a circle, each comes once.
        if !seen.insert(name.to_string()) {
            return;
        }
        let references = dataset.spec.contract.columns.values().filter_map(|column| column.references.as_deref());
        for (pointed_to, _) in references.filter_map(|reference| reference.split_once('.')) {
            place(specs, pointed_to, seen, placed);
        }
        placed.push(name.clone());
    }
    let (mut seen, mut placed) = (BTreeSet::new(), Vec::new());
    for name in specs.datasets.keys() {
        place(specs, name.as_str(), &mut seen, &mut placed);
    }
    placed
}

/// The topics that a dataset reads, in words; none where it reads none.
pub fn topics_of(platform: &Platform, dataset: &DatasetName) -> Option<String> {
    let specs = platform.catalog.specs();
    let kafka = specs.datasets.get(dataset)?.spec.source.kafka.as_ref()?;
    Some(format!("kafka:{}", kafka.topics.join(",")))
}

/// The pattern of a dataset's files.
fn files_of(platform: &Platform, dataset: &DatasetName) -> String {
    let specs = platform.catalog.specs();
    specs.datasets.get(dataset).and_then(|dataset| dataset.spec.source.files.clone()).unwrap_or_default()
}

/// Broken rules, each with how many rows broke it.
fn listed(reasons: &[Reason]) -> String {
    let listed: Vec<String> =
        reasons.iter().map(|reason| format!("{} ({})", reason.rule, count(reason.rows))).collect();
    listed.join("; ")
}

/// What was taken of topics, for machines and for people, and what it means for the exit code.
pub fn taken_words(taken: &Result<Taken, IngestError>) -> ((Value, String), Verdict) {
    match taken {
        Ok(taken) => {
            let mut text = match taken.version {
                Some(version) => format!(
                    "version {version}: {} rows landed in {} commits",
                    count(taken.accepted),
                    count(taken.commits)
                ),
                None => "nothing new".to_owned(),
            };
            if taken.quarantined > 0 {
                text.push_str(&format!(", {} quarantined: {}", count(taken.quarantined), listed(&taken.reasons)));
            }
            if taken.duplicates > 0 {
                text.push_str(&format!(", {} left out that had landed before", count(taken.duplicates)));
            }
            if taken.dropped > 0 {
                text.push_str(&format!(", {} dropped as declared", count(taken.dropped)));
            }
            if let Some(changes) = taken.changes {
                text.push_str(&changed_words(changes));
            }
            ((json!({ "taken": taken }), text), Verdict::Done)
        }
        Err(error) => {
            let chain = chain(error);
            ((json!({ "failed": chain }), format!("failed: {chain}")), Verdict::Failed)
        }
    }
}

/// What changes did to rows that were there.
fn changed_words(changes: RowChanges) -> String {
    let mut text = format!("; {} of them changed one, {} deleted", count(changes.updated), count(changes.deleted));
    if changes.absent > 0 {
        text.push_str(&format!(", {} deletes of rows that were not there", count(changes.absent)));
    }
    if changes.superseded > 0 {
        text.push_str(&format!(", {} overtaken by later changes", count(changes.superseded)));
    }
    text
}

/// What became of a batch, for machines and for people, and what it means for the exit code.
pub fn outcome<E: std::error::Error>(outcome: &Result<WriteOutcome, E>) -> ((Value, String), Verdict) {
    match outcome {
        Ok(WriteOutcome::Committed { fact, .. }) => {
            let mut text = format!("version {}: {} rows landed", fact.version, count(fact.accepted));
            if fact.quarantined > 0 {
                text.push_str(&format!(", {} quarantined: {}", count(fact.quarantined), listed(&fact.reasons)));
            }
            if !fact.warnings.is_empty() {
                text.push_str(&format!("; remarked on: {}", listed(&fact.warnings)));
            }
            if fact.duplicates > 0 {
                text.push_str(&format!("; {} left out that had landed before", count(fact.duplicates)));
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
            let text = match fact.reasons.is_empty() {
                true => format!("refused: {}", fact.sentence),
                false => format!("refused: {}: {}", fact.sentence, listed(&fact.reasons)),
            };
            ((json!({ "refused": fact }), text), Verdict::Refused)
        }
        Err(error) => {
            let chain = chain(error);
            ((json!({ "failed": chain }), format!("failed: {chain}")), Verdict::Failed)
        }
    }
}

/// Asks the lake.
pub async fn query(
    context: &Context,
    sql: &str,
    as_of: AsOf,
    branch: Option<&BranchName>,
    limit: usize,
) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    for table in platform.lake.tables_of(sql).await.during("reading the query")? {
        platform.allow_table(&by, Action::DatasetQuery, &table).await?;
    }
    let rows = platform.lake.ask(branch, sql, as_of).await;
    let rows = rows.during("answering the query")?;
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
    let answer = Answer::new(&json, pretty_format_batches(&shown).during("writing the answer")?.to_string())?;
    Ok(match total > limit {
        true => {
            answer.remarking(format!("{} of {} rows; --limit shows more", count(limit as u64), count(total as u64)))
        }
        false => answer,
    })
}
