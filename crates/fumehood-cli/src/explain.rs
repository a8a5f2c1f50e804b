//! `fumehood explain`: what would be done for a job, without doing it.

mod facts;
mod text;

use fumehood::{Plan, Result};

use crate::args::ExplainArgs;
use crate::error::internal;
use crate::{exit, lower, output};
use facts::Facts;

/// Explains the plan that the arguments lead to, and returns the exit status.
pub(crate) fn explain(args: &ExplainArgs) -> u8 {
    match facts(args).and_then(|facts| show(&facts, args.json)) {
        Ok(()) => exit::OK,
        Err(error) => output::failed(&error),
    }
}

fn facts(args: &ExplainArgs) -> Result<Facts> {
    Facts::of(&Plan::new(&lower::job(&args.job)?)?)
}

/// What `explain --json` prints about a plan.
pub(crate) fn document(plan: &Plan) -> Result<serde_json::Value> {
    let facts = Facts::of(plan)?;
    serde_json::to_value(&facts).map_err(|error| internal("write JSON")(error.into()))
}

fn show(facts: &Facts, json: bool) -> Result<()> {
    if json { output::json(facts) } else { output::print(&text::render(facts)) }
}
