//! What `bench` is asked to do.

use super::peers::{PEERS, Peer};

/// The arguments of `cargo xtask bench`.
#[derive(Debug)]
pub(super) struct Arguments {
    /// Rounds that are counted.
    pub(super) runs: usize,
    /// Those to measure beside ours.
    pub(super) against: Vec<&'static Peer>,
    /// Cells that are parked at once to see what they take.
    pub(super) parked: usize,
    /// Whether the result becomes the page in the documentation.
    pub(super) write: bool,
}

impl Arguments {
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let against = PEERS.iter().collect();
        let mut parsed = Self { runs: 500, against, parked: 1000, write: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--runs" => parsed.runs = positive("--runs", value()?)?,
                "--parked" => parsed.parked = positive("--parked", value()?)?,
                "--against" => parsed.against = peers(value()?)?,
                "--write" => parsed.write = true,
                other => return Err(format!("{other}: bench takes {USAGE}")),
            }
        }
        Ok(parsed)
    }

    /// The command that gives the same measurement.
    pub(super) fn command(&self) -> String {
        let names: Vec<_> = self.against.iter().map(|peer| peer.name).collect();
        let write = if self.write { " --write" } else { "" };
        format!("cargo xtask bench --runs {} --against {}{write}", self.runs, names.join(","))
    }
}

const USAGE: &str = "[--runs N] [--parked N] [--against NAME,NAME...] [--write]";

fn positive(option: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err(format!("{option} 0 measures nothing")),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{option} {text}: {error}")),
    }
}

/// In the order of the table, whatever the order they were asked for in.
fn peers(text: &str) -> Result<Vec<&'static Peer>, String> {
    let asked: Vec<_> = text.split(',').filter(|name| !name.is_empty()).collect();
    let known = |name: &str| PEERS.iter().any(|peer| peer.name == name);
    if let Some(unknown) = asked.iter().find(|name| !known(name)) {
        let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
        return Err(format!("--against {unknown}: no such peer; known are {}", names.join(", ")));
    }
    Ok(PEERS.iter().filter(|peer| asked.contains(&peer.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let args: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&args)
    }

    #[test]
    fn everything_known_is_the_default() {
        let arguments = parse("").unwrap();
        assert_eq!(arguments.against.len(), PEERS.len());
        assert_eq!((arguments.runs, arguments.write), (500, false));
    }

    #[test]
    fn the_command_says_what_was_asked_for() {
        let arguments = parse("--write --against nsjail,bwrap --runs 7").unwrap();
        let command = "cargo xtask bench --runs 7 --against bwrap,nsjail --write";
        assert_eq!(arguments.command(), command);
    }

    #[test]
    fn an_unknown_peer_is_answered_with_the_known_ones() {
        let error = parse("--against bwrap,bwarp").unwrap_err();
        assert!(error.contains("bwarp"), "{error}");
        assert!(PEERS.iter().all(|peer| error.contains(peer.name)), "{error}");
    }

    #[test]
    fn wrong_options_and_numbers_are_errors() {
        for line in ["--runs", "--runs 0", "--runs many", "--parked 0", "--agains bwrap", "7"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
