//! Conservation: of every batch, rows in = accepted + quarantined + duplicates + dropped, and of a batch of changes what
//! brought no row as well; the stretches of a source follow each other without gap or overlap; a merge brings what the batches
//! on its branch say; and what the facts say is what the tables hold. A table that follows changes has no key twice.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde::Serialize;
use tenon_core::fact::{BranchCommitted, BranchCreated, BranchMerged, DatasetCommitted, Payload, RowChanges};
use tenon_core::id::OperationId;
use tenon_core::{AsOf, BranchName, DatasetName, Digest};

use super::projection::is_zero;
use crate::delta::log::{DataFile, Entry};
use crate::sql::columns;
use crate::{Lake, LakeError, quarantine_of, raw_of};

/// Facts that are read at a time, and their kinds.
const FACTS_A_PAGE: usize = 1_000;
const KINDS: [&str; 4] = [DatasetCommitted::KIND, BranchCreated::KIND, BranchCommitted::KIND, BranchMerged::KIND];

/// A stretch, and what is wrong with it.
type Wrong = (String, String);

/// What a walk over the whole history found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conservation {
    /// The sums, by dataset.
    pub datasets: BTreeMap<DatasetName, Sums>,
    /// The first place where the books do not balance; none where they do.
    pub gap: Option<Gap>,
}

/// Sums over the batches of one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Batches that landed.
    pub commits: u64,
    /// Of them, batches that landed on a branch and came with its merge.
    #[serde(skip_serializing_if = "is_zero")]
    pub merged: u64,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that landed.
    pub accepted: u64,
    /// Rows that went to the quarantine.
    pub quarantined: u64,
    /// Rows that had landed before.
    pub duplicates: u64,
    /// Rows that a declaration leaves out.
    pub dropped: u64,
    /// What changes did, where the dataset follows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<RowChanges>,
    /// How far each ordered source is.
    pub positions: BTreeMap<String, u64>,
}

/// A place where the books do not balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The dataset.
    pub dataset: DatasetName,
    /// The fact, where one is to blame.
    pub fact: Option<u64>,
    /// The source of the batch, or its stretch: `kafka:flights/3 from 100 to 200`.
    pub stretch: String,
    /// What is wrong, in a sentence.
    pub problem: String,
}

/// What the walk remembers.
#[derive(Default)]
struct Walk {
    found: Conservation,
    /// Batches that were seen, by dataset and digest.
    batches: HashSet<(DatasetName, Digest)>,
    /// What landed on the branches that are open.
    branches: HashMap<BranchName, Vec<DatasetCommitted>>,
    /// What the logs of tables say, by table.
    logs: HashMap<String, TableLog>,
}

/// What a table's log says.
#[derive(Default)]
struct TableLog {
    /// By version; none where the log no longer goes back so far.
    entries: Vec<Option<Logged>>,
    /// The files that the newest of these versions has, with their rows where they are known.
    files: HashMap<String, Option<u64>>,
}

struct Logged {
    entry: Entry,
    /// Rows of the files that it removed; none where one is not known.
    removed: Option<u64>,
}

impl TableLog {
    fn push(&mut self, entry: Option<Entry>) {
        let Some(entry) = entry else { return self.entries.push(None) };
        let removed: Option<u64> = entry.removed.iter().map(|path| self.files.remove(path).flatten()).sum();
        self.files.extend(entry.added.iter().cloned().zip(entry.added_rows.iter().copied()));
        self.entries.push(Some(Logged { entry, removed }));
    }

