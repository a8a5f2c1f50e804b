use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;
use crate::workspace::let_the_clock_tick;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn collect(dir: &TempDir, options: &ExportOptions) -> Result<Export> {
    Export::collect(dir.path(), options)
}

fn paths(export: &Export) -> Vec<&str> {
    export.files().iter().map(|file| file.path.as_str()).collect()
}

fn skipped(export: &Export) -> Vec<(&str, &str)> {
    export.skipped().iter().map(|one| (one.path.as_str(), one.rule.name())).collect()
}

fn refusal(result: Result<Export>) -> String {
    result.unwrap_err().to_string()
}

fn bytes(export: &Export, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    export.write(format, &mut bytes).unwrap();
    bytes
}

const PROJECT: [(&str, &str); 9] = [
    ("main.rs", "fn main() {}"),
    ("src/tokenizer.rs", "// words"),
    ("src/bin/tool.rs", "fn main() {}"),
    (".env", "A=b"),
    ("id_ed25519", "key"),
    ("sessions/1.json", "{}"),
    ("node_modules/a/index.js", ""),
    ("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"),
    ("docs/a.md", "text"),
];

#[test]
fn what_stays_behind_is_listed_with_its_rule() {
    let dir = tree(&PROJECT);
    let export = collect(&dir, &ExportOptions::default()).unwrap();
    assert_eq!(paths(&export), ["docs/a.md", "main.rs", "src/bin/tool.rs", "src/tokenizer.rs"]);
    assert_eq!(
        skipped(&export),
        [
            (".env", "env-file"),
            ("id_ed25519", "private-key"),
            ("node_modules/", "dependencies"),
            ("sessions/", "secret-name"),
            ("target/", "cache"),
        ]
    );
}

#[test]
fn secrets_can_be_refused_or_let_through() {
    let dir = tree(&PROJECT);
    let mut options = ExportOptions { secrets: Secrets::Refuse, ..ExportOptions::default() };
    let said = refusal(collect(&dir, &options));
    assert_eq!(said, "cannot export: .env: looks like a secret (env-file), and those are refused");
    options.secrets = Secrets::Include;
    let export = collect(&dir, &options).unwrap();
    assert!(paths(&export).contains(&"sessions/1.json"));
    assert_eq!(skipped(&export), [("node_modules/", "dependencies"), ("target/", "cache")]);
}

#[test]
fn what_is_named_is_kept_and_a_misspelled_name_refused() {
    let dir = tree(&PROJECT);
    let mut options = ExportOptions::default();
    options.keep.insert("sessions".into());
    let export = collect(&dir, &options).unwrap();
    assert!(paths(&export).contains(&"sessions/1.json"));
    assert!(!paths(&export).contains(&".env"));
    for stray in ["sesions", "main.rs", "node_modules/a/index.js"] {
        options.keep = [stray.to_owned()].into();
        let said = refusal(collect(&dir, &options));
        assert!(said.starts_with(&format!("cannot export: {stray}: is to be kept")), "{said}");
    }
}

#[test]
fn gitignore_is_honoured_on_request() {
    let dir = tree(&[
        (".gitignore", "*.log\n/out\n"),
        ("a.log", ""),
        ("out/x", ""),
        ("deep/.gitignore", "!b.log\nlocal\n"),
        ("deep/b.log", ""),
        ("deep/local/x", ""),
        ("deep/out/x", ""),
    ]);
    let plain = collect(&dir, &ExportOptions::default()).unwrap();
    assert_eq!(plain.files().len(), 7);
    let options = ExportOptions { gitignore: true, ..ExportOptions::default() };
    let export = collect(&dir, &options).unwrap();
    assert_eq!(
        skipped(&export),
        [("a.log", "gitignore"), ("deep/local/", "gitignore"), ("out/", "gitignore")]
    );
    assert_eq!(paths(&export), [".gitignore", "deep/.gitignore", "deep/b.log", "deep/out/x"]);
}

#[test]
fn a_limit_names_the_file_that_breaks_it() {
    let dir = tree(&[("a", "12345"), ("b", "1234567"), ("c/d", "12"), (".env", "not counted")]);
    let with = |change: &dyn Fn(&mut ExportLimits)| {
        let mut options = ExportOptions::default();
        change(&mut options.limits);
        collect(&dir, &options)
    };
    let said = refusal(with(&|limits| limits.file_size = ByteSize(6)));
    assert_eq!(said, "cannot export: b: has 7 bytes; the limit is 6B");
    let said = refusal(with(&|limits| limits.total = ByteSize(13)));
    assert_eq!(said, "cannot export: c/d: is where all files exceed 13B together");
    let said = refusal(with(&|limits| limits.files = 2));
    assert_eq!(said, "cannot export: c/d: is one file more than the limit of 2");
    let said = refusal(with(&|limits| limits.names = 3));
    assert_eq!(said, "cannot export: .: has more names than the 3 that are looked at");
    let said = refusal(with(&|limits| limits.depth = 0));
    assert_eq!(said, "cannot export: c: lies deeper than 0 directories");
    let exact = with(&|limits| {
        (limits.files, limits.total, limits.file_size) = (3, ByteSize(14), ByteSize(7));
    });
    assert_eq!(exact.unwrap().size(), 14);
}

