//! Jobs: what they say is done, in a cell that fits them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fumehood::{
    ByteSize, ErrorKind, Guarantee, Input, InputSource, Job, Limits, Outcome, Report, Sandbox,
};
use libtest_mimic::Failed;

use crate::common::run;
use crate::processes::{gone, inits, primed, until_inits};
use crate::{pool, prints, shell};

pub(crate) fn gives_what_the_job_says() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        pool.warm(&Job::new(["true"])).await?;
        let job = shell("echo $A; pwd; cat; exit 7").env("A", "b").cwd("/tmp");
        let report = pool.run(&job.stdin(b"in".as_slice())).await?;
        assert_eq!(report.outcome, Outcome::Exited { code: 7 });
        assert_eq!(report.stdout.data, b"b\n/tmp\nin");
        assert_eq!((pool.metrics().hits, pool.metrics().misses), (1, 0), "it was parked");
        Ok(())
    })
}

/// It is made with the root of a cell, and a cell that is parked has its root.
pub(crate) fn directories() -> Result<(), Failed> {
    run(async {
        for parked in [2, 0] {
            let pool = pool(parked);
            pool.warm(&Job::new(["true"])).await?;
            for dir in ["/workspace/a/b", "/tmp/a", "/workspace/a/b"] {
                let printed = prints(&pool, &shell("pwd; touch made; ls").cwd(dir)).await?;
                assert_eq!(printed, format!("{dir}\nmade\n"));
            }
            assert_eq!(pool.metrics().hits, 0, "none that is parked has it");
        }
        Ok(())
    })
}

/// What has begun for one kind of job is not what another gets, which may take its cell all the same.
pub(crate) fn primed_for_others() -> Result<(), Failed> {
    run(async {
        let job = shell("echo $A; pwd; ulimit -n; cat").env("A", "a").cwd("/tmp");
        let files = |job: &Job, files: u64| {
            job.clone().limits(|limits| limits.open_files = Some(files.into()))
        };
        // As few as may be asked for: whoever has begun needs some itself.
        let alike = files(&job, 16);
        let others = [
            (alike.clone(), "a\n/tmp\n16\n"),
            (alike.clone().stdin(b"in".as_slice()), "a\n/tmp\n16\nin"),
            (alike.clone().env("A", "b"), "b\n/tmp\n16\n"),
            (alike.clone().cwd("/"), "a\n/\n16\n"),
            (files(&job, 17), "a\n/tmp\n17\n"),
            (alike.clone().input(Input::bytes("text")), "a\n/tmp\n16\n"),
        ];
        for (other, expected) in others {
            let pool = pool(1);
            pool.warm(&alike).await?;
            for cell in until_inits(1).await {
                primed(cell).await;
            }
            assert_eq!(prints(&pool, &other).await?, expected);
            assert_eq!(pool.metrics().hits, 1, "it took the cell");
            drop(pool);
            until_inits(0).await;
        }
        Ok(())
    })
}

/// What is worked out once for jobs that are alike counts for no other.
pub(crate) fn recipes() -> Result<(), Failed> {
    run(async {
        let job = shell("echo $A; pwd; ulimit -n");
        let alike = job.clone().env("A", "a").cwd("/tmp");
        let others = [
            (alike.clone(), "a\n/tmp\n"),
            (alike.clone().env("A", "b"), "b\n/tmp\n"),
            (alike.clone().cwd("/"), "a\n/\n"),
            (job.clone().cwd("/tmp"), "\n/tmp\n"),
        ];
        for parked in [2, 0] {
            let pool = pool(parked);
            for files in [64, 65] {
                for (other, expected) in &others {
                    pool.warm(&alike).await?;
                    let limits = |limits: &mut Limits| limits.open_files = Some(files.into());
                    let limited = prints(&pool, &other.clone().limits(limits)).await?;
                    assert_eq!(limited, format!("{expected}{files}\n"));
                    // What is known is how to run the first of them.
                    let printed = prints(&pool, other).await?;
                    assert!(printed.starts_with(expected), "{printed:?} and not {expected:?}");
                }
            }
            let metrics = pool.metrics();
            let all_were = if parked == 0 { (0, 16) } else { (16, 0) };
            assert_eq!((metrics.hits, metrics.misses), all_were, "parked, or made for them");
        }
        Ok(())
    })
}

