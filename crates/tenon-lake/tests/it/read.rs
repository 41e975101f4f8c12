use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tenon_core::{AsOf, Timestamp};
use tenon_lake::LakeError;

use crate::fixture::{Company, FLIGHTS, HOUR, flights, planes, specs};

async fn error(company: &Company, sql: &str) -> String {
    company.lake.query(sql, AsOf::Latest).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_past_is_read_by_the_facts_moments() {
    let company = Company::new().await;
    for hour in 1..=3 {
        company.clock.advance_to(Timestamp::from_micros(hour * HOUR));
        company.committed("flights", &hour.to_string(), flights(&[(&hour.to_string(), None, None)])).await;
    }
    let count = "SELECT count(*) FROM flights";
    for (hour, expected) in [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)] {
        let moment = Timestamp::from_micros(hour * HOUR + 1);
        assert_eq!(company.number(count, AsOf::Time(moment)).await, expected, "at hour {hour}");
    }
    assert_eq!(company.number(count, AsOf::Version(0)).await, 1);
    assert_eq!(company.lake.version("flights", AsOf::Time(Timestamp::from_micros(HOUR))).await.unwrap(), Some(0));
    assert_eq!(company.lake.version("flights", AsOf::Time(Timestamp::from_micros(0))).await.unwrap(), None);
    let history = company.lake.history("flights").unwrap();
    assert_eq!(
        history.iter().map(|commit| (commit.version, commit.rows)).collect::<Vec<_>>(),
        [(0, 1), (1, 1), (2, 1)]
    );
    let late = company.lake.query(count, AsOf::Version(9)).await.unwrap_err();
    assert_eq!(late.to_string(), "`flights` has no version 9: the newest is 2");
    let both = company.lake.query("SELECT 1 FROM flights, planes", AsOf::Version(0)).await.unwrap_err();
    assert!(matches!(both, LakeError::VersionOfMany(_)));
    let pinned = company.lake.query_at(count, &[("flights".to_owned(), 1)]).await.unwrap();
    assert_eq!(pinned[0].column(0).as_primitive::<Int64Type>().value(0), 2);
}

#[tokio::test]
async fn a_version_tells_what_it_added() {
    let mut company = Company::new().await;
    company.committed("flights", "1", flights(&[("a", None, Some(1)), ("b", None, Some(2))])).await;
    company.committed("flights", "2", flights(&[("c", None, None)])).await;
    company.reopen().await;
    let added = async |version, columns: &[&str]| company.lake.added("flights", version, columns).await;
    let first = added(0, &[]).await.unwrap();
    assert_eq!((first.len(), first[0].num_rows()), (1, 2));
    assert_eq!(first[0].num_columns(), company.lake.schema("flights").await.unwrap().fields().len());
    let second = added(1, &["id"]).await.unwrap();
    assert_eq!((second[0].num_columns(), second[0].column(0).as_string::<i32>().value(0)), (1, "c"));
    let late = added(2, &[]).await.unwrap_err();
    assert_eq!(late.to_string(), "`flights` has no version 2: the newest is 1");
}

#[tokio::test]
async fn views_open_up_and_cycles_are_told() {
    let views = [
        ("late", "SELECT id, tailnum FROM flights WHERE delay > 15"),
        ("late_known", "SELECT l.id FROM late l JOIN planes p ON l.tailnum = p.tailnum"),
        ("a", "SELECT * FROM b"),
        ("b", "SELECT * FROM c"),
        ("c", "SELECT * FROM b"),
    ];
    let company = Company::with(specs(FLIGHTS, &views)).await;
    company.committed("planes", "p", planes(&["N1"])).await;
    company
        .committed(
            "flights",
            "f",
            flights(&[("a", Some("N1"), Some(20)), ("b", Some("N2"), Some(30)), ("c", Some("N1"), Some(1))]),
        )
        .await;
    assert_eq!(company.texts("SELECT id FROM late_known", AsOf::Latest).await, ["a"]);
    assert_eq!(company.lake.tables_of("SELECT * FROM late_known, late").await.unwrap(), ["flights", "planes"]);
    let schema = company.lake.schema("late").await.unwrap();
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "tailnum"]);
    assert_eq!(error(&company, "SELECT * FROM a").await, "these views are made of each other: b -> c -> b");
    let pins = [("flights".to_owned(), 0), ("planes".to_owned(), 0)];
    assert_eq!(company.lake.query_at("SELECT * FROM late_known", &pins).await.unwrap()[0].num_rows(), 1);
    let unpinned = company.lake.query_at("SELECT * FROM late_known", &pins[..1]).await.unwrap_err();
    assert_eq!(unpinned.to_string(), "there is no table `planes`: there are flights");
}

