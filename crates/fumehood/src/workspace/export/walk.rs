//! Finding what is to be exported.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};

use super::ignored::Ignored;
use super::rules::{self, CACHE_TAG, Rule};
use super::source::Identity;
use super::{ExportOptions, ExportedFile, Secrets, Skipped, refused, unreadable};
use crate::Result;
use crate::workspace::beneath::Tree;

/// What a walk found, in no order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<ExportedFile>,
    pub(super) skipped: Vec<Skipped>,
}

pub(super) fn walk(tree: &Tree, options: &ExportOptions) -> Result<Found> {
    let archive = options.archive.as_deref().and_then(|path| fs::metadata(path).ok());
    let mut walk = Walk {
        tree,
        options,
        archive: archive.map(|metadata| (metadata.dev(), metadata.ino())),
        found: Found::default(),
        kept: BTreeSet::new(),
        names: 0,
        total: 0,
    };
    walk.directory(Path::new(""), 0, &Ignored::default())?;
    walk.all_kept()?;
    Ok(walk.found)
}

struct Walk<'a> {
    tree: &'a Tree,
    options: &'a ExportOptions,
    /// Device and inode of the archive that is being written.
    archive: Option<(u64, u64)>,
    found: Found,
    /// What was kept against a rule.
    kept: BTreeSet<String>,
    names: u64,
    total: u64,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, depth: usize, above: &Ignored) -> Result<()> {
        if depth > self.options.limits.depth {
            let most = self.options.limits.depth;
            return Err(refused(path.display(), format!("lies deeper than {most} directories")));
        }
        let open = self.tree.directory(path).map_err(|error| unreadable(path, &error))?;
        let ignored = self.ignored(path, &open, above)?;
        // In order, so that the same tree breaks the same limit with the same file.
        for name in self.list(path, &open)? {
            self.entry(path, &open, &name, depth, &ignored)?;
        }
        Ok(())
    }

    fn ignored(&self, path: &Path, open: &OwnedFd, above: &Ignored) -> Result<Ignored> {
        let name = path.join(".gitignore");
        // A link would not be followed by Git either.
        let there = statat(open, ".gitignore", AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if !self.options.gitignore || !there {
            return Ok(above.clone());
        }
        let file = self.tree.file(&name).map_err(|error| unreadable(&name, &error))?;
        above.and(path, file)
    }

    fn list(&mut self, path: &Path, open: &OwnedFd) -> Result<Vec<OsString>> {
        let refused_here = |error: rustix::io::Errno| unreadable(path, &error.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(open).map_err(refused_here)? {
            let name = entry.map_err(refused_here)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
                self.count_name(path)?;
            }
        }
        names.sort();
        Ok(names)
    }

    fn count_name(&mut self, path: &Path) -> Result<()> {
        self.names += 1;
        let most = self.options.limits.names;
        if self.names > most {
            let problem = format!("has more names than the {most} that are looked at");
            return Err(refused(shown(path), problem));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &Path,
        open: &OwnedFd,
        name: &OsStr,
        depth: usize,
        ignored: &Ignored,
    ) -> Result<()> {
        let path = parent.join(name);
        let stat = match statat(open.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return Err(unreadable(&path, &error.into())),
        };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if let Some(rule) = self.rule(parent, &path, &stat, ignored) {
            return self.skip(&path, directory, rule);
        }
        if directory { self.directory(&path, depth + 1, ignored) } else { self.file(&path, &stat) }
    }

    /// The rule that keeps something out, if any does.
    fn rule(&mut self, parent: &Path, path: &Path, stat: &Stat, ignored: &Ignored) -> Option<Rule> {
        let rule = self.first_rule(parent, path, stat, ignored)?;
        if rule.is_about_secrets() && self.options.secrets == Secrets::Include {
            return None;
        }
        let path = path.to_str().unwrap_or_default();
        if rule.can_be_overruled() && self.options.keep.contains(path) {
            self.kept.insert(path.to_owned());
            return None;
        }
        Some(rule)
    }

    fn first_rule(
        &self,
        parent: &Path,
        path: &Path,
        stat: &Stat,
        ignored: &Ignored,
    ) -> Option<Rule> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let directory = kind == FileType::Directory;
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Some(Rule::OddName);
        };
        if rules::is_odd(name) {
            return Some(Rule::OddName);
        }
        if !directory && kind != FileType::RegularFile {
            return Some(Rule::NotAFile);
        }
        if self.archive == Some((stat.st_dev, stat.st_ino)) {
            return Some(Rule::Archive);
        }
        let parent = parent.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        rules::by_name(name, parent, directory)
            .or_else(|| (directory && self.is_cache(path)).then_some(Rule::Cache))
            .or_else(|| ignored.names(path, directory).then_some(Rule::Gitignore))
    }

    fn is_cache(&self, path: &Path) -> bool {
        self.tree
            .directory(path)
            .is_ok_and(|open| statat(open, CACHE_TAG, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    fn skip(&mut self, path: &Path, directory: bool, rule: Rule) -> Result<()> {
        if rule.is_about_secrets() && self.options.secrets == Secrets::Refuse {
            let problem = format!("looks like a secret ({rule}), and those are refused");
            return Err(refused(path.display(), problem));
        }
        let slash = if directory { "/" } else { "" };
        let path = format!("{}{slash}", path.to_string_lossy());
        self.found.skipped.push(Skipped { path, rule });
        Ok(())
    }

    fn file(&mut self, path: &Path, stat: &Stat) -> Result<()> {
        let limits = &self.options.limits;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > limits.file_size.0 {
            let most = limits.file_size;
            return Err(refused(path.display(), format!("has {size} bytes; the limit is {most}")));
        }
        self.total = self.total.saturating_add(size);
        if self.total > limits.total.0 {
            let problem = format!("is where all files exceed {} together", limits.total);
            return Err(refused(path.display(), problem));
        }
        if self.found.files.len() as u64 >= limits.files {
            let problem = format!("is one file more than the limit of {}", limits.files);
            return Err(refused(path.display(), problem));
        }
        self.found.files.push(ExportedFile {
            path: path.to_string_lossy().into_owned(),
            size,
            executable: stat.st_mode & 0o100 != 0,
            identity: Identity::of(stat),
        });
        Ok(())
    }

    /// What is to be kept and was never in question is most likely misspelled.
    fn all_kept(&self) -> Result<()> {
        let stray = self.options.keep.difference(&self.kept).next();
        stray.map_or(Ok(()), |path| {
            let problem = "is to be kept, but no rule leaves it out, or it is in a directory that \
                           is left out itself";
            Err(refused(path, problem))
        })
    }
}

fn shown(path: &Path) -> std::path::Display<'_> {
    if path.as_os_str().is_empty() { Path::new(".").display() } else { path.display() }
}
