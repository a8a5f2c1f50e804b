//! The shipped profile: its form, and its verdicts one by one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{Condition, DEFAULT_JSON, Test};
use super::oracle::sweep;
use super::*;

/// Calls that the profile leaves to the default, `ENOSYS`, each for one of these reasons.
const LEFT_OUT: [(&str, &[&str]); 4] = [
    ("its flags lie in memory; C libraries fall back to clone", &["clone3"]),
    (
        "no kernel of today has it on a 64-bit machine",
        &[
            "_sysctl",
            "afs_syscall",
            "create_module",
            "epoll_ctl_old",
            "epoll_wait_old",
            "get_kernel_syms",
            "get_thread_area",
            "getpmsg",
            "nfsservctl",
            "putpmsg",
            "query_module",
            "security",
            "set_thread_area",
            "tuxcall",
            "uselib",
            "vserver",
        ],
    ),
    ("nothing uses it any more", &["remap_file_pages", "sysfs", "ustat"]),
    (
        "useless without a call that is refused, or not needed by programs",
        &[
            "io_cancel",
            "io_destroy",
            "io_getevents",
            "io_pgetevents",
            "io_submit",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "process_mrelease",
        ],
    ),
];

fn shipped(arch: Arch) -> Program {
    compile(&Profile::shipped(), &target(arch)).unwrap()
}

/// Asserts an answer on every architecture that has the call; at least one has.
fn assert_answers(name: &str, args: [u64; 6], expected: Action) {
    let having: Vec<_> = Arch::ALL.into_iter().filter(|arch| arch.number(name).is_some()).collect();
    assert!(!having.is_empty(), "{name}");
    for arch in having {
        assert_eq!(ask(&shipped(arch), arch, name, args), expected, "{arch} {name} {args:x?}");
    }
}

/// Arguments of which the first ones count.
fn args<const N: usize>(first: [u64; N]) -> [u64; 6] {
    let mut args = [0; 6];
    args[..N].copy_from_slice(&first);
    args
}

#[test]
fn the_filter_does_what_the_profile_says() {
    for arch in Arch::ALL {
        let compared = sweep(DEFAULT_JSON, &shipped(arch), &target(arch));
        assert!(compared > 30_000, "{compared}");
    }
}

#[test]
fn a_program_can_start_and_the_filter_stays_small() {
    for arch in Arch::ALL {
        shipped(arch).require_start(arch).unwrap();
        assert!(shipped(arch).len() <= 225, "{}", shipped(arch).len());
    }
}

#[test]
fn every_rule_has_a_reason_of_its_own() {
    let mut reasons = BTreeSet::new();
    for rule in Profile::shipped().rules() {
        assert!(rule.comment.len() > 10, "{:?}: {:?}", rule.names, rule.comment);
        assert!(reasons.insert(rule.comment.clone()), "{:?} twice", rule.comment);
    }
    assert!(reasons.len() > 40, "{}", reasons.len());
}

#[test]
fn every_name_is_known_and_none_is_decided_twice() {
    let mut plain = BTreeSet::new();
    for rule in Profile::shipped().rules() {
        for name in &rule.names {
            assert!(Arch::ALL.iter().any(|arch| arch.number(name).is_some()), "{name}");
            let once = !rule.conditions.is_empty() || plain.insert(name.clone());
            assert!(once, "{name} has two rules without conditions");
        }
    }
}

#[test]
fn every_call_has_a_rule_or_a_reason_to_have_none() {
    let profile = Profile::shipped();
    let named: BTreeSet<&str> =
        profile.rules().iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().flat_map(|(_, names)| *names).copied().collect();
    for (_, name) in Arch::ALL.into_iter().flat_map(Arch::calls) {
        assert!(named.contains(name) != left_out.contains(name), "{name}");
    }
    for name in left_out {
        assert_answers(name, [0; 6], ENOSYS);
    }
}

