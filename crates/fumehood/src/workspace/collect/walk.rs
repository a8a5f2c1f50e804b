//! The walk through a cell's files.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatfs, openat2, statat,
};
use rustix::io::Errno;

use super::Rights;
use super::deliver::Deliver;
use crate::report::SkippedFor;
use crate::sabotage::leaves_out;
use crate::workspace::beneath::names;
use crate::workspace::glob::{Glob, Part, Token};

/// How deep the walk goes. A program can make directories as deep as it likes.
const DEEPEST: usize = 128;

/// How many names are looked at in all: a program can make more than there are artifacts.
const MOST: usize = 200_000;

/// How many steps are taken in all to compare names with globs: seconds of a processor, which no clock
/// of the job counts.
const MOST_STEPS: u64 = 1 << 32;

/// File systems that show the kernel rather than files (`statfs(2)`): proc, sysfs, devpts, cgroup,
/// cgroup2, debugfs, tracefs, securityfs, bpf, mqueue.
const KERNEL: [u64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x27_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x1980_0202,
];

/// Looks through a cell with the rights that are assumed, and hands over what the globs ask for.
///
/// # Errors
/// The rights could not be assumed again after a file was handed over: nothing more was read.
pub(super) fn walk(
    root: &OwnedFd,
    globs: Vec<Option<Glob>>,
    deliver: &mut Deliver<'_>,
    rights: Rights,
    is_awaited: &dyn Fn() -> bool,
) -> io::Result<()> {
    let (seen, steps, lost) = (0, 0, None);
    let mut walk = Walk { globs, deliver, rights, is_awaited, seen, steps, lost };
    let start: Vec<State> = (0..walk.globs.len()).map(|glob| State { glob, part: 0 }).collect();
    let mut path = Vec::new();
    match open(root.as_fd(), c".", OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(top) => walk.dir(&top, &mut path, &start, false, 0),
        Err(errno) => walk.deliver.skip(b"", SkippedFor::Unreadable, errno.to_string()),
    }
    walk.lost.map_or(Ok(()), Err)
}

/// How far a path has got in a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    glob: usize,
    part: usize,
}

struct Walk<'a, 'b> {
    globs: Vec<Option<Glob>>,
    deliver: &'a mut Deliver<'b>,
    rights: Rights,
    is_awaited: &'a dyn Fn() -> bool,
    seen: usize,
    /// Steps that were taken to compare names with globs.
    steps: u64,
    /// Why the rights to read are lost.
    lost: Option<io::Error>,
}

/// What the globs say about a name.
#[derive(Debug, Default)]
struct Verdict {
    /// Globs that end here.
    ends: Vec<usize>,
    /// Globs that go on below.
    below: Vec<State>,
    /// Whether one of these has no wildcard for this name.
    named: bool,
}

impl Walk<'_, '_> {
    fn parts(&self, glob: usize) -> &[Part] {
        self.globs.get(glob).and_then(Option::as_ref).map_or(&[], Glob::parts)
    }

