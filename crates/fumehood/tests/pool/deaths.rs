//! Each of the processes behind a pool is killed in turn.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fumehood::{ErrorKind, Input, Job, Pool, Sandbox};
use libtest_mimic::Failed;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::common::run;
use crate::processes::{
    Role, gone, inits, killed, own, primed, signal, until_inits, until_running,
};
use crate::{pool, prints, shell};

pub(crate) fn dead_cells_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        killed(vec![parked(&pool, &job).await?]).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        let metrics = pool.metrics();
        assert_eq!((metrics.hits, metrics.discarded >= 1), (0, true), "{metrics:?}");
        Ok(())
    })
}

/// Builds one cell for a pool that has none, and says which process it is.
async fn parked(pool: &Pool, job: &Job) -> fumehood::Result<i32> {
    // A list of children may miss some while others end (proc(5)).
    until_inits(0).await;
    pool.warm(job).await?;
    // Two may have been built at a time, of which one is not kept.
    Ok(until_inits(1).await[0])
}

/// Runs the job in a cell that takes what it is sent and dies before it reads it, as does the program that
/// has begun in it.
async fn dying(pool: &Pool, job: &Job) -> fumehood::Result<String> {
    let cell = parked(pool, job).await?;
    let begun = primed(cell).await;
    dying_with(pool, job, cell, &[cell, begun]).await
}

/// Runs the job in a cell of which these are stopped when it comes, and that dies then.
async fn dying_with(
    pool: &Pool,
    job: &Job,
    cell: i32,
    stopped: &[i32],
) -> fumehood::Result<String> {
    stopped.iter().for_each(|&one| signal(one, Signal::STOP));
    let running = tokio::spawn({
        let (pool, job) = (pool.clone(), job.clone());
        async move { prints(&pool, &job).await }
    });
    while pool.metrics().hits == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!running.is_finished(), "its cell is stopped");
    signal(cell, Signal::KILL);
    running.await.expect("no panic")
}

/// A directory that everybody may write to.
fn writable() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("it is ours");
    dir
}

/// Whoever starts a program says so in a file, once for each time.
pub(crate) fn dying_cells_are_replaced() -> Result<(), Failed> {
    run(async {
        let dir = writable();
        let job = shell("echo ran >>/seen/times; echo ran").mount_writable(dir.path(), "/seen");
        let pool = pool(1);
        assert_eq!(dying(&pool, &job).await?, "ran\n");
        let times = std::fs::read_to_string(dir.path().join("times")).expect("it ran");
        assert_eq!(times, "ran\n", "once");
        Ok(())
    })
}

/// One that was begun runs although nobody watches it. It is not started again when its cell dies.
pub(crate) fn primed_programs_run_once() -> Result<(), Failed> {
    run(async {
        let dir = writable();
        let job = shell("echo ran >>/seen/times").mount_writable(dir.path(), "/seen");
        let pool = pool(1);
        let cell = parked(&pool, &job).await?;
        primed(cell).await;
        let error = dying_with(&pool, &job, cell, &[cell]).await.expect_err("its cell died");
        assert!(matches!(error.kind(), ErrorKind::Internal { .. }), "{error}");
        let times = std::fs::read_to_string(dir.path().join("times")).expect("it ran");
        assert_eq!(times, "ran\n", "once");
        Ok(())
    })
}

/// A program that is ended before it comes is started when it does.
pub(crate) fn primed_programs_may_die() -> Result<(), Failed> {
    run(async {
        let job = Job::new(["echo", "ran"]);
        let pool = pool(1);
        let cell = parked(&pool, &job).await?;
        let begun = primed(cell).await;
        killed(vec![begun]).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        assert_eq!(pool.metrics().hits, 1, "in the same cell");
        Ok(())
    })
}

pub(crate) fn dying_cells_get_inputs_again() -> Result<(), Failed> {
    run(async {
        let job = shell("cat input").input(Input::bytes("text"));
        let pool = pool(1);
        // Nothing of it begins before its inputs are there.
        let cell = parked(&pool, &job).await?;
        assert_eq!(dying_with(&pool, &job, cell, &[cell]).await?, "text");
        Ok(())
    })
}

