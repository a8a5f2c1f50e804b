//! A profile for runtimes that compile it themselves.
//!
//! What a rule means to libseccomp depends on its neighbours: rules with conditions are dropped once
//! one for the same call has none, and of two that both hold it is not the first that decides. So the
//! profile is resolved here, and written down such that no two rules for a call ever both hold.

use serde_json::{Value, json};

use crate::host::Host;
use crate::policy::seccomp::{Action, Arch, Condition, Conditional, Profile, Target, Test};
use crate::{Error, Result};

/// Bits of six arguments that must have certain values: the mask and the values of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cube([(u64, u64); 6]);

/// The shipped profile, written down ahead: to do that takes a tenth of a run, and gives the same on every
/// kernel.
const X86_64: &str = include_str!("rules/x86_64.json");
const AARCH64: &str = include_str!("rules/aarch64.json");

/// The `linux.seccomp` of a bundle, as JSON, for the shipped profile.
///
/// # Errors
/// There is no filter for this architecture.
pub(super) fn shipped() -> Result<&'static str> {
    Ok(match arch()? {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    })
}

/// The `linux.seccomp` of a bundle.
///
/// # Errors
/// The profile compares arguments in a way that cannot be written down without overlaps.
pub(super) fn oci(profile: &Profile) -> Result<Value> {
    oci_for(profile, &Target::new(arch()?, Host::current().kernel))
}

fn arch() -> Result<Arch> {
    Arch::host().ok_or_else(|| {
        let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
        Error::internal("make a system call filter for this architecture", source)
    })
}

fn oci_for(profile: &Profile, target: &Target) -> Result<Value> {
    let verdicts = profile.verdicts(target);
    let mut rules = Vec::new();
    for (action, names) in &verdicts.always {
        if *action != verdicts.default {
            rules.push(rule(*action, &json!(names), &Value::Null));
        }
    }
    for call in &verdicts.conditional {
        let regions = regions(call)?.into_iter();
        let told = regions.filter(|(action, _)| is_told(*action, verdicts.default));
        rules.extend(told.map(|(action, cube)| rule(action, &json!([call.name]), &cube.args())));
    }
    let (action, errno) = spelled(verdicts.default);
    let mut profile = json!({"defaultAction": action, "syscalls": rules});
    if let Some(errno) = errno {
        profile["defaultErrnoRet"] = json!(errno);
    }
    Ok(profile)
}

/// The kernel takes 4096 instructions, so of refusals that depend on arguments only those are told
/// that kill, or seem to be none. The others answer what unknown calls answer: another error, and a refusal all the
/// same.
fn is_told(action: Action, default: Action) -> bool {
    let passes = |action| matches!(action, Action::Allow | Action::Log);
    let refuses = |action| matches!(action, Action::Errno(errno) if errno != 0);
    action != default && (!refuses(action) || passes(default))
}

fn rule(action: Action, names: &Value, args: &Value) -> Value {
    let (action, errno) = spelled(action);
    let mut rule = json!({"names": names.clone(), "action": action});
    if let Some(errno) = errno {
        rule["errnoRet"] = json!(errno);
    }
    if !args.is_null() {
        rule["args"] = args.clone();
    }
    rule
}

fn spelled(action: Action) -> (&'static str, Option<u16>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Errno(errno) => ("SCMP_ACT_ERRNO", Some(errno)),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
    }
}

/// What happens to a call, where: no two of the cubes overlap, and together they are everything.
fn regions(call: &Conditional) -> Result<Vec<(Action, Cube)>> {
    let mut left = vec![Cube::default()];
    let mut regions = Vec::new();
    for case in &call.cases {
        let cubes = holds(call.name, &case.conditions)?;
        let taken = left.iter().flat_map(|one| cubes.iter().filter_map(|cube| one.and(*cube)));
        regions.extend(taken.map(|cube| (case.action, cube)));
        for cube in cubes {
            left = left.into_iter().flat_map(|one| one.without(cube)).collect();
        }
    }
    regions.extend(left.into_iter().map(|cube| (call.otherwise, cube)));
    Ok(regions)
}

/// Where all conditions of a case hold: disjoint cubes.
fn holds(name: &str, conditions: &[Condition]) -> Result<Vec<Cube>> {
    let mut cubes = vec![Cube::default()];
    for condition in conditions {
        let (mask, value) = match condition.test {
            Test::Eq(value) | Test::Ne(value) => (u64::MAX, value),
            Test::Masked { mask, equals } => (mask, equals),
            _ => return Err(too_much(name, condition)),
        };
        let one = Cube::of(condition.index, mask, value);
        cubes = if matches!(condition.test, Test::Ne(_)) {
            cubes.into_iter().flat_map(|cube| cube.without(one)).collect()
        } else {
            cubes.into_iter().filter_map(|cube| cube.and(one)).collect()
        };
    }
    Ok(cubes)
}

fn too_much(name: &str, condition: &Condition) -> Error {
    let problem =
        "backend runc compares arguments only for equality; use crun, or another condition";
    Error::invalid("seccomp.profile", format!("{name}: {condition:?}"), problem)
}

