//! What becomes of rows in a quarantine: they are looked at, repaired and released, or discarded. A row that somebody has
//! decided about stays in the quarantine and is marked, so that nothing is lost and nothing is released twice.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use tenon_core::fact::{QuarantineDiscarded, QuarantineReleased, Reason};
use tenon_core::id::OperationId;
use tenon_core::{AsOf, DatasetName, Digest, Principal, Timestamp};
use tenon_query::{Expression, QueryError};

use crate::commit::{Files, Step, discard, quarantine_table_schema};
use crate::contract::{contract_schema, quarantine_schema};
use crate::delta::log::{DataFile, Note, Seal, Sealing, Then};
use crate::delta::table::{Change, Table};
use crate::json::rows_from_objects;
use crate::landing::place::Place;
use crate::replay::in_schema;
use crate::{Lake, LakeError, quarantine_of, rows_digest};

/// Which rows of a quarantine are meant, and what is done to them before they are checked again.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// A condition in SQL over the columns that the rows came with, and the quarantine's own. Without it, all open rows.
    pub filter: Option<String>,
    /// Repairs: a column as the source has it, and the expression in SQL that it becomes.
    pub set: Vec<(String, String)>,
}

/// What a release did.
#[derive(Debug, Clone)]
pub struct Released {
    /// The fact; none where no row could be released.
    pub fact: Option<QuarantineReleased>,
    /// Rows that were meant.
    pub chosen: u64,
    /// Why rows that were meant stay where they are.
    pub still_broken: Vec<Reason>,
    /// The rows that landed.
    pub accepted: Vec<RecordBatch>,
}

/// Open rows of one data file of a quarantine.
pub(crate) struct Chosen {
    path: String,
    /// All rows of the file.
    pub(crate) rows: RecordBatch,
    /// The numbers of the chosen rows in it.
    pub(crate) numbers: Vec<u32>,
    /// The chosen rows as they came, repaired.
    pub(crate) repaired: RecordBatch,
}

impl Lake {
    /// A query for the open rows of a dataset's quarantine, whatever version of the program wrote them.
    ///
    /// # Errors
    /// [`LakeError::NoDataset`] and [`LakeError::View`].
    pub async fn open_rows_sql(&self, dataset: &DatasetName) -> Result<String, LakeError> {
        self.table_spec(dataset)?;
        let name = quarantine_of(dataset.as_str());
        let held = self.table(&name).await?.head.lock().await.schema.clone();
        let is_marked = held.is_none_or(|held| held.field_with_name("_resolution").is_ok());
        Ok(match is_marked {
            true => format!("SELECT * FROM \"{name}\" WHERE _resolution IS NULL"),
            false => format!("SELECT *, CAST(NULL AS VARCHAR) AS _rules FROM \"{name}\""),
        })
    }

    /// The open rows of a dataset's quarantine, by the rules that they broke: `rule`, `rows`, `first`, `last`, and a
    /// `sample` reason and row.
    ///
    /// # Errors
    /// As [`Lake::query`].
    pub async fn quarantine_reasons(&self, dataset: &DatasetName) -> Result<Vec<RecordBatch>, LakeError> {
        let open = self.open_rows_sql(dataset).await?;
        let sql = format!(
            "SELECT coalesce(_rules, _reason) AS rule, count(*) AS rows, min(_quarantined_at) AS first, max(_quarantined_at) AS last, \
             min(_reason) AS sample, min(_row) AS sample_row FROM ({open}) GROUP BY 1 ORDER BY rows DESC, rule"
        );
        self.query(&sql, AsOf::Latest).await
    }

