//! `fumehood gc`: removes what dead supervisors left behind.

use fumehood::{Leftover, Result};

use crate::args::GcArgs;
use crate::table::Table;
use crate::{exit, output};

/// Removes, or only finds, and returns the exit status: failure if something could not be removed.
pub(crate) fn gc(args: &GcArgs) -> u8 {
    let found = if args.dry_run { fumehood::leftovers() } else { fumehood::gc() };
    match found.and_then(|found| show(&found, args).map(|()| found)) {
        Ok(found) if found.iter().all(|one| one.failure.is_none()) => exit::OK,
        Ok(_) => exit::FAILED,
        Err(error) => output::failed(&error),
    }
}

fn show(found: &[Leftover], args: &GcArgs) -> Result<()> {
    if args.json { output::json(&found) } else { output::print(&render(found, args.dry_run)) }
}

/// One line for each; none if there is nothing.
fn render(found: &[Leftover], dry_run: bool) -> String {
    let mut table = Table::default();
    for one in found {
        let done = match (&one.failure, dry_run) {
            (Some(failure), _) => format!("still there: {failure}"),
            (None, true) => "would be removed".to_owned(),
            (None, false) if one.killed == 0 => "removed".to_owned(),
            (None, false) => "removed, with what ran in it".to_owned(),
        };
        let path = one.path.display().to_string();
        table.row([path, format!("of process {}", one.supervisor), done]);
    }
    table.render("")
}
