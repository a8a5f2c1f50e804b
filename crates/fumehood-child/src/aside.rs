//! A network namespace that is made on another processor while the init makes its root.
//!
//! The kernel takes longer for a network than for any other namespace, and its maker has nothing to do
//! with it meanwhile. So a helper makes it, which shares the init's memory and descriptors, and the init
//! enters it when all the rest is done. The helper is a process of the cell: it ends with the init,
//! whatever becomes of that, and it has ended and was waited for before there is a program. Nor does the
//! program see that there was somebody: the helper's number is one that is not the next.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU32};

use linux_raw_sys::general as nr;

use crate::sys::{self, Errno, Fd, Processors};

const STACK_LEN: usize = 16 * 1024;

/// The helper's process id: one that every process namespace has, and that nobody else has yet.
const NUMBER: i32 = 300;

/// Stages of the work, none of which is left for an earlier one.
const PLANNED: u32 = 0;
const OFFERED: u32 = 1;
const TAKEN: u32 = 2;
const WITHDRAWN: u32 = 3;
const DONE: u32 = 4;

/// A network that somebody else may be making.
#[derive(Debug)]
pub(crate) struct Aside {
    stage: AtomicU32,
    /// A descriptor of the namespace; below zero there is none.
    made: AtomicI32,
}

/// Why there is no network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoNetwork {
    /// There is no namespace.
    Namespace(Errno),
    /// There is one, without a loopback.
    Loopback(Errno),
}

type Made<T> = Result<T, NoNetwork>;

impl Aside {
    /// Has a helper who will make a network on another of these processors than this one. None where there
    /// is no other, or no helper can be had: whoever asks makes it himself.
    pub(crate) fn begin(home: &Processors) -> Option<&'static Self> {
        let others = home.others()?;
        let aside = Self { stage: AtomicU32::new(PLANNED), made: AtomicI32::new(-1) };
        let aside = sys::keep(aside).ok()?;
        let stack = sys::map(STACK_LEN).ok()?;
        sys::share_as(NUMBER, stack, enter, aside).ok()?;
        // Where that is refused it is made here, when there is nothing else to do.
        let _ = others.confine(NUMBER);
        Some(aside)
    }

    /// Has the helper begin, if it did not: not before the supervisor, whose processor it takes, has said
    /// what there is to do meanwhile.
    pub(crate) fn offer(&self) {
        if self.proceeds(PLANNED, OFFERED) {
            sys::wake(&self.stage);
        }
    }

    /// Enters it. The helper is no more when this returns without an error.
    ///
    /// For want of a processor the helper may not have begun, and a filter may deny what only a helper
    /// needs: then it is made here, as it would be without one.
    pub(crate) fn join(&self) -> Made<()> {
        self.offer();
        if self.proceeds(OFFERED, WITHDRAWN) {
            // To end is all that is left to the helper, for which it gets this processor.
            let _ = Processors::here().and_then(|here| here.confine(NUMBER));
        }
        while self.stage.load(Acquire) == TAKEN {
            sys::wait_while(&self.stage, TAKEN);
        }
        if !self.is_entered() {
            make()?;
        }
        sys::wait_for(NUMBER).map_err(NoNetwork::Namespace)
    }

    fn is_entered(&self) -> bool {
        let made = Fd(self.made.load(Relaxed));
        if made.0 < 0 {
            return false;
        }
        let entered = sys::enter(made, nr::CLONE_NEWNET);
        sys::close(made);
        entered.is_ok()
    }

    fn proceeds(&self, from: u32, to: u32) -> bool {
        self.stage.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    /// In the helper.
    fn help(&self) {
        while self.stage.load(Acquire) == PLANNED {
            sys::wait_while(&self.stage, PLANNED);
        }
        if self.proceeds(OFFERED, TAKEN) {
            let network = make().ok().and_then(|()| sys::network_here().ok());
            self.made.store(network.map_or(-1, |network| network.0), Relaxed);
            self.stage.store(DONE, Release);
            sys::wake(&self.stage);
        }
    }
}

/// Makes a network for this process.
fn make() -> Made<()> {
    sys::unshare(u64::from(nr::CLONE_NEWNET)).map_err(NoNetwork::Namespace)?;
    sys::loopback_up().map_err(NoNetwork::Loopback)
}

extern "C" fn enter(aside: &Aside) -> ! {
    aside.help();
    sys::exit(0)
}
