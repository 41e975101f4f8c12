#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use indexmap::IndexMap;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use tenon_core::spec::{
    Check, CleanColumn, Cleaning, Column, ColumnType, Compaction, Contract, DataClass, DatasetSpec, Dedup, Dimensions,
    Distribution, Epoch, Freshness, KafkaSource, Late, Parse, Severity, Source, SourceUnit, SpecFile, SpecSet, Volume,
    WholeNumber, parse,
};
use tenon_core::{DatasetName, PodName, Share, Span};

use super::{Imported, Owner, Remark, export, import};
use crate::read_folder;

fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

fn owner(pod: &PodName) -> Owner<'_> {
    Owner { company: "acme", pod, team: None, version: 3 }
}

fn there_and_back(name: &str, spec: &DatasetSpec) -> Imported {
    let pod = PodName::new("arrivals").unwrap();
    let (_, text) = export(&owner(&pod), &dataset(name), spec).unwrap_or_else(|error| panic!("{error}: {spec:#?}"));
    import(&text, &dataset(name), None, None).unwrap_or_else(|remarks| panic!("{remarks:#?}\n{text}"))
}

#[test]
fn every_dataset_of_the_example_company_comes_back() {
    let set = SpecSet::read(&read_folder(Path::new("../../examples/acme")).unwrap()).unwrap();
    assert_eq!(set.datasets.len(), 5);
    for (name, resource) in &set.datasets {
        let owner = Owner { company: "acme", pod: &resource.pod, team: set.pods.get(&resource.pod), version: 1 };
        let (_, text) = export(&owner, name, &resource.spec).unwrap();
        let back = import(&text, name, None, None).unwrap();
        assert_eq!(back, Imported { spec: resource.spec.clone(), weaker: Vec::new(), lost: Vec::new() }, "{text}");
    }
}

/// Texts that YAML could take for something else, and any others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}( [a-z]{1,8}){0,3}",
        "\\PC{0,12}",
        "[ \t\na:#'\"{}\\[\\]&*!|>%@`,?-]{0,8}",
        prop::sample::select(vec![
            "yes",
            "null",
            "~",
            "1e3",
            "0x1F",
            "-",
            "",
            " ",
            "a\n",
            "\na",
            "a: b",
            "# a",
            "é\u{2028}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z][a-z0-9_]{0,8}", 1 => "\\PC{1,8}", 1 => Just("no".to_owned()), 1 => Just("7".to_owned())]
}

fn span() -> impl Strategy<Value = Span> {
    let units = vec![1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000, 31_536_000_000_000];
    (1..500_i64, prop::sample::select(units)).prop_map(|(number, unit)| Span::from_micros(number * unit))
}

fn severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(vec![Severity::Warn, Severity::Quarantine, Severity::Refuse])
}

fn batch_severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(vec![Severity::Warn, Severity::Refuse])
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    use ColumnType::*;
    let vector = Dimensions::new(64).map(Vector);
    prop::sample::select(
        [Boolean, Int32, Int64, Float32, Float64, String, Timestamp, Date]
            .into_iter()
            .chain(vector)
            .collect::<Vec<_>>(),
    )
}

fn bound() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e4..1e4_f64,
        (-1000..1000_i64).prop_map(|number| number as f64),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(1e300),
        Just(9_007_199_254_740_993.0),
    ]
}

fn column() -> impl Strategy<Value = Column> {
    let class =
        prop::sample::select(vec![DataClass::Public, DataClass::Identifier, DataClass::Personal, DataClass::Protected]);
    let pattern = prop_oneof![text(), Just("[A-Z]{3}|(a)".to_owned()), Just("a)|(?:b".to_owned())];
    let references = prop_oneof![Just("planes.tailnum".to_owned()), Just("my-planes.tail num".to_owned())];
    let meaning = (of(text()), of(text()), of(class));
    let promises = (any::<bool>(), of((bound(), bound())), of(vec(text(), 0..4)), of(pattern), of(references));
    (column_type(), meaning, promises, severity(), any::<bool>()).prop_map(
        |(data_type, (description, unit, class), (nullable, range, one_of, pattern, references), severity, unique)| {
            let range = range.map(|(a, b)| [a.min(b), a.max(b)]);
            Column {
                data_type,
                description,
                unit,
                nullable,
                range,
                one_of,
                pattern,
                references,
                class,
                severity,
                unique,
            }
        },
    )
}

