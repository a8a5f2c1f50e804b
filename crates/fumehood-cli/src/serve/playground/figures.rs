//! Figures under the names that the original gives them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::serve::service::Service;

/// How waits for a cell have ended.
#[derive(Debug, Default)]
pub(super) struct Waits {
    success: AtomicU64,
    canceled: AtomicU64,
    late: AtomicU64,
    error: AtomicU64,
}

/// A wait in progress. One that is dropped has lost its client.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    waits: &'a Waits,
    ends_as: fn(&Waits) -> &AtomicU64,
}

impl Waits {
    pub(super) fn begin(&self) -> Waiting<'_> {
        Waiting { waits: self, ends_as: |waits| &waits.canceled }
    }

    fn all(&self) -> [(&'static str, u64); 4] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("success", read(&self.success)),
            ("canceled", read(&self.canceled)),
            ("deadline_exceeded", read(&self.late)),
            ("error", read(&self.error)),
        ]
    }
}

impl Waiting<'_> {
    /// There is a place.
    pub(super) fn done(mut self) {
        self.ends_as = |waits| &waits.success;
    }

    /// There was none in time.
    pub(super) fn late(mut self) {
        self.ends_as = |waits| &waits.late;
    }

    /// The request was refused.
    pub(super) fn failed(mut self) {
        self.ends_as = |waits| &waits.error;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        (self.ends_as)(self.waits).fetch_add(1, Ordering::Relaxed);
    }
}

const PREFIX: &str = "go_playground_sandbox";

/// The figures in the text format of Prometheus.
pub(super) fn text(service: &Service) -> String {
    let pool = service.pool.metrics();
    let slots = service.settings().config.line.slots;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, samples: &[(String, u64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE {PREFIX}_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{PREFIX}_{name}{labels} {value}");
        }
    };
    let one = |value| [(String::new(), value)];
    family("container_count", "gauge", &one((pool.parked + pool.running) as u64));
    // Cells that nobody knows of are ended by the kernel: there are none to be counted.
    family("unwanted_container_count", "gauge", &one(0));
    family("max_container_count", "gauge", &one(slots as u64));
    let labelled = |name: &str, values: &[(&str, u64)]| {
        let sample = |(value, count): &(&str, u64)| (format!("{{{name}=\"{value}\"}}"), *count);
        values.iter().map(sample).collect::<Vec<_>>()
    };
    let created = [("success", pool.built + pool.misses), ("error", pool.failed)];
    let created = labelled("container_create_success", &created);
    family("container_create_count", "counter", &created);
    let waited = labelled("container_wait_status", &service.playground.waits.all());
    family("container_wait_count", "counter", &waited);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_by_how_it_ends() {
        let waits = Waits::default();
        drop(waits.begin());
        waits.begin().done();
        waits.begin().late();
        waits.begin().failed();
        assert!(waits.all().iter().all(|(_, count)| *count == 1), "{waits:?}");
    }
}
