//! Small C programs that do what no shell can do.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::{Fumehood, Ran, Skip, TempDir, host_tool, skip};

const SOURCES: [(&str, &str); 4] = [
    ("probe", include_str!("../probe.c")),
    ("bombs", include_str!("../bombs.c")),
    ("denied", include_str!("../denied.c")),
    ("neighbour", include_str!("../neighbour.c")),
];

/// A directory that has them compiled, for machines without a compiler.
const COMPILED: &str = "FUMEHOOD_PROBES";

/// The compiled programs, shown inside at `/probe`: one that makes system calls, one that uses up
/// what is limited, one that makes calls that a filter kills for, and one that reaches for others.
#[derive(Debug)]
pub(crate) struct Probe {
    dir: TempDir,
}

impl Probe {
    /// Compiles it once for all tests.
    pub(crate) fn get() -> Result<&'static Self, Skip> {
        static PROBE: OnceLock<Result<Probe, String>> = OnceLock::new();
        match PROBE.get_or_init(|| Self::compile().map_err(|Skip(reason)| reason)) {
            Ok(probe) => Ok(probe),
            Err(reason) => skip(reason.clone()),
        }
    }

    fn compile() -> Result<Self, Skip> {
        let dir = TempDir::new();
        for (name, source) in SOURCES {
            match std::env::var_os(COMPILED) {
                Some(compiled) => copy(&Path::new(&compiled).join(name), &dir.join(name)),
                None => compile(&dir.file(&format!("{name}.c"), source), &dir.join(name))?,
            }
        }
        Ok(Self { dir })
    }

    /// A confined run of the one that uses things up.
    pub(crate) fn bomb(&self, flags: &[&str], args: &[&str]) -> Fumehood {
        self.program("/probe/bombs", flags, args)
    }

    /// A confined run of the one that makes calls that a filter kills for.
    pub(crate) fn denied(&self, flags: &[&str], args: &[&str]) -> Fumehood {
        self.program("/probe/denied", flags, args)
    }

    /// A confined run of the one that reaches for other cells.
    pub(crate) fn neighbour(&self, args: &[&str]) -> Fumehood {
        self.program("/probe/neighbour", &[], args)
    }

    fn program(&self, path: &str, flags: &[&str], args: &[&str]) -> Fumehood {
        let volume = self.dir.volume("/probe", "ro");
        let flags = [&["--volume", &volume], flags].concat();
        Fumehood::new(&flags, &[&[path], args].concat())
    }

    /// A confined run of the one that makes system calls, with flags for the sandbox.
    pub(crate) fn confined(&self, flags: &[&str], args: &[&str]) -> Fumehood {
        self.program("/probe/probe", flags, args)
    }

    /// Runs it confined.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.confined(&[], args).run()
    }

    /// The directory of the programs on the host.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of it on the host.
    pub(crate) fn path(&self) -> String {
        self.dir.join("probe").display().to_string()
    }

    /// Runs it on the host, to know what the kernel says by itself.
    pub(crate) fn unconfined(&self, args: &[&str]) -> String {
        let output = Command::new(self.path()).args(args).output().expect("we built it");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What each call of a family came to when confined.
    #[track_caller]
    pub(crate) fn verdicts(&self, args: &[&str]) -> BTreeMap<String, Verdict> {
        let verdicts = parse(&self.run(args).prints());
        assert!(!verdicts.is_empty(), "the probe printed nothing for {args:?}");
        verdicts
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// Static, so that a failure is never one of the dynamic loader.
fn compile(source: &Path, program: &Path) -> Result<(), Skip> {
    let mut command = Command::new(host_tool("cc")?);
    command.args(["-O1", "-static", "-pthread", "-o"]).arg(program).arg(source);
    let output = command.output().expect("cc exists");
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return skip(format!("cc cannot build {}: {text}", source.display()));
    }
    Ok(())
}

/// What a system call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It succeeded.
    Done,
    /// It failed with this `errno`.
    Errno(i32),
    /// The caller was killed by this signal.
    Killed(i32),
}

/// Reads lines such as `mount errno 1`, `getpid done` and `int80 signal 11`.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Verdict> {
    text.lines().map(|line| parse_line(line).unwrap_or_else(|| panic!("probe: {line}"))).collect()
}

fn parse_line(line: &str) -> Option<(String, Verdict)> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let verdict = match (words.next()?, words.next()) {
        ("done", None) => Verdict::Done,
        ("errno", Some(number)) => Verdict::Errno(number.parse().ok()?),
        ("signal", Some(number)) => Verdict::Killed(number.parse().ok()?),
        _ => return None,
    };
    Some((name, verdict))
}
