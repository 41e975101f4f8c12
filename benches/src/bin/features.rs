//! Features: the point-in-time join of a year, and reads from the online store.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use cpu_time::ProcessTime;
use serde_json::{Map, json};
use tenon_benches::{Fault, Figure, Report, fault, median, work_folder};
use tenon_company::Catalog;
use tenon_core::clock::ManualClock;
use tenon_core::spec::{Aggregate, SpecFile, SpecSet};
use tenon_core::{Digest, Principal, Span, Timestamp};
use tenon_features::{FeatureStore, FeatureStoreOptions, OnlinePlace};
use tenon_lake::{BatchSource, Lake, LakeOptions, WriteOutcome};
use tenon_ledger::{Ledger, LedgerOptions};
use tenon_query::point_in_time::{Feature, History, KeyType, View};

const ROUNDS: usize = 5;
const OBSERVATIONS: usize = 250_000;
/// Of each view: entities, rows of history, hours that a row counts.
const VIEWS: [(u64, usize, i64); 4] =
    [(3_000, 330_000, 12), (3, 26_000, 6), (35, 330_000, 24), (250_000, 250_000, 168)];
const HOUR: i64 = 3_600_000_000;
const YEAR: i64 = 365 * 24 * HOUR;
const AIRCRAFT: usize = 3_000;
const LANDINGS: usize = 200_000;
const READS: usize = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let mut report = Report::of("features");
    join(&mut report)?;
    online(&mut report).await?;
    report.tell()
}

fn join(report: &mut Report) -> Result<(), Fault> {
    let inputs = VIEWS.map(|(entities, rows, hours)| {
        Ok::<_, Fault>((view(hours), events(entities, rows, 1)?, events(entities, OBSERVATIONS, 2)?))
    });
    let inputs = inputs.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (mut walls, mut processors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (start, used) = (Instant::now(), ProcessTime::now());
        for (view, history, asked) in &inputs {
            let types = KeyType::all_of(&history.schema(), &view.entity)?;
            let history = History::new(view, &types, std::slice::from_ref(history))?;
            std::hint::black_box(history.join(view, asked, "event")?);
        }
        walls.push(start.elapsed().as_secs_f64());
        processors.push(used.elapsed().as_secs_f64());
    }
    let what = "join 250,000 observations with 4 views of 4 features, median of 5";
    report.add(Figure::cost(what, median(&walls), "s"));
    report.add(Figure::cost("the same, processor time", median(&processors), "s"));
    Ok(())
}

fn view(hours: i64) -> View {
    let aggregates = [Aggregate::Last, Aggregate::Mean, Aggregate::Count, Aggregate::Age];
    let feature = |(at, aggregate)| {
        Feature::new(&format!("f{at}"), aggregate, Some(0), Span::hours(hours / (at as i64 % 2 * 2 + 1)))
    };
    View {
        entity: vec!["id".to_owned()],
        event_time: "event".to_owned(),
        known_at: None,
        columns: vec!["delay".to_owned()],
        ttl: Span::hours(hours),
        features: aggregates.into_iter().enumerate().map(feature).collect(),
        vectors: Vec::new(),
    }
}

