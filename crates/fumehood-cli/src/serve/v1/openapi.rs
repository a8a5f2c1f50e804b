//! `/v1/openapi.json`, made of the types of the interface: the committed one is held against it.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::jobs::View;
use super::remote;
use crate::serve::page::LanguageList;
use crate::serve::problem::Problem;
use crate::serve::stream::Numbered;

/// The description of the native interface: OpenAPI 3.1.
fn document() -> Value {
    let mut schemas = Map::new();
    let own = |name: &str, schema: Schema| (name.to_owned(), schema.to_value());
    for (name, schema) in [
        ("Job".to_owned(), remote::job_schema()),
        ("Report".to_owned(), fumehood::report_schema()),
        own("Problem", schema::<Problem>()),
        own("JobStatus", schema::<View>()),
        own("Event", schema::<Numbered<'static>>()),
        own("Support", schema::<fumehood::Support>()),
        own("Languages", schema::<LanguageList>()),
    ] {
        hoist(&name, schema, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fumehood",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Runs programs that nobody should trust, and says what held while they ran.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "security": [{ "token": [] }, {}],
        "paths": paths(),
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with_transform(RecursiveTransform(unwrap_lines));
    settings.into_generator().into_root_schema_for::<T>()
}

/// Descriptions come from comments, whose lines end where the source's do: paragraphs stay.
fn unwrap_lines(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<_> =
            description.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}

/// Puts a schema and those that it refers to among the document's.
fn hoist(name: &str, mut schema: Value, schemas: &mut Map<String, Value>) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("$schema");
    let definitions = fields.remove("$defs");
    point_to_components(&mut schema);
    schemas.insert(name.to_owned(), schema);
    if let Some(Value::Object(definitions)) = definitions {
        for (name, mut definition) in definitions {
            point_to_components(&mut definition);
            schemas.entry(name).or_insert(definition);
        }
    }
}

fn point_to_components(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref") {
                *target = target.replacen("#/$defs/", "#/components/schemas/", 1);
            }
            fields.values_mut().for_each(point_to_components);
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_components),
        _ => {}
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An answer of one media type.
fn answer(description: &str, media_type: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { media_type: { "schema": schema } } })
}

fn text(description: &str) -> Value {
    answer(description, "text/plain", &json!({ "type": "string" }))
}

/// The problems that a route can have, beside those that all have.
fn with_problems(answers: Value, more: &[(&str, &str)]) -> Value {
    let always = [
        ("400", "The request is malformed."),
        ("401", "A token is needed, or not known."),
        ("403", "The policy refuses it: the field is named."),
        ("500", "The service failed."),
    ];
    let Value::Object(mut answers) = answers else { return answers };
    for (status, description) in always.iter().chain(more) {
        let problem = answer(description, Problem::MEDIA_TYPE, &reference("Problem"));
        answers.insert((*status).to_owned(), problem);
    }
    Value::Object(answers)
}

const OF_JOBS: [(&str, &str); 9] = [
    ("404", "There is no such profile."),
    ("408", "The body came too slowly."),
    ("409", "The request with this key is in progress."),
    ("413", "The body is too large."),
    ("415", "The body is neither JSON nor a form, or it has a Content-Encoding."),
    ("422", "The job is not valid: the field is named; or its program cannot be executed."),
    ("429", "Too many requests wait: Retry-After says when to come again."),
    ("501", "The host cannot hold a guarantee that is required: each is named."),
    ("503", "No place became free in time, or the service stops."),
];

fn job_body() -> Value {
    let file = json!({ "type": "string", "format": "binary" });
    json!({
        "required": true,
        "content": {
            "application/json": { "schema": reference("Job") },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["job"],
                    "additionalProperties": false,
                    "properties": {
                        "job": reference("Job"),
                        "stdin": file,
                        "tar": file,
                        "file": { "type": "array", "items": file, "description":
                            "Files of /workspace, by their file names." },
                        "program": { "type": "array", "items": file, "description":
                            "The same, executable." },
                    },
                },
                "encoding": { "job": { "contentType": "application/json" } },
            },
        },
    })
}

fn profile() -> Value {
    json!({ "name": "profile", "in": "query", "description": "What the job is based on.",
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9._-]+$" } })
}

fn id(kind: &str) -> Value {
    json!({ "name": "id", "in": "path", "required": true,
        "schema": { "type": "string", "pattern": format!("^{kind}_[0-9a-f]{{32}}$") } })
}

fn runs() -> Value {
    let key = json!({ "name": "Idempotency-Key", "in": "header", "description":
        "The same answer for the same request, for ten minutes.",
        "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" } });
    let mut done = answer("It was run: how it ended.", "application/json", &reference("Report"));
    if let Some(content) = done.get_mut("content") {
        content["application/x-ndjson"] = json!({ "schema": reference("Event") });
    }
    json!({ "post": {
        "operationId": "run", "summary": "Runs a job to its end, and tells how it ended",
        "description": "With Accept: application/x-ndjson it tells what happens as it does, \
            one JSON object a line. Who hangs up kills the program.",
        "parameters": [profile(), key], "requestBody": job_body(),
        "responses": with_problems(json!({ "200": done }), &OF_JOBS),
    } })
}

