//! Profiles: rules about system calls, as their author wrote them.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::wire::{Wire, WireArg, WireFilter, WireRule};
use super::{Action, Error};

/// The profile that Fumehood ships: data, with a reason at every rule.
pub const DEFAULT_JSON: &str = include_str!("default.json");

/// Rules about system calls, read from JSON and checked, but not yet resolved for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What happens to a call that no rule decides.
    pub(super) default: Action,
    pub(super) flags: u32,
    pub(super) rules: Vec<Rule>,
}

/// One entry of `syscalls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The system calls that it is about. Names that an architecture does not have do nothing.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// Conditions on the arguments; none means that the rule always applies.
    pub conditions: Vec<Condition>,
    /// The rule is there only if all of this is so.
    pub includes: Filter,
    /// The rule is not there if any of this is so.
    pub excludes: Filter,
    /// Why, in the author's words.
    pub comment: String,
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// What must hold for its 64 bits.
    pub test: Test,
}

/// What must hold for the 64 bits of an argument, taken as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `SCMP_CMP_NE`
    Ne(u64),
    /// `SCMP_CMP_LT`
    Lt(u64),
    /// `SCMP_CMP_LE`
    Le(u64),
    /// `SCMP_CMP_EQ`
    Eq(u64),
    /// `SCMP_CMP_GE`
    Ge(u64),
    /// `SCMP_CMP_GT`
    Gt(u64),
    /// `SCMP_CMP_MASKED_EQ`: the argument's bits under the mask (`value`) are `equals` (`valueTwo`).
    Masked {
        /// The bits that count.
        mask: u64,
        /// What they must be; no bit outside the mask.
        equals: u64,
    },
}

/// Where a rule applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names of capabilities, such as `CAP_SYS_ADMIN`.
    pub caps: BTreeSet<String>,
    /// Architectures, in the names of Go (`amd64`).
    pub arches: BTreeSet<String>,
    /// This kernel or a later one.
    pub min_kernel: Option<(u32, u32)>,
}

/// `SECCOMP_FILTER_FLAG_LOG` and `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, from `linux/seccomp.h`.
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;

impl Profile {
    /// Reads a profile in the format of OCI runtimes, Docker or Podman.
    ///
    /// # Errors
    ///
    /// The text is no such profile, has a key that the format does not know, or asks for what
    /// cannot be honoured: a listener in another process (`NOTIFY`, `TRACE`, `listenerPath`), an
    /// error beyond 4095, an argument beyond the sixth, a comparison that can never hold.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        // Of a list the reader would take the elements for the keys, in their order.
        if json.trim_start().starts_with('[') {
            let problem = "must be an object, with defaultAction and syscalls";
            return Err(Error::refused("profile", "a list", problem));
        }
        let wire: Wire = serde_json::from_str(json)?;
        wire.refuse_listeners()?;
        let default = action(
            &Answer {
                name: &wire.default_action,
                errno_ret: wire.default_errno_ret,
                errno: wire.default_errno.as_deref(),
            },
            ["defaultAction", "defaultErrnoRet", "defaultErrno"].map(String::from),
        )?;
        let flags = flags(&wire.flags)?;
        let rules = wire.syscalls.into_iter().enumerate();
        let rules = rules.map(|(at, rule)| Rule::new(rule, &format!("syscalls[{at}]")));
        Ok(Self { default, flags, rules: rules.collect::<Result<_, _>>()? })
    }

    /// The profile that Fumehood ships.
    #[must_use]
    pub fn shipped() -> Self {
        Self::from_json(DEFAULT_JSON).expect("a test reads the same text")
    }

    /// What happens to a call that no rule decides.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// The rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Wire {
    fn refuse_listeners(&self) -> Result<(), Error> {
        let keys =
            [("listenerPath", &self.listener_path), ("listenerMetadata", &self.listener_metadata)];
        for (key, value) in keys {
            if let Some(value) = value {
                return Err(Error::refused(
                    key,
                    value,
                    "no other process is asked about system calls; leave the key out",
                ));
            }
        }
        Ok(())
    }
}

