//! Running the join: observations in, feature rows past them, observations out.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SpillManager};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;

use super::cells::width;
use super::exec::Ranges;
use super::keys::Keys;
use super::observations::Observations;
use super::table::{Order as ByOrder, Table};
use super::timelines::Timelines;
use super::work::{Joined, Scratch, Work};

/// Shards for each worker: enough that two seldom meet at one.
const SHARDS_A_WORKER: usize = 32;
/// About how many bytes of a feature table are taken in at a time: enough rows that most are overtaken by a later one of
/// their entity before they need a place, and little enough to stay in a cache.
const BATCH_BYTES: usize = 4 << 20;
/// What a text is taken to need, before there is one.
const BYTES_A_TEXT: usize = 32;

/// A feature table with the plan that reads it and the columns that are asked for.
#[derive(Clone)]
pub(super) struct Input {
    pub plan: Arc<dyn ExecutionPlan>,
    pub table: Arc<Table>,
    pub columns: Vec<usize>,
}

/// Where a column of the answer comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// This column of the observations.
    Observation(usize),
    /// This one of a table's columns that are asked for.
    Feature(usize, usize),
}

/// Everything that a run needs.
pub(super) struct Run {
    pub observations: Arc<dyn ExecutionPlan>,
    /// Which partition of each input it reads; none for all of them.
    pub partition: Option<usize>,
    pub orders: Vec<ByOrder>,
    pub inputs: Vec<Input>,
    pub origins: Vec<Origin>,
    pub schema: SchemaRef,
    pub ranges: Ranges,
    pub spilled: SpillMetrics,
    pub context: Arc<TaskContext>,
}

/// Where a partition of a table is read from.
#[derive(Clone)]
enum Source {
    Plan(usize),
    /// What an earlier reading left on disk; nothing where there were no rows.
    Disk(Option<Arc<dyn SpillFile>>),
}

impl Run {
    /// Sends the answer piece by piece.
    pub async fn answer(self, out: Sender<Result<RecordBatch>>) -> Result<()> {
        let run = Arc::new(self);
        let consumer = MemoryConsumer::new("AsOfJoin").with_can_spill(true);
        let reservation = Arc::new(consumer.register(run.context.memory_pool()));
        let partitions = run.partitions(&run.observations);
        let mut observations = Observations::new(Arc::clone(&run.observations), partitions, Arc::clone(&run.context));
        let partitions = |input: &Input| run.partitions(&input.plan).map(Source::Plan).collect();
        let mut sources: Vec<Vec<Source>> = run.inputs.iter().map(partitions).collect();
        let mut is_first = true;
        loop {
            let part = observations.part(&reservation, run.bytes_a_row()).await?;
            if part.batches.is_empty() {
                return Ok(());
            }
            let order = |order| Ok(Arc::new(Timelines::new(order, &part.batches, run.workers() * SHARDS_A_WORKER)?));
            let timelines = run.orders.iter().map(order).collect::<Result<Vec<_>>>()?;
            // What is read once more for later observations must not be narrowed to these.
            if is_first && part.is_last {
                run.narrow(&timelines)?;
            }
            let keep = is_first && !part.is_last;
            let (joined, kept) = Reading::new(&run, timelines, sources, keep, &reservation).read().await?;
            run.send(part.batches, &joined, &out).await?;
            if part.is_last {
                return Ok(());
            }
            drop(joined);
            reservation.free();
            (sources, is_first) = (kept, false);
        }
    }

    fn partitions(&self, plan: &Arc<dyn ExecutionPlan>) -> Range<usize> {
        match self.partition {
            Some(partition) => partition..partition + 1,
            None => 0..plan.output_partitioning().partition_count(),
        }
    }

    /// One a core; where the join is spread, others are at work on its other partitions.
    fn workers(&self) -> usize {
        match self.partition {
            Some(_) => 1,
            None => self.context.session_config().target_partitions().max(1),
        }
    }

