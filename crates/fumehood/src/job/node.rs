//! A walk over a document that knows where it is: every refusal names the field, the value and
//! what would be right.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{Error, Result};

/// A value of a document, and the path that leads to it.
pub(super) struct Node<'a> {
    path: String,
    value: &'a Value,
    /// Whether the value must not be repeated in an error.
    hidden: bool,
}

/// The fields of an object, all of them known.
pub(super) struct Fields<'a> {
    path: String,
    values: &'a Map<String, Value>,
    hidden: bool,
}

impl<'a> Node<'a> {
    /// The document itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value, hidden: false }
    }

    fn child(&self, path: String, value: &'a Value) -> Self {
        Self { path, value, hidden: self.hidden }
    }

    /// The same value, never to be repeated in an error, nor anything in it.
    pub(super) fn hide(&self) -> Self {
        Self { hidden: true, ..self.child(self.path.clone(), self.value) }
    }

    /// The same value, which may be repeated.
    pub(super) fn show(&self) -> Self {
        Self { hidden: false, ..self.child(self.path.clone(), self.value) }
    }

    /// An error about this value.
    pub(super) fn refuse(&self, problem: impl Into<String>) -> Error {
        let field = if self.path.is_empty() { "job" } else { &self.path };
        Error::invalid(field, self.shown(), problem)
    }

    /// The value for people: as it was written, unless it is long or hidden.
    fn shown(&self) -> String {
        if self.hidden {
            return "(value not shown)".to_owned();
        }
        shorten(self.value.to_string())
    }

    /// Refuses the value because of its type.
    fn wanted(&self, what: &str) -> Error {
        if self.value.is_null() {
            return self.refuse(format!("null is not {what}; leave the field out for the default"));
        }
        self.refuse(format!("must be {what}"))
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub(super) fn boolean(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wanted("true or false"))
    }

    /// The whole number, of which `what` says what it should be.
    pub(super) fn count(&self, what: &str) -> Result<u64> {
        let whole = self.value.as_u64().or_else(|| whole(self.value.as_f64()?));
        whole.ok_or_else(|| self.wanted(what))
    }

    /// The text, of which `what` says what it should hold.
    pub(super) fn text(&self, what: &str) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wanted(what))
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The number as it was written, if it is one.
    pub(super) fn as_number(&self) -> Option<&'a Number> {
        self.value.as_number()
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Result<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let text = self.text(&one_of(&names))?;
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| choice.clone()).ok_or_else(|| {
            self.refuse(nearest(text, &names).map_or_else(
                || format!("must be {}", one_of(&names)),
                |near| format!("is unknown; did you mean {near:?}?"),
            ))
        })
    }

    /// The elements of a list, of which `what` says what it should hold, each read by `read`.
    pub(super) fn list<T, C: FromIterator<T>>(
        &self,
        what: &str,
        read: impl Fn(&Self) -> Result<T>,
    ) -> Result<C> {
        let values = self.value.as_array().ok_or_else(|| self.wanted(what))?;
        let at = |(index, value)| read(&self.child(format!("{}[{index}]", self.path), value));
        values.iter().enumerate().map(at).collect()
    }

    /// The entries of an object whose names are free, each value read by `read`.
    pub(super) fn entries<T, C: FromIterator<(String, T)>>(
        &self,
        what: &str,
        read: impl Fn(&Self) -> Result<T>,
    ) -> Result<C> {
        let values = self.value.as_object().ok_or_else(|| self.wanted(what))?;
        let at = |(name, value): (&String, _)| {
            Ok((name.clone(), read(&self.child(join(&self.path, name), value))?))
        };
        values.iter().map(at).collect()
    }

    /// The one field of an object that must have exactly one, out of those that are known.
    pub(super) fn only<'k>(&self, known: &[&'k str]) -> Result<(&'k str, Self)> {
        let fields = self.fields(known)?;
        let mut found = known.iter().filter_map(|name| Some((*name, fields.get(name)?)));
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(self.refuse(format!("must have exactly one field of {}", known.join(", ")))),
        }
    }

    /// The fields of an object, none of which may be unknown.
    pub(super) fn fields(&self, known: &[&str]) -> Result<Fields<'a>> {
        self.fields_besides(known, "", &[])
    }

    /// The fields of an object, none of which may be unknown; one that is known `below` the field
    /// of that name is proposed there.
    pub(super) fn fields_besides(
        &self,
        known: &[&str],
        field: &str,
        below: &[&str],
    ) -> Result<Fields<'a>> {
        let values = self
            .value
            .as_object()
            .ok_or_else(|| self.wanted(&format!("an object with {}", known.join(", "))))?;
        let unknown = values.iter().find(|(name, _)| !known.contains(&name.as_str()));
        let Some((name, value)) = unknown else {
            return Ok(Fields { path: self.path.clone(), values, hidden: self.hidden });
        };
        let near = nearest(name, known).map(str::to_owned);
        let near = near.or_else(|| Some(join(field, nearest(name, below)?)));
        let help = near.map_or_else(
            || format!("known are {}", known.join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        // It might be a misspelt `env`, whose values are nobody's business.
        let unknown = self.child(join(&self.path, name), value).hide();
        Err(unknown.refuse(format!("unknown field; {help}")))
    }
}

