//! Settings: a TOML file, then the environment, then flags.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fumehood::{ByteSize, Guarantee, Result, format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::args::ServeArgs;
use super::policy::Ceilings;
use super::profile::Profile;
use super::service::processors;
use crate::error::internal;

/// A time with its unit, such as `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

const fn seconds(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

/// All settings. Every field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where to listen: `ADDRESS:PORT` or `unix:PATH`.
    pub(crate) listen: Vec<String>,
    /// Where the access log goes: `stderr`, `none`, or an absolute path.
    pub(crate) log: String,
    /// Guarantees without which no job is run, beyond those that every job requires. Where strangers
    /// reach the service, unless this is set: `memory`, `pids` and `cpu-time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require: Option<BTreeSet<Guarantee>>,
    pub(crate) access: AccessConfig,
    pub(crate) http: Http,
    pub(crate) line: LineConfig,
    pub(crate) pool: PoolSettings,
    pub(crate) jobs: JobsConfig,
    pub(crate) stop: Stop,
    pub(crate) playground: super::playground::Settings,
    /// What a remote job may ask for.
    pub(crate) ceilings: Ceilings,
    /// What jobs can be based on, by name: `?profile=NAME`.
    pub(crate) profiles: BTreeMap<String, Profile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8375".into()],
            log: "stderr".into(),
            require: None,
            access: AccessConfig::default(),
            http: Http::default(),
            line: LineConfig::default(),
            pool: PoolSettings::default(),
            jobs: JobsConfig::default(),
            stop: Stop::default(),
            playground: super::playground::Settings::default(),
            ceilings: Ceilings::default(),
            profiles: BTreeMap::new(),
        }
    }
}

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccessConfig {
    /// File of tokens. Without it whoever can connect may ask, so only loopback addresses and Unix
    /// sockets are listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<PathBuf>,
    /// Users that may ask through a Unix socket, beside root and the service's own.
    pub(crate) uids: Vec<u32>,
    /// Names under which the service is reached, beside `localhost` and addresses.
    pub(crate) hosts: Vec<String>,
    /// Other sites whose pages may ask, such as `https://example.org`.
    pub(crate) origins: Vec<String>,
}

/// Limits of connections and requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Connections at the same time; beyond it the one that has been idle for longest is closed.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and a connection be idle.
    pub(crate) header_time: Time,
    /// How long a body may take in all.
    pub(crate) body_time: Time,
    /// How long a body may be silent, and a client may take no byte of an answer.
    pub(crate) stall_time: Time,
    /// Bytes of a body.
    pub(crate) body_size: ByteSize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_time: seconds(10),
            body_time: seconds(30),
            stall_time: seconds(10),
            body_size: ByteSize::mib(32),
        }
    }
}

/// How much is done at the same time, and how much waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LineConfig {
    /// Programs that run at the same time.
    pub(crate) slots: usize,
    /// Whether each slot has its part of the processors, on which its program runs.
    pub(crate) apart: bool,
    /// Large bodies that are in memory and do not run yet.
    pub(crate) uploads: usize,
    /// Requests that may wait for a slot.
    pub(crate) waiting: usize,
    /// How long one waits.
    pub(crate) wait_time: Time,
}

impl LineConfig {
    /// Into how many parts the processors are divided.
    pub(crate) fn parts(&self) -> usize {
        if self.apart { self.slots } else { 1 }
    }
}

impl Default for LineConfig {
    fn default() -> Self {
        let slots = processors().max(2);
        let (uploads, waiting) = (2 * slots, 256.max(16 * slots));
        Self { slots, apart: true, uploads, waiting, wait_time: seconds(5) }
    }
}

/// Cells that are kept ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PoolSettings {
    /// For each kind of job.
    pub(crate) parked: usize,
    /// Kinds of jobs.
    pub(crate) kinds: usize,
    /// Age at which one is thrown away.
    pub(crate) max_age: Time,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { parked: 8, kinds: 8, max_age: seconds(300) }
    }
}

