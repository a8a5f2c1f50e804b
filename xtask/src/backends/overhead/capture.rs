//! The command line of a tool, and the files that we made for it, taken from a run of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Pair;
use super::shells::PARENT;
use crate::soak;

/// A run by us and by the tool, of a program that does nothing.
pub(super) fn pair(name: &'static str, run: &str, dir: &Path) -> Result<Pair, String> {
    let ours = format!("{run} -- /payload/true");
    let tried = words(&ours).stdout(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !tried.status.success() {
        return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
    }
    let live = Live(words(&format!("{run} --timeout 60s -- sleep 50")).spawn().map_err(said)?);
    let (tool, place) = live.look(name).ok_or("its tool did not come up")?;
    let limit = Limit::of(tool.pid).ok_or("no control group limits it")?;
    let own = dir.join(name);
    // Not what the tool makes itself, meanwhile.
    fs::create_dir_all(own.join("state")).map_err(said)?;
    let ours_of_it = ["bundle", "covers", "files"].map(|name| inside(tool.pid, &place).join(name));
    let copied = Command::new("cp").arg("-a").args(ours_of_it).arg(&own).status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err("its place could not be copied".to_owned());
    }
    drop(live);
    let moved = |text: &str| text.replace(&place.display().to_string(), &own.display().to_string());
    if name != "nsjail" {
        bundles(name, &own, moved, limit)?;
    }
    let line = |args: Vec<String>| {
        let args: Vec<_> = args.iter().map(|arg| moved(arg)).collect();
        match args.iter().find(|arg| arg.contains(char::is_whitespace)) {
            Some(arg) => Err(format!("{arg:?} has a space")),
            None => Ok(args.join(" ")),
        }
    };
    let unlimited = by_hand(name, &tool.args);
    let hand = line(limited(name, &unlimited, limit))?;
    Ok(Pair { name, ours, hand, unlimited: Some(line(unlimited)?) })
}