fn run() -> Value {
    json!({
        "parameters": [id("run")],
        "delete": {
            "operationId": "cancelRun",
            "summary": "Ends a run that is told of as it happens; its stream tells how",
            "responses": with_problems(
                json!({ "202": { "description": "It is being stopped." } }),
                &[("404", "No such run is told of, or not any more.")],
            ),
        },
    })
}

fn jobs() -> Value {
    let taken = answer("It was taken in.", "application/json", &reference("JobStatus"));
    json!({ "post": {
        "operationId": "createJob", "summary": "Takes a job in that outlives the connection",
        "parameters": [profile()], "requestBody": job_body(),
        "responses": with_problems(json!({ "202": taken }), &OF_JOBS),
    } })
}

const UNKNOWN: [(&str, &str); 1] = [("404", "There is no such job, or not any more.")];

fn job() -> Value {
    let status = answer("How it stands.", "application/json", &reference("JobStatus"));
    let stopping = answer("It is being stopped.", "application/json", &reference("JobStatus"));
    json!({
        "parameters": [id("job")],
        "get": {
            "operationId": "showJob", "summary": "Tells how a job stands",
            "responses": with_problems(json!({ "200": status }), &UNKNOWN),
        },
        "delete": {
            "operationId": "cancelJob", "summary": "Cancels a job, or forgets one that has ended",
            "responses": with_problems(
                json!({ "202": stopping, "204": { "description": "It is forgotten." } }),
                &UNKNOWN,
            ),
        },
    })
}

fn job_events() -> Value {
    let mut events = answer("Its events, to its end.", "application/x-ndjson", &reference("Event"));
    if let Some(content) = events.get_mut("content") {
        content["text/event-stream"] = json!({ "schema": { "type": "string" } });
    }
    let number = json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX });
    json!({
        "parameters": [
            id("job"),
            { "name": "after", "in": "query", "schema": number, "description":
                "Only the events behind the one with this number." },
            { "name": "Last-Event-ID", "in": "header", "schema": number, "description":
                "The same, as browsers send it." },
        ],
        "get": {
            "operationId": "jobEvents", "summary": "Tells what happened, and what happens",
            "responses": with_problems(
                json!({ "200": events, "204": { "description":
                    "It has ended, and there are no server-sent events behind that one." } }),
                &UNKNOWN,
            ),
        },
    })
}

fn paths() -> Value {
    let support = answer("What it can hold.", "application/json", &reference("Support"));
    let languages = answer("The languages.", "application/json", &reference("Languages"));
    let document = answer("This document.", "application/json", &json!({ "type": "object" }));
    let get = |id: &str, summary: &str, responses: Value| json!({ "get": { "operationId": id, "summary": summary, "responses": responses } });
    let not_ready = text("It takes no work now.");
    json!({
        "/v1/runs": runs(),
        "/v1/runs/{id}": run(),
        "/v1/jobs": jobs(),
        "/v1/jobs/{id}": job(),
        "/v1/jobs/{id}/events": job_events(),
        "/v1/languages": get("languages", "Tells which languages this host has, and how they are run",
            with_problems(json!({ "200": languages }), &[])),
        "/v1/support": get("support", "Tells what this host can hold",
            with_problems(json!({ "200": support }), &[])),
        "/v1/openapi.json": get("openapi", "This document",
            with_problems(json!({ "200": document }), &[])),
        "/livez": get("live", "Whether the process answers", json!({ "200": text("It does.") })),
        "/readyz": get("ready", "Whether work is taken",
            json!({ "200": text("It is."), "503": not_ready })),
        "/metrics": get("metrics", "All figures, for Prometheus",
            with_problems(json!({ "200": text("The figures.") }), &[])),
    })
}

mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_document_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/openapi.json");
        let document = document();
        if std::env::var_os("UPDATE_SCHEMA").is_some_and(|value| value == "1") {
            std::fs::write(&path, format!("{document:#}\n")).unwrap();
        }
        let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(
            committed == document,
            "openapi.json is stale: UPDATE_SCHEMA=1 cargo test -p fumehood-cli openapi"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let (document, mut found) = (document(), Vec::new());
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn definitions_of_the_same_name_are_the_same() {
        let job = remote::job_schema();
        for other in [
            fumehood::report_schema(),
            schema::<Problem>().to_value(),
            schema::<View>().to_value(),
            schema::<Numbered<'static>>().to_value(),
            schema::<fumehood::Support>().to_value(),
            schema::<LanguageList>().to_value(),
        ] {
            let (Some(ours), Some(theirs)) = (job["$defs"].as_object(), other["$defs"].as_object())
            else {
                continue;
            };
            for (name, definition) in theirs {
                assert!(ours.get(name).is_none_or(|own| own == definition), "{name}");
            }
        }
    }
}
