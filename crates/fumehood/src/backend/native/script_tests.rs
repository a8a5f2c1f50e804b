use std::borrow::Cow;

use super::*;
use crate::{Job, Network};

fn plan(job: &Job) -> Plan {
    Plan::new(job).unwrap()
}

fn position(script: &Script, name: &str) -> usize {
    script.names().position(|step| step == name).unwrap_or_else(|| panic!("no step {name}"))
}

#[test]
fn the_cell_is_confined_in_this_order() {
    let script = cell(&plan(&Job::new(["true"])), Default::default(), Trees::default()).unwrap();
    let order = [
        "no-real-time",
        "non-dumpable",
        "mount-namespace",
        "uts-namespace",
        "ipc-namespace",
        "set-ids",
        "die-with-parent",
        "network-namespace",
        "loopback",
        "private-mounts",
        "new-root",
        "hostname",
        "bind",
        "read-only",
        "proc",
        "user-limit",
        "show-proc",
        "seal-root",
        "join-network",
        "pivot",
        "cgroup-namespace",
        "landlock-ruleset",
        "landlock-allow",
        "rlimit",
        "bounding-set",
        "drop-capabilities",
        "no-new-privs",
        "seccomp",
    ];
    let positions: Vec<_> = order.iter().map(|name| position(&script, name)).collect();
    assert!(positions.is_sorted(), "{:?}", order.iter().zip(positions).collect::<Vec<_>>());
    assert_eq!(script.labels.last().map(AsRef::as_ref), Some("seccomp"));
}

#[test]
fn who_joins_groups_looks_whether_it_is_there_before_it_sees_no_more_than_its_own() {
    let group = |name: &str| Join { name: name.to_owned(), file: None };
    let joins = Joins { groups: vec![group("memory"), group("pids")], name: "one".to_owned() };
    let script = cell(&plan(&Job::new(["true"])), joins, Trees::default()).unwrap();
    let names: Vec<_> = script.names().collect();
    let first = position(&script, "join-cgroup");
    let steps = ["join-cgroup", "join-cgroup", "check-cgroup", "cgroup-namespace"];
    assert_eq!(names[first..first + 4], steps);
    assert!(position(&script, "show-proc") < first, "it reads its own /proc");
}

/// The labels of the steps of a cell for this job.
fn labels(job: &Job) -> Vec<Cow<'static, str>> {
    cell(&plan(job), Default::default(), Trees::default()).unwrap().labels
}

#[test]
fn what_is_shown_of_the_host_is_read_only_before_anything_else_is_mounted() {
    let read_only = labels(&Job::new(["true"]));
    let at = |name: &str| read_only.iter().position(|label| label == name).unwrap();
    let host = read_only.iter().rposition(|label| label.starts_with("bind /etc/")).unwrap();
    assert!(host < at("read-only") && at("read-only") < at("bind /dev/null"), "{read_only:?}");
}

#[test]
fn what_hides_is_a_mount_that_nothing_can_be_done_with() {
    let labels = labels(&Job::new(["true"]));
    let at = |name: &str| labels.iter().position(|label| label.starts_with(name)).unwrap();
    assert!(at("mask /dev/.masked-dir") < at("mask /proc/"), "{labels:?}");
    assert!(at("mask /dev/.masked-file") < at("mask /proc/"), "{labels:?}");
}

#[test]
fn a_template_and_the_rest_make_a_cell() {
    let dir = std::env::temp_dir();
    let plan = plan(&Job::new(["true"]).mount(&dir, "/srv"));
    let whole = cell(&plan, Default::default(), Trees::default()).unwrap().labels;
    let split = Split::of(&plan).unwrap();
    let template = template(&plan, &split, Trees::default()).unwrap();
    let rest = rest(&plan, &split, &[]).unwrap();
    let mut parts = [template.labels, rest.labels].concat();
    let twice = [
        "no-real-time",
        "non-dumpable",
        "set-ids",
        "die-with-parent",
        "proc-of-nobody",
        "show-proc /proc",
    ];
    for step in twice {
        let first = parts.iter().position(|part| part == step).unwrap();
        parts.remove(first);
    }
    let sorted = |mut labels: Vec<Cow<'static, str>>| {
        labels.sort_unstable();
        labels
    };
    assert_eq!(sorted(parts.clone()), sorted(whole));
    let at = |step: &str| parts.iter().position(|part| part == step).unwrap();
    assert!(at("pivot") < at("cgroup-namespace"), "a template has no place for a group");
}

#[test]
fn what_lies_below_a_file_system_of_the_cells_own_is_not_shared() {
    let dir = std::env::temp_dir();
    assert!(Split::of(&plan(&Job::new(["true"]).mount(&dir, "/srv"))).is_some());
    assert!(Split::of(&plan(&Job::new(["true"]).mount(&dir, "/tmp/there"))).is_none());
}

#[test]
fn the_program_is_confined_in_this_order() {
    let mut plan = plan(&Job::new(["true"]));
    let shipped = plan.filter.as_deref().unwrap().clone();
    plan.filter = Some(std::sync::Arc::new(crate::Filter { is_shipped: false, ..shipped }));
    let script = program(&plan, None).unwrap();
    let order = [
        "stdio",
        "session",
        "unblock-signals",
        "umask",
        "chdir",
        "nice",
        "rlimit",
        "landlock",
        "close-fds",
        "seccomp",
        "exec",
    ];
    let positions: Vec<_> = order.iter().map(|name| position(&script, name)).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(position(&script, "exec"), position(&script, "seccomp") + 1, "nothing in between");
}

#[test]
fn the_host_network_gets_no_interface_of_ours() {
    let job = Job::new(["true"]).network(Network::Host);
    let script = cell(&plan(&job), Default::default(), Trees::default()).unwrap();
    assert!(script.names().all(|name| name != "loopback" && name != "join-network"));
}

#[test]
fn every_step_that_is_sent_has_a_label_and_reads_back() {
    let script = cell(&plan(&Job::new(["true"])), Default::default(), Trees::default()).unwrap();
    let mut reader = fumehood_child::step::Reader::new(&script.bytes);
    let first = script.names().position(|name| name == "hostname").unwrap();
    for label in &script.labels[first..] {
        let step = Step::decode(&mut reader).unwrap();
        assert!(label.starts_with(step.name()), "{label} is not {}", step.name());
    }
    assert!(reader.is_empty());
}

#[test]
fn layers_are_out_of_sight_before_the_root_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new(["true"]).mount_cow(dir.path(), "/workspace");
    let script = cell(&plan(&job), Default::default(), Trees::default()).unwrap();
    let at = |label: &str| script.labels.iter().position(|step| step == label);
    let order = [
        "new-root",
        "tmpfs /.changes",
        "mkdir /.changes/0/upper",
        "bind /.changes/0/lower",
        "overlay /workspace",
        "share-changes",
        "detach",
        "seal-root",
        "join-network",
        "pivot",
    ];
    let positions: Vec<_> = order.iter().map(|label| at(label)).collect();
    assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{positions:?}");

    let script = cell(&plan(&Job::new(["true"])), Default::default(), Trees::default()).unwrap();
    assert!(script.labels.iter().all(|step| !step.contains("changes") && step != "detach"));
}
