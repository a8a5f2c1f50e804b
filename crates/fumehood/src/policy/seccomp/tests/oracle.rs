//! The second reading: straight from the JSON, rule by rule, with none of the code under test but
//! the tables of names.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::program::op;
use super::super::{Action, Arch, Program, SeccompData, Target};

/// A profile as plain data.
pub(super) struct Reading(Value);

impl Reading {
    pub(super) fn of(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap())
    }

    /// The rules that apply to a call on a target, to be asked about arguments.
    pub(super) fn of_call(&self, target: &Target, nr: u32) -> CallReading<'_> {
        let name = target.arch.name(nr);
        let rules = self.0["syscalls"].as_array().unwrap().iter();
        let named = rules.filter(|rule| name.is_some_and(|name| names(rule).contains(&name)));
        CallReading {
            foreign: target.arch == Arch::X86_64 && nr >= 0x4000_0000,
            rules: named.filter(|rule| applies(rule, target)).collect(),
            default: action(&self.0, "defaultAction", "defaultErrnoRet"),
        }
    }

    /// Values about which the profile's conditions change their mind.
    pub(super) fn interesting(&self) -> Vec<u64> {
        let rules = self.0["syscalls"].as_array().unwrap().iter();
        let args = rules.flat_map(|rule| rule["args"].as_array().into_iter().flatten());
        let compared = args.flat_map(|arg| [&arg["value"], &arg["valueTwo"]]);
        let seeds: BTreeSet<u64> = compared.filter_map(Value::as_u64).chain([0, 64]).collect();
        let around = seeds.into_iter().flat_map(|seed| {
            let near = [seed, seed.wrapping_add(1), seed.wrapping_sub(1), !seed];
            near.into_iter().chain([seed | 1 << 32, seed | 1 << 63, seed | 1 << 8])
        });
        around.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

pub(super) struct CallReading<'a> {
    foreign: bool,
    rules: Vec<&'a Value>,
    default: Action,
}

impl CallReading<'_> {
    pub(super) fn decide(&self, args: [u64; 6]) -> Action {
        if self.foreign {
            return Action::Errno(38);
        }
        let conditional = self.rules.iter().filter(|rule| has_args(rule));
        let held = conditional.copied().find(|rule| holds(rule, args));
        let plain = || self.rules.iter().copied().find(|rule| !has_args(rule));
        held.or_else(plain).map_or(self.default, |rule| action(rule, "action", "errnoRet"))
    }
}

fn names(rule: &Value) -> Vec<&str> {
    let listed = rule["names"].as_array().into_iter().flatten();
    listed.chain([&rule["name"]]).filter_map(Value::as_str).collect()
}

fn has_args(rule: &Value) -> bool {
    rule["args"].as_array().is_some_and(|args| !args.is_empty())
}

