//! `tag`, `diff`, `restore`, `branch`, `compact`, `vacuum`, `hold`.

use serde_json::json;
use tenon_core::fact::TableVersion;
use tenon_core::spec::{ResourceKind, ResourceRef};
use tenon_core::words::count;
use tenon_core::{BranchName, DatasetName, Principal};
use tenon_lake::{MergeOutcome, TableDiff, VacuumPlan};
use tenon_policy::Action;

use super::Context;
use crate::args::{BranchCommand, Compact, Diff, HoldCommand, Restore, TagCommand, Vacuum};
use crate::failure::{Failure, While};
use crate::output::{Answer, say, table};
use crate::platform::Platform;

/// Asks whether `by` may do `action` to each of these datasets, or to all that there are.
async fn allow(platform: &Platform, by: &Principal, action: Action, datasets: &[DatasetName]) -> Result<(), Failure> {
    let all = platform.lake.table_datasets();
    for dataset in if datasets.is_empty() { &all[..] } else { datasets } {
        platform.allow(by, action, ResourceRef::new(ResourceKind::Dataset, dataset.as_str())).await?;
    }
    Ok(())
}

/// `flights 7, planes 2`.
fn versions(tables: &[TableVersion]) -> String {
    let listed: Vec<String> = tables.iter().map(|table| format!("{} {}", table.dataset, table.version)).collect();
    listed.join(", ")
}

/// Names for versions.
pub async fn tag(context: &Context, what: &TagCommand) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    match what {
        TagCommand::Create { name, dataset, as_of, reason } => {
            allow(&platform, &by, Action::DatasetTag, dataset).await?;
            let made = platform.lake.create_tag(&by, name.clone(), dataset, as_of.clone(), reason.clone()).await;
            let made = made.during("making the tag")?;
            Answer::new(&made, format!("tag {name} pins {}", versions(&made.tag.tables)))
        }
        TagCommand::List => {
            platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
            let tags = platform.lake.tags().during("reading the tags")?;
            let rows = tags.iter().map(|tag| {
                let reason = tag.tag.reason.clone().unwrap_or_default();
                let pins = versions(&tag.tag.tables);
                [tag.tag.tag.to_string(), tag.at.to_string(), tag.by.to_string(), pins, reason]
            });
            Answer::new(&tags, table(&["tag", "made", "by", "pins", "what for"], rows))
        }
        TagCommand::Delete { name, reason } => {
            let pins = platform.lake.tag(name).during("reading the tag")?.tag.tables;
            let datasets: Vec<DatasetName> = pins.into_iter().map(|pin| pin.dataset).collect();
            allow(&platform, &by, Action::DatasetTag, &datasets).await?;
            platform.lake.delete_tag(&by, name, reason.clone()).await.during("giving up the tag")?;
            Answer::new(&json!({ "deleted": name }), format!("tag {name} pins nothing any more"))
        }
    }
}

/// What differs between two versions.
pub async fn diff(context: &Context, asked: &Diff) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let dataset = &asked.dataset;
    allow(&platform, &by, Action::DatasetRead, std::slice::from_ref(dataset)).await?;
    let (from, to) = (asked.from.clone(), asked.to.clone());
    let found = platform.lake.diff(dataset, from, to, &asked.key, asked.samples).await.during("comparing")?;
    Answer::new(&found, told(&found))
}