    /// Releases rows of a quarantine: repairs them, holds them against cleaning and contract as any rows that come in, and
    /// lands those that keep it. The others stay as they were.
    ///
    /// # Errors
    /// [`LakeError::Query`] when the condition or a repair is wrong; [`LakeError::NotPossible`] for a dataset that follows
    /// changes; [`LakeError::Raced`] when the dataset changed meanwhile. Nothing has been released then.
    pub async fn release(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        selection: &Selection,
        reason: &str,
    ) -> Result<Released, LakeError> {
        let resource = self.table_spec(dataset)?;
        self.only_appended_to(dataset)?;
        let rules = self.rules(dataset)?;
        let (versions, _) = self.settled_head(&Place::of(dataset)).await?;
        let table = self.table(dataset.as_str()).await?;
        let quarantine = self.table(&quarantine_of(dataset.as_str())).await?;
        let quarantine_version = quarantine.head.lock().await.version;
        let misfit = |error: ArrowError| LakeError::Misfit { table: dataset.to_string(), what: error.to_string() };
        let chosen = self.chosen(&quarantine, quarantine_version, selection).await?;

        let mut checker = self.checker(dataset);
        // Rows that somebody has decided about may be late; a key that has landed meanwhile has landed all the same.
        (checker.landed, checker.asked) = (self.landed(&Place::of(dataset)).await?, true);
        if let Some(landed) = checker.landed.as_deref_mut() {
            landed.excuse();
        }
        let now = self.inner.clock.now();
        let (mut accepted, mut still_broken, mut keys, mut landing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut meant = 0;
        for file in chosen {
            meant += file.numbers.len() as u64;
            checker.seen.next_batch();
            let checked = checker.check(std::slice::from_ref(&file.repaired)).await?;
            // What never was a row lacks columns, and must not keep the rows of other batches from being released.
            if let Some(refusal) = checked.refusal() {
                let rows = file.numbers.len() as u64;
                add_reasons(&mut still_broken, &[Reason { rule: refusal.to_owned(), rows }]);
                continue;
            }
            add_reasons(&mut still_broken, &checked.tally.reasons);
            add_reasons(&mut still_broken, &checked.tally.refusals);
            if checked.tally.duplicates > 0 {
                let rule = format!("key {}: has landed already", resource.spec.contract.key.join(", "));
                add_reasons(&mut still_broken, &[Reason { rule, rows: checked.tally.duplicates }]);
            }
            if !checked.tally.refusals.is_empty() {
                continue;
            }
            let gone = checked.gone.unwrap_or_else(|| BooleanBuffer::new_unset(file.numbers.len()));
            let landed: Vec<u32> =
                file.numbers.iter().enumerate().filter(|(at, _)| !gone.value(*at)).map(|(_, row)| *row).collect();
            if landed.is_empty() {
                continue;
            }
            keys.extend(row_keys(&file.rows, &landed));
            landing.push((file.path, file.rows, landed));
            accepted.push(checked.accepted);
        }
        let mut released = Released { fact: None, chosen: meant, still_broken, accepted };
        if released.accepted.is_empty() {
            return Ok(released);
        }
        let operation = operation("quarantine.release", dataset, keys, quarantine_version);
        let released_by = Mark { word: Some("released"), at: Some(now), released_by: Some(operation) };
        let rewritten =
            landing.into_iter().map(|(path, rows, landed)| Ok((path, marked(&rows, &landed, &released_by)?)));
        let rewritten = rewritten.collect::<Result<_, ArrowError>>().map_err(misfit)?;
        let contract = Arc::new(contract_schema(&resource.spec.contract));
        let unreadable = |error: parquet::errors::ParquetError| LakeError::written(dataset.as_str(), error);
        let files = Files::encode(operation, Arc::clone(&rules.schema), &released.accepted, &[]).map_err(unreadable)?;
        let digest = rows_digest(&contract, &released.accepted);
        let rows = released.accepted.iter().map(|rows| rows.num_rows() as u64).sum();

        let mut head = table.head.lock().await;
        let mut quarantine_head = quarantine.head.lock().await;
        if head.version.map_or(0, |version| version + 1) != versions || quarantine_head.version != quarantine_version {
            return Err(LakeError::Raced(dataset.to_string()));
        }
        let then = store_marked(&quarantine, operation, rewritten).await?;
        let schema = crate::commit::table_schema(dataset, head.schema.as_ref(), &contract)?;
        let change = match files.store(&table, schema).await {
            Ok(change) => change,
            Err(error) => {
                discard(&quarantine, &then.added).await;
                return Err(error);
            }
        };
        let mut fact = QuarantineReleased {
            dataset: dataset.clone(),
            version: versions,
            quarantine_version: quarantine_version.map_or(0, |version| version + 1),
            rows,
            rows_digest: digest,
            repaired: selection.set.iter().map(|(column, _)| column.clone()).collect(),
            reason: reason.to_owned(),
        };
        let seal = |fact: &QuarantineReleased| Seal {
            by: by.clone(),
            pod: Some(resource.pod.clone()),
            fact: Sealing::of(fact),
        };
        let note = |version| {
            let released = QuarantineReleased { version, ..fact.clone() };
            Note { operation, seal: Some(seal(&released)), then: Some(then.clone()) }
        };
        fact.version = table.commit(&mut head, change, now, note).await?;
        self.reached(Step::Landed)?;
        fact.quarantine_version = self.follow(operation, (&quarantine, &mut quarantine_head), then).await?;
        self.reached(Step::Followed)?;
        self.seal(dataset.as_str(), operation, seal(&fact)).await?;
        head.unsealed.remove(&operation);
        quarantine_head.unsealed.remove(&operation);
        released.fact = Some(fact);
        Ok(released)
    }

    /// Marks rows of a quarantine as never to land. None where no row is meant.
    ///
    /// # Errors
    /// As [`Lake::release`].
    pub async fn discard_quarantined(
        &self,
        by: &Principal,
        dataset: &DatasetName,
        filter: Option<&str>,
        reason: &str,
    ) -> Result<Option<QuarantineDiscarded>, LakeError> {
        let resource = self.table_spec(dataset)?;
        self.settled_head(&Place::of(dataset)).await?;
        let quarantine = self.table(&quarantine_of(dataset.as_str())).await?;
        let version = quarantine.head.lock().await.version;
        let selection = Selection { filter: filter.map(str::to_owned), set: Vec::new() };
        let now = self.inner.clock.now();
        let discarded = Mark { word: Some("discarded"), at: Some(now), released_by: None };
        let misfit = |error: ArrowError| LakeError::Misfit { table: dataset.to_string(), what: error.to_string() };
        let (mut keys, mut rewritten) = (Vec::new(), Vec::new());
        for file in self.chosen(&quarantine, version, &selection).await? {
            keys.extend(row_keys(&file.rows, &file.numbers));
            rewritten.push((file.path, marked(&file.rows, &file.numbers, &discarded).map_err(misfit)?));
        }
        let rows = keys.len() as u64;
        if rows == 0 {
            return Ok(None);
        }
        let operation = operation("quarantine.discard", dataset, keys, version);
        let mut head = quarantine.head.lock().await;
        if head.version != version {
            return Err(LakeError::Raced(dataset.to_string()));
        }
        let Then { added, removed } = store_marked(&quarantine, operation, rewritten).await?;
        let schema = quarantine_table_schema(head.schema.as_ref(), false)?;
        let fact = |quarantine_version| QuarantineDiscarded {
            dataset: dataset.clone(),
            quarantine_version,
            rows,
            reason: reason.to_owned(),
        };
        let seal =
            |version| Seal { by: by.clone(), pod: Some(resource.pod.clone()), fact: Sealing::of(&fact(version)) };
        let note = |version| Note { operation, seal: Some(seal(version)), then: None };
        let change = Change { added, removed, schema, ..Change::default() };
        let made = quarantine.commit(&mut head, change, now, note).await?;
        self.seal(&quarantine.name, operation, seal(made)).await?;
        head.unsealed.remove(&operation);
        Ok(Some(fact(made)))
    }

    /// The open rows that a selection means, file by file.
    pub(crate) async fn chosen(
        &self,
        quarantine: &Arc<Table>,
        version: Option<u64>,
        selection: &Selection,
    ) -> Result<Vec<Chosen>, LakeError> {
        let Some(version) = version else { return Ok(Vec::new()) };
        let misfit = |error: ArrowError| LakeError::Misfit { table: quarantine.name.clone(), what: error.to_string() };
        let (mut chosen, mut unknown, mut fits) = (Vec::new(), None, false);
        for DataFile { path, .. } in quarantine.files(version).await?.into_values() {
            let rows = self.set_aside_in(quarantine, &path).await?;
            let open: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| is_open(&rows, *row as usize)).collect();
            if open.is_empty() {
                continue;
            }
            let open_rows = take_record_batch(&rows, &UInt32Array::from(open.clone())).map_err(misfit)?;
            match self.meant(&open_rows, selection) {
                Ok((which, repaired)) => {
                    fits = true;
                    let numbers: Vec<u32> = which.set_indices().map(|at| open[at]).collect();
                    if !numbers.is_empty() {
                        chosen.push(Chosen { path, rows, numbers, repaired });
                    }
                }
                // Rows of another source may have the column.
                Err(LakeError::Query(error @ QueryError::NoColumn { .. })) => unknown = Some(error),
                Err(error) => return Err(error),
            }
        }
        match unknown {
            Some(error) if !fits => Err(error.into()),
            _ => Ok(chosen),
        }
    }

