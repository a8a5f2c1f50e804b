//! Inputs and collection from JSON and TOML.

use super::Job;
use super::files::{Collect, CollectTo, Input, InputLimits, InputSource, TarSource};
use super::node::{Fields, Node};
use super::values::{base64, number, path, size, string};
use crate::Result;

const SOURCES: [&str; 5] = ["dir", "file", "tar", "text", "base64"];
const INPUT: &[&str] = &["dir", "file", "tar", "text", "base64", "to", "exclude", "mode"];
const INPUT_LIMITS: &[&str] = &["entries", "size", "depth", "ratio"];
const COLLECT: &[&str] = &["paths", "to", "files", "file_size", "size"];

pub(super) fn input(node: &Node<'_>) -> Result<Input> {
    let fields = node.fields(INPUT)?;
    let mut given = SOURCES.iter().filter_map(|name| Some((*name, fields.get(name)?)));
    let (Some((name, source)), None) = (given.next(), given.next()) else {
        return Err(node.refuse(format!("must have exactly one field of {}", SOURCES.join(", "))));
    };
    let mut input = match name {
        "dir" => dir(&source, &fields)?,
        "file" => Input::file(path(&source)?),
        "tar" => Input::new(InputSource::Tar(tar(&source)?), Job::CWD.into()),
        "text" => Input::bytes(source.text("a string")?),
        _ => Input::bytes(base64(&source)?),
    };
    let takes = [("exclude", name == "dir"), ("mode", matches!(name, "text" | "base64"))];
    for (field, fits) in takes {
        if let Some(stray) = fields.get(field).filter(|_| !fits) {
            return Err(stray.refuse(format!("does not go with {name}")));
        }
    }
    if let InputSource::Bytes { mode, .. } = &mut input.source {
        input.to = path(&fields.required("to", "the file's absolute path inside")?)?;
        fields.read("mode", mode, octal)?;
    } else {
        fields.read("to", &mut input.to, path)?;
    }
    Ok(input)
}

fn dir(source: &Node<'_>, fields: &Fields<'_>) -> Result<Input> {
    let mut exclude = Vec::new();
    fields.read("exclude", &mut exclude, |node| node.list("a list of globs", string))?;
    Ok(Input::new(InputSource::Dir { path: path(source)?, exclude }, Job::CWD.into()))
}

fn tar(node: &Node<'_>) -> Result<TarSource> {
    if node.is_object() {
        return node.only(&["base64"]).and_then(|(_, node)| base64(&node)).map(TarSource::Bytes);
    }
    Ok(match node.text(r#"an absolute path on the host, "stdin", or {"base64": "…"}"#)? {
        "stdin" => TarSource::Stdin,
        path => TarSource::File(path.into()),
    })
}

fn octal(node: &Node<'_>) -> Result<u32> {
    let what = r#"permission bits in octal, such as "755""#;
    let text = node.text(what)?;
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let read = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    read.ok_or_else(|| node.refuse(format!("must be {what}")))
}

fn small(node: &Node<'_>) -> Result<u32> {
    let number = number(node)?;
    u32::try_from(number).map_err(|_| node.refuse(format!("is too large; at most {}", u32::MAX)))
}

pub(super) fn input_limits(node: &Node<'_>) -> Result<InputLimits> {
    let fields = node.fields(INPUT_LIMITS)?;
    let mut limits = InputLimits::default();
    fields.read("entries", &mut limits.entries, number)?;
    fields.read("size", &mut limits.size, size)?;
    fields.read("depth", &mut limits.depth, small)?;
    fields.read("ratio", &mut limits.ratio, small)?;
    Ok(limits)
}

pub(super) fn collect(node: &Node<'_>) -> Result<Collect> {
    let fields = node.fields(COLLECT)?;
    let mut collect = Collect::default();
    fields.read("paths", &mut collect.paths, |node| node.list("a list of paths", string))?;
    fields.read("to", &mut collect.to, collect_to)?;
    fields.read("files", &mut collect.files, number)?;
    fields.read("file_size", &mut collect.file_size, size)?;
    fields.read("size", &mut collect.size, size)?;
    Ok(collect)
}

pub(super) fn collect_to(node: &Node<'_>) -> Result<CollectTo> {
    const WHAT: &str = r#""report", {"dir": "/path"} or {"tar": "/path"}"#;
    if node.is_object() {
        return match node.only(&["dir", "tar"])? {
            ("dir", node) => path(&node).map(CollectTo::Dir),
            (_, node) => path(&node).map(CollectTo::Tar),
        };
    }
    match node.text(WHAT)? {
        "report" => Ok(CollectTo::Report),
        _ => Err(node.refuse(format!("must be {WHAT}"))),
    }
}
