//! Engines of the tests' own: each on a socket and with data of its own, started here and stopped by
//! its process id. They touch no network of the host: no bridge, no filter rules, no forwarding.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;

/// Name of the image of every engine: BusyBox and nothing else.
pub(crate) const IMAGE: &str = "fumehood-test/busybox";

/// An image that asks for much: an entrypoint, a variable, root, a volume, a health check.
pub(crate) const DEMANDING: &str = "fumehood-test/demanding";

/// A running engine.
#[derive(Debug)]
pub(crate) struct Engine {
    /// `docker` or `podman`.
    pub(crate) name: &'static str,
    pub(crate) socket: PathBuf,
    process: Option<Child>,
    dir: PathBuf,
}

/// Name, archive, and what is changed about it.
pub(crate) type Image<'a> = (&'a str, Vec<u8>, Vec<&'a str>);

/// What an engine has beyond the plain one.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The port of a registry on the loopback interface that it is to trust.
    pub(crate) registry: Option<u16>,
    /// gVisor as a runtime, for Docker.
    pub(crate) gvisor: bool,
    /// Whose it is, if not root's; for Podman.
    pub(crate) user: Option<u32>,
}

pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

impl Engine {
    /// Starts an engine and gives it the images; why it cannot be, if it cannot.
    pub(crate) fn start(name: &'static str) -> Result<Self, String> {
        Self::start_in(name, fresh(name))
    }

    /// The same with its data in this directory.
    pub(crate) fn start_in(name: &'static str, dir: PathBuf) -> Result<Self, String> {
        let archive = root()?;
        let images = images(name).map(|(image, changes)| (image, archive.clone(), changes));
        Ok(Self::bare(name, &Extras::default(), dir)?.with(&images))
    }

    /// Starts an engine that is more than plain, with these images.
    pub(crate) fn start_with(
        name: &'static str,
        extras: &Extras,
        images: &[Image<'_>],
    ) -> Result<Self, String> {
        Ok(Self::bare(name, extras, fresh(name))?.with(images))
    }

    /// One that is there and takes no image is no reason to skip anything.
    fn with(self, images: &[Image<'_>]) -> Self {
        for (image, archive, changes) in images {
            let imported = self.import(image, archive, changes);
            imported.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        }
        self
    }

    fn bare(name: &'static str, extras: &Extras, dir: PathBuf) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root starts engines".to_owned());
        }
        let socket = dir.join("engine.sock");
        let mut command = match name {
            "docker" => docker(&dir, &socket, extras)?,
            _ => podman(&dir, &socket, extras)?,
        };
        let log = fs::File::create(dir.join("log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::piped()).stdout(log).stderr(errors);
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        if let Some(user) = extras.user {
            give_ids(&mut child, user).map_err(|error| error.to_string())?;
        }
        drop(child.stdin.take());
        let mut engine = Self { name, socket, process: Some(child), dir };
        engine.wait()?;
        Ok(engine)
    }

    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if http::ask(&self.socket, "GET", "/version", "text/plain", b"").is_ok() {
                return Ok(());
            }
            let ended = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default().to_owned();
                return Err(format!("{} does not start here: {last}", self.name));
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn import(&self, name: &str, archive: &[u8], changes: &[&str]) -> Result<(), String> {
        let changes: String =
            changes.iter().map(|change| format!("&changes={}", escaped(change))).collect();
        let path = format!("/images/create?fromSrc=-&repo={}{changes}", escaped(name));
        let answer = http::ask(&self.socket, "POST", &path, "application/x-tar", archive);
        let (status, body) = answer.map_err(|error| error.to_string())?;
        if status == 200 { Ok(()) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    }

    /// The variable that leads `fumehood` here.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        let name = if self.name == "docker" { "DOCKER_HOST" } else { "CONTAINER_HOST" };
        (name, format!("unix://{}", self.socket.display()))
    }

    /// Where all that it has is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ids of all containers, whatever their state.
    pub(crate) fn containers(&self) -> Vec<String> {
        let listed = http::get(&self.socket, "/containers/json?all=1");
        let ids = listed.as_array().into_iter().flatten();
        ids.map(|one| one["Id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Panics if there are containers. An engine's list may lag behind what it says of each.
    pub(crate) fn has_nothing_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.containers();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            sleep(Duration::from_millis(50));
        }
    }

    /// How many volumes there are.
    pub(crate) fn volumes(&self) -> usize {
        http::get(&self.socket, "/volumes")["Volumes"].as_array().map_or(0, Vec::len)
    }

    /// The first container's own account of itself, as soon as there is one.
    pub(crate) fn inspect_first(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            for id in self.containers() {
                // One that is listed may be gone already.
                let path = format!("/containers/{id}/json");
                let Ok((200, found)) = http::ask(&self.socket, "GET", &path, "text/plain", b"")
                else {
                    continue;
                };
                let found: Value = serde_json::from_slice(&found).expect("it is JSON");
                if found["State"]["Running"] == json!(true) {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "no container comes up");
            sleep(Duration::from_millis(20));
        }
    }

    /// Kills the engine itself, by its process id.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.process {
            drop(child.kill());
        }
    }

    /// Asks the engine to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20));
        }
        drop(child.kill());
        drop(child.wait());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        orphans(self.dir());
        clear(self.dir());
    }
}

