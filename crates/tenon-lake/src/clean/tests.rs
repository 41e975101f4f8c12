#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;

use crate::LakeError;
use crate::contract::{Checked, Rules, SeenRows};

fn rules(spec: &str) -> Result<Rules, LakeError> {
    let session = tenon_query::session(64 << 20, &std::env::temp_dir().join("tenon-tests")).unwrap();
    let spec = toml::from_str(&format!("description = \"d\"\n[source]\npush = true\n{spec}")).unwrap();
    Rules::compile(&session, "flights", &spec)
}

fn run(rules: &Rules, rows: &RecordBatch) -> Checked {
    let checked = rules.check(rows, &HashMap::new(), &mut SeenRows::default(), None).unwrap();
    if checked.refusal().is_none() {
        let landed = checked.accepted().num_rows() as u64;
        assert_eq!(checked.rows_in(), landed + checked.quarantined() + checked.dropped());
    }
    checked
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// What becomes of the values of one column `x`: those that land, then the reasons of the others.
fn fate(column: &str, clean: &str, values: ArrayRef) -> String {
    let rules = rules(&format!("[contract.columns.x]\n{column}\n[clean.columns.x]\n{clean}")).unwrap();
    let name = if clean.starts_with("from =") { "X" } else { "x" };
    shown(&run(&rules, &batch(vec![(name, values)])))
}

fn shown(checked: &Checked) -> String {
    if let Some(refusal) = checked.refusal() {
        return format!("refused: {refusal}");
    }
    let rows = checked.accepted();
    let show = |row| {
        let show = |column: &ArrayRef| match column.is_null(row) {
            true => "-".to_owned(),
            false => array_value_to_string(column, row).unwrap(),
        };
        rows.columns().iter().map(show).collect::<Vec<_>>().join("/")
    };
    let landed: Vec<String> = (0..rows.num_rows()).map(show).collect();
    let reasons = checked.quarantined.clone().map(|rows| {
        let rows = rows.into_batch(0, "s", "d", tenon_core::Timestamp::from_micros(0)).unwrap();
        rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" | ")
    });
    format!("{} || {}", landed.join(" "), reasons.unwrap_or_default())
}

#[test]
fn values_are_cleaned_or_say_why_not() {
    let nullable_text = "type = \"string\"\nnullable = true";
    let cases: Vec<(&str, &str, ArrayRef, &str)> = vec![
        (
            nullable_text,
            "from = \"X\"\ntrim = true",
            texts(&[Some("  a b\t"), Some("c"), Some("  "), None]),
            "a b c - - || ",
        ),
        (
            "type = \"timestamp\"",
            "parse = { formats = [\"%d/%m/%Y %H:%M\", \"%d.%m.%Y\"], zone = \"America/New_York\" }",
            texts(&[Some("02/01/2013 05:00"), Some("02.07.2013"), Some("10/03/2013 02:30"), Some("2013-01-02")]),
            "2013-01-02T10:00:00Z 2013-07-02T04:00:00Z || \
             x: \"10/03/2013 02:30\" is not written as %d/%m/%Y %H:%M or %d.%m.%Y | \
             x: \"2013-01-02\" is not written as %d/%m/%Y %H:%M or %d.%m.%Y",
        ),
        (
            "type = \"timestamp\"",
            "parse = { formats = [\"%Y-%m-%dT%H:%M:%S%z\"], zone = \"America/New_York\" }",
            texts(&[Some("2013-01-01T05:00:00+0100")]),
            "2013-01-01T04:00:00Z || ",
        ),
        (
            "type = \"date\"",
            "parse = { formats = [\"%d.%m.%Y\"], zone = \"Asia/Tokyo\" }",
            texts(&[Some("31.12.2013"), Some("31.02.2013")]),
            "2013-12-31 || x: \"31.02.2013\" is not written as %d.%m.%Y",
        ),
        (
            "type = \"timestamp\"",
            "parse = { epoch = \"milliseconds\" }",
            Arc::new(Int64Array::from(vec![Some(1_000), Some(i64::MAX)])),
            "1970-01-01T00:00:01Z || x: 9223372036854775807 is not a count of milliseconds since 1970",
        ),
        (
            "type = \"float64\"",
            "parse = { decimal = \",\", thousands = \".\" }",
            texts(&[Some("1.234,5"), Some("-1234"), Some("12.34"), Some("1,2,3"), Some("")]),
            "1234.5 -1234.0 || x: \"12.34\" is not a number such as 1.234,5 | \
             x: \"1,2,3\" is not a number such as 1.234,5 | x: \"\" is not a number such as 1.234,5",
        ),
        (
            "type = \"int64\"\nunit = \"minutes\"",
            "unit = { from = \"seconds\" }",
            texts(&[Some("180"), Some("90"), Some("soon")]),
            "3 || x: 1.5 is not an int64 | x: \"soon\" is not a float64",
        ),
        (
            "type = \"int64\"\nunit = \"minutes\"",
            "unit = { from = \"seconds\" }\ncast = \"round\"",
            Arc::new(Int64Array::from(vec![180, 90, -90])),
            "3 2 -2 || ",
        ),
        ("type = \"int64\"", "cast = \"truncate\"", Arc::new(Float64Array::from(vec![2.9, -2.9])), "2 -2 || "),
        (
            "type = \"float64\"\nunit = \"points\"",
            "unit = { from = \"stars\", factor = 20.0, offset = -1.0 }",
            Arc::new(Int64Array::from(vec![3])),
            "59.0 || ",
        ),
        (
            "type = \"int64\"",
            "default = \"0\"",
            texts(&[Some("7"), None, Some("none")]),
            "7 0 || x: \"none\" is not an int64",
        ),
    ];
    for (column, clean, values, expected) in cases {
        assert_eq!(fate(column, clean, values), expected, "{column}\n{clean}");
    }
}

