//! Which promises stand on which mechanism.

/// A mechanism that can be switched off, by the name of its step, and promises that must turn
/// red then.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    pub(crate) red: &'static [&'static str],
}

const fn mechanism(name: &'static str, red: &'static [&'static str]) -> Mechanism {
    Mechanism { name, red }
}

pub(crate) const MECHANISMS: [Mechanism; 31] = [
    mechanism("user", &["report::namespaces_are_those_of_the_report"]),
    mechanism("mount", &["report::namespaces_are_those_of_the_report"]),
    mechanism("pid", &["processes::cannot_see_a_host_process"]),
    mechanism(
        "net",
        &[
            "network::only_the_loopback_interface_exists",
            "network::cannot_reach_a_listener_of_the_host",
            "network::cannot_reach_a_unix_socket_of_the_host",
        ],
    ),
    mechanism("ipc", &["processes::cannot_see_shared_memory_of_the_host"]),
    mechanism("uts", &["report::namespaces_are_those_of_the_report"]),
    mechanism("cgroup", &["report::namespaces_are_those_of_the_report"]),
    mechanism("host-id", &["privileges::is_not_root_on_the_host"]),
    mechanism("groups", &["privileges::has_no_groups_of_the_host"]),
    mechanism("hostname", &["environment::the_host_name_is_not_the_host_s"]),
    mechanism("loopback", &["network::loopback_works_inside"]),
    mechanism(
        "pivot",
        &[
            "filesystem::only_the_listed_directories_exist",
            "filesystem::cannot_read_a_host_file",
            "filesystem::cannot_find_a_file_made_a_moment_ago",
        ],
    ),
    mechanism("read-only", &["filesystem::a_read_only_mount_cannot_be_written"]),
    mechanism(
        "read-only-recursive",
        &["filesystem::a_mount_below_a_read_only_mount_cannot_be_written"],
    ),
    mechanism("nosuid", &["filesystem::no_mount_allows_devices_or_setuid"]),
    mechanism("seal-root", &["filesystem::every_other_mount_is_read_only"]),
    mechanism("proc", &["processes::cannot_see_a_host_process"]),
    mechanism("mask-proc", &["filesystem::kernel_settings_cannot_be_written"]),
    mechanism("tmp-size", &["limits_time_output::scratch_is_limited"]),
    mechanism("capabilities", &["privileges::holds_no_capability"]),
    mechanism("no-new-privs", &["privileges::cannot_gain_privileges"]),
    mechanism(
        "seccomp",
        &[
            "syscalls::the_filter_is_on",
            "syscalls::cannot_enter_new_namespaces",
            "syscalls::cannot_mount",
            "syscalls::cannot_use_risky_kernel_interfaces",
            "syscalls::cannot_trace_others",
            "syscalls::cannot_type_into_a_terminal",
            "syscalls::cannot_use_the_32_bit_gate",
            "syscalls::clone3_is_not_implemented",
            "syscalls::only_harmless_socket_families_can_be_used",
        ],
    ),
    // With namespaces it is a second fence that nothing shows; without, it is the first.
    mechanism("landlock", &["unavailable::the_weaker_mode_still_hides_files"]),
    mechanism(
        "rlimits",
        &[
            "limits_time_output::open_files_are_limited",
            "limits_time_output::no_core_is_dumped",
            "limits_time_output::a_large_file_is_refused",
        ],
    ),
    mechanism(
        "close-fds",
        &[
            "privileges::no_file_descriptor_is_inherited",
            "privileges::a_directory_that_the_caller_holds_open_is_not_inherited",
        ],
    ),
    mechanism("non-dumpable", &["processes::cannot_touch_the_init"]),
    mechanism("init", &["processes::the_program_is_not_the_init"]),
    mechanism(
        "death-signal",
        &[
            "death::killed_while_it_runs_it_leaves_nothing",
            "death::killed_at_any_moment_it_leaves_nothing",
        ],
    ),
    mechanism("wall-clock", &["exit_codes::a_time_limit_is_124"]),
    mechanism("output-cap", &["limits_time_output::too_much_output_ends_the_run"]),
    mechanism("environment", &["environment::the_environment_is_the_declared_one"]),
];
