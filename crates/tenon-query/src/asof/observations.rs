//! Observations as they are read: as many at a time as there is memory for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;

/// Fewer observations than that are not joined at a time.
const LEAST: usize = 256;
/// More are not, so that a row has a number of 32 bits.
const MOST: usize = 1 << 30;

/// Reads the observations' partitions one after the other, so that they stay in order.
pub(super) struct Observations {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    left: Range<usize>,
    stream: Option<SendableRecordBatchStream>,
    waiting: VecDeque<RecordBatch>,
    /// How much of the pool they may take.
    most_bytes: usize,
}

/// Observations that are joined at a time.
pub(super) struct Part {
    pub batches: Vec<RecordBatch>,
    /// Whether there are no more.
    pub is_last: bool,
}

impl Observations {
    /// Reads these partitions.
    pub fn new(plan: Arc<dyn ExecutionPlan>, left: Range<usize>, context: Arc<TaskContext>) -> Self {
        let most_bytes = match context.memory_pool().memory_limit() {
            // What reads the feature tables needs some, too.
            MemoryLimit::Finite(bytes) => bytes / 5 * 4,
            _ => usize::MAX,
        };
        Self { plan, context, left, stream: None, waiting: VecDeque::new(), most_bytes }
    }

    /// As many as there is room for, at `bytes_a_row` beside their own; they are in `reservation`.
    ///
    /// # Errors
    /// When there is no room for the least that makes sense.
    pub async fn part(&mut self, reservation: &MemoryReservation, bytes_a_row: usize) -> Result<Part> {
        let (mut batches, mut rows) = (Vec::new(), 0);
        while let Some(batch) = self.batch().await? {
            let needed = batch_bytes(&batch)? + batch.num_rows() * bytes_a_row;
            let fits = reservation.size().saturating_add(needed) <= self.most_bytes && rows + batch.num_rows() <= MOST;
            let grown = if fits { reservation.try_grow(needed) } else { Ok(()) };
            if fits && grown.is_ok() {
                rows += batch.num_rows();
                batches.push(batch);
                continue;
            }
            if !batches.is_empty() {
                self.waiting.push_front(batch);
                return Ok(Part { batches, is_last: false });
            }
            if batch.num_rows() <= LEAST {
                reservation.try_grow(needed)?;
                batches.push(batch);
                return Ok(Part { batches, is_last: false });
            }
            let half = batch.num_rows() / 2;
            self.waiting.push_front(batch.slice(half, batch.num_rows() - half));
            self.waiting.push_front(batch.slice(0, half));
        }
        Ok(Part { batches, is_last: true })
    }

    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.waiting.pop_front() {
                return Ok(Some(batch));
            }
            match &mut self.stream {
                Some(stream) => match stream.next().await.transpose()? {
                    Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                    Some(_) => {}
                    None => self.stream = None,
                },
                None => match self.left.next() {
                    Some(partition) => self.stream = Some(self.plan.execute(partition, Arc::clone(&self.context))?),
                    None => return Ok(None),
                },
            }
        }
    }
}

/// The bytes of a batch's rows, without what lies beside them in their buffers.
fn batch_bytes(batch: &RecordBatch) -> Result<usize> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()?;
    }
    Ok(bytes)
}
