//! Reads the command lines that most runs have.
//!
//! To describe all that a run can be told takes a parser as long as to plan the run. So where nothing
//! stands before the program but `--json` and usual options with a value, each at most once but for `--env`
//! and `--volume`, they are read here. Whatever else there is, every mistake among it, is left to the parser
//! that knows everything; a test holds that both read the same.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::args::RunArgs;

/// What these words say, which come after `run`; none if that takes the whole parser to tell.
pub(crate) fn read(words: &[OsString]) -> Option<RunArgs> {
    let mut words = words.iter().map(|word| word.to_str());
    let mut args = RunArgs::default();
    loop {
        let word = words.next()??;
        if word == "--" {
            args.job.program = owned(words)?;
            break;
        }
        let Some(option) = word.strip_prefix('-') else {
            args.job.program = owned(std::iter::once(Some(word)).chain(words))?;
            break;
        };
        if option == "-json" && !args.json {
            args.json = true;
            continue;
        }
        let (name, value) = match option.split_once('=') {
            // Short options have their values in more ways than one.
            Some((name, _)) if !name.starts_with('-') => return None,
            Some(both) => both,
            None => (option, words.next()??),
        };
        // What looks like an option, or like nothing, may be a mistake.
        if value.is_empty() || value.starts_with('-') {
            return None;
        }
        set(&mut args, name, value)?;
    }
    // Where there is no program the job may be in a file, or this a mistake.
    args.job.program.first().filter(|program| !program.is_empty())?;
    Some(args)
}

fn owned<'a>(words: impl Iterator<Item = Option<&'a str>>) -> Option<Vec<String>> {
    words.map(|word| word.map(str::to_owned)).collect()
}

/// Sets what an option stands for, whose name lacks its first dash. None if it is not known here, or
/// set.
fn set(args: &mut RunArgs, name: &str, value: &str) -> Option<()> {
    let RunArgs { job, report, .. } = args;
    let limits = &mut job.limits;
    let text = match name {
        "-timeout" => &mut limits.timeout,
        "-grace" => &mut limits.grace,
        "-cpu-time" => &mut limits.cpu_time,
        "-cpus" => &mut limits.cpus,
        "-memory" => &mut limits.memory,
        "-pids-limit" => &mut limits.pids_limit,
        "-output-limit" => &mut limits.output_limit,
        "-output-excess" => &mut limits.output_excess,
        "-file-size" => &mut limits.file_size,
        "-open-files" => &mut limits.open_files,
        "-workspace-size" => &mut limits.workspace_size,
        "-tmp-size" => &mut limits.tmp_size,
        "-network" => &mut job.inside.network,
        "-hostname" => &mut job.inside.hostname,
        "-workdir" | "w" => return put(&mut job.inside.workdir, PathBuf::from(value)),
        "-report" => return put(report, PathBuf::from(value)),
        "-env" | "e" => {
            job.inside.env.push(value.to_owned());
            return Some(());
        }
        "-volume" | "v" => {
            job.inside.volume.push(value.into());
            return Some(());
        }
        _ => return None,
    };
    put(text, value.to_owned())
}

fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::args::run_alone;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn by_the_whole_parser(line: &str) -> Result<String, clap::Error> {
        let matches = run_alone().try_get_matches_from([words("run"), words(line)].concat())?;
        RunArgs::from_arg_matches(&matches).map(|args| format!("{args:?}"))
    }

    #[test]
    fn plain_lines_are_read_as_the_whole_parser_reads_them() {
        let options = "timeout grace cpu-time cpus memory pids-limit output-limit output-excess \
            file-size open-files workspace-size tmp-size network hostname workdir report env volume";
        let short = ["v", "e", "w"].map(|name| format!("-{name} a:b=c:ro -- true -{name} 2"));
        let each = options.split_whitespace().flat_map(|name| {
            [format!("--{name} 1 -- true"), format!("--{name}=1=2 sh -c --{name}=3")]
        });
        let others = [
            "-v a:b --volume c:d -v a:b:rw --volume=a:b --memory 1MiB -- true",
            "-e A=1 -e B --env C -w / true",
            "-v a true",
            "true",
            "-- true",
            "-- -x",
            "sh -c exit",
            "true -- a",
            "-- true -- --json",
            "true --help",
            "--json true --json",
            "--env A=1 --env B true",
            "--json --memory 1MiB --env A=1 -- a b",
        ];
        for line in each.chain(short).chain(others.map(str::to_owned)) {
            let plain = read(&words(&line)).map(|args| format!("{args:?}"));
            assert_eq!(plain, Some(by_the_whole_parser(&line).unwrap()), "{line}");
        }
    }

    #[test]
    fn whatever_else_there_is_is_left_to_the_whole_parser() {
        let lines = [
            "",
            "--",
            "--json",
            "--help",
            "--version",
            "-h",
            "--memory",
            "--memory 1MiB",
            "--memory= true",
            "--memory -- true",
            "--memory -1 true",
            "--memory 1 --memory 2 true",
            "--json --json true",
            "--json=1 true",
            "--memroy 1MiB true",
            "--tty true",
            "-m 1MiB true",
            "-t true",
            "-v",
            "-v a:b",
            "-va:b true",
            "-v=a:b true",
            "-e=A true",
            "-ve a true",
            "-v -- true",
            "-v -a:b true",
            "-w / --workdir / true",
            "-volume a:b true",
            "-V a:b true",
            "-- ",
            "--image a true",
            "---memory 1 true",
            "-memory 1 true",
            "-env=A true",
        ];
        for line in lines {
            assert_eq!(read(&words(line)).map(|args| format!("{args:?}")), None, "{line}");
        }
        assert!(read(&[]).is_none());
    }
}
