//! The backend that the promises are tried with: `FUMEHOOD_BACKEND`, or the native one.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Its name.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("FUMEHOOD_BACKEND").unwrap_or_else(|_| "native".to_owned()))
}

/// What has to be added to the flags of a run that does not say itself.
pub(crate) fn flags(given: &[OsString]) -> Vec<OsString> {
    let says = given.iter().any(|flag| flag.to_string_lossy().starts_with("--backend"));
    if says || name() == "native" {
        return Vec::new();
    }
    vec!["--backend".into(), name().into()]
}

/// Why a promise does not apply to the backend; none if it does.
pub(crate) fn exemption(promise: &str) -> Option<String> {
    let fits = |exempt: &&Exempt| {
        exempt.backends.contains(&name())
            && exempt.promises.iter().any(|one| match one.strip_suffix("::") {
                Some(family) => promise.split("::").next() == Some(family),
                None => *one == promise,
            })
    };
    let found = EXEMPT.iter().find(fits)?;
    Some(format!("not offered: {}", found.reason))
}

/// Promises that backends do not make.
struct Exempt {
    backends: &'static [&'static str],
    /// A whole family ends in `::`.
    promises: &'static [&'static str],
    /// A clause.
    reason: &'static str,
}

const OCI: &[&str] = &["runsc", "crun", "runc"];
const SHARED_KERNEL: &[&str] = &["crun", "runc"];
const OTHERS: &[&str] =
    &["runsc", "crun", "runc", "docker", "podman", "nsjail", "seatbelt", "unconfined"];

