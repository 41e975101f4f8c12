//! Taking a topic in end to end — decoded, contract checked, committed with its offsets, facts sealed — against a bare consumer
//! of the same client library that only counts. One broker, one topic of four partitions, turn by turn, ten million messages
//! altogether.
//!
//! The topic is filled stretch by stretch, as the broker sends everything that it has in one answer, whatever a consumer says
//! that it takes. `TENON_BENCH_STRETCHES` says how many (26 without it).
//!
//! Taking in has a process of its own, the same one for all stretches, so that its memory is nobody else's: neither the
//! producer's nor the bare consumer's. Then another process follows the topic, as `tenon ingest --follow` and `tenon serve` do,
//! while as many messages are produced once more: its memory is flat where the most that it held during a stretch of the last
//! quarter is less than a tenth above that of the first quarter, by the medians of both, after the stretch that warms up.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use tenon_benches::{Fault, Figure, Peer, Report, fault, median, work_folder};
use tenon_company::Catalog;
use tenon_core::Principal;
use tenon_core::clock::SystemClock;
use tenon_core::spec::{SpecFile, SpecSet};
use tenon_ingest::Ingest;
use tenon_lake::{Lake, LakeOptions};
use tenon_ledger::{Ledger, LedgerOptions};
use tokio_util::sync::CancellationToken;

/// Messages a stretch, all of which the broker sends at once: 42 MB. It also saves all that it has every moment, which would
/// take a core of its own, so that stretches are deleted when they are read.
const STRETCH: u64 = 400_000;
const PARTITIONS: i32 = 4;
const TOPIC: &str = "payments";

fn main() -> Result<(), Fault> {
    // As the program does.
    tenon_ingest::share_heaps();
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => compare().await,
        [role, folder, broker] if role == "take" => take_in(Path::new(folder), broker).await,
        [role, folder, broker] if role == "follow" => follow(Path::new(folder), broker).await,
        _ => Err(fault("it takes no arguments, or those that it starts itself with: ROLE FOLDER BROKER")),
    }
}

async fn compare() -> Result<(), Fault> {
    let asked = std::env::var("TENON_BENCH_STRETCHES").ok().and_then(|asked| asked.parse().ok());
    let stretches: u64 = asked.unwrap_or(26).max(2);
    let folder = work_folder()?;
    let mut report = Report::of("kafka");
    let broker = Broker::start(folder.path())?;
    broker.create().await?;
    let mut taking_in = broker.asked("take", &folder.path().join("taking"))?;
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for stretch in 0..stretches {
        broker.fill(stretch * STRETCH)?;
        let start = Instant::now();
        broker.count(stretch * STRETCH)?;
        let counted = start.elapsed().as_secs_f64();
        let taken = taking_in.ask("take")?;
        if taken["accepted"] != STRETCH {
            return Err(fault(format!("{STRETCH} messages, and this was taken: {taken}")));
        }
        let seconds = taken["seconds"].as_f64().ok_or_else(|| fault(format!("it told no seconds: {taken}")))?;
        // The first turn warms up.
        if stretch > 0 {
            own.push(STRETCH as f64 / seconds);
            bare.push(STRETCH as f64 / counted);
        }
        broker.delete((stretch + 1) * STRETCH).await?;
    }
    drop(taking_in);
    let rows = format!("rows end to end, median of {}", own.len());
    report.add(Figure::speed(rows, median(&own), "rows/s").against("bare consumer", median(&bare)));
    report.add(Figure::speed("share of the bare consumer", median(&own) / median(&bare), "×").target(0.5));
    let mut following = broker.asked("follow", &folder.path().join("following"))?;
    let mut memory = Vec::new();
    for stretch in 0..stretches {
        let first = (stretches + stretch) * STRETCH;
        broker.fill(first)?;
        let told = following.ask(&((stretch + 1) * STRETCH).to_string())?;
        let peak = told["peak"].as_f64().ok_or_else(|| fault(format!("it told no memory: {told}")))?;
        if stretch > 0 {
            memory.push(peak);
        }
        broker.delete(first + STRETCH).await?;
    }
    let most = memory.iter().copied().fold(0.0, f64::max);
    report.add(Figure::cost("the most memory that following held", most / 1e6, "MB"));
    let quarter = memory.len().div_ceil(4);
    let (first, last) = (median(&memory[..quarter]), median(&memory[memory.len() - quarter..]));
    let what = |which: &str| format!("the most during one stretch, median of the {which} {quarter}");
    report.add(Figure::cost(what("first"), first / 1e6, "MB"));
    report.add(Figure::cost(what("last"), last / 1e6, "MB"));
    report.add(Figure::cost("the last over the first", last / first, "×").target(1.1));
    report.tell()
}

