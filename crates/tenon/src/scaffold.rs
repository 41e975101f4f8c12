//! The example company, carried in the binary.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, While};

macro_rules! example {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../examples/acme/", $path)))),+]
    };
}

/// The files of the example company, by path from its folder.
pub const EXAMPLE: &[(&str, &str)] = example![
    "company.toml",
    "budgets.toml",
    "policies/framework.cedar",
    "pods/arrivals/pod.toml",
    "pods/arrivals/datasets/departures.toml",
    "pods/arrivals/datasets/flights.toml",
    "pods/arrivals/datasets/planes.toml",
    "pods/arrivals/datasets/schedule.toml",
    "pods/arrivals/datasets/weather.toml",
    "pods/arrivals/features/aircraft_delay.toml",
    "pods/arrivals/features/carrier_origin_delay.toml",
    "pods/arrivals/features/destination_delay.toml",
    "pods/arrivals/features/flight_plan.toml",
    "pods/arrivals/features/origin_congestion.toml",
    "pods/arrivals/features/origin_weather.toml",
    "pods/arrivals/models/late_arrival.toml",
    "pods/arrivals/deployments/late_arrival.toml",
    "pods/arrivals/monitors/late_arrival.toml",
    "pods/trust/pod.toml",
];

/// Writes the example company into a folder.
///
/// # Errors
/// When a file cannot be written.
pub fn example(folder: &Path) -> Result<(), Failure> {
    for (path, text) in EXAMPLE {
        write(folder, path, text)?;
    }
    write(folder, ".gitignore", "/.tenon/\n/data/\n")
}

/// Writes an empty company that is ready to grow: one pod, the policies, the budgets.
///
/// # Errors
/// When a file cannot be written.
pub fn empty(folder: &Path, name: &str, person: &str) -> Result<(), Failure> {
    write(folder, "company.toml", &format!("name = {name:?}\n\n[identity]\nlocal = {person:?}\n"))?;
    write(folder, "budgets.toml", "[[budgets]]\npod = \"first\"\nperiod = \"month\"\nlimit_usd = 20.0\n")?;
    let pod = format!("mission = \"What this pod is there for\"\n\n[members.{person:?}]\nrole = \"lead\"\n");
    write(folder, "pods/first/pod.toml", &pod)?;
    for (path, text) in EXAMPLE.iter().filter(|(path, _)| path.starts_with("policies/")) {
        write(folder, path, text)?;
    }
    write(folder, ".gitignore", "/.tenon/\n")
}

fn write(folder: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(path);
    let what = format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).during(&what)?;
    }
    fs::write(&path, text).during(&what)
}
