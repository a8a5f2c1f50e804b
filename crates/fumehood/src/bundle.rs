//! OCI bundles that somebody else wrote: a `config.json` and the root beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, Result, text};

/// What is looked at of a `config.json`; there may be anything else in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    oci_version: String,
    pub(crate) process: Process,
    root: Option<RootDir>,
    mounts: Vec<BindMount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    pub(crate) args: Vec<String>,
    pub(crate) user: User,
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) no_new_privileges: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) uid: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    bounding: Vec<String>,
    effective: Vec<String>,
    inheritable: Vec<String>,
    permitted: Vec<String>,
    ambient: Vec<String>,
}

impl Capabilities {
    pub(crate) fn are_empty(&self) -> bool {
        [&self.bounding, &self.effective, &self.inheritable, &self.permitted, &self.ambient]
            .iter()
            .all(|set| set.is_empty())
    }
}

#[derive(Clone, Debug, Deserialize)]
struct RootDir {
    path: PathBuf,
    #[serde(default)]
    readonly: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct BindMount {
    destination: PathBuf,
    #[serde(rename = "type")]
    kind: String,
    source: PathBuf,
    options: Vec<String>,
}

impl BindMount {
    fn is_bind(&self) -> bool {
        let is_bind = |option: &String| matches!(option.as_str(), "bind" | "rbind");
        self.kind == "bind" || self.options.iter().any(is_bind)
    }
}

/// What was found out about a bundle.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Validation {
    /// What is wrong with it, a sentence each; empty if nothing is.
    pub problems: Vec<String>,
    #[serde(skip)]
    pub(crate) config: Option<Config>,
}

/// Looks at a bundle without running it: whether its `config.json` can be read and is of version 1 of
/// the specification, whether it names a program, and whether its root and the source of every bind
/// mount exist, relative ones in the bundle.
///
/// ```no_run
/// let found = fumehood::bundle::validate(std::path::Path::new("/srv/bundle"))?;
/// # Ok::<(), fumehood::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) for the first problem; [`look`] gives all.
pub fn validate(dir: &Path) -> Result<()> {
    match look(dir).problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(Error::invalid("bundle", dir.display(), problem)),
    }
}

/// Looks at a bundle, and tells all that is wrong with it.
#[must_use]
pub fn look(dir: &Path) -> Validation {
    let config = match read(dir) {
        Ok((_, config)) => config,
        Err(problem) => return Validation { problems: vec![problem], config: None },
    };
    let mut problems = Vec::new();
    let version = &config.oci_version;
    if !version.starts_with("1.") {
        problems.push(format!("ociVersion: got {version:?}, want \"1.0.0\" or a later 1"));
    }
    if config.process.args.is_empty() {
        problems.push("process.args: names no program".to_owned());
    }
    match &config.root {
        None => problems.push("root: is missing".to_owned()),
        Some(root) => problems.extend(missing(dir, &root.path, "root.path")),
    }
    for mount in config.mounts.iter().filter(|mount| mount.is_bind()) {
        let what = format!("bind mount source for {}", mount.destination.display());
        problems.extend(missing(dir, &mount.source, &what));
    }
    Validation { problems, config: Some(config) }
}

/// A `config.json`: all of it, and what is looked at.
fn read(dir: &Path) -> Result<(Value, Config), String> {
    let path = dir.join("config.json");
    let wrong = |problem: String| format!("{}: {problem}", path.display());
    let no_config = |error| wrong(format!("is no OCI config: {error}"));
    let text = text::of_file(&path).map_err(|error| wrong(error.to_string()))?;
    let all = serde_json::from_str(&text).map_err(no_config)?;
    match ambiguous(&all) {
        Some(problem) => Err(wrong(problem)),
        None => Ok((all, serde_json::from_str(&text).map_err(no_config)?)),
    }
}

/// What a runtime, written in Go, would read otherwise than it is read here: there the case of a name does not
/// matter (`encoding/json`), and a list is no object.
fn ambiguous(config: &Value) -> Option<String> {
    let process = &config["process"];
    let sets = ["bounding", "effective", "inheritable", "permitted", "ambient"];
    let objects: [(_, _, &[&str]); 5] = [
        ("top level", config, &["ociVersion", "process", "root", "mounts"]),
        ("process", process, &["args", "user", "capabilities", "noNewPrivileges"]),
        ("process.user", &process["user"], &["uid"]),
        ("process.capabilities", &process["capabilities"], &sets),
        ("root", &config["root"], &["path", "readonly"]),
    ];
    let mut objects = objects.into_iter();
    let mut mounts = config["mounts"].as_array().into_iter().flatten().enumerate();
    objects.find_map(|(at, object, names)| misread(at, object, names)).or_else(|| {
        let names = ["destination", "type", "source", "options"];
        mounts.find_map(|(index, mount)| misread(&format!("mounts[{index}]"), mount, &names))
    })
}

fn misread(at: &str, object: &Value, names: &[&str]) -> Option<String> {
    let members = match object {
        Value::Object(members) => members,
        Value::Null => return None,
        _ => return Some(format!("{at}: must be an object")),
    };
    // Two letters that are no ASCII are others of a letter that is.
    let folded = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    let same = |name: &str, key: &str| name.chars().map(folded).eq(key.chars().map(folded));
    members.keys().find_map(|key| {
        let meant = names.iter().find(|name| *name != key && same(name, key))?;
        Some(format!("{at}: {key:?}: must be written {meant:?}"))
    })
}