/// Takes in what the topic holds, each time that a line comes; answers with rows and seconds.
async fn take_in(folder: &Path, broker: &str) -> Result<(), Fault> {
    let (ingest, _) = ingest(folder, broker).await?;
    for _ in std::io::stdin().lines() {
        let start = Instant::now();
        let taken = ingest.topics(&Principal::person("ana"), &TOPIC.parse()?, folder).await?;
        let answer = json!({"accepted": taken.accepted, "seconds": start.elapsed().as_secs_f64()});
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

/// Follows the topic, and waits for each number that comes until so many rows have landed; answers with the most memory that
/// this process held since the number before, in bytes.
async fn follow(folder: &Path, broker: &str) -> Result<(), Fault> {
    let (ingest, lake) = ingest(folder, broker).await?;
    let (stop, root) = (CancellationToken::new(), folder.to_owned());
    let until = stop.clone();
    let dataset = TOPIC.parse()?;
    let following =
        tokio::spawn(async move { ingest.follow_topics(&Principal::person("ana"), &dataset, &root, &until).await });
    for line in std::io::stdin().lines() {
        let wanted: u64 = line?.parse()?;
        while lake.state(TOPIC)?.map_or(0, |table| table.rows) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        writeln!(std::io::stdout(), "{}", json!({"peak": peak_memory()?}))?;
        forget_peak_memory()?;
    }
    stop.cancel();
    Ok(following.await?)
}

/// A broker of its own, from the Python package `noida-db` of the benches' environment.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start(folder: &Path) -> Result<Self, Fault> {
        let python = std::env::var_os("TENON_BENCH_PYTHON").map(PathBuf::from);
        let python = python.ok_or_else(|| fault("TENON_BENCH_PYTHON names no Python with the peers"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // The program itself: the script of that name only starts it, and would leave it behind.
        let asked = "import importlib.util as u; print(u.find_spec('noida_db').submodule_search_locations[0])";
        let package = Command::new(&python).args(["-c", asked]).output()?.stdout;
        let process = Command::new(Path::new(String::from_utf8(package)?.trim()).join("noida-db"))
            .args(["start", "--only", "kafka", "--kafka-port", &port.to_string(), "--data-dir"])
            .arg(folder.join("broker"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self { process, address: format!("127.0.0.1:{port}") };
        for _ in 0..200 {
            if TcpStream::connect(&broker.address).is_ok() {
                return Ok(broker);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(fault("the broker did not start"))
    }

    /// This program in another role, in a process and a folder of its own.
    fn asked(&self, role: &'static str, folder: &Path) -> Result<Peer, Fault> {
        std::fs::create_dir_all(folder)?;
        Peer::run(role, Command::new(std::env::current_exe()?).arg(role).arg(folder).arg(&self.address))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    async fn create(&self) -> Result<(), Fault> {
        let admin: AdminClient<_> = self.config().create()?;
        let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
        admin.create_topics([&topic], &AdminOptions::new()).await?;
        Ok(())
    }

    /// Produces a stretch of messages, numbered from `first` on.
    fn fill(&self, first: u64) -> Result<(), Fault> {
        let producer: BaseProducer =
            self.config().set("linger.ms", "20").set("queue.buffering.max.kbytes", "16384").create()?;
        for number in first..first + STRETCH {
            let value = format!(
                r#"{{"id":{number},"account":"A{:06}","amount":{}.25,"currency":"EUR","at":"2026-01-01T00:{:02}:{:02}Z"}}"#,
                number % 100_000,
                number % 1_000,
                number / 60 % 60,
                number % 60
            );
            let partition = i32::try_from(number % PARTITIONS as u64)?;
            let mut record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value);
            while let Err((error, again)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(20));
                record = again;
            }
        }
        Ok(producer.flush(Duration::from_secs(60))?)
    }

    /// Deletes the messages before number `next`.
    async fn delete(&self, next: u64) -> Result<(), Fault> {
        let admin: AdminClient<_> = self.config().create()?;
        admin.delete_records(&places(next)?, &AdminOptions::new()).await?;
        Ok(())
    }

    /// Reads every message of the stretch that begins with message `first`, and counts it.
    fn count(&self, first: u64) -> Result<(), Fault> {
        let mut config = self.config();
        config.set("group.id", "bare").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("check.crcs", "true").set("fetch.wait.max.ms", "100").set("fetch.queue.backoff.ms", "100");
        let consumer: BaseConsumer = config.create()?;
        consumer.assign(&places(first)?)?;
        let mut counted = 0;
        while counted < STRETCH {
            if let Some(message) = consumer.poll(Duration::from_secs(1)) {
                message?;
                counted += 1;
            }
        }
        Ok(())
    }
}

/// Where message `number` is, or would be, the next of each partition.
fn places(number: u64) -> Result<TopicPartitionList, Fault> {
    let mut places = TopicPartitionList::new();
    let offset = Offset::Offset(i64::try_from(number / PARTITIONS as u64)?);
    for partition in 0..PARTITIONS {
        places.add_partition_offset(TOPIC, partition, offset)?;
    }
    Ok(places)
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn ingest(dir: &Path, brokers: &str) -> Result<(Ingest, Lake), Fault> {
    let dataset = format!(
        "description = \"d\"\nevent_time = \"at\"\n[source.kafka]\nbrokers = \"{brokers}\"\ntopics = [\"{TOPIC}\"]\n\
         [contract]\nkey = [\"id\"]\n[contract.columns]\nid = {{ type = \"int64\" }}\n\
         account = {{ type = \"string\", pattern = \"A[0-9]{{6}}\" }}\namount = {{ type = \"float64\", range = [0, 10000] }}\n\
         currency = {{ type = \"string\", one_of = [\"EUR\", \"USD\"] }}\nat = {{ type = \"timestamp\" }}\n"
    );
    let files = [
        ("company.toml", "name = \"acme\"\n".to_owned()),
        ("pods/money/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
        ("pods/money/datasets/payments.toml", dataset),
    ];
    let files: Vec<SpecFile> = files.map(|(path, text)| SpecFile { path: path.to_owned(), text }).into();
    let catalog = Catalog::fixed(SpecSet::read(&files)?);
    let clock = Arc::new(SystemClock);
    let projections = vec![tenon_lake::projection()];
    let ledger =
        LedgerOptions { dir: dir.join("ledger"), origin: "acme".to_owned(), clock: clock.clone(), projections };
    let ledger = Ledger::create(ledger)?;
    let options = LakeOptions { root: dir.join("lake"), ledger, catalog: catalog.clone(), clock };
    let lake = Lake::open(options).await?;
    Ok((Ingest::new(lake.clone(), catalog, None), lake))
}

/// The most memory that this process held since it was last forgotten, in bytes.
fn peak_memory() -> Result<u64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    Ok(kilobytes.ok_or_else(|| fault("the system does not tell the peak memory"))? * 1_024)
}

/// Has the system begin anew with the peak: see `clear_refs` in proc_pid_clear_refs(5).
fn forget_peak_memory() -> Result<(), Fault> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}
