//! Figures, and how a measurement tells them: a table for people, one line of JSON a figure for machines.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use tenon_core::Clock;
use tenon_core::clock::SystemClock;

use crate::Fault;

/// One figure.
pub struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    more_is_better: bool,
    peer: Option<(String, f64)>,
    target: Option<f64>,
}

impl Figure {
    /// A speed: more is better.
    pub fn speed(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, more_is_better: true, peer: None, target: None }
    }

    /// A cost, such as a duration: less is better.
    pub fn cost(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { more_is_better: false, ..Self::speed(what, value, unit) }
    }

    /// What a peer reached, in the same unit.
    #[must_use]
    pub fn against(mut self, peer: impl Into<String>, value: f64) -> Self {
        self.peer = Some((peer.into(), value));
        self
    }

    /// What is to be reached: at least this speed, less than this cost.
    #[must_use]
    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// How many times better than the peer.
    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        Some(if self.more_is_better { self.value / peer } else { peer / self.value })
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| if self.more_is_better { self.value >= target } else { self.value < target })
    }

    fn row(&self) -> [String; 4] {
        let target = self.target.map(|target| {
            let sign = if self.more_is_better { "≥" } else { "<" };
            let met = if self.met() == Some(true) { "met" } else { "MISSED" };
            format!("{sign} {} {}: {met}", number(target), self.unit)
        });
        let peer = self.peer.as_ref().zip(self.ratio());
        let peer = peer.map(|((name, value), ratio)| format!("{name} {}: {ratio:.2}×", number(*value)));
        let value = format!("{} {}", number(self.value), self.unit);
        [self.what.clone(), value, peer.unwrap_or_default(), target.unwrap_or_default()]
    }

    fn json(&self, of: &str, load: &str) -> Value {
        json!({
            "measurement": of,
            "figure": self.what,
            "value": self.value,
            "unit": self.unit,
            "peer": self.peer.as_ref().map(|(name, _)| name),
            "peer_value": self.peer.as_ref().map(|(_, value)| value),
            "ratio": self.ratio(),
            "target": self.target,
            "met": self.met(),
            "at": SystemClock.now().to_string(),
            "machine": std::env::var("TENON_BENCH_MACHINE").ok(),
            "load_before": load,
            "load_after": load_average(),
        })
    }
}

/// The figures of one measurement.
pub struct Report {
    measurement: &'static str,
    load: String,
    figures: Vec<Figure>,
}

impl Report {
    /// Begins a measurement; the machine's load is noted now and at the end.
    pub fn of(measurement: &'static str) -> Self {
        Self { measurement, load: load_average(), figures: Vec::new() }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Prints the table, and writes `NAME.jsonl` into the folder that `TENON_BENCH_RESULTS` names.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn tell(self) -> Result<(), Fault> {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([self.measurement, "figure", "peer: ratio", "target"]);
        table.add_rows(self.figures.iter().map(Figure::row));
        let load = format!("load average {} before, {} after", self.load, load_average());
        writeln!(std::io::stdout(), "{table}\n{load}")?;
        if let Some(folder) = std::env::var_os("TENON_BENCH_RESULTS") {
            let mut file = File::create(Path::new(&folder).join(format!("{}.jsonl", self.measurement)))?;
            for figure in &self.figures {
                writeln!(file, "{}", figure.json(self.measurement, &self.load))?;
            }
        }
        Ok(())
    }
}

/// The load of the last minute, as the kernel counts it; empty where it does not say.
fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// For people: four digits that count, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 1000.0 {
        let decimals = if value == 0.0 { 0 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 9) };
        let text = format!("{value:.0$}", decimals as usize);
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    tenon_core::words::count(value.abs().round_ties_even() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let told = [0.0, 0.01234, 1.5, 12.345, 999.94, 1000.0, 1_234_567.8].map(number);
        assert_eq!(told, ["0", "0.01234", "1.5", "12.35", "999.9", "1,000", "1,234,568"]);
    }

    #[test]
    fn a_ratio_says_how_many_times_better() {
        assert_eq!(Figure::speed("s", 10.0, "rows/s").against("p", 5.0).ratio(), Some(2.0));
        assert_eq!(Figure::cost("c", 10.0, "s").against("p", 5.0).ratio(), Some(0.5));
        assert_eq!(Figure::cost("c", 10.0, "s").target(10.0).met(), Some(false));
        assert_eq!(Figure::speed("c", 10.0, "rows/s").target(10.0).met(), Some(true));
    }
}
