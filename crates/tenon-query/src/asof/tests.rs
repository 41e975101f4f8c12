//! The join against its definition, against the kernel that serves features, in little memory, and cut short.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Float64Type, Int64Type, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use proptest::prelude::*;
use tenon_core::Span;
use tenon_core::spec::Aggregate;

use crate::point_in_time::{Feature, History, KeyType, View};
use crate::{QueryError, run, session, stream};

mod spread;

const SECOND: i64 = 1_000_000;
const PLENTY: usize = 64 << 20;

fn sessions(bytes: usize) -> (SessionContext, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (session(bytes, folder.path()).unwrap(), folder)
}

/// Registers rows as a table of as many partitions, in batches of a few rows.
fn register(session: &SessionContext, name: &str, rows: &RecordBatch, partitions: usize) {
    let mut parts = vec![Vec::new(); partitions];
    let size = rows.num_rows().div_ceil(partitions * 3).max(1);
    for start in (0..rows.num_rows()).step_by(size) {
        parts[start * partitions / rows.num_rows()].push(rows.slice(start, size.min(rows.num_rows() - start)));
    }
    session.register_table(name, Arc::new(MemTable::try_new(rows.schema(), parts).unwrap())).unwrap();
}

async fn one(session: &SessionContext, sql: &str) -> RecordBatch {
    let batches = run(session, sql).await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[derive(Debug, Clone)]
struct Asked {
    text: Option<u8>,
    number: Option<i64>,
    at: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    text: Option<u8>,
    number: Option<i32>,
    event: Option<i64>,
    known: Option<i64>,
    amount: Option<f64>,
    word: Option<String>,
    flag: Option<bool>,
}

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let one = (
        prop::option::weighted(0.95, 0u8..3),
        prop::option::weighted(0.95, 0i64..2),
        prop::option::weighted(0.95, 0i64..40),
    );
    prop::collection::vec(one.prop_map(|(text, number, at)| Asked { text, number, at }), 0..40)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let amount = prop_oneof![Just(None), Just(Some(f64::NAN)), (-3i32..3).prop_map(|tie| Some(f64::from(tie)))];
    let one = (
        prop::option::weighted(0.95, 0u8..3),
        prop::option::weighted(0.95, 0i32..2),
        prop::option::weighted(0.95, 0i64..40),
        prop::option::weighted(0.95, -5i64..15),
        amount,
        prop::option::weighted(0.8, "[a-c]{0,2}"),
        prop::option::weighted(0.8, any::<bool>()),
    );
    let one = one.prop_map(|(text, number, event, late, amount, word, flag)| Row {
        text,
        number,
        event,
        known: late.map(|late| event.unwrap_or(0) + late),
        amount,
        word,
        flag,
    });
    prop::collection::vec(one, 0..80)
}

fn observations(asked: &[Asked]) -> RecordBatch {
    let ids: Int64Array = (0..asked.len() as i64).map(Some).collect();
    let texts: StringArray = asked.iter().map(|asked| asked.text.map(|text| format!("T{text}"))).collect();
    let numbers: Int64Array = asked.iter().map(|asked| asked.number).collect();
    let at: TimestampMicrosecondArray = asked.iter().map(|asked| asked.at.map(|at| at * SECOND)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("t", Arc::new(texts) as ArrayRef, true),
        ("n", Arc::new(numbers) as ArrayRef, true),
        ("at", Arc::new(at.with_timezone("UTC")) as ArrayRef, true),
    ])
    .unwrap()
}

/// Its moments are in seconds, the observations' in microseconds.
fn features(rows: &[Row]) -> RecordBatch {
    let texts: StringArray = rows.iter().map(|row| row.text.map(|text| format!("T{text}"))).collect();
    let numbers: Int32Array = rows.iter().map(|row| row.number).collect();
    let events: TimestampSecondArray = rows.iter().map(|row| row.event).collect();
    let known: TimestampMicrosecondArray = rows.iter().map(|row| row.known.map(|known| known * SECOND)).collect();
    let amounts: Float64Array = rows.iter().map(|row| row.amount).collect();
    let words: StringArray = rows.iter().map(|row| row.word.clone()).collect();
    let flags: BooleanArray = rows.iter().map(|row| row.flag).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("t", Arc::new(texts) as ArrayRef, true),
        ("n", Arc::new(numbers) as ArrayRef, true),
        ("event", Arc::new(events) as ArrayRef, true),
        ("known", Arc::new(known.with_timezone("UTC")) as ArrayRef, true),
        ("amount", Arc::new(amounts) as ArrayRef, true),
        ("word", Arc::new(words) as ArrayRef, true),
        ("flag", Arc::new(flags) as ArrayRef, true),
    ])
    .unwrap()
}

