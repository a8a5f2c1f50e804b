//! The schema of jobs that come from elsewhere: that of all jobs, without what the policy refuses
//! in any case.

mod narrow;

use serde_json::Value;

use narrow::narrow;

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
    narrow(&mut schema);
    drop_unused(&mut schema);
    schema
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
