//! The payload as container engines want it: bundles, and an image.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What every bundle has; `LINUX` stands for its namespaces and maps.
const CONFIG: &str = r#"{
  "ociVersion": "1.0.2",
  "process": {
    "terminal": false,
    "user": {"uid": 1000, "gid": 1000},
    "args": ["/payload/true"],
    "env": ["PATH=/usr/bin:/bin"],
    "cwd": "/",
    "noNewPrivileges": true,
    "capabilities": {"bounding": [], "effective": [], "permitted": [], "inheritable": []}
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "box",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "nodev", "size=16m"]}
  ],
  "linux": LINUX
}
"#;

/// For runtimes that share the host's kernel.
const SHARED_KERNEL: &str = r#"{
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                   {"type": "mount"}, {"type": "cgroup"}, {"type": "user"}]
  }"#;

/// For gVisor, which has no need of a user namespace.
const OWN_KERNEL: &str = r#"{
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                   {"type": "mount"}]
  }"#;

/// Directories that a read-only root must have because something is mounted on them.
const MOUNT_POINTS: [&str; 4] = ["proc", "dev", "tmp", "payload"];

/// Makes `bundle`, `gvisor` and `image.tar`.
pub(super) fn bundles(dir: &Path, payload: &Path) -> io::Result<()> {
    for (name, linux) in [("bundle", SHARED_KERNEL), ("gvisor", OWN_KERNEL)] {
        let root = dir.join(name).join("rootfs");
        for point in MOUNT_POINTS {
            fs::create_dir_all(root.join(point))?;
        }
        fs::copy(payload, root.join("payload/true"))?;
        fs::write(dir.join(name).join("config.json"), config(linux))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir.join("bundle/rootfs")).arg("-cf").arg(dir.join("image.tar")).arg(".");
    if tar.status()?.success() { Ok(()) } else { Err(io::Error::other("tar failed")) }
}

fn config(linux: &str) -> String {
    CONFIG.replace("LINUX", linux)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_and_brackets_match() {
        for linux in [SHARED_KERNEL, OWN_KERNEL] {
            let text = config(linux);
            let count = |c: char| text.matches(c).count();
            assert!(count('{') > 10 && !text.contains("LINUX"));
            assert_eq!((count('{'), count('[')), (count('}'), count(']')));
            assert_eq!(count('"') % 2, 0);
        }
    }
}
