//! Which guarantees this host can hold, found out by trying.

mod apparmor;
mod backends;
mod facts;
mod read;

use std::collections::BTreeMap;

use rustix::process::{Resource, getrlimit};
use schemars::JsonSchema;
use serde::Serialize;

use crate::backend::native::cell::NotBuilt;
use crate::backend::native::diagnose::Namespace;
use crate::backend::native::launch::NotLaunched;
use crate::host::Host;
use crate::plan::{Plan, standing};
use crate::{
    BackendName, ErrorKind, Guarantee, Job, Layer, Missing, Outcome, Report, Result, Sandbox,
    Standing, Streams, printable,
};
pub use apparmor::apparmor_profile;
pub use backends::{Found, backends};
use facts::CORE_PATTERN;
pub use facts::{Container, Facts, UserNamespace};

/// What this host can hold of the guarantees, by whom, and what would mend the rest.
///
/// ```no_run
/// # async fn example() -> fumehood::Result<()> {
/// fumehood::init(); // first in main, before there are threads
/// let support = fumehood::support().await?;
/// for missing in support.refused() {
///     eprintln!("{}: {} ({:?})", missing.guarantee, missing.reason, missing.fix);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Support {
    /// The backend that was tried.
    pub backend: String,
    /// What the host says about itself.
    pub host: Facts,
    /// Every guarantee.
    pub guarantees: BTreeMap<Guarantee, Ability>,
    /// What was tried, in order.
    pub tries: Vec<Try>,
    /// What does not keep guarantees from being held but may surprise programs.
    pub notes: Vec<String>,
}

/// Whether a guarantee can be held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ability {
    /// A plain job has it.
    Held {
        /// The mechanisms.
        by: Vec<String>,
    },
    /// The host does not give it.
    Missing {
        /// The layer that blocks it.
        layer: Layer,
        /// Why, in one sentence.
        reason: String,
        /// The command or setting that fixes it, if there is one.
        fix: Option<String>,
    },
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Try {
    /// What was tried: `full confinement`, `network namespace`.
    pub what: String,
    /// Why it failed; none if it worked.
    pub failure: Option<String>,
}

impl Support {
    /// The guarantees that a job without settings of its own requires and this host does not hold.
    /// Empty where such a job runs.
    #[must_use]
    pub fn refused(&self) -> Vec<Missing> {
        let named = |backend: &BackendName| backend.name() == self.backend;
        let backend = BackendName::ALL.into_iter().find(named).unwrap_or_default();
        let required = standing::required(&Job::new(["true"]), backend);
        let missing = |(guarantee, ability): (&Guarantee, &Ability)| match ability {
            Ability::Missing { layer, reason, fix } if required.contains(guarantee) => {
                Some(Missing {
                    guarantee: *guarantee,
                    layer: *layer,
                    reason: reason.clone(),
                    fix: fix.clone(),
                })
            }
            _ => None,
        };
        self.guarantees.iter().filter_map(missing).collect()
    }
}

/// Tries what this host can hold, with the launcher that [`Sandbox::new`] has.
///
/// # Errors
/// As [`Sandbox::support`].
pub async fn support() -> Result<Support> {
    Sandbox::new().support().await
}

impl Sandbox {
    /// Tries what this host can hold: runs `true` in full confinement, then, as far as that is
    /// refused, with less and less, and each kind of namespace alone.
    ///
    /// # Errors
    /// [`ErrorKind::NoLauncher`] and [`ErrorKind::Internal`]: only if nothing could be tried. What
    /// the host refuses is in the result.
    pub async fn support(&self) -> Result<Support> {
        let mut doctor =
            Doctor { sandbox: self, tries: Vec::new(), notes: Vec::new(), refused: None };
        let job = trial();
        let plan = doctor.strongest(&job).await?;
        if let Some(plan) = &plan {
            if !plan.blocked.is_empty() {
                doctor.try_kinds().await;
            }
            doctor.run(plan).await;
        }
        let host = Facts::gather();
        doctor.notes.extend(notes(&host));
        let guarantees = Guarantee::ALL
            .into_iter()
            .map(|guarantee| (guarantee, doctor.ability(plan.as_ref(), guarantee)))
            .collect();
        let Doctor { tries, notes, .. } = doctor;
        Ok(Support { backend: "native".to_owned(), host, guarantees, tries, notes })
    }
}

/// A job that requires nothing, so that every plan for it can be tried.
fn trial() -> Job {
    let mut job = Job::new(["true"]);
    job.waive = Guarantee::ALL.into();
    job
}

struct Doctor<'a> {
    sandbox: &'a Sandbox,
    tries: Vec<Try>,
    notes: Vec<String>,
    /// Why not even the weakest plan works.
    refused: Option<Missing>,
}

