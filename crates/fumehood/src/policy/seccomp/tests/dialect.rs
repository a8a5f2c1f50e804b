//! The format: what is read, and what is refused with which words.

use serde_json::{Value, json};

use super::super::resolve::release_version;
use super::*;

fn with_rule(rule: &Value) -> String {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] }).to_string()
}

/// A rule about `read` with some keys changed.
fn changed(changes: &Value) -> String {
    let mut rule = json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW" });
    for (key, value) in changes.as_object().unwrap() {
        rule[key] = value.clone();
    }
    with_rule(&rule)
}

fn refusal(json: &str) -> String {
    match Profile::from_json(json) {
        Ok(_) => panic!("{json} was accepted"),
        Err(error) => error.to_string(),
    }
}

fn assert_refused(json: &str, words: &[&str]) {
    let refusal = refusal(json);
    for word in words {
        assert!(refusal.contains(word), "{refusal:?} does not say {word:?}");
    }
}

#[test]
fn unknown_keys_are_refused_by_name() {
    assert_refused(r#"{ "defaultAction": "SCMP_ACT_ALLOW", "sysCalls": [] }"#, &["sysCalls"]);
    assert_refused(&changed(&json!({ "exclude": {} })), &["exclude", "excludes"]);
    assert_refused(&changed(&json!({ "includes": { "cap": [] } })), &["cap"]);
    let arg = json!({ "index": 0, "op": "SCMP_CMP_EQ", "value": 0, "mask": 1 });
    assert_refused(&changed(&json!({ "args": [arg] })), &["mask"]);
    assert_refused(r#"{ "syscalls": [] }"#, &["defaultAction"]);
    let list = r#" ["SCMP_ACT_ALLOW", null, null, [], [], [], null, null, []]"#;
    assert_refused("[]", &["a list", "must be an object"]);
    assert_refused(list, &["a list", "must be an object"]);
}

#[test]
fn values_that_cannot_be_honoured_are_refused_by_key_and_value() {
    let cases = [
        (json!({ "action": "SCMP_ACT_TRACE" }), ["syscalls[0].action", "SCMP_ACT_TRACE", "tracer"]),
        (json!({ "action": "SCMP_ACT_NOTIFY" }), ["syscalls[0].action", "NOTIFY", "other process"]),
        (json!({ "action": "allow" }), ["syscalls[0].action", "allow", "SCMP_ACT_"]),
        (json!({ "errnoRet": 1 }), ["syscalls[0].errnoRet", "1", "only SCMP_ACT_ERRNO"]),
        (json!({ "errno": "EPERM" }), ["syscalls[0].errno", "EPERM", "only SCMP_ACT_ERRNO"]),
        (
            json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }),
            ["syscalls[0].errnoRet", "4096", "4095"],
        ),
        (
            json!({ "action": "SCMP_ACT_ERRNO", "errno": "EWHAT" }),
            ["syscalls[0].errno", "EWHAT", "no error"],
        ),
        (
            json!({ "action": "SCMP_ACT_ERRNO", "errno": "EPERM", "errnoRet": 38 }),
            ["syscalls[0].errno", "EPERM", "errnoRet is 38"],
        ),
        (json!({ "names": [] }), ["syscalls[0].names", "[]", "names"]),
        (json!({ "name": "write" }), ["syscalls[0].name", "write", "names"]),
        (
            json!({ "includes": { "minKernel": "new" } }),
            ["syscalls[0].includes.minKernel", "new", "4.8"],
        ),
    ];
    for (changes, words) in cases {
        assert_refused(&changed(&changes), &words);
    }
}

#[test]
fn conditions_that_cannot_be_are_refused_by_key_and_value() {
    let cases = [
        (json!({ "index": 6, "op": "SCMP_CMP_EQ", "value": 0 }), ["args[0].index", "6", "0 to 5"]),
        (json!({ "index": 0, "op": "SCMP_CMP_IN", "value": 0 }), ["args[0].op", "IN", "MASKED_EQ"]),
        (
            json!({ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 6, "valueTwo": 1 }),
            ["args[0].valueTwo", "1", "outside the mask 6"],
        ),
        (json!({ "index": 0, "op": "SCMP_CMP_EQ", "value": -1 }), ["-1", "u64", "line 1"]),
        (
            json!({ "index": 0, "op": "SCMP_CMP_LT", "value": 0 }),
            ["args[0].value", "0", "no argument is below 0"],
        ),
        (
            json!({ "index": 0, "op": "SCMP_CMP_GT", "value": u64::MAX }),
            ["args[0].value", "18446744073709551615", "no argument is above"],
        ),
    ];
    for (arg, words) in cases {
        assert_refused(&changed(&json!({ "args": [arg] })), &words);
    }
}

