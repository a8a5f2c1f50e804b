use std::path::Path;

use super::*;

#[test]
fn the_packaged_profile_is_the_one_that_is_printed() {
    let packaged = include_str!("../../../../packaging/apparmor/fumehood");
    let printed = apparmor_profile(Path::new("/usr/bin/fumehood"));
    // The packaged one is for either place where a package or an administrator puts it.
    assert_eq!(printed.replace("/usr/bin/", "/usr/{,local/}bin/"), packaged);
}

#[test]
fn a_profile_takes_paths_literally() {
    let profile = apparmor_profile(Path::new("/opt/a b/{x}*"));
    assert!(profile.contains(r#"profile fumehood "/opt/a b/\{x\}\*" flags"#), "{profile}");
}

#[test]
fn every_guarantee_has_an_answer_and_a_failed_doctor_answers_missing() {
    let doctor = Doctor {
        sandbox: &Sandbox::direct(),
        tries: vec![Try { what: "full confinement".into(), failure: Some("no luck".into()) }],
        notes: Vec::new(),
        refused: None,
    };
    for guarantee in Guarantee::ALL {
        let Ability::Missing { reason, .. } = doctor.ability(None, guarantee) else {
            panic!("{guarantee} is not missing");
        };
        assert_eq!(reason, "no luck");
    }
}

#[test]
fn it_is_told_where_crashes_reach_a_program_of_the_host() {
    let told = |pattern, hard| crashes(pattern, hard).is_some();
    for hard in [None, Some(0), Some(1)] {
        assert!(told("@/run/crashes", hard));
        assert!(!told("core.%p", hard) && !told("", hard));
    }
    assert!(told("|/usr/bin/crashes %p", Some(0)));
    assert!(!told("|/usr/bin/crashes %p", Some(1)) && !told("|/usr/bin/crashes %p", None));
    let mut host = Facts::default();
    assert_eq!(notes(&host), Vec::<String>::new());
    host.sysctls.insert(CORE_PATTERN.to_owned(), "@/run/crashes".to_owned());
    assert_eq!(
        notes(&host),
        [
            "kernel.core_pattern is @/run/crashes, which gets crashes of programs, whatever their limit of core files"
        ]
    );
}
