//! What an engine is asked for, and what is made of what it did.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::api::Info;
use super::facts::{self, Facts, Scratch};
use super::http::Client;
use super::preset::{Around, Container};
use super::{Engine, refuse, standing};
use crate::backend::Lack;
use crate::host::Host;
use crate::plan::Plan;
use crate::{BackendName, ByteSize, Guarantee, Job, Limit, Network, Seccomp, Tmpfs};

fn engine(info: Info) -> Engine {
    let known = OnceLock::new();
    let _ = known.set(info);
    Engine {
        name: BackendName::Docker,
        client: Client::new("/nowhere"),
        podman: false,
        info: known,
    }
}

/// A plan as for an engine, made without one: nothing in it but the job is looked at.
fn plan(job: &Job) -> Plan {
    let bare = Job::new(["true"]).waive_all();
    let mut plan = Plan::make(&bare, Host::current(), Vec::new()).expect("the job is valid");
    plan.job = job.clone();
    plan
}

fn asked_for(job: &Job, podman: bool) -> Value {
    serde_json::to_value(made_for(job, podman)).expect("it is JSON")
}

/// A container like any other.
pub(super) fn container() -> Container {
    made_for(&job(), false)
}

fn made_for(job: &Job, podman: bool) -> Container {
    let around = Around {
        image: "sha256:0",
        init: "/usr/bin/fumehood".into(),
        labels: BTreeMap::from([("fumehood.owner".to_owned(), "x".to_owned())]),
        runtime: None,
        podman,
    };
    Container::new(&plan(job), &around).expect("nothing is read")
}

/// A job whose own root needs no image, for a plan of ours to be made of.
fn job() -> Job {
    Job::new(["true"]).waive_all()
}

trait WaiveAll {
    fn waive_all(self) -> Self;
}

impl WaiveAll for Job {
    fn waive_all(mut self) -> Self {
        self.waive = Guarantee::ALL.into();
        self
    }
}

#[test]
fn the_walls_stand_in_every_request() {
    for podman in [false, true] {
        let asked = asked_for(&job(), podman);
        let host = &asked["HostConfig"];
        assert_eq!(asked["User"], "65532:65532");
        assert_eq!(asked["Entrypoint"][0], "/.fumehood/init");
        assert_eq!(asked["Healthcheck"]["Test"], json!(["NONE"]));
        assert_eq!(host["ReadonlyRootfs"], true);
        assert_eq!(host["Privileged"], false);
        assert_eq!(host["CapDrop"], json!(["ALL"]));
        let options = host["SecurityOpt"].as_array().expect("a list");
        assert_eq!(options[0], "no-new-privileges");
        let named = options.iter().filter(|option| option.to_string().contains("seccomp"));
        assert_eq!(named.count(), 0, "the default filter has no name");
        let hidden = if podman { &options[1] } else { &host["MaskedPaths"] };
        for path in ["/proc/kcore", "/proc/kallsyms", "/sys/firmware"] {
            assert!(hidden.to_string().contains(path), "{path}: {hidden}");
        }
        assert_eq!(host["NetworkMode"], "none");
        assert_eq!(host["IpcMode"], "private");
        assert_eq!(host["LogConfig"]["Type"], "none");
        assert_eq!(host["MemorySwap"], host["Memory"]);
        assert_eq!(host["PidsLimit"], 65);
        for never in ["CapAdd", "Devices", "Binds", "VolumesFrom", "PidsMode", "UsernsMode"] {
            assert!(host.get(never).is_none(), "{never}");
        }
    }
}

#[test]
fn no_more_processes_are_asked_for_than_kernels_take() {
    let job = job().limits(|limits| limits.pids = Some((4 << 20).into()));
    assert_eq!(asked_for(&job, false)["HostConfig"]["PidsLimit"], 4 << 20);
}

#[test]
fn scratch_executes_is_limited_and_the_program_s() {
    let tmpfs = asked_for(&job().tmpfs("/work"), false)["HostConfig"]["Tmpfs"].clone();
    for path in ["/workspace", "/tmp", "/work"] {
        let options = tmpfs[path].as_str().unwrap_or_else(|| panic!("{path}: {tmpfs}"));
        for option in ["exec", "nosuid", "nodev", "size=268435456", "nr_inodes=65536", "uid=65532"]
        {
            assert!(options.split(',').any(|one| one == option), "{path}: {option}: {options}");
        }
    }
    let shared = tmpfs["/dev/shm"].as_str().unwrap_or_else(|| panic!("{tmpfs}"));
    assert!(shared.ends_with("size=268435456,nr_inodes=65536"), "{shared}");
    let podman = asked_for(&job(), true)["HostConfig"]["Tmpfs"].clone();
    assert!(podman["/workspace"].as_str().is_some_and(|options| options.ends_with(",U")));
    assert!(!podman.to_string().contains("nr_inodes"), "Podman knows no such option");
    assert!(podman["/run"].as_str().is_some_and(|options| options.contains("size=4k")));
}

#[test]
fn a_network_is_passed_on_by_its_name() {
    let named = job().network(Network::Named("bridge".into()));
    assert_eq!(asked_for(&named, false)["HostConfig"]["NetworkMode"], "bridge");
}

#[test]
fn limits_have_the_engine_s_units() {
    let limited = job().limits(|limits| {
        limits.memory = Some(ByteSize::gib(1).into());
        limits.cpus = Some("1.5".parse::<crate::Cpus>().expect("a number").into());
        limits.pids = Some(Limit::Unlimited);
    });
    let host = asked_for(&limited, false)["HostConfig"].clone();
    assert_eq!(host["Memory"], 1_u64 << 30);
    assert_eq!(host["NanoCpus"], 1_500_000_000_u64);
    assert!(host.get("PidsLimit").is_none());
}

