#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::rules::SeenRows;
use super::{Checked, KeySet, Rules};
use crate::LakeError;

fn rules(contract: &str) -> Result<Rules, LakeError> {
    let session = tenon_query::session(64 << 20, &std::env::temp_dir().join("tenon-tests")).unwrap();
    let spec = toml::from_str(&format!("description = \"d\"\n[source]\npush = true\n{contract}")).unwrap();
    Rules::compile(&session, "flights", &spec)
}

fn run(rules: &Rules, rows: &RecordBatch) -> Checked {
    let planes: ArrayRef = Arc::new(StringArray::from(vec!["N1", "N2"]));
    let references = HashMap::from([("planes.tailnum".to_owned(), Arc::new(KeySet::of([&planes]).unwrap()))]);
    let checked = rules.check(rows, &references, &mut SeenRows::default(), None).unwrap();
    if checked.refusal().is_none() {
        assert_eq!(checked.rows_in(), checked.accepted().num_rows() as u64 + checked.quarantined());
    }
    checked
}

/// What becomes of the values of one column `x`: those that land, then the reasons of the others.
fn fate(column: &str, values: ArrayRef) -> String {
    let rules = rules(&format!("[contract.columns.x]\n{column}")).unwrap();
    let rows = RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap();
    let checked = run(&rules, &rows);
    if let Some(refusal) = checked.refusal() {
        return format!("refused: {refusal}");
    }
    let column = checked.accepted().column(0);
    let show = |row| if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() };
    let landed: Vec<String> = (0..column.len()).map(show).collect();
    let reasons = checked.quarantined.clone().map(|rows| {
        let rows = rows.into_batch(0, "s", "d", tenon_core::Timestamp::from_micros(0)).unwrap();
        let reasons: Vec<String> = rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        reasons.join(" | ")
    });
    format!("{} || {}", landed.join(" "), reasons.unwrap_or_default())
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn values_become_the_contracts_type_or_say_why_not() {
    let int64 = "type = \"int64\"";
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        (
            int64,
            texts(&["1", "abc", "12.0", "1.5", ""]),
            "1 12 || x: \"abc\" is not an int64 | x: \"1.5\" is not an int64 | x: \"\" is not an int64",
        ),
        (int64, Arc::new(Int32Array::from(vec![Some(7), None])), "7 || x: missing"),
        ("type = \"int64\"\nnullable = true", Arc::new(Int32Array::from(vec![Some(7), None])), "7 - || "),
        (
            int64,
            Arc::new(Float64Array::from(vec![3.0, 3.5, f64::NAN, 1e300])),
            "3 || x: 3.5 is not an int64 | x: NaN is not an int64 | x: 1e300 is not an int64",
        ),
        (int64, Arc::new(UInt64Array::from(vec![1, u64::MAX])), "1 || x: 18446744073709551615 is not an int64"),
        ("type = \"int32\"", Arc::new(Int64Array::from(vec![1, 1 << 40])), "1 || x: 1099511627776 is not an int32"),
        (
            "type = \"float64\"",
            Arc::new(Int64Array::from(vec![5, (1 << 53) + 1])),
            "5.0 || x: 9007199254740993 is not a float64",
        ),
        ("type = \"float32\"", Arc::new(Float64Array::from(vec![0.1, 1e300])), "0.1 || x: 1e300 is not a float32"),
        ("type = \"boolean\"", texts(&["true", "no", "maybe"]), "true false || x: \"maybe\" is not a boolean"),
        ("type = \"boolean\"", Arc::new(Int64Array::from(vec![0, 1, 2])), "false true || x: 2 is not a boolean"),
        ("type = \"string\"", Arc::new(BooleanArray::from(vec![true])), "true || "),
        (
            "type = \"string\"",
            Arc::new(StringViewArray::from(vec!["a view of more than twelve bytes"])),
            "a view of more than twelve bytes || ",
        ),
        (
            "type = \"string\"",
            Arc::new(vec!["a", "b", "a"].into_iter().collect::<DictionaryArray<Int32Type>>()),
            "a b a || ",
        ),
        (
            "type = \"timestamp\"",
            texts(&["2013-01-01T05:00:00Z", "2013-01-01 00:00:00-05:00", "noon"]),
            "2013-01-01T05:00:00Z 2013-01-01T05:00:00Z || x: \"noon\" is not a timestamp",
        ),
        (
            "type = \"timestamp\"",
            Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000, 1])),
            "1970-01-01T00:00:01Z || x: 1970-01-01T00:00:00.000000001 is not a timestamp",
        ),
        // Finer than a microsecond, in text as in numbers, and beyond the years that readers show.
        (
            "type = \"timestamp\"",
            texts(&["2013-01-01T05:00:00.123456000Z", "2013-01-01T05:00:00.1234567Z"]),
            "2013-01-01T05:00:00.123456Z || x: \"2013-01-01T05:00:00.1234567Z\" is not a timestamp",
        ),
        (
            "type = \"timestamp\"",
            Arc::new(TimestampMicrosecondArray::from(vec![253_402_300_799_999_999, 253_402_300_800_000_000, i64::MIN])),
            "9999-12-31T23:59:59.999999Z || x: +10000-01-01T00:00:00 is not a timestamp | \
             x: -9223372036854775808 is not a timestamp",
        ),
        (
            "type = \"timestamp\"",
            Arc::new(TimestampMillisecondArray::from(vec![1, 1 << 62])),
            "1970-01-01T00:00:00.001Z || x: 4611686018427387904 is not a timestamp",
        ),
        (
            "type = \"string\"",
            Arc::new(TimestampMillisecondArray::from(vec![1, 1 << 62])),
            "1970-01-01T00:00:00.001 4611686018427387904 || ",
        ),
        ("type = \"date\"", Arc::new(Date32Array::from(vec![2_932_897])), " || x: +10000-01-01 is not a date"),
        (
            "type = \"date\"",
            texts(&["2013-01-02", "2013-01-02 00:00:00", "2013-01-02 05:00:00"]),
            "2013-01-02 2013-01-02 || x: \"2013-01-02 05:00:00\" is not a date",
        ),
        (
            "type = \"timestamp\"",
            Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("+02:00")),
            "1970-01-01T00:00:00Z || ",
        ),
        (
            "type = \"timestamp\"",
            Arc::new(Int64Array::from(vec![1_000])),
            "refused: column `x` cannot be read: it holds Int64 there, and the contract says a timestamp",
        ),
        (
            "type = \"date\"",
            Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000, 1])),
            "1970-01-02 || x: 1970-01-01T00:00:00.000001 is not a date",
        ),
        ("type = \"timestamp\"", Arc::new(Date32Array::from(vec![1])), "1970-01-02T00:00:00Z || "),
        (
            int64,
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])])),
            "refused: column `x` cannot be read: it holds List(Int64) there, and the contract says an int64",
        ),
        (
            "type = \"string\"\nnullable = true",
            arrow::array::new_null_array(&arrow::datatypes::DataType::Null, 2),
            "- - || ",
        ),
        ("type = \"string\"", arrow::array::new_null_array(&arrow::datatypes::DataType::Null, 1), " || x: missing"),
    ];
    for (column, values, expected) in cases {
        assert_eq!(fate(column, values.clone()), expected, "{column} from {:?}", values.data_type());
    }
}