/// How one table is joined.
#[derive(Debug, Clone, Copy)]
struct How {
    inner: bool,
    by_number: bool,
    known: bool,
    strict: bool,
    /// In seconds, and whether that age itself counts.
    ttl: Option<(i64, bool)>,
}

fn how() -> impl Strategy<Value = How> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of((0i64..12, any::<bool>())))
        .prop_map(|(inner, by_number, known, strict, ttl)| How { inner, by_number, known, strict, ttl })
}

impl How {
    fn sql(self, table: &str) -> String {
        let kind = if self.inner { "INNER " } else { "" };
        let event = if self.strict { ">" } else { ">=" };
        let known = if self.known { format!(" AND {table}.known <= o.at") } else { String::new() };
        let ttl = self.ttl.map_or(String::new(), |(seconds, inclusive)| {
            format!(" AND o.at - {table}.event {} INTERVAL '{seconds} seconds'", if inclusive { "<=" } else { "<" })
        });
        let number = if self.by_number { format!(" AND {table}.n = o.n") } else { String::new() };
        format!(
            " ASOF {kind}JOIN {table} MATCH_CONDITION (o.at {event} {table}.event{known}{ttl}) ON o.t = {table}.t{number}"
        )
    }

    /// The definition, in the plainest words.
    fn of<'a>(self, asked: &Asked, rows: &'a [Row]) -> Option<&'a Row> {
        let (text, at) = (asked.text?, asked.at?);
        let may = |row: &&Row| {
            let Some(event) = row.event else { return false };
            let same = row.text == Some(text)
                && (!self.by_number || (asked.number.is_some() && row.number.map(i64::from) == asked.number));
            let seen = if self.strict { event < at } else { event <= at };
            same && seen && (!self.known || row.known.is_some_and(|known| known <= at))
        };
        let newest = rows.iter().filter(may).max_by(|a, b| {
            let known = |row: &Row| if self.known { row.known } else { None };
            let amount = |row: &Row| (row.amount.is_some(), row.amount.unwrap_or(0.0));
            let (one, other) = (amount(a), amount(b));
            a.event
                .cmp(&b.event)
                .then(known(a).cmp(&known(b)))
                .then(one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)))
                .then(a.word.cmp(&b.word))
                .then(a.flag.cmp(&b.flag))
        })?;
        let age = at - newest.event?;
        match self.ttl {
            Some((most, true)) if age > most => None,
            Some((most, false)) if age >= most => None,
            _ => Some(newest),
        }
    }
}

type Told = (Option<u64>, Option<String>, Option<bool>);

fn told(row: Option<&Row>) -> Told {
    row.map_or((None, None, None), |row| (row.amount.map(f64::to_bits), row.word.clone(), row.flag))
}

fn read(answer: &RecordBatch, column: usize, row: usize) -> Told {
    let (amounts, words, flags) = (
        answer.column(column).as_primitive::<Float64Type>(),
        answer.column(column + 1).as_string::<i32>(),
        answer.column(column + 2).as_boolean(),
    );
    (
        amounts.is_valid(row).then(|| amounts.value(row).to_bits()),
        words.is_valid(row).then(|| words.value(row).to_owned()),
        flags.is_valid(row).then(|| flags.value(row)),
    )
}

/// Rows that have all their moments, by the moment from which they may be seen.
fn in_order(mut rows: Vec<Row>, how: How) -> Vec<Row> {
    rows.retain(|row| row.event.is_some() && row.known.is_some());
    rows.sort_by_key(|row| {
        let event = row.event.map(|event| event * SECOND + i64::from(how.strict));
        if how.known { event.max(row.known.map(|known| known * SECOND)) } else { event }
    });
    rows
}