/// A container that is as it should be.
fn sound() -> Facts {
    let scratch = ["/workspace", "/tmp", "/dev/shm"].map(|path| Scratch {
        path: path.into(),
        bytes: 256 << 20,
        inodes: 65536,
    });
    Facts {
        pid: 1,
        uid: 65532,
        gid: 65532,
        no_capabilities: true,
        no_new_privs: true,
        filter: true,
        root_read_only: true,
        memory: Some(512 << 20),
        memory_and_swap: Some(512 << 20),
        pids: Some(65),
        kernel: facts::kernel(),
        meter: true,
        guarded: true,
        scratch: scratch.into(),
        ..Facts::default()
    }
}

fn lack(guarantee: Guarantee, change: impl FnOnce(&mut Facts)) -> Option<Lack> {
    let mut facts = sound();
    change(&mut facts);
    let engine = engine(Info::default());
    standing::holds(&engine, &plan(&job()), guarantee, Some(&facts)).err()
}

#[test]
fn a_sound_container_holds_all_but_two() {
    for guarantee in Guarantee::ALL {
        let never = matches!(guarantee, Guarantee::Landlock | Guarantee::KernelBoundary);
        assert_eq!(lack(guarantee, |_| {}).is_some(), never, "{guarantee}");
    }
}

type Broken = (Guarantee, fn(&mut Facts));

#[test]
fn what_an_engine_left_out_is_not_held() {
    let broken: [Broken; 15] = [
        (Guarantee::ReadOnlyRoot, |facts| facts.root_read_only = false),
        (Guarantee::Processes, |facts| facts.pid = 4711),
        (Guarantee::Network, |facts| facts.interfaces = vec!["eth0".into()]),
        (Guarantee::NoPrivileges, |facts| facts.uid = 0),
        (Guarantee::NoPrivileges, |facts| facts.no_capabilities = false),
        (Guarantee::NoPrivileges, |facts| facts.no_new_privs = false),
        (Guarantee::SyscallFilter, |facts| facts.filter = false),
        (Guarantee::Memory, |facts| facts.memory = None),
        (Guarantee::Memory, |facts| facts.memory_and_swap = Some(1 << 30)),
        (Guarantee::Pids, |facts| facts.pids = None),
        (Guarantee::CpuTime, |facts| facts.meter = false),
        (Guarantee::CpuTime, |facts| facts.guarded = false),
        (Guarantee::Disk, |facts| facts.scratch[0].bytes = 1 << 40),
        (Guarantee::Disk, |facts| {
            facts.scratch[0].inodes = 1 << 30;
            facts.memory = None;
        }),
        (Guarantee::Disk, |facts| drop(facts.scratch.pop())),
    ];
    for (index, (guarantee, change)) in broken.into_iter().enumerate() {
        assert!(lack(guarantee, change).is_some(), "{index}: {guarantee}");
    }
}

#[test]
fn a_filter_of_the_job_s_own_is_given_as_the_engine_reads_it() {
    let profile = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    std::fs::write(&profile, text).unwrap();
    let mut job = job();
    job.seccomp = Seccomp::Profile(profile.path().to_owned());
    let path = profile.path().canonicalize().unwrap().display().to_string();
    for (podman, given) in [(false, text.to_owned()), (true, path)] {
        let asked = asked_for(&job, podman);
        let options = asked["HostConfig"]["SecurityOpt"].as_array().unwrap();
        assert!(options.contains(&json!(format!("seccomp={given}"))), "{options:?}");
    }
}

/// Before there is a container, too: nobody can have looked at one by then.
#[test]
fn a_directory_in_memory_without_a_limit_holds_no_disk() {
    let disk = |size| {
        let mut job = job();
        job.tmpfs = vec![Tmpfs { target: "/big".into(), size }];
        standing::holds(&engine(Info::default()), &plan(&job), Guarantee::Disk, None)
    };
    let lack = disk(Some(Limit::Unlimited)).unwrap_err();
    assert!(lack.reason.contains("the tmpfs at /big is unlimited"), "{}", lack.reason);
    let limited = [None, Some(Limit::Finite(ByteSize(1 << 20)))];
    assert!(limited.into_iter().all(|size| disk(size).is_ok()));
}

#[test]
fn another_kernel_is_believed_when_it_is_seen() {
    let runtimes = [("runsc".to_owned(), Value::Null)].into();
    let engine = engine(Info { runtimes, memory_limit: true, ..Info::default() });
    let plan = plan(&job().require(Guarantee::KernelBoundary));
    let holds = |facts: &Facts| {
        standing::holds(&engine, &plan, Guarantee::KernelBoundary, Some(facts)).is_ok()
    };
    assert!(!holds(&sound()), "the engine ignored the runtime");
    assert!(holds(&Facts { kernel: "4.4.0 #1".into(), ..sound() }));
}

#[test]
fn a_program_with_an_interpreter_is_no_init() {
    let dir = tempfile::tempdir().expect("there is room");
    let mut elf = vec![0; 120];
    elf[32] = 64; // where the program headers are
    elf[54] = 56; // how long each is
    elf[56] = 1; // how many
    let write = |kind: u8| {
        let mut elf = elf.clone();
        elf[64] = kind;
        let path = dir.path().join(kind.to_string());
        std::fs::write(&path, elf).expect("there is room");
        path
    };
    assert!(refuse::dynamic(BackendName::Docker, &write(1)).is_ok());
    let said = refuse::dynamic(BackendName::Docker, &write(3)).unwrap_err().to_string();
    assert!(said.contains("statically linked"), "{said}");
}
