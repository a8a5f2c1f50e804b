//! Which names stay behind, and why: one table, which decides and documents itself.

use serde::Serialize;

use crate::secret;

/// Why something is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// The history of a version control system.
    VersionControl,
    /// What a build makes again.
    BuildOutput,
    /// Packages that are fetched again.
    Dependencies,
    /// A directory that is tagged as a cache (`CACHEDIR.TAG`), or known as one.
    Cache,
    /// Temporary files, and those of editors.
    Scratch,
    /// A directory that says that it is private.
    PrivateDirectory,
    /// A file with variables of an environment, secrets among them.
    EnvFile,
    /// A file in which a tool keeps credentials.
    CredentialFile,
    /// A private key, or a store of them.
    PrivateKey,
    /// A name that says that a secret is in it.
    SecretName,
    /// A `.gitignore` names it.
    Gitignore,
    /// The archive that is being written.
    Archive,
    /// Neither a regular file nor a directory: links are not followed, and devices, sockets and
    /// FIFOs not opened.
    NotAFile,
    /// A name that another system would read as a path or a command, or not at all: a backslash, a
    /// control character, or bytes that are not UTF-8.
    OddName,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 14] = [
        Self::VersionControl,
        Self::BuildOutput,
        Self::Dependencies,
        Self::Cache,
        Self::Scratch,
        Self::PrivateDirectory,
        Self::EnvFile,
        Self::CredentialFile,
        Self::PrivateKey,
        Self::SecretName,
        Self::Gitignore,
        Self::Archive,
        Self::NotAFile,
        Self::OddName,
    ];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VersionControl => "version-control",
            Self::BuildOutput => "build-output",
            Self::Dependencies => "dependencies",
            Self::Cache => "cache",
            Self::Scratch => "scratch",
            Self::PrivateDirectory => "private-directory",
            Self::EnvFile => "env-file",
            Self::CredentialFile => "credential-file",
            Self::PrivateKey => "private-key",
            Self::SecretName => "secret-name",
            Self::Gitignore => "gitignore",
            Self::Archive => "archive",
            Self::NotAFile => "not-a-file",
            Self::OddName => "odd-name",
        }
    }

    /// Whether it is about secrets: these are skipped, refused or let through by choice.
    #[must_use]
    pub const fn is_about_secrets(self) -> bool {
        matches!(
            self,
            Self::PrivateDirectory
                | Self::EnvFile
                | Self::CredentialFile
                | Self::PrivateKey
                | Self::SecretName
        )
    }

    /// Whether what it names can be kept all the same.
    pub(super) const fn can_be_overruled(self) -> bool {
        !matches!(self, Self::Archive | Self::NotAFile | Self::OddName)
    }

    /// The names that it is about, for people: `directory node_modules`, `file *.pem`. Empty where
    /// something else than the name decides.
    #[must_use]
    pub fn patterns(self) -> Vec<String> {
        let lines = TABLE.iter().filter(|line| line.rule == self);
        let words = lines.flat_map(|line| line.words.iter().map(|word| line.describe(word)));
        let programs = (self == Self::SecretName).then(programs);
        words.chain(programs.into_iter().flatten()).collect()
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a line of the table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Directories,
    Files,
    Both,
}

/// How a word is compared with a name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Is,
    Starts,
    Ends,
    /// With `_` and `-` left out of the name. Files that are programs hold nothing.
    Holds,
    /// Not the name, but a file of that name in the directory.
    TaggedBy,
}

#[derive(Debug)]
struct Line {
    rule: Rule,
    on: On,
    form: Form,
    words: &'static [&'static str],
}

const fn line(rule: Rule, on: On, form: Form, words: &'static [&'static str]) -> Line {
    Line { rule, on, form, words }
}