/// Arguments that tell the rules of one call apart: every choice of what they compare with.
fn telling_args(name: &str) -> Vec<[u64; 6]> {
    let profile = Profile::shipped();
    let rules = profile.rules().iter().filter(|rule| rule.names.iter().any(|one| one == name));
    let conditions: Vec<Condition> = rules.flat_map(|rule| rule.conditions.clone()).collect();
    let values = |index: u8| {
        let of_index = conditions.iter().filter(move |one| one.index == index);
        let values = of_index.flat_map(|one| match one.test {
            Test::Masked { mask, equals } => vec![equals, equals | !mask, mask],
            Test::Eq(value) => vec![value],
            other => panic!("no values for {other:?}"),
        });
        values.chain([0x7777]).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for first in values(0) {
        for second in values(1) {
            for third in values(2) {
                all.extend(
                    values(3).into_iter().map(|fourth| [first, second, third, fourth, 0, 0]),
                );
            }
        }
    }
    all
}

/// Whether two profiles answer some call of the names differently.
fn differ(one: &Profile, other: &Profile, names: &[String]) -> bool {
    Arch::ALL.into_iter().any(|arch| {
        let [one, other] = [one, other].map(|profile| compile(profile, &target(arch)).unwrap());
        let known = names.iter().filter(|name| arch.number(name).is_some());
        known.into_iter().any(|name| {
            let mut args = telling_args(name).into_iter();
            args.any(|args| ask(&one, arch, name, args) != ask(&other, arch, name, args))
        })
    })
}

#[test]
fn no_rule_and_no_alternative_is_without_effect() {
    let whole = Profile::shipped();
    let json: Value = serde_json::from_str(DEFAULT_JSON).unwrap();
    for (at, rule) in whole.rules().iter().enumerate() {
        let mut without = json.clone();
        without["syscalls"].as_array_mut().unwrap().remove(at);
        let without = Profile::from_json(&without.to_string()).unwrap();
        assert!(differ(&whole, &without, &rule.names), "rule {at}: {}", rule.comment);
        for condition in 0..rule.conditions.len() {
            let mut less = json.clone();
            less["syscalls"][at]["args"].as_array_mut().unwrap().remove(condition);
            let less = Profile::from_json(&less.to_string()).unwrap();
            assert!(differ(&whole, &less, &rule.names), "rule {at}, condition {condition}");
        }
    }
}

#[test]
fn unknown_calls_and_clone3_answer_enosys() {
    assert_answers("clone3", [0; 6], ENOSYS);
    for arch in Arch::ALL {
        for nr in [470, 471, 499, 511, 512, 1000, 0x3fff_ffff, u32::MAX] {
            let found = shipped(arch).evaluate(&SeccompData::new(arch, nr, [0; 6]));
            assert_eq!(found, ENOSYS, "{arch} {nr}");
        }
    }
}

#[test]
fn what_is_known_to_be_harmful_answers_eperm() {
    let refused = "setns mount umount2 pivot_root chroot mount_setattr open_tree open_tree_attr \
        move_mount fsopen fsconfig fsmount fspick statmount listmount add_key request_key keyctl \
        bpf perf_event_open lookup_dcookie userfaultfd io_setup io_uring_setup io_uring_enter \
        io_uring_register ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp init_module \
        finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff quotactl \
        quotactl_fd acct syslog vhangup sethostname setdomainname clock_settime clock_adjtime \
        settimeofday adjtimex name_to_handle_at open_by_handle_at fanotify_init fanotify_mark \
        modify_ldt iopl ioperm migrate_pages move_pages memfd_secret cachestat sync syncfs";
    for name in refused.split_whitespace() {
        for first in [0, 1, u64::MAX] {
            assert_answers(name, args([first, first, first]), EPERM);
        }
    }
}

#[test]
fn what_runtimes_and_compilers_need_is_allowed_whatever_the_arguments() {
    let needed = "read write openat openat2 close close_range mmap munmap mprotect mremap brk \
        madvise execve execveat exit exit_group fork vfork wait4 waitid pidfd_open \
        pidfd_send_signal futex futex_waitv futex_wake futex_wait futex_requeue rseq membarrier \
        set_robust_list set_tid_address getrandom memfd_create faccessat2 epoll_pwait2 \
        copy_file_range sched_getaffinity sched_yield mlock mlock2 \
        set_mempolicy get_mempolicy mbind process_madvise map_shadow_stack arch_prctl mseal \
        pkey_mprotect rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack kill tgkill getdents64 \
        newfstatat statx readlinkat inotify_init1 inotify_add_watch eventfd2 signalfd4 pipe2 dup3 \
        sysinfo uname getcpu connect bind listen accept4 sendmsg recvmsg sendmmsg \
        setuid setgid setgroups setresuid fchown fchownat lchown chown setsid setpgid umask \
        timer_create timerfd_create clock_nanosleep shmget semget msgget mq_open seccomp \
        landlock_create_ruleset landlock_restrict_self renameat2 linkat symlinkat utimensat \
        fsetxattr sendfile splice fallocate restart_syscall uretprobe";
    for name in needed.split_whitespace() {
        let having = Arch::ALL.into_iter().filter(|arch| arch.number(name).is_some());
        let answers = having.map(|arch| shipped(arch).constant(arch, arch.number(name).unwrap()));
        let answers: Vec<_> = answers.collect();
        assert!(!answers.is_empty() && answers.iter().all(|one| *one == Some(ALLOW)), "{name}");
    }
}

const HIGH_BITS: [u64; 3] = [0, 1 << 32, 0xffff_ffff_0000_0000];

#[test]
fn clone_makes_threads_and_processes_but_no_namespaces() {
    let pthread = 0x003d_0f00;
    for flags in [17, 0x0100_4111, pthread, pthread | 1 << 32, 0x0120_0011, 0x1011] {
        assert_answers("clone", args([flags]), ALLOW);
    }
    let namespaces = [
        0x0000_0080,
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];
    for flag in namespaces {
        for high in HIGH_BITS {
            assert_answers("clone", args([high | flag | 17]), EPERM);
            assert_answers("unshare", args([high | flag]), EPERM);
        }
    }
    for flags in [0, 0x200, 0x400, 0x600, 0x4_0000] {
        assert_answers("unshare", args([flags]), ALLOW);
    }
    assert_answers("unshare", args([1 << 32]), EPERM);
    assert_answers("unshare", args([0x100]), EPERM);
}

#[test]
fn sockets_are_local_or_ip_or_routes() {
    let (stream, afnosupport, protonosupport) = (1, Action::Errno(97), Action::Errno(93));
    for high in HIGH_BITS {
        for family in [1, 2, 10, 16] {
            assert_answers("socket", args([high | family, high | stream, high]), ALLOW);
        }
        for protocol in [1, 6, 17, 58] {
            assert_answers("socket", args([high | 2, stream, high | protocol]), ALLOW);
        }
        for protocol in [33, 115, 132, 136, 256, 262] {
            assert_answers("socket", args([high | 2, stream, high | protocol]), protonosupport);
            assert_answers("socket", args([high | 10, stream, high | protocol]), protonosupport);
        }
        for netlink in [1, 4, 6, 9, 12, 15, 16, 21] {
            assert_answers("socket", args([high | 16, stream, high | netlink]), afnosupport);
        }
        for family in (3..10).chain(11..16).chain(17..64).chain([0, 0x8000_0001]) {
            assert_answers("socket", args([high | family, stream, 0]), afnosupport);
        }
        assert_answers("socketpair", args([high | 1, stream]), ALLOW);
        assert_answers("socketpair", args([high | 2, stream]), afnosupport);
    }
}

#[test]
fn no_ioctl_types_on_a_terminal() {
    for high in HIGH_BITS {
        for request in [0x5412, 0x541C, 0x5423, 0x541D] {
            assert_answers("ioctl", args([0, high | request]), EPERM);
            assert_answers("ioctl", args([u64::MAX, high | request, u64::MAX]), EPERM);
        }
        for request in [0x5401, 0x5413, 0x5411, 0x541B, 0x5421, 0x8004_5430] {
            assert_answers("ioctl", args([0, high | request]), ALLOW);
        }
    }
}

#[test]
fn mknod_makes_no_devices() {
    for high in [0, 1 << 16, 1 << 32] {
        for kind in [0, 0o100_000, 0o010_000, 0o140_000] {
            assert_answers("mknod", args([0, high | kind | 0o644]), ALLOW);
            assert_answers("mknodat", args([0, 0, high | kind | 0o644]), ALLOW);
        }
        for kind in [0o020_000, 0o060_000, 0o040_000, 0o120_000, 0o170_000] {
            assert_answers("mknod", args([0, high | kind | 0o644]), EPERM);
            assert_answers("mknodat", args([0, 0, high | kind | 0o644]), EPERM);
        }
    }
}

#[test]
fn personality_keeps_page_zero_and_memory_rights() {
    for persona in [0, 8, 0x20000, 0x20008, 0x40000, 0xffff_ffff] {
        assert_answers("personality", args([persona]), ALLOW);
        assert_answers("personality", args([persona | 1 << 40]), ALLOW);
    }
    for persona in [1, 0x10_0000, 0x40_0000, 0x44_0000, 0x50_0000, 0xffff_fffe] {
        assert_answers("personality", args([persona]), EPERM);
    }
}

#[test]
fn process_1_is_nobodys_to_schedule_or_limit() {
    for high in HIGH_BITS {
        for pid in [0, 2, 300, 0xffff_ffff] {
            for name in ["sched_setaffinity", "sched_setattr", "sched_setscheduler", "prlimit64"] {
                assert_answers(name, args([high | pid, 7]), ALLOW);
            }
            assert_answers("setpriority", args([high, high | pid, 19]), ALLOW);
            assert_answers("ioprio_set", args([high | 1, high | pid]), ALLOW);
        }
        for name in [
            "sched_setaffinity",
            "sched_setattr",
            "sched_setparam",
            "sched_setscheduler",
            "prlimit64",
        ] {
            assert_answers(name, args([high | 1, 7]), EPERM);
        }
        // One process, all of a group, all of a user.
        for which in [0, 1, 2] {
            assert_answers("setpriority", args([high | which, high | 1, 19]), EPERM);
            assert_answers("ioprio_set", args([high | (which + 1), high | 1]), EPERM);
        }
        for which in [1, 2] {
            assert_answers("setpriority", args([high | which, 0, 19]), EPERM);
            assert_answers("ioprio_set", args([high | (which + 1), 0]), EPERM);
        }
    }
}

#[test]
fn the_limit_of_core_dumps_only_seems_to_change() {
    const CORE: u64 = 4;
    const DONE: Action = Action::Errno(0);
    for high in HIGH_BITS {
        for pid in [0, 2] {
            // A pointer may be any but null.
            for new in [1, 1 << 32] {
                assert_answers("prlimit64", args([pid, high | CORE, new]), DONE);
                assert_answers("prlimit64", args([pid, high | CORE, new, 1 << 32]), EPERM);
                for other in [0, 3, 5, 7] {
                    assert_answers("prlimit64", args([pid, high | other, new, 1]), ALLOW);
                }
            }
            assert_answers("prlimit64", args([pid, high | CORE, 0, 1]), ALLOW);
        }
        assert_answers("setrlimit", args([high | CORE, 1]), DONE);
        for other in [0, 3, 5, 7] {
            assert_answers("setrlimit", args([high | other, 1]), ALLOW);
        }
    }
}

#[test]
fn fcntl_takes_no_leases() {
    const SETLEASE: u64 = 1024;
    for high in HIGH_BITS {
        assert_answers("fcntl", args([3, high | SETLEASE]), EPERM);
        for command in [0, 1, 2, 3, 4, 5, 6, 7, 1025, 1030, 1031, 1033] {
            assert_answers("fcntl", args([3, high | command]), ALLOW);
        }
    }
}

#[test]
fn prctl_does_not_switch_speculation_on() {
    assert_answers("prctl", args([53, 0, 2]), EPERM);
    assert_answers("prctl", args([53 | 1 << 32, 1, 2]), EPERM);
    assert_answers("prctl", args([53, 0, 4]), ALLOW);
    for option in [1, 4, 15, 22, 38] {
        assert_answers("prctl", args([option, 2, 2]), ALLOW);
    }
}

#[test]
fn verdicts_count_every_call() {
    for arch in Arch::ALL {
        let verdicts = Profile::shipped().verdicts(&target(arch));
        let always: usize = verdicts.always.values().map(Vec::len).sum();
        assert_eq!(always + verdicts.conditional.len(), arch.calls().count());
        assert_eq!(verdicts.overruled, []);
        let program = shipped(arch);
        let depends = program.verdicts(arch).filter(|(_, answer)| answer.is_none());
        let conditional: Vec<_> = verdicts.conditional.iter().map(|one| one.name).collect();
        assert_eq!(depends.map(|(name, _)| name).collect::<Vec<_>>(), conditional);
        assert!(verdicts.count(ALLOW) > 200, "{arch}: {}", verdicts.count(ALLOW));
    }
}
