//! `fumehood check`: what this host can hold, found out by trying.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::{AnsiColor, Style};
use fumehood::{
    Error, ErrorKind, Guarantee, Host, Job, Missing, Report, Result, Sandbox, Standing,
};
use serde::Serialize;

use crate::args::CheckArgs;
use crate::table::{STRONG, Table};
use crate::{exit, output};

/// Checks the host, and returns the exit status: success if all that is required by default holds.
pub(crate) fn check(args: &CheckArgs) -> u8 {
    let found = match Findings::of_this_host() {
        Ok(found) => found,
        Err(error) => return output::failed(&error),
    };
    let shown = if args.json { output::json(&found) } else { output::print(&found.render()) };
    match shown {
        Ok(()) if found.ok => exit::OK,
        Ok(()) => exit::UNSUPPORTED,
        Err(error) => output::failed(&error),
    }
}

/// What a host can hold.
#[derive(Debug, Serialize)]
struct Findings {
    /// Whether everything holds that is required by default.
    ok: bool,
    guarantees: BTreeMap<Guarantee, Finding>,
    host: Facts,
}

/// What is known of one guarantee.
#[derive(Debug, Serialize)]
struct Finding {
    /// Whether a job needs it that says nothing about it.
    required: bool,
    #[serde(flatten)]
    standing: Standing,
    /// What stands in the way, if the host does.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<Missing>,
}

#[derive(Debug, Serialize)]
struct Facts {
    kernel: String,
    architecture: &'static str,
    uid: u32,
    gid: u32,
    landlock_abi: u32,
}

impl Findings {
    fn of_this_host() -> Result<Self> {
        let job = Job::new(["true"]);
        let mut required = BTreeMap::new();
        let report = run_with_less(job.clone(), &mut required)?;
        let optional = refused_if_required(&report, &required)?;
        let ok = required.is_empty();
        let guarantees = report.confinement.guarantees.into_iter().map(|(guarantee, standing)| {
            let needed = required.remove(&guarantee);
            let held = matches!(standing, Standing::Held { .. });
            let finding = Finding {
                required: needed.is_some() || (held && is_required_by_default(guarantee)),
                blocked: needed.or_else(|| optional.get(&guarantee).cloned()),
                standing,
            };
            (guarantee, finding)
        });
        Ok(Self { ok, guarantees: guarantees.collect(), host: Facts::of(Host::current()) })
    }

    fn render(&self) -> String {
        let mut table = Table::default();
        table.styled_row(
            ["guarantee", "state", "by what, or why not"].map(|name| (STRONG, name.into())),
        );
        for (guarantee, finding) in &self.guarantees {
            finding.rows(*guarantee, &mut table);
        }
        format!("{}\n{}{}", table.render(""), self.host.render(), self.verdict())
    }

    fn verdict(&self) -> String {
        if self.ok {
            return "Everything that jobs require by default is held.\n".to_owned();
        }
        let missing = self.guarantees.iter().filter(|(_, finding)| finding.is_missing());
        let missing: Vec<_> = missing.map(|(guarantee, _)| guarantee.name()).collect();
        format!("Jobs are refused here, unless run with --waive {}\n", missing.join(","))
    }
}

/// Waives what is missing, until the rest runs. What was missing is added to `missing`.
fn run_with_less(mut job: Job, missing: &mut BTreeMap<Guarantee, Missing>) -> Result<Report> {
    loop {
        match run(&job) {
            Err(error) => {
                let fresh = missing_of(error)?;
                job.waive.extend(fresh.iter().map(|one| one.guarantee));
                let before = missing.len();
                missing.extend(fresh.into_iter().map(|one| (one.guarantee, one)));
                if missing.len() == before {
                    let what = std::io::Error::other("the same guarantees are missing again");
                    return Err(internal(what));
                }
            }
            done => return done,
        }
    }
}

/// Why guarantees are not held that are not required by default.
fn refused_if_required(
    report: &Report,
    known: &BTreeMap<Guarantee, Missing>,
) -> Result<BTreeMap<Guarantee, Missing>> {
    let mut job = Job::new(["true"]);
    job.waive.extend(known.keys());
    let standings = report.confinement.guarantees.iter();
    let not_held = standings.filter(|(_, standing)| matches!(standing, Standing::NotHeld { .. }));
    job.require = not_held.map(|(guarantee, _)| *guarantee).collect::<BTreeSet<_>>();
    job.require.retain(|guarantee| !known.contains_key(guarantee));
    match run(&job) {
        Ok(_) => Ok(BTreeMap::new()),
        Err(error) => {
            let missing = missing_of(error)?.into_iter();
            Ok(missing.map(|one| (one.guarantee, one)).collect())
        }
    }
}

