//! Looking a program up, and executing it.

use super::sys;

const NOENT: i32 = 2;
const ACCES: i32 = 13;
/// Nothing there, no directory, a file system that is gone or does not answer: there may be another copy
/// elsewhere.
const PASSING: [i32; 5] = [NOENT, 19, 20, 110, 116];

/// What is looked in where no `PATH` says it: what `execvp(3)` takes.
const USUAL: &[u8] = b"/bin:/usr/bin";

/// Longest path that the kernel takes, with its end.
const LONGEST: usize = 4096;

/// Why a program was not executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// What `execve(2)` said.
    pub(super) errno: i32,
    /// Whether the program is there, and the interpreter that it names is not.
    pub(super) interpreter: bool,
}

impl Failure {
    const fn of(errno: i32) -> Self {
        Self { errno, interpreter: false }
    }
}

/// Executes `args[0]`, which is looked for in the `PATH` of `env` unless it has a slash (`execvp(3)`).
/// Returns only on failure.
#[expect(
    clippy::manual_contains,
    reason = "it is no function of the core library's that is linked"
)]
pub(super) fn execute(args: &[usize], env: &[usize]) -> Failure {
    let program = args.first().map_or(c"", |&address| sys::string(address)).to_bytes_with_nul();
    let name = program.strip_suffix(b"\0").unwrap_or(program);
    if name.is_empty() {
        return Failure::of(NOENT);
    }
    if name.iter().any(|&byte| byte == b'/') {
        return attempt(program, args, env);
    }
    let path = value(env, b"PATH=").unwrap_or(USUAL);
    let (mut forbidden, mut worst) = (false, Failure::of(NOENT));
    for dir in path.split(|&byte| byte == b':') {
        let mut buffer = [0; LONGEST];
        let Some(candidate) = join(&mut buffer, dir, name) else { continue };
        let failure = attempt(candidate, args, env);
        forbidden |= failure.errno == ACCES;
        worst.interpreter |= failure.interpreter;
        if failure.errno != ACCES && !PASSING.contains(&failure.errno) {
            return failure;
        }
    }
    if forbidden { Failure::of(ACCES) } else { worst }
}

/// `program` ends in 0.
fn attempt(program: &[u8], args: &[usize], env: &[usize]) -> Failure {
    let errno = sys::execve(program, args, env);
    Failure { errno, interpreter: errno == NOENT && sys::is_there(program) }
}

/// What a variable says; `name` ends in `=`.
fn value(env: &[usize], name: &[u8]) -> Option<&'static [u8]> {
    env.iter().find_map(|&address| sys::string(address).to_bytes().strip_prefix(name))
}

/// A name in a directory, with the 0 behind it; an empty one is the current directory. None for a path that is too long.
fn join<'a>(buffer: &'a mut [u8; LONGEST], dir: &[u8], name: &[u8]) -> Option<&'a [u8]> {
    let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    let (mut len, mut places) = (0, buffer.iter_mut());
    for byte in dir.iter().chain(slash).chain(name).chain(b"\0") {
        *places.next()? = *byte;
        len += 1;
    }
    buffer.get(..len)
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString};
    use std::format;
    use std::vec;

    use super::*;

    const NAMETOOLONG: i32 = 36;

    #[test]
    fn a_name_is_joined_to_a_directory_if_it_fits() {
        let mut buffer = [0; LONGEST];
        assert_eq!(join(&mut buffer, b"/bin", b"sh"), Some(&b"/bin/sh\0"[..]));
        assert_eq!(join(&mut buffer, b"", b"sh"), Some(&b"sh\0"[..]));
        assert_eq!(join(&mut buffer, &[b'a'; LONGEST], b"sh"), None);
        assert_eq!(join(&mut buffer, &[b'a'; LONGEST - 4], b"sh").unwrap().len(), LONGEST);
        assert_eq!(join(&mut buffer, &[b'a'; LONGEST - 3], b"sh"), None);
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let tried = |program: &CStr, path: &CStr| {
            let args = [program.as_ptr() as usize, 0];
            execute(&args, &[path.as_ptr() as usize, 0])
        };
        let failed = |errno, interpreter| Failure { errno, interpreter };
        assert_eq!(tried(c"/no/such", c"X="), failed(NOENT, false));
        assert_eq!(tried(c"no-such", c"PATH=/bin:/usr/bin"), failed(NOENT, false));
        assert_eq!(tried(c"/etc", c"X="), failed(ACCES, false));
        assert_eq!(tried(c"proc", c"PATH=/usr:/:/bin"), failed(ACCES, false));
        assert_eq!(tried(c"proc", c"PATH=/usr:/bin"), failed(NOENT, false));
        assert_eq!(tried(c"", c"PATH=/bin"), failed(NOENT, false));
        let name = CString::new(vec![b'a'; 256]).unwrap();
        assert_eq!(tried(&name, c"PATH=/bin"), failed(NAMETOOLONG, false));
    }

    #[test]
    fn a_missing_interpreter_is_not_a_missing_program() {
        use std::os::unix::fs::OpenOptionsExt;
        let path = std::env::temp_dir().join(format!("fumehood-script-{}", std::process::id()));
        let file = std::fs::File::options().mode(0o755).create_new(true).write(true).open(&path);
        std::io::Write::write_all(&mut file.unwrap(), b"#!/no/such/interpreter\n").unwrap();
        let program = CString::new(path.to_str().unwrap()).unwrap();
        let failure = execute(&[program.as_ptr() as usize, 0], &[0]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(failure, Failure { errno: NOENT, interpreter: true });
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let env = [c"XPATH=a", c"PATH=b", c"PATH=c"].map(|one| one.as_ptr() as usize);
        assert_eq!(value(&env, b"PATH="), Some(&b"b"[..]));
        assert_eq!(value(&env, b"HOME="), None);
    }
}
