//! The quickstart, from an empty folder to the closing table: wall time, processor time, memory.
//!
//! `quickstart FOLDER` leaves the company there, for `decide`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tenon_benches::{Fault, Figure, Report, fault, tenon};

fn main() -> Result<(), Fault> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| fault("usage: quickstart FOLDER"))?;
    let mut report = Report::of("quickstart");
    let mut command = Command::new(tenon()?);
    command.arg("--dir").arg(PathBuf::from(folder)).args(["--output", "json", "quickstart", "--no-serve"]);
    let start = Instant::now();
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let wall = start.elapsed().as_secs_f64();
    if !done.status.success() {
        return Err(fault(format!("the quickstart ended with {}", done.status)));
    }
    let closing: Value = serde_json::from_slice(&done.stdout)?;
    let told = |name: &str| closing[name].as_f64().ok_or_else(|| fault(format!("the closing JSON has no {name}")));
    report.add(Figure::cost("wall time", wall, "s").target(90.0));
    report.add(Figure::cost("its own clock", told("run_seconds")?, "s"));
    if let Some(processor) = processor_of_children() {
        report.add(Figure::cost("processor time, user and system", processor, "s"));
    }
    report
        .add(Figure::cost("memory at the most", told("peak_memory_bytes")? / f64::from(1 << 20), "MiB").target(1536.0));
    report.add(Figure::speed("decisions", told("decisions")?, ""));
    report.add(Figure::speed("of them over HTTP, explained", told("http_decisions")?, ""));
    report.tell()
}

/// What the children that ended have used of processors, as the kernel counts it, in seconds.
fn processor_of_children() -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0; // of /proc, on every architecture
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name in parentheses: the fields from the third on; the children's are the 16th and 17th.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(16)? + ticks(17)?) / TICKS_A_SECOND)
}
