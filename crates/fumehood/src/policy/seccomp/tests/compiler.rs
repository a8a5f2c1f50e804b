//! The layout of filters.

use serde_json::json;

use super::super::assemble::Assembler;
use super::super::program::{offset, op};
use super::super::{Error, Insn};
use super::oracle::{assert_kernel_would_take, sweep};
use super::*;

const EDGES: [u64; 13] = [
    0,
    1,
    2,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    u64::MAX,
];

fn one_condition(op: &str, index: u8, value: u64, two: u64) -> String {
    let arg = json!({ "index": index, "op": op, "value": value, "valueTwo": two });
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [arg] }],
    })
    .to_string()
}

/// Every pair of edges, in every argument, has the answer of the plain comparison.
fn assert_compares(op: &str, holds: impl Fn(u64, u64) -> bool) {
    for index in 0..6 {
        // One that never holds is refused.
        for value in EDGES.into_iter().filter(|value| EDGES.iter().any(|one| holds(*one, *value))) {
            let program = compiled(&one_condition(op, index, value, 0), Arch::X86_64);
            for given in EDGES {
                let mut args = [0x5555_5555_5555_5555; 6];
                args[usize::from(index)] = given;
                let expected = if holds(given, value) { ALLOW } else { EPERM };
                let found = ask(&program, Arch::X86_64, "read", args);
                assert_eq!(found, expected, "arg{index} {given:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn comparisons_are_of_64_unsigned_bits() {
    assert_compares("SCMP_CMP_NE", |given, value| given != value);
    assert_compares("SCMP_CMP_LT", |given, value| given < value);
    assert_compares("SCMP_CMP_LE", |given, value| given <= value);
    assert_compares("SCMP_CMP_EQ", |given, value| given == value);
    assert_compares("SCMP_CMP_GE", |given, value| given >= value);
    assert_compares("SCMP_CMP_GT", |given, value| given > value);
}

#[test]
fn masked_comparisons_are_of_64_bits() {
    for mask in EDGES {
        for equals in EDGES.map(|bits| bits & mask) {
            let json = one_condition("SCMP_CMP_MASKED_EQ", 3, mask, equals);
            let program = compiled(&json, Arch::Aarch64);
            for given in EDGES {
                let expected = if given & mask == equals { ALLOW } else { EPERM };
                let found = ask(&program, Arch::Aarch64, "read", [0, 0, 0, given, 0, 0]);
                assert_eq!(found, expected, "{given:#x} & {mask:#x} == {equals:#x}");
            }
        }
    }
}

#[test]
fn foreign_conventions_answer_enosys_even_if_everything_is_allowed() {
    let json = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] }"#;
    const I386: u32 = 0x4000_0003;
    const ARM: u32 = 0x4000_0028;
    for arch in Arch::ALL {
        let program = compiled(json, arch);
        let other = if arch == Arch::X86_64 { Arch::Aarch64 } else { Arch::X86_64 };
        for audit in [I386, ARM, other.audit(), 0, u32::MAX] {
            let data = SeccompData { nr: 1, arch: audit, ip: 0, args: [0; 6] };
            assert_eq!(program.evaluate(&data), ENOSYS, "{arch} {audit:#x}");
        }
        assert_eq!(program.evaluate(&SeccompData::new(arch, 1, [0; 6])), ALLOW);
    }
}

#[test]
fn x32_numbers_answer_enosys_on_x86_64_alone() {
    let json = r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#;
    let x32 = |arch| SeccompData::new(arch, 0x4000_0000 | 59, [0; 6]);
    assert_eq!(compiled(json, Arch::X86_64).evaluate(&x32(Arch::X86_64)), ENOSYS);
    assert_eq!(compiled(json, Arch::Aarch64).evaluate(&x32(Arch::Aarch64)), ALLOW);
}

/// A profile in which every call has its own error, so that nothing can be shared.
fn all_apart(arch: Arch) -> String {
    let rules = arch.calls().map(|(number, name)| {
        json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 1000 + number })
    });
    let rules: Vec<_> = rules.collect();
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }).to_string()
}

