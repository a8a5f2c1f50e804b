//! Words that say that a secret is near, for names of variables and of files alike.

/// A name that contains one of these, with what separates words left out, looks like a secret.
pub(crate) const NEEDLES: [&str; 11] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "privatekey",
    "accesskey",
    "apikey",
    "signingkey",
    "credential",
    "session",
];

/// What contains a needle and means something else: `tokenizer.rs`, `TOKENIZERS_PARALLELISM`.
const HARMLESS: [&str; 1] = ["tokeniz"];

/// A name in the form that needles are looked for in: lower case, without `separators`, and without
/// what is harmless.
pub(crate) fn joined(name: &str, separators: &[char]) -> String {
    let mut joined = name.to_lowercase().replace(separators, "");
    for harmless in HARMLESS {
        joined = joined.replace(harmless, "");
    }
    joined
}