    /// A change of the table's files that no fact accounts for, in words. What a crash left and a later commit of the same
    /// operation undid is none.
    fn unsealed_change(&self, sealed: &HashSet<u64>) -> Option<String> {
        let mut left: BTreeMap<OperationId, (u64, HashMap<&str, i32>)> = BTreeMap::new();
        for (version, logged) in (0..).zip(&self.entries) {
            let Some(Logged { entry, removed }) = logged.as_ref().filter(|_| !sealed.contains(&version)) else {
                continue;
            };
            let Some(note) = &entry.note else {
                let (added, removed) = (entry.rows, *removed);
                match (entry.added.is_empty(), entry.removed.is_empty()) {
                    (true, true) => continue,
                    // Another program compacted it.
                    (false, false) if entry.rearranges && added.is_some() && added == removed => continue,
                    (false, true) => return Some(unaccounted(version, "added", added)),
                    (true, false) => return Some(unaccounted(version, "took out", removed)),
                    (false, false) => return Some(unaccounted(version, "wrote again", added)),
                }
            };
            let (_, files) = left.entry(note.operation).or_insert_with(|| (version, HashMap::new()));
            entry.added.iter().for_each(|path| *files.entry(path).or_default() += 1);
            entry.removed.iter().for_each(|path| *files.entry(path).or_default() -= 1);
        }
        let stays = left.into_values().filter(|(_, files)| files.values().any(|times| *times != 0));
        stays.map(|(version, _)| version).min().map(|version| {
            let rows =
                usize::try_from(version).ok().and_then(|version| self.entries.get(version)?.as_ref()?.entry.rows);
            unaccounted(version, "added", rows)
        })
    }

    /// The rows of the newest version; none where they cannot be told.
    fn rows(&self) -> Option<u64> {
        let whole = self.entries.iter().all(Option::is_some);
        if whole { self.files.values().copied().sum() } else { None }
    }
}

impl Lake {
    /// Walks over every batch that ever landed, oldest first, up to the first that does not balance.
    ///
    /// # Errors
    /// [`LakeError`] when the record or a table cannot be read.
    pub async fn conservation(&self) -> Result<Conservation, LakeError> {
        let (mut walk, mut from) = (Walk::default(), 0);
        loop {
            let facts = self.inner.ledger.facts_of(&KINDS, from, FACTS_A_PAGE)?;
            let Some(last) = facts.last() else { break };
            from = last.index + 1;
            for stored in facts {
                let found = if let Ok(fact) = stored.fact.payload::<DatasetCommitted>() {
                    self.unbalanced(&mut walk, &fact).await?.map(|found| (fact.dataset, found))
                } else if let Ok(made) = stored.fact.payload::<BranchCreated>() {
                    drop(walk.branches.insert(made.branch, Vec::new()));
                    None
                } else if let Ok(sealed) = stored.fact.payload::<BranchCommitted>() {
                    walk.on_branch(sealed)
                } else if let Ok(merged) = stored.fact.payload::<BranchMerged>() {
                    self.unbalanced_merge(&mut walk, &merged).await?
                } else {
                    None
                };
                if let Some((dataset, (stretch, problem))) = found {
                    walk.found.gap = Some(Gap { dataset, fact: Some(stored.index), stretch, problem });
                    return Ok(walk.found);
                }
            }
        }
        let datasets: Vec<DatasetName> = walk.found.datasets.keys().cloned().collect();
        for dataset in datasets {
            for table in [dataset.to_string(), quarantine_of(dataset.as_str()), raw_of(dataset.as_str())] {
                let problem = match self.damaged(&table).await? {
                    None => self.unaccounted(&mut walk, &table).await?,
                    damage => damage,
                };
                if let Some(problem) = problem {
                    let stretch = format!("table {table}");
                    walk.found.gap = Some(Gap { dataset, fact: None, stretch, problem });
                    return Ok(walk.found);
                }
            }
            if let Some(problem) = self.key_twice(&dataset).await? {
                let stretch = format!("table {dataset}");
                walk.found.gap = Some(Gap { dataset, fact: None, stretch, problem });
                return Ok(walk.found);
            }
        }
        Ok(walk.found)
    }