#[test]
fn listeners_and_unknown_flags_are_refused() {
    let with = |key: &str, value: Value| {
        let mut json = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        json[key] = value;
        json.to_string()
    };
    assert_refused(&with("listenerPath", json!("/run/x")), &["listenerPath", "/run/x", "process"]);
    assert_refused(&with("listenerMetadata", json!("m")), &["listenerMetadata", "process"]);
    let notify = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    assert_refused(&with("flags", json!([notify])), &["flags[0]", notify, "SPEC_ALLOW"]);
    let log = "SECCOMP_FILTER_FLAG_LOG";
    let program = compiled(&with("flags", json!(["SECCOMP_FILTER_FLAG_TSYNC", log])), Arch::X86_64);
    assert_eq!(program.flags(), 2);
}

fn answer(rule: &Value) -> Action {
    ask(&compiled(&with_rule(rule), Arch::X86_64), Arch::X86_64, "read", [0; 6])
}

#[test]
fn every_action_is_read() {
    let act = |action: &str| answer(&json!({ "names": ["read"], "action": action }));
    assert_eq!(act("SCMP_ACT_ALLOW"), Action::Allow);
    assert_eq!(act("SCMP_ACT_LOG"), Action::Log);
    assert_eq!(act("SCMP_ACT_TRAP"), Action::Trap);
    assert_eq!(act("SCMP_ACT_KILL"), Action::KillThread);
    assert_eq!(act("SCMP_ACT_KILL_THREAD"), Action::KillThread);
    assert_eq!(act("SCMP_ACT_KILL_PROCESS"), Action::KillProcess);
    assert_eq!(act("SCMP_ACT_ERRNO"), EPERM);
}

#[test]
fn errors_are_read_by_number_and_by_name() {
    let errno = |keys: Value| {
        let mut rule = json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO" });
        rule.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        answer(&rule)
    };
    assert_eq!(errno(json!({ "errnoRet": 0 })), Action::Errno(0));
    assert_eq!(errno(json!({ "errnoRet": 4095 })), Action::Errno(4095));
    assert_eq!(errno(json!({ "errno": "ENOSYS" })), ENOSYS);
    assert_eq!(errno(json!({ "errno": "EINVAL", "errnoRet": 22 })), Action::Errno(22));
    let podman = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS" }"#;
    assert_eq!(Profile::from_json(podman).unwrap().default_action(), ENOSYS);
}

