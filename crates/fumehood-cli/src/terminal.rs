//! The caller's terminal, while a program has one of its own.

use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What the terminal was like before: here, so that a panic can put it back. A panic ends the
/// process without dropping anything.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Rows and columns of the caller's terminal, if there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let of =
        |size: rustix::termios::Winsize| (size.ws_row > 0).then_some((size.ws_row, size.ws_col));
    tcgetwinsize(std::io::stdin())
        .or_else(|_| tcgetwinsize(std::io::stdout()))
        .or_else(|_| tcgetwinsize(std::io::stderr()))
        .ok()
        .and_then(of)
}

/// The caller's terminal in raw mode: what is typed, Ctrl-C included, goes to the program's own
/// terminal, which does what has to be done about it. Put back when this is dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// `None` if standard input is no terminal, or somebody else's turn on it.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
        let guard = Self(());
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(guard)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}
