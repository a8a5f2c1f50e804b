//! `fumehood check`: what this host can hold, found out by trying.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use fumehood::{Ability, BackendName, Facts, Found, Guarantee, Missing, Result, Sandbox, Support};
use serde::Serialize;

use crate::args::CheckArgs;
use crate::table::{STRONG, Table, styled};
use crate::{exit, lower, output};

/// Checks the host, and returns the exit status: success if all that is required by default holds.
pub(crate) fn check(args: &CheckArgs) -> u8 {
    let support = match tried(args) {
        Ok(support) => support,
        Err(error) => return output::failed(&error),
    };
    let refused = support.refused();
    match show(&support, &refused, args.json) {
        Ok(()) if refused.is_empty() => exit::OK,
        Ok(()) => exit::UNSUPPORTED,
        Err(error) => output::failed(&error),
    }
}

fn tried(args: &CheckArgs) -> Result<Support> {
    let mut backend = BackendName::Native;
    let named = BackendName::ALL.map(|backend| (backend.name(), backend));
    lower::set(&mut backend, "--backend", args.backend.as_deref(), |text| {
        lower::choice(text, &named)
    })?;
    fumehood::blocking::block_on(Sandbox::direct().support_of(backend))?
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether everything holds that jobs require by default.
    ok: bool,
    #[serde(flatten)]
    support: &'a Support,
    /// What else there is to confine jobs with.
    backends: &'a [Found],
}

fn show(support: &Support, refused: &[Missing], json: bool) -> Result<()> {
    let backends = fumehood::backends();
    if json {
        return output::json(&Document { ok: refused.is_empty(), support, backends: &backends });
    }
    let sections = [
        guarantees(&support.guarantees, refused),
        section("host", &host(&support.host)),
        notes(&support.notes),
        section("other backends", &others(&backends)),
        verdict(refused),
    ];
    output::print(&sections.concat())
}

fn section(name: &str, body: &str) -> String {
    format!("\n{}\n{body}", styled(STRONG, name))
}

fn guarantees(abilities: &BTreeMap<Guarantee, Ability>, refused: &[Missing]) -> String {
    let mut table = Table::default();
    let heading = ["guarantee", "state", "by what, or why not"];
    table.styled_row(heading.map(|name| (STRONG, name.to_owned())));
    for (guarantee, ability) in abilities {
        let required = refused.iter().any(|missing| missing.guarantee == *guarantee);
        rows(*guarantee, ability, required, &mut table);
    }
    table.render("")
}

/// A row for what holds; and one more for the fix of what does not.
fn rows(guarantee: Guarantee, ability: &Ability, required: bool, table: &mut Table) {
    let (color, state, why, fix) = match ability {
        Ability::Held { by } => (AnsiColor::Green, "held", by.join("; "), None),
        Ability::Missing { layer, reason, fix } => {
            let why = format!("{}: {reason}", output::name(*layer));
            // A job that needs nothing of the kind runs all the same.
            let (color, state) = if required {
                (AnsiColor::Red, "missing")
            } else {
                (AnsiColor::Yellow, "not held")
            };
            (color, state, why, fix.as_deref())
        }
        other => (AnsiColor::Yellow, "unknown", format!("{other:?}"), None),
    };
    let plain = Style::new();
    let colored = plain.fg_color(Some(color.into()));
    table.styled_row([
        (plain, guarantee.name().to_owned()),
        (colored, state.to_owned()),
        (plain, why),
    ]);
    if let Some(fix) = fix {
        let lines = format!("to fix it: {fix}");
        lines.lines().for_each(|line| table.row(["", "", line]));
    }
}

fn host(host: &Facts) -> String {
    let mut table = Table::default();
    table.row(["kernel", &format!("Linux {} on {}", host.kernel, host.arch)]);
    table.row(["user", &format!("{}:{}", host.uid, host.gid)]);
    let container = host.container.map(output::name);
    table.row(["container", container.as_deref().unwrap_or("none that shows")]);
    let modules = host.lsm.as_ref().map(|modules| modules.join(", "));
    table.row(["security modules", modules.as_deref().unwrap_or("unknown")]);
    table.row(["Landlock ABI", &host.landlock_abi.to_string()]);
    table.row(["control groups", &control_groups(&host.cgroups)]);
    table.render("  ")
}

fn control_groups(versions: &[u8]) -> String {
    let versions: Vec<_> = versions.iter().map(|version| format!("version {version}")).collect();
    if versions.is_empty() { "none".to_owned() } else { versions.join(" and ") }
}

fn others(backends: &[Found]) -> String {
    let mut table = Table::default();
    for Found { backend, version, missing, .. } in backends {
        let found = version.as_deref().or(missing.as_deref()).unwrap_or_default();
        let found = found.trim_start_matches("backend ").trim_start_matches(backend.name()).trim();
        table.row([backend.name(), found]);
    }
    table.render("  ")
}

fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let lines: String = notes.iter().map(|note| format!("  {note}\n")).collect();
    section("notes", &lines)
}

fn verdict(refused: &[Missing]) -> String {
    if refused.is_empty() {
        return "\nEverything that jobs require by default is held.\n".to_owned();
    }
    let names: Vec<_> = refused.iter().map(|missing| missing.guarantee.name()).collect();
    format!("\nJobs are refused here, unless run with --waive {}\n", names.join(","))
}

#[cfg(test)]
mod tests {
    use fumehood::Layer;

    use super::*;

    const FIX: &str = "sysctl -w user.max_user_namespaces=10000";

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn table(required: bool) -> String {
        let guarantee = Guarantee::Network;
        let (layer, reason) = (Layer::Sysctl, "max_user_namespaces is 0".to_owned());
        let fix = Some(FIX.to_owned());
        let refused = Missing { guarantee, layer, reason: reason.clone(), fix: fix.clone() };
        let refused = if required { vec![refused] } else { Vec::new() };
        let abilities = [
            (Guarantee::Ipc, Ability::Held { by: vec!["ipc namespace".to_owned()] }),
            (guarantee, Ability::Missing { layer, reason, fix }),
        ];
        plain(&(guarantees(&abilities.into(), &refused) + &verdict(&refused)))
    }

    #[test]
    fn what_is_missing_comes_with_its_layer_and_fix() {
        assert_eq!(
            table(true),
            "\
guarantee  state    by what, or why not
network    missing  sysctl: max_user_namespaces is 0
                    to fix it: sysctl -w user.max_user_namespaces=10000
ipc        held     ipc namespace

Jobs are refused here, unless run with --waive network
"
        );
    }

    #[test]
    fn what_is_not_required_is_no_reason_to_worry() {
        let text = table(false);
        assert!(text.contains("network    not held  sysctl"), "{text}");
        assert!(text.ends_with("by default is held.\n"), "{text}");
    }

    #[test]
    fn the_host_is_described_where_little_is_known() {
        let text = host(&Facts::default());
        assert!(text.contains("  security modules  unknown\n"), "{text}");
        assert!(text.contains("  control groups    none\n"), "{text}");
    }
}
