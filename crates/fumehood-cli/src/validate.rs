//! `fumehood validate` and `fumehood runner`: bundles that somebody else wrote.

use std::path::Path;

use crate::args::ValidateArgs;
use crate::{exit, output};

/// Looks at a bundle, and returns the exit status.
pub(crate) fn validate(args: &ValidateArgs) -> u8 {
    let found = fumehood::bundle::look(&args.bundle);
    let shown = if args.json {
        output::json(&found)
    } else {
        let lines: String = found.problems.iter().map(|problem| format!("{problem}\n")).collect();
        output::print(&lines)
    };
    match shown {
        Ok(()) if found.problems.is_empty() => exit::OK,
        Ok(()) => exit::FAILED,
        Err(error) => output::failed(&error),
    }
}

/// Whether this is the program of a bundle, which has no arguments to say so: `/runner`.
pub(crate) fn is_runner() -> bool {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    args.next().is_none() && Path::new(&name).file_name().is_some_and(|name| name == "runner")
}

/// Is a runner, and returns the exit status.
pub(crate) fn runner() -> u8 {
    fumehood::runner::serve(std::io::stdin(), std::io::stdout(), std::io::stderr())
}
