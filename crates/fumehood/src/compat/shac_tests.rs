use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Output, Stdio};

use tempfile::TempDir;

use super::*;

/// `root/{target, link -> target, link_outside -> outside/target}`, `outside/{target, link ->
/// root/target}`.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for dir in ["root", "outside"] {
            fs::create_dir(tree.path(dir)).unwrap();
            fs::write(tree.path(dir).join("target"), "content\n").unwrap();
        }
        symlink("target", tree.path("root/link")).unwrap();
        symlink(tree.path("outside/target"), tree.path("root/link_outside")).unwrap();
        symlink(tree.path("root/target"), tree.path("outside/link")).unwrap();
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    /// Sources and targets of what a mount becomes, and whether they are writable.
    fn resolved(&self, program: &Path, mounts: &[Mount]) -> Vec<(PathBuf, PathBuf, bool)> {
        let all = resolve(&self.path("root"), program, mounts);
        let all = all.into_iter().filter(|mount| mount.path != Path::new(PROGRAM));
        all.map(|mount| (mount.path.clone(), mount.inside().to_owned(), mount.writable)).collect()
    }

    fn expected(&self, pairs: &[(&str, &str)], writable: bool) -> Vec<(PathBuf, PathBuf, bool)> {
        pairs.iter().map(|(from, to)| (self.path(from), self.path(to), writable)).collect()
    }
}

const PROGRAM: &str = "/usr/bin/env";

#[test]
fn s1_a_link_below_the_root_is_mounted_with_its_target() {
    let tree = Tree::new();
    let got = tree.resolved(Path::new(PROGRAM), &[Mount::new(tree.path("root/link")).writable()]);
    let pairs = [("root/target", "root/target"), ("root/target", "root/link")];
    assert_eq!(got, tree.expected(&pairs, true));
}

#[test]
fn s2_a_link_to_outside_is_mounted_with_its_target() {
    let tree = Tree::new();
    let mount = Mount::new(tree.path("root/link_outside")).writable();
    let pairs = [("outside/target", "outside/target"), ("outside/target", "root/link_outside")];
    assert_eq!(tree.resolved(Path::new(PROGRAM), &[mount]), tree.expected(&pairs, true));
}

#[test]
fn s3_what_is_no_link_is_mounted_once() {
    let tree = Tree::new();
    let got = tree.resolved(Path::new(PROGRAM), &[Mount::new(tree.path("root/target")).writable()]);
    assert_eq!(got, tree.expected(&[("root/target", "root/target")], true));
}

#[test]
fn s4_a_program_behind_a_link_is_mounted_read_only_with_its_target() {
    let tree = Tree::new();
    let pairs = [("root/target", "root/target"), ("root/target", "root/link")];
    assert_eq!(tree.resolved(&tree.path("root/link"), &[]), tree.expected(&pairs, false));
}

#[test]
fn s5_what_is_read_only_stays_so() {
    let tree = Tree::new();
    let got = tree.resolved(Path::new(PROGRAM), &[Mount::new(tree.path("root/target"))]);
    assert_eq!(got, tree.expected(&[("root/target", "root/target")], false));
}

#[test]
fn s6_what_is_read_only_stays_so_behind_links() {
    let tree = Tree::new();
    let got = tree.resolved(Path::new(PROGRAM), &[Mount::new(tree.path("root/link"))]);
    let pairs = [("root/target", "root/target"), ("root/target", "root/link")];
    assert_eq!(got, tree.expected(&pairs, false));
}

#[test]
fn s7_a_mount_outside_of_the_root_is_left_as_it_is() {
    let tree = Tree::new();
    let got = tree.resolved(Path::new(PROGRAM), &[Mount::new(tree.path("outside/link"))]);
    assert_eq!(got, tree.expected(&[("outside/link", "outside/link")], false));
}

#[test]
fn of_two_mounts_for_one_place_the_first_counts() {
    let tree = Tree::new();
    let mounts = [Mount::new("/a").at("/x"), Mount::new("/b").at("/x")];
    let got = tree.resolved(Path::new(PROGRAM), &mounts);
    assert_eq!(got, [("/a".into(), "/x".into(), false)]);
}

#[test]
fn the_command_line_is_that_of_shac() {
    let config = Config::new([PROGRAM, "-0"], "/src")
        .env("B", "2")
        .env("A", "1 2")
        .mount(Mount::new("/src/b"))
        .mount(Mount::new("/b").at("/a").writable());
    let expected = [
        "--quiet --forward_signals --disable_rlimits --disable_clone_newcgroup --time_limit 0 --cwd",
        " /src --env A=1·2 --env B=2 --bindmount /b:/a --bindmount_ro /src/b:/src/b",
        " --bindmount_ro /usr/bin/env:/usr/bin/env -- /usr/bin/env -0",
    ]
    .concat();
    let words = |config: &Config| -> Vec<String> {
        arguments(config)
            .unwrap()
            .iter()
            .map(|arg| arg.to_string_lossy().replace(' ', "·"))
            .collect()
    };
    assert_eq!(words(&config).join(" "), expected);
    let with_network = words(&config.clone().allow_network(true));
    assert_eq!(with_network[8], "--disable_clone_newnet");
    assert_eq!(words(&config).join(" "), expected, "a configuration can be used twice");
}

