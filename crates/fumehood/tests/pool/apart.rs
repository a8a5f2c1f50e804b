//! What one run can find of another, and a cell from a template of what others are not like.

use std::fs::Permissions;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use fumehood::{Job, Pool, Sandbox};
use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::common::run;
use crate::processes::until_inits;
use crate::{pool, prints};

/// Leaves something at every place where there could be something to find, and prints what is there
/// from before.
const TRACES: &str = r#"
    find /tmp /workspace /dev/shm /dev/mqueue -mindepth 1 2>/dev/null
    cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | grep -v key
    for process in /proc/[0-9]*; do echo "${process#/proc/}"; done
    hostname; id -u; umask; env | sort; ulimit -a
    tail -n +3 /proc/net/dev; tail -n +2 /proc/net/tcp; tail -n +2 /proc/net/unix
    cat /proc/self/mountinfo | sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //' | wc -l
    echo left > /tmp/left; echo left > /workspace/left; echo left > /dev/shm/left
    ipcmk -M 4096 >/dev/null 2>&1; ipcmk -Q >/dev/null 2>&1; ipcmk -S 1 >/dev/null 2>&1
    (echo x > /dev/tcp/127.0.0.1/9) 2>/dev/null
    sleep 100 &
"#;

pub(crate) fn nothing_is_visible() -> Result<(), Failed> {
    run(async {
        let pool = pool(2);
        let job = Job::new(["bash", "-c", TRACES]);
        pool.warm(&job).await?;
        let first = prints(&pool, &job).await?;
        assert!(!first.contains("left"), "{first}");
        for _ in 0..6 {
            pool.warm(&job).await?;
            assert_eq!(prints(&pool, &job).await?, first);
        }
        assert_eq!(pool.metrics().hits, 7, "all were parked");
        Ok(())
    })
}

