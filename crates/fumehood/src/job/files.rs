//! Files that go into a sandbox and come out of it, and how that is written.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Job, is_default};
use crate::ByteSize;

/// Something that is copied into the sandbox before the program starts. The copy belongs to the
/// program, which can change it; what it was made from stays as it is.
///
/// ```
/// use fumehood::{Input, Job};
/// let job = Job::new(["make", "test"])
///     .input(Input::tar("/srv/submission.tar.gz"))
///     .input(Input::bytes("#!/bin/sh\nexit 0\n").to("/workspace/hook").executable());
/// # assert_eq!(job.inputs.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Input {
    /// Where it comes from.
    pub source: InputSource,
    /// Where it goes: an absolute path in the program's own scratch, such as `/workspace`. For a
    /// directory and an archive the directory that their files are put in, for a file its own path.
    pub to: PathBuf,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputSource {
    /// A directory of the host, without what matches one of `exclude`: globs of paths below it if
    /// they contain a slash, else of names at any depth.
    Dir {
        /// Absolute path on the host.
        path: PathBuf,
        /// What is left out.
        exclude: Vec<String>,
    },
    /// A file of the host: its absolute path.
    File(PathBuf),
    /// An archive, plain or compressed by gzip or Zstandard, whatever its name.
    Tar(TarSource),
    /// A file with this content.
    Bytes {
        /// The content, shared by the copies of a job: it may be large.
        data: Arc<Vec<u8>>,
        /// Permission bits.
        mode: u32,
    },
}

/// Where an archive comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarSource {
    /// A file of the host: its absolute path.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// The caller's standard input, which the program then does not get.
    Stdin,
}

impl Input {
    /// A directory of the host, copied to `/workspace`.
    #[must_use]
    pub fn dir(path: impl Into<PathBuf>) -> Self {
        Self::new(InputSource::Dir { path: path.into(), exclude: Vec::new() }, Job::CWD.into())
    }

    /// A file of the host, copied to its name in `/workspace`.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let to = Path::new(Job::CWD).join(path.file_name().unwrap_or_default());
        Self::new(InputSource::File(path), to)
    }

    /// An archive on the host, unpacked to `/workspace`.
    #[must_use]
    pub fn tar(path: impl Into<PathBuf>) -> Self {
        Self::new(InputSource::Tar(TarSource::File(path.into())), Job::CWD.into())
    }

    /// An archive in memory, unpacked to `/workspace`.
    #[must_use]
    pub fn tar_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(InputSource::Tar(TarSource::Bytes(bytes.into())), Job::CWD.into())
    }

    /// An archive from the caller's standard input, unpacked to `/workspace`.
    #[must_use]
    pub fn tar_stdin() -> Self {
        Self::new(InputSource::Tar(TarSource::Stdin), Job::CWD.into())
    }

    /// A file with this content, at `/workspace/input` unless [`to`](Self::to) says another path.
    #[must_use]
    pub fn bytes(data: impl Into<Vec<u8>>) -> Self {
        let source = InputSource::Bytes { data: Arc::new(data.into()), mode: Self::MODE };
        Self::new(source, Path::new(Job::CWD).join("input"))
    }

    /// Permission bits of a file from bytes.
    pub(super) const MODE: u32 = 0o644;

    pub(super) const fn new(source: InputSource, to: PathBuf) -> Self {
        Self { source, to }
    }

    /// Sets where it goes.
    #[must_use]
    pub fn to(mut self, path: impl Into<PathBuf>) -> Self {
        self.to = path.into();
        self
    }

    /// Leaves out of a directory what matches this glob; without effect on other inputs.
    #[must_use]
    pub fn exclude(mut self, glob: impl Into<String>) -> Self {
        if let InputSource::Dir { exclude, .. } = &mut self.source {
            exclude.push(glob.into());
        }
        self
    }

    /// Makes a file from bytes executable; other inputs keep the permissions that they have.
    #[must_use]
    pub fn executable(mut self) -> Self {
        if let InputSource::Bytes { mode, .. } = &mut self.source {
            *mode = 0o755;
        }
        self
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.source {
            InputSource::Dir { path, exclude } => {
                map.serialize_entry("dir", path)?;
                if !exclude.is_empty() {
                    map.serialize_entry("exclude", exclude)?;
                }
            }
            InputSource::File(path) => map.serialize_entry("file", path)?,
            InputSource::Tar(TarSource::File(path)) => map.serialize_entry("tar", path)?,
            InputSource::Tar(TarSource::Stdin) => map.serialize_entry("tar", "stdin")?,
            InputSource::Tar(TarSource::Bytes(bytes)) => {
                let base64 = [("base64", BASE64_STANDARD.encode(bytes))];
                map.serialize_entry("tar", &std::collections::BTreeMap::from(base64))?;
            }
            InputSource::Bytes { data, mode } => {
                match std::str::from_utf8(data) {
                    Ok(text) => map.serialize_entry("text", text)?,
                    Err(_) => map.serialize_entry("base64", &BASE64_STANDARD.encode(&**data))?,
                }
                if *mode != Self::MODE {
                    map.serialize_entry("mode", &format!("{mode:o}"))?;
                }
            }
        }
        map.serialize_entry("to", &self.to)?;
        map.end()
    }
}