fn told(diff: &TableDiff) -> String {
    let mut text = format!(
        "{} from version {} to {}, by {}: {} rows added, {} removed, {} changed",
        diff.dataset,
        diff.from,
        diff.to,
        diff.key.join(", "),
        count(diff.added),
        count(diff.removed),
        count(diff.changed)
    );
    if !diff.changed_columns.is_empty() {
        let columns: Vec<String> =
            diff.changed_columns.iter().map(|(column, rows)| format!("{column} ({})", count(*rows))).collect();
        text.push_str(&format!("\nchanged in {}", columns.join(", ")));
    }
    if !diff.samples.is_empty() {
        let object = |map: &serde_json::Map<String, serde_json::Value>| {
            map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let rows = diff
            .samples
            .iter()
            .map(|sample| [sample.change.clone(), object(&sample.key), object(&sample.before), object(&sample.after)]);
        text.push_str(&format!("\n{}", table(&["row", "key", "before", "after"], rows)));
    }
    let rows = diff.moved.iter().map(|moved| {
        let psi = moved.psi.map_or_else(|| "—".to_owned(), |psi| format!("{psi:.4}"));
        let mean = |mean: Option<f64>| mean.map_or_else(|| "—".to_owned(), |mean| format!("{mean:.4}"));
        [
            moved.column.clone(),
            psi,
            count(moved.before.missing),
            count(moved.after.missing),
            mean(moved.before.mean),
            mean(moved.after.mean),
        ]
    });
    let header = ["column", "PSI", "missing before", "after", "mean before", "after"];
    format!("{text}\nhow columns moved\n{}", table(&header, rows))
}

/// An earlier version comes back.
pub async fn restore(context: &Context, asked: &Restore) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let dataset = &asked.dataset;
    allow(&platform, &by, Action::DatasetRestore, std::slice::from_ref(dataset)).await?;
    let restored =
        platform.features.restore(&by, dataset, asked.to.clone(), &asked.reason).await.during("restoring")?;
    let Some(restored) = restored else {
        return Answer::new(&json!({ "restored": null }), format!("{dataset} holds those rows already"));
    };
    let learnt = platform.models.learnt_between(dataset, restored.to, restored.from).during("reading the versions")?;
    let reopened = match (restored.reopened, restored.released_again) {
        (0, 0) => String::new(),
        (open, 0) => format!("\nin the quarantine {} rows that had been released are open again", count(open)),
        (0, released) => format!("\nin the quarantine {} rows are released again", count(released)),
        (open, released) => {
            format!("\nin the quarantine {} rows are open again, {} released again", count(open), count(released))
        }
    };
    let learnt: Vec<String> = learnt.iter().map(ToString::to_string).collect();
    let mut said = format!(
        "{dataset} holds the rows of version {} again, as version {}: {} rows came back, {} went; `tenon restore {dataset} --to {}` undoes it",
        restored.to,
        restored.version,
        count(restored.rows_added),
        count(restored.rows_removed),
        restored.from
    );
    said.push_str(&reopened);
    if !learnt.is_empty() {
        said.push_str(&format!("\nlearnt from versions after {}: {}", restored.to, learnt.join(", ")));
    }
    Answer::new(&json!({ "restored": restored, "learnt_from_later_versions": learnt }), said)
}

/// Write, audit, publish.
pub async fn branch(context: &Context, what: &BranchCommand) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let held = |name: &BranchName| -> Result<Vec<DatasetName>, Failure> {
        let branch = platform.lake.branch(name).during("reading the branch")?;
        Ok(branch.branch.tables.into_iter().map(|begun| begun.dataset).collect())
    };
    match what {
        BranchCommand::Create { name, datasets } => {
            allow(&platform, &by, Action::DatasetWrite, datasets).await?;
            let made = platform.lake.create_branch(&by, name, datasets).await.during("making the branch")?;
            let said = format!(
                "branch {name} begins with {}\nwrite to it: tenon ingest --branch {name}; ask it: tenon query --branch {name} 'SELECT …'",
                versions(&made.branch.tables)
            );
            Answer::new(&made, said)
        }
        BranchCommand::List => {
            platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
            let branches = platform.lake.branches().during("reading the branches")?;
            let rows = branches.iter().map(|branch| {
                let begun = versions(&branch.branch.tables);
                [branch.branch.branch.to_string(), branch.at.to_string(), branch.by.to_string(), begun]
            });
            Answer::new(&branches, table(&["branch", "made", "by", "begins with"], rows))
        }
        BranchCommand::Diff { name, samples } => {
            let datasets = held(name)?;
            allow(&platform, &by, Action::DatasetRead, &datasets).await?;
            branch_diff(&platform, name, &datasets, *samples).await
        }
        BranchCommand::Merge { name } => {
            let datasets = held(name)?;
            allow(&platform, &by, Action::BranchMerge, &datasets).await?;
            merge(&platform, &by, name).await
        }
        BranchCommand::Drop { name, reason } => {
            allow(&platform, &by, Action::DatasetWrite, &held(name)?).await?;
            platform.lake.drop_branch(&by, name, reason.clone()).await.during("dropping the branch")?;
            Answer::new(&json!({ "dropped": name }), format!("branch {name} is given up"))
        }
    }
}