    /// What an observation takes beside itself, until it is sent.
    fn bytes_a_row(&self) -> usize {
        // Its place in the order of moments, and once more in that of entities, should rows come in no order.
        let order = |order: &ByOrder| 32 + Keys::bytes_an_entity(&order.entity.types);
        let input = |input: &Input| {
            let moments = 12 + if input.table.known.is_some() { 8 } else { 0 };
            let column =
                |column: &usize| width(input.plan.schema().field(*column).data_type()).unwrap_or(8 + 2 * BYTES_A_TEXT);
            moments + input.columns.iter().map(column).sum::<usize>()
        };
        self.orders.iter().map(order).sum::<usize>() + self.inputs.iter().map(input).sum::<usize>()
    }

    /// Tells the scans of feature tables which rows nobody will ask for.
    fn narrow(&self, timelines: &[Arc<Timelines>]) -> Result<()> {
        for (at, input) in self.inputs.iter().enumerate() {
            if let Some((first, last)) = timelines[input.table.order].range() {
                self.ranges.narrow(at, &input.table, &input.plan, first, last)?;
            }
        }
        Ok(())
    }

    /// Sends observations with what was joined to them.
    async fn send(
        &self,
        batches: Vec<RecordBatch>,
        joined: &[Joined],
        out: &Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let mut first = 0;
        for batch in batches {
            let rows = first..first + batch.num_rows();
            first = rows.end;
            let answer = self.assemble(&batch, joined, rows)?;
            // Nobody listens any more: there is nothing left to do.
            if answer.num_rows() > 0 && out.send(Ok(answer)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn assemble(&self, batch: &RecordBatch, joined: &[Joined], rows: Range<usize>) -> Result<RecordBatch> {
        let features = joined.iter().map(|joined| joined.read(rows.clone())).collect::<Result<Vec<_>>>()?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            columns.push(match origin {
                Origin::Observation(column) => Arc::clone(batch.column(*column)),
                Origin::Feature(table, column) => Arc::clone(&features[*table][*column]),
            });
        }
        let mut count = batch.num_rows();
        let inner: Vec<&Joined> = joined.iter().filter(|joined| joined.inner).collect();
        if !inner.is_empty() {
            let stays = |row: &u32| inner.iter().all(|joined| joined.has(rows.start + *row as usize));
            let staying: UInt32Array = (0..batch.num_rows() as u32).filter(stays).collect();
            if staying.len() < count {
                count = staying.len();
                columns = columns.iter().map(|column| Ok(take(column, &staying, None)?)).collect::<Result<_>>()?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// One reading of all feature tables. The partitions of the first table come first, so that it is done, and needs less
/// memory, before the last begins.
struct Reading {
    run: Arc<Run>,
    timelines: Vec<Arc<Timelines>>,
    queue: Mutex<VecDeque<(usize, usize, Source)>>,
    tables: Vec<Progress>,
    /// Whether what is read is written to disk, to be read again.
    keep: bool,
    kept: Mutex<Vec<Vec<Source>>>,
    reservation: Arc<MemoryReservation>,
}

/// How far a table has come.
struct Progress {
    work: Mutex<Option<Arc<Work>>>,
    /// Partitions that have not come to their end.
    left: AtomicUsize,
    joined: Mutex<Option<Joined>>,
}

impl Reading {
    fn new(
        run: &Arc<Run>,
        timelines: Vec<Arc<Timelines>>,
        sources: Vec<Vec<Source>>,
        keep: bool,
        reservation: &Arc<MemoryReservation>,
    ) -> Arc<Self> {
        let progress = |partitions: &Vec<Source>| Progress {
            work: Mutex::new(None),
            left: AtomicUsize::new(partitions.len()),
            joined: Mutex::new(None),
        };
        let tables = sources.iter().map(progress).collect();
        let jobs = sources.iter().enumerate().flat_map(|(table, partitions)| {
            partitions.iter().enumerate().map(move |(partition, source)| (table, partition, source.clone()))
        });
        Arc::new(Self {
            run: Arc::clone(run),
            timelines,
            queue: Mutex::new(jobs.collect()),
            tables,
            keep,
            kept: Mutex::new(sources),
            reservation: Arc::clone(reservation),
        })
    }

    /// Reads everything; what each table gives, and where its partitions are read from the next time.
    async fn read(self: Arc<Self>) -> Result<(Vec<Joined>, Vec<Vec<Source>>)> {
        let mut workers = JoinSet::new();
        let jobs = self.queue.lock().len();
        for worker in 0..self.run.workers().min(jobs) {
            let reading = Arc::clone(&self);
            workers.spawn(async move { reading.work(worker).await });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|error| exec_datafusion_err!("reading a feature table broke off: {error}"))??;
        }
        let mut joined = Vec::with_capacity(self.tables.len());
        for (at, table) in self.tables.iter().enumerate() {
            // A table without partitions has nothing to give.
            let done = table.joined.lock().take();
            joined.push(match done {
                Some(done) => done,
                None => self.begin(at).finish()?,
            });
        }
        let kept = std::mem::take(&mut *self.kept.lock());
        Ok((joined, kept))
    }

    async fn work(&self, worker: usize) -> Result<()> {
        let mut scratch = Scratch::default();
        loop {
            let job = self.queue.lock().pop_front();
            let Some((table, partition, source)) = job else { return Ok(()) };
            self.read_partition(table, partition, source, &mut scratch, worker).await?;
            if self.tables[table].left.fetch_sub(1, Ordering::AcqRel) == 1
                && let Some(work) = self.tables[table].work.lock().take().and_then(Arc::into_inner)
            {
                *self.tables[table].joined.lock() = Some(work.finish()?);
            }
        }
    }

    async fn read_partition(
        &self,
        table: usize,
        partition: usize,
        source: Source,
        scratch: &mut Scratch,
        worker: usize,
    ) -> Result<()> {
        let input = &self.run.inputs[table];
        let schema = input.plan.schema();
        let disk = SpillManager::new(self.run.context.runtime_env(), self.run.spilled.clone(), schema);
        let Some(mut rows) = self.open(input, source, &disk)? else { return Ok(()) };
        let mut file = self.keep.then(|| disk.create_in_progress_file("rows of an ASOF JOIN")).transpose()?;
        while let Some(batch) = rows.next().await.transpose()? {
            if let Some(file) = &mut file {
                file.append_batch(&batch)?;
            }
            let work = self.current(table);
            let grown = work.take_in(&batch, scratch, worker)?;
            drop(work);
            match usize::try_from(grown) {
                Ok(grown) => self.reservation.try_grow(grown)?,
                Err(_) => self.reservation.shrink(grown.unsigned_abs().min(self.reservation.size())),
            }
        }
        if let Some(mut file) = file {
            self.kept.lock()[table][partition] = Source::Disk(file.finish()?);
        }
        Ok(())
    }

    fn open(&self, input: &Input, source: Source, disk: &SpillManager) -> Result<Option<SendableRecordBatchStream>> {
        Ok(match source {
            Source::Plan(partition) => {
                let context = in_large_batches(&self.run.context, &input.plan.schema());
                Some(input.plan.execute(partition, context)?)
            }
            Source::Disk(Some(file)) => Some(disk.read_spill_as_stream(file, None)?),
            Source::Disk(None) => None,
        })
    }

    /// The table's work, begun when its first rows come.
    fn current(&self, table: usize) -> Arc<Work> {
        let mut work = self.tables[table].work.lock();
        Arc::clone(work.get_or_insert_with(|| Arc::new(self.begin(table))))
    }

    fn begin(&self, table: usize) -> Work {
        let Input { plan, table, columns } = &self.run.inputs[table];
        Work::new(Arc::clone(table), Arc::clone(&self.timelines[table.order]), &plan.schema(), columns.clone())
    }
}

/// The same, where rows of these columns come more at a time, if their length is known.
fn in_large_batches(context: &TaskContext, schema: &Schema) -> Arc<TaskContext> {
    let bytes = schema.fields().iter().map(|field| width(field.data_type())).sum::<Option<usize>>();
    let rows = bytes.map_or(0, |bytes| BATCH_BYTES / bytes.max(1)).max(context.session_config().batch_size());
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}
