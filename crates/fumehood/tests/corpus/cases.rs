//! The archives, each with what must come of it.

use super::tar::{
    Entry, dir, entry, file, global, gzip, link, long, open_ended, pax, symlink, tar, zstd,
    zstd_header, zstd_run,
};

/// An archive and its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

/// What must come of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is unpacked, and these files are there.
    Unpacked(&'static [&'static str]),
    /// It is refused before anything of the program runs, in these words.
    Refused(&'static str),
    /// It passes the supervisor, and the cell refuses it in these words: nothing but the cell knows
    /// what is there already.
    RefusedInside(&'static str),
}

use Verdict::{Refused, RefusedInside, Unpacked};

fn case(name: &'static str, bytes: Vec<u8>, verdict: Verdict) -> Case {
    Case { name, bytes, verdict }
}

fn of(name: &'static str, entries: impl IntoIterator<Item = Entry>, verdict: Verdict) -> Case {
    case(name, tar(entries), verdict)
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let all = [
        good(),
        paths(),
        links(),
        things_behind_links(),
        hard_links(),
        kinds(),
        twice(),
        extended(),
        extended_together(),
        extended_that_cannot_be_read(),
        damaged(),
        badly_compressed(),
        bombs(),
    ];
    all.concat()
}

fn good() -> Vec<Case> {
    let (front, back) =
        (gzip(&tar([file("a", b"1")])[..700]), gzip(&tar([file("a", b"1")])[700..]));
    vec![
        of("plain", [dir("d"), file("d/a", b"1"), file("b", b"2")], Unpacked(&["d/a", "b"])),
        of("parents that are not listed", [file("x/y/z", b"1")], Unpacked(&["x/y/z"])),
        of("dots and slashes", [dir("./"), file("./a//b", b"1")], Unpacked(&["a/b"])),
        of("a directory twice", [dir("d/"), dir("d"), file("d/a", b"1")], Unpacked(&["d/a"])),
        of("a link that stays", [file("d/a", b"1"), symlink("l", "d/a")], Unpacked(&["d/a", "l"])),
        of("a hard link", [file("d/a", b"1"), link("b", "d/a")], Unpacked(&["d/a", "b"])),
        of("an old directory", [entry(0, b"d/"), file("d/a", b"1")], Unpacked(&["d/a"])),
        of(
            "a comment for all",
            [global(&[("comment", b"c0ffee")]), file("a", b"1")],
            Unpacked(&["a"]),
        ),
        of("a long name", [long(b'L', b"d/long"), file("short", b"1")], Unpacked(&["d/long"])),
        of(
            "an extended name",
            [pax(&[("path", b"d/p"), ("mtime", b"-1.5")]), file("x", b"1")],
            Unpacked(&["d/p"]),
        ),
        of("a prefix", [file("a", b"1").put_at(345, b"pre/fix")], Unpacked(&["pre/fix/a"])),
        of("no rights at all", [dir("d").mode(0), file("d/a", b"1").mode(0)], Unpacked(&["d/a"])),
        of("a group directory", [dir("d").mode(0o2775), file("d/a", b"1")], Unpacked(&["d/a"])),
        case("gzip", gzip(&tar([file("a", b"1")])), Unpacked(&["a"])),
        case("gzip in two members", [front, back].concat(), Unpacked(&["a"])),
        case("zstd", zstd(&tar([file("a", b"1")])), Unpacked(&["a"])),
        case("no files", tar([]), Unpacked(&[])),
    ]
}

fn paths() -> Vec<Case> {
    let deep = vec!["d"; 70].join("/");
    let wide = vec!["n".repeat(200); 15].join("/");
    vec![
        of("an absolute path", [file("/etc/x", b"1")], Refused("\"/etc/x\": has an absolute path")),
        of("two slashes", [file("//etc/x", b"1")], Refused("\"//etc/x\": has an absolute path")),
        of("upwards", [file("../x", b"1")], Refused("\"../x\": has .. in its path")),
        of("upwards later", [file("a/../../x", b"1")], Refused("\"a/../../x\": has ..")),
        of("upwards at the end", [dir("a/..")], Refused("\"a/..\": has ..")),
        of(
            "upwards in a prefix",
            [file("x", b"1").put_at(345, b"..")],
            Refused("\"../x\": has .."),
        ),
        of(
            "upwards in a long name",
            [long(b'L', b"../x"), file("x", b"1")],
            Refused("\"../x\": has .."),
        ),
        of(
            "upwards in an extended name",
            [pax(&[("path", b"../x")]), file("x", b"1")],
            Refused("\"../x\": has .."),
        ),
        of(
            "a NUL in a name",
            [pax(&[("path", b"a\0b")]), file("x", b"1")],
            Refused("has a NUL byte"),
        ),
        of("no name", [file("", b"1")], Refused("has no name")),
        of("the base as a file", [file(".", b"1")], Refused("must be a directory")),
        of(
            "too deep",
            [pax(&[("path", deep.as_bytes())]), file("x", b"1")],
            Refused("lies 70 deep"),
        ),
        of(
            "a name too long",
            [pax(&[("path", &[b'n'; 256])]), file("x", b"1")],
            Refused("a name of 256 bytes"),
        ),
        of(
            "a path too long",
            [pax(&[("path", wide.as_bytes())]), file("x", b"1")],
            Refused("a path of 3014 bytes"),
        ),
        of("an absolute directory", [dir("/")], Refused("\"/\": has an absolute path")),
    ]
}

fn links() -> Vec<Case> {
    let out = Refused("leads out");
    let d = || dir("d");
    vec![
        of("a link to an absolute path", [symlink("l", "/etc/passwd")], out),
        of("a link to the absolute base", [symlink("l", "/workspace/a")], out),
        of("a link upwards", [symlink("l", "../x")], out),
        of("a link upwards from below", [d(), symlink("d/l", "../../x")], out),
        of("a link down and up", [symlink("l", "d/../../x")], Refused("after a name")),
        of(
            "a link through a link",
            [symlink("a/b/up", "../.."), symlink("l", "a/b/up/..")],
            Refused("after a name"),
        ),
        of("a link to nothing", [symlink("l", "")], Refused("says nothing")),
        of("a long link upwards", [long(b'K', b"../../x"), symlink("l", "x")], out),
        of("an extended link upwards", [pax(&[("linkpath", b"../x")]), symlink("l", "x")], out),
        of("a link with content", [symlink("l", "a").content(b"2")], Refused("has content")),
    ]
}

fn things_behind_links() -> Vec<Case> {
    let d = || dir("d");
    vec![
        of(
            "a file through a link",
            [d(), symlink("l", "d"), file("l/x", b"1")],
            RefusedInside("\"l/x\": lies behind"),
        ),
        of(
            "a directory through a link",
            [d(), symlink("l", "d"), dir("l/x")],
            RefusedInside("\"l/x\": lies behind"),
        ),
        of(
            "a file over a link",
            [symlink("l", "x"), file("l", b"1")],
            RefusedInside("\"l\": is there already"),
        ),
        of(
            "a directory over a link",
            [d(), symlink("l", "d"), dir("l")],
            RefusedInside("\"l\": lies behind"),
        ),
    ]
}

fn hard_links() -> Vec<Case> {
    let out = Refused("leads out");
    vec![
        of("a hard link to an absolute path", [link("l", "/etc/passwd")], out),
        of("a hard link upwards", [link("l", "../../etc/passwd")], out),
        of(
            "a hard link to nothing",
            [link("l", "x")],
            RefusedInside("\"l\": is a hard link to a file"),
        ),
        of(
            "a hard link to a directory",
            [dir("d"), link("l", "d")],
            RefusedInside("\"l\": cannot be written"),
        ),
        of(
            "a hard link through a link",
            [file("d/a", b"1"), symlink("s", "d"), link("l", "s/a")],
            RefusedInside("\"l\": lies behind"),
        ),
        of(
            "a hard link with content",
            [file("a", b"1"), link("l", "a").content(b"2")],
            Refused("has content"),
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let special = |kind| [entry(kind, b"x")];
    vec![
        of("a character device", special(b'3'), Refused("\"x\": is a device")),
        of("a block device", special(b'4'), Refused("\"x\": is a device")),
        of("a named pipe", special(b'6'), Refused("\"x\": is a named pipe")),
        of("a volume label", special(b'V'), Refused("\"x\": is of a type")),
        of("a part of a file", special(b'M'), Refused("\"x\": is of a type")),
        of("a dump of names", special(b'D'), Refused("\"x\": is of a type")),
        of("a type that is not known", special(b'Z'), Refused("\"x\": is of a type")),
        of("a sparse file", special(b'S'), Refused("sparse")),
        of(
            "a sparse file in pax",
            [pax(&[("GNU.sparse.major", b"1")]), file("x", b"1")],
            Refused("sparse"),
        ),
        of("set-user-id", [file("x", b"1").mode(0o4755)], Refused("\"x\": is set-user-id")),
        of("set-group-id", [file("x", b"1").mode(0o2755)], Refused("\"x\": is set-user-id")),
        of("a directory with content", [dir("d").content(b"1")], Refused("has content")),
    ]
}

fn twice() -> Vec<Case> {
    let there = RefusedInside("is there already");
    vec![
        of("a file twice", [file("a", b"1"), file("a", b"2")], there),
        of("a file twice by other names", [file("d/a", b"1"), file("./d//a", b"2")], there),
        of("a link twice", [symlink("a", "b"), symlink("a", "c")], there),
        of("a file, then a directory", [file("a", b"1"), dir("a")], RefusedInside("no directory")),
        of("a directory, then a file", [dir("a"), file("a", b"1")], there),
        of(
            "a file as a directory",
            [file("a", b"1"), file("a/b", b"2")],
            RefusedInside("no directory"),
        ),
    ]
}

fn extended() -> Vec<Case> {
    let sized = |size: &'static [u8]| [pax(&[("size", size)]), file("x", b"12345")];
    vec![
        of("a size too large", sized(b"9"), Refused("\"x\": has two sizes, 5 and 9")),
        of("a size too small", sized(b"0"), Refused("\"x\": has two sizes, 5 and 0")),
        of(
            "a size that hides a header",
            [pax(&[("size", b"1024")]), file("x", b"").size(0), file("y", b"1")],
            Refused("has two sizes, 0 and 1024"),
        ),
        of(
            "a size twice",
            [pax(&[("size", b"5"), ("size", b"9")]), file("x", b"12345")],
            Refused("size twice"),
        ),
        of("a size that is none", sized(b"-5"), Refused("size is no number")),
        of(
            "a name twice",
            [pax(&[("path", b"a"), ("path", b"b")]), file("x", b"1")],
            Refused("path twice"),
        ),
    ]
}

fn extended_together() -> Vec<Case> {
    vec![
        of(
            "two extended headers",
            [pax(&[("path", b"a")]), pax(&[("path", b"b")]), file("x", b"1")],
            Refused("in a row"),
        ),
        of(
            "two long names",
            [long(b'L', b"a"), long(b'L', b"b"), file("x", b"1")],
            Refused("in a row"),
        ),
        of(
            "a name in two forms",
            [long(b'L', b"a"), pax(&[("path", b"b")]), file("x", b"1")],
            Refused("two forms"),
        ),
        of(
            "one name for all",
            [global(&[("path", b"a")]), file("x", b"1")],
            Refused("all entries alike"),
        ),
        of(
            "one size for all",
            [global(&[("size", b"9")]), file("x", b"1")],
            Refused("all entries alike"),
        ),
    ]
}

fn extended_that_cannot_be_read() -> Vec<Case> {
    let huge = pax(&[("comment", &vec![b'x'; 2 << 20])]);
    vec![
        of(
            "a record that lies",
            [entry(b'x', b"p").content(b"99 path=a\n"), file("x", b"1")],
            Refused("cannot be read"),
        ),
        of(
            "an extended header of 2 MiB",
            [huge, file("x", b"1")],
            Refused("extended header of 2097"),
        ),
        of(
            "a long name of 1 MiB",
            [long(b'L', &vec![b'n'; 1 << 20]), file("x", b"1")],
            Refused("extended header of 1048"),
        ),
        of(
            "a long name without end",
            [entry(b'L', b"x").size(0o77_777_777_777)],
            Refused("extended header of"),
        ),
        of("a name without its entry", [pax(&[("path", b"a")])], Refused("without its entry")),
    ]
}

fn damaged() -> Vec<Case> {
    let good = tar([file("a", b"12345")]);
    let cut = |len: usize| good[..len].to_vec();
    let after = |more: Vec<u8>| [good.clone(), more].concat();
    let mut hole = open_ended([file("a", b"1")]);
    hole.resize(hole.len() + 512, 0);
    hole.extend(tar([file("b", b"2")]));
    vec![
        case("nothing", Vec::new(), Refused("without its end mark")),
        case("text", b"hello\n".repeat(200), Refused("checksum")),
        case("cut in a header", cut(300), Refused("within a block")),
        case("cut in a file", cut(514), Refused("\"a\": ends before its size")),
        case("cut in padding", cut(700), Refused("within a block")),
        case("cut after a file", cut(1024), Refused("without its end mark")),
        case(
            "an archive after the end",
            after(tar([file("b", b"2")])),
            Refused("after its end mark"),
        ),
        case("an archive after a gap", hole, Refused("after a block of zeros")),
        of("a wrong checksum", [file("a", b"1").without_sum()], Refused("checksum")),
        of(
            "a size in letters",
            [file("a", b"1").put_at(124, b"0000000000x\0")],
            Refused("size is no number"),
        ),
        of("a negative size", [file("a", b"").put_at(124, &[0xff; 12])], Refused("negative size")),
    ]
}

fn badly_compressed() -> Vec<Case> {
    let good = tar([file("a", b"12345")]);
    vec![
        case(
            "a damaged gzip",
            {
                let mut z = gzip(&good);
                let at = z.len() / 2;
                z[at] ^= 0x55;
                z
            },
            Refused(""),
        ),
        case(
            "a gzip cut off",
            {
                let z = gzip(&good);
                z[..z.len() - 9].to_vec()
            },
            Refused(""),
        ),
        case(
            "a zstd cut off",
            {
                let z = zstd(&good);
                z[..z.len() - 9].to_vec()
            },
            Refused(""),
        ),
        case(
            "text after a gzip",
            [gzip(&good), b"hello".to_vec()].concat(),
            Refused("cannot be read"),
        ),
        case("xz", b"\xfd7zXZ\0\0\0".to_vec(), Refused("compressed by xz")),
        case("bzip2", b"BZh91AY".to_vec(), Refused("compressed by bzip2")),
        case("zip", b"PK\x03\x04\x14\0".to_vec(), Refused("a zip archive")),
        case("gzip in gzip", gzip(&gzip(&good)), Refused("")),
    ]
}

fn bombs() -> Vec<Case> {
    let zeros = tar([file("zeros", &vec![0; 24 << 20])]);
    let mut runs = zstd_header(13);
    // The header of a file of 1 GiB less one, and zeros for as long as it takes.
    let head = open_ended([file("zeros", b"").size((1 << 30) - 1)]);
    runs.extend(
        zstd(&head)[6..]
            .iter()
            .enumerate()
            .map(|(at, byte)| if at == 0 { byte & !1 } else { *byte }),
    );
    runs.extend((0..8192).flat_map(|_| zstd_run(0, 128 << 10, false)));
    let entries = (0..65_600).map(|number| dir(&format!("d{number}")));
    vec![
        of(
            "a file of 8 GiB",
            [file("big", b"").size(0o77_777_777_777)],
            Refused("\"big\": makes the inputs larger"),
        ),
        of(
            "a file of 8 EiB",
            [file("big", b"").put_at(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")],
            Refused("makes the inputs larger"),
        ),
        case("zeros in gzip", gzip(&zeros), Refused("grows by more than")),
        case("zeros in zstd", runs, Refused("grows by more than")),
        case(
            "a window of 1 TiB",
            [zstd_header(31), zstd_run(0, 9, true)].concat(),
            Refused("cannot be read"),
        ),
        case(
            "a window of 64 MiB",
            [zstd_header(16), zstd_run(0, 9, true)].concat(),
            Refused("cannot be read"),
        ),
        case(
            "too many entries",
            gzip(&tar(entries)),
            Refused("one more than input_limits.entries"),
        ),
    ]
}