/// By a recipe a program is told what it is fed, what it lacks is said, and the report is the same.
pub(crate) fn by_recipe() -> Result<(), Failed> {
    run(async {
        for parked in [4, 0] {
            let pool = pool(parked);
            pool.warm(&Job::new(["true"])).await?;
            let fed = Job::new(["cat"]).stdin(b"in".as_slice());
            assert_eq!(prints(&pool, &fed).await?, "in");
            let error = pool.run(&Job::new(["no-such-program"])).await.expect_err("it is missing");
            assert!(matches!(error.kind(), ErrorKind::ProgramNotFound { .. }), "{error}");
            assert!(error.to_string().contains("no-such-program"), "{error}");
            let error = pool.run(&Job::new(["a", "\0"])).await.expect_err("no argument has a NUL");
            assert!(error.to_string().contains("args[1]"), "{error}");
            let by_recipe = pool.run(&Job::new(["echo", "one"])).await?;
            let all_were = if parked == 0 { (0, 4) } else { (4, 0) };
            assert_eq!((pool.metrics().hits, pool.metrics().misses), all_were, "parked, or made");
            let without = Sandbox::new().run(&Job::new(["echo", "one"])).await?;
            assert_eq!(by_recipe.confinement, without.confinement);
            assert_eq!(by_recipe.stdout, without.stdout);
            let last = |report: &Report| report.timing.steps.last().map(|step| step.step.clone());
            assert_eq!(last(&by_recipe), last(&without), "the step that executes");
        }
        Ok(())
    })
}

pub(crate) fn no_cell_is_shared() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        pool.warm(&Job::new(["true"])).await?;
        let smaller = shell("df -k --output=size /workspace | tail -1 | tr -d ' '")
            .limits(|limits| limits.workspace = Some(ByteSize::mib(1).into()));
        assert_eq!(prints(&pool, &smaller).await?, "1024\n");
        assert_eq!((pool.metrics().hits, pool.metrics().misses), (0, 1));
        // What a job requires shapes no cell; it is not run in one that does not hold it.
        let requires = Job::new(["true"]).require(Guarantee::KernelBoundary);
        for parked in [1, 0] {
            let pool = crate::pool(parked);
            pool.warm(&Job::new(["true"])).await?;
            let error =
                pool.run(&requires).await.expect_err("a cell of ours has the host's kernel");
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{parked}: {error}");
        }
        Ok(())
    })
}

pub(crate) fn not_built() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["true"]).mount("/no/such/directory", "/data");
        let error = pool.warm(&job).await.expect_err("nothing to mount");
        assert!(matches!(error.kind(), ErrorKind::InvalidJob { .. }), "{error}");
        let error = pool.run(&job).await.expect_err("nothing to mount");
        assert!(matches!(error.kind(), ErrorKind::InvalidJob { .. }), "{error}");
        let error = pool.run(&Job::new(["no-such-program"])).await.expect_err("it is missing");
        assert!(matches!(error.kind(), ErrorKind::ProgramNotFound { .. }), "{error}");
        Ok(())
    })
}

pub(crate) fn files() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let input = Input::bytes(*b"text").to("/workspace/in");
        let job = shell("tr a-z A-Z < in > out").input(input).collect("out");
        let before = inits();
        pool.warm(&job).await?;
        for _ in 0..3 {
            let report = pool.run(&job).await?;
            assert_eq!(report.artifacts.len(), 1, "{report:?}");
            assert_eq!(report.artifacts[0].data.as_deref(), Some(b"TEXT".as_slice()));
            pool.warm(&job).await?;
        }
        assert_eq!(pool.metrics().hits, 3, "all were parked");
        pool.drain();
        let used = inits().into_iter().filter(|pid| !before.contains(pid)).collect();
        assert!(gone(used).await, "cells that were used are left: {:?}", inits());
        Ok(())
    })
}

pub(crate) fn no_data_are_kept() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = shell("cat input").input(Input::bytes("secret"));
        let InputSource::Bytes { data, .. } = &job.inputs[0].source else {
            unreachable!("bytes are an input of another kind");
        };
        let data = Arc::downgrade(data);
        // One for which a cell is built, and one that gets a parked cell.
        assert_eq!(prints(&pool, &job).await?, "secret");
        pool.warm(&job).await?;
        assert_eq!(prints(&pool, &job).await?, "secret");
        assert_eq!((pool.metrics().hits, pool.metrics().misses), (1, 1));
        drop(job);
        // The thread that fed the cell may be on its last instructions.
        let deadline = Instant::now() + Duration::from_secs(60);
        while data.strong_count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(data.strong_count(), 0, "the pool has kept the input");
        Ok(())
    })
}

pub(crate) fn many() -> Result<(), Failed> {
    run(async {
        let pool = pool(4);
        let one = |number: usize| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let job = Job::new(["echo".to_owned(), number.to_string()]);
                assert_eq!(prints(&pool, &job).await?, format!("{number}\n"));
                Ok::<(), fumehood::Error>(())
            })
        };
        let running: Vec<_> = (0..60).map(one).collect();
        for task in running {
            task.await.expect("no task panics")?;
        }
        let metrics = pool.metrics();
        assert_eq!((metrics.hits + metrics.misses, metrics.running), (60, 0), "{metrics:?}");
        Ok(())
    })
}
