//! Flags about files that go in and come out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fumehood::{CollectTo, Error, Input, InputSource, Job, Result, Stdin, TarSource};

use super::{on_host, set, unit};
use crate::args::FileArgs;

/// Adds the inputs of the command line to those of the job, and says what is collected.
pub(super) fn files(args: &FileArgs, job: &mut Job) -> Result<()> {
    for text in &args.input {
        let input = copied(text, &args.exclude)?;
        job.inputs.push(input);
    }
    for text in &args.input_tar {
        let input = unpacked(text)?;
        // The command line passes standard input on unless it is told otherwise.
        if input.source == InputSource::Tar(TarSource::Stdin) && job.stdin == Stdin::Inherit {
            job.stdin = Stdin::None;
        }
        job.inputs.push(input);
    }
    if !args.exclude.is_empty() && args.input.is_empty() {
        let problem = "has no directory to leave anything out of; name one with --input";
        return Err(Error::invalid("--exclude", &args.exclude[0], problem));
    }
    set(&mut job.input_limits.size, "--input-size", args.input_size.as_deref(), unit)?;
    set(&mut job.input_limits.entries, "--input-entries", args.input_entries.as_deref(), number)?;
    collected(args, job)
}

/// Reads `SOURCE[:TARGET]`.
fn copied(text: &str, exclude: &[String]) -> Result<Input> {
    let (source, target) = split(text);
    let path = on_host("--input", Path::new(source))?;
    let metadata = fs::metadata(&path).map_err(|error| unread(source, &error))?;
    let mut input = if metadata.is_dir() { Input::dir(path) } else { Input::file(path) };
    for glob in exclude {
        input = input.exclude(glob);
    }
    Ok(to(input, target))
}

/// Says why, and what somebody may have meant who has a colon in the name of a file that is not there.
fn unread(source: &str, error: &io::Error) -> Error {
    let meant = if source.contains(':') {
        "; a target after a colon is absolute, as in FILE:/workspace/FILE"
    } else {
        ""
    };
    Error::invalid("--input", source, format!("cannot be read: {error}{meant}"))
}

fn unpacked(text: &str) -> Result<Input> {
    let (source, target) = split(text);
    let input = match source {
        "-" => Input::tar_stdin(),
        path => Input::tar(on_host("--input-tar", Path::new(path))?),
    };
    Ok(to(input, target))
}

/// A target is absolute, so a colon without a slash after it belongs to a name.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rfind(":/") {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    }
}

fn to(input: Input, target: Option<&str>) -> Input {
    match target {
        Some(target) => input.to(target),
        None => input,
    }
}

fn collected(args: &FileArgs, job: &mut Job) -> Result<()> {
    let collect = &mut job.collect;
    collect.paths.extend(args.collect.iter().cloned());
    if let Some(path) = &args.collect_to {
        collect.to = destination(path)?;
    }
    set(&mut collect.files, "--collect-files", args.collect_files.as_deref(), number)?;
    let file_size = args.collect_file_size.as_deref();
    set(&mut collect.file_size, "--collect-file-size", file_size, unit)?;
    set(&mut collect.size, "--collect-size", args.collect_size.as_deref(), unit)
}

/// A number that may not be unlimited.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "must be a whole number".to_owned())
}

/// An archive by its name, else a directory.
fn destination(path: &Path) -> Result<CollectTo> {
    let absolute: PathBuf = std::path::absolute(path).map_err(|error| {
        let problem = format!("cannot be made absolute: {error}");
        Error::invalid("--collect-to", path.display(), problem)
    })?;
    let tar = path.extension().is_some_and(|extension| extension == "tar");
    Ok(if tar { CollectTo::Tar(absolute) } else { CollectTo::Dir(absolute) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_absolute() {
        assert_eq!(split("a"), ("a", None));
        assert_eq!(split("a:/b"), ("a", Some("/b")));
        assert_eq!(split("a:b"), ("a:b", None));
        assert_eq!(split("/a:/b:/c"), ("/a:/b", Some("/c")));
        assert_eq!(split("-:/workspace/x"), ("-", Some("/workspace/x")));
    }

    #[test]
    fn an_archive_is_told_by_its_name() {
        assert_eq!(destination(Path::new("/a/b.tar")).unwrap(), CollectTo::Tar("/a/b.tar".into()));
        assert_eq!(destination(Path::new("/a/b")).unwrap(), CollectTo::Dir("/a/b".into()));
    }
}
