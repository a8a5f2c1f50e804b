//! Docker and Podman as backends, against real engines that the tests start and stop themselves.
//!
//! The cases `y_01` to `y_21` are those of the system that this replaces; see `docs/migrating.md`.
//! Where an engine cannot be started, its tests are skipped, and the reason is printed.

mod cases;
mod daemons;
mod errors;
mod fumehood;
mod http;
mod limits;
mod real;
mod registry;
mod same_job;
mod y;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use libtest_mimic::{Arguments, Completion, Trial};

use daemons::Engine;

type Test = fn(&Engine);

macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        [$($((stringify!($name), $module::$name as Test)),+),+]
    };
}

const TESTS: [(&str, Test); 41] = tests![
    cases:
        y_01_the_whole_specification_reaches_the_engine,
        y_02_there_is_no_network_unless_one_is_named,
        y_03_no_limit_is_zero_and_the_walls_stand_by_default,
        y_04_the_program_is_nobody_s_user,
        y_05_a_container_goes_by_itself,
        y_06_a_file_is_brought_back_byte_by_byte,
        y_07_what_is_not_there_is_left_out_and_named,
        y_08_a_directory_stands_for_its_files,
        y_09_a_run_gives_code_output_and_artifacts_and_leaves_nothing,
        y_10_an_image_that_is_absent_is_pulled,
        y_11_a_code_that_is_not_zero_is_a_result,
        y_12_a_timeout_is_a_result_with_what_was_printed,
        y_14_an_archive_goes_to_its_directory_and_is_the_program_s,
        y_15_without_an_archive_nothing_is_there,
        y_16_an_archive_that_is_refused_leaves_no_container,
        y_17_inputs_need_no_volume,
        y_18_the_workspace_is_in_memory_and_executes,
        y_19_another_input_directory_is_writable_memory,
        y_20_a_directory_in_the_workspace_is_no_mount_of_its_own,
        y_21_inject_run_and_collect,
        what_an_image_demands_does_not_weaken_the_walls;
    limits:
        memory_is_limited_and_told,
        what_a_child_costs_is_the_program_s,
        processes_are_limited_and_told,
        cpu_time_is_limited_for_all_together,
        the_watch_over_cpu_time_cannot_be_put_off,
        output_is_limited_while_it_flows,
        scratch_is_limited,
        shared_memory_is_limited_in_files_too,
        nothing_else_can_be_written,
        a_program_that_is_not_there_is_told_from_one_that_exits_with_127,
        the_init_is_out_of_the_program_s_reach,
        nobody_outlives_the_program,
        standard_input_reaches_the_program_and_ends,
        a_guarantee_that_no_engine_holds_is_refused,
        signals_reach_the_program;
    errors:
        a_missing_image_is_named,
        an_image_is_pinned_by_its_id,
        a_killed_supervisor_leaves_what_gc_finds,
        a_container_that_nobody_watches_ends;
    same_job:
        one_job_file_gives_the_same_everywhere;
];

type Breaking = fn(&'static str);

/// Tests that bring an engine of their own, to be broken.
const BREAKING: [(&str, Breaking); 6] = [
    (
        "y_13_an_engine_that_stops_in_mid_run_is_an_error",
        errors::y_13_an_engine_that_stops_in_mid_run_is_an_error,
    ),
    ("a_full_disk_is_told", errors::a_full_disk_is_told),
    (
        "y_10_an_image_that_is_absent_is_pulled_and_said_to_be",
        real::y_10_an_image_that_is_absent_is_pulled_and_said_to_be,
    ),
    (
        "an_image_is_pinned_by_the_digest_of_a_registry",
        real::an_image_is_pinned_by_the_digest_of_a_registry,
    ),
    (
        "gvisor_is_the_runtime_where_a_kernel_boundary_is_required",
        real::gvisor_is_the_runtime_where_a_kernel_boundary_is_required,
    ),
    (
        "an_ordinary_user_runs_a_podman_of_their_own",
        real::an_ordinary_user_runs_a_podman_of_their_own,
    ),
];

type Shared =
    Arc<LazyLock<Result<Engine, String>, Box<dyn FnOnce() -> Result<Engine, String> + Send>>>;

/// An engine that is started with the first test that wants it.
fn shared(name: &'static str) -> Shared {
    Arc::new(LazyLock::new(Box::new(move || Engine::start(name))))
}

fn trial(engine: &Shared, name: &str, test: impl FnOnce(&Engine) + Send + 'static) -> Trial {
    let engine = Arc::clone(engine);
    Trial::ignorable_test(name, move || {
        Ok(match &**engine {
            Ok(engine) => {
                test(engine);
                Completion::Completed
            }
            Err(reason) => Completion::ignored_with(reason.clone()),
        })
    })
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test looks at all containers of its engine.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    let engines = ["docker", "podman"].map(|name| (name, shared(name)));
    for (name, engine) in &engines {
        let name = *name;
        trials.push(Trial::test(format!("{name}::a_missing_socket_is_named"), move || {
            errors::a_missing_socket_is_named(name);
            Ok(())
        }));
        let shared =
            TESTS.iter().map(|(test, run)| trial(engine, &format!("{name}::{test}"), *run));
        trials.extend(shared);
        trials.extend(BREAKING.iter().map(|(test, run)| {
            trial(engine, &format!("{name}::{test}"), move |_: &Engine| run(name))
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The engines end with their last owner.
    drop(engines);
    conclusion.exit_code()
}