#[test]
fn promises_hold_or_say_what_broke_them() {
    let nan = "type = \"float64\"\nrange = [0.5, 2]";
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        (
            "type = \"int64\"\nrange = [-120, 1500]",
            Arc::new(Int64Array::from(vec![-120, 1500, -121, 1501])),
            "-120 1500 || x: -121 is outside [-120, 1500] | x: 1501 is outside [-120, 1500]",
        ),
        (
            nan,
            Arc::new(Float64Array::from(vec![0.5, 2.0, f64::NAN, 0.4])),
            "0.5 2.0 || x: NaN is outside [0.5, 2] | x: 0.4 is outside [0.5, 2]",
        ),
        (
            "type = \"float64\"\nrange = [0, 2]",
            Arc::new(Float64Array::from(vec![-0.0, 3.0])),
            "-0.0 || x: 3.0 is outside [0, 2]",
        ),
        (
            "type = \"int64\"\nrange = [-0.5, 9007199254740992]",
            Arc::new(Int64Array::from(vec![0, 9_007_199_254_740_992, 9_007_199_254_740_993, -1])),
            "0 9007199254740992 || x: 9007199254740993 is outside [-0.5, 9007199254740992] | \
             x: -1 is outside [-0.5, 9007199254740992]",
        ),
        (
            "type = \"int64\"\nnullable = true\nrange = [0, 1]",
            Arc::new(Int64Array::from(vec![None, Some(1)])),
            "- 1 || ",
        ),
        (
            "type = \"string\"\none_of = [\"EWR\", \"JFK\"]",
            texts(&["EWR", "ewr"]),
            "EWR || x: \"ewr\" is not one of EWR, JFK",
        ),
        (
            "type = \"int64\"\none_of = [\"1\", \"3\"]",
            Arc::new(Int64Array::from(vec![1, 2])),
            "1 || x: 2 is not one of 1, 3",
        ),
        (
            "type = \"string\"\npattern = \"N[0-9]+|B\"",
            texts(&["N12", "xN12", "N12x", "B"]),
            "N12 B || x: \"xN12\" does not match N[0-9]+|B | x: \"N12x\" does not match N[0-9]+|B",
        ),
        (
            "type = \"string\"\nnullable = true\nreferences = \"planes.tailnum\"",
            Arc::new(StringArray::from(vec![Some("N1"), Some("N9"), None])),
            "N1 - || x: \"N9\" is not in planes.tailnum",
        ),
        ("type = \"string\"\nreferences = \"planes.tailnum\"\nseverity = \"warn\"", texts(&["N1", "N9"]), "N1 N9 || "),
        // A table cannot hold these, whatever the severity.
        ("type = \"int64\"\nseverity = \"warn\"", texts(&["1", "x"]), "1 || x: \"x\" is not an int64"),
    ];
    for (column, values, expected) in cases {
        assert_eq!(fate(column, values), expected, "{column}");
    }
}

