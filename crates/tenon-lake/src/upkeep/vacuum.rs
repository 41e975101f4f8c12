//! Vacuum: removes the files that nothing needs any more, and says of all others why they stay.
//!
//! Needed are the newest version, every version that could be read as of a moment within the retained span, what a tag
//! pins, what a model version learnt from, what an open branch began with, what a contract holds distributions against, and
//! all of a dataset that a hold keeps. The fact `lake.vacuumed` is on record before the first file goes: a crash in between
//! leaves files that the next vacuum removes, never a version that is gone without a word. Rows that are kept as they came
//! are not touched: a replay needs all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tenon_core::fact::{
    LakeVacuumed, ModelVersionRegistered, Payload, RunFailed, RunStarted, TableVersion, VacuumedTable,
};
use tenon_core::{DatasetName, Principal, Span, Timestamp};
use tenon_ledger::DocsExt;
use tokio::sync::MutexGuard;

use crate::commit::Step;
use crate::delta::log::Entry;
use crate::delta::table::{Head, Table};
use crate::record::records::{VACUUMS, VacuumRecord};
use crate::{Lake, LakeError, quarantine_of};

/// So many facts are read at once.
const FACTS_AT_ONCE: usize = 1000;

/// What a vacuum would remove, or has removed, and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VacuumPlan {
    /// Versions that were read as of this span ago, or later, are kept.
    pub retained: Span,
    /// The index of the fact; none where nothing was removed.
    pub fact: Option<u64>,
    /// Each table.
    pub tables: Vec<TableVacuum>,
}

/// The same for one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableVacuum {
    /// The table: a dataset, or a quarantine.
    pub table: String,
    /// Versions that stay readable, and why; every version where a hold keeps the dataset.
    pub kept: Vec<Kept>,
    /// Files that stay.
    pub kept_files: u64,
    /// Files that go, by name.
    pub removed: Vec<String>,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Stretches of versions, first and last, that cannot be read any more.
    pub unreadable: Vec<(u64, u64)>,
}

/// A version that stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The version; none: all of them.
    pub version: Option<u64>,
    /// Why, in plain words: `tag q1`, `training set of late_arrival@2`.
    pub why: String,
}

/// From which version on a file belonged to a table, and from which on no more.
type Lifetimes = HashMap<String, Vec<(u64, Option<u64>)>>;

