//! JSON schemas of jobs and reports: JSON Schema, draft 2020-12.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::{ByteSize, Cpus, Job, Report};

/// The schema of a [`Job`] in JSON or TOML.
#[must_use]
pub fn job_schema() -> Value {
    schemars::schema_for!(Job).to_value()
}

/// The schema of a [`Report`].
#[must_use]
pub fn report_schema() -> Value {
    schemars::schema_for!(Report).to_value()
}

/// Stands for `Limit<T>` in schemas: an amount, or the word `unlimited`.
pub(crate) struct Limited<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Limited<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("LimitOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let amount = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [amount, { "const": "unlimited" }] })
    }
}

/// Stands for a duration in schemas.
pub(crate) struct Time;

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A time with its unit; it must come to whole nanoseconds.",
            "pattern": r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)$",
            "examples": ["250ms", "1.5s", "2m"],
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A size with its binary unit; it must come to whole bytes.",
            "pattern": r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|TiB|[KMGT])$",
            "examples": ["512KiB", "256MiB", "1.5GiB"],
        })
    }
}

impl JsonSchema for Cpus {
    fn schema_name() -> Cow<'static, str> {
        "Cpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "description": "A number of CPUs, in steps of a thousandth.",
            "minimum": 0.001,
            "pattern": r"^[0-9]+(\.[0-9]{1,3})?$",
            "examples": [0.5, 2],
        })
    }
}
