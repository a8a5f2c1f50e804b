//! JSON schemas of jobs and reports: JSON Schema, draft 2020-12.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::{ByteSize, Cpus, Job, Report};

/// The schema of a [`Job`] in JSON or TOML, with every default.
///
/// ```
/// let schema = fumehood::job_schema();
/// assert_eq!(schema["$defs"]["Limits"]["properties"]["memory"]["default"], "512MiB");
/// ```
#[must_use]
pub fn job_schema() -> Value {
    generate::<Job>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of a [`Report`] as it is written. Later versions may add fields.
#[must_use]
pub fn report_schema() -> Value {
    generate::<Report>(SchemaSettings::draft2020_12().for_serialize())
}

fn generate<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with_transform(RecursiveTransform(unwrap_lines));
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Descriptions come from comments, whose lines end where the source's do: paragraphs stay.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<_> =
            description.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
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
            "pattern": r"^[0-9]+(\.[0-9]+)?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)$",
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
            "pattern": r"^[0-9]+(\.[0-9]+)?([Bb]|[KkMmGgTt]([Ii][Bb])?)$",
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
            "description": "A number of CPUs in steps of a thousandth, between which none is accepted; as text if that is easier.",
            "minimum": 0.001,
            "maximum": 4_294_967.295,
            "pattern": r"^[0-9]+(\.[0-9]{1,3})?$",
            "examples": [0.5, 2],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares a schema with the committed one, or rewrites that if `UPDATE_SCHEMA=1`.
    fn is_committed(name: &str, schema: &Value) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fumehood-cli/schema").join(name);
        if std::env::var_os("UPDATE_SCHEMA").is_some_and(|value| value == "1") {
            std::fs::write(&path, format!("{schema:#}\n")).unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(
            committed == *schema,
            "{name} is stale: UPDATE_SCHEMA=1 cargo test -p fumehood schema"
        );
    }

    #[test]
    fn the_committed_schema_of_jobs_is_this_one() {
        is_committed("job.json", &job_schema());
    }

    #[test]
    fn the_committed_schema_of_reports_is_this_one() {
        is_committed("report.json", &report_schema());
    }

    #[test]
    fn every_limit_shows_its_default() {
        let schema = job_schema();
        let limits = schema["$defs"]["Limits"]["properties"].as_object().unwrap();
        assert_eq!(limits.len(), 13);
        for (name, limit) in limits {
            assert!(limit.get("default").is_some(), "{name}");
            assert!(limit.get("description").is_some(), "{name}");
        }
        assert_eq!(limits["wall_time"]["default"], "10s");
        assert_eq!(limits["cpus"]["default"], "unlimited");
        assert_eq!(limits["pids"]["default"], 64);
    }

    #[test]
    fn no_description_speaks_of_rust() {
        for schema in [job_schema(), report_schema()] {
            let text = schema.to_string();
            for foreign in ["```", "[`", "::", "`None`"] {
                assert!(!text.contains(foreign), "{foreign}");
            }
        }
    }
}
