//! A pool as a program uses it: what is parked is used once, by jobs that it fits, and shows nothing
//! of what ran before.

mod common;

use std::time::Duration;

use fumehood::{ByteSize, ErrorKind, Input, Job, Outcome, Pool, PoolConfig, Sandbox};
use libtest_mimic::{Arguments, Failed};

use common::{Test, run};

fn main() {
    fumehood::init();
    let mut arguments = Arguments::from_args();
    // They share a zygote, and one of them kills it.
    arguments.test_threads = Some(1);
    let tests: [(&'static str, Test); 10] = [
        ("a_parked_cell_gives_what_the_job_says", gives_what_the_job_says),
        ("nothing_of_one_run_is_visible_in_the_next", nothing_is_visible),
        ("jobs_that_differ_in_confinement_share_no_cell", no_cell_is_shared),
        ("a_cell_that_died_parked_is_replaced", dead_cells_are_replaced),
        ("a_zygote_that_died_is_replaced", dead_zygotes_are_replaced),
        ("old_cells_are_thrown_away", old_cells_go),
        ("draining_ends_what_is_parked", drained),
        ("what_cannot_be_built_is_an_error_of_the_job", not_built),
        ("inputs_go_into_a_parked_cell_and_files_come_back", files),
        ("many_jobs_run_at_a_time", many),
    ];
    common::conclude(&arguments, &tests)
}

fn pool(parked: usize) -> Pool {
    Pool::new(Sandbox::new(), PoolConfig::default().parked(parked))
}

fn shell(script: &str) -> Job {
    Job::new(["sh", "-c", script])
}

async fn prints(pool: &Pool, job: &Job) -> fumehood::Result<String> {
    let report = pool.run(job).await?;
    assert_eq!(report.outcome, Outcome::Exited { code: 0 }, "{report:?}");
    Ok(String::from_utf8_lossy(&report.stdout.data).into_owned())
}

fn gives_what_the_job_says() -> Result<(), Failed> {
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

/// Leaves something at every place where there could be something to find, and prints what is there
/// from before.
const TRACES: &str = r#"
    find /tmp /workspace /dev/shm /dev/mqueue -mindepth 1 2>/dev/null
    cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | grep -v key
    for process in /proc/[0-9]*; do echo "${process#/proc/}"; done
    hostname; id -u; umask; env | sort; ulimit -a
    tail -n +3 /proc/net/dev; tail -n +2 /proc/net/tcp; tail -n +2 /proc/net/unix
    cat /proc/self/mountinfo | sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //' | wc -l
    echo left > /tmp/left; echo left > /workspace/left; echo left > /dev/shm/left
    ipcmk -M 4096 >/dev/null 2>&1; ipcmk -Q >/dev/null 2>&1; ipcmk -S 1 >/dev/null 2>&1
    (echo x > /dev/tcp/127.0.0.1/9) 2>/dev/null
    sleep 100 &
"#;

fn nothing_is_visible() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        let job = Job::new(["bash", "-c", TRACES]);
        pool.warm(&job).await?;
        let first = prints(&pool, &job).await?;
        assert!(!first.contains("left"), "{first}");
        for _ in 0..6 {
            pool.warm(&job).await?;
            assert_eq!(prints(&pool, &job).await?, first);
        }
        assert_eq!(pool.metrics().hits, 7, "all were parked");
        Ok(())
    })
}

fn no_cell_is_shared() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        pool.warm(&Job::new(["true"])).await?;
        let smaller = shell("df -k --output=size /workspace | tail -1 | tr -d ' '")
            .limits(|limits| limits.workspace = Some(ByteSize::mib(1).into()));
        assert_eq!(prints(&pool, &smaller).await?, "1024\n");
        assert_eq!((pool.metrics().hits, pool.metrics().misses), (0, 1));
        Ok(())
    })
}

/// Processes of this one's zygote that are process 1 somewhere.
fn inits() -> Vec<i32> {
    let own = std::process::id().to_string();
    let zygotes = children(&own);
    zygotes.iter().flat_map(|zygote| children(zygote)).filter_map(|pid| pid.parse().ok()).collect()
}

fn children(parent: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_whitespace().map(str::to_owned)).collect()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process has an id");
    // One that a test beside this one has just ended is no less dead.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn dead_cells_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        let before = inits();
        pool.warm(&job).await?;
        inits().into_iter().filter(|pid| !before.contains(pid)).for_each(kill);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        let metrics = pool.metrics();
        assert_eq!((metrics.hits, metrics.discarded >= 1), (0, true), "{metrics:?}");
        Ok(())
    })
}

fn dead_zygotes_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        pool.warm(&job).await?;
        let own = std::process::id().to_string();
        children(&own).iter().filter_map(|pid| pid.parse().ok()).for_each(kill);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        Ok(())
    })
}

fn old_cells_go() -> Result<(), Failed> {
    run(async {
        let config = PoolConfig::default().parked(2).max_age(Duration::from_millis(300));
        let pool = Pool::new(Sandbox::new(), config);
        let job = Job::new(["echo", "ran"]);
        pool.warm(&job).await?;
        let built = pool.metrics().built;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let metrics = pool.metrics();
        assert!(metrics.discarded >= 2 && metrics.built > built, "{metrics:?}");
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        Ok(())
    })
}

fn drained() -> Result<(), Failed> {
    run(async {
        let pool = pool(3);
        let before = inits();
        pool.warm(&Job::new(["true"])).await?;
        let parked: Vec<_> = inits().into_iter().filter(|pid| !before.contains(pid)).collect();
        assert!(parked.len() >= 3, "{parked:?}");
        pool.drain();
        assert_eq!(pool.metrics().parked, 0);
        for _ in 0..100 {
            if inits().iter().all(|pid| !parked.contains(pid)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("of {parked:?} some are left: {:?}", inits());
    })
}

fn not_built() -> Result<(), Failed> {
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

fn files() -> Result<(), Failed> {
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
        for _ in 0..100 {
            if inits().iter().all(|pid| before.contains(pid)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("cells that were used are left: {:?}", inits());
    })
}

fn many() -> Result<(), Failed> {
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
