//! Finding out which languages the host has, by running programs as a stranger's would be run.

use fumehood::{ByteSize, Input, Job, Limits, Outcome, Report};

use super::templates::{self, Language, Way};
use crate::serve::access::Caller;
use crate::serve::config::Config;
use crate::serve::execute;
use crate::serve::policy::{self, Ceilings};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;

/// What became of looking for a language.
#[derive(Debug)]
pub(super) enum Found {
    /// It works.
    Available { version: String, way: &'static Way, limits: Box<Limits> },
    /// It does not, for this reason.
    Unavailable(String),
    /// It was too slow to tell, for the last so many times.
    TooSlow { reason: String, times: u32 },
}

/// Why a language was not found: finally, because it was too slow, or because nobody could try.
enum Not {
    Found(String),
    Fast(String),
    Now,
}

/// Indices of the languages, those first that cost little: people shall soon have something.
pub(super) const CHEAPEST_FIRST: [usize; templates::ALL.len()] = [4, 7, 5, 0, 6, 1, 2, 3];

/// Output beyond this says nothing to anybody who reads it on a page.
const OUTPUT: ByteSize = ByteSize::mib(1);

/// Looks for a language that was too slow so many `times` before; `None` if it cannot be tried now.
pub(super) async fn find(
    service: &Shared,
    language: &'static Language,
    times: u32,
) -> Option<Found> {
    match try_all(service, language).await {
        Ok(found) => Some(found),
        Err(Not::Found(reason)) => Some(Found::Unavailable(reason)),
        Err(Not::Fast(reason)) => Some(Found::TooSlow { reason, times: times + 1 }),
        Err(Not::Now) => None,
    }
}

async fn try_all(service: &Shared, language: &'static Language) -> Result<Found, Not> {
    let attempt = Attempt { service, language };
    let version = attempt.version().await?;
    let mut last = Not::Found(String::new());
    for way in language.ways {
        match attempt.way(way).await {
            Ok(limits) => return Ok(Found::Available { version, way, limits }),
            // Another way may be faster, and what one was too slow for is not missing.
            Err(Not::Found(_)) if matches!(last, Not::Fast(_)) => {}
            Err(Not::Now) => return Err(Not::Now),
            Err(not) => last = not,
        }
    }
    Err(last)
}

/// The profile of the language's name, if the operator has made one.
pub(super) fn profile(language: &Language, config: &Config) -> Option<&'static str> {
    config.profiles.contains_key(language.name).then_some(language.name)
}

/// The job that a program becomes, but for the program.
pub(super) fn job(way: &Way, ceilings: &Ceilings) -> Job {
    let mut job = shell(way.line);
    job.limits.output = Some(OUTPUT.min(ceilings.output).into());
    if let Some(time) = way.time {
        job.limits.wall_time = Some((time * 3 / 2).min(ceilings.wall_time.0).into());
        job.limits.cpu_time = Some(time.min(ceilings.cpu_time.0).into());
    }
    job
}

fn shell(line: &str) -> Job {
    Job::new(["sh", "-c", line, "sh"])
}

#[derive(Clone, Copy)]
struct Attempt<'a> {
    service: &'a Shared,
    language: &'static Language,
}

impl Attempt<'_> {
    async fn version(self) -> Result<String, Not> {
        let (report, _) = self.run(shell(self.language.version)).await?;
        let first = first_line(&report.stdout.data).or_else(|| first_line(&report.stderr.data));
        match (&report.outcome, first) {
            (Outcome::Exited { code: 0 }, Some(line)) => Ok(line),
            _ => Err(Not::because_of(&report)),
        }
    }

    /// Runs the greeting in this way, and says which limits it ran under.
    async fn way(self, way: &Way) -> Result<Box<Limits>, Not> {
        let (report, _) = self.run(shell(way.needs)).await?;
        if !is_success(&report) {
            return Err(Not::because_of(&report));
        }
        let path = format!("{}/{}", Job::CWD, self.language.file);
        let program = Input::bytes(self.language.hello).to(path);
        let ceilings = &self.service.settings().config.ceilings;
        let (report, limits) = self.run(job(way, ceilings).input(program)).await?;
        if is_success(&report) && report.stdout.data.starts_with(b"Hello") {
            return Ok(Box::new(limits));
        }
        Err(Not::because_of(&report))
    }

    /// Runs a job as it would be run for anybody, in turn with everybody.
    async fn run(self, job: Job) -> Result<(Report, Limits), Not> {
        let settings = self.service.settings();
        let caller = Caller::unlimited("languages");
        let profile = profile(self.language, &settings.config);
        let job = policy::admit(job, profile, &caller, &settings.config)?;
        let place = self.service.place(&caller).await?;
        let (report, _) = execute::run(self.service, "languages", &job, place).await?;
        Ok((report, job.limits))
    }
}

impl Not {
    /// A time limit says of a busy host that it is busy, and nothing of what it has.
    fn because_of(report: &Report) -> Self {
        match report.outcome {
            Outcome::TimedOut { .. } => Self::Fast(why(report)),
            _ => Self::Found(why(report)),
        }
    }
}

impl From<Problem> for Not {
    fn from(problem: Problem) -> Self {
        // A host that cannot hold what is required (501) cannot in a second either.
        let passing = matches!(problem.status, 429 | 500 | 503);
        if passing { Self::Now } else { Self::Found(problem.detail) }
    }
}

fn is_success(report: &Report) -> bool {
    report.outcome == Outcome::Exited { code: 0 }
}

/// What a failed attempt says for itself.
fn why(report: &Report) -> String {
    if let Some(words) = report.outcome.describe() {
        return words;
    }
    let said = first_line(&report.stderr.data).or_else(|| first_line(&report.stdout.data));
    said.unwrap_or_else(|| "it failed without a word".to_owned())
}

/// The first line with something in it, cut to what fits on one.
fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|char| !char.is_control()).take(120).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::serve::config::Time;

    #[test]
    fn every_language_is_looked_for_once() {
        let mut indices = CHEAPEST_FIRST;
        indices.sort_unstable();
        assert_eq!(indices, std::array::from_fn(|index| index));
    }

    #[test]
    fn a_job_stays_below_low_ceilings() {
        let wall_time = Time(Duration::from_secs(3));
        let ceilings = Ceilings { output: ByteSize(1000), wall_time, ..Ceilings::default() };
        for way in templates::ALL.iter().flat_map(|language| language.ways) {
            let limits = job(way, &ceilings).limits;
            assert_eq!(limits.output().finite(), Some(ByteSize(1000)));
            assert!(
                limits.wall_time.is_none_or(|time| time.finite() <= Some(Duration::from_secs(3)))
            );
        }
    }

    #[test]
    fn the_first_line_is_the_first_with_words() {
        assert_eq!(first_line(b"\n  gcc 12\x1b[0m\nCopyright\n").as_deref(), Some("gcc 12[0m"));
        assert_eq!(first_line(b"\n \n"), None);
        assert_eq!(first_line(&[b'x'; 500]).map(|line| line.len()), Some(120));
    }
}
