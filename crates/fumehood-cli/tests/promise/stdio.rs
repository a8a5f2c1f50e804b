//! Standard input and output, and whoever holds on to them.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    Feed, Fumehood, Promise, Ran, Skip, TempDir, host_tool, marker, promises, python, run,
    run_reported, slowness, wait_until_gone, waiting_shell,
};
use crate::tty::{HANDS_OUT, open_to_all, take_descriptor};

promises![
    standard_input_is_passed_on,
    standard_input_can_be_empty,
    standard_input_can_be_a_file,
    standard_input_that_is_not_read_hangs_nobody,
    the_streams_stay_apart,
    output_streams_through_as_it_comes,
    an_orphan_that_holds_the_streams_hangs_nobody,
    an_output_that_was_handed_out_hangs_nobody,
    a_gibibyte_comes_through,
    a_reader_that_goes_away_hangs_nobody,
    a_program_whose_reader_goes_away_is_told,
    a_reader_that_does_not_read_hangs_nobody,
    output_comes_in_order_whatever_its_size,
    output_that_does_not_arrive_is_an_error,
    input_that_cannot_be_read_is_told,
    closed_streams_harm_nothing,
    a_closed_standard_output_of_the_program_harms_nothing,
];

fn standard_input_is_passed_on() -> Promise {
    let bytes: Vec<u8> = (0..2_000_000u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    let ran = Fumehood::new(&[], &["cat"]).feed(Feed::Bytes(bytes.clone())).run().exits(0);
    assert!(ran.stdout == bytes, "{} of {} bytes came back", ran.stdout_total, bytes.len());
    Ok(())
}

fn standard_input_can_be_empty() -> Promise {
    let fumehood = Fumehood::new(&["--stdin", "none"], &["sh", "-c", "cat; echo end"]);
    assert_eq!(fumehood.feed(Feed::Bytes(b"unseen".into())).run().prints(), "end");
    Ok(())
}

fn standard_input_can_be_a_file() -> Promise {
    let dir = TempDir::new();
    let path = dir.file("input", "from a file").display().to_string();
    assert_eq!(run(&["--stdin", &path], &["cat"]).prints(), "from a file");
    run(&["--stdin", "/no/such/file"], &["cat"]).exits(125).complains("/no/such/file");
    run(&["--stdin", "/"], &["cat"]).exits(125).complains("stdin.file: /: is a directory");
    Ok(())
}

fn standard_input_that_is_not_read_hangs_nobody() -> Promise {
    let bytes = Feed::Bytes(vec![b'x'; 4 << 20]);
    for feed in [bytes, Feed::Held] {
        assert_eq!(Fumehood::new(&[], &["echo", "ran"]).feed(feed).run().prints(), "ran");
    }
    Ok(())
}

fn the_streams_stay_apart() -> Promise {
    let ran = run(&[], &["sh", "-c", "echo out; echo err >&2"]).exits(0);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("out", "err\n"));
    Ok(())
}

