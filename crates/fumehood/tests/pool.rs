//! A pool as a program uses it: what is parked is used once, by jobs that it fits, and shows nothing
//! of what ran before.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fumehood::{ByteSize, ErrorKind, Input, InputSource, Job, Outcome, Pool, PoolConfig, Sandbox};
use libtest_mimic::{Arguments, Failed};

use common::{Test, run};

fn main() {
    fumehood::init();
    let mut arguments = Arguments::from_args();
    // They share a zygote, and one of them kills it.
    arguments.test_threads = Some(1);
    let tests: [(&'static str, Test); 19] = [
        ("a_parked_cell_gives_what_the_job_says", gives_what_the_job_says),
        ("nothing_of_one_run_is_visible_in_the_next", nothing_is_visible),
        ("a_cell_from_a_template_is_like_any_other", templates_change_nothing),
        ("cells_that_live_at_a_time_have_networks_of_their_own", networks_are_apart),
        ("a_socket_that_outlives_its_cell_is_in_nobodys_network", sockets_that_stay),
        ("a_template_that_died_is_replaced", dead_templates_are_replaced),
        ("jobs_that_differ_in_confinement_share_no_cell", no_cell_is_shared),
        ("a_cell_that_died_parked_is_replaced", dead_cells_are_replaced),
        ("a_zygote_that_died_is_replaced", dead_zygotes_are_replaced),
        ("a_template_that_dies_loses_no_run_but_its_own", templates_that_die_are_alone),
        ("a_zygote_that_dies_leaves_nobody_waiting", zygotes_that_die_are_noticed),
        ("a_template_has_as_many_cells_as_there_are_descriptors_for", many_cells),
        ("more_cells_than_descriptors_allow_are_refused", too_many_cells),
        ("old_cells_are_thrown_away", old_cells_go),
        ("draining_ends_what_is_parked", drained),
        ("what_cannot_be_built_is_an_error_of_the_job", not_built),
        ("inputs_go_into_a_parked_cell_and_files_come_back", files),
        ("data_of_a_job_are_not_kept_for_others", no_data_are_kept),
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

/// All that a program can tell of its confinement.
const CONFINEMENT: &str = r#"
    grep -vE 'ctxt|Vm|Rss|Hugetlb' /proc/self/status | grep -vE '^(Pid|PPid|Tgid|NSpid|NSpgid|NSsid|Cpus|Mems)'
    cut -c1-10 /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups /proc/self/limits
    stat -c '%A %u %g %s %n %N' / /* /dev/* /dev/shm /etc/* /proc/sys/kernel | grep -v ' /proc '
    cut -d' ' -f4-6 /proc/self/mountinfo | sort -u
    cat /proc/self/net/dev /proc/self/net/if_inet6 /proc/self/net/route /proc/self/net/unix
    cat /proc/sys/kernel/hostname /proc/self/cgroup | sed 's/[0-9a-f]*-[0-9]*$//'
    for i in /proc/[0-9]*; do cat $i/comm; done
    for path in /usr /etc/passwd /dev/null /proc/sys /; do touch $path/x 2>&1; done
    (echo >/dev/tcp/127.0.0.1/1) 2>&1 | grep -o refused
    unshare -r true 2>&1; mount -t tmpfs x /mnt 2>&1; umount /proc 2>&1; umount /tmp 2>&1
    echo 9 2>&1 > /proc/sys/user/max_inotify_instances; cat /proc/sys/user/max_inotify_instances
"#;

fn templates_change_nothing() -> Result<(), Failed> {
    run(async {
        let job = Job::new(["bash", "-c", CONFINEMENT]);
        let without = Sandbox::new().run(&job).await?;
        let pool = pool(1);
        pool.warm(&job).await?;
        assert_eq!((pool.metrics().templates, pool.metrics().parked), (1, 1), "made in a template");
        let within = pool.run(&job).await?;
        let [without_text, within_text] =
            [&without, &within].map(|report| String::from_utf8_lossy(&report.stdout.data));
        assert!(within_text.contains("refused"), "the whole script ran: {within_text}");
        // The template's own, which shows the template alone, lies below the cell's.
        let covered = "/ /proc rw,nosuid,nodev,noexec,relatime\n";
        assert_eq!(within_text.matches(covered).count(), 1, "{within_text}");
        assert_eq!(without_text, within_text.replace(covered, ""));
        assert_eq!(without.confinement, within.confinement);
        Ok(())
    })
}

/// Says on its standard output whether somebody listens where others here do, and listens for a while.
const LISTENER: &str = r#"
import socket, time
def reaches(address, family):
    with socket.socket(family) as other:
        return other.connect_ex(address) == 0
found = reaches(("127.0.0.1", 4242), socket.AF_INET) or reaches("\0left", socket.AF_UNIX)
one, two = socket.create_server(("127.0.0.1", 4242)), socket.socket(socket.AF_UNIX)
two.bind("\0left"); two.listen()
time.sleep(0.3)
print("met" if found else "alone")
"#;

fn networks_are_apart() -> Result<(), Failed> {
    run(async {
        let pool = pool(3);
        let job = Job::new(["python3", "-c", LISTENER]);
        for _ in 0..3 {
            pool.warm(&job).await?;
            let (one, two, three) =
                tokio::join!(prints(&pool, &job), prints(&pool, &job), prints(&pool, &job));
            assert_eq!(
                (one?, two?, three?),
                ("alone\n".into(), "alone\n".into(), "alone\n".into())
            );
        }
        assert_eq!((pool.metrics().hits, pool.metrics().templates), (9, 1));
        Ok(())
    })
}

/// Gives a socket of its own to whoever listens at `/shared/socket`: a host that shows a program a
/// socket lets it pass descriptors out.
const GIVER: &str = r#"
import array, socket
out = socket.socket(socket.AF_UNIX); out.connect("/shared/socket")
mine = socket.socket(socket.AF_UNIX); mine.bind("\0left"); mine.listen()
out.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [mine.fileno()]))])
print("given")
"#;

const SEEKER: &str = r#"
import socket
print(socket.socket(socket.AF_UNIX).connect_ex("\0left"))
"#;

fn sockets_that_stay() -> Result<(), Failed> {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        for open in [dir.path(), &path] {
            let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(open, all).expect("they are ours");
        }
        let pool = pool(1);
        let job = |script: &str| Job::new(["python3", "-c", script]).mount(dir.path(), "/shared");
        pool.warm(&job(GIVER)).await?;
        assert_eq!(prints(&pool, &job(GIVER)).await?, "given\n");
        // The descriptor that was passed stays in the queue of this connection.
        let (_kept, _) = listener.accept().expect("a connection");
        for _ in 0..3 {
            pool.warm(&job(SEEKER)).await?;
            let refused = format!("{}\n", rustix::io::Errno::CONNREFUSED.raw_os_error());
            assert_eq!(prints(&pool, &job(SEEKER)).await?, refused, "nobody is there");
        }
        assert_eq!((pool.metrics().hits, pool.metrics().templates), (4, 1));
        Ok(())
    })
}

fn dead_templates_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        // A list of children may miss some while others end (proc(5)): those of earlier tests.
        while !inits().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pool.warm(&job).await?;
        let has_cells = |pid: &i32| !children(&pid.to_string()).is_empty();
        let template = inits().into_iter().find(has_cells);
        killed(vec![template.expect("a template with a cell")]).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        pool.warm(&job).await?;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        assert_eq!((pool.metrics().hits, pool.metrics().templates), (1, 2), "{:?}", pool.metrics());
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

/// Inits of cells and of templates: all that descends from this process's zygote while nothing runs.
fn inits() -> Vec<i32> {
    let own = std::process::id().to_string();
    let mut found: Vec<String> =
        children(&own).iter().flat_map(|zygote| children(zygote)).collect();
    let mut index = 0;
    while let Some(parent) = found.get(index) {
        found.extend(children(parent));
        index += 1;
    }
    found.iter().filter_map(|pid| pid.parse().ok()).collect()
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

/// Waits until they have ended, and with them all that was below them. On a machine with much to do the
/// kernel takes its time.
async fn killed(pids: Vec<i32>) {
    pids.iter().copied().for_each(kill);
    let lives = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while pids.iter().any(lives) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn dead_cells_are_replaced() -> Result<(), Failed> {
    run(async {
        let pool = pool(1);
        let job = Job::new(["echo", "ran"]);
        let before = inits();
        pool.warm(&job).await?;
        killed(inits().into_iter().filter(|pid| !before.contains(pid)).collect()).await;
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
        let cells = inits();
        killed(children(&own).iter().filter_map(|pid| pid.parse().ok()).collect()).await;
        // They die of the zygote's death, in their own time.
        killed(cells).await;
        assert_eq!(prints(&pool, &job).await?, "ran\n");
        Ok(())
    })
}

/// Those of a pool that has cells parked.
async fn template_of(pool: &Pool, job: &Job) -> fumehood::Result<i32> {
    let before = inits();
    pool.warm(job).await?;
    let new = inits().into_iter().filter(|pid| !before.contains(pid));
    let mut templates = new.filter(|pid| !children(&pid.to_string()).is_empty());
    Ok(templates.next().expect("a template with a cell"))
}

fn templates_that_die_are_alone() -> Result<(), Failed> {
    run(async {
        let (one, other) = (pool(2), pool(2));
        let job = shell("echo began; sleep 1; echo ran");
        let template = template_of(&one, &job).await?;
        other.warm(&job).await?;
        let lost = tokio::spawn({
            let (one, job) = (one.clone(), job.clone());
            async move { one.run(&job).await }
        });
        let kept = tokio::spawn({
            let (other, job) = (other.clone(), job.clone());
            async move { prints(&other, &job).await }
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        killed(vec![template]).await;
        let error = lost.await.expect("no panic").expect_err("its cell died with the template");
        assert!(matches!(error.kind(), ErrorKind::Internal { .. }), "{error}");
        assert_eq!(kept.await.expect("no panic")?, "began\nran\n");
        for pool in [&one, &other] {
            pool.warm(&job).await?;
            assert_eq!(prints(pool, &job).await?, "began\nran\n");
        }
        assert_eq!((one.metrics().templates, other.metrics().templates), (2, 1));
        Ok(())
    })
}

/// Whatever it cloned dies with it, so that nothing outlives its owner: that is told at once, and the
/// next run has another.
fn zygotes_that_die_are_noticed() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        let job = shell("echo began; sleep 30; echo ran");
        pool.warm(&job).await?;
        let began = Instant::now();
        let lost = tokio::spawn({
            let (pool, job) = (pool.clone(), job.clone());
            async move { pool.run(&job).await }
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        let own = std::process::id().to_string();
        killed(children(&own).iter().filter_map(|pid| pid.parse().ok()).collect()).await;
        let error = lost.await.expect("no panic").expect_err("its cell died");
        assert!(matches!(error.kind(), ErrorKind::Internal { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(25), "nobody noticed");
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

/// More than one chunk of a template's table, and more than any number that was ever fixed there.
fn many_cells() -> Result<(), Failed> {
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

fn too_many_cells() -> Result<(), Failed> {
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

fn no_data_are_kept() -> Result<(), Failed> {
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
        let deadline = Instant::now() + Duration::from_secs(10);
        while data.strong_count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(data.strong_count(), 0, "the pool has kept the input");
        Ok(())
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