#[tokio::test]
async fn errors_name_what_is_there() {
    let company = Company::new().await;
    assert_eq!(error(&company, "SELECT * FROM flihgts").await, "there is no table `flihgts` (did you mean `flights`?)");
    assert_eq!(error(&company, "SELECT dely FROM flights").await, "there is no column `dely` (did you mean `delay`?)");
    assert!(error(&company, "SELECT zzzzzz FROM planes").await.contains("there are tailnum"));
    assert!(error(&company, "SELEC 1").await.starts_with("this is not valid SQL"));
    for statement in [
        "DROP TABLE flights",
        "INSERT INTO planes VALUES ('x')",
        "CREATE TABLE x AS SELECT 1",
        "COPY planes TO '/tmp/x.parquet'",
        "SET datafusion.execution.batch_size = 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "EXPLAIN ANALYZE INSERT INTO planes VALUES ('x')",
    ] {
        assert!(error(&company, statement).await.starts_with("only queries are answered here"), "{statement}");
    }
    assert!(error(&company, "SELECT * FROM '/etc/passwd'").await.starts_with("there is no table"));
    let changing = company.lake.query_at("SELECT now()", &[]).await.unwrap_err();
    assert!(changing.to_string().starts_with("`now()` gives another answer each time"));
}

#[tokio::test]
async fn a_query_over_handed_in_rows_equals_the_one_over_the_table() {
    let company = Company::new().await;
    let rows = flights(&[("a", Some("N1"), Some(20)), ("b", None, Some(30)), ("c", Some("N1"), None)]);
    let landed = company
        .lake
        .check(&crate::fixture::name("flights"), std::slice::from_ref(&rows))
        .await
        .unwrap()
        .accepted()
        .clone();
    company.committed("flights", "f", rows).await;
    for (sql, row_by_row) in [
        (
            "SELECT id, delay * 2 AS twice, upper(tailnum) AS tail FROM flights WHERE delay > 10 AND tailnum IS NOT NULL",
            true,
        ),
        ("SELECT f.id, landed_at + INTERVAL '1 hour' AS later FROM flights f", true),
        ("SELECT * FROM flights", true),
        ("WITH late AS (SELECT * FROM flights WHERE delay > 15) SELECT id FROM late", true),
        ("SELECT 1 AS one FROM flights", true),
        ("SELECT tailnum, count(*) AS n FROM flights GROUP BY tailnum ORDER BY n, tailnum", false),
        ("SELECT id FROM flights WHERE delay > (SELECT avg(delay) FROM flights)", false),
    ] {
        let over = company.lake.query_over(sql, "flights", std::slice::from_ref(&landed)).await.unwrap();
        let table = company.lake.query(sql, AsOf::Latest).await.unwrap();
        let concat =
            |batches: &[RecordBatch]| arrow::compute::concat_batches(batches[0].schema_ref(), batches).unwrap();
        let (over, table) = (concat(&over), concat(&table));
        assert_eq!(over.columns(), table.columns(), "{sql}");
        let query = company.lake.rows_query(sql, "flights", landed.schema()).await.unwrap();
        assert_eq!(query.is_row_by_row(), row_by_row, "{sql}");
    }
    let other = company.lake.query_over("SELECT * FROM planes", "flights", &[landed]).await.unwrap_err();
    assert_eq!(other.to_string(), "there is no table `planes`: there are flights");
}

#[tokio::test]
async fn a_snapshot_leaves_as_one_parquet_file() {
    let company = Company::new().await;
    company.committed("flights", "f", flights(&[("a", None, Some(20)), ("b", None, None)])).await;
    let to = company.folder.path().join("out.parquet");
    assert_eq!(company.lake.export("flights", AsOf::Latest, &to).await.unwrap(), 2);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&to).unwrap()).unwrap();
    let moment = reader.schema().field_with_name("landed_at").unwrap().data_type().clone();
    assert_eq!(moment, DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))));
    let nowhere = company.folder.path().join("no/such/folder/out.parquet");
    assert!(matches!(company.lake.export("flights", AsOf::Latest, &nowhere).await, Err(LakeError::Export { .. })));
}
