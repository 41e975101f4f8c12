//! The join as a node of a physical plan.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, SpillMetrics};
use datafusion::physical_plan::projection::{EmbeddedProjection, ProjectionExec, try_embed_projection};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use futures::StreamExt;

use super::kinds::nanos;
use super::run::{Input, Origin, Run};
use super::table::{Order, Table};

/// Pieces of the answer that wait to be taken.
const WAITING: usize = 2;

/// Observations with the newest row of each feature table. One partition, in the observations' order; where it is spread, as
/// many as its inputs have, each in the order in which its observations come.
#[derive(Debug)]
pub(super) struct AsOfExec {
    /// The observations, then the tables.
    children: Vec<Arc<dyn ExecutionPlan>>,
    pub(super) orders: Vec<Order>,
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) spread: Option<Spread>,
    /// All columns that there are: the observations', then the tables'.
    all: SchemaRef,
    /// Those of them that are asked for.
    pub(super) output: Vec<usize>,
    ranges: Ranges,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// How the inputs are split where several machines share the join: partition `i` of the observations meets partition `i` of
/// each table. For each child the expressions by whose hash it is split; none where nothing names the entities of all tables,
/// so that there is one partition.
pub(super) type Spread = Vec<Vec<Arc<dyn PhysicalExpr>>>;

/// What the scans of the tables are told when the observations have been read: the range of event times that matters.
#[derive(Debug, Clone)]
pub(super) struct Ranges(Vec<Arc<DynamicFilterPhysicalExpr>>);

impl Ranges {
    fn new(tables: &[Arc<Table>]) -> Self {
        let range = |table: &Arc<Table>| {
            Arc::new(DynamicFilterPhysicalExpr::new(vec![Arc::clone(&table.event.expr)], lit(true)))
        };
        Self(tables.iter().map(range).collect())
    }

    /// Events after the last observation, and those too old for the first, need not be read.
    pub fn narrow(&self, at: usize, table: &Table, plan: &Arc<dyn ExecutionPlan>, first: i64, last: i64) -> Result<()> {
        let schema = plan.schema();
        let event = &table.event.expr;
        let DataType::Timestamp(unit, zone) = event.data_type(&schema)? else { return Ok(()) };
        let moment = |at: i64| {
            let scaled = i128::from(at) * i128::from(nanos(table.unit)) / i128::from(nanos(unit));
            let scaled = i64::try_from(scaled).ok()?;
            ScalarValue::Int64(Some(scaled)).cast_to(&DataType::Timestamp(unit, zone.clone())).ok()
        };
        let bound = |op, value: ScalarValue| -> Arc<dyn PhysicalExpr> {
            Arc::new(BinaryExpr::new(Arc::clone(event), op, lit(value)))
        };
        let known = event.downcast_ref::<Column>().and_then(|column| column_range(plan, column.index()));
        let mut range: Option<Arc<dyn PhysicalExpr>> = None;
        if let Some(last) = moment(last)
            && known.as_ref().is_none_or(|(_, newest)| *newest > last)
        {
            range = Some(bound(Operator::LtEq, last));
        }
        // One unit more, since a coarser unit rounds.
        let oldest = table.max_age.map(|age| first.saturating_sub(age).saturating_sub(1));
        if let Some(oldest) = oldest.and_then(moment)
            && known.as_ref().is_none_or(|(first, _)| *first < oldest)
        {
            let since = bound(Operator::GtEq, oldest);
            range = Some(match range {
                Some(until) => Arc::new(BinaryExpr::new(until, Operator::And, since)),
                None => since,
            });
        }
        range.map_or(Ok(()), |range| self.0[at].update(range))
    }
}

