//! A pool as a program uses it: what is parked is used once, by jobs that it fits, and shows nothing
//! of what ran before; and whoever dies takes nobody else along but those that it owns.

mod apart;
#[path = "../common/mod.rs"]
mod common;
mod deaths;
mod jobs;
mod owner;
mod processes;
mod seats;
mod stock;

use fumehood::{Job, Outcome, Pool, PoolConfig, Sandbox};
use libtest_mimic::Arguments;

use common::Test;

const TESTS: [(&str, Test); 43] = [
    ("a_parked_cell_gives_what_the_job_says", jobs::gives_what_the_job_says),
    ("a_job_gets_the_working_directory_that_is_made_for_it", jobs::directories),
    ("what_is_worked_out_for_one_job_counts_for_no_other", jobs::recipes),
    ("what_is_worked_out_before_a_job_is_right_for_it", jobs::by_recipe),
    ("jobs_that_differ_in_confinement_share_no_cell", jobs::no_cell_is_shared),
    ("what_cannot_be_built_is_an_error_of_the_job", jobs::not_built),
    ("inputs_go_into_a_parked_cell_and_files_come_back", jobs::files),
    ("data_of_a_job_are_not_kept_for_others", jobs::no_data_are_kept),
    ("many_jobs_run_at_a_time", jobs::many),
    ("nothing_of_one_run_is_visible_in_the_next", apart::nothing_is_visible),
    ("a_cell_from_a_template_is_like_any_other", apart::templates_change_nothing),
    ("cells_that_live_at_a_time_have_networks_of_their_own", apart::networks_are_apart),
    ("a_socket_that_outlives_its_cell_is_in_nobodys_network", apart::sockets_that_stay),
    ("nobody_watches_a_network_that_somebody_else_has", apart::watched_networks),
    ("a_route_that_was_looked_up_is_in_nobody_elses_network", apart::routes),
    ("a_report_of_multicast_is_in_nobody_elses_network", apart::groups),
    ("a_network_of_a_job_with_mounts_is_used_again", apart::networks_of_mounts),
    ("a_network_that_came_back_is_always_compared", apart::sockets_that_stay_later),
    ("a_template_has_as_many_cells_as_there_are_descriptors_for", stock::many_cells),
    ("more_cells_than_descriptors_allow_are_refused", stock::too_many_cells),
    ("as_many_descriptors_are_reckoned_with_as_cells_take", stock::descriptors),
    ("half_of_the_cells_are_replaced_beside_runs", stock::replaced_beside_runs),
    ("a_group_that_had_much_is_used_again", stock::large_groups),
    ("an_init_has_its_processors_before_its_inputs", seats::before_inputs),
    ("old_cells_are_thrown_away", stock::old_cells_go),
    ("cells_are_parked_whatever_the_age_that_they_may_have", stock::no_age),
    ("a_pool_is_of_use_to_other_runtimes", stock::other_runtimes),
    ("draining_ends_what_is_parked", stock::drained),
    ("a_cell_that_died_parked_is_replaced", deaths::dead_cells_are_replaced),
    ("a_cell_that_dies_as_it_is_used_is_replaced", deaths::dying_cells_are_replaced),
    ("a_program_that_was_begun_runs_once", deaths::primed_programs_run_once),
    ("a_program_that_was_begun_may_die", deaths::primed_programs_may_die),
    ("a_program_that_was_begun_is_that_of_its_job_alone", jobs::primed_for_others),
    ("a_program_that_runs_apart_is_not_begun_early", seats::nothing_begins_early),
    ("a_cell_that_dies_with_its_inputs_is_replaced", deaths::dying_cells_get_inputs_again),
    ("a_template_that_dies_loses_no_run", deaths::templates_lose_no_run),
    ("a_template_that_died_is_replaced", deaths::dead_templates_are_replaced),
    ("a_zygote_that_dies_loses_no_run", deaths::zygotes_lose_no_run),
    ("a_warden_that_dies_leaves_nobody_waiting", deaths::wardens_that_die_are_noticed),
    ("a_thread_that_ends_takes_no_cell_along", owner::threads_come_and_go),
    ("nothing_outlives_an_owner_that_is_killed", owner::killed),
    ("nothing_outlives_an_owner_of_which_there_is_a_copy", owner::copied),
    ("nothing_that_is_stopped_outlives_its_owner", owner::stopped),
];

fn main() {
    fumehood::init();
    owner::become_one();
    let mut arguments = Arguments::from_args();
    // They share a zygote, and some of them kill it.
    arguments.test_threads = Some(1);
    common::conclude(&arguments, &TESTS)
}

fn pool(parked: usize) -> Pool {
    Pool::new(Sandbox::new(), PoolConfig::default().parked(parked))
}

fn shell(script: &str) -> Job {
    Job::new(["sh", "-c", script])
}

async fn prints(pool: &Pool, job: &Job) -> fumehood::Result<String> {
    let report = pool.run(job).await?;
    assert_eq!(report.outcome, Outcome::Exited { code: 0 }, "{report:?}");
    Ok(String::from_utf8_lossy(&report.stdout.data).into_owned())
}