/// Rows over a year, of entities that come in no order.
fn events(entities: u64, rows: usize, salt: u64) -> Result<RecordBatch, Fault> {
    let mix = |row: usize, of: u64| {
        (row as u64 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(of | 1) >> 20
    };
    let ids: StringArray = (0..rows).map(|row| Some(format!("N{}", mix(row, 3) % entities))).collect();
    let events: TimestampMicrosecondArray = (0..rows).map(|row| Some(YEAR / rows as i64 * row as i64)).collect();
    let delays: Float64Array =
        (0..rows).map(|row| (mix(row, 5) % 20 > 0).then_some(mix(row, 7) as f64 % 60.0)).collect();
    let columns = [("id", Arc::new(ids) as ArrayRef), ("event", Arc::new(events)), ("delay", Arc::new(delays))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

async fn online(report: &mut Report) -> Result<(), Fault> {
    let folder = work_folder()?;
    let catalog = Catalog::fixed(SpecSet::read(&company())?);
    let clock = ManualClock::at(Timestamp::from_micros(LANDINGS as i64 / AIRCRAFT as i64 * HOUR));
    let projections = vec![tenon_lake::projection()];
    let dir = folder.path().join("ledger");
    let ledger = Ledger::create(LedgerOptions { dir, origin: "acme".to_owned(), clock: clock.clone(), projections })?;
    let root = folder.path().join("lake");
    let lake = Lake::open(LakeOptions { root, ledger, catalog: catalog.clone(), clock: clock.clone() }).await?;
    let source = BatchSource::new("landings", Digest::of("landings"));
    let written = lake.write(&Principal::person("ana"), &"flights".parse()?, &source, vec![landings()?]).await?;
    let WriteOutcome::Committed { .. } = written else { return Err(fault("the landings were not taken")) };

    let start = Instant::now();
    let online = OnlinePlace::File(folder.path().join("online.redb"));
    let store = FeatureStore::open(FeatureStoreOptions { online, lake, catalog, clock: clock.clone() }).await?;
    report.add(Figure::cost(
        "build the online store from 200,000 rows of the lake",
        start.elapsed().as_secs_f64(),
        "s",
    ));

    let model = "late_arrival".parse()?;
    let entity = |tail: usize| Map::from_iter([("tailnum".to_owned(), json!(format!("N{tail}")))]);
    let entities: Vec<_> = (0..AIRCRAFT).map(entity).collect();
    let now = tenon_core::Clock::now(&*clock);
    let (start, mut found) = (Instant::now(), 0);
    for read in 0..READS {
        let row = store.online(&model, &entities[read % AIRCRAFT], now).await?;
        found += usize::from(row.values.first().is_some_and(Option::is_some));
    }
    if found != READS {
        return Err(fault(format!("{found} of {READS} reads found their aircraft")));
    }
    report.add(Figure::cost("one read of 3 features online", start.elapsed().as_secs_f64() * 1e6 / READS as f64, "µs"));
    Ok(())
}

/// Every aircraft lands once an hour.
fn landings() -> Result<RecordBatch, Fault> {
    let tails: StringArray = (0..LANDINGS).map(|row| Some(format!("N{}", row % AIRCRAFT))).collect();
    let hours = || (0..LANDINGS).map(|row| (row / AIRCRAFT) as i64);
    let moments: TimestampMicrosecondArray = hours().map(|hour| Some(hour * HOUR)).collect();
    let delays: Float64Array = hours().map(|hour| Some(hour as f64)).collect();
    Ok(RecordBatch::try_from_iter([
        ("tailnum", Arc::new(tails) as ArrayRef),
        ("landed_at", Arc::new(moments.with_timezone("UTC"))),
        ("arr_delay", Arc::new(delays)),
    ])?)
}

fn company() -> Vec<SpecFile> {
    let files = [
        ("company.toml", "name = \"acme\"\n"),
        ("pods/arrivals/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n"),
        (
            "pods/arrivals/datasets/flights.toml",
            "description = \"d\"\n[source]\npush = true\n[contract.columns]\ntailnum = { type = \"string\" }\n\
             landed_at = { type = \"timestamp\" }\narr_delay = { type = \"float64\" }\n",
        ),
        (
            "pods/arrivals/datasets/schedule.toml",
            "description = \"d\"\n[source]\npush = true\n[contract.columns]\nflight_id = { type = \"int64\" }\n\
             tailnum = { type = \"string\" }\ndecided_at = { type = \"timestamp\" }\nlate = { type = \"boolean\" }\n",
        ),
        (
            "pods/arrivals/features/aircraft_delay.toml",
            "description = \"d\"\nentity = [\"tailnum\"]\nevent_time = \"landed_at\"\nttl = \"12h\"\ndataset = \"flights\"\n\
             source = \"SELECT tailnum, landed_at, arr_delay FROM flights\"\n[features]\n\
             last_arr_delay = { aggregate = \"last\", column = \"arr_delay\" }\n\
             mean_arr_delay_6h = { aggregate = \"mean\", column = \"arr_delay\", window = \"6h\" }\n\
             landings = { aggregate = \"count\" }\n",
        ),
        (
            "pods/arrivals/models/late_arrival.toml",
            "description = \"d\"\nlimits = \"l\"\nkey = \"flight_id\"\ndecided_at = \"decided_at\"\n\
             features = [\"aircraft_delay\"]\n\
             observations = \"SELECT flight_id, tailnum, decided_at, late AS label FROM schedule\"\n\
             split = { by = \"time\", test = \"20%\" }\ntrainer = { kind = \"gbdt\" }\n",
        ),
    ];
    files.map(|(path, text)| SpecFile { path: path.to_owned(), text: text.to_owned() }).into()
}
