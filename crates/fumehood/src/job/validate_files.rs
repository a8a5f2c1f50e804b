//! What can be said against inputs and collection without looking at the host.

use std::path::Path;

use super::files::{CollectTo, Input, InputSource, TarSource};
use super::validate::{RESERVED, inside, on_host, refuse};
use super::{Job, Stdin};
use crate::workspace::glob::Glob;
use crate::{ByteSize, Result};

pub(super) fn check(job: &Job) -> Result<()> {
    job.inputs.iter().enumerate().try_for_each(|(index, one)| input(index, one))?;
    standard_input(job)?;
    input_limits(job)?;
    let paths = &job.collect.paths;
    if paths.len() > MOST_PATHS {
        let problem =
            format!("are too many; at most {MOST_PATHS}: a glob or a directory says more");
        return refuse("collect.paths", paths.len(), problem);
    }
    paths.iter().enumerate().try_for_each(|(index, path)| collected(index, path))?;
    destination(job)
}

/// Each is compared with every name that is looked at.
const MOST_PATHS: usize = 1000;

/// Bytes of a path that the kernel takes (`path_resolution(7)`), and of a glob.
const LONGEST_PATH: usize = 4096;

fn input(index: usize, input: &Input) -> Result<()> {
    let field = |name: &str| format!("inputs[{index}].{name}");
    match &input.source {
        InputSource::Dir { path, exclude } => {
            on_host(&field("dir"), path)?;
            for (at, pattern) in exclude.iter().enumerate() {
                glob(&format!("inputs[{index}].exclude[{at}]"), pattern)?;
            }
        }
        InputSource::File(path) => on_host(&field("file"), path)?,
        InputSource::Tar(TarSource::File(path)) => on_host(&field("tar"), path)?,
        InputSource::Bytes { mode, .. } if *mode > 0o777 => {
            return refuse(field("mode"), format_args!("{mode:o}"), "must be 777 at most");
        }
        _ => {}
    }
    inside(&field("to"), &input.to)?;
    if input.to == Path::new("/") {
        let problem = "must be in the program's own scratch, as /workspace is";
        return refuse(field("to"), format_args!("{:?}", input.to), problem);
    }
    Ok(())
}

fn glob(field: &str, text: &str) -> Result<()> {
    let shown = format_args!("{text:?}");
    if text.contains('\0') {
        return refuse(field, shown, "must not contain a NUL byte");
    }
    match Glob::parse(text.as_bytes()) {
        Err(bad) => refuse(field, shown, bad.to_string()),
        Ok(glob) if glob.parts().is_empty() => refuse(field, shown, "must name something"),
        Ok(_) => Ok(()),
    }
}

fn standard_input(job: &Job) -> Result<()> {
    let from_stdin = |input: &&Input| input.source == InputSource::Tar(TarSource::Stdin);
    let count = job.inputs.iter().filter(from_stdin).count();
    if count > 1 {
        return refuse("inputs", "tar from stdin", "can be given once: there is one stdin");
    }
    if count == 1 && job.stdin == Stdin::Inherit {
        let problem = "an archive is read from it; set stdin to something else, such as \"none\"";
        return refuse("stdin", "inherit", problem);
    }
    Ok(())
}

fn input_limits(job: &Job) -> Result<()> {
    let limits = &job.input_limits;
    let least = |name: &str, amount: u64| {
        if amount > 0 {
            Ok(())
        } else {
            refuse(format!("input_limits.{name}"), 0, "must be 1 or more")
        }
    };
    least("entries", limits.entries)?;
    least("size", limits.size.0)?;
    least("depth", limits.depth.into())?;
    least("ratio", limits.ratio.into())?;
    // Names in a path, each with a slash, of the 4096 bytes that the kernel takes.
    if limits.depth > 1024 {
        return refuse("input_limits.depth", limits.depth, "is too large; at most 1024");
    }
    bounded("input_limits.size", limits.size)
}

/// Sizes far from the largest number can be added up.
fn bounded(field: &str, size: ByteSize) -> Result<()> {
    let most = ByteSize(1 << 60);
    if size > most {
        return refuse(field, size, format!("is too large; at most {most}"));
    }
    Ok(())
}

