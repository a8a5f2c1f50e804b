//! Where programs run that run apart, and when that is settled.

use fumehood::{Input, Job, Pool};
use libtest_mimic::Failed;
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::common::run;
use crate::processes::{begins_early, inits, signal, until};
use crate::{pool, prints, shell};

/// Who is to become a program cannot be there before its place is known.
pub(crate) fn nothing_begins_early() -> Result<(), Failed> {
    run(async {
        let job = Job::new(["echo", "ran"]);
        let parts = fumehood::run_apart(2).expect("the kernel tells");
        let begun = begins_early(&job).await;
        fumehood::run_apart(1).expect("it needs nothing");
        assert_eq!(begun?, parts < 2, "with {parts} parts");
        assert!(begins_early(&job).await?, "they do not run apart any more");
        Ok(())
    })
}

/// On how many processors a process may run; none if it is gone.
fn processors(process: Option<i32>) -> Option<u32> {
    let pid = process.map(|pid| Pid::from_raw(pid).expect("no process has the number 0"));
    sched_getaffinity(pid).ok().as_ref().map(CpuSet::count)
}

/// An init that could not write its program's inputs before another program lets it: it must be away
/// from that one by then.
#[expect(clippy::print_stderr, reason = "a skip gives its reason")]
pub(crate) fn before_inputs() -> Result<(), Failed> {
    let own = processors(None).expect("the kernel tells");
    if own < 2 {
        eprintln!("skipped: there is one processor");
        return Ok(());
    }
    run(async {
        let (before, pool) = (inits(), pool(1));
        let job = shell("cat input").input(Input::bytes("text"));
        pool.warm(&job).await?;
        // What the host can do may have been tried in others, which are on their way out.
        let new = || inits().into_iter().filter(|pid| !before.contains(pid)).collect::<Vec<_>>();
        let all =
            until("a parked cell", || Some(new()).filter(|all| !all.is_empty() && *all == new()));
        let all = all.await;
        fumehood::run_apart(2).expect("there are two");
        // It reads nothing of what it is sent, and starts nothing.
        all.iter().for_each(|&init| signal(init, Signal::STOP));
        let running = tokio::spawn({
            let (pool, job): (Pool, _) = (pool.clone(), job.clone());
            async move { prints(&pool, &job).await }
        });
        let is_bound = |init: &i32| processors(Some(*init)).is_some_and(|count| count < own);
        until("a part of the processors", || all.iter().any(is_bound).then_some(())).await;
        fumehood::run_apart(1).expect("it needs nothing");
        all.iter().for_each(|&init| signal(init, Signal::CONT));
        assert_eq!(running.await.expect("no panic")?, "text");
        assert_eq!(pool.metrics().hits, 1, "it was that init");
        Ok(())
    })
}