    /// Where globs with `**` may be as well, because that takes no name at all.
    fn closure(&self, states: &[State]) -> Vec<State> {
        let mut all = Vec::with_capacity(states.len());
        for &state in states {
            let mut state = state;
            loop {
                all.push(state);
                if self.parts(state.glob).get(state.part) != Some(&Part::Depth) {
                    break;
                }
                state.part += 1;
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Looks through a directory; `all` if everything below was asked for.
    fn dir(
        &mut self,
        dir: &OwnedFd,
        path: &mut Vec<u8>,
        states: &[State],
        all: bool,
        depth: usize,
    ) {
        if fstatfs(dir).is_ok_and(|stat| KERNEL.contains(&stat.f_type.cast_unsigned())) {
            return self.deliver.skip(path, SkippedFor::KernelFiles, "shows the kernel, not files");
        }
        let states = self.closure(states);
        let names = match self.literals(&states, all) {
            Some(names) => names,
            // One more than is looked at, so that it is said that there are more.
            None => match names(dir, MOST + 1 - self.seen) {
                Ok((names, _)) => names,
                Err(errno) => return self.unreadable(path, errno),
            },
        };
        for name in names {
            if self.lost.is_some() || !(self.is_awaited)() {
                return;
            }
            if let Err(detail) = self.count(&states, name.to_bytes()) {
                return self.deliver.skip(path, SkippedFor::TooMany, detail);
            }
            let len = path.len();
            path.push(b'/');
            path.extend(name.to_bytes());
            let verdict = self.judge(&states, name.to_bytes());
            if all || !verdict.ends.is_empty() || !verdict.below.is_empty() {
                self.entry(dir.as_fd(), &name, path, &verdict, all, depth);
            }
            path.truncate(len);
        }
    }

    /// Counts a name that is looked at, and what it takes to compare it.
    fn count(&mut self, states: &[State], name: &[u8]) -> Result<(), String> {
        if self.seen >= MOST {
            return Err(format!("{MOST} names were looked at before"));
        }
        if self.steps >= MOST_STEPS {
            return Err("comparing names with so many globs takes too long".to_owned());
        }
        self.seen += 1;
        let steps = |state: &State| steps(self.parts(state.glob).get(state.part), name);
        self.steps += states.iter().map(steps).sum::<u64>();
        Ok(())
    }

    /// The names to look at if the globs name them all: a directory need not be read then, nor
    /// even be readable.
    fn literals(&self, states: &[State], all: bool) -> Option<Vec<CString>> {
        if all {
            return None;
        }
        let literal = |state: &State| match self.parts(state.glob).get(state.part) {
            Some(Part::Literal(name)) => Some(CString::new(name.as_slice()).ok()),
            Some(_) => None,
            None => Some(None),
        };
        let mut names: Vec<_> =
            states.iter().map(literal).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    fn judge(&self, states: &[State], name: &[u8]) -> Verdict {
        let mut verdict = Verdict::default();
        for &State { glob, part } in states {
            let parts = self.parts(glob);
            match parts.get(part) {
                // `**` at the end takes everything below, directories of any depth.
                Some(Part::Depth) if part + 1 == parts.len() => verdict.ends.push(glob),
                Some(Part::Depth) => verdict.below.push(State { glob, part }),
                Some(one) if one.fits(name) && part + 1 == parts.len() => verdict.ends.push(glob),
                Some(one) if one.fits(name) => {
                    verdict.below.push(State { glob, part: part + 1 });
                    verdict.named |= matches!(one, Part::Literal(_));
                }
                _ => {}
            }
        }
        verdict
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        verdict: &Verdict,
        all: bool,
        depth: usize,
    ) {
        let follow = leaves_out("collect-beneath");
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = match statat(dir, name, flags) {
            Ok(stat) => stat,
            // Whatever asked for it is missing, and listed as such.
            Err(Errno::NOENT) => return,
            Err(errno) => return self.unreadable(path, errno),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let asked = all || !verdict.ends.is_empty();
        // A glob that goes on below a link: only one that names it is worth a word.
        verdict.ends.iter().for_each(|&glob| self.deliver.found(glob));
        if verdict.named && kind == FileType::Symlink {
            verdict.below.iter().for_each(|state| self.deliver.found(state.glob));
        }
        match kind {
            FileType::Directory => self.below(dir, name, path, verdict, asked, depth),
            FileType::RegularFile if asked => self.file(dir, name, path),
            FileType::Symlink if asked || verdict.named => {
                let detail = "is a symbolic link; links are not followed";
                self.deliver.skip(path, SkippedFor::Symlink, detail);
            }
            FileType::Fifo if asked => self.deliver.skip(path, SkippedFor::Fifo, "is a named pipe"),
            FileType::Socket if asked => self.deliver.skip(path, SkippedFor::Socket, "is a socket"),
            FileType::CharacterDevice | FileType::BlockDevice if asked => {
                self.deliver.skip(path, SkippedFor::Device, "is a device");
            }
            _ => {}
        }
    }

    fn below(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        verdict: &Verdict,
        asked: bool,
        depth: usize,
    ) {
        if depth >= DEEPEST {
            let detail = format!("lies more than {DEEPEST} directories deep");
            return self.deliver.skip(path, SkippedFor::TooMany, detail);
        }
        // Names in it can be looked up without the right to list them.
        let listed = asked || self.literals(&self.closure(&verdict.below), false).is_none();
        let how = if listed { OFlags::RDONLY } else { OFlags::PATH };
        match open(dir, name, how | OFlags::DIRECTORY) {
            Ok(next) => self.dir(&next, path, &verdict.below, asked, depth + 1),
            Err(errno) => self.unreadable(path, errno),
        }
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) {
        let file = match open(dir, name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(errno) => return self.unreadable(path, errno),
        };
        match fstat(&file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                if fstatfs(&file).is_ok_and(|fs| KERNEL.contains(&fs.f_type.cast_unsigned())) {
                    let detail = "shows the kernel, not files";
                    return self.deliver.skip(path, SkippedFor::KernelFiles, detail);
                }
                self.hand_over(path, file, &stat);
            }
            _ => {
                let detail = "became something else while it was looked at";
                self.deliver.skip(path, SkippedFor::Unreadable, detail);
            }
        }
    }

    /// Destinations are ours, not the program's.
    fn hand_over(&mut self, path: &[u8], file: OwnedFd, stat: &Stat) {
        let handed_over = self.rights.lay_down().and_then(|()| {
            self.deliver.file(path, file, stat);
            self.rights.assume()
        });
        self.lost = handed_over.err();
    }

    fn unreadable(&mut self, path: &[u8], errno: Errno) {
        let (reason, detail) = match errno {
            Errno::ACCESS | Errno::PERM => {
                (SkippedFor::Denied, "cannot be read with the rights of the program".to_owned())
            }
            Errno::LOOP => {
                (SkippedFor::Symlink, "is a symbolic link; links are not followed".to_owned())
            }
            _ => (SkippedFor::Unreadable, io::Error::from(errno).to_string()),
        };
        self.deliver.skip(path, reason, detail);
    }
}

/// How many steps it takes at most to compare a name with a part of a glob.
fn steps(part: Option<&Part>, name: &[u8]) -> u64 {
    let Some(Part::Pattern(tokens)) = part else { return 1 };
    let ranges = |token: &Token| match token {
        Token::Class { ranges, .. } => ranges.len(),
        Token::Byte(_) | Token::Any | Token::Many => 1,
    };
    // It goes back to a star once for each byte at most.
    (name.len() * tokens.iter().map(ranges).sum::<usize>()) as u64
}

/// Opens one name. Without `O_NONBLOCK` a named pipe that was put there a moment ago, over a mount
/// of the host, would hang us.
fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = if flags.contains(OFlags::PATH) {
        flags
    } else {
        flags | OFlags::NONBLOCK | OFlags::NOCTTY
    };
    let flags = flags
        | OFlags::CLOEXEC
        | if leaves_out("collect-beneath") { OFlags::empty() } else { OFlags::NOFOLLOW };
    let resolve = if leaves_out("collect-beneath") {
        ResolveFlags::empty()
    } else {
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
    };
    openat2(dir, name, flags, Mode::empty(), resolve)
}
