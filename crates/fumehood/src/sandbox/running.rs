//! A program that runs, as its caller has it.

use tokio::sync::mpsc;

use crate::backend::native::script::TerminalSize;
use crate::pool::InProgress;
use crate::supervise::{self, Order, Spent};
use crate::{Changes, Error, Report, Result};

/// How many orders a caller can give before the supervisor has taken one.
const ORDERS: usize = 16;

/// A program that runs. Dropping it kills the program and everything it started.
#[derive(Debug)]
pub struct Running {
    // In a place of its own: it is moved a dozen times before it is waited for.
    state: Option<Box<State>>,
    changes: Option<Changes>,
    handle: Handle,
}

/// What is needed to wait for it.
#[derive(Debug)]
struct State {
    inner: supervise::Running,
    orders: mpsc::Receiver<Order>,
    progress: Option<InProgress>,
}

impl Running {
    pub(crate) fn new(inner: supervise::Running) -> Self {
        let (orders, received) = mpsc::channel(ORDERS);
        let handle = Handle { orders, pid: inner.pid() };
        let state = State { inner, orders: received, progress: None };
        Self { state: Some(Box::new(state)), changes: None, handle }
    }

    /// Has the cell go back to a pool.
    pub(crate) fn in_pool(
        mut self,
        spent: Option<mpsc::UnboundedSender<Spent>>,
        progress: InProgress,
    ) -> Self {
        if let Some(state) = &mut self.state {
            state.progress = Some(progress);
            if let Some(spent) = spent {
                state.inner.hand_over(spent);
            }
        }
        self
    }

    /// Watches the program until it has ended. It makes progress, and its limits are enforced, only
    /// while this future is polled. Dropping the future kills the program, as dropping all of this does: who
    /// waits beside something else keeps it pinned, or has a task wait.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the supervision itself failed, or was waited for twice.
    pub async fn wait(&mut self) -> Result<Report> {
        let again = || Error::internal("wait", std::io::Error::other("was waited for already"));
        let State { inner, orders, progress: _in_progress } =
            *self.state.take().ok_or_else(again)?;
        let (report, changes) = inner.wait(orders).await?;
        self.changes = changes;
        Ok(report)
    }

    /// What the program changed in copy-on-write mounts, once it was waited for; none if it had no
    /// such mount. Whoever does not take it lets it go.
    pub fn take_changes(&mut self) -> Option<Changes> {
        self.changes.take()
    }

    /// A handle to steer the program while it is waited for.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Steers a running program. Once the program has ended its methods do nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    pid: i32,
}

impl Handle {
    /// Process id on the host of the init of the program's cell, the ancestor of everything in it.
    #[must_use]
    pub const fn init_pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to the program's process group.
    pub async fn signal(&self, signal: i32) {
        let _ = self.orders.send(Order::Signal(signal)).await;
    }

    /// Stops the program: `SIGTERM` to every process, then, after the job's grace, `SIGKILL`.
    pub async fn cancel(&self) {
        let _ = self.orders.send(Order::Cancel).await;
    }

    /// Kills the program and everything it started.
    pub async fn kill(&self) {
        let _ = self.orders.send(Order::Kill).await;
    }

    /// Tells the program's terminal its new size.
    pub async fn resize(&self, rows: u16, columns: u16) {
        let _ = self.orders.send(Order::Resize(TerminalSize { rows, columns })).await;
    }

    /// A place in the line of orders, for one that must not be lost; none if the program has ended.
    pub(crate) fn reserve(&self) -> Option<mpsc::OwnedPermit<Order>> {
        self.orders.clone().try_reserve_owned().ok()
    }
}