#[test]
fn a_tree_taller_than_a_branch_reaches_answers_every_call_apart() {
    for arch in Arch::ALL {
        let json = all_apart(arch);
        let program = compiled(&json, arch);
        assert!(program.len() > 2 * 255, "{} instructions", program.len());
        assert!(sweep(&json, &program, &target(arch)) > 9_000);
    }
}

/// `count` rules about one argument of one call, each with its own error, beside calls that are
/// allowed before and after it.
fn many_conditions(count: u64) -> String {
    let rules = (0..count).map(|value| {
        let arg = json!({ "index": 1, "op": "SCMP_CMP_EQ", "value": value << 31 | value });
        json!({ "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": value + 1, "args": [arg] })
    });
    let around = json!({ "names": ["read", "write", "close", "mmap", "execve"], "action": "SCMP_ACT_ALLOW" });
    let rules: Vec<_> = rules.chain([around]).collect();
    json!({ "defaultAction": "SCMP_ACT_TRAP", "syscalls": rules }).to_string()
}

#[test]
fn long_chains_of_conditions_are_right_at_every_length() {
    for count in (1..80).chain([200, 500]) {
        let program = compiled(&many_conditions(count), Arch::X86_64);
        assert_kernel_would_take(&program);
        let ioctl = |value: u64| ask(&program, Arch::X86_64, "ioctl", [0, value, 0, 0, 0, 0]);
        for value in 0..count {
            let expected = Action::Errno(u16::try_from(value + 1).unwrap());
            assert_eq!(ioctl(value << 31 | value), expected, "{value} of {count}");
        }
        assert_eq!(ioctl(count << 31 | count), Action::Trap, "none of {count}");
        assert_eq!(ask(&program, Arch::X86_64, "execve", [0; 6]), ALLOW, "beside {count}");
        assert_eq!(ask(&program, Arch::X86_64, "fork", [0; 6]), Action::Trap, "beside {count}");
    }
}

#[test]
fn a_filter_that_the_kernel_would_not_take_is_refused() {
    let profile = Profile::from_json(&many_conditions(900)).unwrap();
    match compile(&profile, &target(Arch::X86_64)) {
        Err(Error::TooLong { length }) => assert!(length > Program::MAX_LEN, "{length}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn neighbours_with_one_answer_are_one_range() {
    let all: Vec<_> = Arch::X86_64.calls().map(|(_, name)| name).collect();
    let json = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": all, "action": "SCMP_ACT_ERRNO" }],
    });
    // Load, compare and refuse the architecture; load and compare x32's first number; answer.
    assert_eq!(compiled(&json.to_string(), Arch::X86_64).len(), 6);
}

#[test]
fn rules_that_change_nothing_are_left_out() {
    let arg = json!({ "index": 0, "op": "SCMP_CMP_EQ", "value": 7 });
    let json = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [arg] }],
    });
    let program = compiled(&json.to_string(), Arch::X86_64);
    assert_eq!(program.constant(Arch::X86_64, 0), Some(EPERM));
}

#[test]
fn bytes_are_instructions_in_the_kernels_layout() {
    let program = compiled(r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#, Arch::X86_64);
    let bytes = program.to_bytes();
    assert_eq!(bytes.len(), 8 * program.len());
    assert_eq!(size_of::<Insn>(), 8);
    let last = program.insns()[program.len() - 1];
    let mut expected = Vec::from(last.code.to_ne_bytes());
    expected.extend([last.jt, last.jf]);
    expected.extend(last.k.to_ne_bytes());
    assert_eq!(bytes[bytes.len() - 8..], expected);
}

#[test]
fn a_filter_without_execve_is_refused() {
    let refused = |json: &str| {
        let error = compiled(json, Arch::X86_64).require_start(Arch::X86_64).unwrap_err();
        error.to_string()
    };
    let only_exit = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["exit_group"], "action": "SCMP_ACT_ALLOW" }] }"#;
    assert!(refused(only_exit).contains("execve is not allowed"), "{}", refused(only_exit));
    assert!(refused(only_exit).contains("could start"), "{}", refused(only_exit));
    let sometimes = r#"{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["execve"],
        "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "op": "SCMP_CMP_EQ", "value": 0 }] }] }"#;
    assert!(refused(sometimes).contains("unconditionally"), "{}", refused(sometimes));
    let only_execve = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["execve"], "action": "SCMP_ACT_LOG" }] }"#;
    assert!(refused(only_execve).contains("could end"), "{}", refused(only_execve));
}