/// All that a program can tell of its confinement.
const CONFINEMENT: &str = r#"
    grep -vE 'ctxt|Vm|Rss|Hugetlb' /proc/self/status | grep -vE '^(Pid|PPid|Tgid|NSpid|NSpgid|NSsid|Cpus|Mems)'
    cut -c1-10 /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups /proc/self/limits
    stat -c '%A %u %g %s %n %N' / /* /dev/* /dev/shm /etc/* /proc/sys/kernel | grep -v ' /proc '
    cut -d' ' -f4-6 /proc/self/mountinfo | sort -u
    cat /proc/self/net/dev /proc/self/net/if_inet6 /proc/self/net/route /proc/self/net/unix
    cat /proc/sys/kernel/hostname /proc/self/cgroup | sed 's/[0-9a-f]*-[0-9]*$//'
    for i in /proc/[0-9]*; do cat $i/comm; done
    for path in /usr /etc/passwd /dev/null /proc/sys /; do touch $path/x 2>&1; done
    (echo >/dev/tcp/127.0.0.1/1) 2>&1 | grep -o refused
    unshare -r true 2>&1; mount -t tmpfs x /mnt 2>&1; umount /proc 2>&1; umount /tmp 2>&1
    echo 9 2>&1 > /proc/sys/user/max_inotify_instances; cat /proc/sys/user/max_inotify_instances
"#;

pub(crate) fn templates_change_nothing() -> Result<(), Failed> {
    run(async {
        let job = Job::new(["bash", "-c", CONFINEMENT]);
        let without = Sandbox::new().run(&job).await?;
        let pool = pool(1);
        pool.warm(&job).await?;
        assert_eq!((pool.metrics().templates, pool.metrics().parked), (1, 1), "made in a template");
        let within = pool.run(&job).await?;
        let [without_text, within_text] =
            [&without, &within].map(|report| String::from_utf8_lossy(&report.stdout.data));
        assert!(within_text.contains("refused"), "the whole script ran: {within_text}");
        // The template's own, which shows the template alone, lies below the cell's.
        let covered = "/ /proc rw,nosuid,nodev,noexec,relatime\n";
        assert_eq!(within_text.matches(covered).count(), 1, "{within_text}");
        assert_eq!(without_text, within_text.replace(covered, ""));
        assert_eq!(without.confinement, within.confinement);
        Ok(())
    })
}

/// Says on its standard output whether somebody listens where others here do, and listens for a while.
const LISTENER: &str = r#"
import socket, time
def reaches(address, family):
    with socket.socket(family) as other:
        return other.connect_ex(address) == 0
found = reaches(("127.0.0.1", 4242), socket.AF_INET) or reaches("\0left", socket.AF_UNIX)
one, two = socket.create_server(("127.0.0.1", 4242)), socket.socket(socket.AF_UNIX)
two.bind("\0left"); two.listen()
time.sleep(0.3)
print("met" if found else "alone")
"#;

pub(crate) fn networks_are_apart() -> Result<(), Failed> {
    run(async {
        let pool = pool(3);
        let job = Job::new(["python3", "-c", LISTENER]);
        for _ in 0..3 {
            pool.warm(&job).await?;
            let (one, two, three) =
                tokio::join!(prints(&pool, &job), prints(&pool, &job), prints(&pool, &job));
            assert_eq!(
                (one?, two?, three?),
                ("alone\n".into(), "alone\n".into(), "alone\n".into())
            );
        }
        assert_eq!((pool.metrics().hits, pool.metrics().templates), (9, 1));
        Ok(())
    })
}

/// Gives a socket of its own to whoever listens at `/shared/socket`: a host that shows a program a
/// socket lets it pass descriptors out.
const GIVER: &str = r#"
import array, socket
out = socket.socket(socket.AF_UNIX); out.connect("/shared/socket")
mine = socket.socket(socket.AF_UNIX); mine.bind("\0left"); mine.listen()
out.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [mine.fileno()]))])
print("given")
"#;

const SEEKER: &str = r#"
import socket
print(socket.socket(socket.AF_UNIX).connect_ex("\0left"))
"#;

/// Gives away a file that tells of the sockets of its network, of which it leaves none itself.
const WATCHED: &str = r#"
import array, os, socket
out = socket.socket(socket.AF_UNIX); out.connect("/shared/socket")
file = os.open("/proc/net/unix", os.FLAG)
out.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])
"#;

/// Which network it is in.
const NETWORK: &str = "import os; print(os.readlink('/proc/self/ns/net'))";

/// Has a socket with a name, and says what whoever listens at `/shared/socket` says of it.
const NAMED: &str = r#"
import socket
mine = socket.socket(socket.AF_UNIX); mine.bind("\0secret"); mine.listen()
out = socket.socket(socket.AF_UNIX); out.connect("/shared/socket")
print(out.recv(100).decode())
"#;

/// What a host shows to programs: a socket of its own.
struct Shared {
    dir: TempDir,
    listener: UnixListener,
}

impl Shared {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        for open in [dir.path(), &path] {
            let all = Permissions::from_mode(0o777);
            std::fs::set_permissions(open, all).expect("they are ours");
        }
        Self { dir, listener }
    }

    fn job(&self, script: &str) -> Job {
        Job::new(["python3", "-c", script]).mount(self.dir.path(), "/shared")
    }

    /// Has a program pass a socket out, which stays in the queue of this connection.
    async fn keep_one(&self, pool: &Pool) -> fumehood::Result<UnixStream> {
        assert_eq!(prints(pool, &self.job(GIVER)).await?, "given\n");
        Ok(self.listener.accept().expect("a connection").0)
    }

    async fn assert_nobody_is_there(&self, pool: &Pool) -> fumehood::Result<()> {
        let refused = format!("{}\n", rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(prints(pool, &self.job(SEEKER)).await?, refused);
        Ok(())
    }
}

pub(crate) fn sockets_that_stay() -> Result<(), Failed> {
    run(async {
        let (shared, pool) = (Shared::new(), pool(1));
        pool.warm(&shared.job(GIVER)).await?;
        let _kept = shared.keep_one(&pool).await?;
        for _ in 0..3 {
            pool.warm(&shared.job(SEEKER)).await?;
            shared.assert_nobody_is_there(&pool).await?;
        }
        assert_eq!((pool.metrics().hits, pool.metrics().templates), (4, 1));
        Ok(())
    })
}

/// A template looks at what comes back when nobody asks it for anything.
pub(crate) fn sockets_that_stay_later() -> Result<(), Failed> {
    run(async {
        let (shared, pool) = (Shared::new(), pool(0));
        pool.warm(&shared.job(GIVER)).await?;
        let _kept = shared.keep_one(&pool).await?;
        for _ in 0..3 {
            until_inits(0).await;
            // Many times what it waits for that.
            tokio::time::sleep(Duration::from_millis(100)).await;
            shared.assert_nobody_is_there(&pool).await?;
        }
        assert_eq!((pool.metrics().misses, pool.metrics().templates), (4, 1));
        Ok(())
    })
}

/// What its network counts, before it does something there of which not all is counted at once.
const COUNTED: &str = r#"
import os, socket, struct, time
time.sleep(0.1)
for name in ["dev", "snmp", "netstat", "snmp6", "rt6_stats"]:
    print(open("/proc/net/" + name).read() if os.path.exists("/proc/net/" + name) else "", flush=True)
v4, v6 = (socket.socket(family, socket.SOCK_DGRAM) for family in [socket.AF_INET, socket.AF_INET6])
ACT
os._exit(0)
"#;

/// A connection over which nothing is sent.
const ROUTE: &str = r#"v6.connect(("::1", 9))"#;

pub(crate) fn routes() -> Result<(), Failed> {
    run(nothing_is_counted(ROUTE))
}

/// A group of multicast that is left at once: a report may follow.
const GROUPS: [&str; 2] = [
    r#"v4.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, bytes([239, 1, 2, 3, 127, 0, 0, 1]))"#,
    r#"v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
        socket.inet_pton(socket.AF_INET6, "ff02::1234") + struct.pack("i", 1))"#,
];

pub(crate) fn groups() -> Result<(), Failed> {
    run(async {
        for group in GROUPS {
            nothing_is_counted(group).await?;
        }
        Ok(())
    })
}

/// Whatever a program does, the next ones have networks that are like new.
async fn nothing_is_counted(act: &str) -> fumehood::Result<()> {
    let pool = pool(0);
    let job = Job::new(["python3", "-c", &COUNTED.replace("ACT", act)]);
    pool.warm(&job).await?;
    let first = prints(&pool, &job).await?;
    for _ in 0..3 {
        until_inits(0).await;
        // Many times what a template waits before it looks at what came back.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(prints(&pool, &job).await?, first);
    }
    Ok(())
}

/// Only where nobody has anything of the one before, but then always.
pub(crate) fn networks_of_mounts() -> Result<(), Failed> {
    run(async {
        let (shared, pool) = (Shared::new(), pool(0));
        let job = shared.job(NETWORK);
        pool.warm(&job).await?;
        let first = prints(&pool, &job).await?;
        for _ in 0..5 {
            until_inits(0).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(prints(&pool, &job).await?, first);
        }
        Ok(())
    })
}

/// The file on the first connection.
fn received(listener: &UnixListener) -> std::fs::File {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (connection, _) = listener.accept().expect("a connection");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0];
    let mut parts = [std::io::IoSliceMut::new(&mut text)];
    recvmsg(&connection, &mut parts, &mut ancillary, RecvFlags::empty()).expect("a message");
    let RecvAncillaryMessage::ScmRights(mut files) = ancillary.drain().next().expect("files")
    else {
        panic!("no files");
    };
    files.next().expect("one").into()
}

/// The kernel does not say that somebody has such a file, or only a place that it can be opened by.
pub(crate) fn watched_networks() -> Result<(), Failed> {
    run(async {
        for flag in ["O_RDONLY", "O_PATH"] {
            watched_by(&WATCHED.replace("FLAG", flag)).await?;
        }
        Ok(())
    })
}

async fn watched_by(giving: &str) -> fumehood::Result<()> {
    let (shared, pool) = (Shared::new(), pool(0));
    let listener = shared.listener.try_clone().expect("a descriptor");
    let watcher = std::thread::spawn(move || {
        let held = received(&listener);
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        for _ in 0..3 {
            let (mut connection, _) = listener.accept().expect("a connection");
            // A place alone does not keep a network that nobody is in.
            let text = std::fs::read(&again).unwrap_or_default();
            let seen = text.windows(6).any(|name| name == b"secret");
            connection.write_all(if seen { b"seen" } else { b"unseen" }).expect("heard");
        }
    });
    pool.warm(&shared.job(giving)).await?;
    assert_eq!(prints(&pool, &shared.job(giving)).await?, "");
    for _ in 0..3 {
        until_inits(0).await;
        // Many times what a template waits before it looks at what came back.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(prints(&pool, &shared.job(NAMED)).await?, "unseen\n");
    }
    watcher.join().expect("no panic");
    assert_eq!((pool.metrics().misses, pool.metrics().templates), (4, 1));
    Ok(())
}
