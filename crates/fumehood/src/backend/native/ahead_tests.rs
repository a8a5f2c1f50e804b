use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::*;
use crate::backend::native::cell::Cell;
use crate::sandbox::Begun;
use crate::{BackendName, Guarantee, Network, Sandbox, Streams, blocking};

/// The plan of a job, and the init that was asked for meanwhile, by its process id and a descriptor of
/// it. None where that has to be born in its control group, or no init can be made.
fn ahead(job: &Job) -> Option<(Plan, Ahead, i32, OwnedFd)> {
    let (plan, ahead) = Ahead::while_planning(None, &Launcher::Direct, job, Host::current());
    let ahead = ahead?;
    let (pid, pidfd) = spawned(&ahead)?;
    Some((plan.unwrap(), ahead, pid, pidfd))
}

fn spawned(ahead: &Ahead) -> Option<(i32, OwnedFd)> {
    let (pid, pidfd) = ahead.asked.as_ref().ok()?.spawned.as_ref()?;
    Some((*pid, pidfd.try_clone().unwrap()))
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

#[test]
fn an_init_that_was_begun_for_any_job_is_that_of_an_ordinary_one() {
    let Some(begun) = Ahead::of_most(&Launcher::Direct, BackendName::Native) else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    let Some((pid, _)) = spawned(&begun) else {
        eprintln!("skipped: no init can be made here");
        return;
    };
    let (job, host) = (Job::new(["true"]), Host::current());
    let (_, ahead) = Ahead::while_planning(Some(begun), &Launcher::Direct, &job, host);
    assert_eq!(spawned(&ahead.unwrap()).unwrap().0, pid);
}

#[test]
fn an_init_that_was_begun_for_any_job_is_not_that_of_an_unusual_one() {
    let Some((_, begun, pid, pidfd)) =
        blocking::block_on(async { ahead(&Job::new(["true"])) }).unwrap()
    else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    let (job, host) = (Job::new(["true"]).network(Network::Host), Host::current());
    let (_, ahead) = Ahead::while_planning(Some(begun), &Launcher::Direct, &job, host);
    assert_ne!(spawned(&ahead.unwrap()).unwrap().0, pid);
    // Without an answer it waits for ever: that it ends is the promise.
    assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
}

#[test]
fn an_init_that_was_begun_for_a_tool_is_that_of_its_home() {
    let Some(begun) = Ahead::of_most(&Launcher::Direct, BackendName::Crun) else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    let Some((pid, _)) = spawned(&begun) else {
        eprintln!("skipped: no init can be made here");
        return;
    };
    let home = |begun, backend| {
        let job = Job::new(["true"]).backend(backend);
        Ahead::of_home(begun, &Launcher::Direct, &job, Host::current())
    };
    let ahead = home(Some(begun), BackendName::Runc).unwrap();
    assert_eq!(spawned(&ahead).unwrap().0, pid);
    assert!(home(Some(ahead), BackendName::Docker).is_none(), "an engine has no home");
}

#[test]
fn an_init_that_was_begun_is_not_kept_for_a_job_of_another_backend() {
    if Ahead::of_most(&Launcher::Direct, BackendName::Native).is_none() {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    }
    let sandbox = Sandbox::expecting(BackendName::Native);
    let mut job = Job::new(["true"]).backend(BackendName::Unconfined);
    job.waive = Guarantee::ALL.into();
    blocking::block_on(sandbox.run(&job)).unwrap().unwrap();
    assert!(sandbox.take_begun().is_none());
}

fn allowed(status: &str) -> &str {
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"));
    line.unwrap().trim()
}

#[test]
fn an_init_begins_on_another_processor_than_its_launcher() {
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let Some(begun) = Ahead::of_most(&Launcher::Direct, BackendName::Native) else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    let Some((pid, _)) = spawned(&begun) else {
        eprintln!("skipped: no init can be made here");
        return;
    };
    let aside = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let has_one = u128::from_str_radix(&allowed(&own).replace(',', ""), 16)
        .is_ok_and(|mask| mask.count_ones() == 1);
    assert_eq!(allowed(&aside) == allowed(&own), has_one, "{aside}");
}

#[test]
fn a_program_may_run_wherever_its_caller_may() {
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let job = Job::new(["cat", "/proc/self/status"]);
    for sandbox in [Sandbox::expecting(BackendName::Native), Sandbox::direct()] {
        match blocking::block_on(sandbox.run(&job)).unwrap() {
            Ok(report) => {
                let status = String::from_utf8(report.stdout.data).unwrap();
                assert_eq!(allowed(&status), allowed(&own));
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
}

/// What a program says of itself when its launcher may run on one processor only, or on all of its.
fn said(script: &str, on_one: bool) -> Option<String> {
    let run = || {
        if on_one {
            let all = sched_getaffinity(None).unwrap();
            let mut one = CpuSet::new();
            one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap());
            sched_setaffinity(None, &one).unwrap();
        }
        let job = Job::new(["sh", "-c", script]);
        match blocking::block_on(Sandbox::direct().run(&job)).unwrap() {
            Ok(report) => Some(String::from_utf8(report.stdout.data).unwrap()),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn a_program_cannot_tell_whether_somebody_helped_with_its_network() {
    let script = "echo $$; echo /proc/[0-9]*; tail -n 1 /proc/net/dev | cut -d: -f1; \
        cat /proc/net/if_inet6; ls /proc/self/fd";
    let [Some(alone), Some(helped)] = [true, false].map(|on_one| said(script, on_one)) else {
        return;
    };
    assert!(alone.starts_with("2\n") && alone.contains("lo\n"), "{alone}");
    assert_eq!(alone, helped);
}

#[test]
fn a_network_is_the_cells_own_whoever_makes_it() {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    for on_one in [true, false] {
        let Some(inside) = said("readlink /proc/self/ns/net", on_one) else { return };
        assert!(inside.starts_with("net:"), "{inside}");
        assert_ne!(inside.trim_end(), own.to_string_lossy());
    }
}

#[test]
fn an_init_that_was_told_of_another_root_is_not_used_and_ends() {
    blocking::block_on(async {
        let Some((_, ahead, pid, pidfd)) = ahead(&Job::new(["true"])) else {
            eprintln!("skipped: no init is cloned ahead here");
            return;
        };
        let is_told = matches!(ahead.opening, Opening::Root(..) | Opening::Cell(..));
        assert!(is_told, "{:?}", ahead.opening);
        let plan = Plan::new(&Job::new(["true"]).tmpfs("/srv")).unwrap();
        let cell = Cell::build_on(Some(ahead), &Launcher::Direct, &plan).await.unwrap();
        assert_ne!(cell.pid(), pid);
        // Without an answer it waits for ever: that it ends is the promise.
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
    })
    .unwrap();
}

#[test]
fn an_init_is_told_ahead_what_it_would_be_told_later() {
    let dir = tempfile::tempdir().unwrap();
    let ordinary = Job::new(["true"]);
    let mounts = Job::new(["true"]).mount(dir.path(), "/data");
    let unusual = Job::new(["true"]).mount_cow(dir.path(), "/workspace");
    for (job, is_told) in [(ordinary, true), (mounts, true), (unusual, false)] {
        let Some((plan, ahead, ..)) = blocking::block_on(async { ahead(&job) }).unwrap() else {
            eprintln!("skipped: no init is cloned ahead here");
            return;
        };
        let Some((_, told)) = ahead.for_plan(&Shape::of(&plan), &plan) else {
            panic!("not for it")
        };
        let told = match told {
            Told::Nothing => None,
            Told::Ground(told) => {
                let told = script::listed(told, &plan, Trees::default()).unwrap();
                Some(script::closing(told, &plan, Default::default()).unwrap())
            }
            Told::Root(told) => Some(script::closing(told, &plan, Default::default()).unwrap()),
            Told::Cell(told) => Some(told),
        };
        assert_eq!(told.is_some(), is_told);
        let Some(told) = told else { continue };
        let all = script::cell(&plan, Default::default(), Trees::default()).unwrap();
        assert_eq!(told.labels, all.labels);
        assert!(all.bytes.ends_with(&told.bytes) && all.bytes.len() > told.bytes.len());
    }
}

#[test]
fn an_init_is_told_all_ahead_where_it_joins_no_group() {
    let Some((_, ahead, ..)) = blocking::block_on(async { ahead(&Job::new(["true"])) }).unwrap()
    else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    let is_told_all = matches!(ahead.opening, Opening::Cell(..));
    assert_eq!(is_told_all, tree::hierarchy().is_err(), "{:?}", ahead.opening);
}

#[test]
fn an_init_that_was_told_all_is_not_used_for_another_filter() {
    let Some((mut plan, mut ahead, ..)) =
        blocking::block_on(async { ahead(&Job::new(["true"])) }).unwrap()
    else {
        eprintln!("skipped: no init is cloned ahead here");
        return;
    };
    ahead.opening = match ahead.opening {
        Opening::Root(root, script) => Opening::Cell(root, plan.filter.clone(), script),
        told => told,
    };
    plan.filter = None;
    assert!(ahead.for_plan(&Shape::of(&plan), &plan).is_none());
}

/// A sandbox that has planned a job, and the process id of the init that it has begun for it.
fn planned(job: &Job) -> Option<(Sandbox, i32, OwnedFd)> {
    let sandbox = Sandbox::expecting(BackendName::Native);
    sandbox.plan_ahead(job);
    let Some(Begun::Planned(planned)) = sandbox.take_begun() else {
        eprintln!("skipped: no init is cloned ahead here");
        return None;
    };
    let (pid, pidfd) = spawned(planned.ahead.as_ref()?)?;
    sandbox.put_begun(Begun::Planned(planned));
    Some((sandbox, pid, pidfd))
}

#[test]
fn a_job_that_was_planned_ahead_runs_in_the_init_that_was_told_of_it() {
    blocking::block_on(async {
        let job = Job::new(["true"]);
        let Some((sandbox, pid, _)) = planned(&job) else { return };
        let mut running = sandbox.spawn(&job, Streams::captured()).await.unwrap();
        assert_eq!(running.handle().init_pid(), pid);
        assert_eq!(running.wait().await.unwrap().outcome.exit_code(), 0);
    })
    .unwrap();
}

#[test]
fn what_was_planned_ahead_is_for_that_job_only() {
    blocking::block_on(async {
        let Some((sandbox, pid, pidfd)) = planned(&Job::new(["true"])) else { return };
        let other = Job::new(["false"]);
        let mut running = sandbox.spawn(&other, Streams::captured()).await.unwrap();
        assert_ne!(running.handle().init_pid(), pid);
        // Without an answer it waits for ever: that it ends is the promise.
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None), Ok(1));
        assert_eq!(running.wait().await.unwrap().outcome.exit_code(), 1);
    })
    .unwrap();
}

#[test]
fn a_refusal_that_was_found_ahead_is_told_when_the_job_comes() {
    let sandbox = Sandbox::expecting(BackendName::Native);
    let job = Job::new(["true"]).mount("/nowhere/at/all", "/data");
    sandbox.plan_ahead(&job);
    let refused = blocking::block_on(sandbox.run(&job)).unwrap().unwrap_err();
    assert!(refused.to_string().contains("/nowhere/at/all"), "{refused}");
}

#[test]
fn what_is_begun_for_a_job_that_nobody_knows_is_what_a_plain_one_needs() {
    let host = Host::current();
    assert_eq!(usual(host), foreseen(&Job::new(["true"]), host));
}
