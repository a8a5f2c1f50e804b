//! Engines for the measurement: each on a socket and with data of its own, and with one image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Pair;
use crate::components::find;

const IMAGE: &str = "fumehood-overhead";

/// The settings of ours, as flags of both clients.
const SETTINGS: &str = "--rm --network=none --read-only --cap-drop=all \
    --security-opt=no-new-privileges --pids-limit=65 --memory=512m --memory-swap=512m \
    --user=65532:65532 --ulimit nofile=1024:1024 --ulimit core=0 --log-driver=none --ipc=private \
    --no-healthcheck --tmpfs /tmp:rw,exec,nosuid,nodev,mode=0755,size=256m \
    --tmpfs /workspace:rw,exec,nosuid,nodev,mode=0755,size=256m";

/// An engine; stopped, by its process id, when it is dropped.
pub(super) struct Engine {
    name: &'static str,
    dir: PathBuf,
    client: String,
    process: Child,
}

impl Engine {
    pub(super) fn start(name: &'static str, dir: &Path, payload: &Path) -> Result<Self, String> {
        let dir = dir.join(name);
        fs::create_dir(&dir).map_err(|error| error.to_string())?;
        let (server, client) = if name == "docker" { docker(&dir)? } else { podman(&dir)? };
        let log = fs::File::create(dir.join("log")).map_err(|error| error.to_string())?;
        let mut command = words(&server);
        command.current_dir(&dir).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().map_err(|error| format!("{server}: {error}"))?;
        let engine = Self { name, dir, client, process };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !words(&format!("{} version", engine.client))
            .output()
            .is_ok_and(|done| done.status.success())
        {
            if Instant::now() > deadline {
                return Err("its engine does not start".to_owned());
            }
            sleep(Duration::from_millis(100));
        }
        engine.import(payload)?;
        Ok(engine)
    }

    fn import(&self, payload: &Path) -> Result<(), String> {
        let root = self.dir.join("image");
        let tar = self.dir.join("image.tar");
        let made = fs::create_dir_all(root.join("payload"))
            .and_then(|()| fs::create_dir(root.join("tmp")))
            .and_then(|()| fs::create_dir(root.join("workspace")))
            .and_then(|()| fs::copy(payload, root.join("payload/true")).map(drop));
        made.map_err(|error| error.to_string())?;
        for line in [
            format!("tar -C {} -cf {} .", root.display(), tar.display()),
            format!("{} import {} {IMAGE}", self.client, tar.display()),
        ] {
            let done = words(&line).output().map_err(|error| format!("{line}: {error}"))?;
            if !done.status.success() {
                return Err(format!("{line}: {}", String::from_utf8_lossy(&done.stderr).trim()));
            }
        }
        Ok(())
    }

    pub(super) fn pair(&self, binary: &Path) -> Pair {
        let variable = if self.name == "docker" { "DOCKER_HOST" } else { "CONTAINER_HOST" };
        let socket = self.dir.join("s");
        let ours = format!(
            "env {variable}=unix://{} {} run --backend {} --image {IMAGE} -- /payload/true",
            socket.display(),
            binary.display(),
            self.name
        );
        // Podman would raise it to more than its own limit.
        let more = if self.name == "podman" { "--ulimit nproc=1024:1024" } else { "" };
        let hand = format!("{} run {SETTINGS} {more} {IMAGE} /payload/true", self.client);
        Pair { name: self.name, ours, hand, unlimited: None }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(words(&format!("kill {}", self.process.id())).status());
        drop(self.process.wait());
        // What it keeps mounted while it has images.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(&self.dir)) {
            drop(Command::new("umount").arg("-l").arg(point).status());
        }
    }
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null());
    command
}

fn docker(dir: &Path) -> Result<(String, String), String> {
    let (server, client) =
        find("dockerd").zip(find("docker")).ok_or("dockerd and its client are not installed")?;
    let shown = dir.display();
    let settings = format!(
        r#"{{"data-root": "{shown}/data", "exec-root": "{shown}/exec", "pidfile": "{shown}/pid",
        "hosts": ["unix://{shown}/s"], "iptables": false, "ip6tables": false, "ip-forward": false,
        "ip-masq": false, "bridge": "none", "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "log-level": "error"}}"#
    );
    fs::write(dir.join("daemon.json"), settings).map_err(|error| error.to_string())?;
    Ok((
        format!("{server} --config-file {shown}/daemon.json"),
        format!("{client} -H unix://{shown}/s"),
    ))
}

fn podman(dir: &Path) -> Result<(String, String), String> {
    let podman = find("podman").ok_or("podman is not installed")?;
    let runtime = find("runc").or_else(|| find("crun")).ok_or("no runtime is installed")?;
    let shown = dir.display();
    let client = format!(
        "{podman} --cgroup-manager=cgroupfs --events-backend=none --runtime {runtime} --root \
         {shown}/data --runroot {shown}/run --tmpdir {shown}/tmp"
    );
    Ok((format!("{client} system service -t 0 unix://{shown}/s"), client))
}
