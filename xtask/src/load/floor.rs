//! What the machine does to a process that is nobody's: bare processes in the place of one of two
//! clients, in the same minute and beside the same programs. No service can do better than that.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::kinds::Kinds;
use super::level::{self, Seen, What};
use super::stats::Times;

/// A minute in parts that take turns: a minute of this machine may differ from the next.
const TURNS: u32 = 5;

/// How long bare processes are tried to find out how many of them a greeting is as long as.
const TRIAL: Duration = Duration::from_secs(1);

/// What was seen of both.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Times of a series of bare processes, one after the other.
    pub(super) bare: Times,
    /// As many as take about as long as a greeting of the service, at the median.
    each: u32,
    /// The service's greetings in between, at two clients.
    pub(super) served: Times,
    /// What the other client got meanwhile.
    pub(super) beside: Vec<Seen>,
}

impl Floor {
    /// Measures both for so long, in turn.
    pub(super) fn measure(
        address: SocketAddr,
        kinds: &Kinds,
        program: &Path,
        time: Duration,
    ) -> Result<Self, String> {
        let mut floor = Self::default();
        for turn in 0..TURNS {
            let seed = 2 * turn as usize;
            let both = level::run_from(address, What::Mixed(kinds), seed..seed + 2, time / TURNS);
            floor.served.join(both.answers.get("hello").unwrap_or(&Times::default()));
            if floor.each == 0 {
                let usual = floor.served.quantile(500).ok_or("no greeting was answered")?;
                floor.each = as_many(usual, one(program)?);
            }
            let beside = floor.bare_beside(address, kinds, program, seed, time / TURNS)?;
            floor.beside.extend([both, beside]);
        }
        Ok(floor)
    }

    /// Bare processes beside one client.
    fn bare_beside(
        &mut self,
        address: SocketAddr,
        kinds: &Kinds,
        program: &Path,
        seed: usize,
        time: Duration,
    ) -> Result<Seen, String> {
        thread::scope(|scope| {
            let mixed = What::Mixed(kinds);
            let client =
                scope.spawn(move || level::run_from(address, mixed, seed + 1..seed + 2, time));
            while !client.is_finished() {
                self.bare.add(series(program, self.each)?);
            }
            Ok(client.join().expect("a client does not panic"))
        })
    }
}

/// What one bare process takes at the median.
fn one(program: &Path) -> Result<Duration, String> {
    let (began, mut one) = (Instant::now(), Times::default());
    while began.elapsed() < TRIAL {
        one.add(series(program, 1)?);
    }
    one.quantile(500).ok_or_else(|| "no bare process ended".into())
}

/// How many of them take that long.
fn as_many(long: Duration, one: Duration) -> u32 {
    let count = long.as_nanos() / one.as_nanos().max(1);
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// So many processes, each waited for before the next.
fn series(program: &Path, count: u32) -> Result<Duration, String> {
    let failed = |what: &dyn fmt::Display| format!("{}: {what}", program.display());
    let began = Instant::now();
    for _ in 0..count {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(failed(&status));
        }
    }
    Ok(began.elapsed())
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "answers", "p50 ms", "p99 ms", "most ms", "p99/p50"];
        let [first, rest @ ..] = head;
        write!(f, "\n{first:>8}")?;
        rest.iter().try_for_each(|word| write!(f, " {word:>9}"))?;
        writeln!(f)?;
        for (name, times) in [("service", &self.served), ("bare", &self.bare)] {
            let ratio = times.tail().unwrap_or(f64::NAN);
            writeln!(f, "{name:>8} {:>9} {times} {ratio:>9.2}", times.count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_its_time_and_ends_with_what_fails() {
        assert!(series(Path::new("/bin/true"), 3).is_ok());
        let said = series(Path::new("/bin/false"), 1).unwrap_err();
        assert!(said.starts_with("/bin/false: exit status: 1"), "{said}");
        assert!(series(Path::new("/does/not/exist"), 1).is_err());
    }

    #[test]
    fn a_series_is_as_long_as_a_greeting() {
        let ms = Duration::from_millis;
        assert_eq!(as_many(ms(41), ms(4)), 10);
        assert_eq!(as_many(ms(1), ms(4)), 1);
        assert_eq!(as_many(ms(1), ms(0)), 1_000_000);
    }
}
