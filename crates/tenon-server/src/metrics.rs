//! Counts and times of requests, in the words of Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;

/// Upper ends of the buckets of request times, in seconds. 5 ms is what a decision may take.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Counts by route, and by model version.
pub(crate) struct Metrics {
    routes: Vec<RouteMetrics>,
    inference: Mutex<BTreeMap<(String, u32), Inference>>,
}

struct RouteMetrics {
    method: &'static str,
    path: &'static str,
    by_status: Mutex<BTreeMap<u16, u64>>,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

/// How often a version answered bare inference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Inference {
    pub(crate) succeeded: u64,
    pub(crate) succeeded_nanos: u64,
    pub(crate) failed: u64,
    pub(crate) failed_nanos: u64,
    pub(crate) rows: u64,
}

impl Metrics {
    /// For these routes: method and path of each.
    pub(crate) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let of_route = |(method, path)| RouteMetrics {
            method,
            path,
            by_status: Mutex::default(),
            buckets: Default::default(),
            nanos: AtomicU64::new(0),
        };
        Self { routes: routes.map(of_route).collect(), inference: Mutex::default() }
    }

    /// Counts one answer of the route at this place of the table.
    pub(crate) fn observe(&self, route: usize, status: StatusCode, took: Duration) {
        let Some(route) = self.routes.get(route) else { return };
        *route.by_status.lock().entry(status.as_u16()).or_default() += 1;
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        route.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        route.nanos.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// Counts one inference of a version; `rows` of it where it succeeded.
    pub(crate) fn inferred(&self, model: &str, version: u32, rows: Option<u64>, took: Duration) {
        let mut all = self.inference.lock();
        let counts = all.entry((model.to_owned(), version)).or_default();
        match rows {
            Some(rows) => {
                counts.succeeded += 1;
                counts.succeeded_nanos += nanos(took);
                counts.rows += rows;
            }
            None => {
                counts.failed += 1;
                counts.failed_nanos += nanos(took);
            }
        }
    }

    /// What was counted for a version.
    pub(crate) fn inference(&self, model: &str, version: u32) -> Inference {
        self.inference.lock().get(&(model.to_owned(), version)).copied().unwrap_or_default()
    }

    /// The requests in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        head(&mut text, "tenon_http_requests_total", "counter", "Requests answered.");
        for route in &self.routes {
            for (status, count) in route.by_status.lock().iter() {
                let labels = format!("method=\"{}\",route=\"{}\",status=\"{status}\"", route.method, route.path);
                line(&mut text, "tenon_http_requests_total", &labels, *count as f64);
            }
        }
        let name = "tenon_http_request_duration_seconds";
        head(&mut text, name, "histogram", "Time from a request to its answer.");
        for route in &self.routes {
            let labels = format!("method=\"{}\",route=\"{}\"", route.method, route.path);
            let counts: Vec<u64> = route.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
            let all: u64 = counts.iter().sum();
            if all == 0 {
                continue;
            }
            let mut below = 0;
            for (end, count) in BUCKETS.iter().zip(&counts) {
                below += count;
                line(&mut text, &format!("{name}_bucket"), &format!("{labels},le=\"{end}\""), below as f64);
            }
            line(&mut text, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), all as f64);
            let seconds = route.nanos.load(Ordering::Relaxed) as f64 / 1e9;
            line(&mut text, &format!("{name}_sum"), &labels, seconds);
            line(&mut text, &format!("{name}_count"), &labels, all as f64);
        }
        text
    }
}

/// The head of a family: what it is.
pub(crate) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One sample. Labels are ours or checked names, so that nothing needs to be escaped.
pub(crate) fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative() {
        let metrics = Metrics::new([("GET", "/health"), ("POST", "/decide/{deployment}")].into_iter());
        for millis in [0, 3, 40_000] {
            metrics.observe(1, StatusCode::OK, Duration::from_millis(millis));
        }
        metrics.observe(1, StatusCode::FORBIDDEN, Duration::from_millis(1));
        let text = metrics.text();
        let labels = "method=\"POST\",route=\"/decide/{deployment}\"";
        for line in [
            format!("tenon_http_requests_total{{{labels},status=\"200\"}} 3"),
            format!("tenon_http_requests_total{{{labels},status=\"403\"}} 1"),
            format!("tenon_http_request_duration_seconds_bucket{{{labels},le=\"0.0005\"}} 1"),
            format!("tenon_http_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 3"),
            format!("tenon_http_request_duration_seconds_bucket{{{labels},le=\"30\"}} 3"),
            format!("tenon_http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 4"),
            format!("tenon_http_request_duration_seconds_count{{{labels}}} 4"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("/health\""), "a route that nobody took says nothing");
    }
}
