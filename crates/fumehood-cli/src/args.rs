//! What can be written on the command line. Values are read in `lower`, so that their errors have
//! one form.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fumehood::BackendName;

use crate::export::ExportArgs;
use crate::help::{EXAMPLES, EXPLAIN_EXAMPLES, RUN_EXAMPLES, RUN_NOTES};
use crate::image::ImageArgs;
use crate::plain;
use crate::policy::PolicyArgs;

/// Run a program that nobody should trust, and learn what held while it ran.
#[derive(Debug, Parser)]
#[command(name = "fumehood", version, max_term_width = TERM_WIDTH, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Check(CheckArgs),
    Explain(ExplainArgs),
    Gc(GcArgs),
    Export(ExportArgs),
    Image(ImageArgs),
    Policy(PolicyArgs),
    Validate(ValidateArgs),
    /// Be the runner of a bundle: read a request as JSON from standard input, and run it
    Runner,
    #[cfg(feature = "serve")]
    Serve(crate::serve::ServeArgs),
    /// Print completions for a shell
    Completions {
        shell: Shell,
    },
    /// Print the manual page, for man(1): fumehood man | man -l -
    Man,
    /// Print the JSON schema of jobs or reports
    Schema {
        document: Document,
    },
}

/// Reads a command line, whose first word is our own name.
///
/// Mostly something is to be run, and then the parser is told of that alone: to tell it of all
/// commands takes a tenth of such a run.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Command, clap::Error> {
    if is_run(&words)
        && let Some(args) = words.get(2..).and_then(plain::read)
    {
        return Ok(Command::Run(args));
    }
    let no_text = words.iter().filter(|word| word.to_str().is_none());
    let no_text: Vec<_> = no_text.map(|word| format!("{word:?}")).collect();
    by_parser(words).map_err(|error| match error.kind() {
        // Of which it does not say where.
        ErrorKind::InvalidUtf8 => {
            let problem = "is not UTF-8, as all must be but paths";
            clap::Error::raw(error.kind(), format!("{}: {problem}", no_text.join(", ")))
        }
        _ => error,
    })
}

fn by_parser(mut words: Vec<OsString>) -> Result<Command, clap::Error> {
    if !is_run(&words) {
        return Cli::try_parse_from(words).map(|cli| cli.command);
    }
    words.remove(0);
    let matches = run_alone().try_get_matches_from(words)?;
    RunArgs::from_arg_matches(&matches).map(Command::Run)
}

/// Whether something is to be run.
fn is_run(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == RUN)
}

/// By which backend something is to be run, as far as a glance at the words tells; none if nothing is. A
/// wrong guess costs nothing but what was begun for it.
pub(crate) fn foreseen(words: &[OsString]) -> Option<BackendName> {
    const OPTION: &str = "--backend";
    let words = is_run(words).then_some(words)?.iter().skip(2).map(|word| word.to_str());
    let mut words = words.map_while(|word| word.filter(|word| *word != "--"));
    let named = words.find_map(|word| word.strip_prefix(OPTION));
    let name = match named {
        None => return Some(BackendName::default()),
        Some("") => words.next(),
        Some(value) => value.strip_prefix('='),
    };
    BackendName::ALL.into_iter().find(|backend| Some(backend.name()) == name)
}

const RUN: &str = "run";

/// The command that runs something, as it is among the others.
pub(crate) fn run_alone() -> clap::Command {
    let command = clap::Command::new(RUN).bin_name("fumehood run").max_term_width(TERM_WIDTH);
    with_amounts(RunArgs::augment_args(command))
}

/// An amount below nothing is told what is wrong with it, and is not taken for an option.
fn with_amounts(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let is_amount =
            matches!(names, [name] if ["TIME", "SIZE", "NUMBER"].contains(&name.as_str()));
        if is_amount { arg.allow_negative_numbers(true) } else { arg }
    })
}

const TERM_WIDTH: usize = 100;

/// A form of data that has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Document {
    Job,
    Report,
}

/// Say what this host can hold, and how to fix what it cannot
///
/// Each guarantee is tried, not guessed. The exit status is 0 if everything holds that jobs require
/// by default, else 99.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check this backend rather than native, with a word on each of the others
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Look at an OCI bundle without running it, and tell all that is wrong with it
///
/// Its config.json must be of version 1 and name a program; the root and the source of every bind mount
/// must exist, relative ones in the bundle. The exit status is 125 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The directory with the config.json
    pub(crate) bundle: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove what supervisors that died left behind
