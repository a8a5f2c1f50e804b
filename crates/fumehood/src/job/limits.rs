//! What a program may use, and every default.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::schema;
use crate::units::{Decimal, Fault};
use crate::{ByteSize, ParseUnitError};

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// At most this much.
    Finite(T),
    /// No limit; written `unlimited`.
    Unlimited,
}

impl<T> Limit<T> {
    /// The word that stands for no limit.
    pub const UNLIMITED: &'static str = "unlimited";

    /// The amount, or `None` if there is no limit.
    #[must_use]
    pub fn finite(self) -> Option<T> {
        match self {
            Self::Finite(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }

    /// Reads `unlimited`, or what `amount` reads.
    ///
    /// ```
    /// use fumehood::{Limit, parse_duration};
    /// assert_eq!(Limit::parse("unlimited", parse_duration)?, Limit::Unlimited);
    /// # Ok::<(), fumehood::ParseUnitError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `amount`.
    pub fn parse<E>(text: &str, amount: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        if text == Self::UNLIMITED { Ok(Self::Unlimited) } else { amount(text).map(Self::Finite) }
    }
}

impl<T> From<T> for Limit<T> {
    fn from(amount: T) -> Self {
        Self::Finite(amount)
    }
}

impl<T: FromStr> FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, T::from_str)
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(amount) => amount.fmt(f),
            Self::Unlimited => f.pad(Self::UNLIMITED),
        }
    }
}

impl<T: Serialize> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Finite(amount) => amount.serialize(serializer),
            Self::Unlimited => serializer.serialize_str(Self::UNLIMITED),
        }
    }
}

/// What to do when a stream prints more than its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Excess {
    /// End the run: the outcome is `output-limit`.
    #[default]
    Kill,
    /// Keep the first bytes, drop the rest, let the program go on.
    Truncate,
}

/// What a program may use. `None` stands for the default, which is finite but for `cpus`; a limit
/// that is spelled out is enforced for the whole process tree, or the job is refused.
///
/// The fields say what the caller wrote, the methods of the same name what holds.
///
/// ```
/// use fumehood::{ByteSize, Limit, Limits};
/// let limits = Limits { memory: Some(ByteSize::gib(1).into()), ..Limits::default() };
/// assert_eq!(limits.memory(), Limit::Finite(ByteSize::gib(1)));
/// assert_eq!(limits.pids(), Limits::PIDS);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(description = "What a program may use. Every default is finite but that of `cpus`. A \
    limit that is spelled out is enforced for the whole process tree, or the job is refused.")]
pub struct Limits {
    /// Wall-clock time. At least 1 ms.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_limit")]
    #[schemars(with = "schema::Limited<schema::Time>")]
    #[schemars(extend("default" = shown_time(Self::WALL_TIME)))]
    pub wall_time: Option<Limit<Duration>>,
    /// User and system CPU time of all processes together. At least 1 ms.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_limit")]
    #[schemars(with = "schema::Limited<schema::Time>")]
    #[schemars(extend("default" = shown_time(Self::CPU_TIME)))]
    pub cpu_time: Option<Limit<Duration>>,
    /// Memory of all processes together, swap off. At least 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<ByteSize>", extend("default" = Self::MEMORY))]
    pub memory: Option<Limit<ByteSize>>,
    /// Processes and threads at one time. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<u64>", extend("default" = Self::PIDS))]
    pub pids: Option<Limit<u64>>,
    /// Bytes per output stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<ByteSize>", extend("default" = Self::OUTPUT))]
    pub output: Option<Limit<ByteSize>>,
    /// What happens when `output` is exceeded.
    #[serde(skip_serializing_if = "super::is_default")]
    #[schemars(extend("default" = Excess::Kill))]
    pub output_excess: Excess,
    /// Size of any one file that the program writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<ByteSize>", extend("default" = Self::FILE_SIZE))]
    pub file_size: Option<Limit<ByteSize>>,
    /// Open files per process. At least 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<u64>", extend("default" = Self::OPEN_FILES))]
    pub open_files: Option<Limit<u64>>,
    /// Bytes in `/workspace`. At least 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<ByteSize>", extend("default" = Self::WORKSPACE))]
    pub workspace: Option<Limit<ByteSize>>,
    /// Bytes in `/tmp`, and as many again in `/dev/shm`. At least 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<ByteSize>", extend("default" = Self::TMP))]
    pub tmp: Option<Limit<ByteSize>>,
    /// Files, directories and links in each of `/workspace`, `/tmp` and `/dev/shm`. At
    /// least 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<u64>", extend("default" = Self::INODES))]
    pub inodes: Option<Limit<u64>>,
    /// CPUs' worth of time per wall-clock time, such as 0.5 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "schema::Limited<Cpus>", extend("default" = Self::CPUS))]
    pub cpus: Option<Limit<Cpus>>,
    /// Time between the polite signal (`SIGTERM`) and the kill. At most 1 h.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time")]
    #[schemars(with = "schema::Time", extend("default" = crate::format_duration(Self::GRACE)))]
    pub grace: Option<Duration>,
}

/// For every limit its default and the method that fills it in.
macro_rules! defaults {
    ($($field:ident: $kind:ty = $name:ident, $value:expr;)*) => {
        impl Limits {
            $(
                #[doc = concat!("The default of `", stringify!($field), "`.")]
                pub const $name: $kind = $value;
            )*
            $(
                #[doc = concat!("The value of `", stringify!($field), "` that holds: what was")]
                #[doc = concat!("asked for, or [`Limits::", stringify!($name), "`].")]
                #[must_use]
                pub fn $field(&self) -> $kind {
                    self.$field.unwrap_or(Self::$name)
                }
            )*
        }
    };
}