fn run(job: &Job) -> Result<Report> {
    fumehood::blocking::run_in(&Sandbox::direct(), job)
}

fn missing_of(error: Error) -> Result<Vec<Missing>> {
    match error.kind() {
        ErrorKind::Unsupported { missing } => Ok(missing.clone()),
        _ => Err(error),
    }
}

fn internal(source: std::io::Error) -> Error {
    ErrorKind::Internal { doing: "check the host".to_owned(), source }.into()
}

/// Those of the tree's use that no limit of a job spells out are not.
const fn is_required_by_default(guarantee: Guarantee) -> bool {
    use Guarantee::{CpuTime, KernelBoundary, Memory, Pids};
    !matches!(guarantee, Memory | Pids | CpuTime | KernelBoundary)
}

impl Finding {
    /// Whether its lack keeps jobs from running.
    const fn is_missing(&self) -> bool {
        self.required && matches!(self.standing, Standing::NotHeld { .. })
    }

    fn rows(&self, guarantee: Guarantee, table: &mut Table) {
        let (color, state) = match &self.standing {
            Standing::Held { .. } => (AnsiColor::Green, "held"),
            _ if self.required => (AnsiColor::Red, "missing"),
            _ => (AnsiColor::Yellow, "not held"),
        };
        let plain = Style::new();
        let colored = plain.fg_color(Some(color.into()));
        let why = self.blocked.as_ref().map_or_else(
            || output::standing(&self.standing),
            |missing| format!("{}: {}", output::layer(missing.layer), missing.reason),
        );
        let cells = [(plain, guarantee.name()), (colored, state), (plain, &why)];
        table.styled_row(cells.map(|(style, cell)| (style, cell.to_owned())));
        if let Some(fix) = self.blocked.as_ref().and_then(|missing| missing.fix.as_deref()) {
            table.row(["", "", &format!("to fix it: {fix}")]);
        }
    }
}

impl Facts {
    fn of(host: &Host) -> Self {
        Self {
            kernel: format!("{}.{}", host.kernel.0, host.kernel.1),
            architecture: std::env::consts::ARCH,
            uid: host.uid,
            gid: host.gid,
            landlock_abi: host.landlock_abi,
        }
    }

    fn render(&self) -> String {
        let Self { kernel, architecture, uid, gid, landlock_abi } = self;
        format!(
            "Linux {kernel} on {architecture}, as user {uid} and group {gid}, \
             Landlock ABI {landlock_abi}.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use fumehood::Layer;

    use super::*;

    fn findings(ok: bool) -> Findings {
        let held = Standing::Held { by: vec!["ipc namespace".into()] };
        let reason = "max_user_namespaces is 0".to_owned();
        let not_held = Standing::NotHeld { reason: reason.clone(), stand_in: None };
        let fix = Some("sysctl -w user.max_user_namespaces=10000".to_owned());
        let guarantee = Guarantee::Network;
        let blocked = Some(Missing { guarantee, layer: Layer::Sysctl, reason, fix });
        Findings {
            ok,
            guarantees: [
                (Guarantee::Ipc, Finding { required: true, standing: held, blocked: None }),
                (guarantee, Finding { required: !ok, standing: not_held, blocked }),
            ]
            .into(),
            host: Facts::of(Host::current()),
        }
    }

    fn rendered(findings: &Findings) -> String {
        anstream::adapter::strip_str(&findings.render()).to_string()
    }

    #[test]
    fn what_is_missing_comes_with_its_layer_and_fix() {
        let text = rendered(&findings(false));
        let expected = "\
guarantee  state    by what, or why not
network    missing  sysctl: max_user_namespaces is 0
                    to fix it: sysctl -w user.max_user_namespaces=10000
ipc        held     ipc namespace
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("unless run with --waive network\n"), "{text}");
    }

    #[test]
    fn what_is_not_required_is_no_reason_to_worry() {
        let text = rendered(&findings(true));
        assert!(text.contains("network    not held  sysctl"), "{text}");
        assert!(text.ends_with("by default is held.\n"), "{text}");
    }
}
