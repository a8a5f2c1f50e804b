//! The dialect of runners: a program in a bundle that reads what to run from its standard input.
//!
//! A host writes one JSON object to a runner and closes its input:
//! `{"Path": "printargs", "Args": ["printargs", "a"], "Env": ["FOO=17"], "AppendToEnv": true, "Dir": ""}`.
//! The runner runs that program with no input, prints what it printed, and ends with 0; or it says in
//! one line on standard error why there is nothing to print, and ends with 1. [`serve`] is a runner,
//! and [`Bundle`] is a host for any runner.

mod host;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Serialize;
use serde_json::Value;

pub use host::{Bundle, Cmd, Failure};

/// What a runner is asked to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    /// The program: absolute, or relative to `dir`. It is not looked for in the `PATH`.
    pub path: String,
    /// Its arguments, its name first; empty for its name alone.
    pub args: Vec<String>,
    /// Variables, `NAME=VALUE` each; none for the runner's own.
    pub env: Option<Vec<String>>,
    /// Whether they are added to the runner's own rather than put in their place.
    pub append_to_env: bool,
    /// The working directory; empty for `/`.
    pub dir: String,
}

impl Request {
    /// Reads a request, as Go reads it: names of members in any case, unknown ones skipped.
    ///
    /// # Errors
    /// It is no JSON object, or a member is of another type.
    pub fn from_json(text: &str) -> io::Result<Self> {
        let members: BTreeMap<String, Value> = serde_json::from_str(text)?;
        let mut request = Self::default();
        for (name, value) in members {
            match name.to_ascii_lowercase().as_str() {
                "path" => request.path = or_default(value)?,
                "args" => request.args = or_default(value)?,
                "env" => request.env = serde_json::from_value(value)?,
                "appendtoenv" => request.append_to_env = or_default(value)?,
                "dir" => request.dir = or_default(value)?,
                _ => {}
            }
        }
        Ok(request)
    }

    fn command(&self) -> Command {
        let dir = Path::new("/").join(&self.dir);
        let mut command = Command::new(self.program(&dir));
        if let Some((name, rest)) = self.args.split_first() {
            command.arg0(name).args(rest);
        } else {
            command.arg0(&self.path);
        }
        if self.env.is_some() && !self.append_to_env {
            command.env_clear();
        }
        let variables = self.env.iter().flatten().filter_map(|variable| variable.split_once('='));
        command.envs(variables).current_dir(dir);
        command
    }

    fn program(&self, dir: &Path) -> PathBuf {
        dir.join(&self.path)
    }
}

/// What Go makes of `null`.
fn or_default<T: serde::de::DeserializeOwned + Default>(value: Value) -> io::Result<T> {
    Ok(serde_json::from_value::<Option<T>>(value)?.unwrap_or_default())
}

/// Is a runner: reads a request, and runs it. The exit status is 0 if the program ended with 0 and
/// what it printed was passed on, else 1.
pub fn serve(mut input: impl Read, mut output: impl Write, mut log: impl Write) -> u8 {
    let mut text = String::new();
    let request = input.read_to_string(&mut text).and_then(|_| Request::from_json(&text));
    let done = match request {
        Ok(request) => run(&request, &mut output),
        Err(error) => Err(format!("reading the request: {error}")),
    };
    match done {
        Ok(()) => 0,
        Err(problem) => {
            // Nobody is left to be told if that fails.
            drop(writeln!(log, "runner: {problem}"));
            1
        }
    }
}

fn run(request: &Request, output: &mut impl Write) -> Result<(), String> {
    let args =
        if request.args.is_empty() { vec![request.path.clone()] } else { request.args.clone() };
    let failed = |why: &str, said: &str| format!("{args:?} failed with {why}: {said}");
    let mut command = request.command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = command.output().map_err(|error| {
        failed(&format!("fork/exec {}: {}", request.path, as_go_says(&error)), "")
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(failed(&described(ended.status), said.trim()));
    }
    let passed = output.write_all(&ended.stdout).and_then(|()| output.flush());
    passed.map_err(|error| failed(&format!("writing its output: {error}"), ""))
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = crate::signal_name(signal).unwrap_or_else(|| signal.to_string());
            format!("signal: {name}")
        }
        (None, None) => status.to_string(),
    }
}

/// `no such file or directory`, without Rust's capital and number.
fn as_go_says(error: &io::Error) -> String {
    let said = error.to_string();
    let said = said.split(" (os error").next().unwrap_or_default();
    let mut letters = said.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(request: &str) -> (u8, String, String) {
        let (mut output, mut log) = (Vec::new(), Vec::new());
        let status = serve(request.as_bytes(), &mut output, &mut log);
        (status, String::from_utf8(output).unwrap(), String::from_utf8(log).unwrap())
    }

    #[test]
    fn a_request_is_read_as_go_reads_it() {
        let text = r#"{"path":"printargs","ARGS":["printargs","a","b c\td \u003c"],"Env":null,
                       "AppendToEnv":true,"Dir":"","Stdin":{},"Unknown":1}"#;
        let request = Request::from_json(text).unwrap();
        assert_eq!((request.path.as_str(), request.env.as_ref()), ("printargs", None));
        assert_eq!(request.args, ["printargs", "a", "b c\td <"]);
        assert!(request.append_to_env);
        assert!(Request::from_json("[]").is_err() && Request::from_json(r#"{"Path":1}"#).is_err());
    }

    #[test]
    fn output_is_passed_on_verbatim_and_input_is_empty() {
        let request =
            r#"{"Path":"/bin/sh","Args":["sh","-c","printf ' a\t%s' \"$(cat)\"; echo x >&2"]}"#;
        assert_eq!(served(request), (0, " a\t".into(), String::new()));
    }

    #[test]
    fn a_failure_is_one_line_with_what_the_program_said() {
        let request = r#"{"Path":"/bin/sh","Args":["sh","-c","echo lost; echo why >&2; exit 3"]}"#;
        let (status, output, log) = served(request);
        assert_eq!((status, output.as_str()), (1, ""));
        assert!(log.starts_with("runner: [") && log.ends_with("failed with exit status 3: why\n"));
        let (status, _, log) = served(r#"{"Path":"/bin/sh","Args":["sh","-c","kill -9 $$"]}"#);
        assert!(status == 1 && log.contains("signal: SIGKILL"), "{log}");
        assert_eq!(served("{").0, 1);
    }
}
