//! Code of the calling program itself, run confined: the program is executed once more, in a sandbox,
//! and goes to an entry that it registered.

use std::path::PathBuf;

use crate::{Error, Job, Mount, Result, zygote};

/// The variable that names the entry. It is set in the sandbox only.
const VARIABLE: &str = "FUMEHOOD_ENTRY";

/// Where the program is shown to itself.
const PROGRAM: &str = "/fumehood/program";

/// The exit status of a program that was sent to an entry and is not confined, or has no such entry.
const REFUSED: i32 = 125;

/// Code of the program itself; what it returns becomes the exit status.
pub type EntryPoint = fn() -> i32;

/// Like [`init`](crate::init), which need not be called besides, for programs that run code of their
/// own confined. Where the program was executed by a job of [`Job::entry`], this calls the entry of that
/// name and ends the process with the status that it returns.
///
/// An entry is called only in a sandbox: in a user namespace of its own, and without a way to new
/// privileges. Sent there otherwise, the process says so and ends with status 125.
///
/// ```no_run
/// fn probe() -> i32 {
///     i32::from(std::fs::read_to_string("/etc/shadow").is_ok())
/// }
///
/// fn main() -> fumehood::Result<()> {
///     fumehood::init_with(&[("probe", probe)]);
///     let report = fumehood::blocking::run(&fumehood::Job::entry("probe")?)?;
///     println!("{:?}", report.outcome);
///     Ok(())
/// }
/// ```
#[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
#[expect(clippy::exit, reason = "an entry is a program of its own")]
pub fn init_with(entries: &[(&str, EntryPoint)]) {
    let Some(asked) = std::env::var_os(VARIABLE) else { return zygote::init() };
    let status = match judge(&read("/proc/self/uid_map"), &read("/proc/self/status")) {
        Err(problem) => {
            eprintln!("{VARIABLE}: {problem}");
            REFUSED
        }
        Ok(()) => match entries.iter().find(|(name, _)| asked == *name) {
            Some((_, entry)) => entry(),
            None => {
                eprintln!("{VARIABLE}: there is no entry {asked:?}");
                REFUSED
            }
        },
    };
    std::process::exit(status)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Whether this process is confined, by its id map and its status (`proc(5)`).
fn judge(id_map: &str, status: &str) -> Result<(), &'static str> {
    if is_initial(id_map) {
        return Err("this process is in no user namespace of its own, so nothing confines it");
    }
    let has = |line: &str| status.lines().any(|other| other == line);
    if !has("NoNewPrivs:\t1") || !has("CapEff:\t0000000000000000") {
        return Err("this process could gain privileges, so nothing confines it");
    }
    Ok(())
}

/// Whether an id map is that of the initial user namespace: every id is itself. One that cannot be
/// read is nobody's.
fn is_initial(id_map: &str) -> bool {
    let mut lines = id_map.lines();
    let (Some(first), None) = (lines.next(), lines.next()) else { return id_map.trim().is_empty() };
    first.split_whitespace().eq(["0", "0", "4294967295"])
}

impl Job {
    /// A job that executes this very program, which goes to an entry that it registered with
    /// [`init_with`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the program's own file is not to be found.
    pub fn entry(name: &str) -> Result<Self> {
        let program: PathBuf = std::env::current_exe()
            .map_err(|error| Error::internal("find the program's own file", error))?;
        let mount = Mount::new(program, PROGRAM);
        Ok(Self::new([PROGRAM]).with_mount(mount).env(VARIABLE, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g7_id_maps_tell_the_initial_namespace() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
        assert!(!is_initial("0 0 1000\n1000 1000 1\n"));
        assert!(is_initial(""), "what cannot be read protects nobody");
    }

    #[test]
    fn g8_no_entry_is_called_outside_of_a_sandbox() {
        let confined = "NoNewPrivs:\t1\nCapEff:\t0000000000000000\n";
        assert_eq!(judge("1000 65534 1\n", confined), Ok(()));
        assert!(judge("0 0 4294967295\n", confined).is_err());
        assert!(judge("1000 65534 1\n", "NoNewPrivs:\t0\nCapEff:\t0000000000000000\n").is_err());
        assert!(judge("0 1000 1\n", "NoNewPrivs:\t1\nCapEff:\t000001ffffffffff\n").is_err());
    }
}