/// In the order in which they are looked up.
const EXEMPT: &[Exempt] = &[
    Exempt {
        backends: OTHERS,
        promises: &["cow::"],
        reason: "only native cells have copy-on-write mounts",
    },
    Exempt {
        backends: OTHERS,
        promises: &[
            "unavailable::",
            "inputs::an_attempt_that_the_host_refuses_does_not_use_standard_input_up",
        ],
        reason: "it is about what native cells can do without",
    },
    Exempt {
        backends: OTHERS,
        promises: &["denied::"],
        reason: "only the init of a native cell learns which call was denied",
    },
    Exempt {
        backends: OTHERS,
        promises: &[
            "mounts::files_made_as_the_owner_are_the_owner_s",
            "mounts::a_mount_can_be_opened_with_the_rights_of_its_owner",
            "mounts::root_s_own_directory_is_not_opened_for_writing",
            "mounts::a_mount_that_is_closed_to_the_program_is_said_to_be",
        ],
        reason: "only native mounts give the rights of an owner",
    },
    Exempt {
        backends: OTHERS,
        promises: &[
            "report::the_report_lists_every_guarantee",
            "report::explaining_lists_exactly_the_steps_of_a_run",
        ],
        reason: "it is about what native reports say",
    },
    Exempt { backends: OCI, promises: &["tty::"], reason: "containers get no terminal" },
    Exempt {
        backends: OCI,
        promises: &["mounts::a_source_may_have_any_name"],
        reason: "a bundle is JSON, so names that are not UTF-8 are refused",
    },
    Exempt {
        backends: OCI,
        promises: &[
            "artifacts::files_come_back_in_the_report",
            "artifacts::output_tricks_get_their_verdict",
        ],
        reason: "files come back from /workspace, /tmp and mounts, others are refused",
    },
    Exempt {
        backends: OCI,
        promises: &[
            "neighbours::cannot_take_all_inotify_instances_of_the_host",
            "neighbours::cannot_take_all_timers_of_the_host",
            "neighbours::the_init_does_not_give_way",
            "report::namespaces_are_those_of_the_report",
            "limits_tree::sources_differ_as_documented",
            "limits_tree::usage_names_its_sources",
        ],
        reason: "it is about how native cells are made: what a runtime makes differs, and what it uses \
                 itself is counted",
    },
    Exempt {
        backends: SHARED_KERNEL,
        promises: &[
            "filesystem::no_mount_allows_devices_or_setuid",
            "limits_tree::a_failure_for_lack_of_processes_is_named",
            "limits_tree::a_fork_bomb_is_held_until_its_time_is_up",
        ],
        reason: "runtimes cover entries of /proc by devices, and count no refused processes",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["syscalls::"],
        reason: "gVisor answers all system calls itself, without a filter of them",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "filesystem::only_the_listed_directories_exist",
            "filesystem::every_other_mount_is_read_only",
            "filesystem::no_mount_allows_devices_or_setuid",
            "filesystem::only_harmless_devices_exist",
            "images::nothing_of_the_host_is_in_an_image",
            "images::an_image_cannot_be_written",
            "images::a_directory_is_a_root",
            "images::a_static_program_alone_is_an_image",
            "mounts::restrictions_of_the_host_s_mount_are_kept",
            "network::cannot_send_anything_outside",
            "privileges::cannot_gain_privileges",
            "privileges::holds_no_capability",
            "privileges::every_thread_is_confined",
        ],
        reason: "it reads off the kernel's own files and errors, and gVisor's are others: a /sys and \
                 devices of its own, other mount options, fewer lines in /proc",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "processes::a_signal_to_fumehood_reaches_the_program",
            "processes::cannot_touch_the_init",
            "privileges::is_not_root_on_the_host",
            "neighbours::",
        ],
        reason: "the program is no process of the host and cannot be found there; process 1 of its \
                 gVisor is as much in its reach as its own end",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "limits_time_output::a_polite_program_may_end_in_its_grace",
            "limits_tree::a_million_files_run_out_of_inodes",
            "limits_tree::a_share_of_the_cpus_holds",
        ],
        reason: "gVisor takes longer than this grace to pass a signal on, counts no files in /dev/shm, \
                 limits no processes, and is slow to start",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "report::privileges_are_those_of_the_report",
            "report::the_filter_is_that_of_the_report",
            "report::the_file_system_is_that_of_the_report",
            "report::limits_are_those_of_the_report",
            "report::a_waived_network_is_the_host_s_and_the_report_says_so",
            "leftovers::a_crash_in_the_middle_leaves_no_file",
            "death::killed_while_it_runs_it_leaves_nothing",
            "death::killed_at_any_moment_it_leaves_nothing",
        ],
        reason: "the program is no process of the host and cannot be found there",
    },
    Exempt {
        backends: &["runsc", "runc"],
        promises: &[
            "inputs::hostile_archives_get_their_verdict",
            "inputs::the_supervisor_s_memory_does_not_grow_with_the_inputs",
            "artifacts::the_supervisor_s_memory_does_not_grow_with_artifacts",
        ],
        reason: "programs in Go do not start in as little address space as the supervisor has there",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["report::a_required_guarantee_that_no_host_gives_is_refused"],
        reason: "gVisor gives a kernel boundary",
    },
    Exempt {
        backends: &["runsc", "runc"],
        promises: &[
            "limits_tree::what_cannot_be_limited_is_refused_with_the_fix",
            "limits_tree::what_is_waived_has_its_stand_in_named",
        ],
        reason: "it is about hosts that limit nothing, which a backend that limits no processes is \
                 taken for",
    },
    Exempt {
        backends: &["crun"],
        promises: &["filesystem::a_mount_below_a_read_only_mount_cannot_be_written"],
        reason: "crun 1.8 shows a directory without the mounts below it",
    },
    Exempt {
        backends: &["runc"],
        promises: &[
            "images::an_image_runs_as_it_says",
            "images::the_user_of_an_image_is_the_program_s",
            "privileges::the_user_inside_is_1000",
            "privileges::a_setuid_program_gives_nothing",
        ],
        reason: "runc maps no single user, so the program is nobody inside, too, or its caller's root",
    },
    Exempt {
        backends: &["runc"],
        promises: &["syscalls::cannot_use_the_32_bit_gate", "syscalls::cannot_use_x32_calls"],
        reason: "libseccomp kills for calls of another convention rather than refuse them",
    },
    Exempt {
        backends: &["runc"],
        promises: &["mounts::restrictions_of_the_host_s_mount_are_kept"],
        reason: "runc as root mounts anew what it is told to",
    },
    Exempt {
        backends: &["runc"],
        promises: &["images::an_image_cannot_be_written"],
        reason: "runc mounts the root without nosuid and nodev; no_new_privs holds all the same",
    },
];