#[test]
fn a_missing_column_is_named_with_the_one_that_was_meant() {
    let rules = rules("[contract.columns.arr_delay]\ntype = \"int64\"\nnullable = true").unwrap();
    let rows = RecordBatch::try_from_iter([("arr_dealy", texts(&["1"])), ("carrier", texts(&["UA"]))]).unwrap();
    let checked = run(&rules, &rows);
    assert_eq!(checked.refusal(), Some("column `arr_delay` is missing: it has `arr_dealy`; is that the one?"));
    let rows = RecordBatch::try_from_iter([("carrier", texts(&["UA"]))]).unwrap();
    assert_eq!(run(&rules, &rows).refusal(), Some("column `arr_delay` is missing: it has carrier"));
}

const WHOLE: &str = "[contract]\nkey = [\"id\"]\n\
    [contract.columns.id]\ntype = \"string\"\n\
    [contract.columns.air_time]\ntype = \"int64\"\nnullable = true\nrange = [0, 900]\n\
    [contract.columns.delay]\ntype = \"int64\"\nnullable = true\nrange = [-60, 600]\nseverity = \"warn\"\n\
    [[contract.checks]]\nname = \"flies if it is late\"\nsql = \"delay < 100 OR air_time > 0\"\n";

fn flights(ids: &[&str], air_time: &[Option<i64>], delay: &[Option<i64>]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("extra", texts(&vec!["kept"; ids.len()]), true),
        ("delay", Arc::new(Int64Array::from(delay.to_vec())) as ArrayRef, true),
        ("id", texts(ids), true),
        ("air_time", Arc::new(Int64Array::from(air_time.to_vec())) as ArrayRef, true),
    ])
    .unwrap()
}