impl Rule {
    fn new(wire: WireRule, key: &str) -> Result<Self, Error> {
        let answer =
            Answer { name: &wire.action, errno_ret: wire.errno_ret, errno: wire.errno.as_deref() };
        let keys = ["action", "errnoRet", "errno"].map(|part| format!("{key}.{part}"));
        let args = wire.args.iter().enumerate();
        let conditions = args.map(|(at, arg)| Condition::new(arg, &format!("{key}.args[{at}]")));
        Ok(Self {
            action: action(&answer, keys)?,
            conditions: conditions.collect::<Result<_, _>>()?,
            names: names(wire.names, wire.name, key)?,
            includes: Filter::new(wire.includes, &format!("{key}.includes"))?,
            excludes: Filter::new(wire.excludes, &format!("{key}.excludes"))?,
            comment: wire.comment,
        })
    }

    /// The conditions as alternatives, of each of which all must hold.
    ///
    /// The format does not say how conditions combine; libseccomp compares an argument only once
    /// in a rule. runc and crun therefore join conditions by *and*, but once any argument is
    /// compared twice, they make every condition of the rule, also those on other arguments, a
    /// rule of its own. Profiles rely on it (opencontainers/runc#2735), so it is read that way here.
    pub(super) fn alternatives(&self) -> Vec<Vec<Condition>> {
        let indices: BTreeSet<u8> = self.conditions.iter().map(|one| one.index).collect();
        if indices.len() == self.conditions.len() {
            vec![self.conditions.clone()]
        } else {
            self.conditions.iter().map(|one| vec![*one]).collect()
        }
    }
}

fn names(names: Vec<String>, name: Option<String>, key: &str) -> Result<Vec<String>, Error> {
    match (names.is_empty(), name) {
        (false, None) => Ok(names),
        (true, Some(name)) => Ok(vec![name]),
        (true, None) => {
            Err(Error::refused(format!("{key}.names"), "[]", "a rule names its system calls"))
        }
        (false, Some(name)) => {
            Err(Error::refused(format!("{key}.name"), name, "the rule has `names` as well"))
        }
    }
}

impl Condition {
    fn new(wire: &WireArg, key: &str) -> Result<Self, Error> {
        let index = u8::try_from(wire.index).ok().filter(|index| *index < 6).ok_or_else(|| {
            Error::refused(format!("{key}.index"), wire.index, "arguments count from 0 to 5")
        })?;
        Ok(Self { index, test: Test::new(wire, key)? })
    }
}

impl Test {
    fn new(wire: &WireArg, key: &str) -> Result<Self, Error> {
        let value = wire.value;
        Ok(match wire.op.as_str() {
            "SCMP_CMP_LT" if value == 0 => return Err(never(key, value, "below 0")),
            "SCMP_CMP_GT" if value == u64::MAX => {
                return Err(never(key, value, "above the largest"));
            }
            "SCMP_CMP_NE" => Self::Ne(value),
            "SCMP_CMP_LT" => Self::Lt(value),
            "SCMP_CMP_LE" => Self::Le(value),
            "SCMP_CMP_EQ" => Self::Eq(value),
            "SCMP_CMP_GE" => Self::Ge(value),
            "SCMP_CMP_GT" => Self::Gt(value),
            "SCMP_CMP_MASKED_EQ" if wire.value_two & !value == 0 => {
                Self::Masked { mask: value, equals: wire.value_two }
            }
            "SCMP_CMP_MASKED_EQ" => {
                return Err(Error::refused(
                    format!("{key}.valueTwo"),
                    wire.value_two,
                    format!("has bits outside the mask {value}, so it can never be equal"),
                ));
            }
            other => {
                return Err(Error::refused(
                    format!("{key}.op"),
                    other,
                    "comparisons are SCMP_CMP_ with NE, LT, LE, EQ, GE, GT or MASKED_EQ",
                ));
            }
        })
    }
}

