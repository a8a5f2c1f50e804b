//! What the service counts, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fumehood::Outcome;

use super::service::Service;

/// Upper bounds of histograms, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// By surface and outcome.
    runs: BTreeMap<(&'static str, String), u64>,
    /// By reason.
    refused: BTreeMap<&'static str, u64>,
    cancelled: u64,
    truncated: u64,
    wait: Histogram,
    setup: Histogram,
    run: Histogram,
    /// By method, route and status.
    requests: BTreeMap<(String, String, u16), Histogram>,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// `labels` is empty, or ends with a comma.
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(text, "{name}_bucket{{{labels}le=\"{bound}\"}} {bucket}");
        }
        let Self { count, sum, .. } = self;
        let _ = writeln!(text, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}");
        let bare = labels.trim_end_matches(',');
        let _ = writeln!(text, "{name}_sum{{{bare}}} {sum}\n{name}_count{{{bare}}} {count}");
    }
}

/// The name of an outcome, such as `timed-out`.
pub(crate) fn outcome_name(outcome: &Outcome) -> String {
    let outcome = serde_json::to_value(outcome).unwrap_or_default();
    outcome.get("kind").and_then(|kind| kind.as_str()).unwrap_or("unknown").to_owned()
}

impl Metrics {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run that was asked for through `surface` has come to an end.
    pub(crate) fn ran(&self, surface: &'static str, report: &fumehood::Report) {
        let mut counted = self.counted();
        *counted.runs.entry((surface, outcome_name(&report.outcome))).or_default() += 1;
        counted.truncated += u64::from(report.stdout.truncated || report.stderr.truncated);
        counted.setup.observe(Duration::from_micros(report.timing.setup_us));
        counted.run.observe(report.usage.wall().unwrap_or_default());
    }

    /// A program could not be run: the caller's fault, the host's limit, or ours.
    pub(crate) fn failed(&self, surface: &'static str, kind: &str) {
        *self.counted().runs.entry((surface, kind.to_owned())).or_default() += 1;
    }

    /// A client went away before its program had ended.
    pub(crate) fn abandoned(&self) {
        self.counted().cancelled += 1;
    }

    /// A request was sent away.
    pub(crate) fn refused(&self, reason: &'static str) {
        *self.counted().refused.entry(reason).or_default() += 1;
    }

    /// A request waited this long for a place.
    pub(crate) fn waited(&self, time: Duration) {
        self.counted().wait.observe(time);
    }

    /// A request was answered. The route is the pattern that matched, never the path.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, time: Duration) {
        let key = (method.to_owned(), route.to_owned(), status);
        self.counted().requests.entry(key).or_default().observe(time);
    }

    /// All figures in the text format of Prometheus.
    pub(crate) fn text(&self, service: &Service) -> String {
        let mut text = String::with_capacity(8 << 10);
        let counted = self.counted();
        counted.write_counters(&mut text);
        counted.write_histograms(&mut text);
        drop(counted);
        write_gauges(&mut text, service);
        text
    }
}

/// Starts a figure: what it is, and of which kind.
fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

impl Counted {
    fn write_counters(&self, text: &mut String) {
        let name = "fumehood_runs_total";
        head(text, name, "counter", "Runs by interface and outcome.");
        for ((surface, outcome), count) in &self.runs {
            let _ = writeln!(text, "{name}{{surface=\"{surface}\",outcome=\"{outcome}\"}} {count}");
        }
        let name = "fumehood_refused_total";
        head(text, name, "counter", "Requests that were sent away, by reason.");
        for (reason, count) in &self.refused {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }
        for (name, help, count) in [
            ("fumehood_abandoned_total", "Runs whose client went away.", self.cancelled),
            ("fumehood_output_truncated_total", "Runs whose output was cut off.", self.truncated),
        ] {
            head(text, name, "counter", help);
            let _ = writeln!(text, "{name} {count}");
        }
    }

    fn write_histograms(&self, text: &mut String) {
        for (name, help, histogram) in [
            ("fumehood_wait_seconds", "Time in line.", &self.wait),
            ("fumehood_setup_seconds", "Time from a place to the program's start.", &self.setup),
            ("fumehood_run_seconds", "Time from a program's start to its end.", &self.run),
        ] {
            head(text, name, "histogram", help);
            histogram.write(text, name, "");
        }
        let name = "http_server_request_duration_seconds";
        head(text, name, "histogram", "Time from a request's head to the head of its answer.");
        for ((method, route, status), histogram) in &self.requests {
            let labels = format!(
                "http_request_method=\"{method}\",http_route=\"{route}\",\
                 http_response_status_code=\"{status}\","
            );
            histogram.write(text, name, &labels);
        }
    }
}

fn write_gauges(text: &mut String, service: &Service) {
    let pool = service.pool.metrics();
    let (waiting, running) = service.line.lengths();
    for (name, kind, help, value) in [
        ("fumehood_waiting", "gauge", "Requests in line.", waiting as u64),
        ("fumehood_running", "gauge", "Places taken.", running as u64),
        ("fumehood_cells_parked", "gauge", "Cells that are ready.", pool.parked as u64),
        ("fumehood_pool_hits_total", "counter", "Runs that got a ready cell.", pool.hits),
        ("fumehood_pool_misses_total", "counter", "Runs that had to wait for one.", pool.misses),
        ("fumehood_cells_built_total", "counter", "Cells built ahead.", pool.built),
        ("fumehood_cells_discarded_total", "counter", "Cells thrown away.", pool.discarded),
        ("fumehood_cells_failed_total", "counter", "Cells that could not be built.", pool.failed),
        (
            "fumehood_log_lost_total",
            "counter",
            "Lines that the log did not take.",
            service.log.lost(),
        ),
        (
            "fumehood_prompt",
            "gauge",
            "Whether the kernel runs the service before programs.",
            u64::from(service.is_prompt),
        ),
        (
            "fumehood_processor_parts",
            "gauge",
            "Parts of the processors that programs run apart on.",
            service.settings().parts as u64,
        ),
        ("fumehood_ready", "gauge", "Whether work is taken.", u64::from(service.is_ready())),
    ] {
        head(text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    }
    let name = "fumehood_build_info";
    head(text, name, "gauge", "The version that runs.");
    let _ = writeln!(text, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
}
