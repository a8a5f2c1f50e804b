//! What cells of one kind have in common, made once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fumehood_child::wire::Kind;
use fumehood_child::zygote::Request;

use super::cell::{Cell, Handle, NotBuilt};
use super::launch::Launcher;
use super::script;
use crate::plan::Plan;
use crate::sabotage::leaves_something_out;
use crate::{Error, Result, zygote};

/// A cell in which the inits of other cells are cloned. Dropping it ends them, so each holds on to
/// it.
#[derive(Debug)]
pub(crate) struct Template {
    requests: OwnedFd,
    init: Handle,
}

impl Template {
    /// Makes one for plans whose cell would be that of this one; none for cells that have nothing to
    /// gain from it, or cannot be made of two parts.
    ///
    /// # Errors
    /// Those of building a cell.
    pub(crate) async fn build(launcher: &Launcher, plan: &Plan) -> Result<Option<Self>, NotBuilt> {
        let namespaces = plan.namespaces;
        let ordinary = namespaces.base && namespaces.ipc && namespaces.pid;
        // Our filter is known to leave nothing that could stay behind in a network.
        let filtered = plan.filter.as_ref().is_some_and(|filter| filter.is_shipped);
        if !ordinary || !filtered || leaves_something_out() || script::shared(plan).is_none() {
            return Ok(None);
        }
        let cell = Cell::build_template(launcher, plan).await?.park().await?;
        let internal = |error| Error::internal("make a template", error);
        let (requests, theirs) = zygote::packets().map_err(internal)?;
        // A template that is slow, or dead, keeps nobody waiting.
        rustix::io::ioctl_fionbio(&requests, true).map_err(|error| internal(error.into()))?;
        let init = cell.into_init();
        init.send(Kind::Template, &[theirs.as_fd()]).await.map_err(internal)?;
        Ok(Some(Self { requests, init }))
    }

    /// Asks for an init, whose end of the line to its supervisor goes along.
    pub(crate) fn request(&self, request: &Request<'_>, init: BorrowedFd<'_>) -> io::Result<()> {
        zygote::ask(self.requests.as_fd(), request, init, None)
    }

    /// Whether it still stands.
    pub(crate) fn is_alive(&self) -> bool {
        self.init.is_alive()
    }
}