#[test]
fn numbers_and_names_agree_both_ways() {
    for arch in Arch::ALL {
        for (number, name) in arch.calls() {
            assert_eq!(arch.number(name), Some(number), "{arch} {name}");
        }
    }
    let both = |name| Arch::ALL.map(|arch| arch.number(name));
    assert_eq!(both("read"), [Some(0), Some(63)]);
    assert_eq!(both("execve"), [Some(59), Some(221)]);
    assert_eq!(both("newfstatat"), [Some(262), Some(79)]);
    assert_eq!(both("open"), [Some(2), None]);
    assert_eq!(both("clock_gettime64"), [None, None]);
    assert_eq!(both("listmount"), [Some(458), Some(458)]);
    assert_eq!(both("mseal"), [Some(462), Some(462)]);
    assert_eq!(both("file_setattr"), [Some(469), Some(469)]);
}

/// A branch whose targets, neither of them a return, lie just before, at and beyond its reach.
fn branch_at_distance(padding: usize) -> Program {
    let mut assembler = Assembler::default();
    let trap = assembler.answer(Action::Trap);
    let no = assembler.then(op::AND, 1, trap);
    let allow = assembler.answer(ALLOW);
    let yes = assembler.then(op::AND, 1, allow);
    (0..padding).fold(yes, |last, _| assembler.then(op::AND, u32::MAX, last));
    let branch = assembler.branch(op::EQUAL, 7, yes, no);
    assembler.then(op::LOAD, offset::NUMBER, branch);
    Program { insns: assembler.finish(), flags: 0 }
}

#[test]
fn branches_reach_their_targets_at_every_distance() {
    for padding in (0..300).chain([600]) {
        let program = branch_at_distance(padding);
        assert_kernel_would_take(&program);
        let answer = |nr| program.evaluate(&SeccompData::new(Arch::X86_64, nr, [0; 6]));
        assert_eq!([answer(7), answer(8)], [ALLOW, Action::Trap], "padding {padding}");
    }
}

#[test]
fn a_step_goes_on_at_a_place_that_is_not_next() {
    let mut assembler = Assembler::default();
    let allow = assembler.answer(ALLOW);
    assembler.answer(Action::Trap);
    assembler.then(op::LOAD, offset::NUMBER, allow);
    let program = Program { insns: assembler.finish(), flags: 0 };
    assert_eq!(program.evaluate(&SeccompData::new(Arch::X86_64, 0, [0; 6])), ALLOW);
}

#[test]
fn a_filter_asks_exactly_where_it_kills() {
    let json = json!({
        "defaultAction": "SCMP_ACT_KILL",
        "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["write"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["close"], "action": "SCMP_ACT_TRAP" },
            { "names": ["open"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 },
        ],
    });
    let kills = compiled(&json.to_string(), Arch::X86_64);
    let asks = kills.asking().unwrap();
    assert_eq!(asks.flags(), kills.flags());
    assert_eq!(asks.len(), kills.len());
    for (kill, ask) in kills.insns().iter().zip(asks.insns()) {
        let is_kill = kill.code == op::RETURN && [0, 0x8000_0000].contains(&kill.k);
        let expected = if is_kill { Insn { k: 0x7fc0_0000, ..*kill } } else { *kill };
        assert_eq!(*ask, expected);
    }
    for name in ["read", "close", "open"] {
        let same = ask(&kills, Arch::X86_64, name, [0; 6]);
        assert_eq!(ask(&asks, Arch::X86_64, name, [0; 6]), same, "{name}");
    }
    assert_eq!(asks.asking(), None, "there is nothing left to ask");
}

#[test]
fn the_shipped_profile_has_nothing_to_ask() {
    for arch in Arch::ALL {
        assert_eq!(Program::shipped(arch).asking(), None);
    }
}