impl JsonSchema for Input {
    fn schema_name() -> Cow<'static, str> {
        "Input".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let to = |default: &str| {
            json_schema!({ "type": "string", "description":
                format!("Absolute path in the program's own scratch. Default: {default}.") })
        };
        let text =
            |description: &str| json_schema!({ "type": "string", "description": description });
        let mode = json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$", "default": "644",
            "description": "Permission bits in octal." });
        let form = |what: &str, properties: Schema, required: &[&str]| {
            json_schema!({ "type": "object", "description": what, "properties": properties,
                "required": required, "additionalProperties": false })
        };
        let tar = json_schema!({ "oneOf": [
            { "type": "string", "description":
                "Absolute path on the host, or `stdin` for the caller's standard input." },
            { "type": "object", "properties": { "base64": { "type": "string" } },
              "required": ["base64"], "additionalProperties": false },
        ] });
        json_schema!({
            "description": "Something that is copied into the sandbox before the program starts.",
            "oneOf": [
                form("A directory of the host.", json_schema!({
                    "dir": text("Absolute path on the host."),
                    "exclude": { "type": "array", "items": { "type": "string" },
                        "description": "Globs: of paths if they contain a slash, else of names." },
                    "to": to("`/workspace`"),
                }), &["dir"]),
                form("A file of the host.", json_schema!({
                    "file": text("Absolute path on the host."),
                    "to": to("its name in `/workspace`"),
                }), &["file"]),
                form("An archive, plain or compressed by gzip or Zstandard.",
                    json_schema!({ "tar": tar, "to": to("`/workspace`") }), &["tar"]),
                form("A file with this text.",
                    json_schema!({ "text": text("The text."), "mode": mode, "to": to("none") }),
                    &["text", "to"]),
                form("A file with these bytes.", json_schema!({
                    "base64": text("The bytes in base64 with padding."),
                    "mode": mode, "to": to("none"),
                }), &["base64", "to"]),
            ],
        })
    }
}

/// What is refused in inputs, all of a job together. Whatever breaks one of these ends the run
/// before the program starts, and is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InputLimits {
    /// Files, directories and links.
    #[serde(skip_serializing_if = "InputLimits::is_default_entries")]
    pub entries: u64,
    /// Bytes of all files.
    #[serde(skip_serializing_if = "InputLimits::is_default_size")]
    pub size: ByteSize,
    /// Names in a path.
    #[serde(skip_serializing_if = "InputLimits::is_default_depth")]
    pub depth: u32,
    /// How many times larger than itself an archive may become, beyond its first 16 MiB.
    #[serde(skip_serializing_if = "InputLimits::is_default_ratio")]
    pub ratio: u32,
}

impl Default for InputLimits {
    fn default() -> Self {
        Self { entries: 65_536, size: ByteSize::mib(1024), depth: 64, ratio: 200 }
    }
}

macro_rules! is_default_field {
    ($($type:ident: $($name:ident $field:ident: $of:ty),*;)*) => {$(
        impl $type {
            $(fn $name(value: &$of) -> bool {
                *value == Self::default().$field
            })*
        }
    )*};
}

is_default_field! {
    InputLimits: is_default_entries entries: u64, is_default_size size: ByteSize,
        is_default_depth depth: u32, is_default_ratio ratio: u32;
    Collect: is_default_files files: u64, is_default_file_size file_size: ByteSize,
        is_default_total size: ByteSize;
}

/// Which files are brought back when the program has ended, however it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Collect {
    /// Paths and globs inside, relative to the working directory or absolute. `*` and `?` match
    /// within a name, `[a-z]` one character of it, `**` any number of directories. A directory
    /// stands for all files in it.
    pub paths: Vec<String>,
    /// Where they go.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(extend("default" = CollectTo::Report))]
    pub to: CollectTo,
    /// How many files at most.
    #[serde(skip_serializing_if = "Collect::is_default_files")]
    pub files: u64,
    /// Size of any one file at most, holes included.
    #[serde(skip_serializing_if = "Collect::is_default_file_size")]
    pub file_size: ByteSize,
    /// Size of all files together at most.
    #[serde(skip_serializing_if = "Collect::is_default_total")]
    pub size: ByteSize,
}

impl Default for Collect {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            to: CollectTo::default(),
            files: 1000,
            file_size: ByteSize::mib(16),
            size: ByteSize::mib(64),
        }
    }
}

/// Where collected files go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CollectTo {
    /// Into the report.
    #[default]
    Report,
    /// Into a directory of the host, which must be empty or is made: its absolute path.
    Dir(PathBuf),
    /// Into an archive on the host, which is replaced: its absolute path.
    Tar(PathBuf),
}

impl Job {
    /// Copies something into the sandbox before the program starts.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }

    /// Brings a path or a glob back when the program has ended. See [`Collect::paths`].
    #[must_use]
    pub fn collect(mut self, path: impl Into<String>) -> Self {
        self.collect.paths.push(path.into());
        self
    }

    /// Sets where collected files go.
    #[must_use]
    pub fn collect_to(mut self, to: CollectTo) -> Self {
        self.collect.to = to;
        self
    }
}
