//! What the tools of the toolchain say of the sources.

use std::fs;

use crate::build::{cargo, root};
use crate::suite::heading;
use crate::tally::Tally;

const STRICT: [&str; 3] = ["--", "-D", "warnings"];

/// Everything that they check.
pub(crate) fn tally() -> Tally {
    let mut all = component("fmt", &["fmt", "--all", "--check"]);
    all +=
        component("clippy", &[&["clippy", "--workspace", "--all-targets"], &STRICT[..]].concat());
    all += with_fewer_features();
    all += documentation();
    all
}

/// A check by a component of the toolchain, which not every toolchain has.
fn component(name: &str, args: &[&str]) -> Tally {
    heading(&args.join(" "));
    let version = cargo().args([name, "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        println!("skipped: this toolchain has no {name}");
        return Tally::skipped(1);
    }
    Tally::check(cargo().args(args))
}

/// The library without its features, and with each of them alone, as an embedder may have it; the binary
/// without its own.
fn with_fewer_features() -> Tally {
    let manifest = fs::read_to_string(root().join("crates/fumehood/Cargo.toml"));
    let features = default_features(&manifest.unwrap_or_default());
    if features.is_empty() {
        return Tally::failure("crates/fumehood/Cargo.toml: no line `default = [\"…\"]` found");
    }
    let mut all = Tally::default();
    let alone = ["clippy", "--package", "fumehood", "--no-default-features", "--features"];
    for feature in [""].into_iter().chain(features.iter().map(String::as_str)) {
        all += component("clippy", &[&alone[..], &[feature], &STRICT].concat());
    }
    let bare = ["clippy", "--package", "fumehood-cli", "--no-default-features"];
    all += component("clippy", &[&bare[..], &STRICT].concat());
    all
}

/// The features that a manifest has by default.
fn default_features(manifest: &str) -> Vec<String> {
    let list = manifest.lines().find_map(|line| line.strip_prefix("default = ["));
    let names = list.into_iter().flat_map(|list| list.split('"').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// What embedders read, and what maintainers read.
fn documentation() -> Tally {
    heading("documentation");
    let mut all = Tally::default();
    let private = ["--package", "fumehood-child", "--document-private-items"];
    for more in [&[][..], &private] {
        let mut command = cargo();
        command.args(["doc", "--no-deps", "--package", "fumehood"]).args(more);
        all += Tally::check(command.env("RUSTDOCFLAGS", "-D warnings"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_of_the_manifest() {
        let manifest = "[features]\ndefault = [\"engine\", \"export\"]\nengine = [\"dep:hyper\"]\n";
        assert_eq!(default_features(manifest), ["engine", "export"]);
        assert_eq!(default_features("[features]\nengine = []\n"), [""; 0]);
    }
}