/// In order: the first line that fits is the reason given.
const TABLE: [Line; 17] = [
    // A work tree or a submodule has a file of this name, which holds a path of the host.
    line(Rule::VersionControl, On::Both, Form::Is, &[".git"]),
    line(Rule::VersionControl, On::Directories, Form::Is, &[".hg", ".svn", ".jj", ".bzr"]),
    line(Rule::BuildOutput, On::Directories, Form::Is, &["dist", "bin", ".gowdk"]),
    line(
        Rule::BuildOutput,
        On::Files,
        Form::Is,
        &["gowdk-security.json", "gowdk-build-report.json", "gowdk-build-timings.json"],
    ),
    line(Rule::Dependencies, On::Directories, Form::Is, &["node_modules", "vendor"]),
    line(Rule::Cache, On::Directories, Form::Is, &["gowdk_cache", "__pycache__"]),
    line(Rule::Scratch, On::Directories, Form::Is, &["tmp", "temp", ".tmp"]),
    line(Rule::Scratch, On::Files, Form::Ends, &[".tmp", ".temp", "~", ".swp", ".swo"]),
    line(
        Rule::PrivateDirectory,
        On::Directories,
        Form::Is,
        &[
            "private", ".private", "secrets", ".secrets", ".ssh", ".gnupg", ".aws", ".azure",
            ".kube",
        ],
    ),
    line(Rule::EnvFile, On::Both, Form::Is, &[".env", ".envrc"]),
    line(Rule::EnvFile, On::Both, Form::Starts, &[".env."]),
    line(
        Rule::CredentialFile,
        On::Files,
        Form::Is,
        &[
            ".npmrc",
            ".netrc",
            "_netrc",
            ".pypirc",
            ".pgpass",
            ".my.cnf",
            ".dockercfg",
            ".htpasswd",
            ".git-credentials",
            "auth.json",
        ],
    ),
    line(Rule::CredentialFile, On::Files, Form::Ends, &[".tfstate", ".tfstate.backup"]),
    line(
        Rule::PrivateKey,
        On::Files,
        Form::Is,
        &["id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"],
    ),
    line(
        Rule::PrivateKey,
        On::Files,
        Form::Ends,
        &[".key", ".pem", ".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx"],
    ),
    line(Rule::SecretName, On::Both, Form::Holds, &secret::NEEDLES),
    line(Rule::Cache, On::Directories, Form::TaggedBy, &[CACHE_TAG]),
];

/// Files whose names end so are programs: `credentials.rs` is about secrets and holds none.
const CODE: [&str; 24] = [
    ".c", ".cc", ".cpp", ".cs", ".cxx", ".dart", ".erl", ".ex", ".go", ".hh", ".hpp", ".hs",
    ".java", ".kt", ".m", ".ml", ".mli", ".mm", ".pyi", ".rs", ".s", ".scala", ".swift", ".zig",
];

/// These are programs as well, but some keep their configuration in such files. Then all of the name
/// says so: `session.py` is code, `secrets.py` and `arduino_secrets.h` may be anything.
const SCRIPTS: [&str; 14] = [
    ".cjs", ".exs", ".h", ".js", ".jsx", ".lua", ".mjs", ".php", ".pl", ".py", ".rb", ".ts",
    ".tsx", ".vue",
];

/// How the names of scripts end, and what they are, that hold secrets.
const HOLDS_SECRETS: [&str; 4] = ["secrets", "credentials", "passwords", "apikeys"];
const IS_A_SECRET: [&str; 6] =
    ["secret", "credential", "password", "passwd", "apikey", "privatekey"];

/// The files of programs, for people.
fn programs() -> [String; 2] {
    let any =
        |ends: &[&str]| ends.iter().map(|end| format!("*{end}")).collect::<Vec<_>>().join(" ");
    let holds = HOLDS_SECRETS.map(|end| format!("*{end}")).join(", ");
    [
        format!("but not file {}", any(&CODE)),
        format!(
            "but not file {}, unless it is named {holds} or {}",
            any(&SCRIPTS),
            IS_A_SECRET.join(", ")
        ),
    ]
}

/// Whether a file that has a needle in its name is a program all the same.
fn is_code(name: &str) -> bool {
    if CODE.iter().any(|end| name.len() > end.len() && name.ends_with(end)) {
        return true;
    }
    let Some(stem) = SCRIPTS.iter().find_map(|end| name.strip_suffix(end)) else { return false };
    let stem = stem.replace(['_', '-', '.'], "");
    !HOLDS_SECRETS.iter().any(|end| stem.ends_with(end)) && !IS_A_SECRET.contains(&stem.as_str())
}

/// The file that tags a directory as a cache (Cache Directory Tagging Specification).
pub(super) const CACHE_TAG: &str = "CACHEDIR.TAG";

impl Line {
    fn fits(&self, name: &str, joined: &str, directory: bool) -> bool {
        let on = match self.on {
            On::Directories => directory,
            On::Files => !directory,
            On::Both => true,
        };
        on && self.words.iter().any(|word| match self.form {
            Form::Is => name == *word,
            Form::Starts => name.starts_with(word),
            Form::Ends => name.ends_with(word),
            Form::Holds => joined.contains(word) && (directory || !is_code(name)),
            Form::TaggedBy => false,
        })
    }

    fn describe(&self, word: &str) -> String {
        let on = match self.on {
            On::Directories => "directory ",
            On::Files => "file ",
            On::Both => "",
        };
        match self.form {
            Form::Is => format!("{on}{word}"),
            Form::Starts => format!("{on}{word}*"),
            Form::Ends => format!("{on}*{word}"),
            Form::Holds => format!("{on}*{word}*"),
            Form::TaggedBy => format!("{on}with {word}"),
        }
    }
}

