//! Signals that reach us and are meant for the program.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::thread;

use fumehood::{Handle, Result};
use rustix::process::{Resource, getrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::error::internal;
use crate::terminal;

/// Signals that the program gets as they come, but for a second interrupt.
const FORWARDED: [SignalKind; 5] = [
    SignalKind::interrupt(),
    SignalKind::hangup(),
    SignalKind::quit(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
];

/// What a process gets that writes more to a file than it may (`RLIMIT_FSIZE`).
const TOO_LARGE: SignalKind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());

fn limits_files() -> bool {
    getrlimit(Resource::Fsize).current.is_some()
}

/// Watches for signals from the moment it is made.
pub(crate) struct Signals {
    watched: Vec<(SignalKind, Signal)>,
    /// Not heard of, but neither does it end us: that output does not fit is an error of writing it.
    _too_large: Option<Signal>,
    interrupted: bool,
}

/// What to do about a signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Forward(SignalKind),
    Cancel,
    Resize,
}

/// Why there is no program: a signal came before it was started.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) SignalKind);

impl Stopped {
    /// The cause of an error, if it is this one.
    pub(crate) fn of(source: &io::Error) -> Option<&Self> {
        source.get_ref()?.downcast_ref()
    }

    pub(crate) fn signal(&self) -> i32 {
        self.0.as_raw_value()
    }
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::new(io::ErrorKind::Interrupted, stopped)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled by signal {}", self.signal())
    }
}

impl std::error::Error for Stopped {}

/// Does on a thread what may wait for others without end, and gives it up when a signal comes.
pub(crate) fn unless_stopped(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let failed = |error: io::Error| internal("deliver the report")(error);
    fumehood::blocking::block_on(async {
        let mut signals = Signals::watch(false).map_err(failed)?;
        let (done, finished) = oneshot::channel();
        thread::Builder::new().spawn(move || done.send(work())).map_err(failed)?;
        tokio::select! {
            done = finished => done.unwrap_or_else(|_| Err(failed(io::ErrorKind::Other.into()))),
            signal = signals.stop() => Err(failed(Stopped(signal).into())),
        }
    })?
}

impl Signals {
    pub(crate) fn watch(tty: bool) -> io::Result<Self> {
        let resize = tty.then(SignalKind::window_change);
        let kinds = FORWARDED.into_iter().chain([SignalKind::terminate()]).chain(resize);
        let watched = kinds.map(|kind| Ok((kind, signal(kind)?))).collect::<io::Result<_>>()?;
        let too_large = limits_files().then(|| signal(TOO_LARGE)).transpose()?;
        Ok(Self { watched, _too_large: too_large, interrupted: false })
    }

    /// Passes signals on until it is dropped.
    pub(crate) async fn pass_on(&mut self, to: &Handle) -> Infallible {
        loop {
            let kind = poll_fn(|context| self.poll(context)).await;
            self.pass(kind, to).await;
        }
    }

    /// Passes a signal on that came.
    pub(crate) async fn pass(&mut self, kind: SignalKind, to: &Handle) {
        match self.react(kind) {
            Reaction::Forward(kind) => to.signal(kind.as_raw_value()).await,
            Reaction::Cancel => to.cancel().await,
            Reaction::Resize => {
                if let Some((rows, columns)) = terminal::size() {
                    to.resize(rows, columns).await;
                }
            }
        }
    }

    /// Waits for a signal that ends what has no program yet.
    pub(crate) async fn stop(&mut self) -> SignalKind {
        loop {
            let kind = poll_fn(|context| self.poll(context)).await;
            if kind != SignalKind::window_change() {
                return kind;
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<SignalKind> {
        for (kind, signal) in &mut self.watched {
            if let Poll::Ready(Some(())) = signal.poll_recv(context) {
                return Poll::Ready(*kind);
            }
        }
        Poll::Pending
    }

    /// The first interrupt is the program's to handle; whoever sends another wants it to end.
    fn react(&mut self, kind: SignalKind) -> Reaction {
        if kind == SignalKind::window_change() {
            return Reaction::Resize;
        }
        let again =
            kind == SignalKind::interrupt() && std::mem::replace(&mut self.interrupted, true);
        if again || kind == SignalKind::terminate() {
            return Reaction::Cancel;
        }
        Reaction::Forward(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reactions(kinds: &[SignalKind]) -> Vec<Reaction> {
        let mut signals = Signals { watched: Vec::new(), _too_large: None, interrupted: false };
        kinds.iter().map(|kind| signals.react(*kind)).collect()
    }

    #[test]
    fn the_second_interrupt_cancels() {
        let interrupt = SignalKind::interrupt();
        let hangup = SignalKind::hangup();
        assert_eq!(
            reactions(&[interrupt, hangup, interrupt]),
            [Reaction::Forward(interrupt), Reaction::Forward(hangup), Reaction::Cancel]
        );
    }

    #[test]
    fn a_request_to_terminate_cancels() {
        assert_eq!(reactions(&[SignalKind::terminate()]), [Reaction::Cancel]);
    }
}
