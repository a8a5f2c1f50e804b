//! Which promises stand on which mechanism.

/// A mechanism that can be switched off, by the name of its step, and promises that must turn
/// red then.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    /// By which backend the promises are tried.
    pub(crate) backend: &'static str,
    pub(crate) suite: Suite,
    pub(crate) red: &'static [&'static str],
}

/// Where promises are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Those of the binary.
    Promises,
    /// Those of the library's pool.
    Pool,
}

const fn mechanism(name: &'static str, red: &'static [&'static str]) -> Mechanism {
    Mechanism { name, backend: "native", suite: Suite::Promises, red }
}

/// A mechanism of another backend.
const fn of(backend: &'static str, name: &'static str, red: &'static [&'static str]) -> Mechanism {
    Mechanism { name, backend, suite: Suite::Promises, red }
}

/// A mechanism that only pools have.
const fn in_pool(name: &'static str, red: &'static [&'static str]) -> Mechanism {
    Mechanism { name, backend: "native", suite: Suite::Pool, red }
}

pub(crate) const MECHANISMS: [Mechanism; 54] = [
    mechanism(
        "net",
        &[
            "network::only_the_loopback_interface_exists",
            "network::cannot_reach_a_listener_of_the_host",
        ],
    ),
    mechanism(
        "ipc",
        &[
            "report::namespaces_are_those_of_the_report",
            "neighbours::cannot_find_what_another_cell_offers",
        ],
    ),
    mechanism("user-limit", &["neighbours::cannot_take_all_inotify_instances_of_the_host"]),
    mechanism("host-id", &["privileges::is_not_root_on_the_host"]),
    mechanism(
        "read-only",
        &["filesystem::every_other_mount_is_read_only", "images::an_image_cannot_be_written"],
    ),
    mechanism("janitor", &["leftovers::a_killed_supervisor_leaves_no_control_group"]),
    mechanism("wall-clock", &["exit_codes::a_time_limit_is_124"]),
    mechanism("output-cap", &["limits_time_output::too_much_output_ends_the_run"]),
    mechanism("hostname", &["environment::the_host_name_is_not_the_host_s"]),
    mechanism("loopback", &["network::loopback_works_inside"]),
    mechanism("tmpfs", &["filesystem::scratch_can_be_written_and_starts_empty"]),
    mechanism(
        "mask",
        &[
            "filesystem::sensitive_files_of_proc_are_masked",
            "filesystem::nothing_can_be_done_with_what_hides_something",
        ],
    ),
    mechanism("private-trees", &["images::a_directory_is_a_root"]),
    mechanism("seal-root", &["filesystem::every_other_mount_is_read_only"]),
    mechanism(
        "pivot",
        &[
            "filesystem::only_the_listed_directories_exist",
            "filesystem::cannot_find_a_file_made_a_moment_ago",
        ],
    ),
    mechanism(
        "nice",
        &[
            "neighbours::a_program_gives_way_to_others",
            "neighbours::a_program_cannot_take_its_place_back",
        ],
    ),
    mechanism("no-real-time", &["neighbours::a_program_of_a_real_time_caller_is_ordinary"]),
    mechanism("as-one", &["neighbours::a_crowd_competes_as_one"]),
    mechanism(
        "copy-on-write",
        &["cow::what_is_written_stays_inside", "cow::a_diff_lists_exactly_what_changed"],
    ),
    mechanism("detach", &["cow::the_layers_cannot_be_seen"]),
    mechanism("conflicts", &["cow::a_file_edited_on_the_host_meanwhile_is_refused_and_named"]),
    mechanism("unfit-changes", &["cow::what_must_not_come_to_the_host_is_refused"]),
    // Only root's program is anybody else.
    mechanism(
        "as-owner",
        &[
            "cow::changes_of_root_s_run_belong_to_the_owner",
            "mounts::a_mount_can_be_opened_with_the_rights_of_its_owner",
            "mounts::files_made_as_the_owner_are_the_owner_s",
        ],
    ),
    mechanism("bounding-set", &["privileges::holds_no_capability"]),
    mechanism("no-new-privs", &["privileges::cannot_gain_privileges"]),
    mechanism(
        "rlimit",
        &[
            "limits_time_output::open_files_are_limited",
            "neighbours::cannot_take_all_timers_of_the_host",
            "limits_time_output::no_core_is_dumped",
            "limits_time_output::a_crash_starts_no_program_of_the_host",
            "limits_time_output::a_large_file_is_refused",
        ],
    ),
    mechanism("input-links", &["inputs::hostile_archives_get_their_verdict"]),
    mechanism(
        "collect-beneath",
        &[
            "artifacts::output_tricks_get_their_verdict",
            "artifacts::a_link_that_a_mount_swaps_in_leads_nowhere",
        ],
    ),
    // With namespaces it is a second fence that nothing shows; without, it is the first.
    mechanism("landlock", &["unavailable::the_weaker_mode_still_hides_files"]),
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
            "denied::every_kind_of_kill_ends_the_run",
        ],
    ),
    mechanism(
        "denial",
        &["denied::a_call_that_is_killed_for_is_named", "denied::a_call_of_a_child_ends_the_run"],
    ),
    // Templates, what they lend, and who is whose parent.
    in_pool("template", &["a_cell_from_a_template_is_like_any_other"]),
    in_pool(
        "network-witnesses",
        &[
            "a_socket_that_outlives_its_cell_is_in_nobodys_network",
            "a_network_that_came_back_is_always_compared",
            "nobody_watches_a_network_that_somebody_else_has",
            "nothing_of_one_run_is_visible_in_the_next",
        ],
    ),
    in_pool("siblings", &["a_template_that_dies_loses_no_run", "a_zygote_that_dies_loses_no_run"]),
    in_pool(
        "die-with-owner",
        &[
            "nothing_outlives_an_owner_of_which_there_is_a_copy",
            "nothing_that_is_stopped_outlives_its_owner",
        ],
    ),
    // What runtimes are told.
    of("crun", "oci-network", &["network::cannot_reach_a_listener_of_the_host"]),
    of("crun", "oci-no-new-privs", &["privileges::cannot_gain_privileges"]),
    of("crun", "oci-capabilities", &["privileges::holds_no_capability"]),
    of("crun", "oci-filter", &["syscalls::the_filter_is_on", "syscalls::cannot_mount"]),
    of("crun", "oci-read-only", &["filesystem::every_other_mount_is_read_only"]),
    of("crun", "oci-pids", &["limits_tree::threads_count_as_processes"]),
    // The home that tools live in, and process 1 of their containers.
    of("runsc", "home-frozen", &["filesystem::a_read_only_mount_cannot_be_emptied"]),
    of(
        "nsjail",
        "home-frozen-nsjail",
        &["filesystem::a_mount_below_a_read_only_mount_cannot_be_written"],
    ),
    of(
        "runsc",
        "oci-last-word",
        &[
            "breakdowns::a_kernel_of_gvisor_that_is_killed_is_no_end_of_the_program",
            "breakdowns::a_file_server_of_gvisor_that_is_killed_is_no_end_of_the_program",
        ],
    ),
    of("nsjail", "tool-killed", &["breakdowns::a_tool_that_is_killed_is_no_end_of_the_program"]),
    of("crun", "home-init", &["exit_codes::a_program_s_own_125_is_told_apart_by_the_report"]),
    of("nsjail", "nsjail-network", &["network::cannot_reach_a_listener_of_the_host"]),
    of("nsjail", "nsjail-pids", &["limits_tree::threads_count_as_processes"]),
    of("nsjail", "nsjail-log", &["exit_codes::a_missing_program_is_127"]),
    // What engines are told. The init in the container looks at it, so most are refused.
    of("docker", "engine-network", &["network::only_the_loopback_interface_exists"]),
    of("docker", "engine-root", &["filesystem::nothing_but_scratch_can_be_written"]),
    of("docker", "engine-capabilities", &["privileges::holds_no_capability"]),
    of("docker", "engine-no-new-privs", &["privileges::cannot_gain_privileges"]),
    of("docker", "engine-masks", &["filesystem::sensitive_files_of_proc_are_masked"]),
];

/// Mechanisms behind another that holds the same promises: leaving out one alone shows nothing.
pub(crate) const SECOND_FENCES: [(&str, &str); 6] = [
    ("non-dumpable", "the program cannot see the init in /proc, and the filter refuses ptrace"),
    ("die-with-parent", "the init ends as well when its socket to the supervisor closes"),
    ("drop-capabilities", "the bounding set is empty when the program is executed"),
    (
        "engine-pids",
        "the container's init sees that there is no limit, and what asks for one is refused",
    ),
    ("check-cgroup", "the kernel says of each write to a group whether it moved the writer"),
    ("close-fds", "the init has closed all that the caller left open before"),
];
