//! A contract, compiled: each column's promises as one pass of Arrow kernels, checks as compiled expressions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNumericType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, Scalar, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::aggregate::{max, min};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::kernels::regexp::regexp_is_match_scalar;
use arrow::compute::{FilterBuilder, cast, or};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::common::HashMap;
use datafusion::prelude::SessionContext;
use rayon::prelude::*;
use tenon_core::spec::{Column, ColumnType, Contract, DatasetSpec, Severity};
use tenon_core::{Share, Timestamp};
use tenon_query::Expression;

use super::Checked;
use super::broken::{Broken, ShownValue, Tally};
use super::convert::{arrow_type, convert, in_words};
use super::keys::{KeySet, Seen};
use super::quarantine::quarantine_rows;
use crate::LakeError;
use crate::clean::{Cleaner, Input};
use crate::delta::log::utc;
use crate::landing::landed::Landed;
use crate::raw::Raw;

/// Below this many rows, columns are cleaned and checked one after the other.
pub(crate) const ROWS_IN_PARALLEL: usize = 4_096;

/// The key sets that a batch is checked against, by reference: `planes.tailnum`.
pub(crate) type References = std::collections::HashMap<String, Arc<KeySet>>;

/// A compiled contract.
#[derive(Debug)]
pub(crate) struct Rules {
    pub spec: DatasetSpec,
    /// The table's schema: the contract's columns in its order.
    pub schema: SchemaRef,
    /// The same with every column nullable, for rows that are not checked yet.
    loose: SchemaRef,
    cleaner: Cleaner,
    columns: Vec<ColumnRule>,
    key: Vec<usize>,
    event_time: Option<usize>,
    checks: Vec<(String, Severity, Expression)>,
}

#[derive(Debug)]
struct ColumnRule {
    name: String,
    spec: Column,
    one_of: Option<KeySet>,
    /// The pattern, anchored at both ends.
    pattern: Option<String>,
}

/// The schema of a dataset's table, as its contract declares it.
pub fn contract_schema(contract: &Contract) -> Schema {
    let field = |(name, column): (&String, &Column)| Field::new(name, arrow_type(column.data_type), column.nullable);
    Schema::new(contract.columns.iter().map(field).collect::<Vec<_>>())
}

impl Rules {
    /// Compiles a dataset's contract.
    ///
    /// # Errors
    /// [`LakeError::Contract`] names the column or check that cannot be followed.
    pub(crate) fn compile(session: &SessionContext, dataset: &str, spec: &DatasetSpec) -> Result<Self, LakeError> {
        let contract = &spec.contract;
        if contract.columns.is_empty() {
            return Err(LakeError::contract(dataset, "it names no columns, so nothing could land"));
        }
        let schema = contract_schema(contract);
        let nullable = schema.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        let loose = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        let position = |column: &String| {
            contract.columns.get_index_of(column).ok_or_else(|| {
                LakeError::contract(dataset, format!("it names column `{column}` and does not declare it"))
            })
        };
        let columns = contract.columns.iter().map(|(name, spec)| ColumnRule::compile(dataset, name, spec));
        let check = |check: &tenon_core::spec::Check| {
            let expression = Expression::compile(session, &check.sql, Arc::clone(&loose));
            let failed = |why: String| LakeError::contract(dataset, format!("check `{}`: {why}", check.name));
            let expression = expression.map_err(|error| failed(error.to_string()))?;
            match expression.data_type().map_err(|error| failed(error.to_string()))? {
                DataType::Boolean | DataType::Null => Ok((check.name.clone(), check.severity, expression)),
                other => Err(failed(format!("a check is a condition, and this is {other}"))),
            }
        };
        Ok(Self {
            cleaner: Cleaner::compile(session, dataset, spec)?,
            columns: columns.collect::<Result<_, _>>()?,
            key: contract.key.iter().map(position).collect::<Result<_, _>>()?,
            event_time: spec.event_time.as_ref().map(position).transpose()?,
            checks: contract.checks.iter().map(check).collect::<Result<_, LakeError>>()?,
            schema: Arc::new(schema),
            loose,
            spec: spec.clone(),
        })
    }

