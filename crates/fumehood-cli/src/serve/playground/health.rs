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
    pub(super) async fn get<F>(&self, check: impl FnOnce() -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut last = self.last.lock().await;
        if let Some((when, result)) = &*last
            && when.elapsed() < RECENT
        {
            return result.clone();
        }
        let late = |_| Err("context deadline exceeded".to_owned());
        let result = timeout(LIMIT, check()).await.unwrap_or_else(late);
        *last = Some((Instant::now(), result.clone()));
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn count(
        health: &Health,
        checks: &AtomicU32,
        result: Result<(), String>,
    ) -> Result<(), String> {
        let check = || async {
            checks.fetch_add(1, Ordering::Relaxed);
            result
        };
        health.get(check).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_for_five_seconds_whatever_it_is() {
        let (health, checks) = (Health::default(), AtomicU32::new(0));
        let bad = Err("no".to_owned());
        assert_eq!(count(&health, &checks, bad.clone()).await, bad);
        tokio::time::advance(RECENT - Duration::from_millis(1)).await;
        assert_eq!(count(&health, &checks, Ok(())).await, bad);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(count(&health, &checks, Ok(())).await, Ok(()));
        assert_eq!(count(&health, &checks, bad).await, Ok(()));
        assert_eq!(checks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_given_up() {
        let health = Health::default();
        let hangs = health.get(std::future::pending).await;
        assert_eq!(hangs, Err("context deadline exceeded".to_owned()));
    }
}
