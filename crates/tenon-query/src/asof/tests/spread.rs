//! The join as it runs on several machines: split, as bytes and back.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion_proto::physical_plan::{AsExecutionPlan, DefaultPhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;

use super::*;
use crate::{PlanCodec, plan_to_travel};

fn codec() -> PlanCodec {
    PlanCodec::new(Arc::new(DefaultPhysicalExtensionCodec {}))
}

/// The same limits and functions, where plans are split into three.
fn spread_session() -> (SessionContext, tempfile::TempDir) {
    let (session, folder) = sessions(PLENTY);
    let state = session.state();
    let mut config = crate::spread(state.config().clone().with_target_partitions(3));
    config.options_mut().optimizer.enable_dynamic_filter_pushdown = false;
    config.options_mut().optimizer.enable_round_robin_repartition = false;
    let state = datafusion::execution::SessionStateBuilder::new_from_existing(state).with_config(config).build();
    (SessionContext::new_with_state(state), folder)
}

async fn planned(session: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let state = session.state();
    let plan = state.optimize(&crate::plan::logical(&state, sql).await.unwrap()).unwrap();
    plan_to_travel(plan, &state).await.unwrap()
}

fn shown(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

/// The plan as another machine has it.
fn travelled(plan: &Arc<dyn ExecutionPlan>, context: &TaskContext) -> Arc<dyn ExecutionPlan> {
    let bytes = PhysicalPlanNode::try_from_physical_plan(Arc::clone(plan), &codec()).unwrap().encode_to_vec();
    let there = PhysicalPlanNode::decode(bytes.as_slice()).unwrap().try_into_physical_plan(context, &codec()).unwrap();
    assert_eq!(shown(&there), shown(plan));
    there
}

async fn elsewhere(session: &SessionContext, sql: &str) -> RecordBatch {
    let plan = travelled(&planned(session, sql).await, &session.task_ctx());
    let schema = plan.schema();
    let batches = collect(plan, session.task_ctx()).await.unwrap();
    concat_batches(&schema, &batches).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Also in the order in which the observations came.
    #[test]
    fn it_joins_what_the_definition_says(
        asked in asked(), first in rows(), second in rows(), hows in (how(), how()), partitions in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (session, _folder) = spread_session();
        register(&session, "o", &observations(&asked), 1);
        register(&session, "f", &features(&first), partitions);
        register(&session, "g", &features(&second), 1);
        let answer = runtime.block_on(elsewhere(&session, &both_joined(hows)));
        prop_assert_eq!(all_told(&answer), by_definition(&asked, &first, &second, hows));
    }
}

#[tokio::test]
async fn inputs_are_split_by_the_keys_that_all_tables_share() {
    let (session, _folder) = spread_session();
    for (name, salt) in [("o", 1), ("f", 2), ("g", 3)] {
        register(&session, name, &many(20_000, salt), if name == "o" { 1 } else { 2 });
    }
    let sql = "SELECT count(*), sum(f.v), sum(g.v) FROM o \
        ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k \
        ASOF JOIN g MATCH_CONDITION (o.at >= g.at) ON o.k = g.k AND o.w = g.w";
    let plan = planned(&session, sql).await;
    let text = shown(&plan);
    assert!(text.contains("AsOfExec: spread"), "{text}");
    assert_eq!(text.matches("partitioning=Hash([k@").count(), 3, "{text}");
    // Nobody sees the order of what is counted.
    assert!(!text.contains("SortExec") && !text.contains("Window"), "{text}");
    let (here, _folder) = sessions(PLENTY);
    for (name, salt) in [("o", 1), ("f", 2), ("g", 3)] {
        register(&here, name, &many(20_000, salt), 2);
    }
    assert_eq!(elsewhere(&session, sql).await.column(0), one(&here, sql).await.column(0));
    let rows = sql.replace("count(*), sum(f.v), sum(g.v)", "o.*, f.v AS fv, g.w AS gw");
    let rows = format!("{rows} ORDER BY o.k, o.at, o.w, o.v, fv, gw");
    assert_eq!(elsewhere(&session, &rows).await, one(&here, &rows).await);
}

#[tokio::test]
async fn without_a_shared_key_there_is_one_partition() {
    let (session, _folder) = spread_session();
    let (here, _folder) = sessions(PLENTY);
    for session in [&session, &here] {
        for (name, salt) in [("o", 1), ("f", 2), ("g", 3)] {
            register(session, name, &many(5_000, salt), if name == "o" { 1 } else { 2 });
        }
    }
    let sql = "SELECT o.*, f.v AS fv, g.v AS gv FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k \
        ASOF JOIN g MATCH_CONDITION (o.at >= g.at) ON o.w = g.w";
    let text = shown(&planned(&session, sql).await);
    assert!(text.contains("CoalescePartitionsExec") && !text.contains("Hash("), "{text}");
    assert_eq!(elsewhere(&session, sql).await, one(&here, sql).await);
    let first = format!("{sql} LIMIT 7");
    assert_eq!(elsewhere(&session, &first).await, one(&here, &first).await);
}

/// As Ballista's scheduler does where it cuts a plan: what gives the rows to a new split is optimized once more.
fn cut(plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Arc<dyn ExecutionPlan> {
    let again = |plan: Arc<dyn ExecutionPlan>| match plan.name() {
        "RepartitionExec" => {
            let stage = EnsureRequirements::new().optimize(Arc::clone(plan.children()[0]), config)?;
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            plan.replace_children(vec![stage], options).map(Transformed::yes)
        }
        _ => Ok(Transformed::no(plan)),
    };
    plan.transform_up(again).unwrap().data
}

#[tokio::test]
async fn the_first_rows_of_a_subquery_are_no_more_when_it_is_optimized_again() {
    let (session, _folder) = spread_session();
    let (here, _folder) = sessions(PLENTY);
    for session in [&session, &here] {
        for (name, salt) in [("o", 1), ("f", 2)] {
            register(session, name, &many(5_000, salt), 3);
        }
    }
    let first = "(SELECT * FROM o ORDER BY o.at, o.k, o.w, o.v LIMIT 1000)";
    for sql in [
        format!("SELECT o.*, f.v AS fv FROM {first} o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k"),
        format!(
            "SELECT count(*), count(DISTINCT o.n) FROM (SELECT k, row_number() OVER () AS n FROM {first}) o JOIN f ON o.k = f.k"
        ),
    ] {
        let plan = planned(&session, &sql).await;
        let again = cut(plan, session.state().config_options());
        let plan = travelled(&again, &session.task_ctx());
        let schema = plan.schema();
        let batches = collect(plan, session.task_ctx()).await.unwrap();
        let expected = one(&here, &sql).await;
        assert_eq!(concat_batches(&schema, &batches).unwrap().columns(), expected.columns(), "{}", shown(&again));
    }
}

#[tokio::test]
async fn bytes_that_are_no_join_of_this_program_are_refused() {
    use datafusion_proto::physical_plan::{DefaultPhysicalProtoConverter, PhysicalExtensionCodec};
    let (session, _folder) = spread_session();
    for name in ["o", "f"] {
        register(&session, name, &many(10, 1), 1);
    }
    let sql = "SELECT count(*), sum(f.v) FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k";
    let mut plan = planned(&session, sql).await;
    while plan.name() != "AsOfExec" {
        let child = Arc::clone(plan.children()[0]);
        plan = child;
    }
    let inputs: Vec<Arc<dyn ExecutionPlan>> = plan.children().into_iter().cloned().collect();
    let (mut bytes, converter) = (Vec::new(), DefaultPhysicalProtoConverter {});
    codec().try_encode(Arc::clone(&plan), &mut bytes, &converter).unwrap();
    let context = session.task_ctx();
    let read = |bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]| {
        codec().try_decode(bytes, inputs, &context, &converter).map(|plan| plan.name().to_owned())
    };
    assert_eq!(read(&bytes, &inputs).unwrap(), "AsOfExec");
    let wrong = |bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]| read(bytes, inputs).unwrap_err().to_string();
    assert!(
        wrong(&bytes, &inputs[..1]).contains("an ASOF JOIN of 1 tables came with 0"),
        "{}",
        wrong(&bytes, &inputs[..1])
    );
    assert!(wrong(&bytes, &[]).contains("without observations"));
    assert!(wrong(b"something else", &inputs).contains("not provided"));
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let place = bytes.windows(version.len()).position(|window| window == version).unwrap();
    let mut other = bytes.clone();
    other[place] = b'9';
    assert!(wrong(&other, &inputs).contains("must be of one version"));
    // Whatever is cut off or changed, it is an error or a plan, and never a panic.
    for at in 16..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x15;
        read(&damaged, &inputs).ok();
        read(&bytes[..at], &inputs).ok();
    }
}
