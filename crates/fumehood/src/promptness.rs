//! A place before programs that take whatever processor time they get.

use std::io;

use fumehood_child::sys;

/// The shortest slice that the kernel takes is this many nanoseconds (`sched_setattr(2)`).
const SHORTEST: u64 = 100_000;

/// Has the kernel run this thread soon after it has something to do, even if programs keep all
/// processors busy. It holds for every thread and process that this one starts from now on, and so
/// for the inits of cells if it comes before the first [`Sandbox`](crate::Sandbox); programs get the
/// ordinary again.
///
/// The thread gets its time in the smallest pieces there are, each of them sooner, and altogether no
/// more of it than before. It takes no privilege. Says whether the kernel does so: it does from
/// Linux 6.12 on, for threads of an ordinary policy.
///
/// # Errors
/// What kept it from being asked for: nothing has changed then.
pub fn be_prompt() -> io::Result<bool> {
    let nice = rustix::process::getpriority_process(None)?;
    let from = |errno: sys::Errno| io::Error::from_raw_os_error(errno.0);
    sys::set_schedule(nice, SHORTEST).map_err(from)?;
    Ok(sys::slice().map_err(from)? == SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slice of a thread in nanoseconds, where the kernel tells (`CONFIG_SCHED_DEBUG`).
    fn slice() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("se.slice"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn a_thread_and_what_it_starts_are_prompt_and_nobody_else() {
        let before = slice();
        let (is_prompt, own, started) = std::thread::spawn(|| {
            let is_prompt = be_prompt().unwrap();
            (is_prompt, slice(), std::thread::spawn(slice).join().unwrap())
        })
        .join()
        .unwrap();
        match before {
            None => assert!(!is_prompt || own.is_none(), "the kernel does not tell"),
            Some(before) => {
                let wanted = if is_prompt { SHORTEST } else { before };
                assert_eq!((own, started), (Some(wanted), Some(wanted)));
                assert!(!is_prompt || before > SHORTEST, "{before}");
            }
        }
        assert_eq!(slice(), before);
    }
}
