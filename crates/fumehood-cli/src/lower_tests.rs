//! Command lines, and the jobs and errors that they are.

use clap::{CommandFactory, Parser};
use fumehood::{Access, ByteSize, Cpus, Limits, Mount, Tmpfs, format_duration};

use super::*;
use crate::args::{Cli, Command};

fn lowered(line: &[&str]) -> Result<Job> {
    let cli = Cli::try_parse_from(["fumehood", "run"].iter().chain(line)).unwrap();
    match cli.command {
        Command::Run(args) => job(&args.job),
        _ => unreachable!("run was asked for"),
    }
}

/// The job of these flags and the program `p`.
fn flags(flags: &[&str]) -> Job {
    lowered(&[flags, &["--", "p"]].concat()).unwrap()
}

fn plain() -> Job {
    Job::new(["p"]).stdin(Stdin::Inherit)
}

#[test]
fn flags_become_fields() {
    for (given, job) in [
        (&["--workdir", "/tmp"][..], plain().cwd("/tmp")),
        (&["-w/tmp"], plain().cwd("/tmp")),
        (&["--hostname", "h"], plain().hostname("h")),
        (&["--network", "host"], plain().network(Network::Host)),
        (&["--tty"], plain().tty(true)),
        (&["-it"], plain().tty(true)),
        (&["--stdin", "none"], plain().stdin(Stdin::None)),
        (&["--stdin", "/f"], plain().stdin(Stdin::File("/f".into()))),
        (&["-e", "A=b=c"], plain().env("A", "b=c")),
        (&["-e", "A"], plain().inherit_env("A")),
        (&["-e", "A", "-e", "A=b"], plain().env("A", "b")),
        (&["-e", "A=b", "-e", "A"], plain().inherit_env("A")),
        (&["--allow-secret", "TOKEN"], plain().inherit_secret("TOKEN")),
        (&["--seccomp", "default"], plain()),
        (&["--seccomp", "/p.json"], plain().seccomp(Seccomp::Profile("/p.json".into()))),
        (&["--backend", "native"], plain()),
        (
            &["--require", "pids,memory", "--require", "ipc"],
            plain().require(Guarantee::Pids).require(Guarantee::Memory).require(Guarantee::Ipc),
        ),
        (&["--waive", "network"], plain().waive(Guarantee::Network)),
    ] {
        assert_eq!(flags(given), job, "{given:?}");
    }
}

#[test]
fn flags_become_mounts() {
    let mount = |access, optional| {
        let mut mount = Mount::new("/a", "/b");
        (mount.access, mount.optional) = (access, optional);
        plain().with_mount(mount)
    };
    for (given, job) in [
        (&["-v", "/a:/b"][..], mount(Access::ReadOnly, false)),
        (&["-v", "/a:/b:ro"], mount(Access::ReadOnly, false)),
        (&["-v", "/a:/b:rw"], mount(Access::ReadWrite, false)),
        (&["--mount", "type=bind,src=/a,dst=/b"], mount(Access::ReadOnly, false)),
        (&["--mount", "source=/a,target=/b,readonly"], mount(Access::ReadOnly, false)),
        (&["--mount", "source=/a,target=/b,ro=false"], mount(Access::ReadWrite, false)),
        (&["--mount", "source=/a,target=/b,optional"], mount(Access::ReadOnly, true)),
        (&["-v", "/a:/b:cow"], mount(Access::CopyOnWrite, false)),
        (&["--mount", "source=/a,target=/b,cow"], mount(Access::CopyOnWrite, false)),
        (&["--mount", "source=/a,target=/b,cow=false"], mount(Access::ReadOnly, false)),
        (&["--mount", "source=/a,target=/b,cow=false,ro=0"], mount(Access::ReadWrite, false)),
        (&["--mount", "source=/a,target=/b,as-owner"], {
            let mount = Mount::new("/a", "/b");
            plain().with_mount(Mount { as_owner: true, ..mount })
        }),
        (&["--tmpfs", "/b"], plain().tmpfs("/b")),
        (&["--tmpfs", "/b:size=1M"], {
            let mut job = plain();
            let size = Some(ByteSize::mib(1).into());
            job.tmpfs.push(Tmpfs { target: "/b".into(), size });
            job
        }),
        (&["--here"], plain().mount_cow(std::env::current_dir().unwrap(), Job::CWD)),
    ] {
        assert_eq!(flags(given), job, "{given:?}");
    }
}

