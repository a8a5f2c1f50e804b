//! The backend that the promises are tried with: `FUMEHOOD_BACKEND`, or the native one.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Its name.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("FUMEHOOD_BACKEND").unwrap_or_else(|_| "native".to_owned()))
}

/// What has to be added to the flags of a run that does not say itself.
pub(crate) fn flags(given: &[OsString]) -> Vec<OsString> {
    let says = given.iter().any(|flag| flag.to_string_lossy().starts_with("--backend"));
    if says || name() == "native" {
        return Vec::new();
    }
    vec!["--backend".into(), name().into()]
}

/// Why a promise does not apply to the backend; none if it does.
pub(crate) fn exemption(promise: &str) -> Option<String> {
    let fits = |exempt: &&Exempt| {
        exempt.backends.contains(&name())
            && exempt.promises.iter().any(|one| match one.strip_suffix("::") {
                Some(family) => promise.split("::").next() == Some(family),
                None => *one == promise,
            })
    };
    let found = EXEMPT.iter().find(fits)?;
    Some(format!("not offered: {}", found.reason))
}

/// Promises that backends do not make.
struct Exempt {
    backends: &'static [&'static str],
    /// A whole family ends in `::`.
    promises: &'static [&'static str],
    /// A clause.
    reason: &'static str,
}

const OCI: &[&str] = &["runsc", "crun", "runc"];
const OTHERS: &[&str] =
    &["runsc", "crun", "runc", "docker", "podman", "nsjail", "seatbelt", "unconfined"];

/// In the order in which they are looked up.
const EXEMPT: &[Exempt] = &[
    Exempt {
        backends: OTHERS,
        promises: &["cow::"],
        reason: "only native cells have copy-on-write mounts",
    },
    Exempt {
        backends: OTHERS,
        promises: &["unavailable::"],
        reason: "it is about what native cells can do without",
    },
    Exempt {
        backends: OTHERS,
        promises: &["denied::"],
        reason: "only the init of a native cell learns which call was denied",
    },
    Exempt {
        backends: OTHERS,
        promises: &[
            "mounts::files_made_as_the_owner_are_the_owner_s",
            "mounts::a_mount_can_be_opened_with_the_rights_of_its_owner",
            "mounts::root_s_own_directory_is_not_opened_for_writing",
            "mounts::a_mount_that_is_closed_to_the_program_is_said_to_be",
        ],
        reason: "only native mounts give the rights of an owner",
    },
    Exempt {
        backends: OTHERS,
        promises: &[
            "report::the_report_lists_every_guarantee",
            "report::explaining_lists_exactly_the_steps_of_a_run",
        ],
        reason: "it is about what native reports say",
    },
    Exempt { backends: OCI, promises: &["tty::"], reason: "containers get no terminal" },
];