/// What a bundle shows of the host.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Which mount shows it, counted from 0; none for the root.
    pub(crate) mount: Option<usize>,
    /// What it is, links followed.
    pub(crate) path: PathBuf,
    /// Whether what is mounted below it is shown, too.
    pub(crate) nested: bool,
    /// Whether the runtime may do there what the bundle leaves to it. What the program writes has an overlay
    /// before it in any case.
    pub(crate) writable: bool,
}

/// The root of a bundle and the source of every bind mount.
pub(crate) fn sources(dir: &Path) -> Vec<Source> {
    let Some(config) = look(dir).config else { return Vec::new() };
    let path = |path: &Path| fs::canonicalize(dir.join(path)).ok();
    let root = config.root.and_then(|root| {
        let writable = !root.readonly;
        Some(Source { mount: None, path: path(&root.path)?, nested: true, writable })
    });
    let binds = config.mounts.iter().enumerate().filter(|(_, mount)| mount.is_bind());
    let binds = binds.filter_map(|(index, mount)| {
        let nested = mount.options.iter().any(|option| option == "rbind");
        Some(Source { mount: Some(index), path: path(&mount.source)?, nested, writable: false })
    });
    root.into_iter().chain(binds).collect()
}

/// The `config.json` of a bundle whose [sources] are at other places, each with all that is to be seen
/// there.
pub(crate) fn moved(dir: &Path, places: &[(Option<usize>, PathBuf)]) -> Result<String> {
    let failed = |problem: String| Error::internal("read a bundle", std::io::Error::other(problem));
    let (mut config, _) = read(dir).map_err(failed)?;
    for (mount, place) in places {
        let Some(index) = mount else {
            config["root"]["path"] = json!(place);
            continue;
        };
        let found = config.pointer_mut(&format!("/mounts/{index}"));
        let mount = found.ok_or_else(|| failed("its mounts have just changed".to_owned()))?;
        let options = mount["options"].as_array().into_iter().flatten();
        let other = options.filter(|option| *option != "bind" && *option != "rbind").cloned();
        mount["options"] = other.chain([json!("rbind")]).collect();
        mount["source"] = json!(place);
    }
    Ok(config.to_string())
}

fn missing(dir: &Path, path: &Path, what: &str) -> Option<String> {
    let path = dir.join(path);
    let error = fs::metadata(&path).err()?;
    let said = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Some(format!("{what}: stat {}: {said}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        dir
    }

    fn config(version: &str, mounts: &str) -> String {
        format!(
            r#"{{"ociVersion": "{version}", "process": {{"args": ["/runner"]}},
                 "root": {{"path": "rootfs"}}, "mounts": [{mounts}], "annotations": {{"a": "b"}}}}"#
        )
    }

    #[test]
    fn a_bundle_in_order_has_no_problem() {
        let mounts = r#"{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/r", "source": "rootfs", "options": ["rbind", "ro"]}"#;
        let bundle = bundle(&config("1.0.0", mounts));
        assert_eq!(look(bundle.path()).problems, Vec::<String>::new());
    }

    #[test]
    fn every_source_of_a_bind_mount_is_looked_for_relative_to_the_bundle() {
        let mount = |options: &str| {
            format!(r#"{{"destination": "/r", "source": "nowhere", "options": [{options}]}}"#)
        };
        for (options, problems) in [(r#""bind""#, 1), (r#""ro", "rbind""#, 1), (r#""ro""#, 0)] {
            let bundle = bundle(&config("1.1.0", &mount(options)));
            let found = look(bundle.path()).problems;
            assert_eq!(found.len(), problems, "{options}: {found:?}");
            let said = format!("{}/nowhere: no such file or directory", bundle.path().display());
            assert!(found.iter().all(|problem| problem.ends_with(&said)), "{found:?}");
        }
    }

    /// Whoever reads another program, root or right than the runtime does says of it what is not so.
    #[test]
    fn what_a_runtime_would_read_otherwise_is_refused() {
        let other = |from: &str, to: &str| config("1.0.0", "").replace(from, to);
        let mount = config("1.0.0", r#"["/r", "bind", "rootfs", ["bind"]]"#);
        for (config, problem) in [
            (other("process", "Process"), r#"top level: "Process": must be written "process""#),
            (other("args", "ARGS"), r#"process: "ARGS": must be written "args""#),
            (other("args", "arg\u{17f}"), r#"process: "argſ": must be written "args""#),
            (other(r#"{"path": "rootfs"}"#, r#"["rootfs"]"#), "root: must be an object"),
            (mount, "mounts[0]: must be an object"),
            ("[]".to_owned(), "top level: must be an object"),
        ] {
            let found = look(bundle(&config).path()).problems;
            assert!(found.len() == 1 && found[0].ends_with(problem), "{config}: {found:?}");
        }
    }

    #[test]
    fn a_config_without_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("config.json")).unwrap();
        let problems = look(dir.path()).problems;
        assert!(
            problems[0].ends_with("config.json: it is too large; at most 1MiB"),
            "{problems:?}"
        );
    }

    #[test]
    fn what_is_wrong_is_told_all_at_once() {
        let broken = bundle(r#"{"ociVersion": "0.9", "root": {"path": "nowhere"}}"#);
        let found = look(broken.path()).problems.join("\n");
        assert!(found.contains("ociVersion: got \"0.9\", want \"1.0.0\""), "{found}");
        assert!(found.contains("process.args") && found.contains("root.path"), "{found}");
        for no_bundle in [bundle("{"), tempfile::tempdir().unwrap()] {
            let found = look(no_bundle.path()).problems;
            assert!(found.len() == 1 && found[0].contains("config.json"), "{found:?}");
        }
    }
}
