//! The parts that a cell is built of.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::launch::{Launcher, Shape};
use super::script::{self, Script, Split};
use super::tree;
use super::trees::Trees;
use crate::plan::Plan;
use crate::workspace::changes::Base;
use crate::{MountNote, Result};

/// What of a cell is built.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Whole,
    /// What cells of its kind have in common.
    Shared(&'a Split),
    /// What is left when that is there.
    Rest,
}

impl Part<'_> {
    /// What is left to be built when that launcher has cloned an init.
    pub(super) fn by(launcher: &Launcher) -> Self {
        match launcher {
            Launcher::Template(_) => Self::Rest,
            Launcher::Direct | Launcher::Zygote(_) => Self::Whole,
        }
    }

    pub(super) fn shape(self, plan: &Plan) -> Shape {
        match self {
            Self::Whole => Shape::of(plan),
            Self::Shared(_) => Shape::of_template(plan),
            Self::Rest => Shape::in_template(plan),
        }
    }

    /// Its steps, and what there is to say of its mounts.
    pub(super) async fn script(
        self,
        launcher: &Launcher,
        plan: &Plan,
        join: Vec<tree::Join>,
        base: Option<&Base>,
    ) -> Result<Steps> {
        if let (Self::Rest, Launcher::Template(template)) = (self, launcher) {
            return template.rest(plan, join);
        }
        let mut trees = Trees::clone_listed(plan)?;
        trees.clone_layers(plan, base)?;
        let notes = trees.give_to_program(plan, launcher).await?;
        let mut script = match self {
            Self::Shared(split) => script::template(plan, split, trees)?,
            Self::Whole | Self::Rest => script::cell(plan, join, trees)?,
        };
        let fds = std::mem::take(&mut script.fds);
        Ok(Steps { script: Arc::new(script), fds, notes })
    }
}

/// What an init is told.
#[derive(Debug)]
pub(super) struct Steps {
    /// Without descriptors, so that others can be told the same.
    pub(super) script: Arc<Script>,
    /// Those of this one.
    pub(super) fds: Vec<OwnedFd>,
    pub(super) notes: Vec<MountNote>,
}

impl Steps {
    /// What follows on steps that an init has been told.
    pub(super) fn closing(opening: Script, plan: &Plan, join: Vec<tree::Join>) -> Result<Self> {
        let mut script = script::closing(opening, plan, join)?;
        let fds = std::mem::take(&mut script.fds);
        Ok(Self { script: Arc::new(script), fds, notes: Vec::new() })
    }
}