impl Doctor<'_> {
    /// The strongest plan with which a program starts; none if none does.
    async fn strongest(&mut self, job: &Job) -> Result<Option<Plan>> {
        let host = Host::current();
        let mut plan = Plan::make(job, host, Vec::new())?;
        loop {
            let what = confinement(&plan);
            match self.sandbox.attempt(None, &plan, false, None).await {
                Ok(_) => return Ok(self.worked(what, plan)),
                Err(NotBuilt::Blocked(blocked)) => {
                    self.note(what, Some(blocked.reason.clone()));
                    match plan.do_without(blocked, host) {
                        Ok(weaker) => plan = weaker,
                        Err(refused) => {
                            self.refused = first_missing(&refused);
                            return Ok(None);
                        }
                    }
                }
                Err(NotBuilt::Failed(error) | NotBuilt::Lost(error)) => match error.kind() {
                    ErrorKind::NoLauncher | ErrorKind::Internal { .. } => return Err(error),
                    ErrorKind::Start { .. } => {
                        self.note(what, Some(full(&error)));
                        return Ok(None);
                    }
                    // The cell was there; that this host has no `true` says nothing about it.
                    _ => return Ok(self.worked(what, plan)),
                },
            }
        }
    }

    fn worked(&mut self, what: String, plan: Plan) -> Option<Plan> {
        self.note(what, None);
        Some(plan)
    }

    fn note(&mut self, what: String, failure: Option<String>) {
        self.tries.push(Try { what, failure });
    }

    async fn try_kinds(&mut self) {
        for kind in Namespace::ALL {
            let failure = match self.sandbox.launcher.try_kind(kind).await {
                Ok(()) => None,
                Err(NotLaunched::Refused { errno, .. }) => {
                    Some(std::io::Error::from_raw_os_error(errno.0).to_string())
                }
                Err(NotLaunched::Died) => Some(full(&NotLaunched::died())),
                Err(NotLaunched::Other(error)) => Some(full(&error)),
            };
            self.note(format!("{} namespace", kind.name()), failure);
        }
    }

    /// Runs the job of a plan; what was found of it, if it could be run.
    async fn run(&mut self, plan: &Plan) -> Option<Report> {
        let report = match self.sandbox.spawn(&plan.job, Streams::captured()).await {
            Ok(mut running) => running.wait().await,
            Err(error) => Err(error),
        };
        let failure = match &report {
            Ok(report) if report.outcome == Outcome::Exited { code: 0 } => None,
            Ok(report) => Some(
                report.outcome.describe().unwrap_or_else(|| "did not end with status 0".to_owned()),
            ),
            Err(error) => Some(full(error)),
        };
        self.note("run `true`".to_owned(), failure);
        report.ok()
    }

    fn ability(&self, plan: Option<&Plan>, guarantee: Guarantee) -> Ability {
        let Some(plan) = plan else { return self.nothing() };
        match (plan.guarantees.get(&guarantee), standing::missing(plan, guarantee)) {
            (Some(Standing::Held { by }), _) => Ability::Held { by: by.clone() },
            (_, Some(Missing { layer, reason, fix, .. })) => {
                Ability::Missing { layer, reason, fix }
            }
            (_, None) => self.nothing(),
        }
    }

    /// What is said of every guarantee where nothing could be started.
    fn nothing(&self) -> Ability {
        if let Some(Missing { layer, reason, fix, .. }) = self.refused.clone() {
            return Ability::Missing { layer, reason, fix };
        }
        let reason = self.tries.iter().rev().find_map(|tried| tried.failure.clone());
        let reason = reason.unwrap_or_else(|| "nothing could be started".to_owned());
        Ability::Missing { layer: Layer::Unknown, reason, fix: None }
    }
}

fn first_missing(error: &crate::Error) -> Option<Missing> {
    match error.kind() {
        ErrorKind::Unsupported { missing } => missing.first().cloned(),
        _ => None,
    }
}

fn full(error: &crate::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What a plan confines by, as a try is named.
fn confinement(plan: &Plan) -> String {
    let namespaces = plan.namespaces;
    let parts = [
        (namespaces.base, "a root of its own"),
        (namespaces.pid, "processes"),
        (namespaces.net, "network"),
        (namespaces.ipc, "ipc"),
        (plan.fence.is_some(), "landlock"),
        (plan.filter.is_some(), "seccomp"),
    ];
    if parts.iter().all(|(there, _)| *there) {
        return "full confinement".to_owned();
    }
    let there: Vec<_> =
        parts.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
    if there.is_empty() { "no_new_privs alone".to_owned() } else { there.join(" + ") }
}

/// What the facts say that no guarantee does.
fn notes(host: &Facts) -> Vec<String> {
    let mut notes = Vec::new();
    for path in &host.noexec {
        let path = path.display();
        notes.push(format!(
            "{path} is mounted noexec, so that programs below it cannot be executed (mount -o remount,exec {path})"
        ));
    }
    for path in &host.nodev {
        let path = path.display();
        notes.push(format!(
            "{path} is on a mount with nodev, so that programs cannot open it (mount -o remount,dev the file system of /dev)"
        ));
    }
    if let Some(container) = host.container {
        let name = serde_json::to_value(container).unwrap_or_default();
        notes.push(format!("this is inside a container ({})", name.as_str().unwrap_or("other")));
    }
    let hard = getrlimit(Resource::Core).maximum;
    notes.extend(host.sysctls.get(CORE_PATTERN).and_then(|pattern| crashes(pattern, hard)));
    notes
}

/// Who of the host's gets the crashes of programs (`core(5)`), by the hard limit of the caller's core files.
fn crashes(pattern: &str, hard: Option<u64>) -> Option<String> {
    let whatever = match (pattern.as_bytes().first()?, hard) {
        (b'@', _) => "whatever their limit of core files",
        (b'|', Some(0)) => {
            "since the caller's own hard limit of core files is 0 (with 1 or more it gets none)"
        }
        _ => return None,
    };
    let pattern = printable(pattern);
    Some(format!("{CORE_PATTERN} is {pattern}, which gets crashes of programs, {whatever}"))
}

#[cfg(test)]
mod tests;
