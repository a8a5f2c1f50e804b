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

const COMPONENTS: [Component; 15] = [
    component("cc", "gcc libc6-dev", "system calls that no shell can make; compiling C"),
    component("python3", "python3", "Python as a job"),
    component("perl", "perl", "Perl as a job"),
    component("bash", "bash", "Bash as a job; descriptors that the caller leaks"),
    component("make", "make", "make as a job"),
    component("git", "git", "git as a job"),
    component("node", "nodejs", "Node as a job"),
    component("javac", "default-jdk-headless", "the JVM as a job"),
    component("go", "golang-go", "Go as a job"),
    component("curl", "curl", "the transcripts of the service's documentation"),
    component("unshare", "util-linux", "hosts without user namespaces"),
    component("setpriv", "util-linux", "hosts without user namespaces"),
    component("setsid", "util-linux", "terminals"),
    component("musl-gcc", "musl-tools", "the benchmark with a payload that costs nothing"),
    component("bwrap", "bubblewrap", "the benchmark against bubblewrap"),
];

/// Where a system package puts its programs, and Go's own archive.
const DIRS: [&str; 6] =
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/usr/local/go/bin", "/usr/lib/go/bin"];

/// Installs what is missing if we may, and says what is missing afterwards. Never fails.
pub(crate) fn install() {
    let missing: Vec<_> = COMPONENTS.iter().filter(|component| !component.is_there()).collect();
    if missing.is_empty() {
        return;
    }
    match why_not() {
        Some(reason) => println!("not installing anything: {reason}"),
        None => apt(&missing),
    }
    for component in missing.iter().filter(|component| !component.is_there()) {
        println!("{} is missing, so not tried: {}", component.program, component.tries);
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
