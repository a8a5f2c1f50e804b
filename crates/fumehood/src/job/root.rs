//! Which file system a program sees at `/`.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::node::Node;
use super::values::{path, string};
use crate::Result;

/// The file system that a program sees at `/`. Whatever it is, the program cannot write to it but
/// where the sandbox has something of its own: `/workspace`, `/tmp`, `/dev`, and `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Root {
    /// The host's system directories by an allow-list, read-only.
    #[default]
    Host,
    /// A directory of the host: an absolute path. It should belong to the caller, and nobody else
    /// may change it while runs begin.
    Dir(PathBuf),
    /// An image of this user's [store](crate::image::Store).
    Image {
        /// Its name, or the beginning of its digest.
        image: String,
        /// What takes the place of the image's own entrypoint and command.
        entrypoint: Option<Vec<String>>,
    },
    /// An OCI bundle, run as it is: its `config.json` says what runs and what it sees, and the job has
    /// nothing to say of either. Only for gVisor, which keeps what is written in memory whatever a
    /// bundle says. An absolute path.
    Bundle(PathBuf),
}

impl Root {
    /// An image, run as it says: the job's arguments are added to its entrypoint, or its own if the
    /// job has none; its variables, its user, and its working directory unless the job has others.
    #[must_use]
    pub fn image(name: impl Into<String>) -> Self {
        Self::Image { image: name.into(), entrypoint: None }
    }
}

const WHAT: &str = r#""host", {"dir": "/path"}, {"image": "name"} or {"bundle": "/path"}"#;

pub(super) fn read(node: &Node<'_>) -> Result<Root> {
    if !node.is_object() {
        return match node.text(WHAT)? {
            "host" => Ok(Root::Host),
            _ => Err(node.refuse(format!("must be {WHAT}"))),
        };
    }
    let fields = node.fields(&["dir", "image", "entrypoint", "bundle"])?;
    let (mut dir, mut image, mut entrypoint, mut bundle) = (None, None, None, None);
    fields.read("bundle", &mut bundle, |node| path(node).map(Some))?;
    fields.read("dir", &mut dir, |node| path(node).map(Some))?;
    fields.read("image", &mut image, |node| string(node).map(Some))?;
    fields.read("entrypoint", &mut entrypoint, |node| {
        node.list("a program and its arguments", string).map(Some)
    })?;
    match (dir, image, entrypoint, bundle) {
        (Some(dir), None, None, None) => Ok(Root::Dir(dir)),
        (None, None, None, Some(bundle)) => Ok(Root::Bundle(bundle)),
        (None, Some(image), entrypoint, None) => Ok(Root::Image { image, entrypoint }),
        _ => Err(node.refuse(format!("must be {WHAT}; only an image has an entrypoint"))),
    }
}

impl Serialize for Root {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Host => serializer.serialize_str("host"),
            Self::Dir(dir) => serializer.collect_map([("dir", dir)]),
            Self::Bundle(dir) => serializer.collect_map([("bundle", dir)]),
            Self::Image { image, entrypoint } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("image", image)?;
                if let Some(entrypoint) = entrypoint {
                    map.serialize_entry("entrypoint", entrypoint)?;
                }
                map.end()
            }
        }
    }
}

impl JsonSchema for Root {
    fn schema_name() -> Cow<'static, str> {
        "Root".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The file system that the program sees at `/`; it cannot write to it.",
            "oneOf": [
                {
                    "const": "host",
                    "description": "The host's system directories by an allow-list.",
                },
                {
                    "type": "object",
                    "description": "A directory of the host: an absolute path.",
                    "properties": { "dir": { "type": "string" } },
                    "required": ["dir"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "description": "An OCI bundle, run as it is: an absolute path.",
                    "properties": { "bundle": { "type": "string" } },
                    "required": ["bundle"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "description": "An image that was imported.",
                    "properties": {
                        "image": {
                            "type": "string",
                            "minLength": 1,
                            "description": "Its name, or the beginning of its digest.",
                        },
                        "entrypoint": {
                            "type": "array",
                            "items": { "type": "string" },
                            "description":
                                "What takes the place of the image's own entrypoint and command.",
                        },
                    },
                    "required": ["image"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Job;

    fn read(root: &str) -> Result<Job> {
        Job::from_json(&format!(r#"{{"args": ["true"], "root": {root}}}"#))
    }

    #[test]
    fn every_form_is_read_back_as_it_was_written() {
        let image = |entrypoint| Root::Image { image: "busybox".into(), entrypoint };
        for (json, root) in [
            (r#""host""#, Root::Host),
            (r#"{"dir": "/srv/root"}"#, Root::Dir("/srv/root".into())),
            (r#"{"bundle": "/srv/bundle"}"#, Root::Bundle("/srv/bundle".into())),
            (r#"{"image": "busybox"}"#, image(None)),
            (r#"{"image": "busybox", "entrypoint": []}"#, image(Some(Vec::new()))),
            (r#"{"image": "busybox", "entrypoint": ["sh"]}"#, image(Some(vec!["sh".into()]))),
        ] {
            assert_eq!(read(json).unwrap().root, root, "{json}");
            let written: serde_json::Value = serde_json::to_value(&root).unwrap();
            assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
        }
    }

    #[test]
    fn what_is_half_of_two_forms_is_refused() {
        for json in [
            r#"{"dir": "/a", "image": "b"}"#,
            r#"{"dir": "/a", "bundle": "/b"}"#,
            r#"{"dir": "/a", "entrypoint": []}"#,
            r#"{"entrypoint": []}"#,
            "{}",
            r#""busybox""#,
        ] {
            let said = read(json).unwrap_err().to_string();
            assert!(said.contains(r#"must be "host", {"dir": "/path"}, {"#), "{json}: {said}");
        }
        let said = read(r#"{"imege": "b"}"#).unwrap_err().to_string();
        assert!(said.contains(r#"did you mean "image"?"#), "{said}");
    }

    #[test]
    fn only_an_image_can_name_the_program() {
        let said = Job::from_json(r#"{"root": {"dir": "/"}}"#).unwrap_err().to_string();
        assert!(said.contains("args"), "{said}");
        let job = Job::from_json(r#"{"root": {"image": "busybox"}}"#).unwrap();
        assert_eq!(job.args, Vec::<String>::new());
        job.validate().unwrap();
        let said = Job { root: Root::Host, ..job }.validate().unwrap_err().to_string();
        assert!(said.contains("must start with the name of a program"), "{said}");
    }

    #[test]
    fn a_directory_is_absolute_and_an_image_has_a_name() {
        for json in [r#"{"dir": "srv"}"#, r#"{"image": ""}"#] {
            let said = read(json).unwrap().validate().unwrap_err().to_string();
            assert!(said.starts_with("invalid job: root."), "{said}");
        }
    }
}
