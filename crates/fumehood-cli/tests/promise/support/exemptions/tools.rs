//! What nsjail does not offer, and what is left of the others.

use super::{ENGINES, Exempt};

/// Looked up after those of containers.
pub(super) const EXEMPT: &[Exempt] = &[
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "syscalls::",
            "limits_tree::taking_the_time_of_process_1_does_not_help",
            "limits_time_output::a_crash_starts_none_whatever_the_program_did_first",
            "report::the_filter_is_that_of_the_report",
            "privileges::every_thread_is_confined",
            "neighbours::cannot_touch_a_process_of_another_cell",
        ],
        reason: "nsjail gives programs no filter of system calls here",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "exit_codes::a_signal_is_128_and_its_number",
            "exit_codes::a_signal_that_a_program_sends_itself_is_no_limit",
            "processes::the_program_is_not_the_init",
            "processes::cannot_touch_the_init",
            "processes::a_signal_to_fumehood_reaches_the_program",
            "limits_time_output::a_large_file_is_refused",
            "limits_tree::a_sparse_file_beyond_the_limit_is_stopped",
            "limits_tree::a_dense_file_beyond_the_limit_is_stopped",
            "report::a_report_is_written_when_the_program_is_killed",
            "artifacts::files_come_back_however_the_program_ended",
        ],
        reason: "the program is process 1 in there: no signal ends it that it does not handle",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "filesystem::no_mount_allows_devices_or_setuid",
            "images::an_image_cannot_be_written",
            "report::the_file_system_is_that_of_the_report",
        ],
        reason: "nsjail mounts what it is told without nosuid and nodev; no_new_privs holds all the same",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "filesystem::sensitive_files_of_proc_are_masked",
            "filesystem::nothing_can_be_done_with_what_hides_something",
        ],
        reason: "nsjail cannot hide files of /proc",
    },
    Exempt {
        backends: &["docker"],
        promises: &["mounts::all_of_the_host_can_be_shown"],
        reason: "Docker refuses to show what its own data lie in to a container that is cut off from mounts of the host",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &["mounts::a_source_may_have_any_name"],
        reason: "nsjail separates paths by colons, so names with one are refused",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "mounts::a_link_in_a_mounted_tree_works_when_its_target_is_mounted",
            "mounts::a_link_in_a_mounted_tree_to_outside_works_when_it_is_mounted",
        ],
        reason: "what lies in a directory that is mounted read-only cannot be mounted writable as well",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &["artifacts::what_only_root_may_read_in_a_mount_stays_there"],
        reason: "files of a mount do not come back from there",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "artifacts::files_come_back_in_the_report",
            "artifacts::output_tricks_get_their_verdict",
        ],
        reason: "files come back from /workspace, /tmp and mounts, others are refused",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "limits_tree::a_failure_for_lack_of_processes_is_named",
            "limits_tree::a_fork_bomb_is_held_until_its_time_is_up",
        ],
        reason: "the kernel counts no processes that a resource limit refused",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &[
            "neighbours::cannot_take_all_inotify_instances_of_the_host",
            "neighbours::cannot_take_all_timers_of_the_host",
            "neighbours::cannot_take_all_terminals_of_the_host",
        ],
        reason: "nsjail has no such limits",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &["neighbours::the_init_does_not_give_way"],
        reason: "nsjail, which the program's parent is, is as nice as the program",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &["leftovers::a_run_needs_no_file_system_that_it_could_write_to"],
        reason: "nsjail makes a directory to build its root in",
    },
    Exempt {
        backends: &["podman"],
        promises: &["toolchains::"],
        reason: "they take unlimited memory, as which Podman limits inodes, so disk would have to be waived",
    },
    Exempt {
        backends: &["crun", "nsjail", "docker", "podman"],
        promises: &["limits_tree::what_is_waived_has_its_stand_in_named"],
        reason: "only native cells have a weaker limit in the place of one that cannot be held",
    },
    Exempt {
        backends: &["nsjail"],
        promises: &["limits_tree::sources_differ_as_documented"],
        reason: "what nsjail itself uses is counted",
    },
    Exempt {
        backends: &["runc/user"],
        promises: &[
            "filesystem::every_other_mount_is_read_only",
            "processes::cannot_touch_the_init",
            "privileges::has_no_groups_of_the_host",
        ],
        reason: "where an ordinary user runs runc, the program is root inside, and its caller on the host",
    },
    Exempt {
        backends: &["podman"],
        promises: &["inputs::inputs_larger_than_the_workspace_are_refused_by_name"],
        reason: "the run is refused, but Podman may drop the connection before the init has said why",
    },
    Exempt {
        backends: &["runsc/user"],
        promises: &[
            "filesystem::nothing_but_scratch_can_be_written",
            "images::an_image_runs_as_it_says",
            "images::the_user_of_an_image_is_the_program_s",
            "privileges::the_user_inside_is_1000",
            "privileges::has_no_groups_of_the_host",
            "privileges::a_setuid_program_gives_nothing",
        ],
        reason: "where an ordinary user runs runsc, the program is root of gVisor's kernel, and its caller \
                 on the host",
    },
    Exempt {
        backends: &["runsc/user"],
        promises: &["network::the_host_s_network_is_there_when_asked_for"],
        reason: "gVisor passes the host's network on only where root runs it",
    },
    Exempt {
        backends: ENGINES,
        promises: &["limits_tree::a_fork_bomb_is_held_until_its_time_is_up"],
        reason: "it is held; but how many processes there were at most is not shown in a container",
    },
];