impl Lake {
    /// Removes the files of these datasets, or of all, that nothing needs; with `dry_run` only says which.
    ///
    /// # Errors
    /// [`LakeError::NoDataset`], [`LakeError::LogCut`], and when a file cannot be removed: the vacuum is on record then,
    /// and the next one goes on with it.
    pub async fn vacuum(
        &self,
        by: &Principal,
        datasets: &[DatasetName],
        retained: Span,
        dry_run: bool,
    ) -> Result<VacuumPlan, LakeError> {
        let _one = self.inner.versions.lock().await;
        datasets.iter().try_for_each(|dataset| self.table_spec(dataset).map(drop))?;
        let mut datasets = if datasets.is_empty() { self.table_datasets() } else { datasets.to_vec() };
        datasets.sort();
        datasets.dedup();
        let since = self.inner.clock.now() - retained;
        let learnt = self.learnt_from()?;
        let mut tables: Vec<(DatasetName, [Arc<Table>; 2])> = Vec::new();
        for dataset in datasets {
            self.settle(&dataset).await?;
            let quarantine = self.table(&quarantine_of(dataset.as_str())).await?;
            tables.push((dataset.clone(), [self.table(dataset.as_str()).await?, quarantine]));
        }
        // Locked until the last file is gone: a batch that is given again after a crash writes its files anew.
        let mut heads: Vec<[MutexGuard<'_, Head>; 2]> = Vec::new();
        for (_, [table, quarantine]) in &tables {
            heads.push([table.head.lock().await, quarantine.head.lock().await]);
        }
        let mut plans = Vec::new();
        for ((dataset, pair), heads) in tables.iter().zip(&heads) {
            for (table, head) in pair.iter().zip(heads) {
                let Some(newest) = head.version else { continue };
                let kept = self.kept(dataset, table, (head, newest), since, &learnt)?;
                plans.push((Arc::clone(table), plan(table, newest, kept, since).await?));
            }
        }
        let mut done =
            VacuumPlan { retained, fact: None, tables: plans.iter().map(|(_, plan)| plan.clone()).collect() };
        if dry_run || done.tables.iter().all(|table| table.removed.is_empty()) {
            return Ok(done);
        }
        let removed = done.tables.iter().filter(|table| !table.removed.is_empty()).map(|table| VacuumedTable {
            table: table.table.clone(),
            files: table.removed.len() as u64,
            bytes: table.removed_bytes,
            unreadable: table.unreadable.clone(),
        });
        self.record(by, &LakeVacuumed { retained, tables: removed.collect() }).await?;
        done.fact = self.inner.ledger.newest(&[LakeVacuumed::KIND], 1)?.first().map(|stored| stored.index);
        self.reached(Step::Recorded)?;
        for (table, plan) in plans {
            for file in &plan.removed {
                table.store().delete_data(file).await?;
                self.reached(Step::Removed)?;
            }
        }
        Ok(done)
    }

    /// The error of reading a version whose files a vacuum removed.
    pub(crate) fn vacuumed(&self, table: &str, version: u64) -> Result<Option<LakeError>, LakeError> {
        let vacuums: Vec<VacuumRecord> = self.inner.ledger.docs().read(VACUUMS, table)?.unwrap_or_default();
        let holds =
            |vacuum: &&VacuumRecord| vacuum.unreadable.iter().any(|(first, last)| (*first..=*last).contains(&version));
        Ok(vacuums.iter().find(holds).map(|vacuum| LakeError::Vacuumed {
            table: table.to_owned(),
            version,
            at: vacuum.at,
            fact: vacuum.fact,
        }))
    }

    /// The versions of a table that are needed, and for what.
    fn kept(
        &self,
        dataset: &DatasetName,
        table: &Table,
        (head, newest): (&Head, u64),
        since: Timestamp,
        learnt: &[(TableVersion, String)],
    ) -> Result<Vec<Kept>, LakeError> {
        let is_dataset = table.name == dataset.as_str();
        let holds = self.holds()?.into_iter().filter(|hold| hold.hold.datasets.contains(dataset));
        let mut kept: Vec<Kept> =
            holds.map(|hold| Kept { version: None, why: format!("hold {}", hold.hold.hold) }).collect();
        let mut keep = |version: u64, why: String| kept.push(Kept { version: Some(version), why });
        keep(newest, "the newest".to_owned());
        if let Some(sealed) = self.sealed_version(&table.name)? {
            keep(sealed, "the newest that is sealed".to_owned());
        }
        for left in head.unsealed.values() {
            keep(left.version, "not sealed yet".to_owned());
        }
        let history = self.history(&table.name)?;
        let first = history.partition_point(|commit| commit.at <= since).saturating_sub(1);
        for commit in &history[first.min(history.len())..] {
            keep(commit.version, format!("stood as of {since} or later"));
        }
        for tag in self.tags()? {
            let pins = if is_dataset { &tag.tag.tables } else { &tag.tag.quarantines };
            for pin in pins.iter().filter(|pin| pin.dataset == *dataset) {
                keep(pin.version, format!("tag {}", tag.tag.tag));
            }
        }
        if is_dataset {
            for (pin, why) in learnt.iter().filter(|(pin, _)| pin.dataset == *dataset) {
                keep(pin.version, why.clone());
            }
            for rule in &self.table_spec(dataset)?.spec.contract.distribution {
                keep(rule.version, format!("the distribution of `{}` is held against it", rule.column));
            }
            for branch in self.branches()? {
                for begun in branch.branch.tables.iter().filter(|begun| begun.dataset == *dataset) {
                    keep(begun.version, format!("branch {} began with it", branch.branch.branch));
                }
            }
        }
        Ok(kept)
    }

    /// What runs learnt from that made a version, or that may make one yet.
    fn learnt_from(&self) -> Result<Vec<(TableVersion, String)>, LakeError> {
        let (mut started, mut named, mut failed) = (Vec::new(), HashMap::new(), BTreeSet::new());
        let kinds = [RunStarted::KIND, RunFailed::KIND, ModelVersionRegistered::KIND];
        let mut from = 0;
        loop {
            let facts = self.inner.ledger.facts_of(&kinds, from, FACTS_AT_ONCE)?;
            let Some(last) = facts.last() else { break };
            from = last.index + 1;
            for stored in &facts {
                if let Ok(run) = stored.fact.payload::<RunStarted>() {
                    started.push(run);
                } else if let Ok(run) = stored.fact.payload::<RunFailed>() {
                    failed.insert(run.run);
                } else if let Ok(made) = stored.fact.payload::<ModelVersionRegistered>() {
                    named.insert(made.run, made.version.to_string());
                }
            }
        }
        let mut learnt = Vec::new();
        for run in started.into_iter().filter(|run| !failed.contains(&run.run)) {
            let of = named.get(&run.run).cloned().unwrap_or_else(|| format!("run {}", run.run));
            learnt.extend(run.training_set.tables.into_iter().map(|pin| (pin, format!("training set of {of}"))));
        }
        Ok(learnt)
    }
}

/// What goes of one table, and what stays.
async fn plan(table: &Table, newest: u64, kept: Vec<Kept>, since: Timestamp) -> Result<TableVacuum, LakeError> {
    let lifetimes = lifetimes(table, newest).await?;
    let all = kept.iter().any(|kept| kept.version.is_none());
    let needed: BTreeSet<u64> = kept.iter().filter_map(|kept| kept.version).collect();
    let is_needed = |lives: &[(u64, Option<u64>)]| {
        lives.iter().any(|(from, to)| match to {
            Some(to) => needed.range(*from..*to).next().is_some(),
            None => true,
        })
    };
    let mut vacuum = TableVacuum {
        table: table.name.clone(),
        kept: summed(kept),
        kept_files: 0,
        removed: Vec::new(),
        removed_bytes: 0,
        unreadable: Vec::new(),
    };
    for (name, bytes, written) in table.store().list_data().await? {
        let goes = !all
            && match lifetimes.get(&name) {
                Some(lives) => !is_needed(lives),
                // No version names it: the rest of a batch that never landed.
                None => written < since,
            };
        if !goes {
            vacuum.kept_files += 1;
            continue;
        }
        vacuum.removed_bytes += bytes;
        let lives = lifetimes.get(&name).into_iter().flatten();
        vacuum.unreadable.extend(lives.map(|(from, to)| (*from, to.unwrap_or(newest + 1).saturating_sub(1))));
        vacuum.removed.push(name);
    }
    vacuum.removed.sort();
    vacuum.unreadable = joined(vacuum.unreadable);
    Ok(vacuum)
}

/// Reads a table's whole log for when which file belonged to it.
async fn lifetimes(table: &Table, newest: u64) -> Result<Lifetimes, LakeError> {
    let mut lifetimes = Lifetimes::new();
    for version in 0..=newest {
        let Some(entry) = table.store().entry(version).await? else {
            return Err(LakeError::LogCut { table: table.name.clone(), version });
        };
        let entry = Entry::parse(&entry);
        for path in entry.removed {
            if let Some(life) = lifetimes.entry(path).or_default().last_mut() {
                life.1 = Some(version);
            }
        }
        for path in entry.added {
            lifetimes.entry(path).or_default().push((version, None));
        }
    }
    Ok(lifetimes)
}

/// The same with each version once, and all that it is kept for.
fn summed(kept: Vec<Kept>) -> Vec<Kept> {
    let mut reasons: BTreeMap<Option<u64>, Vec<String>> = BTreeMap::new();
    for Kept { version, why } in kept {
        let known = reasons.entry(version).or_default();
        if !known.contains(&why) {
            known.push(why);
        }
    }
    reasons.into_iter().map(|(version, why)| Kept { version, why: why.join(", ") }).collect()
}

/// Stretches in order, those that touch as one.
fn joined(mut stretches: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    stretches.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in stretches {
        match joined.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_are_one() {
        assert_eq!(joined(vec![(4, 6), (0, 1), (2, 2), (9, 9), (5, 5)]), [(0, 2), (4, 6), (9, 9)]);
        assert_eq!(joined(Vec::new()), []);
    }
}