    /// What is wrong with one batch: its stretch, and why.
    async fn unbalanced(&self, walk: &mut Walk, fact: &DatasetCommitted) -> Result<Option<Wrong>, LakeError> {
        if let Some(wrong) = walk.add(fact, false) {
            return Ok(Some(wrong));
        }
        // A batch without accepted rows names the version that stood, unless it moved a source.
        let made = (fact.accepted > 0 || !fact.stretches.is_empty()).then_some(fact.version);
        let written_again = fact.changes.map_or(0, |changes| changes.rewritten);
        for (table, version, rows) in [
            (fact.dataset.to_string(), made, fact.accepted + written_again),
            (quarantine_of(fact.dataset.as_str()), fact.quarantine_version, fact.quarantined),
        ] {
            let Some(version) = version else { continue };
            let Some(Logged { entry, removed }) = self.logged(walk, &table, version).await? else { continue };
            if entry.rows.is_some_and(|held| held != rows) {
                let held = entry.rows.unwrap_or(0);
                let problem =
                    format!("version {version} of table `{table}` added {held} rows, and the fact says {rows}");
                return Ok(Some((fact.source.clone(), problem)));
            }
            let gone = fact.changes.filter(|_| table == fact.dataset.as_str());
            let gone = gone.map(|changes| changes.removed() + changes.rewritten);
            if let (Some(gone), Some(removed)) = (gone, removed)
                && gone != *removed
            {
                let problem =
                    format!("version {version} of table `{table}` took {removed} rows out, and the fact says {gone}");
                return Ok(Some((fact.source.clone(), problem)));
            }
            let moved = fact.stretches.iter().find(|stretch| {
                table == fact.dataset.as_str() && entry.positions.get(&stretch.source) != Some(&stretch.next)
            });
            if let Some(stretch) = moved {
                let problem = format!("version {version} of table `{table}` does not say that the source is there");
                return Ok(Some((in_words(&stretch.source, stretch.first, stretch.next), problem)));
            }
        }
        Ok(None)
    }

    /// What is wrong with a merge: the rows that it brought are those of the batches on its branch, in facts and logs.
    async fn unbalanced_merge(
        &self,
        walk: &mut Walk,
        merged: &BranchMerged,
    ) -> Result<Option<(DatasetName, Wrong)>, LakeError> {
        let batches = walk.branches.remove(&merged.branch).unwrap_or_default();
        let stretch = format!("merge of branch {}", merged.branch);
        let mut expected: BTreeMap<DatasetName, [u64; 2]> = BTreeMap::new();
        for batch in batches {
            if let Some(wrong) = walk.add(&batch, true) {
                return Ok(Some((batch.dataset, wrong)));
            }
            let rows = expected.entry(batch.dataset).or_default();
            *rows = [rows[0] + batch.accepted, rows[1] + batch.quarantined];
        }
        for (dataset, rows) in expected {
            for (table, rows) in [dataset.to_string(), quarantine_of(dataset.as_str())].into_iter().zip(rows) {
                let made = merged.tables.iter().find(|merged| merged.table == table);
                let brought = made.map_or(0, |made| made.rows_added.saturating_sub(made.rows_removed));
                if brought != rows {
                    let problem =
                        format!("it brought {brought} rows to table `{table}`, and the batches on the branch {rows}");
                    return Ok(Some((dataset, (stretch, problem))));
                }
                let Some(made) = made else { continue };
                let Some(Logged { entry, .. }) = self.logged(walk, &table, made.version).await? else { continue };
                if let Some(held) = entry.rows.filter(|held| *held != made.rows_added) {
                    let (version, rows) = (made.version, made.rows_added);
                    let problem =
                        format!("version {version} of table `{table}` added {held} rows, and the fact says {rows}");
                    return Ok(Some((dataset, (stretch, problem))));
                }
            }
        }
        Ok(None)
    }

    /// A data file of a table's newest version that is gone, or is not what its log says.
    async fn damaged(&self, table: &str) -> Result<Option<String>, LakeError> {
        let Some(newest) = self.sealed_version(table)? else { return Ok(None) };
        let handle = self.table(table).await?;
        let there = handle.store().list_data().await?;
        let there: HashMap<String, u64> = there.into_iter().map(|(name, bytes, _)| (name, bytes)).collect();
        let damage = handle.files(newest).await?.into_values().find_map(|file| {
            let DataFile { path, bytes, .. } = &file;
            match there.get(path) {
                None => Some(format!("its data file {path} is gone, and version {newest} needs it")),
                Some(held) if *held != *bytes as u64 => {
                    Some(format!("its data file {path} has {held} bytes, and its log says {bytes}"))
                }
                Some(_) => None,
            }
        });
        Ok(damage)
    }

