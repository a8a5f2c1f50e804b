//! What the types of a job do not say of their values: programs that make requests from the schema
//! shall make such as are taken.
//!
//! Where a value can be written in several ways the schema has the usual ones. What it cannot say is
//! that two values do not go together, and whatever depends on the host.

use serde_json::{Value, json};

use super::object;

/// Text without NUL, which no argument and no variable can have.
const TEXT: &str = r"^[^\u0000]*$";

/// A program's name or path: no directory.
const PROGRAM: &str = r"^([^\u0000]*/)?(NAME)$";

/// An absolute path in its shortest form: names that are neither `.` nor `..`.
const PATH: &str = r"^/(NAME(/NAME)*)?$";
const NAME: &str = r"([^/.\u0000][^/\u0000]*|\.[^/.\u0000][^/\u0000]*|\.\.[^/\u0000]+)";

/// Such a path that is not the root.
const BELOW: &str = r"^/NAME(/NAME)*$";

/// Where something can be mounted: not over what the sandbox makes itself.
const TARGET: &str = r"^/(?!(proc|dev|sys|\.changes)(/|$))NAME(/NAME)*$";

/// What can be collected: a path, relative or not, in which no name is `..`.
const COLLECTED: &str = r"^(/(?!(proc|dev|sys|\.changes)(/|$)))?GLOB(/GLOB)*$";
const GLOB: &str = r"([^/.\\\[\u0000][^/\\\[\u0000]*|\.[^/.\\\[\u0000][^/\\\[\u0000]*)";

/// A name by the rules of `hostname(7)`.
const HOST: &str = r"^LABEL(\.LABEL)*$";
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";

const VARIABLE: &str = r"^[^=\u0000]+$";

/// Strict base64: with padding, and no bits left over.
const BASE64: &str =
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// Sizes of at least one byte, one page and one MiB, in which fractions come to whole bytes.
const SIZE: &str = r"^([1-9][0-9]{0,17}[Bb]|(WHOLEPART?|0PART)[KkMmGgTt]([Ii][Bb])?)$";
const PAGES: &str = r"^([1-9][0-9]{4,17}[Bb]|(([4-9]|[1-9][0-9]{1,5})PART?[Kk]|(WHOLEPART?|0PART)[MmGgTt])([Ii][Bb])?)$";
const MEBIBYTES: &str = r"^([1-9][0-9]{7,17}[Bb]|([1-9][0-9]{4,5}[Kk]|WHOLEPART?[Mm]|(WHOLEPART?|0PART)[GgTt])([Ii][Bb])?)$";
const WHOLE: &str = "[1-9][0-9]{0,5}";
const PART: &str = r"(\.(5|25|75|125|375|625|875))";

/// Times from a millisecond on, and from nothing to an hour.
const TIME: &str =
    r"^[1-9][0-9]{0,2}(\.[0-9]{1,3})?(ms|s|m|h)$|^[1-9][0-9]{3,5}(\.[0-9]{1,3})?(us|ms|s)$";
const GRACE: &str = r"^([0-9]{1,6}ms|[0-9]{1,3}(\.[0-9]{1,3})?s|[0-5]?[0-9]m|1h)$";

/// Narrows what the schema of jobs admits to what is taken, as far as a schema can.
pub(super) fn narrow(schema: &mut Value) {
    for (pointer, more) in texts().into_iter().chain(numbers()) {
        if let (Some(fields), Value::Object(more)) = (object(schema, pointer), more) {
            fields.extend(more);
        }
    }
    for (name, limit) in limits() {
        let field = object(schema, "/$defs/Limits/properties").and_then(|all| all.get_mut(name));
        if let Some(Value::Object(field)) = field {
            field.retain(|key, _| key == "description" || key == "default");
            field.extend(limit.as_object().cloned().unwrap_or_default());
        }
    }
    for pointer in ["/$defs/Stdin/oneOf", "/$defs/Input/oneOf"] {
        let forms = schema.pointer_mut(pointer).and_then(Value::as_array_mut);
        forms.into_iter().flatten().for_each(form);
    }
}

