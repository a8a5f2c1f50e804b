//! Profiles that nobody wrote.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::oracle::{Reading, assert_kernel_would_take};
use super::*;

const NAMES: [&str; 18] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "ioctl",
    "socket",
    "clone",
    "fork",
    "execve",
    "openat",
    "clone3",
    "mseal",
    "file_setattr",
    "newfstatat",
    "personality",
    "nonesuch",
    "arch_prctl",
];
const ACTIONS: [&str; 6] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_LOG",
];
const OPS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const VALUES: [u64; 9] =
    [0, 1, 2, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x8000_0000, 1 << 63, u64::MAX];
const CAPS: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SYSLOG"];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(&VALUES[..]), 1 => any::<u64>()]
}

fn arg() -> impl Strategy<Value = Value> {
    (0_u8..6, select(&OPS[..]), value(), value()).prop_map(|(index, op, value, two)| {
        let two = if op == "MASKED_EQ" { two & value } else { two };
        // What never holds is refused.
        let value = match op {
            "LT" => value.max(1),
            "GT" => value.min(u64::MAX - 1),
            _ => value,
        };
        json!({ "index": index, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": two })
    })
}

fn filter() -> impl Strategy<Value = Value> {
    let some = (
        vec(select(&CAPS[..]), 0..2),
        vec(select(&["amd64", "arm64", "x32"][..]), 0..2),
        select(&["", "4.8", "6.12", "6.13"][..]),
    );
    prop_oneof![
        4 => Just(json!({})),
        1 => some.prop_map(|(caps, arches, least)| {
            json!({ "caps": caps, "arches": arches, "minKernel": least })
        }),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let names = vec(select(&NAMES[..]), 1..6);
    let parts = (names, select(&ACTIONS[..]), 0_u16..4096, vec(arg(), 0..4), filter(), filter());
    parts.prop_map(|(names, action, errno, args, includes, excludes)| {
        let mut rule = json!({ "names": names, "action": action, "args": args,
            "includes": includes, "excludes": excludes });
        if action == "SCMP_ACT_ERRNO" {
            rule["errnoRet"] = json!(errno);
        }
        rule
    })
}

fn profile() -> impl Strategy<Value = String> {
    (select(&ACTIONS[..]), vec(rule(), 0..40)).prop_map(|(default, rules)| {
        json!({ "defaultAction": default, "syscalls": rules }).to_string()
    })
}

fn any_target() -> impl Strategy<Value = Target> {
    (select(&Arch::ALL[..]), vec(select(&CAPS[..]), 0..2)).prop_map(|(arch, caps)| Target {
        caps: caps.into_iter().map(String::from).collect(),
        ..target(arch)
    })
}

/// The numbers of the names, and their neighbours.
fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let known = NAMES.into_iter().filter_map(move |name| arch.number(name));
    known.flat_map(|number| [number.saturating_sub(1), number, number + 1])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_do_what_profiles_say(
        json in profile(),
        target in any_target(),
        calls in vec(proptest::array::uniform6(value()), 8),
    ) {
        let program = compile(&Profile::from_json(&json).unwrap(), &target).unwrap();
        assert_kernel_would_take(&program);
        let reading = Reading::of(&json);
        for number in numbers(target.arch) {
            let call = reading.of_call(&target, number);
            for args in &calls {
                let found = program.evaluate(&SeccompData::new(target.arch, number, *args));
                prop_assert_eq!(found, call.decide(*args), "{} {} {:x?}", target.arch, number, args);
            }
        }
    }

    #[test]
    fn text_that_is_no_profile_is_refused_and_never_panics(text in "\\PC*") {
        prop_assert!(Profile::from_json(&text).is_err());
    }
}
