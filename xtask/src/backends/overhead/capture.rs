//! The command line of a tool, and the files that we made for it, taken from a run of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Pair;
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
    let own = dir.join(name);
    let copied = Command::new("cp").arg("-a").arg(inside(tool.pid, &place)).arg(&own).status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err("its place could not be copied".to_owned());
    }
    drop(live);
    fs::remove_dir_all(own.join("state"))
        .and_then(|()| fs::create_dir(own.join("state")))
        .map_err(said)?;
    let moved = |text: &str| text.replace(&place.display().to_string(), &own.display().to_string());
    if name != "nsjail" {
        let config = own.join("bundle/config.json");
        let text = fs::read_to_string(&config).map_err(said)?;
        let args = r#""/dev/.fumehood-init","sleep","50""#;
        let text = moved(&text).replace(args, r#""/payload/true""#);
        fs::write(&config, text).map_err(said)?;
    }
    let hand = by_hand(name, &tool.args).iter().map(|arg| moved(arg)).collect::<Vec<_>>();
    match hand.iter().find(|arg| arg.contains(char::is_whitespace)) {
        Some(arg) => Err(format!("{arg:?} has a space")),
        None => Ok(Pair { name, ours, hand: hand.join(" ") }),
    }
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
    let is_ours = |arg: &&String| !arg.starts_with("--debug-log");
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
            // nsjail writes no such file; a moment later its log is there, which is not used.
            if let Some(tool) = found
                && let Some(place) = tool.place()
            {
                let seen = inside(tool.pid, &place);
                let is_up = name == "nsjail" || seen.join("pid").exists();
                if is_up && seen.join("bundle").exists() {
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
