//! A writer that is killed at any moment loses nothing that it acknowledged.
//!
//! The test starts itself as the writer, in a process of its own: the same binary, told by the environment.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tenon_core::clock::ManualClock;
use tenon_ledger::{DocsExt as _, Ledger};

use crate::fixture::{SEED, fact, moment, options};

const FOLDER: &str = "TENON_LEDGER_CRASH_TEST_FOLDER";

/// The writer: appends from several tasks and prints each acknowledged index with what it holds. Does nothing unless it
/// is started by the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let clock = ManualClock::at(moment("2013-01-01"));
    let ledger = Ledger::open(options(folder.as_ref(), &clock)).unwrap();
    let from = ledger.size().unwrap();
    let tasks = (0..4_u64).map(|task| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let marks = [0, 1, 2].map(|part| format!("{from}-{task}-{n}-{part}"));
                let facts = marks.iter().map(|mark| fact("mark.made", json!({"mark": mark}))).collect();
                let appended = ledger.append(facts).await.unwrap();
                for (index, mark) in appended.indices.iter().zip(&marks) {
                    println!("ack {index} {mark}");
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[test]
fn kill_nine_at_any_moment_loses_no_acknowledged_fact() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(moment("2013-01-01"));
    drop(Ledger::create_with_seed(options(folder.path(), &clock), &SEED).unwrap());
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 0..24_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writer_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (first, started) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut acks = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The kill may cut the last line; the harness prints lines of its own, and starts this one with a word.
                let words: Vec<&str> = line.split("ack ").last().unwrap_or("").split(' ').collect();
                if let ([index, mark], true) = (&words[..], line.contains("ack "))
                    && let (Ok(index), 4) = (index.parse::<u64>(), mark.split('-').count())
                {
                    acks.push((index, (*mark).to_owned()));
                    let _ = first.send(());
                }
            }
            acks
        });
        let _ = started.recv_timeout(Duration::from_secs(60));
        std::thread::sleep(Duration::from_micros(round * round * 211 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());

        let ledger = Ledger::open(options(folder.path(), &clock)).unwrap();
        let facts = ledger.facts(0..u64::MAX).unwrap();
        for (index, mark) in &acknowledged {
            let held = facts.get(*index as usize).map(|stored| stored.fact.body["mark"].as_str().unwrap_or_default());
            assert!(
                held.is_some_and(|held| held.starts_with(mark.as_str())),
                "round {round}: fact {index} is {held:?}, not {mark}"
            );
        }
        assert_eq!(facts.len() % 3, 0, "no append lands in part");
        let count = ledger.docs().read::<usize>("counts", "mark.made").unwrap().unwrap_or(0);
        assert_eq!(count, facts.len());
        let report = ledger.verify(|_, _| ()).unwrap();
        assert!(report.ok(), "round {round}: {:?}", report.findings);
    }
    assert!(acknowledged.len() > 24, "the writer must have come to write: {}", acknowledged.len());
}
