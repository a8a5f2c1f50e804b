use std::io::Read;
use std::time::Duration;

use fumehood_child::wire::Ended;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::*;
use crate::backend::native::cgroup::Resource;
use crate::{ByteSize, Job, Outcome, Sandbox, Streams, blocking};

/// Runs a script in a cell whose root is shared and hands over what is left of it: a cell without
/// processes, or none where this host cannot make one.
async fn after(script: &str) -> Option<Started> {
    let mut plan = Plan::new(&Job::new(["sh", "-c", script])).unwrap();
    plan.share_root = true;
    let null = || openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty()).unwrap();
    let cell = match Cell::build(&Launcher::Direct, &plan).await {
        Err(NotBuilt::Blocked(_)) => return None,
        built => built.unwrap(),
    };
    let mut started = cell.start(&plan, vec![null(), null(), null()], None).await.unwrap();
    let ended = started.init.receive().await.unwrap().unwrap();
    assert_eq!(ended.kind, Kind::Ended);
    assert_eq!(Ended::decode(&ended.body).unwrap().status, 0);
    Some(started)
}

#[test]
fn a_shared_root_can_be_walked_when_the_program_has_ended() {
    blocking::block_on(async {
        let script = "umask 077; mkdir d; echo found >d/file; ln -s d link; mkdir /tmp/t";
        let Some(started) = after(script).await else {
            eprintln!("skipped: no cell can be made here");
            return;
        };
        let root = started.root.as_ref().unwrap();
        let open = |path| {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            openat2(root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        };
        let mut text = String::new();
        std::fs::File::from(open("workspace/d/file").unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "found\n");
        assert!(open("tmp/t").is_ok(), "another mount of the cell");
        assert_eq!(open("workspace/link/file").err(), Some(rustix::io::Errno::LOOP));
        assert_eq!(open("../etc/passwd").err(), Some(rustix::io::Errno::XDEV));
        assert_eq!(open("/etc/passwd").err(), Some(rustix::io::Errno::XDEV));
        assert!(open("proc/self/root").is_err());
    })
    .unwrap();
}

#[test]
fn a_shared_root_outlives_an_init_that_is_killed() {
    blocking::block_on(async {
        let Some(mut started) = after("echo found >file; echo also >/tmp/file").await else {
            eprintln!("skipped: no cell can be made here");
            return;
        };
        started.init.kill();
        while started.init.receive().await.is_ok_and(|message| message.is_some()) {}
        started.init.ended().await;
        let root = started.root.as_ref().unwrap();
        let open = |path| openat(root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        assert!(open("workspace/file").is_ok());
        assert!(open("tmp/file").is_ok());
        drop(started.mounts.take());
        // An init that another test clones has a copy until it closes what is not its own.
        let gone = async {
            while open("workspace/file").is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let gone = timeout(Duration::from_secs(60), gone).await;
        gone.expect("the mounts go with who keeps them");
    })
    .unwrap();
}

#[test]
fn a_root_is_shared_only_where_the_plan_says_so() {
    let job = Job::new(["true"]);
    let mut plan = Plan::new(&job).unwrap();
    assert!(!plan.share_root && !plan.steps().unwrap().iter().any(|step| step == "share-root"));
    plan.share_root = true;
    assert!(plan.steps().unwrap().iter().any(|step| step == "share-root"));
}

/// The steps of a list but for those of that name.
fn without(name: &str, list: &[u8]) -> Vec<u8> {
    let mut left = fumehood_child::wire::Buffer::<{ 1 << 16 }>::new();
    let mut reader = fumehood_child::step::Reader::new(list);
    while !reader.is_empty() {
        let step = fumehood_child::Step::decode(&mut reader).unwrap();
        if step.name() != name {
            step.encode(&mut left);
        }
    }
    left.bytes().to_vec()
}

#[test]
fn a_cell_that_does_not_enter_the_network_that_is_made_for_it_is_none() {
    if rustix::thread::sched_getaffinity(None).unwrap().count() == 1 {
        eprintln!("skipped: on one processor nobody helps with a network");
        return;
    }
    let plan = Plan::new(&Job::new(["true"])).unwrap();
    for (left_out, expected) in [("join-network", Kind::CellFailed), ("no-step", Kind::Ready)] {
        let mut script = script::cell(&plan, Default::default(), Default::default()).unwrap();
        script.bytes = without(left_out, &script.bytes);
        let Some(answer) = answer(&plan, &script) else {
            eprintln!("skipped: no init can be made here");
            return;
        };
        assert_eq!(answer, expected, "without {left_out}");
    }
}

/// What an init answers that is sent this list; none where no init can be made.
fn answer(plan: &Plan, script: &Script) -> Option<Kind> {
    let answer = blocking::block_on(async {
        let pending = Launcher::Direct.begin(&super::super::launch::Shape::of(plan), None);
        let Init { control, pid, pidfd } = pending.ok()?.init().await.ok()?;
        let mut init = Handle::new(control, pidfd, pid);
        send(&init, Kind::Cell, script, &script.fds).await.unwrap();
        Some(init.receive().await.unwrap().unwrap().kind)
    });
    answer.unwrap()
}

/// One that a file system keeps waiting looks the same. The clock runs ahead as soon as there is nothing else
/// to do.
#[tokio::test(start_paused = true)]
async fn an_init_that_does_not_finish_its_cell_is_killed() {
    use rustix::process::{Signal, pidfd_send_signal};
    let plan = Plan::new(&Job::new(["true"])).unwrap();
    let shape = super::super::launch::Shape::of(&plan);
    for parks in [true, false] {
        let Ok(pending) = Launcher::Direct.begin(&shape, None) else {
            eprintln!("skipped: no init can be made here");
            return;
        };
        let Init { control, pid, pidfd } = pending.init().await.unwrap();
        pidfd_send_signal(&pidfd, Signal::STOP).unwrap();
        let script = script::cell(&plan, Default::default(), Default::default()).unwrap();
        let init = Handle::new(control, Arc::clone(&pidfd), pid);
        let mut cell = Cell::new(init, None, Arc::new(script));
        let long = 60 * PATIENCE;
        let failed = match parks {
            true => timeout(long, cell.stand()).await.expect("a clock").err(),
            false => timeout(long, cell.start(&plan, vec![], None)).await.expect("a clock").err(),
        };
        let Some(NotBuilt::Failed(error)) = failed else { panic!("{failed:?}") };
        assert!(format!("{error:?}").contains("did not finish its steps"), "{error:?}");
        let ended = rustix::process::WaitIdOptions::EXITED;
        let ended = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), ended);
        assert_eq!(ended.unwrap().unwrap().terminating_signal(), Some(Signal::KILL.as_raw()));
    }
}

/// The list without the step that joins the group in that hierarchy.
fn without_joining(index: Option<u32>, list: &[u8]) -> Vec<u8> {
    let mut left = fumehood_child::wire::Buffer::<{ 1 << 16 }>::new();
    let mut reader = fumehood_child::step::Reader::new(list);
    while !reader.is_empty() {
        let step = fumehood_child::Step::decode(&mut reader).unwrap();
        if !matches!(step, fumehood_child::Step::JoinCgroup { fd } if Some(fd) == index) {
            step.encode(&mut left);
        }
    }
    left.bytes().to_vec()
}

#[test]
fn a_cell_that_is_not_in_its_group_in_every_hierarchy_is_none() {
    let plan = Plan::new(&Job::new(["true"])).unwrap();
    let group = tree::group(&plan).unwrap();
    let count = tree::way(group.as_ref()).unwrap().joins.groups.len();
    if count == 0 {
        eprintln!("skipped: an init joins no group here");
        return;
    }
    let nobody = [None];
    for left_out in nobody.into_iter().chain((0..u32::try_from(count).unwrap()).map(Some)) {
        let joins = tree::way(group.as_ref()).unwrap().joins;
        let mut script = script::cell(&plan, joins, Default::default()).unwrap();
        script.bytes = without_joining(left_out, &script.bytes);
        let Some(answer) = answer(&plan, &script) else {
            eprintln!("skipped: no init can be made here");
            return;
        };
        let expected = if left_out.is_none() { Kind::Ready } else { Kind::CellFailed };
        assert_eq!(answer, expected, "without {left_out:?}");
    }
}

/// How a job ends whose supervisor gets no processor for three seconds when its program is about to start; none
/// where this host cannot make its cell.
async fn unheard(job: &Job) -> Option<Outcome> {
    let plan = Plan::new(job).ok()?;
    let cell = match Cell::build(&Launcher::Direct, &plan).await {
        Err(NotBuilt::Blocked(_)) => return None,
        built => built.unwrap().park().await.unwrap(),
    };
    let sandbox = Sandbox::direct();
    let spawned = sandbox.spawn_in(plan.clone(), &plan, cell, Streams::default());
    let busy = async { std::thread::sleep(Duration::from_secs(3)) };
    let (running, ()) = tokio::join!(spawned, busy);
    Some(running.unwrap().wait().await.unwrap().outcome)
}

/// With version 2 the init is killed together with its program, and with it the word that the program runs.
#[test]
fn a_cgroup_that_runs_out_of_memory_unheard_was_a_run_that_did() {
    if let Err(blocked) = tree::holds(Resource::Memory) {
        eprintln!("skipped: memory cannot be limited here: {blocked:?}");
        return;
    }
    let grow = ["sh", "-c", "text=xxxxxxxxxxxxxxxx; while :; do text=$text$text; done"];
    for tty in [false, true] {
        let mut job = Job::new(grow);
        job.tty = tty;
        job.limits.memory = Some(ByteSize::mib(16).into());
        match blocking::block_on(unheard(&job)).unwrap() {
            Some(outcome) => assert_eq!(outcome, Outcome::OutOfMemory),
            None => eprintln!("skipped: no cell can be made here"),
        }
    }
}

/// One that talked on would keep the clocks of its run from being looked at.
#[tokio::test]
async fn an_init_whose_program_runs_says_nothing_but_its_end() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let mut stands_in = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&stands_in);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let control = super::super::control::Control::new(ours).unwrap();
    let mut init = Handle::new(control, Arc::new(pidfd), pid.as_raw_nonzero().get());
    rustix::io::write(&theirs, &Kind::Staged.header(0)).unwrap();
    drop(theirs);
    crate::backend::init_says(&mut init).await.unwrap_err();
    stands_in.kill().unwrap();
    stands_in.wait().unwrap();
}
