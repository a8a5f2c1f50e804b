//! A cell that is home to a tool which makes sandboxes itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::super::ahead::Ahead;
use super::super::launch::{Init, Launcher, Shape};
use super::super::script::{self, Home, Script, TerminalSize, Tool};
use super::super::tree;
use super::{Cell, Handle, Kind, NotBuilt, Started, failure, label, not_launched, start_error};
use crate::plan::Plan;
use crate::{Error, Result};

impl Cell {
    /// Builds a home and waits until it stands. The plan says what the tool and all that it starts
    /// may use together. An init that was asked for ahead is taken if it is like that of a home.
    pub(crate) async fn home(
        ahead: Option<Ahead>,
        launcher: &Launcher,
        plan: &Plan,
        home: &Home,
    ) -> Result<Self, NotBuilt> {
        let group = tree::group(plan)?;
        let tree::Way { born, joins } = tree::way(group.as_ref())?;
        let shape = Shape::home(home.user);
        let ahead = ahead.filter(|_| born.is_none()).and_then(|ahead| ahead.for_home(&shape));
        let pending = match ahead.unwrap_or_else(|| launcher.begin(&shape, born)) {
            Ok(pending) => pending,
            Err(refused) => return Err(not_launched(launcher, refused).await),
        };
        let mut script = script::home(home, joins.groups)?;
        let fds = std::mem::take(&mut script.fds);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let told = (Kind::Cell, script.bytes.as_slice());
        let Init { control, pid, pidfd } =
            match launcher.told(pending, &shape, born, told, &fds).await {
                Ok(init) => init,
                Err(refused) => return Err(not_launched(launcher, refused).await),
            };
        let init = Handle::new(control, pidfd, pid);
        Self::new(init, group, Arc::new(script)).park().await
    }

    /// The root of a home, as its tool sees it.
    ///
    /// # Errors
    /// If its init has not sent it, which it does before the home stands.
    pub(crate) fn shared_root(&self) -> Result<BorrowedFd<'_>> {
        let lost = || std::io::Error::other("its root is lost");
        self.root.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::internal("enter a home", lost()))
    }

    /// Starts the tool: the home is used up.
    pub(crate) async fn start_tool(
        self,
        tool: &Tool,
        stdio: Vec<OwnedFd>,
        terminal: Option<TerminalSize>,
    ) -> Result<Started, NotBuilt> {
        let script = script::tool(tool, terminal)?;
        self.start_by(script, stdio, None, tool_failed).await
    }
}

fn tool_failed(script: &Script, body: &[u8]) -> NotBuilt {
    let failure = failure(body);
    start_error(label(&script.labels, failure.index), failure.errno).into()
}
