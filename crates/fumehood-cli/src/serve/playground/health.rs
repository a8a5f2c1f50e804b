//! Whether programs can be run: asked by balancers, often.

use std::time::Duration;

use fumehood::{Job, Outcome, Sandbox};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// For how long an answer holds.
const RECENT: Duration = Duration::from_secs(5);
/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The last answer, and the way to a new one.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Health {
    /// Whether a program can be run, as of the last five seconds; if not, why. Whoever asks while
    /// somebody else finds out waits for that.
    pub(super) async fn get<F>(&self, now: Instant, check: impl FnOnce() -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut last = self.last.lock().await;
        if let Some((when, result)) = &*last
            && now.saturating_duration_since(*when) < RECENT
        {
            return result.clone();
        }
        let late = |_| Err("context deadline exceeded".to_owned());
        let result = timeout(LIMIT, check()).await.unwrap_or_else(late);
        *last = Some((now, result.clone()));
        result
    }
}

/// Runs the smallest program there is in a cell that is built for it: a parked one is for those who
/// wait for a result, and says less.
pub(super) async fn check(sandbox: Sandbox) -> Result<(), String> {
    match sandbox.run(&Job::new(["true"])).await {
        Ok(report) if report.outcome == (Outcome::Exited { code: 0 }) => Ok(()),
        Ok(report) => Err(format!("true: {}", report.outcome.describe().unwrap_or_default())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn an_answer_holds_for_five_seconds_whatever_it_is() {
        let (health, checks, start) = (Health::default(), Cell::new(0), Instant::now());
        let asked = async |after_ms, result| {
            let check = async || {
                checks.set(checks.get() + 1);
                result
            };
            health.get(start + Duration::from_millis(after_ms), check).await
        };
        let bad = Err("no".to_owned());
        assert_eq!(asked(0, bad.clone()).await, bad);
        assert_eq!(asked(4999, Ok(())).await, bad);
        assert_eq!(asked(5000, Ok(())).await, Ok(()));
        assert_eq!(asked(9999, bad).await, Ok(()));
        assert_eq!(checks.get(), 2);
    }
}