impl<'a> Fields<'a> {
    /// The field of that name, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Node<'a>> {
        let value = self.values.get(name)?;
        Some(Node { path: join(&self.path, name), value, hidden: self.hidden })
    }

    /// Overwrites `slot` with the field of that name, if it is there.
    pub(super) fn read<T>(
        &self,
        name: &str,
        slot: &mut T,
        read: impl FnOnce(&Node<'a>) -> Result<T>,
    ) -> Result<()> {
        if let Some(node) = self.get(name) {
            *slot = read(&node)?;
        }
        Ok(())
    }

    /// The field of that name, or an error that says what it should hold.
    pub(super) fn required(&self, name: &str, what: &str) -> Result<Node<'a>> {
        self.get(name).ok_or_else(|| {
            Error::invalid(join(&self.path, name), "(missing)", format!("must be {what}"))
        })
    }
}

/// The path of a field below `path`. A name that is not plain is quoted, so that no control
/// character gets from a document to a terminal.
fn join(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match (path.is_empty(), !name.is_empty() && name.chars().all(plain)) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

/// At most 80 characters of a value.
fn shorten(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// `"a", "b" or "c"`.
fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The name that takes the fewest edits to get to, if a third of its letters at most are wrong.
pub(super) fn nearest<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    let distance = |name: &str| edits(&wrong, &name.replace('-', "_"));
    let near = names.iter().min_by_key(|name| distance(name))?;
    (distance(near) <= (near.len() / 3).max(1)).then_some(near)
}

/// How many characters must be put in, left out or replaced to get from one text to the other
/// (Levenshtein's distance), row by row.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, have) in from.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, want) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(have != *want);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column].min(diagonal) + 1);
        }
    }
    row[to.len()]
}

/// A document in which no field is given twice: of two values, one would win silently.
pub(super) struct Document(pub(super) Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor).map(Self)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let finite = Number::from_f64(value).map(Value::Number);
        finite.ok_or_else(|| E::custom(format!("{value} is not a finite number")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Document(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if values.contains_key(&name) {
                return Err(A::Error::custom(format!("field {name:?} is given twice")));
            }
            let Document(value) = map.next_value()?;
            values.insert(name, value);
        }
        Ok(values.into())
    }
}

/// The whole number that is written with a fraction of nothing, as JSON may write one: `64.0`. None
/// above what such numbers hold exactly.
fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    // Without digits behind the point it is written as a whole number is.
    is_whole.then(|| format!("{:.0}", number.abs()).parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits(from, to), count, "{from} {to}");
            assert_eq!(edits(to, from), count, "{to} {from}");
        }
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        let names = ["memory", "pids", "wall_time"];
        assert_eq!(nearest("memroy", &names), Some("memory"));
        assert_eq!(nearest("Wall-Time", &names), Some("wall_time"));
        assert_eq!(nearest("pid", &names), Some("pids"));
        assert_eq!(nearest("zebra", &names), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
