//! The environment of a program: what it starts with, what is inherited, what is set, and which
//! names are too likely to be secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::{Env, Error, Result, secret};

/// The variables that every program starts with.
pub const DEFAULTS: [(&str, &str); 4] = [
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("TMPDIR", "/tmp"),
];

/// What `TERM` is in a job with a terminal, if the caller has none.
const TERM: &str = "xterm";

/// What says so of a variable, `_`, `-` and `.` left out, and would catch too many names of files.
const NEEDLES: [&str; 3] = ["encryptionkey", "cookie", "oauth"];

/// A name of which this is a whole word looks like a secret: `SSH_AUTH_SOCK`, not
/// `GIT_AUTHOR_NAME`.
const WORDS: [&str; 2] = ["auth", "pat"];

/// Whether a variable of this name most likely holds a secret.
///
/// Upper and lower case are the same, and so is a name with and without `_`, `-` and `.`. A name
/// looks like a secret if it contains one of *secret, token, password, passwd, passphrase,
/// private key, access key, api key, signing key, encryption key, credential, session, cookie,
/// oauth*, or if *auth* or *pat* (personal access token) is a whole word of it. *Tokenizer* is
/// let through. Names such as `XDG_SESSION_ID` are caught although they are harmless: whoever
/// wants one allows it by name.
///
/// This is a net under a tightrope, not a rope: a secret may hide under any name, such as
/// `DATABASE_URL`. What protects is that nothing is inherited unless it is named.
///
/// ```
/// use fumehood::env::looks_secret;
/// assert!(looks_secret("GITHUB_TOKEN"));
/// assert!(looks_secret("ssh-auth-sock"));
/// assert!(!looks_secret("GIT_AUTHOR_NAME"));
/// ```
#[must_use]
pub fn looks_secret(name: &str) -> bool {
    const SEPARATORS: [char; 3] = ['_', '-', '.'];
    let joined = secret::joined(name, &SEPARATORS);
    let name = name.to_lowercase();
    let mut words = name.split(SEPARATORS);
    secret::NEEDLES.iter().chain(&NEEDLES).any(|needle| joined.contains(needle))
        || words.any(|word| WORDS.contains(&word))
}