    /// Rows of a table that no fact accounts for, or that are gone.
    async fn unaccounted(&self, walk: &mut Walk, table: &str) -> Result<Option<String>, LakeError> {
        let Some(newest) = self.sealed_version(table)? else { return Ok(None) };
        let history = self.history(table)?;
        let sealed: HashSet<u64> = history.iter().map(|commit| commit.version).collect();
        self.logged(walk, table, newest).await?;
        let Some(log) = walk.logs.get(table) else { return Ok(None) };
        if let Some(problem) = log.unsealed_change(&sealed) {
            return Ok(Some(problem));
        }
        let sum = log.rows().filter(|_| log.entries.len() as u64 == newest + 1);
        let Some(sum) = sum else { return Ok(None) };
        let counted = self.query(&format!("SELECT count(*) FROM \"{table}\""), AsOf::Latest).await?;
        let held = counted.first().map_or(0, |rows| rows.column(0).as_primitive::<Int64Type>().value(0));
        Ok((u64::try_from(held).ok() != Some(sum))
            .then(|| format!("the table holds {held} rows, and its log says that there are {sum}")))
    }

    /// What is wrong with a table that follows changes, and holds more than one row of a key.
    async fn key_twice(&self, dataset: &DatasetName) -> Result<Option<String>, LakeError> {
        let Ok(spec) = self.table_spec(dataset).map(|resource| resource.spec) else { return Ok(None) };
        if !spec.follows_changes() || self.sealed_version(dataset.as_str())?.is_none() {
            return Ok(None);
        }
        let key = columns(&spec.contract.key);
        let sql = format!(
            "SELECT count(*) FROM (SELECT {key} FROM \"{dataset}\" GROUP BY {key} HAVING count(*) > 1) AS twice"
        );
        let counted = self.query(&sql, AsOf::Latest).await?;
        let twice = counted.first().map_or(0, |rows| rows.column(0).as_primitive::<Int64Type>().value(0));
        Ok((twice > 0).then(|| format!("the table holds {twice} keys more than once")))
    }

    /// What a table's log says of a version; none where the log no longer goes back so far.
    async fn logged<'a>(&self, walk: &'a mut Walk, table: &str, version: u64) -> Result<Option<&'a Logged>, LakeError> {
        let log = walk.logs.entry(table.to_owned()).or_default();
        let handle = self.table(table).await?;
        for next in log.entries.len() as u64..=version {
            let entry = handle.store().entry(next).await?;
            log.push(entry.map(|bytes| Entry::parse(&bytes)));
        }
        Ok(usize::try_from(version).ok().and_then(|version| log.entries.get(version)).and_then(Option::as_ref))
    }
}

impl Walk {
    /// Takes note of a batch on a branch; says what is wrong with it by itself.
    fn on_branch(&mut self, sealed: BranchCommitted) -> Option<(DatasetName, Wrong)> {
        let BranchCommitted { branch, commit } = sealed;
        let wrong = lost_or_made(&commit).map(|(source, problem)| (format!("{source} (branch {branch})"), problem));
        let wrong = wrong.map(|wrong| (commit.dataset.clone(), wrong));
        self.branches.entry(branch).or_default().push(commit);
        wrong
    }