fn collected(index: usize, path: &str) -> Result<()> {
    let field = format!("collect.paths[{index}]");
    if path.len() > LONGEST_PATH {
        let problem = format!("is too long; at most {LONGEST_PATH} bytes");
        return refuse(field, format_args!("{} bytes", path.len()), problem);
    }
    glob(&field, path)?;
    if path.split('/').any(|name| name == "..") {
        return refuse(field, format_args!("{path:?}"), "must not contain ..");
    }
    let below = |reserved: &&&str| Path::new(path).starts_with(reserved);
    if let Some(reserved) = RESERVED.iter().find(below)
        && !Path::new(path).starts_with("/dev/shm")
    {
        let problem = format!("is in {reserved}, where there are no files of the program");
        return refuse(field, format_args!("{path:?}"), problem);
    }
    Ok(())
}

fn destination(job: &Job) -> Result<()> {
    let collect = &job.collect;
    match &collect.to {
        CollectTo::Report => {}
        CollectTo::Dir(path) => on_host("collect.to.dir", path)?,
        CollectTo::Tar(path) => on_host("collect.to.tar", path)?,
    }
    if collect.to != CollectTo::Report && collect.paths.is_empty() {
        let problem = "nothing is collected; name a path or a glob";
        return refuse("collect.paths", "[]", problem);
    }
    bounded("collect.file_size", collect.file_size)?;
    bounded("collect.size", collect.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_passes() {
        for job in [
            Job::new(["a"]).input(Input::dir("/src").exclude("*.o").exclude("target/**")),
            Job::new(["a"]).input(Input::tar_stdin()),
            Job::new(["a"]).input(Input::bytes("x").to("/tmp/x").executable()),
            Job::new(["a"]).collect("build/*.xml").collect("/tmp/**").collect("/dev/shm/x"),
        ] {
            assert_eq!(job.validate().map_err(|error| error.to_string()), Ok(()));
        }
    }

    #[track_caller]
    fn assert_named<const COUNT: usize>(cases: [(Job, &str); COUNT]) {
        for (job, message) in cases {
            assert_eq!(job.validate().unwrap_err().to_string(), format!("invalid job: {message}"));
        }
    }

    fn job() -> Job {
        Job::new(["a"])
    }

    #[test]
    fn what_is_wrong_with_inputs_is_named() {
        let inherit = job().input(Input::tar_stdin()).stdin(Stdin::Inherit);
        let mut shallow = job();
        shallow.input_limits.depth = 0;
        assert_named([
            (
                job().input(Input::dir("src")),
                "inputs[0].dir: \"src\": must be absolute: it would depend on the directory of \
                 the caller",
            ),
            (
                job().input(Input::dir("/a")).input(Input::bytes("x").to("x")),
                r#"inputs[1].to: "x": must be absolute, such as "/x""#,
            ),
            (
                job().input(Input::dir("/a").to("/workspace/../etc")),
                "inputs[0].to: \"/workspace/../etc\": must not contain ..: what it means depends \
                 on links",
            ),
            (
                job().input(Input::dir("/a").to("/")),
                "inputs[0].to: \"/\": must be in the program's own scratch, as /workspace is",
            ),
            (
                job().input(Input::dir("/a").exclude("[")),
                "inputs[0].exclude[0]: \"[\": has a [ without its ]; write \\[ for the character",
            ),
            (
                inherit,
                "stdin: inherit: an archive is read from it; set stdin to something else, such \
                 as \"none\"",
            ),
            (shallow, "input_limits.depth: 0: must be 1 or more"),
        ]);
    }

    #[test]
    fn what_is_wrong_with_what_is_collected_is_named() {
        assert_named([
            (job().collect("a/../b"), "collect.paths[0]: \"a/../b\": must not contain .."),
            (
                (0..1001).fold(job(), |job, number| job.collect(number.to_string())),
                "collect.paths: 1001: are too many; at most 1000: a glob or a directory says more",
            ),
            (
                job().collect("a".repeat(4097)),
                "collect.paths[0]: 4097 bytes: is too long; at most 4096 bytes",
            ),
            (job().collect(""), "collect.paths[0]: \"\": must name something"),
            (
                job().collect("/proc/self/mem"),
                "collect.paths[0]: \"/proc/self/mem\": is in /proc, where there are no files of \
                 the program",
            ),
            (
                job().collect_to(CollectTo::Dir("/out".into())),
                "collect.paths: []: nothing is collected; name a path or a glob",
            ),
            (
                job().collect("a").collect_to(CollectTo::Tar("out.tar".into())),
                "collect.to.tar: \"out.tar\": must be absolute: it would depend on the directory \
                 of the caller",
            ),
        ]);
    }
}