fn check() -> impl Strategy<Value = Check> {
    let sql =
        prop_oneof![text(), Just("a > 1 AND (b = 'x)' OR \"c\" IS NULL)".to_owned()), Just("a > 1 -- b".to_owned())];
    (text(), sql, severity()).prop_map(|(name, sql, severity)| Check { name, sql, severity })
}

fn volume() -> impl Strategy<Value = Volume> {
    let rows = || of(prop_oneof![0..1000_u64, Just(1_u64 << 60)]);
    (rows(), rows(), of(0.5..9.0_f64), batch_severity())
        .prop_filter("it bounds something", |(least, most, z, _)| least.is_some() || most.is_some() || z.is_some())
        .prop_map(|(at_least, at_most, z, severity)| Volume { at_least, at_most, z, severity })
}

fn contract() -> impl Strategy<Value = Contract> {
    let columns = vec((name(), column()), 1..6).prop_map(IndexMap::from_iter);
    let freshness = (span(), batch_severity()).prop_map(|(at_most, severity)| Freshness { at_most, severity });
    let distribution = (name(), 0..9_u64, 0.01..1.0_f64, batch_severity())
        .prop_map(|(column, version, at_most, severity)| Distribution { column, version, at_most, severity });
    // As a file writes it: what it says is a percentage.
    let share = (0..=1000_u32).prop_map(|tenths| format!("{}%", f64::from(tenths) / 10.0).parse::<Share>().unwrap());
    let batch = (of(share), of(freshness), of(volume()), vec(distribution, 0..2));
    (columns, vec(check(), 0..3), batch, vec(any::<prop::sample::Index>(), 0..3), any::<bool>()).prop_map(
        |(columns, checks, (max_quarantined, freshness, volume, distribution), key, twice)| {
            let columns: IndexMap<String, Column> = columns;
            let mut key: Vec<String> =
                key.iter().map(|at| columns.keys().nth(at.index(columns.len())).unwrap().clone()).collect();
            if !twice {
                let mut seen = std::collections::BTreeSet::new();
                key.retain(|column| seen.insert(column.clone()));
            }
            Contract { max_quarantined, key, columns, checks, freshness, volume, distribution }
        },
    )
}

fn source() -> impl Strategy<Value = Source> {
    let kafka = || {
        let text = "brokers = \"b:9092\"\ntopics = [\"t\"]\nbatch_rows = 7\n[security]\ntls = true\n";
        toml::from_str::<KafkaSource>(text).unwrap()
    };
    prop_oneof![
        text().prop_map(|files| Source { files: Some(files), watch: true, ..Source::default() }),
        text().prop_map(|sql| Source { sql: Some(sql), ..Source::default() }),
        Just(Source { push: Some(true), ..Source::default() }),
        Just(Source { kafka: Some(kafka()), ..Source::default() }),
    ]
}

fn cleaning() -> impl Strategy<Value = Cleaning> {
    let parse = Parse {
        formats: vec!["%d/%m/%Y".to_owned()],
        zone: Some("+02:00".to_owned()),
        epoch: Some(Epoch::Milliseconds),
        decimal: Some(','),
        thousands: Some('.'),
    };
    let unit = SourceUnit { from: "miles".to_owned(), factor: Some(1.6), offset: None };
    let column = (of(text()), any::<bool>(), of(Just(parse)), of(Just(unit)), of(Just(WholeNumber::Round)), of(text()))
        .prop_map(|(from, trim, parse, unit, cast, default)| CleanColumn {
            from,
            trim,
            parse,
            unit,
            cast,
            default,
            sql: None,
        });
    (of(text()), vec((name(), column), 0..4))
        .prop_map(|(drop, columns)| Cleaning { drop, columns: IndexMap::from_iter(columns) })
}