fn holds(
    asked: &[Asked],
    first: &[Row],
    second: &[Row],
    hows: (How, How),
    partitions: usize,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (session, _folder) = sessions(PLENTY);
    register(&session, "o", &observations(asked), partitions);
    register(&session, "f", &features(first), partitions);
    register(&session, "g", &features(second), 1);
    let sql = both_joined(hows);
    let answer = runtime.block_on(one(&session, &sql));
    prop_assert_eq!(all_told(&answer), by_definition(asked, first, second, hows), "{}", sql);
    Ok(())
}

fn both_joined(hows: (How, How)) -> String {
    format!(
        "SELECT o.id, f.amount, f.word, f.flag, g.amount AS a2, g.word AS w2, g.flag AS f2 FROM o{}{}",
        hows.0.sql("f"),
        hows.1.sql("g")
    )
}

fn by_definition(asked: &[Asked], first: &[Row], second: &[Row], hows: (How, How)) -> Vec<(i64, Told, Told)> {
    asked
        .iter()
        .enumerate()
        .filter_map(|(id, asked)| {
            let (one, other) = (hows.0.of(asked, first), hows.1.of(asked, second));
            let stays = (one.is_some() || !hows.0.inner) && (other.is_some() || !hows.1.inner);
            stays.then(|| (id as i64, told(one), told(other)))
        })
        .collect()
}