/// The whole environment of a program, sorted by name.
///
/// ```
/// use fumehood::{Job, env::Environment};
/// let job = Job::new(["true"]).env("HOME", "/workspace").inherit_env("LC_ALL");
/// let caller = |name: &str| (name == "LC_ALL").then(|| "C".into());
/// let environment = Environment::resolve(&job.env, job.tty, caller)?;
/// assert_eq!(environment.get("HOME").unwrap(), "/workspace");
/// assert_eq!(environment.get("LC_ALL").unwrap(), "C");
/// assert_eq!(environment.get("LANG").unwrap(), "C.UTF-8");
/// # Ok::<(), fumehood::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The environment that `env` asks for: [`DEFAULTS`], then what it inherits from the
    /// `caller`, then what it sets. With a terminal there is `TERM` too, inherited if the caller
    /// has it. A variable that is to be inherited and that the caller does not have is left out.
    ///
    /// # Errors
    ///
    /// [`InvalidJob`](crate::ErrorKind::InvalidJob) for a name that cannot be a variable or looks
    /// like a secret, and for a value with a NUL byte. No error repeats a value.
    pub fn resolve(
        env: &Env,
        tty: bool,
        caller: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        Self::resolve_over(&[], env, tty, caller)
    }

    /// The same over variables that an image sets, which replace [`DEFAULTS`]. They are no secrets of
    /// the caller's, whatever they are called.
    ///
    /// # Errors
    /// Those of [`Environment::resolve`].
    pub(crate) fn resolve_over(
        image: &[(String, String)],
        env: &Env,
        tty: bool,
        caller: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        check(env)?;
        let mut variables: BTreeMap<String, OsString> =
            DEFAULTS.map(|(name, value)| (name.to_owned(), value.into())).into();
        variables.extend(image.iter().map(|(name, value)| (name.clone(), value.into())));
        if tty {
            let term = caller("TERM").unwrap_or_else(|| TERM.into());
            variables.insert("TERM".to_owned(), term);
        }
        let inherited = env.inherit.iter().filter_map(|name| Some((name.clone(), caller(name)?)));
        variables.extend(inherited);
        variables.extend(env.set.iter().map(|(name, value)| (name.clone(), value.into())));
        variables.iter().try_for_each(|(name, value)| no_nul(name, value))?;
        Ok(Self(variables))
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// Every variable, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

impl IntoIterator for Environment {
    type Item = (String, OsString);
    type IntoIter = std::collections::btree_map::IntoIter<String, OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Checks the names and values of a job's environment: what can be said without the caller's own.
pub(crate) fn check(env: &Env) -> Result<()> {
    for (name, value) in &env.set {
        name_is_valid("env.set", name)?;
        no_nul(name, OsStr::new(value))?;
        set_is_no_secret(name)?;
    }
    for name in &env.inherit {
        name_is_valid("env.inherit", name)?;
        inherited_secret_is_allowed(env, name)?;
    }
    let stray = env.allow_secret.difference(&env.inherit).next();
    stray.map_or(Ok(()), |name| {
        let problem = "is allowed as a secret but not inherited; add it to env.inherit or leave \
                       it out here";
        Err(Error::invalid("env.allow_secret", format_args!("{name:?}"), problem))
    })
}

fn name_is_valid(field: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let problem = "is no name of a variable; it must not be empty or contain = or NUL";
        return Err(Error::invalid(field, format_args!("{name:?}"), problem));
    }
    Ok(())
}

fn no_nul(name: &str, value: &OsStr) -> Result<()> {
    if value.as_bytes().contains(&0) {
        let problem = "holds a NUL byte, which no variable can; leave it out";
        return Err(Error::invalid("env", format_args!("{name:?}"), problem));
    }
    Ok(())
}

fn set_is_no_secret(name: &str) -> Result<()> {
    if looks_secret(name) {
        let problem = "looks like a secret, and a value that is set stays behind in job files and \
                       command lines; inherit it: name it in env.inherit and in env.allow_secret";
        return Err(Error::invalid("env.set", format_args!("{name:?}"), problem));
    }
    Ok(())
}

fn inherited_secret_is_allowed(env: &Env, name: &str) -> Result<()> {
    if looks_secret(name) && !env.allow_secret.contains(name) {
        let problem = "looks like a secret; if the program may read it, name it in \
                       env.allow_secret too";
        return Err(Error::invalid("env.inherit", format_args!("{name:?}"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Job;

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    fn refusal(env: &Env) -> String {
        Environment::resolve(env, false, |_| Some("hunter2".into())).unwrap_err().to_string()
    }

    #[test]
    fn a_job_that_names_nothing_gets_the_defaults_only() {
        let environment = Environment::resolve(&Env::default(), false, |_| Some("x".into()));
        let environment: Vec<_> = environment.unwrap().into_iter().collect();
        let defaults = DEFAULTS.map(|(name, value)| (name.to_owned(), value.into()));
        assert_eq!(environment, defaults);
    }

    #[test]
    fn what_is_set_wins_over_what_is_inherited() {
        let job = Job::new(["a"]).env("A", "set").inherit_env("A").inherit_env("HOME");
        let job = job.inherit_env("B");
        let caller = |name: &str| (name != "B").then(|| "inherited".into());
        let environment = Environment::resolve(&job.env, false, caller).unwrap();
        assert_eq!(environment.get("A").unwrap(), "set");
        assert_eq!(environment.get("HOME").unwrap(), "inherited");
        assert_eq!(environment.get("B"), None);
    }

    #[test]
    fn term_comes_with_a_terminal_only() {
        let term = |tty, caller: fn(&str) -> Option<OsString>| {
            let environment = Environment::resolve(&Env::default(), tty, caller).unwrap();
            environment.get("TERM").map(OsStr::to_owned)
        };
        assert_eq!(term(false, |_| Some("vt100".into())), None);
        assert_eq!(term(true, |_| Some("vt100".into())), Some("vt100".into()));
        assert_eq!(term(true, nothing), Some("xterm".into()));
    }

    #[test]
    fn names_that_look_like_secrets_are_told_from_others() {
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "npm_config_token",
            "DB_PASSWORD",
            "MYSQL_PASSWD",
            "PRIVATE-KEY",
            "OPENAI_APIKEY",
            "OPENAI_API_KEY",
            "AWS_ACCESS_KEY_ID",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "XDG_SESSION_ID",
            "SESSION_MANAGER",
            "SSH_AUTH_SOCK",
            "OAUTH2_ID",
            "HTTP_COOKIE",
            "GITHUB_PAT",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "GIT_AUTHOR_NAME",
            "TOKENIZERS_PARALLELISM",
            "KEYBOARD",
            "PWD",
            "PASSES",
            "PATTERN",
            "LC_ALL",
            "CARGO_TARGET_DIR",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn a_secret_is_never_set_and_its_value_never_repeated() {
        let message = refusal(&Job::new(["a"]).env("API_KEY", "hunter2").env);
        assert!(message.starts_with("invalid job: env.set: \"API_KEY\": looks like a secret"));
        assert!(message.contains("env.allow_secret"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_secret_is_inherited_by_exact_name_only() {
        let mut env = Job::new(["a"]).inherit_env("API_KEY").env;
        let message = refusal(&env);
        assert!(message.starts_with("invalid job: env.inherit: \"API_KEY\": looks like a secret"));
        assert!(!message.contains("hunter2"), "{message}");
        env.allow_secret.insert("api_key".into());
        assert!(refusal(&env).contains("env.inherit: \"API_KEY\""));
        env.allow_secret = ["API_KEY".to_owned()].into();
        let environment = Environment::resolve(&env, false, |_| Some("hunter2".into())).unwrap();
        assert_eq!(environment.get("API_KEY").unwrap(), "hunter2");
    }

    #[test]
    fn a_secret_that_is_allowed_must_be_inherited() {
        let env = Env { allow_secret: ["API_KEY".to_owned()].into(), ..Env::default() };
        assert!(
            refusal(&env).contains("env.allow_secret: \"API_KEY\": is allowed as a secret but not")
        );
    }

    #[test]
    fn what_cannot_be_a_variable_is_refused() {
        for name in ["", "A=B", "A\0"] {
            assert!(refusal(&Job::new(["a"]).env(name, "").env).contains("env.set: \""), "{name}");
            assert!(refusal(&Job::new(["a"]).inherit_env(name).env).contains("env.inherit: \""));
        }
        let message = refusal(&Job::new(["a"]).env("A", "b\0c").env);
        assert!(message.starts_with("invalid job: env: \"A\": holds a NUL byte"), "{message}");
        let job = Job::new(["a"]).inherit_env("A");
        assert!(Environment::resolve(&job.env, false, |_| Some("b\0".into())).is_err());
    }
}
