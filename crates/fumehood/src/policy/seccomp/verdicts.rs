//! What a profile means for every system call, for people to read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compile::Answer;
use super::profile::{Condition, Profile};
use super::resolve::{Overruled, Policy, Target};
use super::{Action, Arch, Program};

/// What a profile means on a target, for all the system calls that are known there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdicts {
    /// What happens to calls that no rule decides, those that are not known yet included.
    pub default: Action,
    /// Calls that are always answered alike, by their answer, in the order of their numbers.
    pub always: BTreeMap<Action, Vec<&'static str>>,
    /// Calls whose arguments decide.
    pub conditional: Vec<Conditional>,
    /// Names in the profile that the architecture does not have: their rules do nothing.
    pub unknown: Vec<String>,
    /// Rules that do nothing for a call because an earlier one decides otherwise.
    pub overruled: Vec<Overruled>,
}

/// A call whose arguments decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conditional {
    /// The system call.
    pub name: &'static str,
    /// Tried in order; the first whose conditions all hold decides.
    pub cases: Vec<Case>,
    /// What happens if none does.
    pub otherwise: Action,
}

/// Conditions that must all hold, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Case {
    /// The conditions; each prints like `arg0 & 0xff == 0x1`.
    pub conditions: Vec<Condition>,
    /// What happens.
    pub action: Action,
}

impl Verdicts {
    /// How many calls are always answered so.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.always.get(&action).map_or(0, Vec::len)
    }
}

impl Profile {
    /// What the profile means on a target.
    #[must_use]
    pub fn verdicts(&self, target: &Target) -> Verdicts {
        let policy = Policy::resolve(self, target);
        let mut verdicts = Verdicts {
            default: policy.default,
            always: BTreeMap::new(),
            conditional: Vec::new(),
            unknown: policy.unknown.into_iter().collect(),
            overruled: policy.overruled,
        };
        for (number, name) in target.arch.calls() {
            let answer = policy.calls.get(&number).map_or_else(
                || Answer::always(policy.default),
                |call| Answer::of(call, policy.default),
            );
            verdicts.add(name, answer);
        }
        verdicts
    }
}

impl Verdicts {
    fn add(&mut self, name: &'static str, answer: Answer) {
        if answer.clauses.is_empty() {
            self.always.entry(answer.otherwise).or_default().push(name);
            return;
        }
        let cases = answer.clauses.into_iter();
        let cases = cases.map(|one| Case { conditions: one.conditions, action: one.action });
        let otherwise = answer.otherwise;
        self.conditional.push(Conditional { name, cases: cases.collect(), otherwise });
    }
}

impl Program {
    /// What the filter answers to every call that is known, in the order of the numbers; none for
    /// a call whose arguments decide.
    pub fn verdicts(&self, arch: Arch) -> impl Iterator<Item = (&'static str, Option<Action>)> {
        arch.calls().map(move |(number, name)| (name, self.constant(arch, number)))
    }
}