#[test]
fn derived_columns_read_clean_ones_and_unwanted_rows_are_dropped() {
    let rules = rules(
        "[contract.columns.dep]\ntype = \"int64\"\nnullable = true\nrange = [-60, 600]\n\
         [contract.columns.total]\ntype = \"int64\"\nnullable = true\n\
         [contract.columns.late]\ntype = \"boolean\"\nnullable = true\n\
         [clean]\ndrop = \"status = 'test'\"\n\
         [clean.columns.dep]\nfrom = \"DepDelay\"\ntrim = true\n\
         [clean.columns.total]\nsql = \"dep + CAST(air AS BIGINT)\"\n\
         [clean.columns.late]\nsql = \"total > 100\"\n",
    )
    .unwrap();
    let rows = batch(vec![
        ("DepDelay", texts(&[Some(" 5"), Some("700"), Some("9999"), None])),
        ("air", texts(&[Some("100"), Some("1"), Some("1"), Some("1")])),
        ("status", texts(&[Some("real"), Some("real"), Some("test"), None])),
    ]);
    let checked = run(&rules, &rows);
    assert_eq!(shown(&checked), "5/105/true -/-/- || dep: \"700\" is outside [-60, 600]");
    assert_eq!((checked.rows_in(), checked.dropped(), checked.quarantined()), (4, 1, 1));
    // A row that is dropped breaks no rule: 9999 is not told of.
    assert_eq!(checked.tally.reasons.iter().map(|reason| reason.rows).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_cannot_be_cleaned_as_declared_is_told_before_there_are_rows() {
    let fault = |spec: &str| rules(spec).unwrap_err().to_string();
    let number = "[contract.columns.x]\ntype = \"int64\"\n";
    for (spec, expected) in [
        ("[clean.columns.x]\ndefault = \"none\"", "`none`, is not an int64"),
        ("[clean]\ndrop = \"x + 1\"", "`clean.drop` is a condition, and this is Int64"),
        ("[clean]\ndrop = \"x <\"", "`clean.drop`: this is not valid SQL"),
        ("[clean]\ndrop = \"x = random()\"", "random()"),
    ] {
        let told = fault(&format!("{number}{spec}"));
        assert!(told.contains(expected), "{spec}: {told}");
    }
    let told = fault("[contract.columns.x]\ntype = \"timestamp\"\n[clean.columns.x]\nparse = { formats = [\"%Q\"] }");
    assert!(told.contains("`%Q` is no format of a moment"), "{told}");
}

#[test]
fn a_source_without_a_column_is_refused_unless_there_is_a_default() {
    let rows = batch(vec![("other", texts(&[Some("1")]))]);
    let spec = "[contract.columns.x]\ntype = \"int64\"\n[clean.columns.x]\nfrom = \"X\"\n";
    assert_eq!(shown(&run(&rules(spec).unwrap(), &rows)), "refused: column `X` is missing: it has other");
    let with_default = format!("{spec}default = \"7\"\n");
    assert_eq!(shown(&run(&rules(&with_default).unwrap(), &rows)), "7 || ");
    let derived = "[contract.columns.x]\ntype = \"int64\"\n[clean.columns.x]\nsql = \"missing + 1\"\n";
    let told = shown(&run(&rules(derived).unwrap(), &rows));
    assert!(told.starts_with("refused: derived column `x`: there is no column `missing`"), "{told}");
}
