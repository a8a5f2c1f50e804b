//! Terminals: the program's own, and that of the caller.

use std::fs::{File, OpenOptions};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{
    Fumehood, Probe, Promise, Skip, TempDir, host_tool, parse, promises, python, run, run_reported,
};

promises![
    the_program_gets_a_terminal_of_its_own,
    a_terminal_needs_none_at_the_caller,
    without_asking_the_streams_are_no_terminal,
    the_size_is_that_of_the_caller_s_terminal,
    a_change_of_the_size_arrives,
    what_is_typed_is_read,
    control_c_interrupts_the_program_alone,
    the_caller_s_terminal_is_as_it_was_before,
    cannot_type_into_the_caller_s_terminal,
    a_terminal_that_is_closed_can_be_opened_again,
    a_terminal_that_was_handed_out_holds_no_run_up,
];

/// A terminal with `fumehood` in it, as a person has it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    screen: Arc<Mutex<String>>,
    /// Its modes before anybody was there to change them.
    before: Termios,
}

impl Terminal {
    /// Runs this command line in a new terminal of 45 rows and 123 columns.
    fn start(flags: &[&str], program: &[&str]) -> Result<Self, Skip> {
        let setsid = host_tool("setsid")?;
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the host has ptys");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let path = ptsname(&master, Vec::new()).expect("it has a name");
        let path = path.into_string().expect("the name is ASCII");
        tcsetwinsize(&master, size(45, 123)).expect("it is a terminal");
        let slave: OwnedFd =
            OpenOptions::new().read(true).write(true).open(path).expect("it is unlocked").into();
        let before = tcgetattr(&slave).expect("it is a terminal");
        let stdio = || Stdio::from(slave.try_clone().expect("we have descriptors left"));
        let child = Command::new(setsid)
            .args(["--ctty", "--wait"])
            .args(Fumehood::new(flags, program).argv())
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("setsid exists");
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        record(master.try_clone().expect("we have descriptors left"), Arc::clone(&screen));
        Ok(Self { master, slave, child, screen, before })
    }

    /// Waits until this text is on the screen.
    #[track_caller]
    fn shows(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.screen().contains(text) {
            assert!(Instant::now() < end, "{text:?} is not on the screen: {:?}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("the recorder does not panic").clone()
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal is open");
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.slave).expect("it is a terminal")
    }

    /// Holds the exit code to `code`.
    #[track_caller]
    fn exits(&mut self, code: i32) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                assert_eq!(status.code(), Some(code), "{:?}", self.screen());
                return;
            }
            assert!(Instant::now() < end, "it hangs: {:?}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads until the terminal is gone: what the screen shows.
fn record(mut master: File, screen: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            screen.lock().expect("no reader panics with it").push_str(&text);
        }
    });
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn the_program_gets_a_terminal_of_its_own() -> Promise {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all three";
    let mut terminal = Terminal::start(&["--tty"], &["sh", "-c", script])?;
    terminal.shows("all three");
    // The first one of a new instance: the caller's is another even if its number is the same.
    terminal.shows("/dev/pts/0");
    terminal.exits(0);
    Ok(())
}

fn a_terminal_needs_none_at_the_caller() -> Promise {
    let text = run(&["--tty"], &["sh", "-c", "tty; exit 0"]).prints();
    assert_eq!(text, "/dev/pts/0");
    Ok(())
}

fn without_asking_the_streams_are_no_terminal() -> Promise {
    let mut terminal = Terminal::start(&[], &["sh", "-c", "test -t 1 || echo none"])?;
    terminal.shows("none");
    terminal.exits(0);
    Ok(())
}

fn the_size_is_that_of_the_caller_s_terminal() -> Promise {
    let mut terminal = Terminal::start(&["--tty"], &["stty", "size"])?;
    terminal.shows("45 123");
    terminal.exits(0);
    Ok(())
}

fn a_change_of_the_size_arrives() -> Promise {
    let script = "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&["--tty"], &["sh", "-c", script])?;
    terminal.shows("ready");
    tcsetwinsize(&terminal.master, size(50, 99)).expect("it is a terminal");
    terminal.shows("50 99");
    terminal.exits(3);
    Ok(())
}

