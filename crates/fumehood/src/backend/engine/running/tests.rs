//! An engine that is slow, or does not do what it is told; and an end that is another's.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;

/// Reads a request and says what it asks for.
fn request(stream: &mut UnixStream) -> String {
    let mut bytes = [0; 64 << 10];
    let count = stream.read(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The next request that is no question where a container is, which is left without an answer.
fn next(listener: &UnixListener) -> (UnixStream, String) {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let asked = request(&mut stream);
        if !asked.starts_with("GET ") {
            return (stream, asked);
        }
    }
}

/// An engine that answers the first request when it is told to, and the second at once.
fn engine(listener: &UnixListener, told: &UnboundedSender<String>, go: &std::sync::Barrier) {
    let (mut stream, _) = listener.accept().unwrap();
    told.send(request(&mut stream)).unwrap();
    go.wait();
    let answer = "HTTP/1.1 201 Created\r\nContent-Length: 10\r\nConnection: close\r\n\r\n";
    write!(stream, "{answer}{{\"Id\":\"x\"}}").unwrap();
    drop(stream);
    let (mut stream, asked) = next(listener);
    write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    told.send(asked).unwrap();
}

/// Waits for a request to remove a container, and until whoever asked does something else or never
/// will. Says whether they did, before it answers.
fn slow_engine(listener: &UnixListener, free: &Receiver<()>, said: &OnceLock<bool>) {
    let (mut stream, asked) = next(listener);
    assert!(asked.starts_with("DELETE "), "{asked}");
    let is_free = free.recv_timeout(Duration::from_secs(10)).is_ok();
    std::thread::sleep(Duration::from_millis(50));
    said.set(is_free).unwrap();
    write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
}

#[test]
fn a_removal_keeps_nobody_waiting_but_the_end_of_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let (tell, free) = std::sync::mpsc::channel();
    let said = &OnceLock::new();
    std::thread::scope(|scope| {
        scope.spawn(move || slow_engine(&listener, &free, said));
        let client = Client::new(dir.path().join("s"));
        let kept = Kept { client, id: "x".to_owned(), gone: false };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            drop(kept);
            tell.send(()).unwrap();
        });
        drop(runtime);
        assert_eq!(said.get(), Some(&true), "was it waited for, and where?");
    });
}

fn running(pump: Pump) -> Running {
    Running {
        engine: BackendName::Docker,
        client: Client::new("/nowhere"),
        kept: None,
        pump,
        feed: tokio::spawn(async {}),
        sealed: Arc::default(),
        key: [1; 32],
        asked: false,
        give_up: None,
        collected: None,
        program: String::new(),
        cwd: String::new(),
        path: String::new(),
    }
}

/// A program that was given the other end of the output takes all of it, and writes what it likes.
#[tokio::test]
async fn an_end_that_another_program_wrote_is_not_believed() {
    let wrote = |status, key| {
        let mut file = tempfile::tempfile().unwrap();
        let ending = order::Ending { status, ..order::Ending::default() };
        order::put_tagged(&mut file, &key, &ending).unwrap();
        file
    };
    let mut own = running(Pump::Ended(Ok(Some(wrote(256, [1; 32])))));
    assert_eq!(own.ended().await.unwrap().unwrap().status, 256);
    for key in [[0; 32], [2; 32]] {
        let mut other = running(Pump::Ended(Ok(Some(wrote(0, key)))));
        let error = other.ended().await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.is_some_and(|said| said.contains("another program")), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    let broken = tokio::spawn(async { Err(io::Error::other("cut off")) });
    let mut running = running(Pump::Runs(broken));
    running.ended().await.unwrap_err();
    running.ended().await.expect_err("it may be asked again");
}

#[tokio::test]
async fn an_engine_that_does_not_kill_is_given_up() {
    let mut running = running(Pump::Runs(tokio::spawn(std::future::pending())));
    running.kill();
    let at = running.give_up.as_mut().expect("it has begun to count");
    *at = Instant::now();
    let waited = tokio::time::timeout(LONGEST, running.ended()).await;
    waited.expect("it is not waited for").unwrap_err();
}

#[tokio::test]
async fn a_container_that_nobody_waits_for_any_more_is_removed_when_it_is_made() {
    let dir = std::env::temp_dir().join(format!("fumehood-create-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let listener = UnixListener::bind(dir.join("s")).unwrap();
    let (told, mut hears) = unbounded_channel();
    let go = Arc::new(std::sync::Barrier::new(2));
    let theirs = Arc::clone(&go);
    let engine = std::thread::spawn(move || engine(&listener, &told, &theirs));
    let client = Client::new(dir.join("s"));
    let asked = tokio::select! {
        _ = Kept::create(&client, "name".to_owned(), super::super::tests::container()) => {
            panic!("nobody has answered")
        }
        asked = hears.recv() => asked.unwrap(),
    };
    assert!(asked.starts_with("POST /v1.40/containers/create?name=name"), "{asked}");
    go.wait();
    let removed = tokio::time::timeout(LONGEST, hears.recv()).await.unwrap().unwrap();
    assert!(removed.starts_with("DELETE /v1.40/containers/x?"), "{removed}");
    engine.join().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}