/// The first line is read while the program still waits for its input.
fn output_streams_through_as_it_comes() -> Promise {
    let program = waiting_shell();
    let mut child = Command::new(Fumehood::binary())
        .args(["run", "--timeout", "60s", "--"])
        .args(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary exists");
    let mut line = [0; 6];
    let read = child.stdout.take().expect("it is piped").read_exact(&mut line);
    drop(child.stdin.take());
    child.wait().expect("it is ours");
    read.expect("the program printed a line");
    assert_eq!(&line, b"ready\n");
    Ok(())
}

fn an_orphan_that_holds_the_streams_hangs_nobody() -> Promise {
    let word = marker();
    let script = "(trap '' TERM HUP; exec sh -c 'sleep 600; :' $0) & echo done; exit 4";
    let ran = Fumehood::new(&["--timeout", "60s"], &["sh", "-c", script, &word])
        .patience(Duration::from_secs(30))
        .run()
        .exits(4);
    assert_eq!(ran.text(), "done");
    wait_until_gone(&word);
    Ok(())
}

fn an_output_that_was_handed_out_hangs_nobody() -> Promise {
    let python = python()?;
    let outside = TempDir::open_to_all();
    let path = outside.join("socket");
    let listener = UnixListener::bind(&path).expect("the path is new");
    open_to_all(&path);
    let taken = std::thread::spawn(move || take_descriptor(&listener));
    let volume = outside.volume("/outside", "ro");
    let ran = run_reported(&["--volume", &volume], &[&python, "-c", HANDS_OUT]);
    let (_connection, _output) = taken.join().expect("somebody came");
    assert_eq!(ran.report()["stdout"]["truncated"], false, "its end was waited for in vain");
    assert_eq!(ran.exits(0).text(), "last");
    Ok(())
}

fn a_gibibyte_comes_through() -> Promise {
    let flags = ["--output-limit", "2GiB", "--timeout", "100s"];
    let ran = Fumehood::new(&flags, &["head", "-c", "1G", "/dev/zero"])
        .patience(Duration::from_secs(120))
        .reported()
        .run()
        .exits(0);
    assert_eq!(ran.stdout_total, 1 << 30);
    assert_eq!(ran.report()["stdout"]["total"], 1 << 30);
    Ok(())
}

/// Runs a program that prints without end for somebody who reads one byte of it.
fn barely_read(program: &[&str]) -> Result<Ran, Skip> {
    let bash = host_tool("bash")?;
    let script = "\"$@\" | head -c 1; exit ${PIPESTATUS[0]}";
    let flags = ["--output-limit", "unlimited", "--timeout", "20s"];
    let under = [&bash, "-c", script, "bash"];
    let ran = Fumehood::new(&flags, program).under(&under).reported().run();
    assert_eq!(ran.text(), "y");
    assert_eq!(ran.report()["stdout"]["truncated"], true, "{ran}");
    assert_eq!(ran.report().get("undelivered"), None, "who reads had enough: {ran}");
    Ok(ran)
}

fn a_reader_that_goes_away_hangs_nobody() -> Promise {
    let word = marker();
    barely_read(&["sh", "-c", "trap '' PIPE; while :; do echo y; done", &word])?;
    wait_until_gone(&word);
    Ok(())
}

/// By a signal, or, where a tool has its program ignore that, by an error of its write.
fn a_program_whose_reader_goes_away_is_told() -> Promise {
    const SIGPIPE: i32 = 13;
    let ran = barely_read(&["yes"])?;
    match ran.outcome() {
        "signaled" => assert_eq!(ran.exits(128 + SIGPIPE).stderr, ""),
        outcome => assert_eq!((outcome, ran.stderr.contains("Broken pipe")), ("exited", true)),
    }
    Ok(())
}

/// A pipe of the caller's is fed without blocking, though it is in blocking mode.
fn a_reader_that_does_not_read_hangs_nobody() -> Promise {
    let word = marker();
    let limit = format!("{}ms", 500 * slowness());
    let flags = ["run", "--timeout", &limit, "--output-limit", "unlimited", "--"];
    let mut child = Command::new(Fumehood::binary())
        .args(flags)
        .args(["sh", "-c", "yes", &word])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary exists");
    let end = Instant::now() + Duration::from_secs(30) * slowness();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if Instant::now() > end {
            drop((child.kill(), child.wait()));
            panic!("it waits for a reader that does not read");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(124));
    wait_until_gone(&word);
    Ok(())
}

/// Small writes and large ones take different ways through the kernel's pipes.
fn output_comes_in_order_whatever_its_size() -> Promise {
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; \
        [ $((i % 100)) = 50 ] && head -c 300000 /dev/zero | tr '\\0' x && echo; i=$((i+1)); done";
    let text = run(&["--output-limit", "unlimited"], &["sh", "-c", script]).prints();
    let lines: Vec<_> = text.lines().collect();
    let numbered = lines.iter().filter(|line| line.starts_with("line "));
    let expected: Vec<_> = (0..300).map(|number| format!("line {number}")).collect();
    assert_eq!(numbered.copied().collect::<Vec<_>>(), expected);
    let long = lines.iter().filter(|line| line.len() == 300_000);
    assert_eq!((long.count(), lines.len()), (3, 303));
    Ok(())
}

/// Runs with its streams led elsewhere by a shell.
fn led(redirected: &str, program: &str) -> Ran {
    let script = format!("exec \"$@\" {redirected}");
    let program = ["sh", "-c", program];
    Fumehood::new(&[], &program).under(&["sh", "-c", &script, "sh"]).reported().run()
}

fn output_that_does_not_arrive_is_an_error() -> Promise {
    const LOST: &str = "standard output could not be passed on: No space left on device";
    let ran = led(">/dev/full", "echo lost; echo told >&2").exits(125).complains(LOST);
    assert!(ran.stderr.starts_with("told\n"), "{ran}");
    assert_eq!((ran.outcome(), ran.report()["outcome"]["code"].as_u64()), ("exited", Some(0)));
    assert_eq!(ran.report()["undelivered"][0]["stream"], "stdout", "{ran}");
    assert_eq!(ran.report()["stdout"]["truncated"], true, "{ran}");
    led(">/dev/full", "echo lost; exit 3").exits(3).complains(LOST);
    let silent = led(">/dev/full", "exit 0").exits(0);
    assert_eq!(silent.stderr, "");
    Ok(())
}

fn input_that_cannot_be_read_is_told() -> Promise {
    const BROKEN: &str = "standard input could not be read to its end: Is a directory";
    let ran = led("</", "cat; echo end").exits(0).complains(BROKEN);
    assert_eq!((ran.text().as_str(), ran.outcome()), ("end", "exited"));
    assert_eq!(ran.report()["undelivered"][0]["stream"], "stdin", "{ran}");
    Ok(())
}

/// A file that is opened while 0, 1 or 2 is closed must not become one of the program's streams.
fn closed_streams_harm_nothing() -> Promise {
    for closed in ["<&-", "2>&-", "<&- 2>&-"] {
        let script = format!("exec \"$@\" {closed}");
        // Without a pipe: a shell that makes one has more descriptors for a moment.
        let ran = Fumehood::new(&[], &["sh", "-c", "echo out; ls /proc/$$/fd; :"])
            .under(&["sh", "-c", &script, "sh"])
            .run();
        let text = ran.prints();
        let descriptors = text.strip_prefix("out\n").unwrap_or_else(|| panic!("{closed}: {text}"));
        let unknown = descriptors.split_whitespace().find(|fd| !["0", "1", "2", "10"].contains(fd));
        assert_eq!(unknown, None, "{closed}: {text}");
    }
    Ok(())
}

fn a_closed_standard_output_of_the_program_harms_nothing() -> Promise {
    let ran = run_reported(&[], &["sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 6"]).exits(6);
    assert_eq!(ran.outcome(), "exited");
    Ok(())
}