    /// The references whose key sets [`Rules::check`] wants.
    pub(crate) fn references(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|column| column.spec.references.as_deref())
    }

    /// The table's schema with every column nullable, for rows that are not checked yet.
    pub(crate) fn loose(&self) -> SchemaRef {
        Arc::clone(&self.loose)
    }

    /// Above this share of bad rows a batch is refused.
    pub(crate) fn max_quarantined(&self) -> Option<Share> {
        self.spec.contract.max_quarantined
    }

    /// The columns of which no value may come twice in the table.
    pub(crate) fn unique(&self) -> impl Iterator<Item = (usize, &str)> {
        let columns = self.columns.iter().enumerate();
        columns.filter(|(_, column)| column.spec.unique).map(|(at, column)| (at, column.name.as_str()))
    }

    /// Cleans a batch, brings it into the contract's types and checks everything that a batch alone can tell. The other
    /// side is a refusal.
    ///
    /// # Errors
    /// Arrow's, when a batch is larger than its types can say.
    pub(crate) fn convert(
        &self,
        rows: &RecordBatch,
        references: &References,
    ) -> Result<Result<Converted, Checked>, ArrowError> {
        let cleaned = match self.cleaner.clean(rows) {
            Ok(cleaned) => cleaned,
            Err(sentence) => return Ok(Err(self.refused(rows, sentence))),
        };
        let check = |(rule, source): (&ColumnRule, &Input)| rule.check(source, references);
        let pairs: Vec<_> = self.columns.iter().zip(&cleaned.columns).collect();
        let checked: Vec<Result<CheckedColumn, Fault>> = if rows.num_rows() < ROWS_IN_PARALLEL {
            pairs.into_iter().map(check).collect()
        } else {
            pairs.into_par_iter().with_max_len(1).map(check).collect()
        };
        let (mut columns, mut broken) = (Vec::with_capacity(checked.len()), Vec::new());
        for checked in checked {
            match checked {
                Ok((values, rules)) => {
                    columns.push(values);
                    broken.extend(rules);
                }
                Err(Fault::Type(sentence)) => return Ok(Err(self.refused(rows, sentence))),
                Err(Fault::Arrow(error)) => return Err(error),
            }
        }
        let table = RecordBatch::try_new(Arc::clone(&self.loose), columns)?;
        for (name, severity, expression) in &self.checks {
            match expression.evaluate(&table) {
                Ok(holds) => broken.extend(Broken::some(name, *severity, is_false(&holds), None)),
                Err(error) => {
                    return Ok(Err(self.refused(rows, format!("check `{name}` cannot be computed: {error}"))));
                }
            }
        }
        let dropped = cleaned.dropped.filter(|dropped| dropped.count_set_bits() > 0);
        if let Some(dropped) = &dropped {
            let kept = !dropped;
            broken = broken.into_iter().filter_map(|rule| rule.among(&kept)).collect();
        }
        let event = self.event_time.map(|at| Arc::clone(&cleaned.columns[at].shown));
        Ok(Ok(Converted { table, broken, dropped, event }))
    }

    /// Checks what rows have to do with each other and with the table, and splits the batch. `seen` holds the keys of the
    /// batches that will be committed with it, `landed` what the dataset looks back at, `taken` the values of unique columns
    /// that the table has already.
    ///
    /// # Errors
    /// As [`Rules::convert`].
    pub(crate) fn finish(
        &self,
        rows: &RecordBatch,
        converted: Converted,
        seen: &mut SeenRows,
        landed: Option<&mut Landed>,
        taken: &std::collections::HashMap<usize, KeySet>,
    ) -> Result<Checked, ArrowError> {
        let Converted { table, mut broken, dropped, event } = converted;
        let mut duplicates = None;
        if let Some(landed) = landed {
            if let (Some(at), Some(event), Some(watermark)) = (self.event_time, &event, landed.watermark()) {
                let late = self.late(&table, event, at, watermark)?;
                broken.extend(late.and_then(|late| match &dropped {
                    Some(dropped) => late.among(&!dropped),
                    None => Some(late),
                }));
            }
            // What has landed already is no second row of its unique values either.
            if landed.dedups() {
                let out = any([union(&broken), dropped.clone()]);
                duplicates = Some(landed.repeated(&table, &self.key, out.as_ref())?);
            }
        }
        let left_out = any([dropped.clone(), duplicates.clone()]);
        let out = |broken: &[Broken]| any([union(broken), left_out.clone()]);
        for (at, name) in self.unique() {
            let severity = self.columns[at].spec.severity;
            let column = table.column(at);
            let shown = ShownValue {
                column: name.to_owned(),
                values: Arc::clone(column),
                verdict: "is there already".to_owned(),
            };
            let out = out(&broken);
            let mut again = match taken.get(&at) {
                Some(taken) => !&taken.others(column)?,
                None => BooleanBuffer::new_unset(column.len()),
            };
            if let Some(nulls) = column.nulls() {
                again = &again & nulls.inner();
            }
            let none = column.nulls().map(|nulls| !nulls.inner());
            let ignored = any([out, none, Some(again.clone())]);
            let repeated = seen.unique.entry(at).or_default().repeated(&table, &[at], ignored.as_ref())?;
            let found = &again | &repeated;
            let found = left_out.as_ref().map_or(found.clone(), |left_out| &found & &!left_out);
            broken.extend(Broken::some(format!("{name}: not unique"), severity, found, Some(shown)));
        }
        if !self.key.is_empty() && duplicates.is_none() {
            let repeated = seen.key.repeated(&table, &self.key, out(&broken).as_ref())?;
            let rule = format!("key {}: not the first", self.spec.contract.key.join(", "));
            broken.extend(Broken::some(rule, Severity::Quarantine, repeated, None));
        }
        self.divide(rows, table, &broken, dropped, duplicates)
    }

    /// Checks a batch of a contract whose columns need not be unique in the table.
    ///
    /// # Errors
    /// As [`Rules::convert`].
    pub(crate) fn check(
        &self,
        rows: &RecordBatch,
        references: &References,
        seen: &mut SeenRows,
        landed: Option<&mut Landed>,
    ) -> Result<Checked, ArrowError> {
        match self.convert(rows, references)? {
            Ok(converted) => self.finish(rows, converted, seen, landed, &std::collections::HashMap::new()),
            Err(refused) => Ok(refused),
        }
    }

    /// The rule that rows break whose event lies before the watermark.
    fn late(
        &self,
        table: &RecordBatch,
        source: &ArrayRef,
        event: usize,
        watermark: Timestamp,
    ) -> Result<Option<Broken>, ArrowError> {
        let name = &self.columns[event].name;
        let moments = cast(table.column(event), &utc())?;
        let bound = TimestampMicrosecondArray::from_value(watermark.as_micros(), 1).with_timezone("UTC");
        let late = is_true(&lt(moments.as_primitive::<TimestampMicrosecondType>(), &Scalar::new(&bound))?);
        let verdict = format!("comes later than is allowed: the watermark is {watermark}");
        let value = ShownValue { column: name.clone(), values: Arc::clone(source), verdict };
        Ok(Broken::some(format!("{name}: later than is allowed"), Severity::Quarantine, late, Some(value)))
    }

    /// Splits a batch whose broken rules are known.
    fn divide(
        &self,
        rows: &RecordBatch,
        table: RecordBatch,
        broken: &[Broken],
        dropped: Option<BooleanBuffer>,
        duplicates: Option<BooleanBuffer>,
    ) -> Result<Checked, ArrowError> {
        let out = union(broken);
        let gone = any([out.clone(), dropped.clone(), duplicates.clone()]);
        let keep = || gone.as_ref().map_or_else(|| Ok(table.clone()), |gone| without(&table, gone));
        let set_aside = || out.as_ref().map(|out| quarantine_rows(rows, broken, out)).transpose();
        let (kept, quarantined) = if gone.is_some() { rayon::join(keep, set_aside) } else { (keep(), Ok(None)) };
        let accepted = RecordBatch::try_new(Arc::clone(&self.schema), kept?.columns().to_vec())?;
        let of = |severity: Severity| {
            broken.iter().filter(move |rule| rule.severity == severity).map(Broken::reason).collect()
        };
        let tally = Tally {
            rows_in: rows.num_rows() as u64,
            quarantined: out.as_ref().map_or(0, |out| out.count_set_bits() as u64),
            dropped: dropped.as_ref().map_or(0, |dropped| dropped.count_set_bits() as u64),
            duplicates: duplicates.as_ref().map_or(0, |rows| rows.count_set_bits() as u64),
            reasons: of(Severity::Quarantine),
            warnings: of(Severity::Warn),
            refusals: of(Severity::Refuse),
            events: self.events(&accepted)?,
        };
        let raw = self.spec.keeps_raw().then(|| Raw::of(rows, &table)).transpose()?;
        Ok(Checked { accepted, quarantined: quarantined?, tally, refusal: None, raw, unique_at: None, gone })
    }

    fn refused(&self, rows: &RecordBatch, sentence: String) -> Checked {
        let tally = Tally { rows_in: rows.num_rows() as u64, quarantined: rows.num_rows() as u64, ..Tally::default() };
        let accepted = RecordBatch::new_empty(Arc::clone(&self.schema));
        Checked { accepted, quarantined: None, tally, refusal: Some(sentence), raw: None, unique_at: None, gone: None }
    }

    /// The earliest and the latest event among accepted rows.
    pub(crate) fn events(&self, accepted: &RecordBatch) -> Result<Option<(Timestamp, Timestamp)>, ArrowError> {
        let Some(at) = self.event_time else { return Ok(None) };
        let kind = self.columns[at].spec.data_type;
        if !matches!(kind, ColumnType::Timestamp | ColumnType::Date) {
            return Ok(None);
        }
        let moments = cast(accepted.column(at), &utc())?;
        let moments = moments.as_primitive::<TimestampMicrosecondType>();
        Ok(min(moments)
            .zip(max(moments))
            .map(|(low, high)| (Timestamp::from_micros(low), Timestamp::from_micros(high))))
    }
}

