//! Reads from an online store in Redis, against a bare `MGET` of the same keys by the same client, in turns.
//!
//! `REDIS_SERVER` names the program of the server, which runs beside the measurement without writing to disk.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use serde_json::{Value, json};
use tenon_benches::{Fault, Figure, Report, fault, median, quantile};
use tenon_core::Timestamp;
use tenon_features::{OnlinePlace, RedisPlace, Selected};

use crate::company::{self, ENTITIES, FEATURES};

const ROUNDS: usize = 7;
const READS: usize = 3_000;
/// How many entities a larger read asks for.
const MANY: usize = 64;
/// How much longer than the bare read it may take, in hundredths.
const TARGET: f64 = 30.0;

/// A server that ends with the measurement.
struct Redis {
    process: Child,
    address: String,
}

impl Redis {
    fn start(program: &OsStr, folder: &Path) -> Result<Self, Fault> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.arg("--port").arg(port.to_string()).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let process = command.arg("--dir").arg(folder).stdout(Stdio::null()).spawn()?;
        Ok(Self { process, address: format!("redis://127.0.0.1:{port}/0") })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Fault> {
        let client = Client::open(self.address.as_str())?;
        for _ in 0..1_000 {
            if let Ok(connection) = client.get_multiplexed_async_connection().await {
                return Ok(connection);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(fault("Redis does not answer"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What one side of the comparison took, in seconds.
#[derive(Default)]
struct Took {
    all: Vec<f64>,
    medians: Vec<f64>,
}

impl Took {
    fn turn(&mut self, seconds: Vec<f64>) {
        self.medians.push(median(&seconds));
        self.all.extend(seconds);
    }
}

/// Takes the figures.
pub async fn reads(folder: &Path, rows: RecordBatch, now: Timestamp, report: &mut Report) -> Result<(), Fault> {
    let program = std::env::var_os("REDIS_SERVER").ok_or_else(|| fault("REDIS_SERVER names no program"))?;
    let server = Redis::start(&program, folder)?;
    let mut connection = server.connection().await?;
    let place = RedisPlace {
        address: server.address.clone(),
        user: None,
        password: None,
        timeout: Duration::from_secs(5),
        company: "acme".to_owned(),
    };
    let store = company::store(folder, OnlinePlace::Redis(place), rows, now).await?;
    let mut keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query_async(&mut connection).await?;
    // The view's cursor has the shortest key, and a read fetches it, too.
    keys.sort_by_key(Vec::len);
    let (cursor, entities) = keys.split_first().ok_or_else(|| fault("nothing is in Redis"))?;
    if entities.len() != ENTITIES {
        return Err(fault(format!("{} entities are in Redis", entities.len())));
    }
    let bare = Bare { connection, cursor, entities };
    let (mut ours, mut theirs) = (Took::default(), Took::default());
    for _ in 0..ROUNDS {
        theirs.turn(bare.reads(1).await?);
        ours.turn(company::one_by_one(&store, now, READS).await?);
    }
    tell("one entity", &ours, &theirs, report);
    let selected = store.select(&store.features_of(&"fault".parse()?)?)?;
    let (mut ours, mut theirs) = (Took::default(), Took::default());
    for _ in 0..ROUNDS {
        theirs.turn(bare.reads(MANY).await?);
        ours.turn(many(&selected, now).await?);
    }
    tell("64 entities", &ours, &theirs, report);
    Ok(())
}

/// The median of the turns' overheads is told: a turn and the one beside it saw the same machine.
fn tell(what: &str, ours: &Took, theirs: &Took, report: &mut Report) {
    let who = "a bare MGET";
    let micros = |seconds: f64| seconds * 1e6;
    let figure = |name: &str, ours: f64, theirs: f64| {
        Figure::cost(format!("{what}, {FEATURES} features, in Redis: {name}"), micros(ours), "µs")
            .against(who, micros(theirs))
    };
    report.add(figure("median", median(&ours.all), median(&theirs.all)));
    report.add(figure("p99", quantile(&ours.all, 0.99), quantile(&theirs.all, 0.99)));
    let over: Vec<f64> =
        ours.medians.iter().zip(&theirs.medians).map(|(ours, theirs)| (ours / theirs - 1.0) * 100.0).collect();
    report.add(
        Figure::cost(format!("{what}, {FEATURES} features, in Redis: overhead"), median(&over), "%").target(TARGET),
    );
}

/// The peer: the same keys, and nothing done with what they hold.
struct Bare<'a> {
    connection: MultiplexedConnection,
    cursor: &'a [u8],
    entities: &'a [Vec<u8>],
}

impl Bare<'_> {
    async fn reads(&self, entities: usize) -> Result<Vec<f64>, Fault> {
        let mut connection = self.connection.clone();
        let mut seconds = Vec::with_capacity(READS);
        for read in 0..READS {
            let start = Instant::now();
            let mut ask = cmd("MGET");
            ask.arg(self.cursor);
            for entity in 0..entities {
                ask.arg(&self.entities[(read * 7 + entity) % ENTITIES]);
            }
            let found: Vec<Option<Vec<u8>>> = ask.query_async(&mut connection).await?;
            seconds.push(start.elapsed().as_secs_f64());
            if found.len() != entities + 1 || found.iter().any(Option::is_none) {
                return Err(fault(format!("the bare read {read} found {} values", found.iter().flatten().count())));
            }
        }
        Ok(seconds)
    }
}

/// As Feast's door asks.
async fn many(selected: &Selected, now: Timestamp) -> Result<Vec<f64>, Fault> {
    let sensors: Vec<Value> = (0..ENTITIES + MANY).map(|sensor| json!(format!("s{}", sensor % ENTITIES))).collect();
    let mut seconds = Vec::with_capacity(READS);
    for read in 0..READS {
        let first = read * 7 % ENTITIES;
        let start = Instant::now();
        let keys = selected.sent(MANY, |_| Some(&sensors[first..first + MANY]))?;
        let columns = selected.read(&keys, now).await?;
        seconds.push(start.elapsed().as_secs_f64());
        if columns.len() != FEATURES || columns.iter().flat_map(|column| &column.values).any(Option::is_none) {
            return Err(fault(format!("read {read} of many found too little")));
        }
    }
    Ok(seconds)
}