#[test]
fn a_row_is_judged_by_all_rules_and_keeps_all_its_columns() {
    let rules = rules(WHOLE).unwrap();
    // b is too long in the air and not late; c is late and does not fly; d is unknown, which is no breach; the first d
    // stays; e is the first e that keeps the contract.
    let rows = flights(
        &["a", "b", "c", "d", "d", "e", "e"],
        &[Some(10), Some(901), Some(0), None, Some(1), Some(-5), Some(5)],
        &[Some(5), Some(1), Some(700), Some(150), Some(2), Some(200), Some(3)],
    );
    let checked = run(&rules, &rows);
    let ids: Vec<_> = checked.accepted().column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["a", "d", "e"]);
    let told: Vec<String> =
        checked.tally.reasons.iter().map(|reason| format!("{} {}", reason.rule, reason.rows)).collect();
    assert_eq!(told, ["air_time: outside [0, 900] 2", "flies if it is late 2", "key id: not the first 1"]);
    assert_eq!(checked.tally.warnings.len(), 1);
    let set_aside =
        checked.quarantined.unwrap().into_batch(100, "file", "digest", tenon_core::Timestamp::from_micros(7)).unwrap();
    let column = |name: &str| set_aside.column_by_name(name).unwrap();
    let reasons: Vec<_> = column("_reason").as_string::<i32>().iter().flatten().collect();
    assert_eq!(
        reasons,
        [
            "air_time: 901 is outside [0, 900]",
            "flies if it is late",
            "key id: not the first",
            "air_time: -5 is outside [0, 900]; flies if it is late",
        ]
    );
    assert_eq!(
        column("_row").as_string::<i32>().value(1),
        "{\"extra\":\"kept\",\"delay\":700,\"id\":\"c\",\"air_time\":0}"
    );
    assert_eq!(column("_row_number").as_primitive::<Int64Type>().values(), &[101, 102, 104, 105]);
    assert_eq!(column("_rules_broken").as_primitive::<Int32Type>().values(), &[1, 1, 1, 2]);
}

#[test]
fn a_moment_that_has_no_text_is_set_aside_as_its_number() {
    let rules = rules("[contract.columns.x]\ntype = \"timestamp\"").unwrap();
    let moments: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1 << 62, i64::MIN, 0]));
    let checked = run(&rules, &RecordBatch::try_from_iter_with_nullable([("x", moments, true)]).unwrap());
    let set_aside =
        checked.quarantined.unwrap().into_batch(0, "s", "d", tenon_core::Timestamp::from_micros(0)).unwrap();
    let rows: Vec<_> = set_aside.column_by_name("_row").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(rows, ["{\"x\":\"4611686018427387904\"}", "{\"x\":\"-9223372036854775808\"}"]);
}

#[test]
fn a_key_that_a_piece_took_is_taken_for_the_next() {
    let rules = rules(WHOLE).unwrap();
    let mut seen = SeenRows::default();
    let piece = |id: &str| flights(&[id], &[Some(1)], &[Some(1)]);
    let mut check = |id: &str| rules.check(&piece(id), &HashMap::new(), &mut seen, None).unwrap().accepted().num_rows();
    assert_eq!([check("a"), check("b"), check("a")], [1, 1, 0]);
}

#[test]
fn contracts_that_cannot_be_followed_are_refused_with_the_reason() {
    let column = |column: &str| format!("[contract.columns.x]\n{column}");
    let cases = [
        ("".to_owned(), "it names no columns, so nothing could land"),
        (column("type = \"string\"\npattern = \"(\""), "column `x`: `(` is not a regular expression"),
        (column("type = \"string\"\nrange = [0, 1]"), "column `x`: only numbers have a range"),
        (column("type = \"int64\"\none_of = [\"a\"]"), "column `x`: a value of `one_of` is not an int64"),
        (
            column("type = \"int64\"\n[[contract.checks]]\nname = \"c\"\nsql = \"y > 1\""),
            "check `c`: there is no column `y`",
        ),
        (
            column("type = \"int64\"\n[[contract.checks]]\nname = \"c\"\nsql = \"x + 1\""),
            "check `c`: a check is a condition",
        ),
        (
            column("type = \"timestamp\"\n[[contract.checks]]\nname = \"c\"\nsql = \"x < now()\""),
            "check `c`: `now()` gives another answer each time",
        ),
    ];
    for (contract, expected) in cases {
        let error = rules(&contract).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn numbers_that_json_has_no_word_for_are_kept_as_text() {
    let rules = rules("[contract.columns.x]\ntype = \"int64\"").unwrap();
    let rows =
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY])) as ArrayRef)])
            .unwrap();
    let set_aside =
        run(&rules, &rows).quarantined.unwrap().into_batch(0, "s", "d", tenon_core::Timestamp::from_micros(0)).unwrap();
    let rows: Vec<_> = set_aside.column_by_name("_row").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(rows, ["{\"x\":\"NaN\"}", "{\"x\":\"inf\"}"]);
}

