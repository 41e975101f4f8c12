//! Cleaning: what a dataset declares is done to every row before its contract looks at it.
//!
//! Columns are cleaned one by one with Arrow's kernels; derived columns and the condition for dropping are expressions,
//! compiled once for each schema that a source comes with. A value to which a step cannot be applied is none afterwards,
//! and its row breaks a rule: it goes to the quarantine as it came.

mod column;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use rayon::prelude::*;
use tenon_core::spec::{Column, DatasetSpec, closest};
use tenon_query::Expression;

pub(crate) use column::Failed;
use column::{Applied, ColumnCleaner};

use crate::LakeError;
use crate::contract::{ROWS_IN_PARALLEL, arrow_type, contract_schema, convert};

/// Source schemas for which plans are kept; a source that changes its columns with every batch gets no more of them.
const PLANS: usize = 16;

/// A dataset's cleaning, compiled.
pub(crate) struct Cleaner {
    spec: DatasetSpec,
    columns: Vec<Option<ColumnCleaner>>,
    session: SessionContext,
    plans: Mutex<Vec<(SchemaRef, Arc<Plan>)>>,
}

/// The expressions for rows of one schema.
struct Plan {
    /// Columns of the contract, by position, that expressions read and that must have the contract's type for them.
    read: Vec<usize>,
    /// Derived columns by their position, in the order in which they are computed.
    derived: Vec<(usize, Computed)>,
    drop: Option<Computed>,
}

struct Computed {
    expression: Expression,
    schema: SchemaRef,
}

/// A column on its way to the contract.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// Its values.
    pub values: ArrayRef,
    /// The values to show in a reason, where that is not they.
    pub shown: ArrayRef,
    /// Where cleaning failed, and at what.
    pub failed: Vec<Failed>,
}

impl Input {
    fn plain(values: ArrayRef) -> Self {
        Self { shown: Arc::clone(&values), values, failed: Vec::new() }
    }

    /// Set where any step failed.
    pub(crate) fn any_failed(&self) -> Option<BooleanBuffer> {
        self.failed.iter().map(|failed| failed.rows.clone()).reduce(|one, other| &one | &other)
    }
}

/// Rows that are clean.
pub(crate) struct Cleaned {
    /// The contract's columns, in its order.
    pub columns: Vec<Input>,
    /// Set where a row is to be dropped.
    pub dropped: Option<BooleanBuffer>,
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaner").field("clean", &self.spec.clean).finish_non_exhaustive()
    }
}

impl Cleaner {
    /// Compiles a dataset's cleaning.
    ///
    /// # Errors
    /// [`LakeError::Contract`] names the column that cannot be cleaned as it is declared.
    pub(crate) fn compile(session: &SessionContext, dataset: &str, spec: &DatasetSpec) -> Result<Self, LakeError> {
        let column = |(name, column): (&String, &Column)| {
            let clean = spec.clean.columns.get(name).filter(|clean| clean.sql.is_none());
            let failed = |why: String| LakeError::contract(dataset, format!("cleaning column `{name}`: {why}"));
            clean.map(|clean| ColumnCleaner::compile(clean, column).map_err(failed)).transpose()
        };
        let columns = spec.contract.columns.iter().map(column).collect::<Result<_, _>>()?;
        let cleaner = Self { spec: spec.clone(), columns, session: session.clone(), plans: Mutex::new(Vec::new()) };
        // Over the declared columns alone most expressions can be checked before there are rows.
        match cleaner.plan(&Schema::empty().into()) {
            Err(Unplanned::Fault(why)) => Err(LakeError::contract(dataset, why)),
            Ok(_) | Err(Unplanned::NoColumn(_)) => Ok(cleaner),
        }
    }

    /// Cleans rows as their source has them.
    ///
    /// # Errors
    /// A sentence that says why the batch cannot be taken at all, such as a column that is missing.
    pub(crate) fn clean(&self, rows: &RecordBatch) -> Result<Cleaned, String> {
        if let Some(name) = named_twice(rows.schema_ref()) {
            return Err(format!("column `{name}` is there twice, and which of them is meant cannot be told"));
        }
        let named: Vec<_> = self.spec.contract.columns.iter().zip(&self.columns).collect();
        let column = |((name, column), cleaner): ((&String, &Column), &Option<ColumnCleaner>)| {
            self.column(rows, name, column, cleaner.as_ref())
        };
        let columns: Vec<Result<Input, String>> = if rows.num_rows() < ROWS_IN_PARALLEL {
            named.into_iter().map(column).collect()
        } else {
            named.into_par_iter().with_max_len(1).map(column).collect()
        };
        let columns = columns.into_iter().collect::<Result<_, _>>()?;
        let mut cleaned = Cleaned { columns, dropped: None };
        if self.has_expressions() {
            let plan = self.plan(rows.schema_ref()).map_err(|unplanned| match unplanned {
                Unplanned::Fault(why) | Unplanned::NoColumn(why) => why,
            })?;
            self.compute(&plan, rows, &mut cleaned)?;
        }
        Ok(cleaned)
    }

