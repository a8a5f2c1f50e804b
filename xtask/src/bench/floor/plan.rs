//! What a cell by hand has: a header for `floor.c`, made of what `fumehood explain --json`, a run, and
//! the library say about the same job.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What there is to make a header of.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// What `fumehood explain --json` prints.
    pub(super) plan: &'a str,
    /// `/proc/self/limits` of a program in a cell.
    pub(super) limits: &'a str,
    /// The flags of the filter and its instructions in hexadecimal digits.
    pub(super) filter: &'a str,
    /// `/proc/self/cgroup` of whoever makes the groups.
    pub(super) groups: &'a str,
    /// The program, as it is called inside.
    pub(super) program: &'a str,
    /// Whether a user other than the caller's is mapped, and groups are made.
    pub(super) privileged: bool,
}

/// The names of `RLIMIT_*` in the steps, in C, and in `/proc/self/limits`.
const LIMITS: [(&str, &str, &str); 10] = [
    ("core", "RLIMIT_CORE", "Max core file size"),
    ("fsize", "RLIMIT_FSIZE", "Max file size"),
    ("memlock", "RLIMIT_MEMLOCK", "Max locked memory"),
    ("msgqueue", "RLIMIT_MSGQUEUE", "Max msgqueue size"),
    ("sigpending", "RLIMIT_SIGPENDING", "Max pending signals"),
    ("nice", "RLIMIT_NICE", "Max nice priority"),
    ("rtprio", "RLIMIT_RTPRIO", "Max realtime priority"),
    ("cpu", "RLIMIT_CPU", "Max cpu time"),
    ("nproc", "RLIMIT_NPROC", "Max processes"),
    ("nofile", "RLIMIT_NOFILE", "Max open files"),
];

/// The rights of Landlock, from bit 0 up.
const RIGHTS: &[&str] = &[
    "execute",
    "write-file",
    "read-file",
    "read-dir",
    "remove-dir",
    "remove-file",
    "make-char",
    "make-dir",
    "make-reg",
    "make-sock",
    "make-fifo",
    "make-block",
    "make-sym",
    "refer",
    "truncate",
    "ioctl-dev",
];

/// Its scopes.
const SCOPES: &[&str] = &["abstract-unix-socket", "signal"];

/// Directories of the root that everybody may write to.
const SHARED: [&str; 2] = ["/tmp", "/dev/shm"];

