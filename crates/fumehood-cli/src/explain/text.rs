//! What a plan says, for people.

use fumehood::image::Image;
use fumehood::{CollectTo, Input, InputSource, MountNote, Standing, TarSource, quoted};

use super::facts::{Facts, Landlock, Syscalls};
use crate::output;
use crate::table::{STRONG, Table, styled};

/// All sections, each under its heading.
pub(super) fn render(facts: &Facts) -> String {
    [
        section("program", &program(facts)),
        section("image", &facts.image.as_ref().map_or_else(none, image)),
        section("root", &root(facts)),
        notes(facts),
        section("files", &files(facts)),
        section("environment", &environment(facts)),
        section("limits", &table(facts.limits.iter().map(|(name, value)| [*name, value]))),
        section("system calls", &facts.syscalls.as_ref().map_or_else(none, syscalls)),
        section("landlock", &facts.landlock.as_ref().map_or_else(none, landlock)),
        section("steps", &steps(facts)),
        section("guarantees", &guarantees(facts)),
    ]
    .into_iter()
    .filter(|section| !section.is_empty())
    .collect::<Vec<_>>()
    .join("\n")
}

fn section(name: &str, body: &str) -> String {
    format!("{}\n{body}", styled(STRONG, name))
}

fn none() -> String {
    "  none\n".to_owned()
}

fn table<'a, const N: usize>(rows: impl Iterator<Item = [&'a str; N]>) -> String {
    let mut table = Table::default();
    rows.for_each(|row| table.row(row));
    table.render("  ")
}

fn program(facts: &Facts) -> String {
    let program = &facts.program;
    let identity = &facts.identity;
    let candidates: Vec<_> = program.candidates.iter().map(|path| path.to_string_lossy()).collect();
    table(
        [
            ["arguments", &format!("{:?}", program.args)],
            ["looked for at", &candidates.join(", ")],
            ["directory", &program.cwd.to_string_lossy()],
            ["host name", &program.hostname],
            ["user inside", &format!("{}:{}", identity.uid, identity.gid)],
            ["user on the host", &format!("{}:{}", identity.host_uid, identity.host_gid)],
            ["namespaces", &facts.namespaces.join(", ")],
        ]
        .into_iter(),
    )
}

fn image(image: &Image) -> String {
    let config = &image.config;
    let user = config.user.as_ref().map_or_else(
        || "none or root: the sandbox's own".to_owned(),
        |user| format!("{}, {}:{}", user.name, user.uid, user.gid),
    );
    let variables: Vec<_> = config.env.iter().map(|(name, _)| name.as_str()).collect();
    table(
        [
            ["names", &image.names.join(", ")],
            ["digest", &image.digest],
            ["entrypoint", &format!("{:?}", config.entrypoint)],
            ["command", &format!("{:?}", config.cmd)],
            ["directory", config.workdir.as_deref().unwrap_or("none")],
            ["user", &user],
            ["variables", &variables.join(" ")],
        ]
        .into_iter(),
    )
}

/// A mount point says nothing that the mount on it does not.
fn root(facts: &Facts) -> String {
    let mut table = Table::default();
    for (index, object) in facts.root.iter().enumerate() {
        if facts.root.get(index + 1).is_none_or(|next| next.path != object.path) {
            table.row([object.kind, &object.path.to_string_lossy(), &object.detail]);
        }
    }
    if facts.root.is_empty() { "  the host's\n".to_owned() } else { table.render("  ") }
}

/// Only where there is something to say.
fn notes(facts: &Facts) -> String {
    if facts.mounts.is_empty() {
        return String::new();
    }
    let line = |note: &MountNote| format!("  {}: {}\n", quoted(&note.target), note.text);
    section("notes on mounts", &facts.mounts.iter().map(line).collect::<String>())
}

fn files(facts: &Facts) -> String {
    let mut table = Table::default();
    for Input { source, to, .. } in &facts.inputs {
        let source = match source {
            InputSource::Dir { path, .. } => format!("directory {}", path.display()),
            InputSource::File(path) => format!("file {}", path.display()),
            InputSource::Tar(TarSource::File(path)) => format!("archive {}", path.display()),
            InputSource::Tar(TarSource::Stdin) => "archive from standard input".to_owned(),
            InputSource::Tar(TarSource::Bytes(bytes)) => {
                format!("archive of {} bytes", bytes.len())
            }
            InputSource::Bytes { data, .. } => format!("{} bytes", data.len()),
            other => format!("{other:?}"),
        };
        table.row(["in", &to.to_string_lossy(), &source]);
    }
    let to = match &facts.collect.to {
        CollectTo::Dir(path) | CollectTo::Tar(path) => path.display().to_string(),
        _ => "the report".to_owned(),
    };
    facts.collect.paths.iter().for_each(|path| table.row(["out", path, &to]));
    let none_listed = facts.inputs.is_empty() && facts.collect.paths.is_empty();
    if none_listed { none() } else { table.render("  ") }
}

fn environment(facts: &Facts) -> String {
    let mut table = Table::default();
    for (name, variable) in &facts.environment {
        let value =
            variable.value.as_deref().map_or("(not shown)".to_owned(), |v| format!("{v:?}"));
        table.row([name, variable.from, &value]);
    }
    table.render("  ")
}

fn syscalls(syscalls: &Syscalls) -> String {
    let mut table = Table::default();
    table.row(["profile", &syscalls.profile]);
    table.row(["instructions", &syscalls.instructions.to_string()]);
    for (action, count) in &syscalls.always {
        table.row([action, &format!("{count} calls")]);
    }
    let conditional = &syscalls.conditional;
    table.row(["by arguments", &format!("{}: {}", conditional.len(), conditional.join(" "))]);
    table.render("  ")
}

fn landlock(landlock: &Landlock) -> String {
    table(
        [
            ["ABI", &landlock.abi.to_string()],
            ["read-only trees", &landlock.read_only.join(" ")],
            ["writable trees", &landlock.read_write.join(" ")],
            ["/dev", &landlock.devices.join(" ")],
            ["never", &never(landlock).join(" ")],
            ["not outside", &landlock.scoped.join(" ")],
        ]
        .into_iter(),
    )
}

/// Rights that no tree gives.
fn never(landlock: &Landlock) -> Vec<&'static str> {
    let given = [&landlock.read_only, &landlock.read_write, &landlock.devices];
    let given = |right: &&&str| given.iter().any(|tree| tree.contains(right));
    landlock.handled.iter().filter(|right| !given(right)).copied().collect()
}

fn steps(facts: &Facts) -> String {
    let numbered = facts.steps.iter().enumerate();
    numbered.map(|(index, step)| format!("  {:>3}  {step}\n", index + 1)).collect()
}

fn guarantees(facts: &Facts) -> String {
    let mut table = Table::default();
    for (guarantee, standing) in &facts.guarantees {
        let state = if matches!(standing, Standing::Held { .. }) { "held" } else { "not held" };
        table.row([guarantee.name(), state, &output::standing(standing)]);
    }
    table.render("  ")
}