/// A pattern with the names in it written out.
fn pattern(text: &str) -> Value {
    let parts =
        [("NAME", NAME), ("GLOB", GLOB), ("LABEL", LABEL), ("WHOLE", WHOLE), ("PART", PART)];
    let whole = parts.iter().fold(text.to_owned(), |text, (name, part)| text.replace(name, part));
    json!({ "pattern": whole })
}

fn texts() -> [(&'static str, Value); 11] {
    // An image may say which program it is.
    let programs = json!([
        { "required": ["args"] },
        { "required": ["root"], "properties": { "root": { "type": "object" } } },
    ]);
    // A terminal is the input of a program that has one.
    let inputs = json!([
        { "properties": { "tty": { "const": false } } },
        { "properties": { "stdin": { "const": "none" } } },
    ]);
    let variables = json!({
        "propertyNames": { "pattern": VARIABLE },
        "additionalProperties": { "type": "string", "pattern": TEXT },
    });
    [
        ("", json!({ "allOf": [{ "anyOf": programs }, { "anyOf": inputs }] })),
        ("/properties/args/items", pattern(TEXT)),
        ("/properties/args", json!({ "minItems": 1, "prefixItems": [text_of(PROGRAM)] })),
        ("/properties/cwd", pattern(PATH)),
        ("/properties/hostname", pattern(HOST)),
        ("/properties/hostname", json!({ "minLength": 1, "maxLength": 64 })),
        ("/$defs/Env/properties/set", variables),
        ("/$defs/Tmpfs/properties/target", pattern(TARGET)),
        ("/$defs/Collect/properties/paths/items", pattern(COLLECTED)),
        // Bytes are what counts, of which a character has four at most.
        ("/$defs/Collect/properties/paths/items", json!({ "maxLength": 1024 })),
        ("/$defs/Collect/properties/paths", json!({ "maxItems": 1000 })),
    ]
}

/// Up to here every reader of JSON holds whole numbers exactly (RFC 8259, section 6).
const EXACT: i64 = 1 << 53;

fn numbers() -> [(&'static str, Value); 7] {
    [
        ("/$defs/InputLimits/properties/entries", between(1, EXACT)),
        ("/$defs/InputLimits/properties/ratio", between(1, u32::MAX.into())),
        ("/$defs/InputLimits/properties/depth", between(1, 1024)),
        ("/$defs/Collect/properties/files", between(0, EXACT)),
        ("/properties/tmpfs", json!({ "maxItems": 16 })),
        ("/$defs/Tmpfs/properties/size", json!({ "anyOf": [text_of(PAGES)] })),
        ("/$defs/ByteSize", pattern(SIZE)),
    ]
}

fn limits() -> [(&'static str, Value); 12] {
    let cpus = json!({ "anyOf": [
        { "type": "number", "minimum": 0.001, "maximum": 1024, "multipleOf": 0.001 },
        { "type": "string", "pattern": r"^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$" },
        { "const": "unlimited" },
    ] });
    [
        ("wall_time", text_of(TIME)),
        ("cpu_time", text_of(TIME)),
        ("grace", text_of(GRACE)),
        ("memory", text_of(MEBIBYTES)),
        ("output", text_of(SIZE)),
        ("file_size", text_of(SIZE)),
        ("workspace", text_of(PAGES)),
        ("tmp", text_of(PAGES)),
        ("pids", between(1, 1 << 22)),
        ("open_files", between(16, 1 << 30)),
        ("inodes", between(16, 1 << 40)),
        ("cpus", cpus),
    ]
}

fn text_of(text: &str) -> Value {
    json!({ "type": "string", "pattern": pattern(text)["pattern"] })
}

fn between(least: i64, most: i64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// One form of an input: where it goes, and what is written in base64.
fn form(form: &mut Value) {
    for pointer in ["/properties/base64", "/properties/tar/oneOf/0/properties/base64"] {
        if let Some(field) = object(form, pointer) {
            field.insert("contentEncoding".to_owned(), json!("base64"));
            field.extend(text_of(BASE64).as_object().cloned().unwrap_or_default());
        }
    }
    if let Some(to) = object(form, "/properties/to") {
        to.extend(pattern(BELOW).as_object().cloned().unwrap_or_default());
    }
}
