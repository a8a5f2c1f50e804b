//! The values of a job's fields, one function a form.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Number;

use super::node::Node;
use super::{Access, BackendName, Cpus, Excess, Limit, Network, Seccomp, Stdin};
use crate::{ByteSize, Guarantee, ParseUnitError, Result, parse_duration};

/// A limit whose amount is read by `amount`.
pub(super) fn limit<T>(
    node: &Node<'_>,
    amount: impl FnOnce(&Node<'_>) -> Result<T>,
) -> Result<Limit<T>> {
    if node.as_text() == Some(Limit::<T>::UNLIMITED) {
        return Ok(Limit::Unlimited);
    }
    amount(node).map(Limit::Finite)
}

pub(super) fn size(node: &Node<'_>) -> Result<ByteSize> {
    with_unit(node, r#"a size such as "256MiB""#, str::parse)
}

pub(super) fn time(node: &Node<'_>) -> Result<Duration> {
    with_unit(node, r#"a time such as "10s""#, parse_duration)
}

/// An amount that may be unlimited.
pub(super) fn count(node: &Node<'_>) -> Result<u64> {
    node.count(r#"a whole number, or "unlimited""#)
}

/// A number that may not.
pub(super) fn number(node: &Node<'_>) -> Result<u64> {
    node.count("a whole number")
}

pub(super) fn cpus(node: &Node<'_>) -> Result<Cpus> {
    with_unit(node, "a number of CPUs such as 0.5 or 2", str::parse)
}

/// Reads the text of a string or a number: a number without a unit gets the message of the unit.
fn with_unit<T>(
    node: &Node<'_>,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, ParseUnitError>,
) -> Result<T> {
    let parsed = match node.as_number() {
        Some(number) => parse(&digits(number)),
        None => parse(node.text(what)?),
    };
    parsed.map_err(|error| node.refuse(error.problem()))
}

/// A number in digits: JSON writes large and small ones with an exponent, which no unit is read with.
fn digits(number: &Number) -> String {
    let float = number.as_f64().filter(|_| number.is_f64());
    float.map_or_else(|| number.to_string(), |float| float.to_string())
}

pub(super) fn string(node: &Node<'_>) -> Result<String> {
    Ok(node.text("a string")?.to_owned())
}

pub(super) fn names(node: &Node<'_>) -> Result<BTreeSet<String>> {
    node.list("a list of names", string)
}

pub(super) fn path(node: &Node<'_>) -> Result<PathBuf> {
    Ok(node.text("a path")?.into())
}

pub(super) fn guarantees(node: &Node<'_>) -> Result<BTreeSet<Guarantee>> {
    let known = Guarantee::ALL.map(|guarantee| (guarantee.name(), guarantee));
    node.list("a list of guarantees", |node| node.choice(&known))
}

pub(super) fn stdin(node: &Node<'_>) -> Result<Stdin> {
    const WHAT: &str = r#""none", "inherit", {"text": "…"}, {"base64": "…"} or {"file": "/path"}"#;
    if node.is_object() {
        return match node.only(&["text", "base64", "file"])? {
            ("base64", node) => base64(&node).map(Stdin::Bytes),
            ("file", node) => path(&node).map(Stdin::File),
            (_, node) => Ok(Stdin::Bytes(node.text("a string")?.into())),
        };
    }
    match node.text(WHAT)? {
        "none" => Ok(Stdin::None),
        "inherit" => Ok(Stdin::Inherit),
        _ => Err(node.refuse(format!("must be {WHAT}"))),
    }
}

pub(super) fn base64(node: &Node<'_>) -> Result<Vec<u8>> {
    let text = node.text("a string in base64")?;
    let refuse = |error| node.refuse(format!("is not base64 with padding: {error}"));
    BASE64_STANDARD.decode(text).map_err(refuse)
}

pub(super) fn seccomp(node: &Node<'_>) -> Result<Seccomp> {
    if node.is_object() {
        return node.only(&["profile"]).and_then(|(_, node)| path(&node)).map(Seccomp::Profile);
    }
    match node.text(r#""default" or {"profile": "/path"}"#)? {
        "default" => Ok(Seccomp::Default),
        _ => Err(node.refuse(r#"must be "default" or {"profile": "/path"}"#)),
    }
}

pub(super) fn access(node: &Node<'_>) -> Result<Access> {
    node.choice(&[
        ("ro", Access::ReadOnly),
        ("rw", Access::ReadWrite),
        ("cow", Access::CopyOnWrite),
    ])
}

pub(super) fn network(node: &Node<'_>) -> Result<Network> {
    const WHAT: &str = r#""none", "host" or {"named": "NAME"}"#;
    if !node.is_object() {
        return match node.text(WHAT)? {
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            _ => Err(node.refuse(format!("must be {WHAT}"))),
        };
    }
    let fields = node.fields(&["named"])?;
    let mut name = String::new();
    fields.read("named", &mut name, string)?;
    if name.is_empty() {
        return Err(node.refuse(format!("must be {WHAT}")));
    }
    Ok(Network::Named(name))
}

pub(super) fn excess(node: &Node<'_>) -> Result<Excess> {
    node.choice(&[("kill", Excess::Kill), ("truncate", Excess::Truncate)])
}

pub(super) fn backend(node: &Node<'_>) -> Result<BackendName> {
    node.choice(&BackendName::ALL.map(|backend| (backend.name(), backend)))
}
