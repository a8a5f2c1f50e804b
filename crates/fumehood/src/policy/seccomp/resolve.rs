//! From a profile and a target to one policy per system call.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::profile::{Condition, Filter, Profile, Rule};
use super::{Action, Arch, Error};

/// What a filter is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The architecture.
    pub arch: Arch,
    /// The kernel's version, for `minKernel`.
    pub kernel: (u32, u32),
    /// Capabilities that the program really has, for `includes.caps` and `excludes.caps`. In a
    /// cell of Fumehood there are none.
    pub caps: BTreeSet<String>,
}

impl Target {
    /// A target whose programs have no capability.
    #[must_use]
    pub fn new(arch: Arch, kernel: (u32, u32)) -> Self {
        Self { arch, kernel, caps: BTreeSet::new() }
    }

    /// The machine that this runs on.
    ///
    /// # Errors
    ///
    /// Filters cannot be made for its architecture, or the kernel's version is not readable.
    pub fn host() -> Result<Self, Error> {
        let arch = Arch::host()
            .ok_or_else(|| Error::Host(format!("architecture {}", std::env::consts::ARCH)))?;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let kernel = release_version(&release)
            .ok_or_else(|| Error::Host(format!("kernel release {release:?} has no version")))?;
        Ok(Self::new(arch, kernel))
    }

    fn meets_all(&self, filter: &Filter) -> bool {
        filter.caps.is_subset(&self.caps)
            && (filter.arches.is_empty() || self.is_among(&filter.arches))
            && filter.min_kernel.is_none_or(|least| self.kernel >= least)
    }

    fn meets_any(&self, filter: &Filter) -> bool {
        !filter.caps.is_disjoint(&self.caps)
            || self.is_among(&filter.arches)
            || filter.min_kernel.is_some_and(|least| self.kernel >= least)
    }

    fn is_among(&self, arches: &BTreeSet<String>) -> bool {
        arches.iter().any(|name| self.arch.is_called(name))
    }
}

/// The leading two numbers of a release such as `6.18.44-generic`.
pub(super) fn release_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A profile resolved for a target.
pub(super) struct Policy {
    pub(super) default: Action,
    pub(super) calls: BTreeMap<u32, Call>,
    /// Names in the profile that the architecture does not have.
    pub(super) unknown: BTreeSet<String>,
    /// Rules that say something else than an earlier one, with the call they say it of.
    pub(super) overruled: Vec<Overruled>,
}

/// A rule that does nothing for a call because an earlier one without conditions decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Overruled {
    /// The system call.
    pub name: String,
    /// Position in `syscalls` of the rule that does nothing.
    pub rule: usize,
    /// What it would have done.
    pub action: Action,
}

/// What happens to one system call.
#[derive(Clone, Default)]
pub(super) struct Call {
    /// Tried in order; the first that holds decides.
    pub(super) clauses: Vec<Clause>,
    /// What happens if none holds, if a rule says so.
    otherwise: Option<Action>,
}

/// An answer that holds if all the conditions do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clause {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

impl Policy {
    pub(super) fn resolve(profile: &Profile, target: &Target) -> Self {
        let mut policy = Self {
            default: profile.default,
            calls: BTreeMap::new(),
            unknown: BTreeSet::new(),
            overruled: Vec::new(),
        };
        for (at, rule) in profile.rules.iter().enumerate() {
            if target.meets_all(&rule.includes) && !target.meets_any(&rule.excludes) {
                policy.add(at, rule, target.arch);
            }
        }
        policy
    }

    fn add(&mut self, at: usize, rule: &Rule, arch: Arch) {
        let action = rule.action;
        let clauses =
            rule.alternatives().into_iter().map(|conditions| Clause { conditions, action });
        let clauses: Vec<_> = clauses.collect();
        for name in &rule.names {
            let Some(number) = arch.number(name) else {
                self.unknown.insert(name.clone());
                continue;
            };
            let call = self.calls.entry(number).or_default();
            if !rule.conditions.is_empty() {
                call.clauses.extend_from_slice(&clauses);
            } else if *call.otherwise.get_or_insert(action) != action {
                self.overruled.push(Overruled { name: name.clone(), rule: at, action });
            }
        }
    }
}

impl Call {
    pub(super) fn otherwise(&self, default: Action) -> Action {
        self.otherwise.unwrap_or(default)
    }
}