async fn branch_diff(
    platform: &Platform,
    name: &BranchName,
    datasets: &[DatasetName],
    samples: usize,
) -> Result<Answer, Failure> {
    let tables = platform.lake.branch_tables(name).await.during("reading the branch")?;
    let rows = tables.iter().map(|found| {
        [
            found.dataset.to_string(),
            format!("{} → {}", found.begun, found.dataset_version),
            count(found.rows_added),
            count(found.rows_removed),
            count(found.quarantined),
        ]
    });
    let mut said = table(&["dataset", "began with → is now", "rows added", "removed", "set aside"], rows);
    let mut diffs = Vec::new();
    let specs = platform.catalog.specs();
    for dataset in datasets {
        // Rows without a key are counted above, and cannot be told apart further.
        if specs.datasets.get(dataset).is_some_and(|set| !set.spec.contract.key.is_empty()) {
            let diff = platform.lake.diff_branch(name, dataset, samples).await.during("comparing")?;
            said.push_str(&format!("\n\n{}", told(&diff)));
            diffs.push(diff);
        }
    }
    Answer::new(&json!({ "branch": name, "tables": tables, "diffs": diffs }), said)
}

async fn merge(platform: &Platform, by: &Principal, name: &BranchName) -> Result<Answer, Failure> {
    let (outcome, unread) = platform.features.merge_branch(by, name).await.during("merging")?;
    for (dataset, error) in unread {
        say(format!("features over {dataset} are read again at the next start: {error}"));
    }
    match outcome {
        MergeOutcome::Merged(merged) => {
            let rows = merged.tables.iter().map(|merged| {
                [merged.table.clone(), merged.version.to_string(), count(merged.rows_added), count(merged.rows_removed)]
            });
            let header = ["table", "version", "rows added", "removed"];
            Answer::new(&json!({ "merged": merged }), format!("branch {name} is merged\n{}", table(&header, rows)))
        }
        MergeOutcome::Conflicts(conflicts) => {
            let rows = conflicts.iter().map(|conflict| {
                let keys: Vec<String> = conflict.keys.iter().map(ToString::to_string).collect();
                [conflict.table.to_string(), conflict.sentence.clone(), keys.join("\n")]
            });
            let said = format!(
                "branch {name} is NOT merged, and nothing has changed\n{}",
                table(&["dataset", "why", "keys"], rows)
            );
            Ok(Answer::new(&json!({ "conflicts": conflicts }), said)?.refused_if(true))
        }
    }
}

/// Small files into large ones.
pub async fn compact(context: &Context, asked: &Compact) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let chosen: Vec<DatasetName> = asked.dataset.iter().cloned().collect();
    allow(&platform, &by, Action::DatasetCompact, &chosen).await?;
    let datasets = if chosen.is_empty() { platform.lake.table_datasets() } else { chosen };
    let mut done = Vec::new();
    for dataset in datasets {
        done.extend(platform.features.compact(&by, &dataset, asked.target_mb << 20).await.during("compacting")?);
    }
    let rows = done.iter().map(|done| {
        [
            done.table.clone(),
            done.version.to_string(),
            count(done.files_before),
            count(done.files_after),
            count(done.rows),
        ]
    });
    let said = match done.is_empty() {
        true => "there are no small files to take together".to_owned(),
        false => table(&["table", "version", "files", "as", "rows"], rows),
    };
    Answer::new(&done, said)
}

