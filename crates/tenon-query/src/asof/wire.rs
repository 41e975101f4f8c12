//! The join on its way to another machine: protocol buffers, of which the children are none, since they travel as what they
//! are.

use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use prost::Message;

use super::condition::TimeToLive;
use super::exec::AsOfExec;
use super::joining::{Joining, join};
use super::kinds::nanos;
use super::table::{Before, Table};

/// What the bytes of a join begin with. No message of protocol buffers does.
const MARK: &[u8] = b"tenon ASOF JOIN\n";

/// Plans with the join in them, as bytes and back; what else has no form of its own in DataFusion is left to another codec.
#[derive(Debug)]
pub struct PlanCodec(Arc<dyn PhysicalExtensionCodec>);

impl PlanCodec {
    /// The codec that leaves to `rest` what is not ours.
    pub fn new(rest: Arc<dyn PhysicalExtensionCodec>) -> Self {
        Self(rest)
    }
}

#[derive(Clone, PartialEq, Message)]
struct JoinMessage {
    /// The version of the program that sends it.
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, repeated, tag = "2")]
    tables: Vec<TableMessage>,
    /// The columns that are asked for, counted among all.
    #[prost(uint32, repeated, tag = "3")]
    output: Vec<u32>,
    #[prost(bool, tag = "4")]
    spreads: bool,
}

#[derive(Clone, PartialEq, Message)]
struct TableMessage {
    #[prost(bool, tag = "1")]
    inner: bool,
    /// The keys, of observations and of the table, as many of each.
    #[prost(message, repeated, tag = "2")]
    asked: Vec<PhysicalExprNode>,
    #[prost(message, repeated, tag = "3")]
    held: Vec<PhysicalExprNode>,
    #[prost(message, optional, tag = "4")]
    moment: Option<PhysicalExprNode>,
    #[prost(message, optional, tag = "5")]
    event: Option<BeforeMessage>,
    #[prost(message, optional, tag = "6")]
    known: Option<BeforeMessage>,
    /// The greatest age that counts, in nanoseconds.
    #[prost(int64, optional, tag = "7")]
    max_age: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct BeforeMessage {
    #[prost(message, optional, tag = "1")]
    expr: Option<PhysicalExprNode>,
    #[prost(bool, tag = "2")]
    strict: bool,
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(join) = node.downcast_ref::<AsOfExec>() else { return self.0.try_encode(node, bytes, converter) };
        let told = |expr: &Arc<dyn PhysicalExpr>| converter.physical_expr_to_proto(expr, self);
        bytes.extend_from_slice(MARK);
        message(join, &told)?.encode(bytes).map_err(|error| exec_datafusion_err!("an ASOF JOIN has no bytes: {error}"))
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(bytes) = bytes.strip_prefix(MARK) else {
            return self.0.try_decode(bytes, inputs, context, converter);
        };
        let message = JoinMessage::decode(bytes)
            .map_err(|error| exec_datafusion_err!("an ASOF JOIN came damaged, or from another program: {error}"))?;
        let (here, there) = (env!("CARGO_PKG_VERSION"), &message.version);
        if there != here {
            return exec_err!(
                "an ASOF JOIN came from tenon {there}, and this is tenon {here}: scheduler, executors and those who ask \
                 must be of one version"
            );
        }
        let [observations, features @ ..] = inputs else { return exec_err!("an ASOF JOIN came without observations") };
        if features.len() != message.tables.len() {
            return exec_err!("an ASOF JOIN of {} tables came with {}", message.tables.len(), features.len());
        }
        let context = PhysicalPlanDecodeContext::new(context, self);
        let read = |expr: Option<&PhysicalExprNode>, plan: &Arc<dyn ExecutionPlan>| match expr {
            Some(expr) => converter.proto_to_physical_expr(expr, &plan.schema(), &context),
            None => exec_err!("an ASOF JOIN came without an expression"),
        };
        let mut tables = Vec::with_capacity(features.len());
        for (plan, table) in features.iter().zip(&message.tables) {
            tables.push((Arc::clone(plan), joining(table, observations, plan, &read)?));
        }
        let joined = join(Arc::clone(observations), tables, message.spreads)?;
        let output: Vec<usize> = message.output.into_iter().map(|column| column as usize).collect();
        match output.iter().all(|column| joined.has_column(*column)) {
            true => Ok(Arc::new(joined.giving(output))),
            false => exec_err!("an ASOF JOIN came without a column that is asked for"),
        }
    }
}

fn message(join: &AsOfExec, told: &impl Fn(&Arc<dyn PhysicalExpr>) -> Result<PhysicalExprNode>) -> Result<JoinMessage> {
    let before = |before: &Before| -> Result<BeforeMessage> {
        Ok(BeforeMessage { expr: Some(told(&before.expr)?), strict: before.strict })
    };
    let table = |table: &Arc<Table>| {
        let order = &join.orders[table.order];
        Ok(TableMessage {
            inner: table.inner,
            asked: order.entity.exprs.iter().map(told).collect::<Result<_>>()?,
            held: table.entity.exprs.iter().map(told).collect::<Result<_>>()?,
            moment: Some(told(&order.moment)?),
            event: Some(before(&table.event)?),
            known: table.known.as_ref().map(before).transpose()?,
            // It was made of so many nanoseconds, or of fewer than one unit more.
            max_age: table.max_age.map(|age| age.saturating_mul(nanos(table.unit))),
        })
    };
    Ok(JoinMessage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tables: join.tables.iter().map(table).collect::<Result<_>>()?,
        output: join.output.iter().map(|column| *column as u32).collect(),
        spreads: join.spread.is_some(),
    })
}

fn joining(
    table: &TableMessage,
    observations: &Arc<dyn ExecutionPlan>,
    features: &Arc<dyn ExecutionPlan>,
    read: &impl Fn(Option<&PhysicalExprNode>, &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<Joining> {
    if table.asked.len() != table.held.len() {
        return exec_err!("an ASOF JOIN came with {} keys for {}", table.asked.len(), table.held.len());
    }
    let Some(event) = &table.event else { return exec_err!("an ASOF JOIN came without the time of events") };
    let keys = table.asked.iter().zip(&table.held);
    let keys = keys.map(|(asked, held)| Ok((read(Some(asked), observations)?, read(Some(held), features)?)));
    let before = |before: &BeforeMessage| -> Result<Before> {
        Ok(Before { expr: read(before.expr.as_ref(), features)?, strict: before.strict })
    };
    Ok(Joining {
        inner: table.inner,
        keys: keys.collect::<Result<_>>()?,
        moment: read(table.moment.as_ref(), observations)?,
        event: before(event)?,
        known: table.known.as_ref().map(before).transpose()?,
        ttl: table.max_age.map(|nanos| TimeToLive { nanos, inclusive: true }),
    })
}
