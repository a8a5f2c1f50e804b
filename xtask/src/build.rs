//! Building, and finding what was built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace")
}

/// The binary, the suite of promises that tries it, and further suites.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) binary: PathBuf,
    pub(crate) suite: PathBuf,
    pub(crate) others: Vec<PathBuf>,
}

impl Built {
    /// Builds the binary and the promises, with further arguments to cargo.
    pub(crate) fn new(args: &[&str]) -> Result<Self, String> {
        Self::with(&[], args)
    }

    /// Builds these suites, too.
    pub(crate) fn with(others: &[&str], args: &[&str]) -> Result<Self, String> {
        let common = ["--package", "fumehood-cli", "--message-format", "json-render-diagnostics"];
        let messages = stdout(
            cargo()
                .args(["test", "--no-run", "--test", "promise"])
                .args(others.iter().flat_map(|name| ["--test", name]))
                .args(common)
                .args(args),
        )?;
        let suite = executable(&messages, "promise").ok_or("cargo built no suite of promises")?;
        let binary = executable(&messages, "fumehood");
        let binary = match binary {
            Some(binary) => binary,
            None => binary_alone(args)?,
        };
        let path = |name| executable(&messages, name).ok_or(format!("cargo built no suite {name}"));
        let others = others.iter().map(|name| path(name)).collect::<Result<_, _>>()?;
        Ok(Self { binary, suite, others })
    }
}

/// Builds the binary alone, with further arguments to cargo.
pub(crate) fn binary_alone(args: &[&str]) -> Result<PathBuf, String> {
    let common = ["--package", "fumehood-cli", "--message-format", "json-render-diagnostics"];
    let messages = stdout(cargo().arg("build").args(common).args(args))?;
    executable(&messages, "fumehood").ok_or_else(|| "cargo built no binary".into())
}

/// Builds the program that measures runs from within.
pub(crate) fn launch_bench() -> Result<PathBuf, String> {
    let common = ["--package", "fumehood", "--message-format", "json-render-diagnostics"];
    let messages = stdout(cargo().args(["bench", "--no-run", "--bench", "launch"]).args(common))?;
    executable(&messages, "launch").ok_or_else(|| "cargo built no benchmark".into())
}

/// Builds an example of the library as it is released, and gives the command that runs it.
pub(crate) fn example(name: &str) -> Result<Command, String> {
    let common = ["--package", "fumehood", "--message-format", "json-render-diagnostics"];
    let messages = stdout(cargo().args(["build", "--release", "--example", name]).args(common))?;
    executable(&messages, name).map(Command::new).ok_or(format!("cargo built no example {name}"))
}

/// Builds the tests of pools, with further arguments to cargo.
pub(crate) fn pool_suite(args: &[&str]) -> Result<PathBuf, String> {
    let common = ["--package", "fumehood", "--message-format", "json-render-diagnostics"];
    let mut command = cargo();
    let messages =
        stdout(command.args(["test", "--no-run", "--test", "pool"]).args(common).args(args))?;
    executable(&messages, "pool").ok_or_else(|| "cargo built no suite pool".into())
}

fn stdout(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed"));
    }
    String::from_utf8(output.stdout).map_err(|_| "cargo printed no UTF-8".into())
}

/// The executable of the target of this name in cargo's messages, one JSON object a line. A
/// library of the same name has none.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let target = format!("\"name\":\"{name}\"");
    let of_target = messages.lines().filter(|line| line.contains(&target));
    of_target.filter_map(|line| member(line, "executable")).map(PathBuf::from).next_back()
}

/// The text of a member: paths that need escapes are not found, which the caller reports.
fn member<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{key}\":\""))? + key.len() + 4;
    line[start..].split('"').next().filter(|text| !text.contains('\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = concat!(
        r#"{"target":{"kind":["lib"],"name":"fumehood"},"executable":null}"#,
        "\n",
        r#"{"target":{"kind":["bin"],"name":"fumehood"},"executable":"/t/debug/fumehood"}"#,
        "\n",
        r#"{"target":{"kind":["test"],"name":"promise"},"executable":"/t/debug/deps/promise-1"}"#,
    );

    #[test]
    fn finds_executables_and_not_libraries() {
        let path = |name| executable(MESSAGES, name);
        assert_eq!(path("fumehood"), Some("/t/debug/fumehood".into()));
        assert_eq!(path("promise"), Some("/t/debug/deps/promise-1".into()));
        assert_eq!(path("other"), None);
    }
}