impl Told<'_> {
    /// The whole header, or why there is none.
    pub(super) fn header(&self) -> Result<String, String> {
        if self.plan.contains('\\') || self.plan.contains("cgroup v2") {
            return Err("the plan has control groups of version 2, or names with escapes".into());
        }
        let (root, own) = self.steps()?;
        let mut text = self.names()?;
        let _ = writeln!(text, "static const struct step ROOT[] = {{\n{root}}};");
        let _ = writeln!(text, "static const struct step OWN[] = {{\n{own}}};");
        text += &self.fence()?;
        text += &self.limits()?;
        text += &self.groups()?;
        text += &self.filter()?;
        Ok(text)
    }

    fn names(&self) -> Result<String, String> {
        let id = |key| number(self.plan, key);
        let [uid, gid, host_uid, host_gid] =
            [id("uid")?, id("gid")?, id("host_uid")?, id("host_gid")?];
        let privileged = i32::from(self.privileged);
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap");
        let last = last.map_err(|error| format!("cap_last_cap: {error}"))?;
        let environment = strings(section(self.plan, "environment")?);
        let environment: String = environment
            .chunks_exact(5)
            .map(|variable| format!("\"{}={}\", ", variable[0], variable[2]))
            .collect();
        let program = strings(section(self.plan, "program")?);
        let text = |key: &str| {
            let at = program.iter().position(|text| *text == key);
            at.and_then(|at| program.get(at + 1)).ok_or(format!("no {key} in the plan"))
        };
        Ok(format!(
            "#define PRIVILEGED {privileged}\n#define ID_INSIDE {uid}\n\
             #define MAP_UIDS \"{uid} {host_uid} 1\\n\"\n#define MAP_GIDS \"{gid} {host_gid} 1\\n\"\n\
             #define MAP_IN_TEMPLATE \"{uid} {uid} 1\\n\"\n#define LAST_CAPABILITY {}\n\
             #define HOSTNAME \"{}\"\n#define DIRECTORY_OF_PROGRAM \"{}\"\n\
             #define PROGRAM \"{}\"\n\
             #define ROOT_OPTIONS \"size=16m,nr_inodes=16384,mode=755\"\n\
             static const char *const ENVIRONMENT[] = {{{environment}0}};\n",
            last.trim(),
            text("hostname")?,
            text("cwd")?,
            self.program,
        ))
    }

    /// The steps of the root that cells can share, and those that each has of its own. Binds come
    /// before devices, which are the only ones that are not read-only.
    fn steps(&self) -> Result<(String, String), String> {
        let entries = strings(section(self.plan, "root")?);
        let [mut root, mut binds, mut devices, mut own] = [const { String::new() }; 4];
        for entry in entries.chunks_exact(6) {
            let [_, kind, _, path, _, detail] = entry else { continue };
            let (inside, from) = (path.trim_start_matches('/'), last_word(detail));
            let line = |kind: &str, from: &str, number: u64| {
                let number =
                    if kind == "DIRECTORY" { format!("0{number}") } else { number.to_string() };
                format!("    {{{kind}, \"{inside}\", \"{from}\", {number}}},\n")
            };
            match *kind {
                "directory" => root += &line("DIRECTORY", "", parse(from)?),
                "file" => root += &line("FILLED", "", parse(detail.trim_end_matches(" bytes"))?),
                "link" => root += &line("LINK", from, 0),
                "bind" => binds += &line("BIND", from, 0),
                "device" => devices += &line("DEVICE", path, 0),
                "devpts" => own += &line("DEVPTS", "ptmxmode=0666,mode=0620,max=64", 0),
                "tmpfs" => own += &line("TMPFS", &memory(path, detail)?, 0),
                "proc" => own += &line("PROC", "hidepid=ptraceable", 0),
                "mask" => own += &mask(path).map_or_else(String::new, |from| line("MASK", from, 0)),
                other => return Err(format!("{path}: a {other} is not made by hand")),
            }
            if path.starts_with("/dev/.masked-") {
                devices += &line("HIDDEN", "", 0);
            }
        }
        Ok((root + &binds + "    {READ_ONLY, \".\", \"\", 0},\n" + &devices, own))
    }

    fn fence(&self) -> Result<String, String> {
        let words = strings(section(self.plan, "landlock")?);
        let bits = |key: &str, names: &[&str]| -> u64 {
            let mut after = words.iter().skip_while(|word| **word != key).skip(1);
            let bit = |word: &&str| names.iter().position(|name| name == word);
            std::iter::from_fn(|| bit(after.next()?)).fold(0, |bits, bit| bits | 1 << bit)
        };
        let rights = |path: &str| match path {
            "/dev" => bits("devices", RIGHTS),
            "/" => bits("read_only", RIGHTS),
            _ => bits("read_write", RIGHTS),
        };
        let steps = strings(section(self.plan, "steps")?);
        let paths = steps.iter().filter_map(|step| step.strip_prefix("landlock-allow "));
        let rules: String =
            paths.map(|path| format!("    {{\"{path}\", {:#x}}},\n", rights(path))).collect();
        Ok(format!(
            "#define LANDLOCK_FILES {:#x}\n#define LANDLOCK_SCOPES {:#x}\n\
             static const struct rule RULES[] = {{\n{rules}}};\n",
            bits("handled", RIGHTS),
            bits("scoped", SCOPES),
        ))
    }

    fn limits(&self) -> Result<String, String> {
        let steps = strings(section(self.plan, "steps")?);
        let mut list = String::new();
        for name in steps.iter().filter_map(|step| step.strip_prefix("rlimit ")) {
            let known = LIMITS.iter().find(|limit| limit.0 == name);
            let (_, constant, label) = known.ok_or(format!("no limit is named {name}"))?;
            let line = self.limits.lines().find_map(|line| line.strip_prefix(label));
            let mut values = line.unwrap_or_default().split_whitespace().map(|value| match value {
                "unlimited" => Ok(u64::MAX),
                finite => parse(finite),
            });
            let mut value = || values.next().ok_or(format!("no limit {label}"))?;
            let _ = writeln!(list, "    {{{constant}, {:#x}, {:#x}}},", value()?, value()?);
        }
        Ok(format!("static const struct limit LIMITS[] = {{\n{list}}};\n"))
    }

    /// Groups of version 1, below the one that their maker is in.
    fn groups(&self) -> Result<String, String> {
        let steps = strings(section(self.plan, "steps")?);
        let mut list = String::new();
        for name in steps.iter().filter_map(|step| step.strip_prefix("join-cgroup ")) {
            let parent = parent(self.groups, name).ok_or(format!("no control group of {name}"))?;
            let limit = |key| {
                strings(section(self.plan, "limits").unwrap_or_default())
                    .windows(2)
                    .find(|pair| pair[0] == key)
                    .map_or("", |pair| pair[1])
                    .to_owned()
            };
            let (files, values) = match name {
                "memory" => {
                    let size = bytes(&limit("memory"))?;
                    (
                        "\"memory.limit_in_bytes\", \"memory.memsw.limit_in_bytes\"",
                        format!("\"{size}\", \"{size}\""),
                    )
                }
                "pids" => ("\"pids.max\"", format!("\"{}\"", parse(&limit("pids"))? + 1)),
                _ => ("0", "0".to_owned()),
            };
            let _ = writeln!(list, "    {{\"{parent}\", {{{files}}}, {{{values}}}}},");
        }
        Ok(format!("static const struct control_group GROUPS[] = {{\n{list}}};\n"))
    }

    fn filter(&self) -> Result<String, String> {
        let (flags, digits) = self.filter.split_once(' ').ok_or("no filter")?;
        let bytes: Vec<_> = (0..digits.len())
            .step_by(2)
            .map(|at| digits.get(at..at + 2).map(|byte| format!("0x{byte}")))
            .collect::<Option<_>>()
            .ok_or("half a byte of a filter")?;
        Ok(format!(
            "#define FILTER_FLAGS {flags}\n\
             static const unsigned char FILTER[] __attribute__((aligned(8))) = {{{}}};\n",
            bytes.join(",")
        ))
    }
}