    /// All rows of one data file of a quarantine, whatever version of the program wrote them.
    pub(super) async fn set_aside_in(&self, quarantine: &Table, path: &str) -> Result<RecordBatch, LakeError> {
        let misfit = |error: ArrowError| LakeError::Misfit { table: quarantine.name.clone(), what: error.to_string() };
        let pieces = self.rows_of_file(quarantine, path).await?;
        let pieces = pieces.iter().map(|rows| in_schema(rows, &quarantine_schema())).collect::<Result<Vec<_>, _>>();
        pieces.and_then(|pieces| concat_batches(&quarantine_schema(), &pieces)).map_err(misfit)
    }

    /// Which of some open rows a selection means, and these rows as they came, repaired.
    fn meant(&self, open: &RecordBatch, selection: &Selection) -> Result<(BooleanBuffer, RecordBatch), LakeError> {
        let misfit =
            |error: ArrowError| LakeError::Misfit { table: "the quarantine".to_owned(), what: error.to_string() };
        let texts = open.column_by_name("_row").map(|column| column.as_string::<i32>().clone());
        let texts = texts.ok_or_else(|| LakeError::Interrupted("a quarantine without rows".to_owned()))?;
        let came = rows_from_objects(&texts).map_err(misfit)?;
        let own = open.schema_ref().fields().iter().zip(open.columns());
        let own = own.filter(|(field, _)| came.column_by_name(field.name()).is_none());
        let (mut fields, mut columns): (Vec<Arc<Field>>, Vec<ArrayRef>) =
            came.schema_ref().fields().iter().cloned().zip(came.columns().iter().cloned()).unzip();
        for (field, column) in own {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            columns.push(Arc::clone(column));
        }
        let all = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(misfit)?;
        let evaluate = |sql: &str, rows: &RecordBatch| {
            Expression::compile(&self.inner.session, sql, rows.schema())
                .and_then(|expression| expression.evaluate(rows))
        };
        let which = match &selection.filter {
            None => BooleanArray::from(vec![true; all.num_rows()]),
            Some(sql) => {
                let condition = evaluate(sql, &all)?;
                let condition = condition.as_boolean_opt().cloned();
                condition.ok_or_else(|| QueryError::Failed(format!("`{sql}` is neither true nor false")))?
            }
        };
        let which = match which.nulls() {
            Some(nulls) => which.values() & nulls.inner(),
            None => which.values().clone(),
        };
        let mask = BooleanArray::new(which.clone(), None);
        let all = filter_record_batch(&all, &mask).map_err(misfit)?;
        let came = filter_record_batch(&came, &mask).map_err(misfit)?;
        let (mut fields, mut columns) = (came.schema_ref().fields().to_vec(), came.columns().to_vec());
        for (column, sql) in &selection.set {
            let values = evaluate(sql, &all)?;
            let field = Arc::new(Field::new(column, values.data_type().clone(), true));
            match came.schema_ref().index_of(column) {
                Ok(at) => (fields[at], columns[at]) = (field, values),
                Err(_) => {
                    fields.push(field);
                    columns.push(values);
                }
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(came.num_rows()));
        let repaired = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        Ok((which, repaired.map_err(misfit)?))
    }
}

fn is_open(rows: &RecordBatch, row: usize) -> bool {
    rows.column_by_name("_resolution").is_none_or(|resolution| resolution.is_null(row))
}

/// What names each row for ever: its batch's digest and its number there.
fn row_keys(rows: &RecordBatch, numbers: &[u32]) -> Vec<String> {
    let digests = rows.column_by_name("_source_digest").map(|column| column.as_string::<i32>().clone());
    let of =
        rows.column_by_name("_row_number").map(|column| column.as_primitive::<arrow::datatypes::Int64Type>().clone());
    let (Some(digests), Some(of)) = (digests, of) else { return Vec::new() };
    numbers.iter().map(|row| format!("{} {}", digests.value(*row as usize), of.value(*row as usize))).collect()
}

/// The operation of deciding about rows. A restore may open them again, so that the quarantine's version belongs to it.
fn operation(what: &str, dataset: &DatasetName, mut keys: Vec<String>, version: Option<u64>) -> OperationId {
    keys.sort();
    let (rows, version) = (Digest::of(keys.join("\n")).to_string(), version.unwrap_or(0).to_string());
    OperationId::derive(&[what, dataset.as_str(), &rows, &version])
}

/// What is written at rows of a quarantine that are decided about, or open again.
pub(super) struct Mark {
    pub(super) word: Option<&'static str>,
    pub(super) at: Option<Timestamp>,
    /// Who releases them, after those who did before.
    pub(super) released_by: Option<OperationId>,
}

/// The rows of a file with some of them marked.
pub(super) fn marked(rows: &RecordBatch, numbers: &[u32], mark: &Mark) -> Result<RecordBatch, ArrowError> {
    let mut is_marked = vec![false; rows.num_rows()];
    numbers.iter().for_each(|row| is_marked[*row as usize] = true);
    let schema = quarantine_schema();
    let column = |(at_column, field): (usize, &Arc<Field>)| -> ArrayRef {
        let column = rows.column(at_column);
        match field.name().as_str() {
            "_resolution" => {
                let texts = column.as_string::<i32>();
                let text = |row: usize| {
                    if is_marked[row] { mark.word } else { texts.is_valid(row).then(|| texts.value(row)) }
                };
                Arc::new((0..rows.num_rows()).map(text).collect::<StringArray>())
            }
            "_resolved_at" => {
                let moments = column.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
                let moment = |row: usize| match is_marked[row] {
                    true => mark.at.map(Timestamp::as_micros),
                    false => moments.is_valid(row).then(|| moments.value(row)),
                };
                let moments: TimestampMicrosecondArray = (0..rows.num_rows()).map(moment).collect();
                Arc::new(moments.with_timezone("UTC"))
            }
            "_released_by" => {
                let texts = column.as_string::<i32>();
                let before = |row: usize| texts.is_valid(row).then(|| texts.value(row).to_owned());
                let text = |row: usize| match mark.released_by.filter(|_| is_marked[row]) {
                    Some(operation) => {
                        Some(before(row).map_or(operation.to_string(), |before| format!("{before} {operation}")))
                    }
                    None => before(row),
                };
                Arc::new((0..rows.num_rows()).map(text).collect::<StringArray>())
            }
            _ => Arc::clone(column),
        }
    };
    let columns = schema.fields().iter().enumerate().map(column).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns)
}

/// Writes files with marked rows; no log names them yet.
pub(super) async fn store_marked(
    quarantine: &Arc<Table>,
    operation: OperationId,
    rewritten: Vec<(String, RecordBatch)>,
) -> Result<Then, LakeError> {
    let (removed, rows): (Vec<String>, Vec<RecordBatch>) = rewritten.into_iter().unzip();
    let encoded = Files::encode(operation, quarantine_schema(), &rows, &[]);
    let encoded = encoded.map_err(|error| LakeError::written(&quarantine.name, error))?;
    Ok(Then { added: encoded.store(quarantine, None).await?.added, removed })
}

fn add_reasons(sum: &mut Vec<Reason>, more: &[Reason]) {
    for reason in more {
        match sum.iter_mut().find(|known| known.rule == reason.rule) {
            Some(known) => known.rows += reason.rows,
            None => sum.push(reason.clone()),
        }
    }
}