    /// One column of the contract, before what is derived is computed.
    fn column(
        &self,
        rows: &RecordBatch,
        name: &str,
        column: &Column,
        cleaner: Option<&ColumnCleaner>,
    ) -> Result<Input, String> {
        let Some(cleaner) = cleaner else {
            return Ok(Input::plain(match self.is_derived(name) {
                true => new_null_array(&arrow_type(column.data_type), rows.num_rows()),
                false => self.source(rows, name)?,
            }));
        };
        let source = match self.source(rows, name) {
            Err(_) if cleaner.has_default() => new_null_array(&DataType::Null, rows.num_rows()),
            source => source?,
        };
        let failed = |why: String| format!("column `{name}` cannot be cleaned: {why}");
        let Applied { values, shown, failed } = cleaner.apply(name, &source).map_err(failed)?;
        Ok(Input { values, shown, failed })
    }

    fn has_expressions(&self) -> bool {
        self.spec.clean.drop.is_some() || self.spec.clean.columns.values().any(|clean| clean.sql.is_some())
    }

    fn is_derived(&self, name: &str) -> bool {
        self.spec.clean.columns.get(name).is_some_and(|clean| clean.sql.is_some())
    }

    /// The source's column for a column of the contract. Where a name is declared for it and is not there, the contract's
    /// own name is tried: rows that come as JSON have what they lack under that.
    fn source(&self, rows: &RecordBatch, name: &str) -> Result<ArrayRef, String> {
        let from = self.spec.clean.columns.get(name).and_then(|clean| clean.from.as_deref());
        let wanted = from.unwrap_or(name);
        let found = rows.column_by_name(wanted).or_else(|| rows.column_by_name(name));
        found.cloned().ok_or_else(|| {
            let known = || rows.schema_ref().fields().iter().map(|field| field.name().as_str());
            let unclaimed = known().filter(|name| !self.claims(name));
            let hint = match closest(wanted, unclaimed) {
                Some(near) => format!("it has `{near}`; is that the one?"),
                None => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
            };
            format!("column `{wanted}` is missing: {hint}")
        })
    }

    /// Whether a column of the source is one that the contract or the cleaning names.
    fn claims(&self, name: &str) -> bool {
        self.spec.contract.columns.contains_key(name)
            || self.spec.clean.columns.values().any(|clean| clean.from.as_deref() == Some(name))
    }

    /// Computes derived columns and what is to be dropped.
    fn compute(&self, plan: &Plan, rows: &RecordBatch, cleaned: &mut Cleaned) -> Result<(), String> {
        let contract = &self.spec.contract.columns;
        for at in &plan.read {
            if let Some((name, column)) = contract.get_index(*at) {
                let input = &mut cleaned.columns[*at];
                let refused = |why: String| format!("column `{name}` cannot be read: {why}");
                let (values, lost) = convert(&input.values, column.data_type).map_err(refused)?;
                input.values = values;
                input.failed.extend(lost.map(|rows| Failed::not_of(name, column.data_type, rows)));
            }
        }
        for (at, computed) in &plan.derived {
            let values = self.evaluate(computed, rows, cleaned)?;
            cleaned.columns[*at] = Input::plain(values);
        }
        if let Some(computed) = &plan.drop {
            let condition = self.evaluate(computed, rows, cleaned)?;
            cleaned.dropped = condition.as_boolean_opt().map(|condition| match condition.nulls() {
                Some(nulls) => condition.values() & nulls.inner(),
                None => condition.values().clone(),
            });
        }
        Ok(())
    }