fn all_told(answer: &RecordBatch) -> Vec<(i64, Told, Told)> {
    let ids = answer.column(0).as_primitive::<Int64Type>();
    (0..answer.num_rows()).map(|row| (ids.value(row), read(answer, 1, row), read(answer, 4, row))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Two tables in one operator, by the same and by different keys, however the rows lie.
    #[test]
    fn it_joins_what_the_definition_says(
        asked in asked(), first in rows(), second in rows(), hows in (how(), how()), partitions in 1usize..4,
    ) {
        holds(&asked, &first, &second, hows, partitions)?;
    }

    /// The same where rows come in the order in which they may be seen, many of them at once, as a log has them.
    #[test]
    fn it_joins_what_the_definition_says_where_rows_come_in_order(
        asked in asked(), first in rows(), second in rows(), hows in (how(), how()), partitions in 1usize..3,
    ) {
        let (first, second) = (in_order(first, hows.0), in_order(second, hows.1));
        holds(&asked, &first, &second, hows, partitions)?;
    }

    /// What is served online and trained on: the kernel's `last`, bit by bit.
    #[test]
    fn it_joins_what_the_kernel_calls_last(asked in asked(), rows in rows(), ttl in 1i64..20) {
        // The kernel takes a row as known at its event at the earliest, and looks for the last value that is there.
        let rows: Vec<Row> = rows.into_iter().map(|row| Row { known: row.known.max(row.known.and(row.event)), ..row }).collect();
        let (asked, rows) = (observations(&asked), features(&rows));
        let view = View {
            entity: vec!["t".into(), "n".into()],
            event_time: "event".into(),
            known_at: Some("known".into()),
            columns: vec!["amount".into()],
            vectors: Vec::new(),
            ttl: Span::from_micros(ttl * SECOND),
            features: vec![Feature::new("last", Aggregate::Last, Some(0), Span::from_micros(ttl * SECOND))],
        };
        let types = KeyType::all_of(&rows.schema(), &view.entity).unwrap();
        let kernel = History::new(&view, &types, std::slice::from_ref(&rows)).unwrap().join(&view, &asked, "at").unwrap();
        let kernel: Vec<Option<u32>> =
            kernel.columns[0].as_primitive::<Float32Type>().iter().map(|value| value.map(f32::to_bits)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (session, _folder) = sessions(PLENTY);
        register(&session, "o", &asked, 1);
        register(&session, "f", &rows, 2);
        let sql = format!(
            "SELECT f.amount FROM o ASOF JOIN (SELECT * FROM f WHERE amount IS NOT NULL AND NOT isnan(amount)) f \
             MATCH_CONDITION (o.at >= f.event AND o.at >= f.known AND f.event > o.at - INTERVAL '{ttl} seconds') \
             ON o.t = f.t AND o.n = f.n"
        );
        let answer = runtime.block_on(one(&session, &sql));
        let joined: Vec<Option<u32>> =
            answer.column(0).as_primitive::<Float64Type>().iter().map(|value| value.map(|value| (value as f32).to_bits())).collect();
        prop_assert_eq!(joined, kernel);
    }
}

/// Rows of many entities, in no order.
fn many(rows: usize, salt: u64) -> RecordBatch {
    let mix = |row: usize, of: u64| {
        (row as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(of | 1) >> 20
    };
    let keys: Int64Array = (0..rows).map(|row| Some((mix(row, 3) % 500) as i64)).collect();
    let moments: TimestampMicrosecondArray =
        (0..rows).map(|row| Some((mix(row, 5) % 1_000_000) as i64 * SECOND)).collect();
    let values: Float64Array = (0..rows).map(|row| (mix(row, 9) % 10 > 0).then_some(mix(row, 7) as f64)).collect();
    let words: StringArray = (0..rows).map(|row| Some(format!("word number {}", mix(row, 11) % 1000))).collect();
    RecordBatch::try_from_iter([
        ("k", Arc::new(keys) as ArrayRef),
        ("at", Arc::new(moments) as ArrayRef),
        ("v", Arc::new(values) as ArrayRef),
        ("w", Arc::new(words) as ArrayRef),
    ])
    .unwrap()
}

const MANY: &str = "SELECT o.k, o.at, f.v, f.w, g.v AS v2, f.at AS event FROM o \
    ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k \
    ASOF JOIN g MATCH_CONDITION (o.at > g.at AND o.at - g.at <= INTERVAL '1 hour') ON o.k = g.k";

fn register_many(session: &SessionContext, scale: usize) {
    register(session, "o", &many(20_000 * scale, 1), 3);
    register(session, "f", &many(50_000 * scale, 2), 2);
    register(session, "g", &many(50_000 * scale, 3), 2);
}

async fn physical(session: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let plan = crate::plan::logical(&session.state(), sql).await.unwrap();
    session.state().create_physical_plan(&plan).await.unwrap()
}

/// The operator in a plan.
fn joins(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    if plan.name() == "AsOfExec" { plan } else { joins(plan.children()[0]) }
}

fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    own + plan.children().into_iter().map(spills).sum::<usize>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_little_memory_it_goes_to_disk_and_answers_the_same() {
    let mut answers = Vec::new();
    for bytes in [PLENTY, 1 << 20] {
        let (session, folder) = sessions(bytes);
        register_many(&session, 1);
        let plan = physical(&session, MANY).await;
        let batches = collect(Arc::clone(&plan), session.task_ctx()).await.unwrap();
        assert_eq!(spills(&plan) > 0, bytes < PLENTY, "{bytes}");
        assert_eq!(session.runtime_env().memory_pool.reserved(), 0);
        answers.push(concat_batches(&plan.schema(), &batches).unwrap());
        drop((batches, plan));
        assert_eq!(files(folder.path()), 0, "what was spilled goes");
    }
    assert_eq!(answers[0].num_rows(), 20_000);
    assert!(answers[0] == answers[1]);
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => usize::from(path.extension().is_none_or(|extension| extension != "lock")),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_is_dropped_leaves_nothing_behind() {
    let (session, folder) = sessions(2 << 20);
    register_many(&session, 4);
    let mut answer = stream(&session, MANY).await.unwrap();
    assert!(answer.next().await.unwrap().unwrap().num_rows() > 0);
    assert!(session.runtime_env().memory_pool.reserved() > 0 && files(folder.path()) > 0);
    drop(answer);
    for _ in 0..500 {
        if session.runtime_env().memory_pool.reserved() == 0 && files(folder.path()) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} bytes and {} files stay", session.runtime_env().memory_pool.reserved(), files(folder.path()));
}

#[tokio::test]
async fn too_little_memory_for_anything_is_told() {
    let (session, _folder) = sessions(16 << 10);
    register_many(&session, 1);
    assert!(matches!(run(&session, MANY).await, Err(QueryError::TooBig(_))));
}

async fn explain(session: &SessionContext, sql: &str) -> String {
    let plan = physical(session, sql).await;
    datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string()
}

#[tokio::test]
async fn joins_in_a_row_are_one_operator_that_reads_what_is_asked_for() {
    let (session, _folder) = sessions(PLENTY);
    register_many(&session, 1);
    let plan = explain(&session, MANY).await;
    assert_eq!(plan.matches("AsOfExec").count(), 1, "{plan}");
    // A join that asks for what another gave cannot be done with it.
    let chained = "SELECT o.k, g.v FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k \
                   ASOF JOIN g MATCH_CONDITION (f.at >= g.at) ON o.k = g.k";
    assert_eq!(explain(&session, chained).await.matches("AsOfExec").count(), 2);
    // Beside joins of other kinds, in a query within a query, and with a filter of the observations alone.
    let beside = "SELECT count(*) AS c FROM (SELECT o.k, f.v, b.w FROM o JOIN o AS b ON o.k = b.k AND o.at = b.at \
                  ASOF LEFT JOIN f MATCH_CONDITION (f.at <= o.at) ON f.k = o.k LEFT JOIN g ON g.k = o.k AND g.at = o.at) x WHERE k < 7";
    let plan = explain(&session, beside).await;
    let after = &plan[plan.find("AsOfExec").unwrap()..];
    assert!(after.contains("k@0 < 7"), "{plan}");
    let without =
        beside.replace("ASOF LEFT JOIN f MATCH_CONDITION (f.at <= o.at) ON f.k = o.k", "").replace("f.v", "0");
    let count = async |sql: &str| one(&session, sql).await.column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(count(beside).await, count(&without).await);
    assert!(count(beside).await > 0);
}

#[tokio::test]
async fn observations_keep_their_order_and_it_is_declared() {
    let (session, _folder) = sessions(PLENTY);
    register_many(&session, 1);
    let sorted = "SELECT o.at, f.v FROM (SELECT * FROM o ORDER BY at LIMIT 30000) o \
                  ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k ORDER BY o.at";
    let plan = explain(&session, sorted).await;
    assert!(plan.starts_with("AsOfExec") || plan.starts_with("ProjectionExec"), "no sort after the join: {plan}");
}

#[tokio::test]
async fn a_table_is_read_no_further_than_the_observations_go() {
    let folder = tempfile::tempdir().unwrap();
    let (session, _spill) = sessions(PLENTY);
    let path = folder.path().join("f.parquet");
    let moments: TimestampMicrosecondArray = (0..100_000).map(|row| Some(row * SECOND)).collect();
    let rows = RecordBatch::try_from_iter([
        ("k", Arc::new((0..100_000i64).map(|row| Some(row % 7)).collect::<Int64Array>()) as ArrayRef),
        ("at", Arc::new(moments) as ArrayRef),
    ])
    .unwrap();
    let properties = datafusion::parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(1000))
        .build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = datafusion::parquet::arrow::ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    session.register_parquet("f", path.to_str().unwrap(), Default::default()).await.unwrap();
    register(&session, "o", &rows.slice(50_000, 10), 1);
    let sql = "SELECT o.at, f.at AS event FROM o ASOF JOIN f \
               MATCH_CONDITION (o.at >= f.at AND o.at - f.at <= INTERVAL '100 seconds') ON o.k = f.k";
    let plan = physical(&session, sql).await;
    let answer = collect(Arc::clone(&plan), session.task_ctx()).await.unwrap();
    assert!(answer.iter().all(|batch| batch.column(0) == batch.column(1)));
    let pruned = joins(&plan).children()[1].metrics().unwrap().aggregate_by_name();
    let read = pruned.output_rows().unwrap();
    assert!(read <= 200, "{read} rows of 100,000 were read: {pruned}");
}

#[tokio::test]
async fn nothing_on_either_side_is_no_error() {
    let (session, _folder) = sessions(PLENTY);
    register(&session, "o", &many(0, 1), 2);
    register(&session, "f", &many(10, 2), 2);
    register(&session, "none", &many(0, 3), 1);
    let sql = "SELECT o.k, f.v, f.w FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k";
    assert_eq!(one(&session, sql).await.num_rows(), 0);
    let empty = one(&session, &sql.replace("FROM o ", "FROM f AS o ").replace("JOIN f", "JOIN none AS f")).await;
    assert_eq!((empty.num_rows(), empty.column(1).null_count(), empty.column(2).null_count()), (10, 10, 10));
    let inner = sql.replace("FROM o ", "FROM f AS o ").replace("ASOF JOIN f", "ASOF INNER JOIN none AS f");
    assert_eq!(one(&session, &inner).await.num_rows(), 0);
    let counted = one(&session, "SELECT count(*) AS c FROM f AS o ASOF JOIN f MATCH_CONDITION (o.at >= f.at)").await;
    assert_eq!(counted.column(0).as_primitive::<Int64Type>().value(0), 10);
}

#[tokio::test]
async fn keys_are_texts_numbers_booleans_dates_and_several_at_once() {
    let (session, _folder) = sessions(PLENTY);
    let count = 3i64;
    let batch = |offset: i64| {
        let at: TimestampMicrosecondArray = (0..count).map(|row| Some((row + offset) * SECOND)).collect();
        RecordBatch::try_from_iter([
            ("at", Arc::new(at) as ArrayRef),
            ("text", Arc::new(StringArray::from(vec!["a", "b", "a"])) as ArrayRef),
            ("small", Arc::new(Int32Array::from(vec![-1, 2, -1])) as ArrayRef),
            ("yes", Arc::new(BooleanArray::from(vec![true, false, true])) as ArrayRef),
            ("day", Arc::new(Date32Array::from(vec![5, 6, 5])) as ArrayRef),
            ("row", Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef),
        ])
        .unwrap()
    };
    register(&session, "o", &batch(1), 1);
    register(&session, "f", &batch(0), 1);
    for on in ["text", "small", "yes", "day"].map(|key| format!("o.{key} = f.{key}")).into_iter().chain([
        "o.text = f.text AND o.small = f.small AND o.yes = f.yes AND o.day = f.day".to_owned(),
        "o.small = CAST(f.small AS BIGINT UNSIGNED) OR FALSE".to_owned(),
        "upper(o.text) = upper(f.text)".to_owned(),
    ]) {
        let sql = format!("SELECT f.row AS found FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON {on}");
        if on.contains("OR") {
            assert!(run(&session, &sql).await.is_err());
            continue;
        }
        let answer = one(&session, &sql).await;
        assert_eq!(answer.column(0).as_primitive::<Int64Type>().values().to_vec(), [0, 1, 2], "{on}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_told() {
    let (session, _folder) = sessions(PLENTY);
    register_many(&session, 1);
    for (condition, says) in [
        ("(o.at >= f.when) ON o.k = f.k", "there is no column `when`"),
        ("(o.at <= f.at) ON o.k = f.k", "takes the newest row before it"),
        ("(o.at = f.at) ON o.k = f.k", "is not understood"),
        ("(o.at >= f.at OR TRUE) ON o.k = f.k", "is not understood"),
        ("(o.at - f.at < INTERVAL '1 hour') ON o.k = f.k", "names no event time"),
        ("(o.at >= f.k) ON o.k = f.k", "needs a time stamp or a date"),
        ("(o.at >= f.at AND o.at - f.at < INTERVAL '1 month') ON o.k = f.k", "not of one length"),
        ("(o.at >= f.at AND o.at - f.at < INTERVAL '-1 hour') ON o.k = f.k", "lets no row count"),
        ("(o.at >= f.at) ON o.k = f.w", "keys are text, whole numbers"),
        ("(o.at >= f.at) ON o.v = f.v", "keys are text, whole numbers"),
        ("(o.at >= f.at) ON o.k < f.k", "equalities of keys alone"),
        ("(o.at >= f.at) ON f.k = f.k", "does not compare a key of the"),
        ("(o.at >= f.at) USING (k)", "names its keys by ON"),
    ] {
        let sql = format!("SELECT o.k FROM o ASOF JOIN f MATCH_CONDITION {condition}");
        let error = run(&session, &sql).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{condition}: {error}");
    }
    let twice = "SELECT 1 FROM o ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k ASOF JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k";
    assert!(run(&session, twice).await.is_err(), "two tables of one name");
    assert!(matches!(run(&session, "SELECT 1 FROM o ASOF JOIN f ON o.k = f.k").await, Err(QueryError::Syntax(_))));
}

/// The types that a schema has, for a look at what is declared.
#[tokio::test]
async fn what_a_left_join_gives_may_be_null() {
    let (session, _folder) = sessions(PLENTY);
    register_many(&session, 1);
    let nullable = async |kind: &str| -> SchemaRef {
        let sql = format!("SELECT f.k FROM o ASOF {kind} JOIN f MATCH_CONDITION (o.at >= f.at) ON o.k = f.k");
        crate::schema(&session, &sql).await.unwrap()
    };
    assert!(nullable("").await.field(0).is_nullable());
    assert!(!nullable("INNER").await.field(0).is_nullable());
}
