//! `fumehood policy`: what a configuration promises, from the code that keeps it.

mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use fumehood::export::{ExportLimits, Rule};
use fumehood::{Ability, Access, Entry, Guarantee, Plan, Result, Sandbox, Standing, Support};
use serde::Serialize;
use serde_json::Value;

use crate::args::JobArgs;
use crate::help::POLICY_EXAMPLES;
use crate::{exit, explain, lower, output};

/// Say what is promised: guarantees, limits, what is visible, and what an export leaves out
///
/// Of a job, or of the flags given; without any, of a job that has every default. Everything is read
/// off the plan that a run would follow and off the tables that are enforced, and the guarantees are
/// tried on this host.
#[derive(Debug, Args)]
#[command(after_help = POLICY_EXAMPLES)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is promised.
#[derive(Debug, Serialize)]
struct Document {
    version: &'static str,
    guarantees: BTreeMap<Guarantee, Promise>,
    /// What a program may use.
    limits: Value,
    /// `none` but a loopback of its own, or `host`.
    network: Value,
    files: Files,
    environment: Value,
    system_calls: Value,
    landlock: Value,
    export: ExportPolicy,
}

/// Where a guarantee stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Promise {
    /// It holds for every run.
    Held { by: Vec<String> },
    /// It is required and missing: no program runs.
    Refused { reason: String },
    /// Programs run without it.
    NotHeld { reason: String },
}

/// What a program sees.
#[derive(Debug, Serialize)]
struct Files {
    /// Of the host, read-only.
    read_only: Vec<Shown>,
    /// Of the host: what is written there outlives a run, and nothing else does.
    writable: Vec<Shown>,
    /// Its own, gone with the run.
    scratch: Vec<Scratch>,
}

#[derive(Debug, Serialize)]
struct Shown {
    path: PathBuf,
    on_host: PathBuf,
}

#[derive(Debug, Serialize)]
struct Scratch {
    path: PathBuf,
    /// In bytes; none for unlimited.
    size: Option<u64>,
    inodes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ExportPolicy {
    limits: ExportLimits,
    rules: Vec<ExportRule>,
}

#[derive(Debug, Serialize)]
struct ExportRule {
    name: Rule,
    about_secrets: bool,
    /// Empty where something else than a name decides.
    names: Vec<String>,
}

/// Prints the policy, and returns the exit status.
pub(crate) fn policy(args: &PolicyArgs) -> u8 {
    match document(&args.job).and_then(|document| show(&document, args.json)) {
        Ok(()) => exit::OK,
        Err(error) => output::failed(&error),
    }
}

fn show(document: &Document, json: bool) -> Result<()> {
    if json { output::json(document) } else { output::print(&text::render(document)) }
}

fn document(args: &JobArgs) -> Result<Document> {
    let mut args = args.clone();
    if args.program.is_empty() && args.file.is_none() {
        args.program.push("true".to_owned());
    }
    let plan = Plan::new(&lower::job(&args)?)?;
    let support = fumehood::blocking::block_on(Sandbox::direct().support())??;
    let mut facts = explain::document(&plan)?;
    let mut take = |name: &str| facts.get_mut(name).map(Value::take).unwrap_or_default();
    Ok(Document {
        version: env!("CARGO_PKG_VERSION"),
        guarantees: promises(&plan, &support),
        limits: take("limits"),
        network: output::name(plan.job.network.clone()).into(),
        files: files(&plan),
        environment: take("environment"),
        system_calls: take("syscalls"),
        landlock: take("landlock"),
        export: export(),
    })
}

/// A guarantee holds if the plan has a mechanism for it, and the host was seen to give it.
fn promises(plan: &Plan, support: &Support) -> BTreeMap<Guarantee, Promise> {
    let refused = support.refused();
    let waived = |guarantee| plan.job.waive.contains(&guarantee);
    let promise = |guarantee: Guarantee, standing: &Standing| match standing {
        Standing::Held { by } => match support.guarantees.get(&guarantee) {
            Some(Ability::Missing { reason, .. }) => {
                let reason = reason.clone();
                let required = refused.iter().any(|one| one.guarantee == guarantee);
                if required && !waived(guarantee) {
                    Promise::Refused { reason }
                } else {
                    Promise::NotHeld { reason }
                }
            }
            _ => Promise::Held { by: by.clone() },
        },
        other => Promise::NotHeld { reason: output::standing(other) },
    };
    let all = plan.guarantees.iter();
    all.map(|(guarantee, standing)| (*guarantee, promise(*guarantee, standing))).collect()
}

fn files(plan: &Plan) -> Files {
    let mut files = Files { read_only: Vec::new(), writable: Vec::new(), scratch: Vec::new() };
    for entry in plan.root.iter() {
        match entry {
            Entry::Bind { source, target, access, .. } => {
                let shown = Shown { path: target.clone(), on_host: source.clone() };
                let list = match access {
                    Access::ReadOnly => &mut files.read_only,
                    // What cannot be told to be less is listed as the most.
                    _ => &mut files.writable,
                };
                list.push(shown);
            }
            // What the program changes is kept elsewhere.
            Entry::Cow { source, target, upper, .. } => {
                let shown =
                    |on_host: &PathBuf| Shown { path: target.clone(), on_host: on_host.clone() };
                files.read_only.push(shown(source));
                files.writable.extend(upper.as_ref().map(shown));
            }
            Entry::Tmpfs { target, size, inodes, .. } => {
                files.scratch.push(Scratch { path: target.clone(), size: *size, inodes: *inodes });
            }
            _ => {}
        }
    }
    files
}

fn export() -> ExportPolicy {
    let rule = |name: Rule| ExportRule {
        name,
        about_secrets: name.is_about_secrets(),
        names: name.patterns(),
    };
    ExportPolicy {
        limits: ExportLimits::default(),
        rules: Rule::ALL.into_iter().map(rule).collect(),
    }
}