/// Starts a run in each of the pools that sleeps for a while, and waits until so many do.
async fn begin(
    pools: &[&Pool],
    job: &Job,
    sleepers: usize,
) -> Vec<JoinHandle<fumehood::Result<String>>> {
    let start = |pool: &&Pool| {
        let (pool, job) = ((*pool).clone(), job.clone());
        tokio::spawn(async move { prints(&pool, &job).await })
    };
    let runs = pools.iter().map(start).collect();
    until_running("sleep", sleepers).await;
    runs
}

async fn all_ran(runs: Vec<JoinHandle<fumehood::Result<String>>>) {
    for run in runs {
        let printed = run.await.expect("no panic").expect("nothing of it died");
        assert_eq!(printed, "began\nran\n");
    }
}

/// A run that is under way goes on, a parked cell is used, and whoever needs another has one made.
pub(crate) fn templates_lose_no_run() -> Result<(), Failed> {
    run(async {
        let (one, other) = (pool(2), pool(2));
        let job = shell("echo began; sleep 2; echo ran");
        one.warm(&job).await?;
        other.warm(&job).await?;
        let runs = begin(&[&one, &other], &job, 2).await;
        killed(own(Role::Template)).await;
        all_ran(runs).await;
        let parked = one.metrics().parked;
        assert!(parked >= 1, "one was left: {:?}", one.metrics());
        for pool in [&one, &other] {
            let hits = pool.metrics().hits;
            assert_eq!(prints(pool, &job).await?, "began\nran\n");
            assert_eq!(pool.metrics().hits, hits + 1, "it was parked");
            pool.warm(&job).await?;
            assert_eq!(prints(pool, &job).await?, "began\nran\n");
            assert_eq!(pool.metrics().templates, 2, "{:?}", pool.metrics());
        }
        Ok(())
    })
}

pub(crate) fn dead_templates_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        pool.warm(&job).await?;
        killed(own(Role::Template)).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        pool.warm(&job).await?;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        let metrics = pool.metrics();
        assert_eq!((metrics.hits, metrics.misses, metrics.templates), (2, 0, 2), "{metrics:?}");
        Ok(())
    })
}

/// Its warden has another at once: nobody even asks for one.
pub(crate) fn zygotes_lose_no_run() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        let job = shell("echo began; sleep 2; echo ran");
        pool.warm(&job).await?;
        let long = job.clone();
        let cold = tokio::spawn(async move { Sandbox::new().run(&long).await });
        let runs = begin(&[&pool], &job, 2).await;
        let warden = own(Role::Warden);
        for _ in 0..3 {
            killed(own(Role::Zygote)).await;
            let short = Sandbox::new().run(&Job::new(["echo", "ran"])).await?;
            assert_eq!(short.stdout.data, b"ran\n");
        }
        all_ran(runs).await;
        assert_eq!(cold.await.expect("no panic")?.stdout.data, b"began\nran\n");
        assert_eq!(prints(&pool, &job).await?, "began\nran\n");
        assert_eq!((pool.metrics().hits, own(Role::Warden)), (2, warden), "all as before");
        Ok(())
    })
}

/// Whatever it cloned dies with it, so that nothing outlives its owner: that is told at once, and the
/// next run has another.
pub(crate) fn wardens_that_die_are_noticed() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        let job = shell("echo began; sleep 30; echo ran");
        pool.warm(&job).await?;
        let lost = begin(&[&pool], &job, 1).await.remove(0);
        let cells = [inits(), own(Role::Template), own(Role::Zygote)].concat();
        killed(own(Role::Warden)).await;
        assert!(gone(cells).await, "they are its children");
        // If nobody noticed, its time would run out, and that is no error.
        let error = lost.await.expect("no panic").expect_err("its cell died");
        assert!(matches!(error.kind(), ErrorKind::Internal { .. }), "{error}");
        let short = shell("echo ran");
        let sandbox = Sandbox::new();
        let (parked, whole) = tokio::join!(prints(&pool, &short), sandbox.run(&short));
        assert_eq!((parked?.as_str(), whole?.stdout.data.as_slice()), ("ran\n", &b"ran\n"[..]));
        pool.warm(&short).await?;
        assert_eq!(prints(&pool, &short).await?, "ran\n");
        assert!(pool.metrics().hits >= 2 && pool.metrics().templates >= 2, "{:?}", pool.metrics());
        Ok(())
    })
}
