//! Whether programs can be run: asked by balancers, often.

use std::sync::Arc;
use std::time::Duration;

use fumehood::{Job, Outcome, Sandbox};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::serve::config::Config;

/// For how long an answer holds.
const RECENT: Duration = Duration::from_secs(5);
/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The last answer, and the way to a new one. Copies share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<Last>>);

type Last = Option<(Instant, Result<(), String>)>;

impl Health {
    /// Whether a program can be run, as of the last five seconds; if not, why. Whoever asks while
    /// somebody else finds out waits for that. Once begun it is found out, even if nobody waits any
    /// more: else clients that hang up would have a cell built each.
    pub(super) async fn get<F>(&self, now: Instant, check: F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let last = Arc::clone(&self.0);
        let found = tokio::spawn(async move {
            let mut last = last.lock().await;
            if let Some((when, result)) = &*last
                && now.saturating_duration_since(*when) < RECENT
            {
                return result.clone();
            }
            let late = |_| Err("context deadline exceeded".to_owned());
            let result = timeout(LIMIT, check).await.unwrap_or_else(late);
            *last = Some((now, result.clone()));
            result
        });
        found.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Runs the smallest program there is in a cell that is built for it: a parked one is for those who
/// wait for a result, and says less.
pub(super) async fn check(sandbox: Sandbox, job: Job) -> Result<(), String> {
    match sandbox.run(&job).await {
        Ok(report) if report.outcome == (Outcome::Exited { code: 0 }) => Ok(()),
        Ok(report) => Err(format!("true: {}", report.outcome.describe().unwrap_or_default())),
        Err(error) => Err(error.to_string()),
    }
}

/// A cell as programs get it, with what they require, and in it one that the host has.
pub(super) fn job(config: &Config) -> Job {
    let mut job = super::job::job(config, Vec::new(), []);
    job.args = vec!["true".to_owned()];
    job
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fumehood::Guarantee;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_for_five_seconds_whatever_it_is() {
        let (health, checks, start) =
            (Health::default(), Arc::new(AtomicUsize::new(0)), Instant::now());
        let asked = async |after_ms, result| {
            let checks = Arc::clone(&checks);
            let check = async move {
                checks.fetch_add(1, Ordering::Relaxed);
                result
            };
            health.get(start + Duration::from_millis(after_ms), check).await
        };
        let bad = Err("no".to_owned());
        assert_eq!(asked(0, bad.clone()).await, bad);
        assert_eq!(asked(4999, Ok(())).await, bad);
        assert_eq!(asked(5000, Ok(())).await, Ok(()));
        assert_eq!(asked(9999, bad).await, Ok(()));
        assert_eq!(checks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn who_hangs_up_leaves_an_answer() {
        let (health, now) = (Health::default(), Instant::now());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, goes_on) = tokio::sync::oneshot::channel();
        let check = async move {
            begun.send(()).expect("somebody waits");
            goes_on.await.expect("it is sent")
        };
        let impatient = health.clone();
        let asks = tokio::spawn(async move { impatient.get(now, check).await });
        has_begun.await.unwrap();
        asks.abort();
        assert!(asks.await.is_err());
        go_on.send(Err("first".to_owned())).unwrap();
        assert_eq!(health.get(now, async { Ok(()) }).await, Err("first".to_owned()));
    }

    #[test]
    fn what_programs_require_is_required() {
        let config = Config { require: Some([Guarantee::Memory].into()), ..Config::default() };
        let job = job(&config);
        assert_eq!(job.require, config.required());
        assert_eq!(job.limits, super::super::job::job(&config, Vec::new(), []).limits);
        assert_eq!(job.validate().map_err(|error| error.to_string()), Ok(()));
    }
}
