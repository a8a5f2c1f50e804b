//! Programs that leave each other's processors alone.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Divides the processors of this process into so many parts, as nearly equal as they come, and
/// has every program that it starts from now on run on one of them: on that where fewest of its
/// programs run. One part, or none, puts an end to it. Returns how many parts there are, which is no
/// more than there are processors.
///
/// A program that starts processes without end may otherwise keep all processors from everybody, and
/// not only from other programs, for as long as it does so. On Linux 6.18 whoever was to run beside such
/// a one waited for up to 70 ms, threads of the kernel among them: the weight of a control group on a
/// processor changes with every process that comes or goes on another one, and with each change it seems
/// to be taken for one that has waited. A group on one processor has one weight, so a part for each
/// processor does best.
///
/// Programs see the processors that they have (`sched_getaffinity(2)`, `nproc(1)`); what they start
/// runs there, too. It keeps nobody who wants to from asking for others, and is no guarantee. It
/// concerns what is started in cells of the native backend, tools of other backends included.
///
/// # Errors
/// That the processors of this process are not told: nothing has changed then.
pub fn run_apart(parts: usize) -> io::Result<usize> {
    let own = sched_getaffinity(None)?;
    let own: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&one| own.is_set(one)).collect();
    let parts = divide(&own, parts);
    let count = parts.len().max(1);
    *current() = (count > 1).then(|| parts.into_iter().map(Part::new).collect());
    Ok(count)
}

/// The parts that are in force.
fn current() -> std::sync::MutexGuard<'static, Option<Arc<[Part]>>> {
    static CURRENT: Mutex<Option<Arc<[Part]>>> = Mutex::new(None);
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether programs run apart by now: who is to become one cannot be there before its place is known.
pub(crate) fn is_in_force() -> bool {
    current().is_some()
}

#[derive(Debug)]
struct Part {
    processors: CpuSet,
    /// Programs that run on it.
    busy: AtomicUsize,
}

impl Part {
    fn new(processors: &[usize]) -> Self {
        let mut set = CpuSet::new();
        processors.iter().for_each(|&one| set.set(one));
        Self { processors: set, busy: AtomicUsize::new(0) }
    }
}

/// Neighbours stay together: they share caches.
fn divide(all: &[usize], parts: usize) -> Vec<&[usize]> {
    let parts = parts.min(all.len());
    let at = |part: usize| part * all.len() / parts;
    (0..parts).map(|part| &all[at(part)..at(part + 1)]).collect()
}

/// A program's place on a part of the processors, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    parts: Arc<[Part]>,
    index: usize,
}

impl Seat {
    /// One for the program of this init, which does not have it yet; none where programs do not run
    /// apart, or an administrator has meanwhile taken all processors of the part from this process.
    pub(crate) fn of(init: i32) -> Option<Self> {
        let current = current();
        let parts = Arc::clone(current.as_ref()?);
        let index = (0..parts.len()).min_by_key(|&one| parts[one].busy.load(Ordering::Relaxed))?;
        sched_setaffinity(Pid::from_raw(init), &parts[index].processors).ok()?;
        parts[index].busy.fetch_add(1, Ordering::Relaxed);
        Some(Self { parts, index })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.parts[self.index].busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn parts_are_equal_and_take_all() {
        assert_eq!(divide(&[0, 1, 4, 5, 7], 2), [&[0, 1][..], &[4, 5, 7]]);
        assert_eq!(divide(&[2, 3], 8), [[2], [3]]);
        assert_eq!(divide(&[2, 3], 1), [[2, 3]]);
        assert_eq!(divide(&[2, 3], 0), [[0; 0]; 0]);
        assert_eq!(divide(&[], 3), [[0; 0]; 0]);
    }
}
