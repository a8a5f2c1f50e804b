//! What is run under load, and what must come of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::http::{Reply, Request};

/// A request and the answers that are right.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// How often among a hundred.
    share: u32,
    pub(super) request: Request,
    right: Right,
}

/// Which answers are right.
#[derive(Debug)]
enum Right {
    /// These bytes and no other.
    Exactly(&'static str),
    /// One of these.
    Either([&'static str; 2]),
    /// This, or what a program gets that a busy machine did not let come so far in time.
    UnlessStopped(&'static str),
    /// One that has all of these in it.
    Having(&'static [&'static str]),
}

impl Kind {
    /// One with what its answers must have in them.
    pub(super) fn having(
        name: &'static str,
        share: u32,
        request: Request,
        parts: &'static [&'static str],
    ) -> Self {
        Self { name, share, request, right: Right::Having(parts) }
    }

    pub(super) const fn share(&self) -> u32 {
        self.share
    }

    /// What is wrong with an answer, if anything.
    pub(super) fn fault(&self, reply: &Reply) -> Option<String> {
        let text = String::from_utf8_lossy(&reply.body);
        let is_right = match self.right {
            Right::Exactly(whole) => text == whole,
            Right::Either(wholes) => wholes.iter().any(|whole| text == *whole),
            Right::UnlessStopped(whole) => text == whole || text.ends_with(STOPPED),
            Right::Having(parts) => parts.iter().all(|part| text.contains(part)),
        };
        let start: String = text.chars().take(300).collect();
        (reply.status != 200 || !is_right)
            .then(|| format!("{}: status {}: {start}", self.name, reply.status))
    }
}

/// All kinds, with their programs compiled.
#[derive(Debug)]
pub(super) struct Kinds(Vec<Kind>);

const HELLO: &str = "{\n  \"exitCode\": 0,\n  \"stdout\": \"aGVsbG8K\",\n  \"stderr\": \"\"\n}";
const SLEPT: &str = "{\n  \"exitCode\": 0,\n  \"stdout\": \"c2xlcHQK\",\n  \"stderr\": \"\"\n}";
const CRASHED: &str = "{\n  \"exitCode\": 255,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
const KILLED: &str = "{\n  \"exitCode\": 137,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
/// What the program says itself where it is not the control group that refuses a process.
const REFUSED: &str = "{\n  \"exitCode\": 3,\n  \"stdout\": null,\n  \"stderr\": \"\"\n}";
/// `timeout running program`, in base64.
const STOPPED: &str = "\"stderr\": \"dGltZW91dCBydW5uaW5nIHByb2dyYW0K\"\n}";
const FLOODED: &str = "{\n  \"error\": \"Output too large\",\n  \"exitCode\": 0,\n  \"stdout\": \
                       null,\n  \"stderr\": null\n}";
const COMPILE: &str =
    r#"{"args":["sh","-c","echo 'int main(void){return 42;}' >a.c && cc -o a a.c && ./a"]}"#;
const ECHO: &str = r#"{"args":["/bin/echo","hello"]}"#;

/// The programs' sources, by name.
const SOURCES: [(&str, &str); 6] = [
    ("hello", include_str!("programs/hello.c")),
    ("sleeper", include_str!("programs/sleeper.c")),
    ("crash", include_str!("programs/crash.c")),
    ("flood", include_str!("programs/flood.c")),
    ("memory_bomb", include_str!("programs/memory_bomb.c")),
    ("fork_bomb", include_str!("programs/fork_bomb.c")),
];

impl Kinds {
    /// Compiles the programs in this directory.
    pub(super) fn compile(dir: &Path) -> Result<Self, String> {
        let mut programs = Vec::new();
        for (name, source) in SOURCES {
            programs.push((name, compile(dir, name, source)?));
        }
        let run = |name: &str| {
            let program = programs.iter().find(|(other, _)| *other == name);
            let (_, bytes) = program.expect("it is in the list above");
            Request::post("/run", "Idempotency-Key: 1\r\n", bytes)
        };
        let native = |job: &str| {
            Request::post("/v1/runs", "Content-Type: application/json\r\n", job.as_bytes())
        };
        let kind = |name, share, request, right| Kind { name, share, request, right };
        Ok(Self(vec![
            kind("hello", 60, run("hello"), Right::Exactly(HELLO)),
            kind("echo", 20, native(ECHO), Right::Having(&["\"hello\\n\"", "\"exited\""])),
            kind("sleeper", 4, run("sleeper"), Right::Exactly(SLEPT)),
            kind("crash", 9, run("crash"), Right::Exactly(CRASHED)),
            kind("compile", 2, native(COMPILE), Right::Having(&["42", "\"exited\""])),
            kind("flood", 1, run("flood"), Right::UnlessStopped(FLOODED)),
            kind("memory bomb", 2, run("memory_bomb"), Right::Exactly(KILLED)),
            kind("fork bomb", 2, run("fork_bomb"), Right::Either([KILLED, REFUSED])),
        ]))
    }

    /// The same programs as often in the words of another service.
    pub(super) fn reworded(&self, other: impl Fn(&Kind) -> Kind) -> Self {
        Self(self.0.iter().map(other).collect())
    }

    pub(super) fn named(&self, name: &str) -> &Kind {
        self.0.iter().find(|kind| kind.name == name).expect("only names of the list above are used")
    }

    /// The one that a random number stands for.
    pub(super) fn draw(&self, random: u64) -> &Kind {
        let mut at = u32::try_from(random % 100).expect("it is below 100");
        let drawn = self.0.iter().find(|kind| {
            let found = at < kind.share;
            at = at.saturating_sub(kind.share);
            found
        });
        drawn.expect("the shares add up to 100")
    }
}

fn compile(dir: &Path, name: &str, source: &str) -> Result<Vec<u8>, String> {
    let (file, program) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&file, source).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = Command::new("cc");
    command.args(["-O1", "-static", "-s", "-o"]).arg(&program).arg(&file);
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("{command:?} failed"));
    }
    fs::read(&program).map_err(|error| format!("{}: {error}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn_as_often_as_its_share_says() {
        let kind =
            |share| Kind { name: "", share, request: Request::get("/"), right: Right::Exactly("") };
        let kinds = Kinds([60, 39, 1].map(kind).into());
        let drawn: Vec<_> = (0..100).map(|random| kinds.draw(random).share).collect();
        for share in [60, 39, 1] {
            assert_eq!(drawn.iter().filter(|drawn| **drawn == share).count(), share as usize);
        }
    }
}