#[test]
fn what_nsjail_cannot_express_is_refused() {
    for (config, field) in [
        (Config::new([""; 0], "/"), "cmd[0]"),
        (Config::new(["env"], "/"), "cmd[0]"),
        (Config::new([PROGRAM], "src"), "cwd"),
        (Config::new([PROGRAM], "/").mount(Mount::new("/a:b")), "mounts"),
        (Config::new([PROGRAM], "/").mount(Mount::new("/a").at("b")), "mounts"),
    ] {
        let said = arguments(&config).unwrap_err().to_string();
        assert!(said.starts_with(&format!("invalid job: {field}: ")), "{said}");
    }
}

/// Runs a shell script in a checkout, as shac does; none where there is no nsjail, or it cannot work.
fn run(tree: &Tree, script: &str, adapt: impl FnOnce(Config) -> Config) -> Option<Output> {
    let Ok(sandbox) = Sandbox::find() else {
        eprintln!("skipped: there is no nsjail; FUMEHOOD_NSJAIL can name one");
        return None;
    };
    let base = |script: &str| {
        let shell = Path::new("/bin/sh").canonicalize().unwrap();
        let config =
            Config::new([shell.as_os_str(), "-c".as_ref(), script.as_ref()], tree.path("root"));
        let system = ["/bin", "/lib", "/lib64", "/usr/lib", "/usr/bin"].map(Path::new);
        let system = system.into_iter().filter(|dir| dir.is_dir());
        let config = system.fold(config, |config, dir| config.mount(Mount::new(dir)));
        config.mount(Mount::new(tree.path("root"))).env("PATH", "/usr/bin:/bin")
    };
    let run = |config: &Config| {
        let mut command = sandbox.command(config).unwrap();
        command.stdin(Stdio::null()).output().unwrap()
    };
    if run(&base("exit 7")).status.code() != Some(7) {
        eprintln!("skipped: nsjail cannot make its sandbox on this host");
        return None;
    }
    Some(run(&adapt(base(script))))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[test]
fn s8_a_file_outside_of_the_mounts_is_not_there() {
    let tree = Tree::new();
    let file = tree.path("outside/target");
    let script = format!("cat {}", file.display());
    let Some(output) = run(&tree, &script, |config| config) else { return };
    let missing = format!("cat: {}: No such file or directory", file.display());
    assert!(said(&output).contains(&missing), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn s9_the_checkout_cannot_be_written() {
    let tree = Tree::new();
    let Some(output) = run(&tree, "touch file.txt", |config| config) else { return };
    assert!(said(&output).contains("touch: cannot touch 'file.txt': Read-only file system"));
    assert_eq!(output.status.code(), Some(1));
    assert!(!tree.path("root/file.txt").exists());
}

/// A port of the host that somebody listens on, and what of that a program sees.
fn listening(tree: &Tree, allow: bool) -> Option<bool> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!(":{:04X} ", listener.local_addr().unwrap().port());
    let output = run(tree, "cat /proc/net/tcp", |config| config.allow_network(allow))?;
    assert!(output.status.success(), "{output:?}");
    Some(said(&output).contains(&port))
}

#[test]
fn s10_the_network_is_the_program_s_own() {
    assert_ne!(listening(&Tree::new(), false), Some(true));
}

#[test]
fn s11_the_network_is_the_host_s_on_request() {
    assert_ne!(listening(&Tree::new(), true), Some(false));
}

#[test]
fn s12_what_is_passed_through_is_as_writable_as_it_says() {
    let tree = Tree::new();
    for name in ["ro", "rw"] {
        fs::create_dir(tree.path(name)).unwrap();
        fs::set_permissions(tree.path(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = "echo $VAR; touch $RW/x; touch $RO/x";
    let adapt = |config: Config| {
        let config =
            config.env("VAR", "passed").env("RW", tree.path("rw")).env("RO", tree.path("ro"));
        config.mount(Mount::new(tree.path("rw")).writable()).mount(Mount::new(tree.path("ro")))
    };
    let Some(output) = run(&tree, script, adapt) else { return };
    assert!(output.stdout == b"passed\n" && said(&output).contains("Read-only file system"));
    assert!(tree.path("rw/x").exists() && !tree.path("ro/x").exists());
}

#[test]
fn s13_a_path_with_what_is_no_directory_breaks_nothing() {
    let tree = Tree::new();
    let path = "/nowhere:relative:./also:/etc/passwd:/usr/bin:/bin";
    let Some(output) = run(&tree, "ls", |config| config.env("PATH", path)) else { return };
    assert!(output.status.success(), "{output:?}");
}

/// The limit of shac, 10 MiB of each stream, is one of jobs: cut off while it is read.
#[test]
fn s14_exactly_the_limit_is_no_excess_and_a_byte_more_is() {
    let limit = 10 << 20;
    let outcome = |bytes: usize| {
        let script = format!("head -c {bytes} /dev/zero >&2");
        let mut job = crate::Job::new(["/bin/sh", "-c", &script]);
        job.limits.output = Some(crate::ByteSize(limit).into());
        crate::blocking::block_on(crate::Sandbox::direct().run(&job)).unwrap()
    };
    let within = match outcome(10 << 20) {
        Err(error) if matches!(error.kind(), crate::ErrorKind::Unsupported { .. }) => {
            eprintln!("skipped: this host cannot confine it");
            return;
        }
        other => other.unwrap(),
    };
    assert_eq!(within.outcome, crate::Outcome::Exited { code: 0 });
    assert_eq!((within.stderr.total, within.stderr.truncated), (limit, false));
    let beyond = outcome((10 << 20) + 1).unwrap();
    let stream = crate::Stream::Stderr;
    assert_eq!(beyond.outcome, crate::Outcome::OutputLimit { stream });
}
