//! Which processors a process may run on (`sched_setaffinity(2)`).

use linux_raw_sys::general as nr;

use super::{Errno, Result, call};

/// Enough for the 8192 processors that a kernel can be built for.
const WORDS: usize = 128;

/// A set of processors.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    words: [u64; WORDS],
    /// Bytes of it that the kernel has.
    len: usize,
}

impl Processors {
    /// Those that this thread may run on.
    ///
    /// # Errors
    /// `EINVAL` where the kernel has more than there is room for.
    pub fn of_this_thread() -> Result<Self> {
        let mut words = [0; WORDS];
        let to = words.as_mut_ptr() as usize;
        // SAFETY: the kernel writes at most as many bytes as it is told there are, to an array of
        // that size that outlives the call.
        let len =
            unsafe { call(nr::__NR_sched_getaffinity, [0, size_of_val(&words), to, 0, 0, 0]) }?;
        Ok(Self { words, len })
    }

    /// The one that this thread runs on now.
    ///
    /// # Errors
    /// `EINVAL` as above.
    pub fn here() -> Result<Self> {
        let here = number_here()?;
        let mut words = [0; WORDS];
        *words.get_mut(here / 64).ok_or(Errno::INVAL)? = 1 << (here % 64);
        Ok(Self { words, len: size_of_val(&words) })
    }

    /// All of them but the one that this thread runs on now; none if that is the only one.
    #[must_use]
    pub fn others(mut self) -> Option<Self> {
        let here = number_here().ok()?;
        let word = self.words.get_mut(here / 64)?;
        *word &= !(1 << (here % 64));
        self.words.iter().any(|word| *word != 0).then_some(self)
    }

    /// Has a thread run on these only; 0 is this thread.
    ///
    /// # Errors
    /// `ESRCH`, `EPERM` for somebody else's, `EINVAL` if it may run on none of them.
    pub fn confine(&self, thread: i32) -> Result<()> {
        let from = self.words.as_ptr();
        plain!(__NR_sched_setaffinity, thread, self.len, from).map(drop)
    }
}

fn number_here() -> Result<usize> {
    let mut here = 0u32;
    let to = &raw mut here as usize;
    // SAFETY: the kernel writes one number to where there is one.
    unsafe { call(nr::__NR_getcpu, [to, 0, 0, 0, 0, 0]) }?;
    Ok(here as usize)
}