fn what_is_typed_is_read() -> Promise {
    let script = "echo ready; read line; echo \"got <$line>\"";
    let mut terminal = Terminal::start(&["--tty"], &["sh", "-c", script])?;
    terminal.shows("ready");
    terminal.types("hello\r");
    terminal.shows("got <hello>");
    terminal.exits(0);
    Ok(())
}

fn control_c_interrupts_the_program_alone() -> Promise {
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&["--tty"], &["sh", "-c", script])?;
    terminal.shows("ready");
    terminal.types("\x03");
    terminal.shows("interrupted");
    terminal.exits(5);
    Ok(())
}

fn the_caller_s_terminal_is_as_it_was_before() -> Promise {
    let script = "echo ready; read line; stty raw -echo; kill -9 $$";
    let mut terminal = Terminal::start(&["--tty"], &["sh", "-c", script])?;
    terminal.shows("ready");
    terminal.types("\r");
    terminal.exits(137);
    let (before, after) = (terminal.before.clone(), terminal.modes());
    assert_eq!(before.local_modes, after.local_modes);
    assert_eq!(before.input_modes, after.input_modes);
    assert_eq!(before.output_modes, after.output_modes);
    Ok(())
}

fn cannot_type_into_the_caller_s_terminal() -> Promise {
    let probe = Probe::get()?.confined(&[], &["terminal"]).argv();
    let words: Vec<_> = probe.iter().filter_map(|word| word.to_str()).collect();
    let flags = words.iter().skip(2).take_while(|word| **word != "--").copied();
    let mut terminal = Terminal::start(&flags.collect::<Vec<_>>(), &["/probe/probe", "terminal"])?;
    // The last line, and all of it.
    terminal.shows("tioclinux-high errno 1\r\n");
    terminal.exits(0);
    for (name, verdict) in parse(&terminal.screen().replace('\r', "")) {
        assert_eq!(verdict, crate::support::Verdict::Errno(1), "{name}");
    }
    Ok(())
}

fn a_terminal_that_is_closed_can_be_opened_again() -> Promise {
    let script = "echo before; exec 0<&- 1>&- 2>&-; sleep 0.3; echo after > /dev/tty";
    let text = run(&["--tty"], &["sh", "-c", script]).exits(0).text();
    assert_eq!(text, "before\r\nafter");
    Ok(())
}

/// Hands its standard output to whoever listens, and goes on when that one has it.
pub(crate) const HANDS_OUT: &str = "\
import array, socket
listener = socket.socket(socket.AF_UNIX)
listener.connect('/outside/socket')
rights = array.array('i', [1])
listener.sendmsg([b'output'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
listener.recv(1)
print('last')
";

fn a_terminal_that_was_handed_out_holds_no_run_up() -> Promise {
    let python = python()?;
    let outside = TempDir::open_to_all();
    let path = outside.join("socket");
    let listener = UnixListener::bind(&path).expect("the path is new");
    open_to_all(&path);
    let taken = thread::spawn(move || take_descriptor(&listener));
    let volume = outside.volume("/outside", "ro");
    let flags = ["--tty", "--timeout", "10s", "--volume", &volume];
    let ran = run_reported(&flags, &[&python, "-c", HANDS_OUT]);
    let (_connection, _terminal) = taken.join().expect("somebody came");
    assert_eq!(ran.report()["stdout"]["truncated"], false, "its end was waited for in vain");
    assert_eq!(ran.exits(0).text(), "last");
    Ok(())
}

pub(crate) fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, mode).expect("it is ours");
}

/// Takes a descriptor from the first who comes, and says so.
pub(crate) fn take_descriptor(listener: &UnixListener) -> (UnixStream, OwnedFd) {
    let (mut connection, _) = listener.accept().expect("it listens");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 8];
    let mut into = [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(&connection, &mut into, &mut control, flags).expect("it writes");
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    connection.write_all(b"!").expect("it waits");
    (connection, rights.expect("a descriptor came along"))
}