fn never(key: &str, value: u64, place: &str) -> Error {
    let problem = format!("no argument is {place}: arguments are compared without a sign");
    Error::refused(format!("{key}.value"), value, problem)
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.index;
        match self.test {
            Test::Ne(value) => write!(f, "arg{index} != {value:#x}"),
            Test::Lt(value) => write!(f, "arg{index} < {value:#x}"),
            Test::Le(value) => write!(f, "arg{index} <= {value:#x}"),
            Test::Eq(value) => write!(f, "arg{index} == {value:#x}"),
            Test::Ge(value) => write!(f, "arg{index} >= {value:#x}"),
            Test::Gt(value) => write!(f, "arg{index} > {value:#x}"),
            Test::Masked { mask, equals } => write!(f, "arg{index} & {mask:#x} == {equals:#x}"),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Filter {
    fn new(wire: WireFilter, key: &str) -> Result<Self, Error> {
        let min_kernel = wire.min_kernel.filter(|version| !version.is_empty());
        let version = |text: String| {
            kernel_version(&text).ok_or_else(|| {
                Error::refused(format!("{key}.minKernel"), text, "a version is written like 4.8")
            })
        };
        Ok(Self {
            caps: wire.caps.into_iter().collect(),
            arches: wire.arches.into_iter().collect(),
            min_kernel: min_kernel.map(version).transpose()?,
        })
    }
}

fn kernel_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// An action with its error, as a profile writes them.
struct Answer<'a> {
    name: &'a str,
    errno_ret: Option<u64>,
    errno: Option<&'a str>,
}

/// Reads an action; `keys` are those of the action, of `errnoRet` and of `errno`.
fn action(answer: &Answer<'_>, keys: [String; 3]) -> Result<Action, Error> {
    let [action_key, ret_key, name_key] = keys;
    let action = match answer.name {
        "SCMP_ACT_ERRNO" => return errno(answer, ret_key, name_key).map(Action::Errno),
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(Error::refused(action_key, other, why_not(other))),
    };
    // The OCI specification wants an error here.
    let unfit = |key, value| Err(Error::refused(key, value, "only SCMP_ACT_ERRNO has an error"));
    match (answer.errno_ret, answer.errno) {
        (None, None | Some("")) => Ok(action),
        (Some(number), _) => unfit(ret_key, number.to_string()),
        (None, Some(name)) => unfit(name_key, name.to_owned()),
    }
}

fn why_not(action: &str) -> &'static str {
    match action {
        "SCMP_ACT_TRACE" => "no tracer is attached to the program; use SCMP_ACT_ERRNO",
        "SCMP_ACT_NOTIFY" => "no other process is asked about system calls; use SCMP_ACT_ERRNO",
        _ => {
            "actions are SCMP_ACT_ with ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, KILL, TRAP or LOG"
        }
    }
}

/// The error of an action: by number, by name, by both if they agree, or `EPERM`.
fn errno(answer: &Answer<'_>, ret_key: String, name_key: String) -> Result<u16, Error> {
    let number = answer.errno_ret.map(|number| {
        let fits = u16::try_from(number).ok().filter(|errno| *errno <= Action::MAX_ERRNO);
        fits.ok_or_else(|| Error::refused(ret_key, number, "errors end at 4095"))
    });
    let number = number.transpose()?;
    let Some(name) = answer.errno.filter(|name| !name.is_empty()) else {
        return Ok(number.unwrap_or(1));
    };
    let named = errno_by_name(name)
        .ok_or_else(|| Error::refused(&*name_key, name, "no error has this name"))?;
    match number {
        Some(number) if number != named => {
            Err(Error::refused(name_key, name, format!("is {named}, but errnoRet is {number}")))
        }
        _ => Ok(named),
    }
}

fn errno_by_name(name: &str) -> Option<u16> {
    (1..=Action::MAX_ERRNO)
        .find(|errno| syscalls::Errno::new(i32::from(*errno)).name() == Some(name))
}

/// The flags of seccomp(2) that a profile sets.
fn flags(names: &[String]) -> Result<u32, Error> {
    let mut flags = 0;
    for (at, name) in names.iter().enumerate() {
        flags |= match name.as_str() {
            // The filter is installed by a process that has one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
            other => {
                return Err(Error::refused(
                    format!("flags[{at}]"),
                    other,
                    "flags are SECCOMP_FILTER_FLAG_ with TSYNC, LOG or SPEC_ALLOW",
                ));
            }
        };
    }
    Ok(flags)
}