///
/// Killed together with its supervisor, a cell leaves nothing but empty control groups. What belongs
/// to a living supervisor is never touched. The exit status is 125 if something could not be
/// removed.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what would be done for a job, without doing it
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a program in full confinement
#[derive(Debug, Default, Args)]
#[command(after_help = RUN_EXAMPLES, after_long_help = RUN_NOTES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Write a report as JSON to this file, whatever happens
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) report: Option<PathBuf>,
    /// Print the report as JSON, with the program's output inside, instead of passing output on
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
}

/// What becomes of changes to copy-on-write mounts.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Changes in copy-on-write mounts")]
pub(crate) struct ChangeArgs {
    /// Afterwards, list what the program changed, or print it as a patch [default: list]
    #[arg(long, value_name = "list|patch", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "list")]
    pub(crate) diff: Option<DiffForm>,
    /// Afterwards, make the changes on the host if the program exited with 0, or in any case
    /// [default: success]
    #[arg(long, value_name = "success|always", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "success")]
    pub(crate) apply: Option<ApplyWhen>,
}

/// How changes are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffForm {
    /// One line each
    List,
    /// As a unified diff that git apply takes
    Patch,
}

/// When changes are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApplyWhen {
    /// If the program exited with 0
    Success,
    /// However it ended
    Always,
}

/// What to run and how to confine it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct JobArgs {
    /// The program and its arguments; the program is looked for inside the sandbox
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<String>,
    /// Read the job from a JSON or TOML file, or from standard input if FILE is -; flags override it
    #[arg(long = "job", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) confine: ConfineArgs,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the program sees")]
pub(crate) struct InsideArgs {
    /// Set a variable, or inherit it if no value is given
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file with a NAME=VALUE or NAME on each line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Inherit a variable although its name looks like a secret
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_secret: Vec<String>,
    /// Run in an image that was imported, with its entrypoint, variables, user and directory
    #[arg(long, value_name = "NAME", conflicts_with = "rootfs")]
    pub(crate) image: Option<String>,
    /// Run this program instead of the image's entrypoint and command; the empty text for none
    #[arg(long, value_name = "PROGRAM", requires = "image")]
    pub(crate) entrypoint: Option<String>,
    /// Show this directory, read-only, as the root of the file system
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Run an OCI bundle as it is; only with --backend runsc
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "rootfs"])]
    pub(crate) bundle: Option<PathBuf>,
    /// Working directory inside [default: /workspace]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// Make a host path visible inside: read-only unless :rw is added, or copy-on-write with :cow
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro|rw|cow]")]
    pub(crate) volume: Vec<OsString>,
    /// The same in long form: type=bind,source=PATH,target=PATH[,readonly=false|,cow][,optional]
    /// [,as-owner][,upper=DIR]; a field with a comma stands in double quotes
    #[arg(long, value_name = "FIELDS")]
    pub(crate) mount: Vec<OsString>,
    /// An empty directory in memory, as large as --tmp-size unless it says how large
    #[arg(long, value_name = "TARGET[:size=SIZE]")]
    pub(crate) tmpfs: Vec<OsString>,
    /// The current directory copy-on-write as /workspace: changes stay inside unless --apply is given
    #[arg(long)]
    pub(crate) here: bool,
    /// none: a loopback interface and nothing else; host: the host's network; of docker and podman a
    /// network of theirs [default: none]
    #[arg(long, value_name = "none|host|NAME")]
    pub(crate) network: Option<String>,
    /// Host name inside [default: sandbox]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Standard input: the caller's own, none, or a file [default: inherit, or what the job says]
    #[arg(long, value_name = "inherit|none|FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Pass standard input on: the same as --stdin inherit
    #[arg(short, long, conflicts_with = "stdin")]
    pub(crate) interactive: bool,
    /// Give the program a terminal of its own; works without one of the caller's too (80 by 24)
    #[arg(short, long)]
    pub(crate) tty: bool,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Files in and out")]
pub(crate) struct FileArgs {
    /// Copy a host file or directory into the sandbox, where the program can change it; TARGET is
    /// a directory's own path or a file's [default: /workspace, or a file's name in it]
    #[arg(long, value_name = "SOURCE[:TARGET]")]
    pub(crate) input: Vec<String>,
    /// Unpack an archive (tar, gzip, Zstandard) in the sandbox; - is standard input
    #[arg(long, value_name = "FILE|-[:TARGET]")]
    pub(crate) input_tar: Vec<String>,
    /// Leave out of directories that --input copies what matches: a name, or a path with a slash
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Bytes of all inputs [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) input_size: Option<String>,
    /// Files, directories and links of all inputs [default: 65536]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) input_entries: Option<String>,
    /// Bring back a path or glob when the program has ended; relative to the working directory
    #[arg(long, value_name = "GLOB")]
    pub(crate) collect: Vec<String>,
    /// Where that goes: an empty or new directory, or an archive FILE.tar [default: the report]
    #[arg(long, value_name = "DIR|FILE.tar")]
    pub(crate) collect_to: Option<PathBuf>,
    /// How many files are brought back at most [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) collect_files: Option<String>,
    /// Size of any one of them at most [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) collect_file_size: Option<String>,
    /// Size of all of them at most [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) collect_size: Option<String>,
}