/// A batch in the contract's types, with the rules that its rows broke by themselves.
pub(crate) struct Converted {
    /// The contract's columns; values that break a rule are still there.
    pub table: RecordBatch,
    broken: Vec<Broken>,
    dropped: Option<BooleanBuffer>,
    /// The values to show of the event time, where there is one.
    event: Option<ArrayRef>,
}

/// The keys and the unique values that rows of one batch have taken so far.
#[derive(Default)]
pub(crate) struct SeenRows {
    key: Seen,
    /// By the column's position.
    unique: std::collections::HashMap<usize, Seen>,
}

impl SeenRows {
    /// Another batch begins: its keys are its own.
    pub(crate) fn next_batch(&mut self) {
        self.key = Seen::default();
    }
}

/// A column in the contract's type, and the rules that some of its rows broke.
type CheckedColumn = (ArrayRef, Vec<Broken>);

enum Fault {
    /// No value of the source's type can be of the contract's.
    Type(String),
    Arrow(ArrowError),
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl ColumnRule {
    fn compile(dataset: &str, name: &str, spec: &Column) -> Result<Self, LakeError> {
        let failed = |why: String| LakeError::contract(dataset, format!("column `{name}`: {why}"));
        let kind = arrow_type(spec.data_type);
        let one_of = spec.one_of.as_ref().map(|texts| {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            let values = cast(&texts, &kind).map_err(|error| failed(error.to_string()))?;
            if values.null_count() > 0 {
                return Err(failed(format!("a value of `one_of` is not {}", in_words(spec.data_type))));
            }
            KeySet::of([&values]).map_err(|error| failed(error.to_string()))
        });
        let pattern = spec.pattern.as_ref().map(|pattern| {
            if kind != DataType::Utf8 {
                return Err(failed("only text has a pattern".to_owned()));
            }
            let anchored = format!("^(?:{pattern})$");
            let probe = regexp_is_match_scalar(&StringArray::from(vec![""]), &anchored, None);
            probe.map(|_| anchored).map_err(|error| failed(format!("`{pattern}` is not a regular expression: {error}")))
        });
        if spec.range.is_some() && !kind.is_numeric() {
            return Err(failed("only numbers have a range".to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            spec: spec.clone(),
            one_of: one_of.transpose()?,
            pattern: pattern.transpose()?,
        })
    }

    fn check(&self, input: &Input, references: &References) -> Result<CheckedColumn, Fault> {
        let (name, kind) = (&self.name, self.spec.data_type);
        let (source, shown) = (&input.values, &input.shown);
        let (values, lost) =
            convert(source, kind).map_err(|why| Fault::Type(format!("column `{name}` cannot be read: {why}")))?;
        let mut broken = Vec::new();
        // A table cannot hold these at all, so that `warn` is not enough.
        let at_least_quarantine = self.spec.severity.max(Severity::Quarantine);
        for failed in &input.failed {
            let values = Arc::clone(failed.shown.as_ref().unwrap_or(shown));
            let value = ShownValue { column: name.clone(), values, verdict: failed.verdict.clone() };
            broken.extend(Broken::some(failed.rule.clone(), at_least_quarantine, failed.rows.clone(), Some(value)));
        }
        let mut add = |rule: String, severity: Severity, rows: BooleanBuffer, verdict: Option<String>| {
            let value = verdict.map(|verdict| ShownValue { column: name.clone(), values: Arc::clone(shown), verdict });
            broken.extend(Broken::some(rule, severity, rows, value));
        };
        if let Some(lost) = lost {
            let verdict = format!("is not {}", in_words(kind));
            add(format!("{name}: not {}", in_words(kind)), at_least_quarantine, lost, Some(verdict));
        }
        if let Some(nulls) = source.logical_nulls().filter(|nulls| !self.spec.nullable && nulls.null_count() > 0) {
            // A value that cleaning lost has its own reason.
            let missing = input.any_failed().map_or_else(|| !nulls.inner(), |failed| &!nulls.inner() & &!&failed);
            add(format!("{name}: missing"), at_least_quarantine, missing, None);
        }
        let severity = self.spec.severity;
        if let Some([low, high]) = self.spec.range {
            let outside = match values.data_type() {
                // A double does not tell great whole numbers from each other.
                // Beyond what a whole number can be, the bound is the last one.
                DataType::Int64 => outside::<Int64Type>(values.as_primitive(), low.ceil() as i64, high.floor() as i64)?,
                // In Arrow's order -0 is less than 0.
                _ => {
                    let (low, high) = (if low == 0.0 { -0.0 } else { low }, if high == 0.0 { 0.0 } else { high });
                    outside::<Float64Type>(cast(&values, &DataType::Float64)?.as_primitive(), low, high)?
                }
            };
            let bounds = format!("outside [{low}, {high}]");
            add(format!("{name}: {bounds}"), severity, outside, Some(format!("is {bounds}")));
        }
        if let Some(known) = &self.one_of {
            let list = self.spec.one_of.as_ref().map_or_else(String::new, |texts| texts.join(", "));
            let verdict = format!("is not one of {list}");
            add(format!("{name}: not one of {list}"), severity, known.others(&values)?, Some(verdict));
        }
        if let (Some(anchored), Some(pattern)) = (&self.pattern, &self.spec.pattern) {
            let matches = matches(values.as_string(), anchored)?;
            let verdict = format!("does not match {pattern}");
            add(
                format!("{name}: does not match {pattern}"),
                severity,
                is_false(&(Arc::new(matches) as _)),
                Some(verdict),
            );
        }
        if let Some((reference, known)) =
            self.spec.references.as_ref().and_then(|reference| Some((reference, references.get(reference)?)))
        {
            let verdict = format!("is not in {reference}");
            add(format!("{name}: not in {reference}"), severity, known.others(&values)?, Some(verdict));
        }
        Ok((values, broken))
    }
}

/// Whether each text matches. Columns with a pattern are mostly codes: few texts that come again and again, so that each
/// is matched once.
fn matches(texts: &StringArray, pattern: &str) -> Result<BooleanArray, ArrowError> {
    const FEW: usize = 1_024;
    let mut numbers: HashMap<&str, u16> = HashMap::new();
    let mut of_row: Vec<u16> = Vec::with_capacity(texts.len());
    for text in texts.iter() {
        // Of a row without a text the number does not matter.
        let next = numbers.len() as u16;
        of_row.push(text.map_or(0, |text| *numbers.entry(text).or_insert(next)));
        if numbers.len() > FEW {
            return regexp_is_match_scalar(texts, pattern, None);
        }
    }
    let mut distinct = vec![""; numbers.len()];
    numbers.into_iter().for_each(|(text, number)| distinct[usize::from(number)] = text);
    let matching = regexp_is_match_scalar(&StringArray::from(distinct), pattern, None)?;
    let is_matching =
        BooleanBuffer::collect_bool(texts.len(), |row| texts.is_valid(row) && matching.value(usize::from(of_row[row])));
    Ok(BooleanArray::new(is_matching, texts.nulls().cloned()))
}

/// Set where a number is less than `low`, more than `high`, or none (NaN).
fn outside<T: ArrowNumericType>(
    numbers: &PrimitiveArray<T>,
    low: T::Native,
    high: T::Native,
) -> Result<BooleanBuffer, ArrowError> {
    // Mostly there is nothing to find, and the extremes say so at once. In Arrow's order NaN is the greatest of all.
    if min(numbers).is_none_or(|least| least >= low) && max(numbers).is_none_or(|greatest| greatest <= high) {
        return Ok(BooleanBuffer::new_unset(numbers.len()));
    }
    let (low, high) = (PrimitiveArray::<T>::new_scalar(low), PrimitiveArray::<T>::new_scalar(high));
    Ok(is_true(&or(&lt(numbers, &low)?, &gt(numbers, &high)?)?))
}

/// The rows that are not set in `out`.
fn without(rows: &RecordBatch, out: &BooleanBuffer) -> Result<RecordBatch, ArrowError> {
    let kept = FilterBuilder::new(&BooleanArray::new(!out, None)).optimize().build();
    let columns: Vec<Result<ArrayRef, ArrowError>> = if rows.num_rows() < ROWS_IN_PARALLEL {
        rows.columns().iter().map(|column| kept.filter(column)).collect()
    } else {
        rows.columns().par_iter().with_max_len(1).map(|column| kept.filter(column)).collect()
    };
    RecordBatch::try_new(rows.schema(), columns.into_iter().collect::<Result<_, _>>()?)
}

/// Set where rows break a rule that keeps them from landing.
fn union(broken: &[Broken]) -> Option<BooleanBuffer> {
    let out = broken.iter().filter(|rule| rule.severity >= Severity::Quarantine).map(|rule| rule.rows.clone());
    out.reduce(|one, other| &one | &other)
}

/// Set where any of them is.
fn any<const N: usize>(masks: [Option<BooleanBuffer>; N]) -> Option<BooleanBuffer> {
    masks.into_iter().flatten().reduce(|one, other| &one | &other)
}

/// Set where a condition is false; unknown is not false.
fn is_false(condition: &ArrayRef) -> BooleanBuffer {
    match condition.as_boolean_opt() {
        Some(condition) => only_valid(&!condition.values(), condition),
        None => BooleanBuffer::new_unset(condition.len()),
    }
}

fn is_true(condition: &BooleanArray) -> BooleanBuffer {
    only_valid(condition.values(), condition)
}

fn only_valid(rows: &BooleanBuffer, of: &BooleanArray) -> BooleanBuffer {
    match of.nulls() {
        Some(nulls) => rows & nulls.inner(),
        None => rows.clone(),
    }
}