defaults! {
    wall_time: Limit<Duration> = WALL_TIME, Limit::Finite(Duration::from_secs(10));
    cpu_time: Limit<Duration> = CPU_TIME, Limit::Finite(Duration::from_secs(10));
    memory: Limit<ByteSize> = MEMORY, Limit::Finite(ByteSize::mib(512));
    pids: Limit<u64> = PIDS, Limit::Finite(64);
    output: Limit<ByteSize> = OUTPUT, Limit::Finite(ByteSize::mib(16));
    file_size: Limit<ByteSize> = FILE_SIZE, Limit::Finite(ByteSize::mib(256));
    open_files: Limit<u64> = OPEN_FILES, Limit::Finite(1024);
    workspace: Limit<ByteSize> = WORKSPACE, Limit::Finite(ByteSize::mib(256));
    tmp: Limit<ByteSize> = TMP, Limit::Finite(ByteSize::mib(256));
    inodes: Limit<u64> = INODES, Limit::Finite(65536);
    cpus: Limit<Cpus> = CPUS, Limit::Unlimited;
    grace: Duration = GRACE, Duration::from_millis(250);
}

/// A time limit as it is written in a job.
fn shown_time(limit: Limit<Duration>) -> String {
    limit.finite().map_or_else(|| Limit::<()>::UNLIMITED.to_owned(), crate::format_duration)
}

#[expect(clippy::ref_option, reason = "serde's `serialize_with` passes the field by reference")]
fn time_limit<S: Serializer>(
    limit: &Option<Limit<Duration>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    limit.map(shown_time).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde's `serialize_with` passes the field by reference")]
fn time<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(crate::format_duration).serialize(serializer)
}

/// A number of CPUs, counted in thousandths so that it can be compared exactly.
///
/// ```
/// use fumehood::Cpus;
/// assert_eq!("0.5".parse(), Ok(Cpus { milli: 500 }));
/// assert_eq!(Cpus { milli: 2000 }.to_string(), "2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus {
    /// Thousandths of one CPU.
    pub milli: u32,
}

impl FromStr for Cpus {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const TOO_MANY: &str = "is too large; at most 4294967 CPUs can be counted";
        let refuse = |problem: &str| ParseUnitError::new(text, problem);
        let decimal = Decimal::parse(text)
            .map_err(|fault| refuse(&fault.explain(text, "0.5 or 2", TOO_MANY)))?;
        match decimal.times(1000).map(u32::try_from) {
            Ok(Ok(0)) => Err(refuse("is too small; at least 0.001 CPUs, or unlimited")),
            Ok(Ok(milli)) => Ok(Self { milli }),
            Err(Fault::Inexact) => Err(refuse("has more than three decimals")),
            _ => Err(refuse(TOO_MANY)),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.milli / 1000, self.milli % 1000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.milli.is_multiple_of(1000) {
            return serializer.serialize_u32(self.milli / 1000);
        }
        // Thousandths up to 2^32 are far fewer than a double tells apart.
        serializer.serialize_f64(f64::from(self.milli) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_finite_but_cpus() {
        let limits = Limits::default();
        assert_eq!(limits.wall_time(), Limit::Finite(Duration::from_secs(10)));
        assert_eq!(limits.cpu_time(), Limit::Finite(Duration::from_secs(10)));
        assert_eq!(limits.memory(), Limit::Finite(ByteSize::mib(512)));
        assert_eq!(limits.pids(), Limit::Finite(64));
        assert_eq!(limits.output(), Limit::Finite(ByteSize::mib(16)));
        assert_eq!(limits.file_size(), Limit::Finite(ByteSize::mib(256)));
        assert_eq!(limits.open_files(), Limit::Finite(1024));
        assert_eq!(limits.workspace(), Limit::Finite(ByteSize::mib(256)));
        assert_eq!(limits.tmp(), Limit::Finite(ByteSize::mib(256)));
        assert_eq!(limits.inodes(), Limit::Finite(65536));
        assert_eq!(limits.cpus(), Limit::Unlimited);
        assert_eq!(limits.grace(), Duration::from_millis(250));
    }

    #[test]
    fn cpus_are_read_exactly_and_read_back() {
        for (text, milli) in
            [("0.5", 500), ("2", 2000), ("0.001", 1), ("1.25", 1250), ("4294967.295", u32::MAX)]
        {
            assert_eq!(text.parse(), Ok(Cpus { milli }));
            assert_eq!(Cpus { milli }.to_string(), text);
        }
    }

    #[test]
    fn wrong_cpus_are_refused() {
        for (text, message) in [
            ("0", r#""0" is too small; at least 0.001 CPUs, or unlimited"#),
            ("0.0005", r#""0.0005" has more than three decimals"#),
            ("-1", r#""-1" is negative; write a number from 0 up, for example 0.5 or 2"#),
            ("", r#""" is empty; write for example 0.5 or 2"#),
            ("two", r#""two" does not start with a plain number; write for example 0.5 or 2"#),
            ("4294968", r#""4294968" is too large; at most 4294967 CPUs can be counted"#),
        ] {
            assert_eq!(text.parse::<Cpus>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unlimited_is_a_word() {
        assert_eq!("unlimited".parse(), Ok(Limit::<ByteSize>::Unlimited));
        assert_eq!("1G".parse(), Ok(Limit::Finite(ByteSize::gib(1))));
        assert_eq!(Limit::<ByteSize>::Unlimited.to_string(), "unlimited");
        assert!("Unlimited".parse::<Limit<ByteSize>>().is_err());
    }
}
