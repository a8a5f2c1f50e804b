//! What is parked: how much, and for how long.

use std::time::{Duration, Instant};

use fumehood::{Job, Pool, PoolConfig, Sandbox, Source, Streams};
use libtest_mimic::Failed;

use crate::common::run;
use crate::processes::{gone, inits, until};
use crate::{pool, prints, shell};

/// More than one chunk of a template's table, and more than any number that was ever fixed there.
pub(crate) fn many_cells() -> Result<(), Failed> {
    run(async {
        let pool = pool(150);
        let job = Job::new(["echo", "ran"]);
        pool.warm(&job).await?;
        let metrics = pool.metrics();
        assert_eq!((metrics.parked, metrics.templates, metrics.failed), (150, 1, 0), "{metrics:?}");
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        Ok(())
    })
}

pub(crate) fn too_many_cells() -> Result<(), Failed> {
    run(async {
        let pool = pool(1 << 40);
        let error =
            pool.warm(&Job::new(["true"])).await.expect_err("nobody has as many descriptors");
        let reason = std::error::Error::source(&error).expect("a reason").to_string();
        assert!(reason.contains("RLIMIT_NOFILE"), "{reason}");
        assert_eq!(pool.metrics().parked, 0);
        Ok(())
    })
}

/// As many descriptors as a cell takes are reckoned with where it is judged whether there are enough.
pub(crate) fn descriptors() -> Result<(), Failed> {
    const CELLS: usize = 128;
    const ASKED: usize = 3 << 20;
    run(async {
        let job = Job::new(["true"]);
        let error = pool(ASKED).warm(&job).await.expect_err("nobody has as many descriptors");
        let reason = std::error::Error::source(&error).expect("a reason").to_string();
        let needed = reason.split_once("needs ").and_then(|(_, rest)| rest.split_once(':'));
        let needed: usize = needed.expect("how many").0.parse().expect("a number");
        // A quarter is for others.
        let each = (needed - 1) / 4 * 3 / ASKED;
        let open = || std::fs::read_dir("/proc/self/fd").expect("proc is there").count();
        let before = open();
        let pool = pool(CELLS);
        pool.warm(&job).await?;
        let taken = open() - before;
        // What is there once, and what is kept open in those that come next to save time.
        let others = CELLS;
        assert!(taken <= CELLS * each + others, "{taken} for {CELLS} of {each} each");
        Ok(())
    })
}

/// Programs that go on took every cell. When one of them ends, half of the cells are replaced; the rest
/// waits for the others to end.
pub(crate) fn replaced_beside_runs() -> Result<(), Failed> {
    run(async {
        let pool = pool(4);
        let job = Job::new(["sleep", "100"]);
        pool.warm(&job).await?;
        let mut running = Vec::new();
        for _ in 0..4 {
            running.push(pool.spawn(&job, Streams::captured()).await?);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.metrics().parked < 2 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let metrics = pool.metrics();
        assert_eq!((metrics.parked, metrics.running, metrics.misses), (2, 4, 0), "{metrics:?}");
        drop(running);
        Ok(())
    })
}

/// The group of a program that had much memory is made as good as new, and the next one finds nothing of
/// it counted.
#[expect(clippy::print_stderr, reason = "a skip gives its reason")]
pub(crate) fn large_groups() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let [large, small] = ["head -c 64M /dev/zero >/tmp/x", "true"].map(shell);
        let peak = |report: fumehood::Report| report.usage.peak_memory.expect("it is counted");
        pool.warm(&large).await?;
        let first = peak(pool.run(&large).await?);
        if !matches!(first.source, Source::CgroupMemoryPeak | Source::CgroupMemoryMaxUsage) {
            eprintln!("skipped: without control groups there are none to use again ({first:?})");
            return Ok(());
        }
        assert!(first.value >= 64 << 20, "{first:?}");
        // Which of them is built after a group is made as good as new is for the kernel to say.
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.metrics().groups_recycled == 0 && Instant::now() < deadline {
            pool.run(&large).await?;
        }
        assert!(pool.metrics().groups_recycled > 0, "{:?}", pool.metrics());
        for _ in 0..3 {
            pool.warm(&small).await?;
            let next = peak(pool.run(&small).await?);
            assert!(next.value < 16 << 20, "{next:?}");
        }
        Ok(())
    })
}

pub(crate) fn old_cells_go() -> Result<(), Failed> {
    run(async {
        let config = PoolConfig::default().parked(2).max_age(Duration::from_millis(300));
        let pool = Pool::new(Sandbox::new(), config);
        let job = Job::new(["echo", "ran"]);
        pool.warm(&job).await?;
        let built = pool.metrics().built;
        until("other cells in their place", || {
            let metrics = pool.metrics();
            (metrics.discarded >= 2 && metrics.built > built).then_some(())
        })
        .await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        Ok(())
    })
}

pub(crate) fn no_age() -> Result<(), Failed> {
    run(async {
        let config = PoolConfig::default().parked(2).max_age(Duration::ZERO);
        let pool = Pool::new(Sandbox::new(), config);
        pool.warm(&Job::new(["true"])).await
    })
}

/// One whose cells are looked after by a runtime that nobody drives, and then by none.
pub(crate) fn other_runtimes() -> Result<(), Failed> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let pool = pool(2);
    let job = Job::new(["echo", "ran"]);
    let once = || async {
        let patience = Duration::from_secs(60);
        let ran = tokio::time::timeout(patience, prints(&pool, &job)).await;
        assert_eq!(ran.expect("nobody is waited for in vain")?, "ran\n");
        Ok::<(), Failed>(())
    };
    let first = runtime()?;
    first.block_on(pool.warm(&job))?;
    first.block_on(once())?;
    let second = runtime()?;
    for _ in 0..3 {
        second.block_on(once())?;
    }
    second.block_on(pool.warm(&job)).expect_err("its cells would be of use to nobody there");
    drop(first);
    for _ in 0..20 {
        second.block_on(once())?;
    }
    second.block_on(pool.warm(&job))?;
    let hits = pool.metrics().hits;
    second.block_on(once())?;
    assert_eq!(pool.metrics().hits, hits + 1);
    Ok(())
}

pub(crate) fn drained() -> Result<(), Failed> {
    run(async {
        let pool = pool(3);
        let before = inits();
        pool.warm(&Job::new(["true"])).await?;
        let parked: Vec<i32> = until("three parked cells", || {
            let new: Vec<_> = inits().into_iter().filter(|pid| !before.contains(pid)).collect();
            (new.len() >= 3).then_some(new)
        })
        .await;
        pool.drain();
        assert_eq!(pool.metrics().parked, 0);
        assert!(gone(parked).await, "some are left: {:?}", inits());
        Ok(())
    })
}
