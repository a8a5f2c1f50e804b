//! What this process and all below it hold.

use std::fs;

/// What the processes of one role hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) processes: u64,
    pub(super) kib: u64,
    pub(super) descriptors: u64,
}

/// The same by role, in the order of [`ROLES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Held(pub(super) [Sum; 4]);

/// This process; the zygote and what watches it; templates; inits of parked cells.
pub(super) const ROLES: [&str; 4] = ["owner", "zygote", "template", "parked"];

/// How a template is called.
const TEMPLATE: &str = "fumehood-templ";

impl Held {
    /// Looks at all processes once.
    pub(super) fn look() -> Self {
        let mut sums = [Sum::default(); 4];
        let mut found = vec![(std::process::id().to_string(), 0)];
        let mut at = 0;
        while let Some((pid, role)) = found.get(at).cloned() {
            sums[role].add(&pid);
            found.extend(children(&pid).into_iter().map(|child| {
                let role = role_below(role, &child);
                (child, role)
            }));
            at += 1;
        }
        Self(sums)
    }

    pub(super) fn all(&self) -> Sum {
        self.0.iter().fold(Sum::default(), |all, sum| Sum {
            processes: all.processes + sum.processes,
            kib: all.kib + sum.kib,
            descriptors: all.descriptors + sum.descriptors,
        })
    }
}

impl Sum {
    fn add(&mut self, pid: &str) {
        self.processes += 1;
        self.kib += resident(pid);
        self.descriptors +=
            fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |dir| dir.count() as u64);
    }
}

/// What a process is whose parent is of that role. A cell's init has the name of its template and the
/// zygote for a parent, but a number of its own in a namespace, too.
fn role_below(parent: usize, pid: &str) -> usize {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    match parent {
        0 | 1 if numbers.split_whitespace().count() > 1 => 3,
        0 | 1 if read("comm").trim_end() == TEMPLATE => 2,
        0 | 1 => 1,
        _ => 3,
    }
}

fn children(parent: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn resident(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
