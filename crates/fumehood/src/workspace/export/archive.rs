//! Archives whose bytes depend on nothing but the files.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};

use super::source::{Source, copying};
use super::zip::Zip;
use super::{ExportedFile, Format};
use crate::workspace::beneath::Tree;
use crate::{Error, Result};

/// 1980-01-01 00:00 UTC in seconds since 1970: the first moment that a zip can name.
const TIME: u64 = 315_532_800;

pub(super) fn write(
    tree: &Tree,
    files: &[ExportedFile],
    format: Format,
    to: &mut dyn Write,
) -> Result<()> {
    match format {
        Format::Zip => zip(tree, files, to),
        Format::Tar => tar(tree, files, to),
        Format::TarGz => {
            // Neither a time nor a name, and an operating system that is nobody's (255).
            let mut gzip = GzBuilder::new().operating_system(255).write(to, Compression::default());
            tar(tree, files, &mut gzip)?;
            gzip.finish().map(drop).map_err(finishing)
        }
    }
}

fn tar(tree: &Tree, files: &[ExportedFile], to: &mut dyn Write) -> Result<()> {
    let mut builder = tar::Builder::new(to);
    for file in files {
        let mut source = Source::open(tree, file)?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.size);
        header.set_mode(mode(file));
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        builder
            .append_data(&mut header, &file.path, &mut source)
            .map_err(|error| copying(file, error))?;
        source.finish()?;
    }
    builder.into_inner().and_then(Write::flush).map_err(finishing)
}

fn zip(tree: &Tree, files: &[ExportedFile], to: &mut dyn Write) -> Result<()> {
    let mut zip = Zip::new(to);
    for file in files {
        let mut source = Source::open(tree, file)?;
        zip.append(&file.path, mode(file), &mut source).map_err(|error| copying(file, error))?;
        source.finish()?;
    }
    zip.finish().map_err(finishing)
}

fn mode(file: &ExportedFile) -> u32 {
    if file.executable { 0o755 } else { 0o644 }
}

fn finishing(error: io::Error) -> Error {
    Error::internal("write the archive", error)
}