/// Processes that a killed engine left, found by their command lines, which name its directory.
fn orphans(dir: &Path) {
    let ours = dir.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mine = pid == rustix::process::getpid();
        if !mine && line.windows(ours.len()).any(|window| window == ours) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Unmounts what is left below a directory, and removes it.
fn clear(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for point in points.filter(|point| Path::new(point).starts_with(dir)) {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
    drop(fs::remove_dir_all(dir));
}

/// A new directory with a short path: that of a socket has 107 bytes at most.
pub(crate) fn fresh(name: &str) -> PathBuf {
    let dir = tempfile::Builder::new().prefix(&format!("fh-{name}-")).tempdir();
    let dir = dir.expect("a directory can be made").keep();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

fn docker(dir: &Path, socket: &Path, extras: &Extras) -> Result<Command, String> {
    let program = tool("dockerd").ok_or("dockerd is not installed")?;
    let mut settings = json!({
        "data-root": dir.join("data"), "exec-root": dir.join("exec"), "pidfile": dir.join("pid"),
        "hosts": [format!("unix://{}", socket.display())],
        "iptables": false, "ip6tables": false, "ip-forward": false, "ip-masq": false,
        "bridge": "none", "exec-opts": ["native.cgroupdriver=cgroupfs"], "log-level": "error",
    });
    if let Some(runsc) = tool("runsc").filter(|_| extras.gvisor) {
        settings["runtimes"] =
            json!({ "runsc": { "path": runsc, "runtimeArgs": ["--network=none"] } });
    }
    let file = dir.join("daemon.json");
    fs::write(&file, settings.to_string()).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("--config-file").arg(file);
    Ok(command)
}

fn podman(dir: &Path, socket: &Path, extras: &Extras) -> Result<Command, String> {
    let program = tool("podman").ok_or("podman is not installed")?;
    // crun refuses hosts with both versions of control groups; runc does not.
    let runtime = tool("runc").or_else(|| tool("crun")).ok_or("no runtime is installed")?;
    let mut command = match extras.user {
        Some(user) => as_user(user, dir, &program)?,
        None => Command::new(program),
    };
    command.args(["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime"]).arg(runtime);
    command.arg("--root").arg(dir.join("data")).arg("--runroot").arg(dir.join("run"));
    command.arg("--tmpdir").arg(dir.join("tmp")).args(["system", "service", "-t", "0"]);
    // Its monitor leaves a file where it was started when a container runs out of memory.
    command.current_dir(dir);
    command.arg(format!("unix://{}", socket.display()));
    if let Some(port) = extras.registry {
        let text = format!("[[registry]]\nlocation = \"127.0.0.1:{port}\"\ninsecure = true\n");
        let file = dir.join("registries.conf");
        fs::write(&file, text).map_err(|error| error.to_string())?;
        command.env("CONTAINERS_REGISTRIES_CONF", file);
    }
    Ok(command)
}

/// A program as a user with a range of ids, in a user namespace: what `newuidmap` and `/etc/subuid`
/// arrange where root has set them up. It waits for a line, by when it has its ids.
fn as_user(user: u32, dir: &Path, program: &Path) -> Result<Command, String> {
    std::os::unix::fs::chown(dir, Some(user), Some(user)).map_err(|error| error.to_string())?;
    let mut command = Command::new(tool("setpriv").ok_or("setpriv is not installed")?);
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    command.arg(tool("unshare").ok_or("unshare is not installed")?).arg("-Um");
    command.args(["sh", "-c", "read line; exec \"$@\"", "sh"]).arg(program);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.env_clear().env("PATH", path).env("HOME", dir).env("XDG_RUNTIME_DIR", dir);
    command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
    command.env("_CONTAINERS_ROOTLESS_UID", user.to_string());
    command.env("_CONTAINERS_ROOTLESS_GID", user.to_string());
    Ok(command)
}

/// Gives the waiting namespace its user as root, and ids that nobody has.
fn give_ids(child: &mut Child, user: u32) -> std::io::Result<()> {
    use std::io::Write;
    let own = fs::read_link("/proc/self/ns/user")?;
    let theirs = format!("/proc/{}/ns/user", child.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::read_link(&theirs)? == own {
        if Instant::now() > deadline {
            return Err(std::io::Error::other("it makes no user namespace"));
        }
        sleep(Duration::from_millis(5));
    }
    for file in ["uid_map", "gid_map"] {
        let map = format!("0 {user} 1\n1 1000000000 65536\n");
        fs::write(format!("/proc/{}/{file}", child.id()), map)?;
    }
    child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(b"\n"))
}

pub(crate) fn images(engine: &str) -> [(&'static str, Vec<&'static str>); 2] {
    let mut demanding = vec![
        r#"ENTRYPOINT ["/bin/echo","entry"]"#,
        r#"CMD ["command"]"#,
        "ENV GREETING=hello",
        "USER root",
        "VOLUME /vol",
        "WORKDIR /srv",
    ];
    // Podman takes no health check from an import.
    demanding.extend((engine == "docker").then_some("HEALTHCHECK CMD true"));
    [(IMAGE, vec!["ENV PATH=/bin"]), (DEMANDING, demanding)]
}

/// An archive with a root of BusyBox.
pub(crate) fn root() -> Result<Vec<u8>, String> {
    let busybox = tool("busybox").ok_or("busybox is not installed")?;
    let binary = fs::read(busybox).map_err(|error| error.to_string())?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, data: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, path, data)
    };
    let dirs = ["bin", "etc", "tmp", "srv"];
    let made = dirs.iter().try_for_each(|dir| add(dir, tar::EntryType::Directory, b"", 0o755));
    made.and_then(|()| add("bin/busybox", tar::EntryType::Regular, &binary, 0o755))
        .and_then(|()| {
            add("etc/passwd", tar::EntryType::Regular, b"root:x:0:0::/:/bin/sh\n", 0o644)
        })
        .map_err(|error| error.to_string())?;
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .map_err(|error| error.to_string())?;
    }
    archive.into_inner().map_err(|error| error.to_string())
}

const APPLETS: [&str; 24] = [
    "sh", "cat", "echo", "ls", "id", "sleep", "true", "false", "mkdir", "kill", "dd", "env",
    "touch", "chmod", "yes", "wc", "pwd", "ps", "rm", "ln", "head", "mkfifo", "cp", "grep",
];

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            escaped + &char::from(byte).to_string()
        }
        _ => format!("{escaped}%{byte:02X}"),
    })
}