/// The rule that a name falls under, whatever is in the file. `parent` is the name of the directory
/// that it is in: `src/bin` is where Cargo has programs, and no output of a build.
pub(super) fn by_name(name: &str, parent: &str, directory: bool) -> Option<Rule> {
    let name = name.to_lowercase();
    if directory && name == "bin" && parent == "src" {
        return None;
    }
    let joined = secret::joined(&name, &['_', '-']);
    TABLE.iter().find(|line| line.fits(&name, &joined, directory)).map(|line| line.rule)
}

/// Whether a name means the same everywhere.
pub(super) fn is_odd(name: &str) -> bool {
    name.contains(|c: char| c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<&'static str> {
        by_name(name, "", false).map(Rule::name)
    }

    fn directory(name: &str) -> Option<&'static str> {
        by_name(name, "", true).map(Rule::name)
    }

    #[test]
    fn what_holds_secrets_stays_behind() {
        for (name, rule) in [
            (".env", "env-file"),
            (".env.local", "env-file"),
            (".ENV", "env-file"),
            (".npmrc", "credential-file"),
            ("auth.json", "credential-file"),
            ("prod.tfstate", "credential-file"),
            ("id_ed25519", "private-key"),
            ("server.pem", "private-key"),
            ("store.JKS", "private-key"),
            ("api_token.json", "secret-name"),
            ("credentials.txt", "secret-name"),
            ("private_session.gwdk", "secret-name"),
            ("my-private-key", "secret-name"),
            ("APIKEY", "secret-name"),
        ] {
            assert_eq!(file(name), Some(rule), "{name}");
        }
        assert_eq!(directory("secrets"), Some("private-directory"));
        assert_eq!(directory("sessions"), Some("secret-name"));
        assert_eq!(directory(".aws"), Some("private-directory"));
    }

    #[test]
    fn what_is_made_again_stays_behind() {
        for name in [".git", ".hg", "dist", "bin", "node_modules", "vendor", "tmp", "__pycache__"] {
            assert!(directory(name).is_some(), "{name}");
        }
        for name in [".git", "a.swp", "a~", "a.tmp", "gowdk-security.json"] {
            assert!(file(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_kept() {
        for name in [
            "tokenizer.rs",
            "Tokenization.md",
            "id_ed25519.pub",
            "env.rs",
            "environment",
            ".envoy.yaml",
            "author.json",
            "dist",
            "bin",
            "keys.rs",
            "template.html",
            ".gitignore",
        ] {
            assert_eq!(file(name), None, "{name}");
        }
        assert_eq!(by_name("bin", "src", true), None, "where Cargo has programs");
        assert_eq!(directory("template"), None);
    }

    #[test]
    fn programs_about_secrets_are_kept() {
        for name in [
            "credentials.rs",
            "session_store.go",
            "TokenBucket.java",
            "password.c",
            "session.py",
            "auth_token.ts",
            "ResetPassword.tsx",
            "session.h",
        ] {
            assert_eq!(file(name), None, "{name}");
        }
    }

    #[test]
    fn programs_that_may_hold_secrets_stay_behind() {
        for name in [
            "secrets.py",
            "my_credentials.py",
            "arduino_secrets.h",
            "api-keys.js",
            "Secret.ts",
            "password.php",
            "credentials",
            "credentials.json",
            "credentials.rs.json",
            "token.sh",
            ".rs_token",
            "server_token.yaml",
            "secrets.toml",
        ] {
            assert_eq!(file(name), Some("secret-name"), "{name}");
        }
        assert_eq!(file("deploy.rs.key"), Some("private-key"));
        assert_eq!(directory("credentials.rs"), Some("secret-name"), "no file");
    }

    #[test]
    fn a_needle_beside_what_is_harmless_is_found() {
        assert_eq!(file("tokenizer_token.txt"), Some("secret-name"));
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_says_what_it_is_about() {
        let names: std::collections::BTreeSet<_> =
            Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
        for line in &TABLE {
            assert!(Rule::ALL.contains(&line.rule));
        }
        let without: Vec<_> =
            Rule::ALL.into_iter().filter(|rule| rule.patterns().is_empty()).collect();
        assert_eq!(without, [Rule::Gitignore, Rule::Archive, Rule::NotAFile, Rule::OddName]);
    }

    #[test]
    fn names_that_are_paths_elsewhere_are_odd() {
        for name in ["..\\..\\x", "a\nb", "a\u{7f}"] {
            assert!(is_odd(name), "{name:?}");
        }
        assert!(!is_odd("späße (1).txt"));
    }
}