/// Takes the small files together of those datasets that declare it and have enough of them.
///
/// # Errors
/// When a policy says no, or a file cannot be written.
pub async fn compact_due(platform: &Platform) -> Result<(), Failure> {
    let by = Principal::service("compact");
    for (dataset, target_bytes) in platform.lake.due_for_compaction().await.during("looking for small files")? {
        allow(platform, &by, Action::DatasetCompact, std::slice::from_ref(&dataset)).await?;
        platform.features.compact(&by, &dataset, target_bytes).await.during("compacting")?;
    }
    Ok(())
}

/// Files that nothing needs go.
pub async fn vacuum(context: &Context, asked: &Vacuum) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    let datasets: Vec<DatasetName> = asked.dataset.iter().cloned().collect();
    allow(&platform, &by, Action::DatasetVacuum, &datasets).await?;
    let plan = platform.lake.vacuum(&by, &datasets, asked.retain, asked.dry_run).await.during("vacuuming")?;
    let said = vacuumed(&plan, asked.dry_run);
    Answer::new(&plan, said)
}

fn vacuumed(plan: &VacuumPlan, dry_run: bool) -> String {
    let kept = plan.tables.iter().flat_map(|table| {
        table.kept.iter().map(|kept| {
            let version = kept.version.map_or_else(|| "all".to_owned(), |version| version.to_string());
            [table.table.clone(), version, kept.why.clone()]
        })
    });
    let goes = plan.tables.iter().filter(|table| !table.removed.is_empty()).map(|table| {
        let stretch =
            |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}–{last}") };
        let unreadable: Vec<String> = table.unreadable.iter().map(stretch).collect();
        [
            table.table.clone(),
            count(table.removed.len() as u64),
            count(table.removed_bytes),
            count(table.kept_files),
            unreadable.join(", "),
        ]
    });
    let what = match (dry_run, plan.fact) {
        (true, _) => "would be removed".to_owned(),
        (false, Some(fact)) => format!("removed, on record as fact {fact}"),
        (false, None) => "there is nothing to remove".to_owned(),
    };
    format!(
        "kept, and why\n{}\n{what}\n{}",
        table(&["table", "version", "why"], kept),
        table(&["table", "files", "bytes", "files that stay", "versions that cannot be read any more"], goes)
    )
}

/// Nothing may go.
pub async fn hold(context: &Context, what: &HoldCommand) -> Result<Answer, Failure> {
    let (platform, by) = context.platform().await?;
    match what {
        HoldCommand::Create { name, dataset, reason } => {
            allow(&platform, &by, Action::DatasetHold, dataset).await?;
            let made = platform.lake.create_hold(&by, name.clone(), dataset, reason.clone()).await;
            made.during("making the hold")?;
            Answer::new(&json!({ "created": name }), format!("hold {name} stands: no vacuum removes what it holds"))
        }
        HoldCommand::List => {
            platform.allow(&by, Action::CompanyRead, ResourceRef::new(ResourceKind::Company, "company")).await?;
            let holds = platform.lake.holds().during("reading the holds")?;
            let rows = holds.iter().map(|hold| {
                let datasets: Vec<&str> = hold.hold.datasets.iter().map(DatasetName::as_str).collect();
                let (hold, at, by) = (&hold.hold, hold.at.to_string(), hold.by.to_string());
                [hold.hold.to_string(), at, by, datasets.join(", "), hold.reason.clone()]
            });
            Answer::new(&holds, table(&["hold", "since", "by", "datasets", "why"], rows))
        }
        HoldCommand::Release { name, reason } => {
            let holds = platform.lake.holds().during("reading the holds")?;
            let held = holds.into_iter().find(|hold| hold.hold.hold == *name).map(|hold| hold.hold.datasets);
            allow(&platform, &by, Action::DatasetHold, &held.unwrap_or_default()).await?;
            platform.lake.release_hold(&by, name, reason.clone()).await.during("releasing the hold")?;
            Answer::new(&json!({ "released": name }), format!("hold {name} holds nothing any more"))
        }
    }
}