prop_compose! {
    fn spec()(
        description in text().prop_filter("a dataset has a description", |text| !text.is_empty()),
        contract in contract(),
        (source, clean, keep_raw) in (source(), cleaning(), any::<bool>()),
        (residency, retention, latency) in (of(text()), of(span()), of(span())),
        compaction in of((2..99_u32, 1..99_u32)),
        (late, dedup) in (of(span()), of(span())),
        has_event_time in any::<bool>(),
    ) -> DatasetSpec {
        let event_time = has_event_time.then(|| contract.columns.keys().next().unwrap().clone());
        DatasetSpec {
            description, event_time, residency, retention, source, contract, clean, keep_raw,
            compaction: compaction.map(|(small_files, target_mb)| Compaction { small_files, target_mb }),
            latency,
            late: late.map(|allowed| Late { allowed }),
            dedup: dedup.map(|within| Dedup { within }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_goes_out_comes_back(spec in spec()) {
        let back = there_and_back("flights", &spec);
        prop_assert_eq!(&back.spec, &spec);
        prop_assert!(back.spec.contract.columns.keys().eq(spec.contract.columns.keys()));
        prop_assert!(back.spec.clean.columns.keys().eq(spec.clean.columns.keys()));
        prop_assert!(back.weaker.is_empty() && back.lost.is_empty(), "{:?}", back);
        // As the file that a person will have.
        let text = toml::to_string_pretty(&back.spec).unwrap();
        let file = SpecFile { path: "flights.toml".to_owned(), text };
        prop_assert_eq!(parse::<DatasetSpec>(&file).unwrap(), spec);
    }

    #[test]
    fn nothing_that_is_read_brings_it_down(text in "\\PC{0,60}", lines in vec("[a-zA-Z: \\-\\[\\]{}&*'\"#0-9]{0,20}", 0..12)) {
        let _ = import(&text, &dataset("a"), None, None);
        let _ = import(&format!("kind: DataContract\napiVersion: v3.1.0\n{}", lines.join("\n")), &dataset("a"), None, None);
    }
}

/// A contract with this schema, and what an import says of it: `LINE:COLUMN message (hint)`.
fn told(schema: &str) -> (Option<DatasetSpec>, Vec<String>) {
    let text = format!("kind: DataContract\napiVersion: v3.1.0\nid: x\nversion: \"1\"\nstatus: active\n{schema}");
    let line = |mark: &str, remark: &Remark| {
        let hint = remark.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{mark} {}:{} {}{hint}", remark.line, remark.column, remark.message)
    };
    match import(&text, &dataset("orders"), None, None) {
        Ok(Imported { spec, weaker, lost }) => {
            let told = weaker.iter().map(|remark| line("weaker", remark));
            (Some(spec), told.chain(lost.iter().map(|remark| line("lost", remark))).collect())
        }
        Err(remarks) => (None, remarks.iter().map(|remark| line("wrong", remark)).collect()),
    }
}

#[test]
fn a_contract_of_others_becomes_a_declaration() {
    let (spec, told) = told(
        "description:\n  purpose: Orders of the shop\n  limitations: none of the old shop\n\
         servers:\n- {server: lake, type: local, path: 'in/*.parquet', format: parquet}\n\
         schema:\n- name: orders\n  physicalName: tbl_orders\n  properties:\n\
         \x20 - name: order_id\n    logicalType: string\n    primaryKey: true\n    logicalTypeOptions: {maxLength: 12, pattern: '^O[0-9]+$'}\n\
         \x20 - {name: amount, logicalType: number, logicalTypeOptions: {exclusiveMinimum: 0}, required: true}\n\
         \x20 - {name: pieces, logicalType: integer, physicalType: INT, logicalTypeOptions: {minimum: 1, exclusiveMaximum: 100}}\n\
         \x20 - name: status\n    physicalType: VARCHAR(9)\n    classification: restricted\n    quality:\n\
         \x20   - {metric: invalidValues, mustBe: 0, arguments: {validValues: [open, paid]}}\n\
         \x20   - {metric: nullValues, mustBeLessThan: 1, severity: warning}\n\
         \x20   - {type: sql, name: no tests, query: \"SELECT COUNT(*) FROM ${table} WHERE ${column} = 'test'\", mustBe: 0}\n\
         \x20 - {name: ordered_at, logicalType: timestamp, required: true}\n\
         \x20 quality:\n  - {metric: rowCount, mustBeGreaterThan: 9, severity: error}\n\
         slaProperties:\n- {property: latency, value: 4, unit: h, element: orders.ordered_at}\n- {property: retention, value: 3, unit: years}\n- {property: availability, value: 99.9, unit: percent}\n",
    );
    insta::assert_snapshot!(told.join("\n"), @r"
    lost 23:5 `restricted` is no class of ours, and is taken for `personal`, the most careful one
    lost 30:5 the number of rows is held against each batch that comes, as a warning, not against the whole table
    lost 32:4 `ordered_at` is taken for the time of a row's event
    lost 34:4 nothing here holds the promise of service `availability`
    ");
    let expected = r#"
        description = "Orders of the shop\nLimits: none of the old shop"
        event_time = "ordered_at"
        retention = "3y"
        source = { files = "in/*.parquet" }
        [contract]
        key = ["order_id"]
        volume = { at_least = 10, severity = "warn" }
        freshness = { at_most = "4h", severity = "warn" }
        [contract.columns]
        order_id = { type = "string", pattern = "O[0-9]+" }
        amount = { type = "float64", range = [5e-324, inf] }
        pieces = { type = "int32", nullable = true, range = [1, 99] }
        status = { type = "string", nullable = true, one_of = ["open", "paid"], class = "personal" }
        ordered_at = { type = "timestamp" }
        [[contract.checks]]
        name = "order_id has at most 12 characters"
        sql = 'character_length("order_id") <= 12'
        [[contract.checks]]
        name = "status is there"
        sql = '"status" IS NOT NULL'
        severity = "warn"
        [[contract.checks]]
        name = "no tests"
        sql = """NOT ("status" = 'test')"""
    "#;
    assert_eq!(spec.unwrap(), toml::from_str::<DatasetSpec>(expected).unwrap());
}

#[test]
fn what_would_weaken_a_contract_is_told_with_its_place() {
    let (spec, told) = told(
        "schema:\n- name: orders\n  properties:\n\
         \x20 - {name: a, logicalType: object}\n\
         \x20 - {name: b, logicalType: string, relationships: [{to: [x.y, x.z]}]}\n\
         \x20 - name: c\n    logicalType: integer\n    quality:\n\
         \x20   - {metric: nullValues, mustBeLessThan: 5, unit: percent}\n\
         \x20   - {type: sql, query: SELECT MAX(c) FROM orders, mustBeLessThan: 5}\n\
         \x20   - {type: sql, query: SELECT MAX(c) FROM orders, mustBe: 0}\n\
         \x20   - {type: custom, engine: soda, implementation: 'avg(c) < 5'}\n\
         \x20   - {type: text, description: should look nice}\n\
         \x20   - {metric: freshness, mustBe: 0}\n\
         slaProperties:\n- {property: retention, value: 6, unit: months}\n",
    );
    assert!(spec.is_some());
    insta::assert_snapshot!(told.join("\n"), @r"
    weaker 9:15 the column `a` is of type `object` (a dataset has no such columns; without it, the column is left out)
    weaker 10:53 this relationship cannot be held here (a column refers to one column of a dataset: `to: planes.tailnum`)
    weaker 14:7 what this rule allows cannot be held here (say it as a condition over a row under [[contract.checks]], and take it out of the file)
    weaker 15:7 a rule that lets some rows through cannot be held here (a row keeps a promise or does not; how many may be set aside is said by `max_quarantined`)
    weaker 16:19 this query cannot be held against rows as they come (only `SELECT COUNT(*) FROM TABLE WHERE CONDITION` with `mustBe: 0` is a condition over each row)
    weaker 17:7 rules of the engine `soda` are not known here (say it as a condition over a row under [[contract.checks]], and take it out of the file)
    weaker 19:8 the metric `freshness` is not known here (say it as a condition over a row under [[contract.checks]], and take it out of the file)
    weaker 21:4 `retention` is no length of time that can be told exactly (a number, and one of the units y, w, d, h, min, s, ms)
    lost 18:7 a rule in words is for people: nothing holds it here
    lost 7:3 the contract does not say where rows come from: they are pushed, until [source] says another
    ");
}

#[test]
fn mistakes_are_told_with_their_place_and_what_was_meant() {
    let (spec, told) = told(
        "schma: []\nschema:\n- name: orders\n  properties:\n\
         \x20 - {name: a, logicalType: string, requierd: true}\n\
         \x20 - {name: a, logicalType: string}\n\
         \x20 - {name: b, logicalType: sting}\n\
         \x20 - {name: c, logicalType: string, required: 'yes'}\n\
         \x20 quality:\n  - {metric: rowCount}\n  - {type: custom, engine: tenon, implementation: {voulme: {z: 3}}}\n",
    );
    assert!(spec.is_none());
    insta::assert_snapshot!(told.join("\n"), @r"
    wrong 11:5 there are two columns `a`
    wrong 13:36 `required` of a column is true or false, and this is a text
    wrong 15:5 a quality rule says what `mustBe`
    wrong 6:1 ODCS knows no `schma` of a data contract (did you mean `schema`?)
    wrong 10:36 ODCS knows no `requierd` of a column (did you mean `required`?)
    wrong 12:15 the column `b` is of type `sting` (a dataset has no such columns; without it, the column is left out)
    wrong 16:52 ODCS knows no `voulme` of a rule of the engine `tenon` (did you mean `volume`?)
    ");
}

#[test]
fn yaml_that_would_do_harm_is_refused() {
    let bomb: String = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..30).map(|n| format!("a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1)))
        .collect();
    let deep = format!("a: {}{}", "[".repeat(500), "]".repeat(500));
    let huge = format!("a: \"{}\"", "x".repeat(2 << 20));
    let cases = [
        ("a bomb", bomb.as_str()),
        ("an anchor", "kind: &k DataContract\nname: *k\n"),
        ("a merge", "<<: {a: 1}\n"),
        ("a key twice", "kind: DataContract\nid: a\nid: b\n"),
        ("too deep", &deep),
        ("too long", &huge),
        ("two documents", "kind: DataContract\n---\nkind: DataContract\n"),
        ("a tab", "kind:\n\t- a\n"),
        ("no end", "kind: 'DataContract\n"),
        ("nothing", ""),
        ("a text", "hello"),
        ("another kind", "kind: Pod\napiVersion: v1\n"),
        ("an old version", "kind: DataContract\napiVersion: v2.2.2\n"),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(what, text)| {
            let remarks = import(text, &dataset("a"), None, None).unwrap_err();
            format!("{what}: {}:{} {}", remarks[0].line, remarks[0].column, remarks[0].message)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    a bomb: 1:9 anchors and aliases are not read here: write out what they stand for
    an anchor: 1:10 anchors and aliases are not read here: write out what they stand for
    a merge: 1:1 merge keys (`<<`) are not read here: write out what they add
    a key twice: 3:1 `id` is given twice
    too deep: 1:36 this is no YAML that is read here: recursion limit exceeded
    too long: 1:1 the file has 2097157 bytes, and a contract at the most 1048576
    two documents: 2:1 a file holds one contract
    a tab: 2:2 this is no YAML that is read here: tabs disallowed within this context (block indentation)
    no end: 1:7 this is no YAML that is read here: unclosed quote
    nothing: 1:1 a data contract is a table of keys and values, and this is nothing
    a text: 1:1 a data contract is a table of keys and values, and this is a text
    another kind: 1:1 `Pod` is no data contract
    an old version: 2:1 version `v2.2.2` of the standard is not read here: 3.0 and 3.1 are
    ");
}

#[test]
fn what_the_file_does_not_speak_of_stays_as_it_is_declared() {
    let pod = PodName::new("arrivals").unwrap();
    let known: DatasetSpec = toml::from_str(
        "description = \"d\"\nevent_time = \"t\"\n[source]\nfiles = \"in/*.csv\"\n[late]\nallowed = \"1h\"\n\
         [contract.columns.t]\ntype = \"timestamp\"\n[clean.columns.t]\nfrom = \"T\"\n",
    )
    .unwrap();
    let text = "kind: DataContract\napiVersion: v3.1.0\nid: x\nversion: \"1\"\nstatus: active\nschema:\n\
                - name: orders\n  properties:\n  - {name: t, logicalType: timestamp, required: true}\n";
    let back = import(text, &dataset("orders"), None, Some(&known)).unwrap();
    assert_eq!((back.spec.source, back.spec.clean), (known.source.clone(), known.clean.clone()));
    assert_eq!((back.spec.late, back.spec.event_time), (known.late.clone(), known.event_time.clone()));
    assert_eq!(back.lost, []);
    let (_, own) = export(&owner(&pod), &dataset("orders"), &known).unwrap();
    let other = DatasetSpec { source: Source { push: Some(true), ..Source::default() }, ..known.clone() };
    assert_eq!(import(&own, &dataset("orders"), None, Some(&other)).unwrap().spec, known, "the file speaks of all");
}

#[test]
fn one_of_several_tables_is_named() {
    let text = "kind: DataContract\napiVersion: v3.1.0\nid: x\nversion: \"1\"\nstatus: active\nschema:\n\
                - {name: orders, properties: [{name: a, logicalType: string}]}\n\
                - {name: items, physicalName: tbl_items, properties: [{name: b, logicalType: string}]}\n";
    let columns = |dataset_name: &str, object: Option<&str>| {
        let imported = import(text, &dataset(dataset_name), object, None).map_err(|remarks| remarks[0].message.clone());
        imported.map(|imported| imported.spec.contract.columns.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(columns("items", None), Ok(vec!["b".to_owned()]));
    assert_eq!(columns("mine", Some("tbl_items")), Ok(vec!["b".to_owned()]));
    assert_eq!(columns("mine", None), Err("none of the contract's tables is called `mine`".to_owned()));
}