    /// Adds a batch to the sums, by itself or with the merge of its branch; says what is wrong with it by itself, or after
    /// those before it.
    fn add(&mut self, fact: &DatasetCommitted, by_merge: bool) -> Option<Wrong> {
        if let Some(wrong) = lost_or_made(fact) {
            return Some(wrong);
        }
        if let Some(changes) = fact.changes.filter(|changes| changes.updated > fact.accepted) {
            let problem = format!("{} rows landed, and {} took another's place", fact.accepted, changes.updated);
            return Some((fact.source.clone(), problem));
        }
        let is_new = self.batches.insert((fact.dataset.clone(), fact.source_digest));
        // A batch of which no row landed may have come to a branch as well.
        let may_repeat = by_merge && fact.accepted == 0;
        if !is_new && !may_repeat {
            return Some((fact.source.clone(), "this batch landed before".to_owned()));
        }
        let sums = self.found.datasets.entry(fact.dataset.clone()).or_default();
        let from_stretches: u64 = fact.stretches.iter().map(|stretch| stretch.rows).sum();
        if !fact.stretches.is_empty() && from_stretches != fact.rows_in {
            let problem = format!("{} rows came in, and the stretches hold {from_stretches}", fact.rows_in);
            return Some((fact.source.clone(), problem));
        }
        for stretch in &fact.stretches {
            let in_words = || in_words(&stretch.source, stretch.first, stretch.next);
            let before = sums.positions.insert(stretch.source.clone(), stretch.next);
            if stretch.next < stretch.first || stretch.rows > stretch.next - stretch.first {
                return Some((in_words(), format!("it cannot hold {} rows", stretch.rows)));
            }
            match before {
                Some(before) if before < stretch.first => {
                    return Some((in_words(), format!("there is a gap before it: the one before ends at {before}")));
                }
                Some(before) if before > stretch.first => {
                    return Some((in_words(), format!("it overlaps the one before, which ends at {before}")));
                }
                _ => {}
            }
        }
        sums.commits += 1;
        sums.merged += u64::from(by_merge);
        sums.rows_in += fact.rows_in;
        sums.accepted += fact.accepted;
        sums.quarantined += fact.quarantined;
        sums.duplicates += fact.duplicates;
        sums.dropped += fact.dropped;
        if let Some(changes) = fact.changes {
            sums.changes.get_or_insert_default().add(changes);
        }
        None
    }
}

/// What is wrong with a batch whose rows do not add up.
fn lost_or_made(fact: &DatasetCommitted) -> Option<Wrong> {
    let without_row = fact.changes.map_or(0, |changes| changes.without_row());
    let out = fact.accepted + fact.quarantined + fact.duplicates + fact.dropped + without_row;
    let problem = || format!("{} rows came in, and {out} went somewhere", fact.rows_in);
    (out != fact.rows_in).then(|| (fact.source.clone(), problem()))
}

fn unaccounted(version: u64, what: &str, rows: Option<u64>) -> String {
    let rows = rows.map_or_else(|| "rows".to_owned(), |rows| format!("{rows} rows"));
    format!("version {version} {what} {rows} that no fact accounts for")
}

