//! Bundles with runners, in gVisor: the cases are those of a system that ran programs so.
//!
//! This binary, which is linked statically, is the runner in the bundle, and its program, too.

#![expect(
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "what cannot go on in a test ends it"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fumehood::runner::{Bundle, Cmd};
use fumehood::{BackendName, Job, Root, Stdin};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const CASES: [(&str, fn(&Path)); 11] = [
    ("p_1_arguments_pass_through", p_1),
    ("p_2_spaces_and_tabs_are_preserved", p_2),
    ("p_3_an_environment_replaces_all", p_3),
    ("p_4_an_environment_is_appended", p_4),
    ("p_5_a_missing_program_is_named", p_5),
    ("p_6_output_has_no_white_space_around_it", p_6),
    ("p_7_the_bundle_is_valid", p_7),
    ("runs_do_not_get_in_each_other_s_way", concurrent),
    ("nothing_written_reaches_the_host", overlaid),
    ("a_bind_shows_nothing_that_is_mounted_below_its_source", bound),
    ("any_directory_of_the_host_can_be_shown", shown),
];

fn main() -> ExitCode {
    fumehood::init();
    let mut args = std::env::args();
    match args.next().as_deref() {
        Some("/runner") => {
            return fumehood::runner::serve(std::io::stdin(), std::io::stdout(), std::io::stderr())
                .into();
        }
        Some("printargs") => {
            return print(args.enumerate().map(|(i, arg)| format!("{i}: {arg:?}")));
        }
        Some("printenv") => return print(args.map(|name| std::env::var(name).unwrap_or_default())),
        Some("writeall") => return write_all(args),
        Some("list") => return print(args.flat_map(names)),
        _ => {}
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}

fn print(lines: impl Iterator<Item = String>) -> ExitCode {
    let lines: String = lines.map(|line| line + "\n").collect();
    std::io::Write::write_all(&mut std::io::stdout(), b"\n").unwrap();
    std::io::Write::write_all(&mut std::io::stdout(), lines.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn write_all(paths: impl Iterator<Item = String>) -> ExitCode {
    let written: Vec<_> = paths.map(|path| std::fs::write(path, "changed").is_ok()).collect();
    print(written.into_iter().map(|done| done.to_string()))
}

fn trials() -> Vec<Trial> {
    let reason = why_not();
    let trial = |(name, case): (&'static str, fn(&Path))| {
        let reason = reason.clone();
        Trial::ignorable_test(name, move || {
            if let Some(reason) = reason {
                return Ok(Completion::ignored_with(reason));
            }
            let dir = tempfile::tempdir().map_err(|error| Failed::from(error.to_string()))?;
            furnish(dir.path());
            case(dir.path());
            Ok(Completion::Completed)
        })
    };
    CASES.into_iter().map(trial).collect()
}

/// Why nothing can be tried here.
fn why_not() -> Option<String> {
    let job = Job::new(["true"]).backend(BackendName::Runsc);
    fumehood::blocking::run(&job).err().map(|error| error.to_string())
}

/// A bundle as that system had it: root of gVisor's, with three capabilities, and a writable root.
fn furnish(bundle: &Path) {
    let root = bundle.join("rootfs");
    for name in ["proc", "dev", "sys", "tmp/foo", "data"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::create_dir(bundle.join("data")).unwrap();
    std::fs::write(bundle.join("data/file"), "untouched").unwrap();
    for name in ["runner", "printargs", "printenv", "writeall", "list"] {
        std::fs::copy(std::env::current_exe().unwrap(), root.join(name)).unwrap();
    }
    let capabilities = r#"["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]"#;
    let config = format!(
        r#"{{"ociVersion": "1.0.0",
        "process": {{"user": {{"uid": 0, "gid": 0}}, "args": ["/runner"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {{"bounding": {capabilities}, "effective": {capabilities},
                "inheritable": {capabilities}, "permitted": {capabilities}}},
            "rlimits": [{{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}}]}},
        "root": {{"path": "rootfs", "readonly": false}}, "hostname": "runsc",
        "mounts": [{{"destination": "/proc", "type": "proc", "source": "proc"}},
            {{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}},
            {{"destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"]}},
            {{"destination": "/data", "type": "bind", "source": "data", "options": ["bind"]}},
            {{"destination": "/tmp/foo", "type": "bind", "source": "/", "options": ["bind"]}}],
        "linux": {{"namespaces": [{{"type": "pid"}}, {{"type": "network"}}, {{"type": "ipc"}},
            {{"type": "uts"}}, {{"type": "mount"}}]}}}}"#
    );
    std::fs::write(bundle.join("config.json"), config).unwrap();
}

fn command<const N: usize>(bundle: &Path, name: &str, args: [&str; N]) -> Cmd {
    Bundle::new(bundle).command(name, args)
}

fn output(command: &Cmd) -> String {
    let output = command.output().unwrap_or_else(|failure| panic!("{failure}"));
    String::from_utf8(output).unwrap()
}

fn p_1(bundle: &Path) {
    assert_eq!(output(&command(bundle, "printargs", ["a", "b"])), "0: \"a\"\n1: \"b\"");
}

fn p_2(bundle: &Path) {
    let said = output(&command(bundle, "printargs", ["a", "b c\td", "<&>"]));
    assert_eq!(said, "0: \"a\"\n1: \"b c\\td\"\n2: \"<&>\"");
}

fn p_3(bundle: &Path) {
    let mut command = command(bundle, "printenv", ["HOME", "FOO", "FOO"]);
    command.request.env = Some(vec!["FOO=17".into()]);
    assert_eq!(output(&command), "17\n17", "HOME is empty, and trimmed away");
}

fn p_4(bundle: &Path) {
    let mut command = command(bundle, "printenv", ["HOME", "FOO"]);
    command.request.env = Some(vec!["FOO=17".into()]);
    command.request.append_to_env = true;
    assert_eq!(output(&command), "/\n17");
}

fn p_5(bundle: &Path) {
    let failure = command(bundle, "foo", []).output().unwrap_err();
    assert_eq!(failure.exit_code(), Some(1));
    let said = String::from_utf8_lossy(failure.stderr()).into_owned();
    assert!(said.contains("no such file"), "{said}");
    assert!(failure.to_string().contains("no such file"), "{failure}");
}

fn p_6(bundle: &Path) {
    let command = command(bundle, "printargs", []);
    assert_eq!(output(&command), "", "it prints an empty line");
    assert_eq!(command.report().unwrap().stdout.data, b"\n", "which the report has");
}

fn p_7(bundle: &Path) {
    Bundle::new(bundle).validate().unwrap();
    std::fs::remove_file(bundle.join("data/file")).unwrap();
    std::fs::remove_dir(bundle.join("data")).unwrap();
    let said = command(bundle, "printargs", []).output().unwrap_err().to_string();
    assert!(said.contains("bind mount source") && said.contains("no such file"), "{said}");
}

fn concurrent(bundle: &Path) {
    let said = std::thread::scope(|scope| {
        let run = |n: usize| output(&command(bundle, "printargs", [n.to_string().as_str()]));
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(said, (0..4).map(|n| format!("0: \"{n}\"")).collect::<Vec<_>>());
}

fn overlaid(bundle: &Path) {
    let said = output(&command(bundle, "writeall", ["/data/file", "/printenv", "/new"]));
    assert_eq!(said, "true\ntrue\ntrue", "the program can write as it was used to");
    assert_eq!(std::fs::read_to_string(bundle.join("data/file")).unwrap(), "untouched");
    assert!(!bundle.join("rootfs/new").exists());
    let mut job = Job::new(Vec::<String>::new()).backend(BackendName::Native);
    job.root = Root::Bundle(PathBuf::from(bundle));
    job.stdin = Stdin::None;
    let refused = fumehood::blocking::run(&job).unwrap_err().to_string();
    assert!(refused.contains("name backend runsc"), "{refused}");
}

fn bound(bundle: &Path) {
    assert_eq!(output(&command(bundle, "list", ["/tmp/foo"])), names("/").join("\n"));
    assert_eq!(output(&command(bundle, "list", ["/tmp/foo/proc"])), "");
    let written = "/tmp/foo/tmp/fumehood-wrote-this";
    output(&command(bundle, "writeall", [written]));
    assert!(!Path::new("/tmp/fumehood-wrote-this").exists());
}

/// Also those that the runtime works in, or that have other mounts in them.
fn shown(bundle: &Path) {
    let path = bundle.join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let asked = r#""source": "/", "options": ["bind"]"#;
    for source in ["/", "/sys", "/dev", "/mnt", "/usr"] {
        for option in ["bind", "rbind"] {
            let other = format!(r#""source": "{source}", "options": ["{option}"]"#);
            std::fs::write(&path, config.replace(asked, &other)).unwrap();
            let seen = output(&command(bundle, "list", ["/tmp/foo"]));
            // gVisor shows neither devices that it does not pass on nor sockets.
            let is_plain = |name: &String| Path::new(source).join(name).is_dir();
            let missing: Vec<_> = names(source)
                .into_iter()
                .filter(|name| is_plain(name) && !seen.lines().any(|line| line == name))
                .collect();
            assert!(missing.is_empty(), "{source}, {option}: {missing:?}");
        }
    }
}
