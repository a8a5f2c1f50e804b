//! `fumehood export`: project files as an archive.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fumehood::export::{
    Export, ExportLimits, ExportOptions, ExportedFile, Format, Secrets, Skipped,
};
use fumehood::{ByteSize, Error, ParseUnitError, Result};
use serde::Serialize;

use crate::error::internal;
use crate::help::EXPORT_EXAMPLES;
use crate::{exit, output};

/// Write the files of a project to an archive, without secrets and what can be made again
///
/// Says of everything that is left out which rule it fell under; `fumehood policy` lists the rules.
/// Links are not followed. The same files give the same bytes. The exit status is 125 if nothing
/// was exported.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Directory of the project
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Archive to write: a .zip, .tar, .tar.gz or .tgz, or - for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Form of the archive [default: by the name of the file]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// Only say what would be exported
    #[arg(short, long, conflicts_with = "output")]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave out what .gitignore files in DIR and below name
    #[arg(long, help_heading = "Rules")]
    gitignore: bool,
    /// What becomes of files whose names say that they hold secrets
    #[arg(long, value_name = "CHOICE", default_value = "skip", help_heading = "Rules")]
    secrets: SecretsName,
    /// Export this path below DIR although a rule leaves it out; can be repeated
    #[arg(long, value_name = "PATH", help_heading = "Rules")]
    keep: Vec<String>,
    /// Number of files [default: 10000]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    max_files: Option<u64>,
    /// Size of a file [default: 16MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    max_file_size: Option<String>,
    /// Size of all files together [default: 256MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    max_total: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    Zip,
    Tar,
    #[value(name = "tar.gz")]
    TarGz,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SecretsName {
    /// Leave them out and say so
    Skip,
    /// Export nothing
    Refuse,
    /// Export them like others
    Include,
}

/// Exports, or only lists, and returns the exit status.
pub(crate) fn export(args: &ExportArgs) -> u8 {
    match try_export(args) {
        Ok(()) => exit::OK,
        Err(error) => output::failed(&error),
    }
}

fn try_export(args: &ExportArgs) -> Result<()> {
    let options = options(args)?;
    let Some(path) = &args.output else {
        let export = Export::collect(&args.dir, &options)?;
        return show(&Document::of(None, &export), args.json);
    };
    if path == Path::new("-") {
        return to_stdout(args, &options);
    }
    let format = args.format.map(format).or_else(|| Format::of(path)).ok_or_else(|| {
        let problem = "must end with .zip, .tar, .tar.gz or .tgz, or --format must say what it is";
        unusable("--output", path, problem)
    })?;
    let export = Export::collect(&args.dir, &options)?;
    let archive = Archive::create(path)?;
    archive.write(|file| export.write(format, file))?;
    show(&Document::of(Some(path), &export), args.json)
}

/// The archive takes standard output, so what was left out goes to standard error.
fn to_stdout(args: &ExportArgs, options: &ExportOptions) -> Result<()> {
    let format = args.format.map(format).ok_or_else(|| {
        unusable("--output", Path::new("-"), "needs --format: zip, tar or tar.gz")
    })?;
    if args.json {
        let problem = "cannot go to standard output together with the archive";
        return Err(unusable("--json", Path::new("-"), problem));
    }
    let export = Export::collect(&args.dir, options)?;
    export.write(format, &mut BufWriter::new(io::stdout().lock()))?;
    export.skipped().iter().for_each(|one| output::say(&line(one)));
    Ok(())
}

fn options(args: &ExportArgs) -> Result<ExportOptions> {
    let mut options = ExportOptions::default();
    options.gitignore = args.gitignore;
    options.secrets = match args.secrets {
        SecretsName::Skip => Secrets::Skip,
        SecretsName::Refuse => Secrets::Refuse,
        SecretsName::Include => Secrets::Include,
    };
    let keep = args.keep.iter().map(|path| path.trim_end_matches('/'));
    options.keep = keep.map(|path| path.trim_start_matches("./").to_owned()).collect();
    options.archive.clone_from(&args.output);
    limits(args, &mut options.limits)?;
    Ok(options)
}

fn limits(args: &ExportArgs, limits: &mut ExportLimits) -> Result<()> {
    limits.files = args.max_files.unwrap_or(limits.files);
    for (flag, text, size) in [
        ("--max-file-size", &args.max_file_size, &mut limits.file_size),
        ("--max-total", &args.max_total, &mut limits.total),
    ] {
        if let Some(text) = text {
            *size = text.parse::<ByteSize>().map_err(|error: ParseUnitError| {
                Error::invalid(flag, text, error.problem().to_owned())
            })?;
        }
    }
    Ok(())
}

fn format(name: FormatName) -> Format {
    match name {
        FormatName::Zip => Format::Zip,
        FormatName::Tar => Format::Tar,
        FormatName::TarGz => Format::TarGz,
    }
}

fn unusable(flag: &str, path: &Path, problem: &str) -> Error {
    Error::invalid(flag, path.display(), problem)
}

/// An archive that is there as a whole or not at all.
#[derive(Debug)]
struct Archive {
    path: PathBuf,
    fresh: PathBuf,
    file: File,
}

impl Archive {
    /// Makes a file beside the archive, which takes its place when it is whole.
    fn create(path: &Path) -> Result<Self> {
        let refused =
            |error: io::Error| unusable("--output", path, &format!("cannot be written: {error}"));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Such names are skipped, should one stay behind in the project itself.
        let fresh = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create_new(&fresh).map_err(refused)?;
        Ok(Self { path: path.to_owned(), fresh, file })
    }

    fn write(self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let filled = fill(&mut BufWriter::new(&self.file));
        filled.and_then(|()| {
            let doing = format!("put the archive at {}", self.path.display());
            fs::rename(&self.fresh, &self.path).map_err(internal(doing))
        })
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Not there any more if all went well.
        let _ = fs::remove_file(&self.fresh);
    }
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// None if nothing was written.
    archive: Option<&'a Path>,
    bytes: u64,
    files: &'a [ExportedFile],
    skipped: &'a [Skipped],
}

impl<'a> Document<'a> {
    fn of(archive: Option<&'a Path>, export: &'a Export) -> Self {
        let (files, skipped) = (export.files(), export.skipped());
        Self { archive, bytes: export.size(), files, skipped }
    }
}

fn show(document: &Document<'_>, json: bool) -> Result<()> {
    if json { output::json(document) } else { output::print(&render(document)) }
}

fn render(document: &Document<'_>) -> String {
    let count = document.files.len();
    let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let summary = format!("{files}, {} bytes\n", document.bytes);
    let skipped = document.skipped.iter().map(|one| line(one) + "\n");
    let lines: Vec<_> = match document.archive {
        Some(archive) => vec![format!("{}: {summary}", archive.display())],
        None => {
            let paths = document.files.iter().map(|file| format!("{}\n", file.path));
            paths.chain([summary]).collect()
        }
    };
    lines.into_iter().chain(skipped).chain(hint(document.skipped)).collect()
}

/// A name can look like a secret and be none: `credentials.rs`.
fn hint(skipped: &[Skipped]) -> Option<String> {
    let one = skipped.iter().find(|one| one.rule.is_about_secrets())?;
    let path = one.path.trim_end_matches('/').escape_debug().to_string();
    Some(format!("what is no secret can be kept by its path: --keep {path}\n"))
}

fn line(skipped: &Skipped) -> String {
    format!("skipped: {}, {}", skipped.path.escape_debug(), skipped.rule)
}