/// The text of a member of the plan that is a list or an object, as it is printed: two blanks deep.
fn section<'a>(plan: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("no {key} in the plan");
    let (_, rest) = plan.split_once(&format!("\n  \"{key}\": ")).ok_or_else(missing)?;
    let end = match rest.as_bytes().first() {
        Some(b'[') => "\n  ]",
        Some(b'{') => "\n  }",
        _ => return Err(missing()),
    };
    rest.split_once(end).map(|(text, _)| text).ok_or_else(missing)
}

/// All strings, keys included. None has an escape.
fn strings(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

fn number(plan: &str, key: &str) -> Result<u64, String> {
    let (_, rest) =
        plan.split_once(&format!("\"{key}\": ")).ok_or(format!("no {key} in the plan"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    parse(&rest[..end])
}

fn parse(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// `read-only, from /usr`, `to usr/bin`, `mode 755`.
fn last_word(detail: &str) -> &str {
    detail.rsplit(' ').next().unwrap_or(detail)
}

/// `256MiB` in bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (digits, bits) = unit.ok_or(format!("{text:?} is no size"))?;
    Ok(parse(digits)? << bits)
}

/// The options of a file system in memory, of `256MiB, 65536 inodes`.
fn memory(path: &str, detail: &str) -> Result<String, String> {
    let (size, inodes) = detail.split_once(", ").ok_or(format!("{path}: {detail}"))?;
    let mode = if SHARED.contains(&path) { "1777" } else { "755" };
    let inodes = parse(inodes.trim_end_matches(" inodes"))?;
    Ok(format!("size={},nr_inodes={inodes},mode={mode}", bytes(size)?))
}

/// What hides that path, if there is anything to hide.
fn mask(path: &str) -> Option<&'static str> {
    let kind = fs::metadata(path).ok()?;
    Some(if kind.is_dir() { "dev/.masked-dir" } else { "dev/.masked-file" })
}

/// The directory of a process's own group in the hierarchy of this controller.
fn parent(groups: &str, controller: &str) -> Option<String> {
    let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let (_, path) = lines.find(|(names, _)| names.split(',').any(|name| name == controller))?;
    let dir = format!("/sys/fs/cgroup/{controller}{path}");
    Path::new(&dir).is_dir().then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{
  "program": {
    "args": [
      "/payload/true"
    ],
    "cwd": "/workspace",
    "hostname": "sandbox"
  },
  "identity": {
    "uid": 1000,
    "gid": 1000,
    "host_uid": 54000,
    "host_gid": 54001
  },
  "root": [
    {
      "kind": "directory",
      "path": "/dev",
      "detail": "mode 755"
    },
    {
      "kind": "file",
      "path": "/dev/null",
      "detail": "0 bytes"
    },
    {
      "kind": "device",
      "path": "/dev/null",
      "detail": "the host's"
    },
    {
      "kind": "bind",
      "path": "/payload",
      "detail": "read-only, from /srv/payload"
    },
    {
      "kind": "tmpfs",
      "path": "/tmp",
      "detail": "256MiB, 65536 inodes"
    }
  ],
  "environment": {
    "HOME": {
      "value": "/tmp",
      "from": "default"
    }
  },
  "limits": {
    "memory": "512MiB",
    "pids": "64"
  },
  "landlock": {
    "abi": 7,
    "handled": [
      "execute",
      "read-file"
    ],
    "read_only": [
      "execute"
    ],
    "read_write": [
      "read-file"
    ],
    "devices": [
      "ioctl-dev"
    ],
    "scoped": [
      "signal"
    ]
  },
  "steps": [
    "landlock-allow /dev",
    "landlock-allow /",
    "rlimit cpu",
    "rlimit nproc"
  ]
}"#;

    fn told(plan: &str) -> Told<'_> {
        let limits = "Max cpu time              10                   11                   seconds\n\
                      Max processes             66                   unlimited            processes\n";
        let (filter, program) = ("4 0600000000000050", "/payload/true");
        Told { plan, limits, filter, groups: "", program, privileged: false }
    }

    #[test]
    fn a_header_has_what_the_plan_has() {
        let header = told(PLAN).header().unwrap();
        let lines = [
            "#define PRIVILEGED 0",
            "#define MAP_UIDS \"1000 54000 1\\n\"",
            "#define MAP_GIDS \"1000 54001 1\\n\"",
            "static const char *const ENVIRONMENT[] = {\"HOME=/tmp\", 0};",
            "    {DIRECTORY, \"dev\", \"\", 0755},",
            "    {DEVICE, \"dev/null\", \"/dev/null\", 0},",
            "    {TMPFS, \"tmp\", \"size=268435456,nr_inodes=65536,mode=1777\", 0},",
            "#define LANDLOCK_FILES 0x5",
            "#define LANDLOCK_SCOPES 0x2",
            "    {\"/dev\", 0x8000},",
            "    {\"/\", 0x1},",
            "    {RLIMIT_CPU, 0xa, 0xb},",
            "    {RLIMIT_NPROC, 0x42, 0xffffffffffffffff},",
            "#define FILTER_FLAGS 4",
        ];
        lines.iter().for_each(|line| assert!(header.lines().any(|own| own == *line), "{line}"));
        assert!(header.contains("{0x06,0x00,0x00,0x00,0x00,0x00,0x00,0x50}"), "{header}");
    }

    #[test]
    fn binds_are_read_only_and_devices_come_later() {
        let header = told(PLAN).header().unwrap();
        let at = |text| header.find(text).unwrap();
        assert!(at("{BIND, \"payload\"") < at("{READ_ONLY") && at("{READ_ONLY") < at("{DEVICE"));
    }

    #[test]
    fn what_cannot_be_made_by_hand_is_an_error() {
        for (from, to) in [
            ("\"bind\"", "\"overlay\""),
            ("rlimit cpu", "rlimit stack"),
            ("256MiB, 65536", "plenty, 65536"),
            ("rlimit cpu", "join-cgroup nothing"),
            ("\"landlock\"", "\"seatbelt\""),
        ] {
            assert!(told(&PLAN.replace(from, to)).header().is_err(), "{to}");
        }
    }

    #[test]
    fn a_group_is_below_that_of_its_maker() {
        assert_eq!(parent("4:memory:/a\n1:cpu,cpuacct:/\n", "pids"), None);
        assert_eq!(parent("1:none-such:/", "none-such"), None);
    }
}
