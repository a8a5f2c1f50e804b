//! Terminals of the caller's.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as line;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

/// A terminal, which is written to by a thread of its own.
///
/// That it has room says only that a byte would not block. The rest may, for as long as nobody reads it, or
/// somebody has stopped it (`^S`, termios(3)), and on the one thread of a command line it would stop the
/// clocks as well.
#[derive(Debug)]
pub(crate) enum Terminal {
    Untouched(OwnedFd),
    Written(Writer),
    /// There is no thread for it.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Writer {
    chunks: line::Sender<Vec<u8>>,
    written: mpsc::Receiver<io::Result<()>>,
}

impl Terminal {
    /// Writes everything. A terminal that takes nothing any more keeps the thread when this is given up, until
    /// it goes on or the process ends.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let gone = || io::Error::other("nobody writes to the terminal");
        let writer = self.writer()?.ok_or_else(gone)?;
        writer.chunks.send(bytes.to_vec()).map_err(|_| gone())?;
        writer.written.recv().await.unwrap_or_else(|| Err(gone()))
    }

    fn writer(&mut self) -> io::Result<Option<&mut Writer>> {
        if matches!(self, Self::Untouched(_))
            && let Self::Untouched(fd) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Written(Writer::start(fd.into())?);
        }
        Ok(match self {
            Self::Written(writer) => Some(writer),
            _ => None,
        })
    }
}

impl Writer {
    fn start(to: File) -> io::Result<Self> {
        const STACK: usize = 64 << 10;
        let (chunks, taken) = line::channel::<Vec<u8>>();
        let (tell, written) = mpsc::channel(1);
        let named = std::thread::Builder::new().name("fumehood-output".to_owned());
        named.stack_size(STACK).spawn(move || {
            while let Ok(chunk) = taken.recv() {
                if tell.blocking_send(write_all(&to, &chunk)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { chunks, written })
    }
}

/// Others may have switched it to non-blocking mode.
fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or(&[]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(&to.as_fd(), PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};

    use super::*;

    /// Both ends of a terminal that turns no bytes into others.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let end = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        let mut plain = rustix::termios::tcgetattr(&end).unwrap();
        plain.make_raw();
        rustix::termios::tcsetattr(&end, rustix::termios::OptionalActions::Now, &plain).unwrap();
        (controller, end)
    }

    #[tokio::test]
    async fn a_terminal_that_nobody_reads_stops_no_clock() {
        let (controller, end) = terminal();
        let mut terminal = Terminal::Untouched(end);
        let much = vec![b'x'; 1 << 20];
        tokio::select! {
            biased;
            done = terminal.write(&much) => panic!("who took it? {done:?}"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        // The thread that writes goes on to fail.
        drop(controller);
    }

    #[tokio::test]
    async fn what_is_written_comes_in_order_and_whole() {
        let (controller, end) = terminal();
        let mut terminal = Terminal::Untouched(end);
        let reader = tokio::task::spawn_blocking(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 4096]);
            while all.len() < 100_000 {
                let len = rustix::io::read(&controller, &mut piece).unwrap();
                all.extend_from_slice(&piece[..len]);
            }
            all
        });
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
        for piece in bytes.chunks(30_000) {
            terminal.write(piece).await.unwrap();
        }
        assert!(reader.await.unwrap() == bytes);
    }
}