proptest! {
    /// Rows in = accepted + quarantined, and what landed keeps the contract, whatever comes and however it is cut.
    #[test]
    fn no_row_is_lost_or_doubled(
        rows in proptest::collection::vec((0..12u8, proptest::option::of(-50..1000i64), proptest::option::of(-100..800i64)), 0..60),
        cut in 0..60usize,
    ) {
        let rules = rules(WHOLE).unwrap();
        let ids: Vec<String> = rows.iter().map(|row| row.0.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let batch = flights(&ids, &rows.iter().map(|row| row.1).collect::<Vec<_>>(), &rows.iter().map(|row| row.2).collect::<Vec<_>>());
        let whole = run(&rules, &batch);
        let cut = cut.min(rows.len());
        let mut seen = SeenRows::default();
        let pieces = [batch.slice(0, cut), batch.slice(cut, rows.len() - cut)]
            .map(|piece| rules.check(&piece, &HashMap::new(), &mut seen, None).unwrap());
        let landed: usize = pieces.iter().map(|piece| piece.accepted().num_rows()).sum();
        prop_assert_eq!(landed, whole.accepted().num_rows());
        prop_assert_eq!(pieces.iter().map(Checked::quarantined).sum::<u64>(), whole.quarantined());
        let air_time = whole.accepted().column(1).as_primitive::<Int64Type>();
        prop_assert!(air_time.iter().flatten().all(|minutes| (0..=900).contains(&minutes)));
        let again = run(&rules, whole.accepted());
        prop_assert_eq!(again.quarantined(), 0);
    }
}

#[test]
fn vectors_land_and_what_is_none_is_told() {
    let vector = "type = \"vector(2)\"\nnullable = true";
    let pushed = texts(&["[1, -0.5]", "[1]", "[1, 2, 3]", "[1, null]", "[1, 1e39]", "one", "{\"x\": 1}"]);
    insta::assert_snapshot!(fate(vector, pushed), @r#"[1.0, -0.5] || x: "[1]" is not a vector of 2 finite numbers | x: "[1, 2, 3]" is not a vector of 2 finite numbers | x: "[1, null]" is not a vector of 2 finite numbers | x: "[1, 1e39]" is not a vector of 2 finite numbers | x: "one" is not a vector of 2 finite numbers | x: "{"x": 1}" is not a vector of 2 finite numbers"#);
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(0.25), Some(8.0)]),
        None,
        Some(vec![Some(f64::NAN), Some(8.0)]),
        Some(vec![Some(f64::INFINITY), Some(8.0)]),
        Some(vec![]),
    ]));
    insta::assert_snapshot!(fate(vector, Arc::clone(&lists)), @"[0.25, 8.0] - || x: [NaN, 8.0] is not a vector of 2 finite numbers | x: [inf, 8.0] is not a vector of 2 finite numbers | x: [] is not a vector of 2 finite numbers");
    insta::assert_snapshot!(fate("type = \"vector(2)\"", lists.slice(0, 2)), @"[0.25, 8.0] || x: missing");
    insta::assert_snapshot!(fate(vector, Arc::new(Int64Array::from(vec![1]))), @"refused: column `x` cannot be read: it holds Int64 there, and the contract says a vector of 2 finite numbers");
    insta::assert_snapshot!(fate("type = \"string\"", lists), @"refused: column `x` cannot be read: it holds List(Float64) there, and the contract says a string");
}
