//! The schema of jobs that come from elsewhere: that of all jobs, without what the policy refuses
//! in any case.

use serde_json::{Value, json};

/// Fields that may only have their default.
const NOT_ASKED: [&str; 5] = ["mounts", "network", "waive", "seccomp", "backend"];

/// What a remote job may say.
pub(super) fn job_schema() -> Value {
    let mut schema = fumehood::job_schema();
    if let Some(fields) = object(&mut schema, "/properties") {
        fields.retain(|name, _| !NOT_ASKED.contains(&name.as_str()));
    }
    if let Some(fields) = object(&mut schema, "/$defs/Env/properties") {
        fields.retain(|name, _| name == "set");
    }
    keep_forms(&mut schema, "/$defs/Stdin/oneOf", |form| {
        form.get("const").is_none_or(|word| word == "none") && !has(form, "file")
    });
    keep_forms(&mut schema, "/$defs/Root/oneOf", |form| !has(form, "dir") && !has(form, "bundle"));
    keep_forms(&mut schema, "/$defs/Input/oneOf", |form| !has(form, "dir") && !has(form, "file"));
    keep_forms(&mut schema, "/$defs/CollectTo/oneOf", |form| form.get("properties").is_none());
    bytes_only(&mut schema);
    drop_unused(&mut schema);
    narrow(&mut schema);
    schema
}

/// Text without NUL, which no argument and no variable can have.
const TEXT: &str = r"^[^\u0000]*$";

/// An absolute path in its shortest form: names that are neither `.` nor `..`.
const PATH: &str = r"^/(NAME(/NAME)*)?$";
const NAME: &str = r"([^/.\u0000][^/\u0000]*|\.[^/.\u0000][^/\u0000]*|\.\.[^/\u0000]+)";

/// Says what the types do not, as far as a schema can: programs that make requests from it shall make
/// such as are taken.
fn narrow(schema: &mut Value) {
    let path = PATH.replace("NAME", NAME);
    let label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    let host = format!(r"^{label}(\.{label})*$");
    for (pointer, more) in [
        ("/properties/args/items", json!({ "pattern": TEXT })),
        (
            "/properties/args",
            json!({ "minItems": 1, "prefixItems": [{ "type": "string", "minLength": 1,
                "pattern": TEXT }] }),
        ),
        ("/properties/cwd", json!({ "pattern": path })),
        ("/properties/hostname", json!({ "pattern": host, "minLength": 1, "maxLength": 64 })),
        (
            "/$defs/Env/properties/set",
            json!({ "propertyNames": { "pattern": r"^[^=\u0000]+$" },
                "additionalProperties": { "type": "string", "pattern": TEXT } }),
        ),
        (
            "/$defs/Tmpfs/properties/target",
            json!({ "pattern": path.replace(")*)?$", ")*)$"),
                "not": { "pattern": r"^/(proc|dev|sys|\.changes)(/|$)" } }),
        ),
        ("/$defs/InputLimits/properties/entries", json!({ "minimum": 1 })),
        ("/$defs/InputLimits/properties/ratio", json!({ "minimum": 1 })),
        ("/$defs/InputLimits/properties/depth", json!({ "minimum": 1, "maximum": 1024 })),
        ("/$defs/ByteSize", json!({ "pattern": SIZE })),
    ] {
        if let (Some(fields), Value::Object(more)) = (object(schema, pointer), more) {
            fields.extend(more);
        }
    }
    for pointer in ["/$defs/Stdin/oneOf", "/$defs/Input/oneOf"] {
        let forms = schema.pointer_mut(pointer).and_then(Value::as_array_mut);
        forms.into_iter().flatten().for_each(encoded);
    }
}

/// Whole numbers: those that come to whole bytes among the others are beyond a pattern.
const SIZE: &str = "^[1-9][0-9]*([Bb]|[KkMmGgTt]([Ii][Bb])?)$";

/// Marks what is written in base64.
fn encoded(form: &mut Value) {
    const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
    for pointer in ["/properties/base64", "/properties/tar/oneOf/0/properties/base64"] {
        if let Some(field) = object(form, pointer) {
            field.insert("contentEncoding".to_owned(), json!("base64"));
            field.insert("pattern".to_owned(), json!(BASE64));
        }
    }
}

fn object<'a>(
    schema: &'a mut Value,
    pointer: &str,
) -> Option<&'a mut serde_json::Map<String, Value>> {
    schema.pointer_mut(pointer)?.as_object_mut()
}

fn keep_forms(schema: &mut Value, pointer: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(forms) = schema.pointer_mut(pointer).and_then(Value::as_array_mut) {
        forms.retain(keep);
    }
}

fn has(form: &Value, property: &str) -> bool {
    form.pointer("/properties").is_some_and(|properties| properties.get(property).is_some())
}

/// Archives come in the job itself, not by a path.
fn bytes_only(schema: &mut Value) {
    let forms = schema.pointer_mut("/$defs/Input/oneOf").and_then(Value::as_array_mut);
    for form in forms.into_iter().flatten() {
        keep_forms(form, "/properties/tar/oneOf", |kind| {
            kind.get("type").is_some_and(|kind| kind == "object")
        });
    }
}

/// Definitions that nothing refers to any more.
fn drop_unused(schema: &mut Value) {
    loop {
        let text = schema.to_string();
        let Some(definitions) = object(schema, "/$defs") else { return };
        let before = definitions.len();
        definitions.retain(|name, _| text.contains(&format!("\"#/$defs/{name}\"")));
        if definitions.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_host_is_in_the_schema() {
        let schema = job_schema();
        for pointer in ["/properties/mounts", "/properties/waive", "/$defs/Mount", "/$defs/Seccomp"]
        {
            assert!(schema.pointer(pointer).is_none(), "{pointer}");
        }
        let text = schema.to_string();
        for word in ["inherit", "path on the host", "host file"] {
            assert!(!text.contains(word), "{word}");
        }
        assert!(schema.pointer("/$defs/Limits/properties/memory").is_some());
        assert!(schema.pointer("/properties/cwd/pattern").is_some());
        assert!(schema.pointer("/$defs/Env/properties/set/propertyNames").is_some());
    }
}