fn strings<'a>(filter: &'a Value, key: &str) -> Vec<&'a str> {
    filter[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn applies(rule: &Value, target: &Target) -> bool {
    let arch = if target.arch == Arch::X86_64 { "amd64" } else { "arm64" };
    let reached = |filter: &Value| {
        filter["minKernel"].as_str().filter(|text| !text.is_empty()).map(|text| {
            let (major, minor) = text.split_once('.').unwrap();
            let least = (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap());
            target.kernel >= least
        })
    };
    let (wants, shuns) = (&rule["includes"], &rule["excludes"]);
    let arches = strings(wants, "arches");
    strings(wants, "caps").iter().all(|cap| target.caps.contains(*cap))
        && (arches.is_empty() || arches.contains(&arch))
        && reached(wants) != Some(false)
        && !strings(shuns, "caps").iter().any(|cap| target.caps.contains(*cap))
        && !strings(shuns, "arches").contains(&arch)
        && reached(shuns) != Some(true)
}

fn holds(rule: &Value, args: [u64; 6]) -> bool {
    let conditions = rule["args"].as_array().unwrap();
    let indices: Vec<_> = conditions.iter().map(|arg| arg["index"].as_u64().unwrap()).collect();
    let distinct = indices.iter().collect::<BTreeSet<_>>().len() == indices.len();
    let mut each = conditions.iter().map(|arg| condition_holds(arg, args));
    if distinct { each.all(|held| held) } else { each.any(|held| held) }
}

fn condition_holds(arg: &Value, args: [u64; 6]) -> bool {
    let index = usize::try_from(arg["index"].as_u64().unwrap()).unwrap();
    let (value, two) = (arg["value"].as_u64().unwrap(), arg["valueTwo"].as_u64().unwrap_or(0));
    let given = args[index];
    match arg["op"].as_str().unwrap() {
        "SCMP_CMP_NE" => given != value,
        "SCMP_CMP_LT" => given < value,
        "SCMP_CMP_LE" => given <= value,
        "SCMP_CMP_EQ" => given == value,
        "SCMP_CMP_GE" => given >= value,
        "SCMP_CMP_GT" => given > value,
        "SCMP_CMP_MASKED_EQ" => given & value == two,
        other => panic!("{other}"),
    }
}

fn action(of: &Value, key: &str, errno: &str) -> Action {
    match of[key].as_str().unwrap() {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_ERRNO" => Action::Errno(u16::try_from(of[errno].as_u64().unwrap_or(1)).unwrap()),
        other => panic!("{other}"),
    }
}

/// Asserts what the kernel's `bpf_check_classic` and `seccomp_check_filter` ask of a filter.
pub(super) fn assert_kernel_would_take(program: &Program) {
    let insns = program.insns();
    assert!((1..=4096).contains(&insns.len()), "{} instructions", insns.len());
    assert_eq!(insns[insns.len() - 1].code, op::RETURN);
    for (at, insn) in insns.iter().enumerate() {
        let rest = insns.len() - at - 1;
        match insn.code {
            op::RETURN | op::AND => {}
            op::LOAD => assert!(insn.k < 64 && insn.k % 4 == 0, "load at {}", insn.k),
            op::JUMP => assert!((insn.k as usize) < rest, "jump at {at}"),
            op::EQUAL | op::GREATER | op::AT_LEAST | op::ANY_BIT => {
                assert!(usize::from(insn.jt.max(insn.jf)) < rest, "branch at {at}");
            }
            other => panic!("instruction {other:#x} at {at}"),
        }
    }
}

/// A small generator of numbers that is the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn args(&mut self, pool: &[u64]) -> [u64; 6] {
        std::array::from_fn(|_| match self.next() % 16 {
            0 => self.next(),
            _ => pool[usize::try_from(self.next() % pool.len() as u64).unwrap()],
        })
    }
}

/// Holds a filter against the reading: every number that the kernel might have, those of x32, and
/// those at the ends, each with many arguments. Returns how many comparisons were made.
pub(super) fn sweep(json: &str, program: &Program, target: &Target) -> usize {
    assert_kernel_would_take(program);
    let reading = Reading::of(json);
    let pool = reading.interesting();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let x32 = (0..600).map(|nr| nr | 0x4000_0000);
    let ends = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, u32::MAX];
    let mut compared = 0;
    for nr in (0..600).chain(x32).chain(ends) {
        let call = reading.of_call(target, nr);
        let tries = if call.rules.iter().any(|rule| has_args(rule)) { 4096 } else { 8 };
        for _ in 0..tries {
            let args = numbers.args(&pool);
            let data = SeccompData::new(target.arch, nr, args);
            let (found, expected) = (program.evaluate(&data), call.decide(args));
            assert_eq!(found, expected, "{} {nr} {args:x?}", target.arch);
            if let Some(constant) = program.constant(target.arch, nr) {
                assert_eq!(constant, expected, "{} {nr} without arguments", target.arch);
            }
            compared += 1;
        }
    }
    compared
}
