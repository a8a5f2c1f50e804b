//! `Command` and `Sandbox` as a program uses them: many at a time, piped, dropped. Cells come from
//! the zygote, which this test binary becomes when it is started again.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use fumehood::{Command, ErrorKind, Job, Outcome, Sandbox, Stdio};
use libtest_mimic::{Arguments, Failed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use common::{Test, run};

fn main() {
    fumehood::init();
    let arguments = Arguments::from_args();
    let tests: [(&'static str, Test); 14] = [
        ("output_has_both_streams_and_the_exit_status", output),
        ("a_piped_child_is_written_to_and_read_from", piped),
        ("waiting_closes_standard_input", wait_closes_stdin),
        ("a_dropped_reader_does_not_stall_the_program", dropped_reader),
        ("a_child_says_the_same_each_time_it_is_waited_for", waited_twice),
        ("a_kill_is_not_lost_among_other_orders", killed_in_a_crowd),
        ("a_command_can_be_run_again", again),
        ("output_goes_where_it_was_led", led),
        ("dropping_a_child_kills_everything_in_its_cell", dropped_child),
        ("cancel_asks_first_and_is_named_in_the_outcome", cancelled),
        ("a_missing_program_is_an_error_of_its_own", missing_program),
        ("what_is_no_text_is_refused_by_the_name_of_its_field", not_text),
        ("many_jobs_run_at_a_time", many),
        ("changes_are_in_the_report_and_on_the_host_once_applied", changes),
    ];
    common::conclude(&arguments, &tests)
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn output() -> Result<(), Failed> {
    run(async {
        let done = shell("echo out; echo err >&2; exit 3").output().await?;
        assert_eq!(done.code(), Some(3));
        assert_eq!(done.report.stdout.data, b"out\n");
        assert_eq!(done.report.stderr.data, b"err\n");
        Ok(())
    })
}

fn piped() -> Result<(), Failed> {
    run(async {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
        let mut stdin = child.stdin.take().expect("it was piped");
        let mut stdout = child.stdout.take().expect("it was piped");
        stdin.write_all(b"there and back").await.expect("the program reads");
        drop(stdin);
        let mut read = String::new();
        stdout.read_to_string(&mut read).await.expect("the program writes");
        assert_eq!(read, "there and back");
        assert!(child.wait().await?.success());
        Ok(())
    })
}

fn wait_closes_stdin() -> Result<(), Failed> {
    run(async {
        let mut child = shell("wc -c").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().await?;
        let done = child.wait().await?;
        assert_eq!(done.report.outcome, Outcome::Exited { code: 0 });
        Ok(())
    })
}

fn dropped_reader() -> Result<(), Failed> {
    run(async {
        let script = "head -c 1000000 /dev/zero; echo done >&2";
        let mut child = shell(script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().await?;
        drop(child.stdout.take());
        let done = child.wait().await?;
        assert_eq!(done.report.outcome, Outcome::Exited { code: 0 }, "the shell goes on");
        assert!(done.report.stdout.total < 1_000_000, "head is told by SIGPIPE");
        assert!(done.report.stdout.truncated);
        Ok(())
    })
}

fn waited_twice() -> Result<(), Failed> {
    run(async {
        let mut command = shell("read x; trap 'exit 5' USR1; echo; while :; do sleep 0.1; done");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
        assert!(child.try_wait()?.is_none(), "it reads");
        let given_up = tokio::time::timeout(Duration::ZERO, child.wait()).await;
        assert!(given_up.is_err(), "it waits to be asked");
        let mut stdout = child.stdout.take().expect("it was piped");
        assert_eq!(stdout.read_u8().await.expect("its input has ended"), b'\n');
        child.handle().signal(10).await;
        for _ in 0..2 {
            assert_eq!(child.wait().await?.code(), Some(5));
            assert_eq!(child.try_wait()?.and_then(|done| done.code()), Some(5));
        }
        Ok(())
    })
}

fn killed_in_a_crowd() -> Result<(), Failed> {
    run(async {
        let mut command = shell("trap : USR1; while :; do sleep 60; done");
        let mut child = command.spawn().await?;
        let mut orders = Vec::new();
        // As many as fit, before the supervisor has taken one.
        for _ in 0..64 {
            let handle = child.handle().clone();
            let mut order = Box::pin(async move { handle.signal(10).await });
            let polled = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(order.as_mut().poll(cx).is_ready())
            });
            if !polled.await {
                orders.push(order);
            }
        }
        assert!(!orders.is_empty(), "there is room for more orders than were given");
        child.start_kill();
        drop(orders);
        assert_eq!(child.wait().await?.report.outcome, Outcome::Cancelled);
        Ok(())
    })
}

fn again() -> Result<(), Failed> {
    run(async {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        for words in ["once", "twice"] {
            let mut child = command.spawn().await?;
            let mut stdin = child.stdin.take().expect("it is piped each time");
            stdin.write_all(words.as_bytes()).await.expect("the program reads");
            drop(stdin);
            let mut read = String::new();
            let mut stdout = child.stdout.take().expect("it is piped each time");
            stdout.read_to_string(&mut read).await.expect("the program writes");
            assert_eq!(read, words);
            assert!(child.wait().await?.success());
        }
        Ok(())
    })
}

fn led() -> Result<(), Failed> {
    run(async {
        let mut file = tempfile::tempfile().expect("there is room");
        let mut command = shell("echo out; echo err >&2");
        command.stdout(file.try_clone().expect("it is open")).stderr(Stdio::piped());
        for _ in 0..2 {
            let done = command.output().await?;
            assert_eq!(done.report.stdout.data, b"");
            assert_eq!(done.report.stderr.data, b"err\n");
        }
        let mut written = String::new();
        std::io::Seek::rewind(&mut file).expect("it is a file");
        std::io::Read::read_to_string(&mut file, &mut written).expect("it is text");
        assert_eq!(written, "out\nout\n");
        Ok(())
    })
}

fn dropped_child() -> Result<(), Failed> {
    run(async {
        let child = shell("sleep 60 & sleep 60").spawn().await?;
        let init = child.handle().init_pid();
        assert!(is_alive(init), "there is an init while the child runs");
        drop(child);
        while is_alive(init) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
}

/// Whether a process exists that has not ended: an init ends only after all else in its cell.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn cancelled() -> Result<(), Failed> {
    run(async {
        let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let mut command = shell(script);
        // It is killed if it has not had a processor by then.
        command.limits(|limits| limits.grace = Some(Duration::from_secs(40)));
        let mut child = command.stdout(Stdio::piped()).spawn().await?;
        let mut stdout = child.stdout.take().expect("it was piped");
        let mut first = [0; 6];
        stdout.read_exact(&mut first).await.expect("the program says that it is ready");
        child.handle().cancel().await;
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.expect("the program ends");
        assert_eq!(rest, "asked\n");
        assert_eq!(child.wait().await?.report.outcome, Outcome::Cancelled);
        Ok(())
    })
}

fn missing_program() -> Result<(), Failed> {
    run(async {
        let error = Command::new("no-such-program").output().await.expect_err("it is missing");
        assert!(matches!(error.kind(), ErrorKind::ProgramNotFound { .. }), "{error}");
        Ok(())
    })
}

fn not_text() -> Result<(), Failed> {
    run(async {
        let path = Path::new("/usr/bin/env");
        let printed = Command::new(path).envs([("A", "b")]).arg("-u").arg("LANG").output().await?;
        assert!(printed.report.stdout.data.split(|&byte| byte == b'\n').any(|line| line == b"A=b"));
        let raw = OsStr::from_bytes(b"\xff");
        let told = |mut command: Command| async move {
            let refused = command.output().await.expect_err("it is no UTF-8");
            let error = command.spawn().await.expect_err("it is no UTF-8 either").to_string();
            assert_eq!(refused.to_string(), error);
            error
        };
        let mut command = Command::new("true");
        command.arg("a").arg(raw).args([raw]);
        assert_eq!(told(command).await, "invalid job: args[2]: (value not shown): must be UTF-8");
        assert_eq!(
            told(Command::new(raw)).await,
            "invalid job: args[0]: (value not shown): must be UTF-8"
        );
        let mut command = Command::new("true");
        command.env("KEY", raw);
        assert_eq!(
            told(command).await,
            "invalid job: env.set.KEY: (value not shown): must be UTF-8"
        );
        Ok(())
    })
}

fn many() -> Result<(), Failed> {
    run(async {
        let sandbox = Sandbox::new();
        let one = |number: usize| {
            let sandbox = sandbox.clone();
            tokio::spawn(async move {
                let report =
                    sandbox.run(&Job::new(["echo".to_owned(), number.to_string()])).await?;
                assert_eq!(report.stdout.data, format!("{number}\n").into_bytes());
                Ok::<(), fumehood::Error>(())
            })
        };
        let running: Vec<_> = (0..40).map(one).collect();
        for task in running {
            task.await.expect("no task panics")?;
        }
        Ok(())
    })
}

fn changes() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("old"), "old")?;
    let script = "rm old; echo new >new";
    let job = Job::new(["sh", "-c", script]).mount_cow(dir.path(), "/workspace");
    let (report, changes) = fumehood::blocking::run_with_changes(&job)?;
    assert_eq!(report.outcome, Outcome::Exited { code: 0 });
    let lines: Vec<_> = report.diff[0].changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["added     new", "deleted   old"]);
    assert!(dir.path().join("old").exists() && !dir.path().join("new").exists());

    // The cell is long gone; what it left is not.
    let changes = changes.ok_or("there is a copy-on-write mount")?;
    let applied = changes.apply()?;
    assert_eq!((applied[0].applied, applied[0].refused.len()), (2, 0));
    assert!(!dir.path().join("old").exists());
    assert_eq!(std::fs::read_to_string(dir.path().join("new"))?, "new\n");
    Ok(())
}