#[test]
fn older_and_go_like_spellings_are_read() {
    let old = json!({ "name": "read", "action": "SCMP_ACT_ALLOW", "args": null });
    assert_eq!(answer(&old), ALLOW);
    let go = json!({
        "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "",
        "includes": null, "excludes": { "caps": null, "minKernel": "" },
    });
    assert_eq!(answer(&go), ALLOW);
    let json = json!({ "defaultAction": "SCMP_ACT_LOG", "architectures": null, "syscalls": null,
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": null }] });
    assert_eq!(Profile::from_json(&json.to_string()).unwrap().rules(), []);
}

fn decided(key: &str, filter: &Value, target: &Target) -> Action {
    let rule = json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", key: filter });
    let program = compile(&Profile::from_json(&with_rule(&rule)).unwrap(), target).unwrap();
    ask(&program, target.arch, "read", [0; 6])
}

#[test]
fn capabilities_include_and_exclude() {
    let none = target(Arch::X86_64);
    let mut some = none.clone();
    some.caps.insert("CAP_SYS_ADMIN".into());
    let both = json!({ "caps": ["CAP_SYS_ADMIN", "CAP_SYSLOG"] });
    let one = json!({ "caps": ["CAP_SYS_ADMIN"] });
    assert_eq!(decided("includes", &one, &none), EPERM);
    assert_eq!(decided("includes", &one, &some), ALLOW);
    assert_eq!(decided("includes", &both, &some), EPERM, "all are wanted");
    assert_eq!(decided("excludes", &one, &none), ALLOW);
    assert_eq!(decided("excludes", &both, &some), EPERM, "any is enough");
}

#[test]
fn architectures_and_kernels_include_and_exclude() {
    let [x86, arm] = Arch::ALL.map(target);
    let arches = json!({ "arches": ["arm64", "x32"] });
    assert_eq!(decided("includes", &arches, &arm), ALLOW);
    assert_eq!(decided("includes", &arches, &x86), EPERM, "x32 is not x86-64");
    assert_eq!(decided("excludes", &arches, &arm), EPERM);
    assert_eq!(decided("excludes", &arches, &x86), ALLOW);
    for (version, reached) in [("4.8", true), ("6.12", true), ("6.13", false), ("10.0", false)] {
        let kernel = json!({ "minKernel": version });
        assert_eq!(decided("includes", &kernel, &x86) == ALLOW, reached, "{version}");
        assert_eq!(decided("excludes", &kernel, &x86) == ALLOW, !reached, "{version}");
    }
}

#[test]
fn conditions_are_joined_by_and_unless_an_argument_repeats() {
    let arg =
        |index: u8, value: u64| json!({ "index": index, "op": "SCMP_CMP_EQ", "value": value });
    let ask_with = |args: Value, given: [u64; 6]| {
        let json = changed(&json!({ "args": args }));
        ask(&compiled(&json, Arch::X86_64), Arch::X86_64, "read", given)
    };
    let distinct = json!([arg(0, 1), arg(1, 2)]);
    assert_eq!(ask_with(distinct.clone(), [1, 2, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask_with(distinct, [1, 0, 0, 0, 0, 0]), EPERM);
    let repeated = json!([arg(0, 1), arg(0, 2), arg(1, 9)]);
    assert_eq!(ask_with(repeated.clone(), [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask_with(repeated.clone(), [0, 9, 0, 0, 0, 0]), ALLOW, "as runc has it");
    assert_eq!(ask_with(repeated, [0, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn conditions_come_first_then_the_first_plain_rule() {
    let arg = |value: u64| json!([{ "index": 0, "op": "SCMP_CMP_GE", "value": value }]);
    let json = json!({ "defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["read"], "action": "SCMP_ACT_TRAP" },
        { "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9, "args": arg(9) },
        { "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": arg(5) },
    ] })
    .to_string();
    let program = compiled(&json, Arch::X86_64);
    let read = |value: u64| ask(&program, Arch::X86_64, "read", [value, 0, 0, 0, 0, 0]);
    assert_eq!([read(9), read(8), read(4)], [Action::Errno(9), Action::Errno(5), ALLOW]);
    assert_eq!(ask(&program, Arch::X86_64, "write", [0; 6]), Action::KillProcess);
    let overruled = Profile::from_json(&json).unwrap().verdicts(&target(Arch::X86_64)).overruled;
    assert_eq!(
        overruled.iter().map(|one| (one.rule, &*one.name)).collect::<Vec<_>>(),
        [(1, "read")]
    );
}

#[test]
fn verdicts_say_what_is_decided_how() {
    let json = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["read", "nonesuch"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
            { "index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 255, "valueTwo": 1 }] }] }"#;
    let verdicts = Profile::from_json(json).unwrap().verdicts(&target(Arch::X86_64));
    assert_eq!(verdicts.unknown, ["nonesuch"]);
    assert_eq!(verdicts.always[&ALLOW], ["read"]);
    assert_eq!(verdicts.count(EPERM), Arch::X86_64.calls().count() - 2);
    assert_eq!(verdicts.count(Action::Trap), 0);
    let shown = serde_json::to_value(&verdicts).unwrap();
    assert_eq!(shown["default"], "EPERM");
    let expected = json!([{ "name": "ioctl", "otherwise": "EPERM",
        "cases": [{ "conditions": ["arg1 & 0xff == 0x1"], "action": "allow" }] }]);
    assert_eq!(shown["conditional"], expected);
}

#[test]
fn kernel_releases_are_read_as_distributions_write_them() {
    assert_eq!(release_version("6.18.44-generic"), Some((6, 18)));
    assert_eq!(release_version("5.10-rc3"), Some((5, 10)));
    assert_eq!(release_version("7.0+"), Some((7, 0)));
    assert_eq!(release_version("linux"), None);
}