/// The least and the greatest value of a column, where the plan knows them.
fn column_range(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<(ScalarValue, ScalarValue)> {
    let statistics = datafusion::physical_plan::statistics::StatisticsContext::new()
        .compute(plan.as_ref(), &Default::default())
        .ok()?;
    let statistics = statistics.column_statistics.get(column)?;
    match (&statistics.min_value, &statistics.max_value) {
        (Precision::Exact(least), Precision::Exact(greatest)) if !least.is_null() && !greatest.is_null() => {
            Some((least.clone(), greatest.clone()))
        }
        _ => None,
    }
}

impl AsOfExec {
    pub fn new(
        observations: Arc<dyn ExecutionPlan>,
        tables: Vec<(Arc<dyn ExecutionPlan>, Arc<Table>)>,
        orders: Vec<Order>,
        spread: Option<Spread>,
    ) -> Self {
        let mut fields = observations.schema().fields().to_vec();
        let mut children = vec![observations];
        let mut read = Vec::with_capacity(tables.len());
        for (plan, table) in tables {
            fields.extend(plan.schema().fields().iter().map(|field| match table.inner {
                true => Arc::clone(field),
                false => Arc::new(field.as_ref().clone().with_nullable(true)),
            }));
            children.push(plan);
            read.push(table);
        }
        let ranges = Ranges::new(&read);
        let output = (0..fields.len()).collect();
        Self::with(children, read, orders, spread, Arc::new(Schema::new(fields)), output, ranges)
    }

    fn with(
        children: Vec<Arc<dyn ExecutionPlan>>,
        tables: Vec<Arc<Table>>,
        orders: Vec<Order>,
        spread: Option<Spread>,
        all: SchemaRef,
        output: Vec<usize>,
        ranges: Ranges,
    ) -> Self {
        let fields: Vec<_> = output.iter().map(|column| Arc::clone(&all.fields()[*column])).collect();
        let schema = Arc::new(Schema::new(fields));
        let equivalence = match ordering(&children[0], &output) {
            Some(ordering) if spread.is_none() => EquivalenceProperties::new_with_orderings(schema, [ordering]),
            _ => EquivalenceProperties::new(schema),
        };
        let partitions = spread.as_ref().map_or(1, |_| children[0].output_partitioning().partition_count());
        let partitioning = Partitioning::UnknownPartitioning(partitions);
        let properties = PlanProperties::new(equivalence, partitioning, EmissionType::Final, Boundedness::Bounded);
        Self {
            children,
            orders,
            tables,
            spread,
            all,
            output,
            ranges,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same with these of its columns.
    pub fn giving(&self, output: Vec<usize>) -> Self {
        Self::with(
            self.children.clone(),
            self.tables.clone(),
            self.orders.clone(),
            self.spread.clone(),
            Arc::clone(&self.all),
            output,
            self.ranges.clone(),
        )
    }

    /// Whether there is a column with this number, among all.
    pub fn has_column(&self, column: usize) -> bool {
        column < self.all.fields().len()
    }

    /// What its child with this number has, counted among all columns.
    fn columns_of(&self, child: usize) -> std::ops::Range<usize> {
        let count = |child: &Arc<dyn ExecutionPlan>| child.schema().fields().len();
        let first = self.children[..child].iter().map(count).sum();
        first..first + count(&self.children[child])
    }

    fn run(&self, partition: usize, context: Arc<TaskContext>) -> Run {
        let mut inputs = Vec::with_capacity(self.tables.len());
        let mut origins = vec![Origin::Observation(0); self.output.len()];
        for (at, table) in self.tables.iter().enumerate() {
            let range = self.columns_of(at + 1);
            let mut columns: Vec<usize> =
                self.output.iter().filter(|column| range.contains(column)).map(|column| column - range.start).collect();
            columns.sort_unstable();
            columns.dedup();
            for (origin, column) in origins.iter_mut().zip(&self.output).filter(|(_, column)| range.contains(column)) {
                let place = columns.binary_search(&(column - range.start)).unwrap_or_default();
                *origin = Origin::Feature(at, place);
            }
            inputs.push(Input { plan: Arc::clone(&self.children[at + 1]), table: Arc::clone(table), columns });
        }
        let own = self.columns_of(0);
        for (origin, column) in origins.iter_mut().zip(&self.output).filter(|(_, column)| own.contains(column)) {
            *origin = Origin::Observation(*column);
        }
        Run {
            observations: Arc::clone(&self.children[0]),
            partition: self.spread.as_ref().map(|_| partition),
            orders: self.orders.clone(),
            inputs,
            origins,
            schema: self.schema(),
            ranges: self.ranges.clone(),
            spilled: SpillMetrics::new(&self.metrics, 0),
            context,
        }
    }
}

/// The order of the observations, where they have one and its columns are asked for.
fn ordering(observations: &Arc<dyn ExecutionPlan>, output: &[usize]) -> Option<LexOrdering> {
    if observations.output_partitioning().partition_count() != 1 {
        return None;
    }
    let place = |sort: &PhysicalSortExpr| {
        let column = sort.expr.downcast_ref::<Column>()?;
        let place = output.iter().position(|output| *output == column.index())?;
        Some(PhysicalSortExpr::new(Arc::new(Column::new(column.name(), place)), sort.options))
    };
    LexOrdering::new(observations.output_ordering()?.iter().map_while(place))
}

impl DisplayAs for AsOfExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfExec:")?;
        if self.spread.is_some() {
            write!(f, " spread;")?;
        }
        for table in &self.tables {
            write!(f, " {} by {}", if table.inner { "inner" } else { "left" }, table.event.expr)?;
            if let Some(age) = table.max_age {
                write!(f, " within {age} {:?}s", table.unit)?;
            }
            write!(f, ";")?;
        }
        Ok(())
    }
}

impl EmbeddedProjection for AsOfExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        let output = match projection {
            Some(columns) => columns.iter().map(|column| self.output[*column]).collect(),
            None => self.output.clone(),
        };
        Ok(self.giving(output))
    }
}

