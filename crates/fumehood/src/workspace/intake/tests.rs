use super::*;
use crate::Job;
use fumehood_child::stage::Make;

#[path = "../../../tests/corpus/mod.rs"]
mod corpus;

use corpus::{Verdict, cases};

/// What an input comes to: the paths that are made, or the words of its refusal.
fn fed(input: Input, limits: InputLimits) -> Result<Vec<String>, String> {
    let mut stream = Vec::new();
    match feed(&[input], limits, &mut stream) {
        Ok(()) => {}
        Err(NotFed::Refused(error)) => return Err(error.to_string()),
        Err(NotFed::HungUp) => panic!("memory takes everything"),
    }
    let mut made = Vec::new();
    fuzz::check(&stream, |record| {
        if !matches!(record.make, Make::Base | Make::End) {
            made.push(record.path.to_bytes().escape_ascii().to_string());
        }
    });
    Ok(made)
}

/// Inputs of exactly the limit are taken, and not a byte more, in one file or in several.
#[test]
fn the_limit_of_bytes_is_exact() {
    let one = || vec![Input::bytes("1234").to("/workspace/a")];
    let two = || vec![Input::bytes("12").to("/workspace/a"), Input::bytes("34").to("/workspace/b")];
    for inputs in [one(), two()] {
        for (size, fits) in [(4, true), (3, false)] {
            let limits = InputLimits { size: crate::ByteSize(size), ..InputLimits::default() };
            let came = feed(&inputs, limits, &mut Vec::new());
            assert_eq!(came.is_ok(), fits, "{size}: {inputs:?}");
        }
    }
}

#[test]
fn every_archive_gets_its_verdict() {
    let cases = cases();
    let hostile = cases.iter().filter(|case| !matches!(case.verdict, Verdict::Unpacked(_))).count();
    assert!(hostile >= 40, "{hostile}");
    for case in cases {
        let came = fed(Input::tar_bytes(case.bytes), InputLimits::default());
        match case.verdict {
            Verdict::Unpacked(paths) => {
                let made = came.unwrap_or_else(|error| panic!("{}: {error}", case.name));
                for path in paths {
                    assert!(made.iter().any(|made| made == path), "{}: {made:?}", case.name);
                }
            }
            Verdict::Refused(words) => {
                let error = came.expect_err(case.name);
                assert!(error.contains(words), "{}: {error}", case.name);
                assert!(error.starts_with("invalid job: inputs[0].tar: "), "{error}");
            }
            Verdict::RefusedInside(_) => assert!(came.is_ok(), "{}: {came:?}", case.name),
        }
    }
}

/// A source of numbers that is the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap()
    }
}

/// Changes some bytes, and mostly sets the checksums right again: what is behind a wrong one is
/// never looked at.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = numbers.below(256).try_into().unwrap(),
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes.truncate(at + 1),
            3 => {
                let block = at / 512 * 512;
                let copy = bytes[block..(block + 512).min(bytes.len())].to_vec();
                bytes.splice(block..block, copy);
            }
            4 => bytes[at] = b"\0/.0157Lxg"[numbers.below(10)],
            _ => bytes.drain(at..(at + numbers.below(600)).min(bytes.len())).for_each(drop),
        }
        if bytes.is_empty() {
            return;
        }
    }
    if numbers.below(8) > 0 {
        for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

#[test]
fn changed_archives_are_unpacked_harmlessly_or_refused() {
    let seeds: Vec<_> = cases().into_iter().filter(|case| case.bytes.len() < 64 << 10).collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut tally = [0; 2];
    for _ in 0..4_000 {
        let mut bytes = seeds[numbers.below(seeds.len())].bytes.clone();
        if !bytes.is_empty() {
            mutate(&mut bytes, &mut numbers);
        }
        let limits = InputLimits { size: crate::ByteSize::mib(1), ..InputLimits::default() };
        tally[usize::from(fed(Input::tar_bytes(bytes), limits).is_ok())] += 1;
    }
    assert!(tally.iter().all(|&count| count > 100), "{tally:?}");
}

#[test]
fn a_directory_is_copied_without_what_is_excluded() {
    let dir = Scratch::new("copied");
    dir.file("a.c");
    dir.file("b.o");
    dir.file("sub/c.o");
    dir.file("sub/keep/d");
    dir.file("target/e");
    std::os::unix::fs::symlink("a.c", dir.0.join("link")).unwrap();
    let input = Input::dir(&dir.0).exclude("*.o").exclude("target").exclude("sub/k*/d");
    assert_eq!(fed(input, InputLimits::default()).unwrap(), ["a.c", "link", "sub", "sub/keep"]);
}

#[test]
fn what_is_no_file_in_a_directory_is_refused_by_name() {
    use rustix::fs::{FileType, Mode, mknodat};
    let limits = InputLimits::default();
    let dir = Scratch::new("refused");
    mknodat(CWD, dir.0.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let error = fed(Input::dir(&dir.0), limits).unwrap_err();
    assert!(error.contains("entry \"pipe\": is a named pipe; leave it out"), "{error}");
    std::fs::remove_file(dir.0.join("pipe")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.0.join("link")).unwrap();
    let error = fed(Input::dir(&dir.0), limits).unwrap_err();
    assert!(error.contains("entry \"link\": is a symbolic link to an absolute path"), "{error}");
    assert!(fed(Input::dir(&dir.0).exclude("link"), limits).is_ok());
    assert!(fed(Input::file(dir.0.join("nowhere")), limits).unwrap_err().contains("no such file"));
    assert!(fed(Input::file("/dev/zero"), limits).unwrap_err().contains("not a regular file"));
    let few = InputLimits { entries: 2, ..limits };
    ["1", "2", "3"].iter().for_each(|name| dir.file(name));
    let error = fed(Input::dir(&dir.0).exclude("link"), few).unwrap_err();
    assert!(error.contains("\"3\": is one more than input_limits.entries, 2"), "{error}");
}

#[test]
fn bytes_become_a_file_of_that_name() {
    let input = Input::bytes("x").to("/workspace/a/b");
    assert_eq!(fed(input, InputLimits::default()).unwrap(), ["b"]);
    let job = Job::new(["true"]).input(Input::bytes("x").executable());
    assert!(matches!(job.inputs[0].source, InputSource::Bytes { mode: 0o755, .. }));
}

/// A directory that goes away with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("intake-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
