//! What becomes of changes to copy-on-write mounts.

use std::io::{self, Write};
use std::path::Path;

use fumehood::{Change, Changes, Outcome, Report, Result};

use crate::args::{ApplyWhen, ChangeArgs, DiffForm};
use crate::error::internal;
use crate::{exit, output};

/// Prints and applies changes as it was asked for, and adds what is to be said of it. The status if that
/// changes it.
///
/// # Errors
/// The changes cannot be printed, or nobody can tell what was changed on the host.
pub(crate) fn handle(
    args: &ChangeArgs,
    json: bool,
    result: &mut Result<Report>,
    changes: Option<Changes>,
    notices: &mut Vec<String>,
) -> Result<Option<u8>> {
    let Ok(report) = result else { return Ok(None) };
    let noted = report.mounts.iter().map(|note| format!("{}: {}", shown(&note.target), note.text));
    notices.extend(noted);
    let Some(changes) = changes else {
        if args.diff.is_some() || args.apply.is_some() {
            notices.push("no mount is copy-on-write, so there are no changes".to_owned());
        }
        return Ok(None);
    };
    // With --json they are in the report, which is all that is printed.
    match args.diff.filter(|_| !json) {
        Some(DiffForm::List) => list(report)?,
        Some(DiffForm::Patch) => patch(&changes)?,
        None => {}
    }
    match args.apply {
        Some(ApplyWhen::Success) if report.outcome != (Outcome::Exited { code: 0 }) => {
            notices.push("nothing was applied: the program did not exit with 0".to_owned());
            Ok(None)
        }
        Some(_) => apply(&changes, report, notices),
        None => Ok(None),
    }
}

/// One line a change; the paths are told apart by their mount where there is more than one.
fn list(report: &Report) -> Result<()> {
    let mut text = String::new();
    for diff in &report.diff {
        if report.diff.len() > 1 {
            text += &format!("{}:\n", shown(&diff.target));
        }
        text.extend(diff.changes.iter().map(|change: &Change| format!("{change}\n")));
        if !diff.complete {
            text += "(there are more changes, or deeper ones, than are listed)\n";
        }
    }
    output::print(&text)
}

fn patch(changes: &Changes) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match changes.patch(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(internal("print a patch")(error))
        }
        _ => Ok(()),
    }
}

fn apply(changes: &Changes, report: &mut Report, notices: &mut Vec<String>) -> Result<Option<u8>> {
    report.applied = changes.apply()?;
    let mut all = true;
    for applied in &report.applied {
        for left in &applied.refused {
            all = false;
            let path = applied.source.join(&left.path);
            notices.push(format!("not applied: {}: {}", shown(&path), left.reason));
        }
    }
    Ok((!all && report.outcome == Outcome::Exited { code: 0 }).then_some(exit::NOT_APPLIED))
}

fn shown(path: &Path) -> String {
    fumehood::quoted(path).to_string()
}
