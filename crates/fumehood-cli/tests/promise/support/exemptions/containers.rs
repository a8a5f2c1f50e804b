//! What runtimes and engines of containers do not offer.

use super::{ENGINES, Exempt, OCI, OTHERS, SHARED_KERNEL};

/// In the order in which they are looked up.
pub(super) const EXEMPT: &[Exempt] = &[
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
        backends: &["native", "docker", "podman", "seatbelt", "unconfined"],
        promises: &["breakdowns::"],
        reason: "no tool of ours makes its sandboxes that could break down: what makes them is Fumehood, the engine, or nobody",
    },
    Exempt {
        backends: &["crun", "runc", "nsjail"],
        promises: &[
            "breakdowns::a_kernel_of_gvisor_that_is_killed_is_no_end_of_the_program",
            "breakdowns::a_file_server_of_gvisor_that_is_killed_is_no_end_of_the_program",
        ],
        reason: "only gVisor has a kernel and a server of files of its own",
    },
    Exempt {
        backends: &["crun", "nsjail"],
        promises: &["breakdowns::a_tool_that_is_killed_for_the_program_s_limit_is_out_of_memory"],
        reason: "it needs no more memory than the least of programs",
    },
    Exempt {
        backends: ENGINES,
        promises: &["limits_tree::what_waits_in_sockets_counts_as_memory"],
        reason: "with control groups version 1 engines do not limit what waits in sockets",
    },
    Exempt {
        backends: ENGINES,
        promises: &["limits_time_output::a_crash_starts_none_whatever_the_program_did_first"],
        reason: "the filters of engines let programs set their limit of core dumps",
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
    Exempt {
        backends: OTHERS,
        promises: &["tty::"],
        reason: "only native cells have a terminal of their own",
    },
    Exempt {
        backends: OCI,
        promises: &["mounts::a_source_may_have_any_name"],
        reason: "a bundle is JSON, so names that are not UTF-8 are refused",
    },
    Exempt {
        backends: OCI,
        promises: &["artifacts::what_only_root_may_read_in_a_mount_stays_there"],
        reason: "files of a mount do not come back from there",
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
            "filesystem::nothing_can_be_done_with_what_hides_something",
            "limits_tree::a_failure_for_lack_of_processes_is_named",
            "limits_tree::a_fork_bomb_is_held_until_its_time_is_up",
        ],
        reason: "runtimes cover entries of /proc by devices, and count no refused processes",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["syscalls::", "limits_tree::taking_the_time_of_process_1_does_not_help"],
        reason: "gVisor answers all system calls itself, without a filter of them",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "filesystem::only_the_listed_directories_exist",
            "images::nothing_of_the_host_is_in_an_image",
            "images::a_static_program_alone_is_an_image",
        ],
        reason: "gVisor adds a /sys of its own",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "filesystem::every_other_mount_is_read_only",
            "filesystem::no_mount_allows_devices_or_setuid",
            "filesystem::nothing_can_be_done_with_what_hides_something",
            "images::an_image_cannot_be_written",
            "images::a_directory_is_a_root",
            "mounts::restrictions_of_the_host_s_mount_are_kept",
        ],
        reason: "it reads the list of mounts, where gVisor shows other options than those that hold",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["filesystem::only_harmless_devices_exist"],
        reason: "gVisor has devices of its own choice, none of them the host's",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "privileges::cannot_gain_privileges",
            "privileges::holds_no_capability",
            "privileges::every_thread_is_confined",
        ],
        reason: "it reads /proc/self/status, which has fewer lines in gVisor",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["network::cannot_send_anything_outside"],
        reason: "it asks for the kernel's errors, and gVisor's network has others",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["processes::cannot_touch_the_init"],
        reason: "process 1 of a gVisor is as much in the program's reach as the program's own end",
    },
    Exempt {
        backends: &["runsc"],
        promises: &[
            "processes::a_signal_to_fumehood_reaches_the_program",
            "privileges::is_not_root_on_the_host",
            "neighbours::",
            "report::privileges_are_those_of_the_report",
            "report::the_filter_is_that_of_the_report",
            "report::the_file_system_is_that_of_the_report",
            "report::limits_are_those_of_the_report",
            "report::a_waived_network_is_the_host_s_and_the_report_says_so",
            "leftovers::a_crash_in_the_middle_leaves_no_file",
            "death::killed_while_it_runs_it_leaves_nothing",
            "death::killed_at_any_moment_it_leaves_nothing",
        ],
        reason: "it looks for the program among the processes of the host, and a gVisor's are not there",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["limits_time_output::a_polite_program_may_end_in_its_grace"],
        reason: "gVisor takes longer than this grace to pass a signal on",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["limits_tree::a_share_of_the_cpus_holds"],
        reason: "the start of a gVisor takes a part of the share that is measured",
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
    Exempt {
        backends: ENGINES,
        promises: &["images::"],
        reason: "it is about images of our own store; an engine has its own, which its tests are about",
    },
    Exempt {
        backends: ENGINES,
        promises: &["privileges::the_user_inside_is_1000"],
        reason: "the user inside is 65532",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "filesystem::only_the_listed_directories_exist",
            "filesystem::cannot_read_the_host_s_accounts",
        ],
        reason: "the root is the image's, and what an engine adds to it",
    },
    Exempt {
        backends: &["podman"],
        promises: &["filesystem::cannot_read_a_host_file"],
        reason: "it looks whether /run is there, and Podman makes an empty one",
    },
    Exempt {
        backends: &["podman"],
        promises: &[
            "syscalls::cannot_enter_new_namespaces",
            "syscalls::cannot_mount",
            "syscalls::cannot_trace_others",
            "syscalls::clone3_is_not_implemented",
            "neighbours::cannot_touch_a_process_of_another_cell",
        ],
        reason: "Podman's own filter lets programs make user namespaces and mount in them, and \
                 use keyrings",
    },
    Exempt {
        backends: &["podman"],
        promises: &["limits_tree::files_in_memory_count_as_memory"],
        reason: "files that fill the memory leave none for the container's init, and Podman does not say \
                 what it was killed for",
    },
    Exempt {
        backends: ENGINES,
        promises: &["limits_tree::a_million_files_run_out_of_inodes"],
        reason: "inodes of /dev/shm, and all of them by Podman, are limited only as the memory that they take",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "filesystem::every_other_mount_is_read_only",
            "filesystem::no_mount_allows_devices_or_setuid",
            "filesystem::nothing_can_be_done_with_what_hides_something",
            "filesystem::only_harmless_devices_exist",
            "report::the_file_system_is_that_of_the_report",
        ],
        reason: "engines mount what they are told without nosuid, and /dev for root to write to; \
                 no_new_privs holds all the same, and there is no root",
    },
    Exempt {
        backends: ENGINES,
        promises: &["filesystem::a_mount_below_a_read_only_mount_cannot_be_written"],
        reason: "what is mounted below a read-only mount is not shown at all",
    },
    Exempt {
        backends: ENGINES,
        promises: &["mounts::restrictions_of_the_host_s_mount_are_kept"],
        reason: "engines mount anew what they are told to",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "mounts::a_target_behind_a_link_that_leads_elsewhere_is_refused",
            "mounts::a_target_never_covers_what_the_sandbox_makes",
            "mounts::a_link_in_a_mounted_tree_works_when_its_target_is_mounted",
            "mounts::a_link_in_a_mounted_tree_to_outside_works_when_it_is_mounted",
            "job_files::a_mount_target_through_a_link_is_an_error",
        ],
        reason: "engines follow links on the way to a target, within the container's root",
    },
    Exempt {
        backends: ENGINES,
        promises: &["mounts::a_source_may_have_any_name"],
        reason: "engines are asked in JSON, so names that are not UTF-8 are refused",
    },
    Exempt {
        backends: ENGINES,
        promises: &["network::loopback_works_inside"],
        reason: "engines switch IPv6 off in a container without a network; IPv4 works",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "stdio::a_program_whose_reader_goes_away_is_told",
            "stdio::an_output_that_was_handed_out_hangs_nobody",
        ],
        reason: "the program's pipes are the engine's, which reads them to their end",
    },
    Exempt {
        backends: &["runc"],
        promises: &["stdio::an_output_that_was_handed_out_hangs_nobody"],
        reason: "the program's pipes are runc's, which reads them to their end or to the time limit",
    },
    Exempt {
        backends: &["runsc"],
        promises: &["stdio::an_output_that_was_handed_out_hangs_nobody"],
        reason: "no program in a gVisor reaches a socket of the host",
    },
    Exempt {
        backends: ENGINES,
        promises: &["network::an_unknown_network_is_refused"],
        reason: "engines have networks with names",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "syscalls::cannot_use_risky_kernel_interfaces",
            "syscalls::cannot_keep_others_from_writing",
            "syscalls::cannot_type_into_a_terminal",
            "syscalls::cannot_use_the_32_bit_gate",
            "syscalls::cannot_use_x32_calls",
            "syscalls::only_harmless_socket_families_can_be_used",
        ],
        reason: "the filter is the engine's own, which lets more through than ours",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "neighbours::a_program_gives_way_to_others",
            "neighbours::a_program_of_a_background_caller_stays_one",
            "neighbours::a_program_cannot_take_its_place_back",
            "neighbours::a_crowd_competes_as_one",
            "neighbours::the_init_does_not_give_way",
        ],
        reason: "only cells of ours give way to others",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "neighbours::cannot_take_all_inotify_instances_of_the_host",
            "neighbours::cannot_take_all_timers_of_the_host",
            "neighbours::cannot_take_all_terminals_of_the_host",
        ],
        reason: "what the kernel counts by user is counted for all containers together, and engines \
                 limit no terminals",
    },
    Exempt {
        backends: ENGINES,
        promises: &["report::namespaces_are_those_of_the_report"],
        reason: "containers of root's engine are in no user namespace of their own",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "report::the_set_up_is_timed_by_step",
            "limits_tree::usage_names_its_sources",
            "limits_tree::sources_differ_as_documented",
        ],
        reason: "it is about how native cells are made: an engine makes its containers in steps of its \
                 own, and the container's own group counts",
    },
    Exempt {
        backends: ENGINES,
        promises: &["inputs::inputs_larger_than_memory_are_refused"],
        reason: "what they do not fit in is told, and not that it was the inputs: the container's init \
                 is gone with them",
    },
    Exempt {
        backends: ENGINES,
        promises: &["limits_tree::many_small_processes_cannot_take_more_memory_together"],
        reason: "the limit holds and is told; but its peak is not, should the kernel kill the container's \
                 init, too",
    },
    Exempt {
        backends: ENGINES,
        promises: &["artifacts::files_come_back_when_memory_runs_out"],
        reason: "files in memory are gone with the container, should the kernel kill its init",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "artifacts::output_tricks_get_their_verdict",
            "artifacts::what_the_program_may_not_read_does_not_come_back",
        ],
        reason: "files are brought by the program's own user, from a root that is the engine's",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "death::killed_at_any_moment_it_leaves_nothing",
            "death::killed_while_it_runs_it_leaves_nothing",
        ],
        reason: "a container outlives a supervisor that is killed until its own time is up, or until gc",
    },
    Exempt {
        backends: ENGINES,
        promises: &[
            "leftovers::a_killed_supervisor_leaves_no_control_group",
            "leftovers::what_a_killed_supervisor_left_is_found_and_removed",
            "leftovers::what_a_living_supervisor_has_stays",
            "leftovers::a_crash_in_the_middle_leaves_no_file",
        ],
        reason: "control groups are the engine's; what gc removes of it is in the tests of engines",
    },
];
