//! What is under `packaging/`, looked at with the tools that this machine has.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

/// A test, and what it needs that not every machine has.
type Case = (&'static str, fn() -> Option<&'static str>, fn() -> Result<(), Failed>);

const CASES: [Case; 5] = [
    ("settings_are_read_as_they_are", || None, settings),
    ("the_unit_is_one", || lacks("systemd-analyze", "no systemd-analyze"), unit),
    ("the_apparmor_profile_compiles", no_parser, apparmor),
    ("the_manifest_follows_its_schema", no_validator, manifest),
    ("the_manifest_s_settings_are_those_of_the_container", || None, same_settings),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = CASES.into_iter().map(|(name, lacks, case)| {
        let reason = lacks();
        if let Some(reason) = reason {
            let _ = writeln!(std::io::stderr(), "{name}: skipped: {reason}");
        }
        Trial::test(name, case).with_ignored_flag(reason.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(path)
}

fn lacks(program: &str, reason: &'static str) -> Option<&'static str> {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_err().then_some(reason)
}

/// Version 3 knows neither the profile's features nor its one rule.
fn no_parser() -> Option<&'static str> {
    let output = Command::new("apparmor_parser").arg("--version").output().ok();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_new =
        output.is_some_and(|text| text.contains("version 4") || text.contains("version 5"));
    (!is_new).then_some("no apparmor_parser of version 4 or later")
}

fn no_validator() -> Option<&'static str> {
    lacks("kubernetes-validate", "no kubernetes-validate, which pip installs")
}

/// Runs a command that must have nothing to say against what it looks at.
fn content(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {text}").into()) }
}

/// What the service makes of settings.
fn in_force(config: &Path) -> Result<String, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fumehood"));
    content(command.args(["serve", "--print-config", "--config"]).arg(config))
}

fn settings() -> Result<(), Failed> {
    let text = in_force(&packaging("config/serve.toml"))?;
    assert!(text.contains("127.0.0.1:8375"), "{text}");
    let text = in_force(&packaging("container/serve.toml"))?;
    assert!(text.contains("/run/secrets/fumehood-tokens"), "{text}");
    Ok(())
}

/// A copy that names the binary of this test, so that it is there.
fn unit() -> Result<(), Failed> {
    let unit = fs::read_to_string(packaging("systemd/fumehood.service"))?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("fumehood.service");
    fs::write(&path, unit.replace("/usr/bin/fumehood", env!("CARGO_BIN_EXE_fumehood")))?;
    let text = content(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path))?;
    assert!(!text.contains("fumehood.service"), "{text}");
    // What cells are made of must not be taken from the service.
    for setting in [
        "RestrictNamespaces",
        "ProtectControlGroups",
        "ProtectProc",
        "SystemCallFilter",
        "RestrictSUIDSGID",
        // Implies the one above.
        "DynamicUser",
    ] {
        assert!(!unit.lines().any(|line| line.starts_with(setting)), "{setting}");
    }
    assert!(unit.lines().any(|line| line.starts_with("Delegate=")));
    Ok(())
}

fn apparmor() -> Result<(), Failed> {
    let mut command = Command::new("apparmor_parser");
    // Nothing is loaded, and nothing is kept.
    let names = command.args(["-Q", "-K", "-N"]).arg(packaging("apparmor/fumehood"));
    assert!(content(names)?.lines().any(|line| line == "fumehood"));
    Ok(())
}

fn manifest() -> Result<(), Failed> {
    let path = packaging("kubernetes/fumehood.yaml");
    let text = content(Command::new("kubernetes-validate").arg("--strict").arg(path))?;
    assert!(text.contains("deployment/fumehood"), "{text}");
    Ok(())
}

fn same_settings() -> Result<(), Failed> {
    let manifest = fs::read_to_string(packaging("kubernetes/fumehood.yaml"))?;
    for setting in ["hostUsers: false", "privileged: false", "allowPrivilegeEscalation: false"] {
        assert!(manifest.contains(setting), "{setting}");
    }
    let (_, rest) = manifest.split_once("serve.toml: |\n").ok_or("no settings")?;
    let (settings, _) = rest.split_once("---").ok_or("no end of settings")?;
    let lines = settings.lines().map(|line| line.trim_start().to_owned() + "\n");
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("serve.toml");
    fs::write(&path, lines.collect::<String>())?;
    let here = in_force(&path)?
        .replace("/etc/fumehood-tokens/tokens.toml", "/run/secrets/fumehood-tokens");
    assert_eq!(here, in_force(&packaging("container/serve.toml"))?);
    Ok(())
}