fn in_words(source: &str, first: u64, next: u64) -> String {
    format!("{source} from {first} to {next}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tenon_core::fact::Stretch;

    use super::*;
    use crate::delta::log::Note;

    fn fact(batch: &str, rows: [u64; 5], stretches: &[(&str, u64, u64, u64)]) -> DatasetCommitted {
        let [rows_in, accepted, quarantined, duplicates, dropped] = rows;
        let stretch = |(source, first, next, rows): &(&str, u64, u64, u64)| Stretch {
            source: (*source).to_owned(),
            first: *first,
            next: *next,
            rows: *rows,
        };
        DatasetCommitted {
            dataset: DatasetName::new("flights").unwrap(),
            version: 0,
            quarantine_version: None,
            source: batch.to_owned(),
            source_digest: Digest::of(batch),
            content_digest: None,
            rows_digest: Digest::of(batch),
            rows_in,
            accepted,
            quarantined,
            reasons: Vec::new(),
            warnings: Vec::new(),
            events: None,
            duplicates,
            dropped,
            raw_version: None,
            verdicts: Vec::new(),
            stretches: stretches.iter().map(stretch).collect(),
            changes: None,
        }
    }

    fn told(facts: &[DatasetCommitted]) -> Option<String> {
        let mut walk = Walk::default();
        facts.iter().find_map(|fact| walk.add(fact, false)).map(|(stretch, problem)| format!("{stretch}: {problem}"))
    }

    /// A log whose entries each add and remove files of ten rows, by an operation of this program or by another program.
    fn log(entries: &[(Option<&str>, &[&str], &[&str])]) -> TableLog {
        let mut log = TableLog::default();
        for (operation, added, removed) in entries {
            let text = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
            let note = operation.map(|of| Note { operation: OperationId::derive(&[of]), seal: None, then: None });
            log.push(Some(Entry {
                note,
                added: text(added),
                added_rows: vec![Some(10); added.len()],
                removed: text(removed),
                rows: Some(10 * added.len() as u64),
                ..Entry::default()
            }));
        }
        log
    }

    #[test]
    fn changes_that_no_fact_seals_are_found_whatever_comes_after_them() {
        let told = |sealed: &[u64], entries: &[(Option<&str>, &[&str], &[&str])]| {
            log(entries).unsealed_change(&sealed.iter().copied().collect())
        };
        // What a crash left was undone by its own operation.
        let undone = [(Some("a"), &["1"][..], &[][..]), (Some("b"), &["2"], &[]), (Some("b"), &[], &["2"])];
        assert_eq!(told(&[0], &undone), None);
        assert_eq!(told(&[0], &undone[..2]).as_deref(), Some("version 1 added 10 rows that no fact accounts for"));
        // Another program took rows out, or put some in; that a sealed commit removes files later hides neither.
        let cases = [
            (None, &[][..], &["1"][..], "version 1 took out 10 rows that no fact accounts for"),
            (None, &["3"], &[], "version 1 added 10 rows that no fact accounts for"),
            (None, &["3"], &["1"], "version 1 wrote again 10 rows that no fact accounts for"),
        ];
        for (by, added, removed, expected) in cases {
            let entries =
                [(Some("a"), &["1", "2"][..], &[][..]), (by, added, removed), (Some("c"), &["4"], &["2", "3"])];
            assert_eq!(told(&[0, 2], &entries).as_deref(), Some(expected));
        }
    }

    #[test]
    fn books_that_balance_have_no_gap() {
        let one = fact("one", [10, 7, 1, 1, 1], &[("p0", 0, 6, 6), ("p1", 5, 9, 4)]);
        // A place may be empty, such as where a transaction ended.
        let two = fact("two", [3, 3, 0, 0, 0], &[("p0", 6, 10, 3)]);
        assert_eq!(told(&[one, two]), None);
    }

    #[test]
    fn changes_that_brought_no_row_are_counted() {
        let changes = RowChanges { updated: 3, deleted: 2, absent: 1, superseded: 4, rewritten: 100, repeated: 0 };
        let fact = |rows_in, accepted| DatasetCommitted {
            changes: Some(changes),
            ..fact("c", [rows_in, accepted, 1, 0, 0], &[])
        };
        assert_eq!(told(&[fact(12, 4)]), None);
        assert_eq!(told(&[fact(13, 4)]).as_deref(), Some("c: 13 rows came in, and 12 went somewhere"));
        assert_eq!(told(&[fact(10, 2)]).as_deref(), Some("c: 2 rows landed, and 3 took another's place"));
    }

    #[test]
    fn the_first_batch_that_does_not_balance_is_told() {
        let cases = [
            (fact("b", [10, 8, 1, 0, 0], &[]), "b: 10 rows came in, and 9 went somewhere"),
            (fact("a", [1, 1, 0, 0, 0], &[]), "a: this batch landed before"),
            (fact("b", [3, 3, 0, 0, 0], &[("p0", 10, 14, 4)]), "b: 3 rows came in, and the stretches hold 4"),
            (fact("b", [2, 2, 0, 0, 0], &[("p0", 10, 11, 2)]), "p0 from 10 to 11: it cannot hold 2 rows"),
            (
                fact("b", [1, 1, 0, 0, 0], &[("p0", 11, 12, 1)]),
                "p0 from 11 to 12: there is a gap before it: the one before ends at 10",
            ),
            (
                fact("b", [1, 1, 0, 0, 0], &[("p0", 9, 10, 1)]),
                "p0 from 9 to 10: it overlaps the one before, which ends at 10",
            ),
        ];
        for (wrong, expected) in cases {
            let first = fact("a", [10, 10, 0, 0, 0], &[("p0", 0, 10, 10)]);
            assert_eq!(told(&[first, wrong]).as_deref(), Some(expected));
        }
    }
}