/// The last word must not win: with `readonly=false` the source itself would be written to.
#[test]
fn fields_of_a_mount_do_not_contradict_each_other() {
    for (fields, message) in [
        ("cow,readonly=false", "has both cow and readonly"),
        ("readonly=false,cow", "has both cow and readonly"),
        ("ro,cow=true", "has both cow and readonly"),
        ("ro,readonly=false", "readonly is given twice"),
        ("cow,cow=false", "cow is given twice"),
        ("src=/c", "source is given twice"),
        ("destination=/b", "target is given twice"),
        ("type=bind,type=bind", "type is given twice"),
        ("optional,optional=false", "optional is given twice"),
        ("as-owner,as-owner", "as-owner is given twice"),
        ("cow,upper=/c,upper=/d", "upper is given twice"),
    ] {
        let mount = format!("source=/a,target=/b,{fields}");
        let error = lowered(&["--mount", &mount, "p"]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid job: --mount: {mount}: {message}")), "{error}");
    }
}

#[test]
fn flags_become_limits() {
    let limited = |change: fn(&mut Limits)| plain().limits(change);
    for (given, job) in [
        (&["-m", "64m"][..], limited(|l| l.memory = Some(ByteSize::mib(64).into()))),
        (&["--memory", "unlimited"], limited(|l| l.memory = Some(Limit::Unlimited))),
        (&["--pids-limit", "7"], limited(|l| l.pids = Some(7.into()))),
        (&["--cpus", "0.5"], limited(|l| l.cpus = Some(Cpus { milli: 500 }.into()))),
        (&["--timeout", "2s"], limited(|l| l.wall_time = Some(Duration::from_secs(2).into()))),
        (&["--cpu-time", "unlimited"], limited(|l| l.cpu_time = Some(Limit::Unlimited))),
        (&["--grace", "1s"], limited(|l| l.grace = Some(Duration::from_secs(1)))),
        (&["--output-limit", "1K"], limited(|l| l.output = Some(ByteSize::kib(1).into()))),
        (&["--output-excess", "truncate"], limited(|l| l.output_excess = Excess::Truncate)),
        (&["--file-size", "1G"], limited(|l| l.file_size = Some(ByteSize::gib(1).into()))),
        (&["--open-files", "99"], limited(|l| l.open_files = Some(99.into()))),
        (&["--workspace-size", "1M"], limited(|l| l.workspace = Some(ByteSize::mib(1).into()))),
        (&["--tmp-size", "1M"], limited(|l| l.tmp = Some(ByteSize::mib(1).into()))),
        (&["--inodes", "unlimited"], limited(|l| l.inodes = Some(Limit::Unlimited))),
    ] {
        assert_eq!(flags(given), job, "{given:?}");
    }
}

#[test]
fn what_follows_the_program_is_its_own() {
    let job = lowered(&["-m", "1g", "ls", "-m", "--json", "--", "x"]).unwrap();
    assert_eq!(job.args, ["ls", "-m", "--json", "--", "x"]);
}

#[test]
fn relative_paths_become_absolute() {
    let here = std::env::current_dir().unwrap();
    let source = |flag: &[&str]| flags(flag).mounts[0].source.clone();
    assert_eq!(source(&["-v", "src:/b"]), here.join("src"));
    assert_eq!(source(&["-v", "src/..:/b"]), here);
    assert_eq!(source(&["-v", "not-there:/b"]), here.join("not-there"));
    assert_eq!(source(&["--mount", "source=src,target=/b"]), here.join("src"));
    assert_eq!(flags(&["--stdin", "src"]).stdin, Stdin::File(here.join("src")));
}

#[test]
fn wrong_values_are_named_with_their_flag() {
    let volume = "write SOURCE:TARGET, such as ./data:/data";
    for (line, message) in [
        (&[][..], "PROGRAM: none: name a program".to_owned()),
        (&["-m", "100"], "--memory: 100: has no unit; write 100MiB or 100B".to_owned()),
        (&["--timeout", "10"], "--timeout: 10: has no unit; write 10s or 10ms".to_owned()),
        (&["--pids-limit", "x"], "--pids-limit: x: must be a whole number".to_owned()),
        (&["--waive", "ipc,all"], "--waive: all: must be one of: filesystem, ".to_owned()),
        (&["-v", "/x"], format!("--volume: /x: has no target; {volume}")),
        (&["-v", "/x:"], format!("--volume: /x:: has an empty path; {volume}")),
        (
            &["-v", "a:/b:z"],
            "--volume: a:/b:z: must end with :ro, :rw, :cow or the target".to_owned(),
        ),
        (&["-v", "a:b:c:d"], "--volume: a:b:c:d: has too many colons".to_owned()),
        (&["--mount", "target=/b"], "--mount: target=/b: has no source".to_owned()),
        (&["--mount", "type=nfs"], "--mount: type=nfs: type must be bind".to_owned()),
        (&["--mount", "size=1"], "--mount: size=1: unknown field \"size\"".to_owned()),
        (&["--mount", "ro=yes"], "--mount: ro=yes: ro must be true or false".to_owned()),
        (&["--job", "/not/there"], "--job: /not/there: cannot be read: No such file".to_owned()),
        (&["--job", "/dev/zero"], "--job: /dev/zero: cannot be read: it has more".to_owned()),
        (
            &["--env-file", "/dev/zero"],
            "--env-file: /dev/zero: cannot be read: it has more".to_owned(),
        ),
        (
            &["--job", "-", "--input-tar=-:/workspace/x"],
            "--input-tar: -:/workspace/x: standard input is the job".to_owned(),
        ),
        (
            &["--input", "/no:x"],
            "--input: /no:x: cannot be read: No such file or directory (os error 2); a target \
             after a colon is absolute"
                .to_owned(),
        ),
        (
            &["--collect-files", "unlimited"],
            "--collect-files: unlimited: must be a whole number".to_owned(),
        ),
        (&["--env-file", "/no"], "--env-file: /no: cannot be read: No such file".to_owned()),
    ] {
        let program: &[&str] = if line.is_empty() { &[] } else { &["p"] };
        let error = lowered(&[line, program].concat()).unwrap_err().to_string();
        let message = format!("invalid job: {message}");
        assert!(error.starts_with(&message), "{error}\n{message}");
    }
}

/// Defaults in help are written by hand: these are those that hold.
#[test]
fn help_names_the_defaults() {
    let facts = Limits::default();
    let time = |limit: Limit<Duration>| format_duration(limit.finite().unwrap());
    let run = Cli::command().find_subcommand("run").unwrap().clone();
    for (flag, default) in [
        ("workdir", Job::CWD.to_owned()),
        ("hostname", Job::HOSTNAME.to_owned()),
        ("timeout", time(facts.wall_time())),
        ("cpu_time", time(facts.cpu_time())),
        ("grace", format_duration(facts.grace())),
        ("cpus", facts.cpus().to_string()),
        ("memory", facts.memory().to_string()),
        ("pids_limit", facts.pids().to_string()),
        ("output_limit", facts.output().to_string()),
        ("file_size", facts.file_size().to_string()),
        ("open_files", facts.open_files().to_string()),
        ("workspace_size", facts.workspace().to_string()),
        ("tmp_size", facts.tmp().to_string()),
        ("inodes", facts.inodes().to_string()),
    ] {
        let arg = run.get_arguments().find(|arg| arg.get_id() == flag).unwrap();
        let help = arg.get_help().unwrap().to_string();
        assert!(help.contains(&format!("[default: {default}]")), "{flag}: {help}");
    }
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark() {
    let file = std::env::temp_dir().join(format!("fumehood-mark-{}", std::process::id()));
    for text in [r#"{"args": ["p"]}"#, "args = [\"p\"]"] {
        fs::write(&file, format!("\u{feff}{text}")).unwrap();
        let job = read_job(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(job.unwrap().args, ["p"], "{text}");
    }
}
