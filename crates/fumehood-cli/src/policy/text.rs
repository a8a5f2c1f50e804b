//! The policy, for people.

use serde_json::Value;

use super::{Document, Promise, Shown};
use crate::table::{STRONG, Table, styled};

pub(super) fn render(document: &Document) -> String {
    [
        section("guarantees", &guarantees(document)),
        section("limits", &object(&document.limits)),
        section("network", &network(document)),
        section("files of the host, read-only", &shown(&document.files.read_only)),
        section(
            "files of the host, writable: these outlive a run",
            &shown(&document.files.writable),
        ),
        section("files of its own, gone with the run", &scratch(document)),
        section("environment", &environment(&document.environment)),
        section("exports", &exports(document)),
        section("exports leave out", &rules(document)),
    ]
    .join("\n")
}

fn section(name: &str, body: &str) -> String {
    let body = if body.is_empty() { "  none\n" } else { body };
    format!("{}\n{body}", styled(STRONG, name))
}

fn guarantees(document: &Document) -> String {
    let mut table = Table::default();
    for (guarantee, promise) in &document.guarantees {
        let (state, why) = match promise {
            Promise::Held { by } => ("held", by.join("; ")),
            Promise::Refused { reason } => ("refused", reason.clone()),
            Promise::NotHeld { reason } => ("not held", reason.clone()),
        };
        table.row([guarantee.name(), state, &why]);
    }
    table.render("  ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn object(value: &Value) -> String {
    let mut table = Table::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        table.row([name, &plain(value)]);
    }
    table.render("  ")
}

fn network(document: &Document) -> String {
    match document.network.as_str() {
        Some("none") => "  a loopback interface of its own\n".to_owned(),
        _ => format!("  {}\n", plain(&document.network)),
    }
}

fn shown(list: &[Shown]) -> String {
    let mut table = Table::default();
    for one in list {
        let from =
            if one.path == one.on_host { String::new() } else { one.on_host.display().to_string() };
        table.row([one.path.display().to_string(), from]);
    }
    let text = table.render("  ");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn scratch(document: &Document) -> String {
    let mut table = Table::default();
    for one in &document.files.scratch {
        let amount = |amount: Option<String>| amount.unwrap_or_else(|| "unlimited".to_owned());
        let size = amount(one.size.map(|size| fumehood::ByteSize(size).to_string()));
        let inodes = amount(one.inodes.map(|inodes| inodes.to_string()));
        table.row([one.path.display().to_string(), size, format!("{inodes} inodes")]);
    }
    table.render("  ")
}

fn environment(variables: &Value) -> String {
    let mut table = Table::default();
    for (name, variable) in variables.as_object().into_iter().flatten() {
        let value = variable["value"].as_str().unwrap_or("(not shown)");
        table.row([name, &plain(&variable["from"]), value]);
    }
    table.render("  ")
}

fn exports(document: &Document) -> String {
    let limits = &document.export.limits;
    let mut table = Table::default();
    table.row(["files", &limits.files.to_string()]);
    table.row(["size of a file", &limits.file_size.to_string()]);
    table.row(["size of all", &limits.total.to_string()]);
    table.row(["names looked at", &limits.names.to_string()]);
    table.row(["depth", &limits.depth.to_string()]);
    table.render("  ")
}

fn rules(document: &Document) -> String {
    let mut table = Table::default();
    for rule in &document.export.rules {
        let by = match rule.name {
            fumehood::export::Rule::Gitignore => "what .gitignore names, if asked for".to_owned(),
            fumehood::export::Rule::Archive => "the archive itself".to_owned(),
            fumehood::export::Rule::NotAFile => "links, devices, sockets, FIFOs".to_owned(),
            fumehood::export::Rule::OddName => {
                "names with backslashes, control characters, or that are not UTF-8".to_owned()
            }
            _ => rule.names.join(", "),
        };
        table.row([rule.name.name(), &by]);
    }
    table.render("  ")
}
