//! `fumehood image`: root file systems from archives.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fumehood::image::{Image, ImportOptions, Imported, Store};
use fumehood::{ByteSize, Error, Result};

use crate::help::IMAGE_EXAMPLES;
use crate::table::Table;
use crate::{exit, output};

/// Keep images to run programs in
///
/// They are in fumehood/images below XDG_CACHE_HOME, or below .cache in the home directory.
#[derive(Debug, Args)]
#[command(after_help = IMAGE_EXAMPLES)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Import(ImportArgs),
    /// List the images
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a name, and with its last name the image
    Remove {
        /// Names, or the beginnings of digests
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Import the images of an archive
///
/// What docker save or podman save writes, or an OCI layout in a tar. Everything is held to the
/// digests that the archive says. Devices, set-id bits, owners and extended attributes are not kept.
#[derive(Debug, Args)]
struct ImportArgs {
    /// The archive, compressed or not; - for standard input
    archive: PathBuf,
    /// Name of the image, instead of those in the archive
    #[arg(long)]
    name: Option<String>,
    /// Files, directories and links in all layers [default: 1000000]
    #[arg(long, value_name = "NUMBER")]
    max_entries: Option<u64>,
    /// Bytes that are unpacked [default: 32GiB]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what the arguments say, and returns the exit status.
pub(crate) fn image(args: &ImageArgs) -> u8 {
    let done = match &args.command {
        ImageCommand::Import(args) => import(args),
        ImageCommand::List { json } => list(*json),
        ImageCommand::Remove { names } => remove(names),
    };
    match done {
        Ok(()) => exit::OK,
        Err(error) => output::failed(&error),
    }
}

fn import(args: &ImportArgs) -> Result<()> {
    let mut options = ImportOptions::default();
    options.name.clone_from(&args.name);
    options.limits.entries = args.max_entries.unwrap_or(options.limits.entries);
    if let Some(text) = &args.max_size {
        options.limits.size = text
            .parse::<ByteSize>()
            .map_err(|error| Error::invalid("--max-size", text, error.problem().to_owned()))?;
    }
    let store = Store::of_user()?;
    let imported = if args.archive == Path::new("-") {
        store.import_from(stdin()?, "standard input", &options)?
    } else {
        store.import(&args.archive, &options)?
    };
    if args.json { output::json(&imported) } else { output::print(&said(&imported)) }
}

fn stdin() -> Result<File> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    stdin
        .map(File::from)
        .map_err(|error| Error::invalid("ARCHIVE", "-", format!("cannot be read: {error}")))
}

fn said(imported: &[Imported]) -> String {
    let line = |one: &Imported| {
        let was = if one.was_there { "was there" } else { "imported" };
        format!("{was}: {}\n", named(&one.image))
    };
    imported.iter().map(line).collect()
}

fn named(image: &Image) -> String {
    if image.names.is_empty() { image.digest.clone() } else { image.names.join(", ") }
}

fn list(json: bool) -> Result<()> {
    let images = Store::of_user()?.list()?;
    if json {
        return output::json(&images);
    }
    let mut table = Table::default();
    for image in &images {
        let digest = image.digest.get(..19).unwrap_or(&image.digest);
        let files = format!("{} files", image.entries);
        table.row([&named(image), digest, &format!("{} bytes", image.size), &files]);
    }
    output::print(&table.render(""))
}

fn remove(names: &[String]) -> Result<()> {
    let store = Store::of_user()?;
    for name in names {
        let image = store.remove(name)?;
        let what = if image.names.is_empty() || !image.root.exists() { "image" } else { "name" };
        output::print(&format!("removed the {what}: {name}\n"))?;
    }
    Ok(())
}