/// Every limit is finite unless it says `unlimited`; one that is spelled out is enforced for the
/// whole process tree, or nothing runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits: an amount, or the word unlimited")]
pub(crate) struct LimitArgs {
    /// Wall-clock time [default: 10s]
    #[arg(long, alias = "wall-time", value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Time between SIGTERM and SIGKILL [default: 250ms]
    #[arg(long, value_name = "TIME")]
    pub(crate) grace: Option<String>,
    /// CPU time of all processes together [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub(crate) cpu_time: Option<String>,
    /// CPUs' worth of time, such as 0.5 [default: unlimited]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Memory of all processes together, swap off [default: 512MiB]
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Processes and threads [default: 64]
    #[arg(long, alias = "pids", value_name = "NUMBER")]
    pub(crate) pids_limit: Option<String>,
    /// Bytes of standard output, and as many of standard error [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) output_limit: Option<String>,
    /// What happens beyond that: end the program, or drop the rest [default: kill]
    #[arg(long, value_name = "kill|truncate")]
    pub(crate) output_excess: Option<String>,
    /// Size of any one file [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) file_size: Option<String>,
    /// Open files per process [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) open_files: Option<String>,
    /// Bytes in /workspace [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) workspace_size: Option<String>,
    /// Bytes in /tmp, and as many in /dev/shm [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) tmp_size: Option<String>,
    /// Files and directories in each of /workspace, /tmp and /dev/shm [default: 65536]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) inodes: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Guarantees")]
pub(crate) struct ConfineArgs {
    /// Guarantees without which nothing runs, beyond those required anyway
    #[arg(long, value_name = "GUARANTEE,…", value_delimiter = ',')]
    pub(crate) require: Vec<String>,
    /// Guarantees that may be missing
    #[arg(long, value_name = "GUARANTEE,…", value_delimiter = ',')]
    pub(crate) waive: Vec<String>,
    /// Filter of system calls: a profile in the JSON format of Docker or OCI [default: default]
    #[arg(long, value_name = "default|FILE")]
    pub(crate) seccomp: Option<PathBuf>,
    /// Mechanism that confines: native, runsc, crun, runc, docker, podman, nsjail, seatbelt, unconfined, or
    /// auto for the first that holds all that is required [default: native]
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn among_the_others() -> clap::Command {
        let mut whole = Cli::command();
        whole.build();
        whole.find_subcommand(RUN).unwrap().clone()
    }

    #[test]
    fn the_command_that_runs_is_the_same_alone() {
        let help = |mut command: clap::Command| {
            [command.render_help(), command.render_long_help(), command.render_usage()]
                .map(|text| text.to_string())
        };
        assert_eq!(help(run_alone()), help(among_the_others()));
    }

    #[test]
    fn a_backend_is_foreseen_as_it_will_be_read() {
        let foreseen = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            foreseen(&words)
        };
        assert_eq!(foreseen("fumehood run -- true"), Some(BackendName::Native));
        assert_eq!(foreseen("fumehood run --backend runc -- true"), Some(BackendName::Runc));
        assert_eq!(foreseen("fumehood run -m 1 --backend=crun true"), Some(BackendName::Crun));
        assert_eq!(foreseen("fumehood run -- x --backend runc"), Some(BackendName::Native));
        for line in
            ["fumehood check", "fumehood", "fumehood run --backend", "fumehood run --backend x"]
        {
            assert_eq!(foreseen(line), None, "{line}");
        }
    }

    #[test]
    fn alone_it_reads_the_same() {
        let lines = [
            "fumehood run -- true",
            "fumehood run --memory 1MiB -e A=1 sh -c exit",
            "fumehood run --help",
            "fumehood run --version",
            "fumehood run --memroy 1MiB true",
            "fumehood run --image a --rootfs / true",
            "fumehood run --diff=all true",
            "fumehood run --timeout",
        ];
        for line in lines {
            let words = || line.split(' ').map(OsString::from);
            let read = |result: Result<Command, clap::Error>| match result {
                Ok(command) => format!("{command:?}"),
                Err(error) => error.render().to_string(),
            };
            let whole = Cli::try_parse_from(words()).map(|cli| cli.command);
            assert_eq!(read(parse(words().collect())), read(whole), "{line}");
        }
    }
}