    fn evaluate(&self, computed: &Computed, rows: &RecordBatch, cleaned: &Cleaned) -> Result<ArrayRef, String> {
        let column = |field: &Arc<Field>| match self.spec.contract.columns.get_index_of(field.name()) {
            Some(at) => Some(Arc::clone(&cleaned.columns[at].values)),
            None => rows.column_by_name(field.name()).cloned(),
        };
        let columns: Option<Vec<ArrayRef>> = computed.schema.fields().iter().map(column).collect();
        let columns = columns.ok_or("a column that the cleaning reads is gone")?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&computed.schema), columns, &options)
            .map_err(|error| error.to_string())?;
        computed.expression.evaluate(&batch).map_err(|error| format!("the cleaning cannot be computed: {error}"))
    }

    /// The expressions for rows of a schema.
    fn plan(&self, source: &SchemaRef) -> Result<Arc<Plan>, Unplanned> {
        if let Some((_, known)) = self.plans.lock().iter().find(|(known, _)| known == source) {
            return Ok(Arc::clone(known));
        }
        let plan = Arc::new(self.plan_anew(source)?);
        let mut plans = self.plans.lock();
        if plans.len() == PLANS {
            plans.remove(0);
        }
        plans.push((Arc::clone(source), Arc::clone(&plan)));
        Ok(plan)
    }

    fn plan_anew(&self, source: &SchemaRef) -> Result<Plan, Unplanned> {
        let contract = contract_schema(&self.spec.contract);
        let nullable = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
        let others = source.fields().iter().filter(|field| contract.field_with_name(field.name()).is_err());
        let others: Vec<Arc<Field>> = others.map(nullable).collect();
        let mut known: Vec<Arc<Field>> =
            contract.fields().iter().filter(|field| !self.is_derived(field.name())).map(nullable).collect();
        let mut read: Vec<usize> = Vec::new();
        let mut plan = Plan { read: Vec::new(), derived: Vec::new(), drop: None };
        let mut compile = |what: String, sql: &str, known: &[Arc<Field>]| {
            let computed = self.computed(&what, sql, known, &others)?;
            let names = computed.schema.fields().iter().map(|field| field.name());
            let plain = names.filter(|name| !self.is_derived(name));
            read.extend(plain.filter_map(|name| self.spec.contract.columns.get_index_of(name)));
            Ok::<_, Unplanned>(computed)
        };
        for (name, clean) in &self.spec.clean.columns {
            let (Some(sql), Some(at)) = (&clean.sql, self.spec.contract.columns.get_index_of(name)) else { continue };
            let computed = compile(format!("derived column `{name}`"), sql, &known)?;
            let kind = computed.expression.data_type().map_err(|error| Unplanned::Fault(error.to_string()))?;
            plan.derived.push((at, computed));
            known.push(Arc::new(Field::new(name, kind, true)));
        }
        if let Some(sql) = &self.spec.clean.drop {
            let computed = compile("`clean.drop`".to_owned(), sql, &known)?;
            let kind = computed.expression.data_type().map_err(|error| Unplanned::Fault(error.to_string()))?;
            if !matches!(kind, DataType::Boolean | DataType::Null) {
                return Err(Unplanned::Fault(format!("`clean.drop` is a condition, and this is {kind}")));
            }
            plan.drop = Some(computed);
        }
        read.sort_unstable();
        read.dedup();
        plan.read = read;
        Ok(plan)
    }

    /// An expression over those of the columns that it reads.
    fn computed(
        &self,
        what: &str,
        sql: &str,
        known: &[Arc<Field>],
        others: &[Arc<Field>],
    ) -> Result<Computed, Unplanned> {
        let failed = |error: tenon_query::QueryError| {
            let sentence = format!("{what}: {error}");
            match error {
                tenon_query::QueryError::NoColumn { .. } => Unplanned::NoColumn(sentence),
                _ => Unplanned::Fault(sentence),
            }
        };
        let all: Vec<Arc<Field>> = known.iter().chain(others).cloned().collect();
        let whole = Expression::compile(&self.session, sql, Arc::new(Schema::new(all.clone()))).map_err(failed)?;
        let names = whole.columns();
        let read: Vec<Arc<Field>> = all.into_iter().filter(|field| names.contains(field.name())).collect();
        let schema = Arc::new(Schema::new(read));
        let expression = Expression::compile(&self.session, sql, Arc::clone(&schema)).map_err(failed)?;
        Ok(Computed { expression, schema })
    }
}

/// Why there are no expressions for a schema.
enum Unplanned {
    /// It has no column of a name, and another might.
    NoColumn(String),
    /// It would have none for any.
    Fault(String),
}

/// The first name that two columns share.
fn named_twice(schema: &Schema) -> Option<&str> {
    let mut seen = HashSet::with_capacity(schema.fields().len());
    schema.fields().iter().map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
}