#[test]
fn nothing_but_regular_files_is_read() {
    let dir = tree(&[("file", "x")]);
    let outside = tree(&[("passwords", "hunter2")]);
    symlink(outside.path(), dir.path().join("dir")).unwrap();
    symlink(outside.path().join("passwords"), dir.path().join("link")).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), 0o644.into()).unwrap();
    let export = collect(&dir, &ExportOptions::default()).unwrap();
    assert_eq!(paths(&export), ["file"]);
    let rules: Vec<_> = skipped(&export).into_iter().map(|(_, rule)| rule).collect();
    assert_eq!(rules, ["not-a-file"; 4]);
}

#[test]
fn names_that_mean_something_else_elsewhere_are_skipped() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tree(&[("..\\x", ""), ("a\nb", "")]);
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    let export = collect(&dir, &ExportOptions::default()).unwrap();
    assert_eq!(export.files().len(), 0);
    assert_eq!(
        skipped(&export),
        [("..\\x", "odd-name"), ("a\nb", "odd-name"), ("\u{fffd}", "odd-name")]
    );
}

#[test]
fn a_link_to_the_directory_itself_is_followed() {
    let dir = tree(&[("project/file", "x")]);
    symlink("project", dir.path().join("link")).unwrap();
    let export = Export::collect(&dir.path().join("link"), &ExportOptions::default()).unwrap();
    assert_eq!(paths(&export), ["file"]);
}

#[test]
fn a_file_that_changes_is_an_error_that_names_it() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("grows", |path| fs::write(path, "longer than before").unwrap()),
        ("shrinks", |path| fs::write(path, "s").unwrap()),
        ("is rewritten", |path| fs::write(path, "tooth").unwrap()),
        ("is replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "tooth").unwrap();
        }),
        ("becomes a link", |path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let dir = tree(&[("a", "before"), ("b", "after")]);
        let export = collect(&dir, &ExportOptions::default()).unwrap();
        let_the_clock_tick();
        change(&dir.path().join("b"));
        for format in [Format::Zip, Format::Tar, Format::TarGz] {
            let error = export.write(format, &mut std::io::sink()).unwrap_err().to_string();
            assert!(error.starts_with("cannot export: b: "), "{what}: {error}");
        }
    }
}

/// Changes a file in the middle of its being read.
struct Meddler<'a> {
    path: PathBuf,
    change: &'a dyn Fn(&Path),
    done: bool,
    written: usize,
}

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written += bytes.len();
        if self.written > 4096 && !self.done {
            self.done = true;
            let_the_clock_tick();
            (self.change)(&self.path);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let append: &dyn Fn(&Path) = &|path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"more").unwrap();
    };
    let truncate: &dyn Fn(&Path) =
        &|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(9000).unwrap();
    let rewrite: &dyn Fn(&Path) = &|path| {
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(200_000)).unwrap();
        file.write_all(b"x").unwrap();
    };
    for change in [append, truncate, rewrite] {
        let dir = tree(&[]);
        let path = dir.path().join("big");
        fs::write(&path, vec![7; 300_000]).unwrap();
        let export = collect(&dir, &ExportOptions::default()).unwrap();
        let mut meddler = Meddler { path, change, done: false, written: 0 };
        let error = export.write(Format::Tar, &mut meddler).unwrap_err().to_string();
        assert!(error.starts_with("cannot export: big: changed"), "{error}");
    }
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let (one, two) = (tree(&PROJECT), tree(&[]));
    // The other way round, at another time, with other modes.
    for (path, content) in PROJECT.iter().rev() {
        let path = two.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = fs::File::open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    for format in [Format::Zip, Format::Tar, Format::TarGz] {
        let all = [&one, &two]
            .map(|dir| bytes(&collect(dir, &ExportOptions::default()).unwrap(), format));
        assert_eq!(all[0], all[1], "{format:?}");
    }
}

#[test]
fn archives_hold_the_files_and_their_right_to_be_executed() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let dir = tree(&[("run.sh", "#!/bin/sh\n"), ("späße.txt", "text"), (&long, "deep")]);
    fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let export = collect(&dir, &ExportOptions::default()).unwrap();
    let expected = [
        (long.as_str(), 0o644, "deep"),
        ("run.sh", 0o755, "#!/bin/sh\n"),
        ("späße.txt", 0o644, "text"),
    ];
    let tar = bytes(&export, Format::Tar);
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (315_532_800, 0));
        let mode = header.mode().unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        found.push((path, mode, text));
    }
    let found: Vec<_> = found.iter().map(|(p, m, t)| (p.as_str(), *m, t.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_archive_itself_stays_out() {
    let dir = tree(&[("a", "x"), ("out.zip", "old")]);
    let archive = Some(dir.path().join("out.zip"));
    let export = collect(&dir, &ExportOptions { archive, ..ExportOptions::default() }).unwrap();
    assert_eq!(skipped(&export), [("out.zip", "archive")]);
}

#[test]
fn formats_are_told_by_their_names() {
    for (name, format) in [
        ("a.zip", Some(Format::Zip)),
        ("A.TAR.GZ", Some(Format::TarGz)),
        ("a.tgz", Some(Format::TarGz)),
        ("a.tar", Some(Format::Tar)),
        ("a.rar", None),
        ("zip", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}
