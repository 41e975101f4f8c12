//! Who asks: a session whose queries run on a cluster.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use ballista_core::config::{
    BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, BALLISTA_CLIENT_GRPC_HTTP2_KEEPALIVE_INTERVAL_SECONDS,
    BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS,
};
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, displayable};
use datafusion::prelude::SessionContext;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{StreamExt, TryStreamExt};
use tenon_core::spec::EngineAddress;
use tenon_query::{QueryError, plan_here, plan_to_travel, spread, stays_here};

use crate::codec::codec;

/// Into how many partitions the inputs of joins and groups are split: how many cores one step of a query can use.
const PARTITIONS: usize = 16;
/// What is done here, such as tables without rows, needs little.
const MEMORY_BYTES: usize = 256 << 20;
/// How long the scheduler may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a connection on which nothing comes is tried.
const ALIVE_SECONDS: u64 = 10;
/// How long an executor that cannot be reached is given, of three tries.
const AGAIN_MILLIS: u64 = 500;
/// How often a query runs whose answer was lost with the executor that held it.
const RUNS: usize = 3;

/// A session whose queries run on the cluster behind `engine`. Tables that are registered must be files that its executors
/// see under the same paths. What reads no table, and `EXPLAIN`, is done here; whatever still needs room spills below
/// `spill_dir`.
///
/// # Errors
/// [`QueryError::Failed`] when the spill folder cannot be used. Nobody is asked yet.
pub fn session(engine: &EngineAddress, spill_dir: &Path) -> std::result::Result<SessionContext, QueryError> {
    let state = tenon_query::session(MEMORY_BYTES, spill_dir)?.state();
    let config = state
        .config()
        .clone()
        .upgrade_for_ballista()
        .with_target_partitions(PARTITIONS)
        .set_u64(BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, ANSWER.as_secs())
        .set_u64(BALLISTA_CLIENT_GRPC_HTTP2_KEEPALIVE_INTERVAL_SECONDS, ALIVE_SECONDS)
        .set_u64(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, AGAIN_MILLIS);
    let rules = with_ballista_optimizer_rules(state.optimizers());
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(spread(config))
        .with_optimizer_rules(rules)
        .with_query_planner(Arc::new(Elsewhere(engine.clone())))
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// Plans queries that run on a cluster.
#[derive(Debug)]
struct Elsewhere(EngineAddress);

#[async_trait]
impl QueryPlanner for Elsewhere {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        if stays_here(plan)? {
            return plan_here(plan, session).await;
        }
        let travels = plan_to_travel(plan.clone(), session).await?;
        tracing::debug!("to {}:\n{}", self.0, displayable(travels.as_ref()).indent(false));
        Ok(Arc::new(ElsewhereExec::new(self.0.clone(), travels, session.session_id().to_owned())))
    }
}

/// A plan that runs on a cluster: here it is a leaf that gives the answer.
#[derive(Debug)]
struct ElsewhereExec {
    engine: EngineAddress,
    travels: Arc<dyn ExecutionPlan>,
    session: String,
    properties: Arc<PlanProperties>,
}

impl ElsewhereExec {
    fn new(engine: EngineAddress, travels: Arc<dyn ExecutionPlan>, session: String) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(travels.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { engine, travels, session, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ElsewhereExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElsewhereExec: {}", self.engine)
    }
}

impl ExecutionPlan for ElsewhereExec {
    fn name(&self) -> &'static str {
        "ElsewhereExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a plan that runs elsewhere has no children here") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a plan that runs elsewhere has one partition, and was asked for number {partition}");
        }
        let asked = ask(self.engine.clone(), Arc::clone(&self.travels), self.session.clone(), context);
        let rows = futures::stream::once(asked).map_ok(|rows| futures::stream::iter(rows).map(Ok)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.travels.schema(), rows)))
    }
}

/// Has a plan run, and fetches all of its answer: a part of it may be lost with the executor that holds it, and then all of
/// it is computed again.
async fn ask(
    engine: EngineAddress,
    travels: Arc<dyn ExecutionPlan>,
    session: String,
    context: Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    let mut run = 1;
    loop {
        ready(&engine).await?;
        let config = context.session_config().clone();
        let (limits, codec) = (config.ballista_config(), codec());
        let answer = execute_physical_plan::<PhysicalPlanNode>(
            format!("http://{}", engine.authority()),
            &limits,
            Arc::clone(&travels),
            codec.as_ref(),
            session.clone(),
            config,
        );
        let answer = answer.await.map_err(|error| failed(&engine, &error))?;
        match answer.try_collect::<Vec<_>>().await {
            Ok(rows) => return rows.into_iter().map(|rows| as_told(&rows, &travels.schema())).collect(),
            Err(error) if run < RUNS => {
                tracing::warn!("an answer of {engine} was lost, and is asked for again: {error}");
                run += 1;
            }
            Err(error) => return Err(failed(&engine, &error)),
        }
    }
}

/// What came, in the columns that were announced: on the way a column that holds no null may be told as one that could.
fn as_told(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &options)?)
}

/// Whether the scheduler is there, and has an executor.
async fn ready(engine: &EngineAddress) -> Result<()> {
    let scheduler = engine.authority();
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build();
    let asked = async { client?.get(format!("http://{scheduler}/readyz")).send().await };
    match asked.await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => Err(told(format!(
            "the engine `{engine}` has no executor: start one with `tenon executor --scheduler {scheduler}`"
        ))),
        Ok(answer) => Err(told(format!(
            "what answers at `{engine}` is no scheduler ({}): look at `engine` in company.toml",
            answer.status()
        ))),
        Err(error) => Err(told(format!(
            "the engine `{engine}` does not answer ({}): start it with `tenon scheduler --listen {scheduler}`, or take \
             `engine` out of company.toml to have queries run here",
            innermost(&error)
        ))),
    }
}

fn failed(engine: &EngineAddress, error: &DataFusionError) -> DataFusionError {
    let what = error.find_root().message().into_owned();
    // Ballista hands on texts: the first is its own codec that does not know an operator, the second a file that is not there.
    let hint = if what.contains("BallistaPhysicalPlanNode") {
        "\n  hint: its scheduler or one of its executors is no tenon, or one of another version"
    } else if what.contains("Object at location") && what.contains("not found") {
        "\n  hint: executors read the tables' files themselves: have them share the company's folder, under the same path"
    } else {
        ""
    };
    told(format!("the engine `{engine}` has no answer: {what}{hint}"))
}

fn told(what: String) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::Engine(what)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
