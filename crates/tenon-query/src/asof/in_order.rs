//! The order of observations that are split over several machines: each is given its number before the join, and what comes
//! out is put in the order of the numbers, where anybody would see the difference.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{DefaultTableSource, TableType, source_as_provider};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, UserDefinedLogicalNodeCore, col,
};
use datafusion::physical_plan::ExecutionPlan;

use super::node::AsOfNode;

/// The column with the numbers; no other has this name.
const NUMBER: &str = "number of the observation";

/// The plan in which observations leave each join as they came. Nothing is done where a plan above the join does not keep
/// their order either, such as one that groups or sorts.
///
/// # Errors
/// None in practice: what is added has columns that are there.
pub(crate) fn in_order(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {
            plan.map_children(in_order)
        }
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<AsOfNode>() {
            Some(node) => Ok(Transformed::yes(numbered(node)?)),
            None => Ok(Transformed::no(plan)),
        },
        _ => Ok(Transformed::no(plan)),
    }
}

fn numbered(node: &AsOfNode) -> Result<LogicalPlan> {
    let observations = in_order(node.observations.clone())?.data.transform_up(in_one_piece)?.data;
    let observations = LogicalPlanBuilder::from(observations).window([row_number().alias(NUMBER)])?.build()?;
    let joined = AsOfNode::new(observations, node.tables.clone())?;
    let columns = UserDefinedLogicalNodeCore::schema(node).columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(LogicalPlan::Extension(Extension { node: Arc::new(joined) }))
        .sort([col(format!("\"{NUMBER}\"")).sort(true, false)])?
        .project(columns)?
        .build()
}

/// A scan of files that gives their rows one after the other.
fn in_one_piece(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(mut scan) = plan else { return Ok(Transformed::no(plan)) };
    let Ok(provider) = source_as_provider(&scan.source) else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    };
    scan.source = Arc::new(DefaultTableSource::new(Arc::new(InOnePiece(provider))));
    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
}

/// A table whose files are read one after the other.
#[derive(Debug)]
struct InOnePiece(Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for InOnePiece {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.0.scan(session, projection, filters, limit).await?;
        let Some(scan) = plan.downcast_ref::<DataSourceExec>() else { return Ok(plan) };
        let Some(files) = scan.data_source().downcast_ref::<FileScanConfig>() else { return Ok(plan) };
        let all = files.file_groups.iter().flat_map(FileGroup::iter).cloned().collect();
        let files = FileScanConfigBuilder::from(files.clone()).with_file_groups(vec![FileGroup::new(all)]).build();
        Ok(DataSourceExec::from_data_source(files))
    }
}