/// Jobs that outlive their connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JobsConfig {
    /// How long a job may wait for a slot.
    pub(crate) wait_time: Time,
    /// How many are kept, ended ones included.
    pub(crate) kept: usize,
    /// Bytes of events and reports that are kept of ended ones.
    pub(crate) kept_size: ByteSize,
    /// How long an ended one is kept.
    pub(crate) kept_time: Time,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            wait_time: seconds(300),
            kept: 1000,
            kept_size: ByteSize::mib(256),
            kept_time: seconds(600),
        }
    }
}

/// How the service ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stop {
    /// How long requests are still taken after the service has said that it is not ready: as long
    /// as a load balancer takes to notice.
    pub(crate) linger: Time,
    /// How long programs may then still run before they are cancelled.
    pub(crate) deadline: Time,
}

impl Default for Stop {
    fn default() -> Self {
        Self { linger: seconds(0), deadline: seconds(20) }
    }
}

impl Config {
    /// The settings that are in force.
    ///
    /// # Errors
    /// Names the file, the field, and what is wrong with it.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self> {
        let named = std::env::var_os("FUMEHOOD_CONFIG").map(PathBuf::from);
        let mut config = match args.config.as_ref().or(named.as_ref()) {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        config.overlay(|name| std::env::var(name).ok())?;
        if !args.listen.is_empty() {
            config.listen.clone_from(&args.listen);
        }
        if let Some(tokens) = &args.tokens {
            config.access.tokens = Some(tokens.clone());
        }
        if let Some(slots) = args.slots {
            config.line.slots = slots;
        }
        config.check()?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(internal(format!("read {shown}")))?;
        Self::parse(&text).map_err(|problem| wrong(&format!("{shown}: {problem}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let toml = toml::Deserializer::parse(text).map_err(|error| error.to_string())?;
        serde_path_to_error::deserialize(toml).map_err(|error| {
            let (path, inner) = (error.path().to_string(), error.into_inner());
            // The error's own text repeats the line.
            let message = inner.message().to_owned();
            if path == "." { message } else { format!("{path}: {message}") }
        })
    }

    fn overlay(&mut self, get: impl Fn(&str) -> Option<String>) -> Result<()> {
        if let Some(listen) = get("FUMEHOOD_LISTEN") {
            self.listen = listen.split(',').map(|part| part.trim().to_owned()).collect();
        }
        if let Some(tokens) = get("FUMEHOOD_TOKENS") {
            self.access.tokens = Some(tokens.into());
        }
        if let Some(slots) = get("FUMEHOOD_SLOTS") {
            let read = slots.parse();
            self.line.slots = read.map_err(|_| {
                wrong(&format!("FUMEHOOD_SLOTS: {slots:?}: must be a whole number"))
            })?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let least = [
            ("line.slots", self.line.slots),
            ("line.uploads", self.line.uploads),
            ("http.connections", self.http.connections),
            ("pool.kinds", self.pool.kinds),
            ("listen", self.listen.len()),
        ];
        if let Some((field, _)) = least.into_iter().find(|(_, number)| *number == 0) {
            return Err(wrong(&format!("{field}: must be at least one")));
        }
        if !matches!(&*self.log, "stderr" | "none") && !self.log.starts_with('/') {
            let right = "must be \"stderr\", \"none\", or an absolute path";
            return Err(wrong(&format!("log: {:?}: {right}", self.log)));
        }
        self.ceilings.check().map_err(|problem| wrong(&problem))?;
        let profiles = self.profiles.iter();
        let mut bad = profiles.filter_map(|(name, profile)| Some((name, profile.check().err()?)));
        match bad.next() {
            Some((name, problem)) => Err(wrong(&format!("profiles.{name}.{problem}"))),
            None => Ok(()),
        }
    }

    /// Puts what is listened on in the place of what the settings say: addresses stay as they were
    /// bound, whatever else is read anew, and what they need is judged by that.
    ///
    /// # Errors
    /// Strangers reach one, and there are no tokens.
    pub(crate) fn bound_to(mut self, listen: Vec<String>) -> Result<Self> {
        self.listen = listen;
        let open = self.listen.iter().find(|address| is_open_to_strangers(address));
        open.map_or(Ok(()), |address| self.needs_tokens(address))?;
        Ok(self)
    }

    /// Refuses an address that strangers reach if there are no tokens.
    ///
    /// # Errors
    /// Names the address.
    pub(crate) fn needs_tokens(&self, address: &str) -> Result<()> {
        if self.access.tokens.is_some() {
            return Ok(());
        }
        let fix = "access.tokens must name a file of tokens, or the address be a loopback's";
        Err(wrong(&format!("listen: {address:?}: strangers would reach it: {fix}")))
    }

    /// Guarantees without which no job is run, beyond those that every job requires.
    pub(crate) fn required(&self) -> BTreeSet<Guarantee> {
        let strangers = || self.listen.iter().any(|address| is_open_to_strangers(address));
        match &self.require {
            Some(required) => required.clone(),
            None if strangers() => STRANGERS.into(),
            None => BTreeSet::new(),
        }
    }

    /// What `--print-config` prints.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| wrong(&error.to_string()))
    }
}

/// What programs of strangers must not use up.
const STRANGERS: [Guarantee; 3] = [Guarantee::Memory, Guarantee::Pids, Guarantee::CpuTime];

fn is_open_to_strangers(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| !address.ip().is_loopback())
}

/// A setting that is wrong.
pub(crate) fn wrong(problem: &str) -> fumehood::Error {
    internal("read the settings")(io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let text = "require = ['memory']\n[profiles.a]\nenv.set.A = 'b'\n[ceilings]\ncpus = 2";
        let config = Config::parse(text).unwrap();
        assert_eq!(Config::parse(&config.to_toml().unwrap()), Ok(config));
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn errors_name_the_field() {
        for (text, named) in [
            ("[line]\nslots = -1", "line.slots"),
            ("[http]\nbody_size = 5", "http.body_size"),
            ("[stop]\nlinger = '5'", "stop.linger"),
            ("[stop]\nlingre = '5s'", "unknown field `lingre`"),
            ("[profiles.a]\nnetwork = 'hots'", "profiles.a"),
        ] {
            let said = Config::parse(text).unwrap_err();
            assert!(said.contains(named), "{text}: {said}");
        }
    }

    #[test]
    fn a_log_is_no_file_of_any_directory() {
        let check = |log: &str| Config { log: log.into(), ..Config::default() }.check();
        for right in ["stderr", "none", "/var/log/fumehood"] {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in ["", "stdout", "serve.log", "./log"] {
            let said = format!("{:?}", check(wrong).unwrap_err());
            assert!(said.contains("log: ") && said.contains("absolute path"), "{said}");
        }
    }

    #[test]
    fn the_environment_comes_after_the_file() {
        let mut config = Config::parse("[line]\nslots = 3").unwrap();
        let set = |name: &str| match name {
            "FUMEHOOD_LISTEN" => Some("127.0.0.1:1, unix:/a".to_owned()),
            "FUMEHOOD_SLOTS" => Some("5".to_owned()),
            _ => None,
        };
        config.overlay(set).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:1", "unix:/a"]);
        assert_eq!(config.line.slots, 5);
        assert!(config.overlay(|_| Some("x".to_owned())).is_err());
    }

    #[test]
    fn what_is_bound_counts_and_not_what_is_written_later() {
        let bound = |text: &str, address: &str| {
            Config::parse(text).unwrap().bound_to(vec![address.to_owned()])
        };
        let tokens = "[access]\ntokens = '/a'";
        assert_eq!(bound(tokens, "0.0.0.0:80").unwrap().required().len(), 3);
        let said = format!("{:?}", bound("", "0.0.0.0:80").unwrap_err());
        assert!(said.contains("0.0.0.0:80") && said.contains("access.tokens"), "{said}");
        let elsewhere = bound("listen = ['0.0.0.0:80']", "127.0.0.1:80").unwrap();
        assert_eq!(elsewhere.required().len(), 0);
    }

    #[test]
    fn strangers_programs_need_limits_that_hold() {
        let required = |text: &str| Config::parse(text).unwrap().required().len();
        assert_eq!(required(""), 0);
        assert_eq!(required("listen = ['[::1]:80', 'unix:/a']"), 0);
        assert_eq!(required("listen = ['127.0.0.1:80', '10.0.0.1:80']"), 3);
        assert_eq!(required("listen = ['0.0.0.0:80']\nrequire = []"), 0);
        assert_eq!(required("require = ['disk']"), 1);
    }
}
