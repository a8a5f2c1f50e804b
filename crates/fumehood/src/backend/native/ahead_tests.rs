use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::backend::native::cell::Cell;
use crate::{Network, blocking};

/// The plan of a job, and the init that was asked for meanwhile, by its process id and a descriptor of
/// it. None where that has to be born in its control group, or no init can be made.
fn ahead(job: &Job) -> Option<(Plan, Ahead, i32, OwnedFd)> {
    let (plan, ahead) = Ahead::while_planning(&Launcher::Direct, job, Host::current());
    let ahead = ahead?;
    let Ok(Pending::There(init)) = &ahead.asked else { return None };
    let (pid, pidfd) = (init.pid, init.pidfd.try_clone().unwrap());
    Some((plan.unwrap(), ahead, pid, pidfd))
}

#[test]
fn a_cell_is_built_by_the_init_that_was_cloned_while_it_was_planned() {
    blocking::block_on(async {
        let Some((plan, ahead, pid, _)) = ahead(&Job::new(["true"])) else {
            eprintln!("skipped: no init is cloned ahead here");
            return;
        };
        let cell = Cell::build_on(Some(ahead), &Launcher::Direct, &plan).await.unwrap();
        assert_eq!(cell.pid(), pid);
    })
    .unwrap();
}

#[test]
fn an_init_that_does_not_fit_is_not_used_and_ends() {
    blocking::block_on(async {
        let Some((_, ahead, pid, pidfd)) = ahead(&Job::new(["true"])) else {
            eprintln!("skipped: no init is cloned ahead here");
            return;
        };
        let plan = Plan::new(&Job::new(["true"]).network(Network::Host)).unwrap();
        let cell = Cell::build_on(Some(ahead), &Launcher::Direct, &plan).await.unwrap();
        assert_ne!(cell.pid(), pid);
        // Without an answer it waits for ever: that it ends is the promise.
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
    })
    .unwrap();
}