impl Cube {
    fn of(index: u8, mask: u64, value: u64) -> Self {
        let mut cube = Self::default();
        if let Some(argument) = cube.0.get_mut(usize::from(index)) {
            *argument = (mask, value & mask);
        }
        cube
    }

    /// What is in both.
    fn and(self, other: Self) -> Option<Self> {
        let mut both = self;
        for ((mask, value), (more, bits)) in both.0.iter_mut().zip(other.0) {
            if (*value ^ bits) & *mask & more != 0 {
                return None;
            }
            (*mask, *value) = (*mask | more, *value | bits);
        }
        Some(both)
    }

    /// What is in this one only: for each bit that the other fixes and this one does not, the half
    /// in which it differs and all earlier bits agree.
    fn without(self, other: Self) -> Vec<Self> {
        if self.and(other).is_none() {
            return vec![self];
        }
        let (mut rest, mut agreed) = (Vec::new(), self);
        for (index, (more, bits)) in other.0.into_iter().enumerate() {
            for bit in (0..64).map(|bit| 1u64 << bit) {
                let Some((mask, value)) = agreed.0.get_mut(index) else { continue };
                if more & bit == 0 || *mask & bit != 0 {
                    continue;
                }
                *mask |= bit;
                *value |= !bits & bit;
                rest.push(agreed);
                if let Some((_, value)) = agreed.0.get_mut(index) {
                    *value = *value & !bit | bits & bit;
                }
            }
        }
        rest
    }

    fn args(self) -> Value {
        let fixed = self.0.into_iter().enumerate().filter(|(_, (mask, _))| *mask != 0);
        let args: Vec<_> = fixed
            .map(|(index, (mask, value))| {
                json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
            })
            .collect();
        if args.is_empty() { Value::Null } else { json!(args) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cube {
        fn has(self, args: [u64; 6]) -> bool {
            self.0.into_iter().zip(args).all(|((mask, value), arg)| arg & mask == value)
        }
    }

    /// What the regions say of a call, of which exactly one must hold.
    fn said(regions: &[(Action, Cube)], args: [u64; 6]) -> Action {
        let holding: Vec<_> = regions.iter().filter(|(_, cube)| cube.has(args)).collect();
        assert_eq!(holding.len(), 1, "{args:?}: {holding:?}");
        holding[0].0
    }

    /// `UPDATE_FILTERS=1 cargo test -p fumehood shipped` writes the files anew.
    #[test]
    fn the_files_say_what_the_shipped_profile_says_on_every_kernel() {
        let written = [(Arch::X86_64, "x86_64", X86_64), (Arch::Aarch64, "aarch64", AARCH64)];
        for (arch, name, file) in written {
            let rules = |kernel| oci_for(&Profile::shipped(), &Target::new(arch, kernel)).unwrap();
            let newest = rules((99, 0));
            assert_eq!(newest, rules((3, 5)), "the shipped profile depends on the kernel");
            if std::env::var_os("UPDATE_FILTERS").is_some() {
                let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/oci/rules");
                std::fs::write(format!("{dir}/{name}.json"), newest.to_string()).unwrap();
                continue;
            }
            assert_eq!(file, newest.to_string(), "see UPDATE_FILTERS");
        }
    }

    #[test]
    fn what_is_let_through_is_always_told() {
        let (refused, killed) = (Action::Errno(1), Action::KillProcess);
        for default in [refused, killed, Action::Errno(38)] {
            assert!(is_told(Action::Allow, default));
        }
        assert!(is_told(refused, Action::Allow) && is_told(killed, Action::Errno(38)));
        assert!(is_told(Action::Errno(0), Action::Errno(38)));
        assert!(!is_told(refused, Action::Errno(38)) && !is_told(refused, refused));
    }

    #[test]
    fn rules_for_a_call_never_overlap_and_say_what_the_profile_says() {
        let target = Target::new(Arch::X86_64, (6, 1));
        let profile = Profile::shipped();
        let program = crate::policy::seccomp::compile(&profile, &target).unwrap();
        let interesting =
            [0, 1, 2, 8, 10, 16, 33, 53, 63, 64, 0x5412, 0x541c, 0x8000, 0x1_0000_0001, u64::MAX];
        for call in profile.verdicts(&target).conditional {
            let regions = regions(&call).unwrap();
            let number = Arch::X86_64.calls().find(|(_, name)| *name == call.name).unwrap().0;
            for first in interesting {
                for second in interesting {
                    for third in interesting {
                        let args = [first, second, third, 0, 0, 0];
                        let data =
                            crate::policy::seccomp::SeccompData::new(Arch::X86_64, number, args);
                        assert_eq!(said(&regions, args), program.evaluate(&data), "{}", call.name);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_taken_away_is_gone_and_nothing_else() {
        let low = Cube::of(0, 0b11, 0b01);
        let rest = Cube::default().without(low);
        for arg in 0..8 {
            let inside = rest.iter().filter(|cube| cube.has([arg, 0, 0, 0, 0, 0])).count();
            assert_eq!(inside, usize::from(arg & 0b11 != 0b01), "{arg}");
        }
        assert_eq!(low.without(low), []);
    }
}
