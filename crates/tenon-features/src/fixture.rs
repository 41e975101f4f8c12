//! A small company for tests: flights that land late, and a model over them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use tenon_core::spec::{SpecFile, SpecSet};

pub const HOUR: i64 = 3_600_000_000;

pub const VIEW: &str = "pods/arrivals/features/aircraft_delay.toml";
pub const MODEL: &str = "pods/arrivals/models/late_arrival.toml";

pub fn files() -> Vec<SpecFile> {
    let dataset = |columns: &str| {
        let columns = columns.split_whitespace().map(|column| {
            let (name, kind) = column.split_once(':').unwrap();
            format!("[contract.columns.{name}]\ntype = \"{kind}\"\nnullable = true\n")
        });
        let columns: String = columns.collect();
        format!("description = \"d\"\n[source]\npush = true\n{columns}")
    };
    let files = [
        ("company.toml", "name = \"acme\"\n".to_owned()),
        ("pods/arrivals/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
        (
            "pods/arrivals/datasets/flights.toml",
            dataset("tailnum:string landed_at:timestamp closed_at:timestamp arr_delay:float64"),
        ),
        ("pods/arrivals/datasets/schedule.toml", dataset("flight_id:int64 tailnum:string decided_at:timestamp late:boolean")),
        (
            VIEW,
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nknown_at = \"closed_at\"\nttl = \"12h\"\n\
             dataset = \"flights\"\nsource = \"SELECT tailnum, landed_at, closed_at, arr_delay FROM flights WHERE tailnum IS NOT NULL\"\n\
             [features]\n\
             last_arr_delay = { aggregate = \"last\", column = \"arr_delay\" }\n\
             mean_arr_delay_6h = { aggregate = \"mean\", column = \"arr_delay\", window = \"6h\" }\n\
             landings = { aggregate = \"count\" }\n"
                .to_owned(),
        ),
        (
            MODEL,
            "description = \"d\"\nlimits = \"l\"\nkey = \"flight_id\"\ndecided_at = \"decided_at\"\nfeatures = [\"aircraft_delay\"]\n\
             observations = \"SELECT flight_id, tailnum, decided_at, late AS label FROM schedule\"\n\
             split = { by = \"time\", test = \"20%\" }\ntrainer = { kind = \"gbdt\" }\n"
                .to_owned(),
        ),
    ];
    files.map(|(path, text)| SpecFile { path: path.to_owned(), text }).into()
}

/// The company, with one file changed by replacing a text.
pub fn specs(path: &str, from: &str, to: &str) -> SpecSet {
    changed(files(), path, from, to)
}

/// Other files, with one changed by replacing a text.
pub fn changed(mut files: Vec<SpecFile>, path: &str, from: &str, to: &str) -> SpecSet {
    for file in files.iter_mut().filter(|file| file.path == path) {
        assert!(file.text.contains(from), "{} in {}", from, file.text);
        file.text = file.text.replace(from, to);
    }
    SpecSet::read(&files).unwrap()
}

pub fn company() -> SpecSet {
    SpecSet::read(&files()).unwrap()
}

/// Flights as (tail number, landed at, closed at, delay), in hours and minutes.
pub fn flights(rows: &[(&str, i64, i64, f64)]) -> RecordBatch {
    let moments = |at: fn(&(&str, i64, i64, f64)) -> i64| {
        let moments: TimestampMicrosecondArray = rows.iter().map(|row| Some(at(row) * HOUR)).collect();
        Arc::new(moments.with_timezone("UTC")) as ArrayRef
    };
    let tails: StringArray = rows.iter().map(|row| (!row.0.is_empty()).then_some(row.0)).collect();
    let delays: Float64Array = rows.iter().map(|row| (!row.3.is_nan()).then_some(row.3)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("tailnum", Arc::new(tails) as ArrayRef, true),
        ("landed_at", moments(|row| row.1), true),
        ("closed_at", moments(|row| row.2), true),
        ("arr_delay", Arc::new(delays) as ArrayRef, true),
    ])
    .unwrap()
}
