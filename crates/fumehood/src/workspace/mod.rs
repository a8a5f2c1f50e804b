//! Files that go into sandboxes and come out of projects, by rules that cannot be led astray.

pub(crate) mod beneath;
pub(crate) mod changes;
pub(crate) mod collect;
#[cfg(feature = "export")]
pub mod export;
pub(crate) mod glob;
pub(crate) mod intake;

/// Waits until a file that is changed now has another time than one that was changed before. The kernel
/// stamps files by a clock that goes on with its ticks, which may come late, or by a finer one.
#[cfg(test)]
fn let_the_clock_tick() {
    use rustix::time::{ClockId, clock_gettime};
    let before = clock_gettime(ClockId::Realtime);
    while clock_gettime(ClockId::RealtimeCoarse) <= before {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