/// The bundle without what only we need, and beside it the same with the limit that we hold for the tool.
fn bundles(
    name: &str,
    own: &Path,
    moved: impl Fn(&str) -> String,
    limit: Limit,
) -> Result<(), String> {
    let with_limit = own.join(WITH_LIMIT);
    let copied = Command::new("cp").arg("-a").arg(own.join("bundle")).arg(&with_limit).status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err("its bundle could not be copied".to_owned());
    }
    let text = fs::read_to_string(own.join("bundle/config.json")).map_err(said)?;
    let args = r#""/dev/.fumehood-init","sleep","50""#;
    let mut config = moved(&text).replace(args, r#""/payload/true""#);
    for (ours, quote) in [("/dev/.fumehood-", ('{', '}')), ("FUMEHOOD_END=", ('"', '"'))] {
        while let Some(without) = without(&config, ours, quote) {
            config = without;
        }
    }
    fs::write(own.join("bundle/config.json"), &config).map_err(said)?;
    let Limit { memory, is_swap_included } = limit;
    let swap = if is_swap_included { format!(r#","swap":{memory}"#) } else { String::new() };
    let more = format!(
        r#""linux":{{"cgroupsPath":"/{PARENT}-{name}","resources":{{"memory":{{"limit":{memory}{swap}}}}},"#
    );
    let config = config.replace(r#""linux":{"#, &more);
    fs::write(with_limit.join("config.json"), config).map_err(said)
}

/// Beside `bundle`.
const WITH_LIMIT: &str = "limited";

/// A text of JSON without the first thing of a list, from one quote to another, with some words in it;
/// none if there is no such thing.
fn without(text: &str, words: &str, (open, close): (char, char)) -> Option<String> {
    let at = text.find(words)?;
    let start = text.get(..at)?.rfind(open)?;
    let end = at + text.get(at..)?.find(close)? + 1;
    let (before, after) = (text.get(..start)?, text.get(end..)?);
    Some(match before.strip_suffix(',') {
        Some(before) => format!("{before}{after}"),
        None => format!("{before}{}", after.strip_prefix(',').unwrap_or(after)),
    })
}

/// What a group of ours holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    /// Bytes.
    memory: u64,
    /// Whether memory and swap together are limited to the same.
    is_swap_included: bool,
}

impl Limit {
    /// The one that a process is under.
    fn of(pid: u32) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let number = |path: String| fs::read_to_string(path).ok()?.trim().parse().ok();
        let [v1, v2] = [":memory:", "0::"].map(|which| {
            groups.lines().find_map(|line| line.split_once(which).map(|(_, path)| path.to_owned()))
        });
        if let Some(group) = v1 {
            let file = |name: &str| number(format!("/sys/fs/cgroup/memory{group}/{name}"));
            let memory = file("memory.limit_in_bytes")?;
            let is_swap_included = file("memory.memsw.limit_in_bytes") == Some(memory);
            return Some(Self { memory, is_swap_included });
        }
        let memory = number(format!("/sys/fs/cgroup{}/memory.max", v2?))?;
        Some(Self { memory, is_swap_included: true })
    }
}

/// The same arguments, so that the tool makes a control group and limits memory in it.
fn limited(name: &str, args: &[String], limit: Limit) -> Vec<String> {
    if name == "nsjail" {
        let at = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        let (mut args, program) = (args[..at].to_vec(), &args[at..]);
        let memory = limit.memory.to_string();
        let swap = if limit.is_swap_included { memory.as_str() } else { "-1" };
        args.extend(["--cgroup_mem_max", &memory].map(str::to_owned));
        args.extend(["--cgroup_mem_memsw_max", swap].map(str::to_owned));
        args.extend(["--cgroup_mem_parent", PARENT].map(str::to_owned));
        args.extend_from_slice(program);
        return args;
    }
    let without = ["--ignore-cgroups", "--rootless=true"];
    let kept = args.iter().filter(|arg| !without.contains(&arg.as_str()));
    let by_itself = kept.map(|arg| match arg.as_str() {
        "--cgroup-manager=disabled" => "--cgroup-manager=cgroupfs".to_owned(),
        arg => {
            arg.strip_suffix("/bundle").map_or(arg.to_owned(), |dir| format!("{dir}/{WITH_LIMIT}"))
        }
    });
    by_itself.collect()
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err gives it is its own")]
fn said(error: std::io::Error) -> String {
    error.to_string()
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null());
    command
}

/// The arguments for a program that does nothing, without what only we need to know.
fn by_hand(name: &str, args: &[String]) -> Vec<String> {
    let is_ours = |arg: &&String| !arg.starts_with("--panic-log");
    let mut args: Vec<_> = args.iter().filter(is_ours).cloned().collect();
    if name == "nsjail" {
        let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        args.truncate(end);
        // Which names the program of the run that was looked at.
        if let Some(at) = args.iter().position(|arg| arg == "--exec_file") {
            args.drain(at..(at + 2).min(args.len()));
        }
        args.extend(["--", "/payload/true"].map(str::to_owned));
    } else {
        args.pop();
        args.push("fumehood-overhead-{n}".to_owned());
    }
    args
}

/// A path as a process sees it.
fn inside(pid: u32, path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    Path::new("/proc").join(pid.to_string()).join("root").join(path)
}

struct Tool {
    pid: u32,
    args: Vec<String>,
}

impl Tool {
    /// The directory that we made for it, which its log is in.
    fn place(&self) -> Option<PathBuf> {
        let log = self.args.iter().skip_while(|arg| *arg != "--log").nth(1)?;
        Path::new(log).parent().map(Path::to_path_buf)
    }
}

/// A run of ours that lasts until this is dropped.
struct Live(Child);

impl Live {
    /// The tool, when the program runs, and its place.
    fn look(&self, name: &str) -> Option<(Tool, PathBuf)> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let all: Vec<_> = soak::descendants(self.0.id());
            let found = all.iter().filter_map(|pid| tool(name, *pid)).next();
            if let Some(tool) = found
                && let Some(place) = tool.place()
            {
                // What we make is made before the tool is started.
                if inside(tool.pid, &place).join("bundle").exists() {
                    return Some((tool, place));
                }
            }
            sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tool(name: &str, pid: u32) -> Option<Tool> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<_> = cmdline
        .split(|&byte| byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect();
    let args = args.strip_suffix(&[String::new()]).unwrap_or(&args).to_vec();
    let program = Path::new(args.first()?).file_name()?;
    let is_it =
        program == name && args.iter().any(|arg| arg == "run" || arg == "--forward_signals");
    is_it.then_some(Tool { pid, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_taken_out_of_lists() {
        let list = r#"["a","FUMEHOOD_END=1"],[{"to":"/dev/.fumehood-init"},{"to":"b"}]"#;
        let list = without(list, "FUMEHOOD_END=", ('"', '"')).unwrap();
        let list = without(&list, "/dev/.fumehood-", ('{', '}')).unwrap();
        assert_eq!(list, r#"["a"],[{"to":"b"}]"#);
        assert_eq!(without(&list, "/dev/.fumehood-", ('{', '}')), None);
    }

    #[test]
    fn a_tool_by_hand_holds_the_limit_itself() {
        let limit = Limit { memory: 4096, is_swap_included: true };
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let by_hand = |name, line| limited(name, &words(line), limit).join(" ");
        assert_eq!(
            by_hand("crun", "crun --cgroup-manager=disabled run --bundle /place/bundle x"),
            "crun --cgroup-manager=cgroupfs run --bundle /place/limited x"
        );
        assert_eq!(by_hand("runsc", "runsc --ignore-cgroups run x"), "runsc run x");
        let nsjail = by_hand("nsjail", "nsjail -- /payload/true");
        assert!(
            nsjail.contains(" --cgroup_mem_max 4096 ") && nsjail.ends_with(" -- /payload/true")
        );
    }
}