impl ExecutionPlan for AsOfExec {
    fn name(&self) -> &'static str {
        "AsOfExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.children.iter().collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        let one = self.spread.is_none() && self.children[0].output_partitioning().partition_count() == 1;
        (0..self.children.len()).map(|child| child == 0 && one).collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        match &self.spread {
            None => {
                InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution; self.children.len()])
            }
            Some(keys) if keys.iter().any(Vec::is_empty) => {
                InputDistributionRequirements::new(vec![Distribution::SinglePartition; self.children.len()])
            }
            Some(keys) => InputDistributionRequirements::co_partitioned(
                keys.iter().cloned().map(Distribution::KeyPartitioned).collect(),
            ),
        }
    }

    /// Observations stay as they are, or their order would be lost; feature rows are read by as many as there are.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        (0..self.children.len()).map(|child| child > 0 || self.spread.is_some()).collect()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut go_on = TreeNodeRecursion::Continue;
        let orders = self.orders.iter().flat_map(|order| order.entity.exprs.iter().chain([&order.moment]));
        let tables = self.tables.iter().flat_map(|table| {
            let known = table.known.iter().map(|known| &known.expr);
            table.entity.exprs.iter().chain([&table.event.expr]).chain(known)
        });
        let spread = self.spread.iter().flatten().flatten();
        for expr in orders.chain(tables).chain(spread) {
            if go_on != TreeNodeRecursion::Stop {
                go_on = f(expr)?;
            }
        }
        Ok(go_on)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.children.len() {
            return internal_err!("an ASOF JOIN of {} tables got {} children", self.tables.len(), children.len());
        }
        Ok(Arc::new(Self::with(
            children,
            self.tables.clone(),
            self.orders.clone(),
            self.spread.clone(),
            Arc::clone(&self.all),
            self.output.clone(),
            self.ranges.clone(),
        )))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let properties = datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(properties))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        // A new run learns anew which event times matter; the scans, which hold what this one learnt, are reset too.
        for range in &self.ranges.0 {
            range.update(lit(true))?;
        }
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let counts = |child: &Arc<dyn ExecutionPlan>| child.output_partitioning().partition_count();
        let partitions = self.properties.partitioning.partition_count();
        if partition >= partitions {
            return internal_err!("an ASOF JOIN of {partitions} partitions was asked for number {partition}");
        }
        if self.spread.is_some() && self.children.iter().any(|child| counts(child) != partitions) {
            let counts: Vec<usize> = self.children.iter().map(counts).collect();
            return internal_err!("the inputs of an ASOF JOIN are split into {counts:?} partitions, which do not meet");
        }
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let run = self.run(partition, context);
        let mut answer = RecordBatchReceiverStream::builder(self.schema(), WAITING);
        let out = answer.tx();
        answer.spawn(run.answer(out));
        let counted = answer.build().inspect(move |batch| {
            if let Ok(batch) = batch {
                baseline.record_output(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        try_embed_projection(projection, self)
    }

    /// What is asked of the observations alone is asked of them before the join.
    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let observations = self.children[0].schema();
        let is_one_of = |name: &str| observations.fields().iter().filter(|field| field.name() == name).count() == 1;
        let own = self.columns_of(0);
        let asked = self.output.iter().enumerate().filter(|(_, column)| {
            // Filters find their columns by name.
            own.contains(column) && is_one_of(self.all.field(**column).name())
        });
        let asked: HashSet<usize> = asked.map(|(place, _)| place).collect();
        let own = ChildFilterDescription::from_child_with_allowed_indices(&parent_filters, asked, &self.children[0])?;
        let mut description = FilterDescription::new().with_child(own);
        for range in &self.ranges.0 {
            let table = ChildFilterDescription::all_unsupported(&parent_filters);
            // Where it is spread, its tables are read before its observations are known, and elsewhere.
            let tells = phase == FilterPushdownPhase::Post
                && config.optimizer.enable_dynamic_filter_pushdown
                && self.spread.is_none();
            description = description.with_child(if tells {
                table.with_self_filter(Arc::clone(range) as Arc<dyn PhysicalExpr>)
            } else {
                table
            });
        }
        Ok(description)
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_any(result))
    }
}
