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

    /// Whether its init finds out by itself that it is in the groups which it joins. One in a template
    /// has a list that is the same for all, whatever their groups are called.
    pub(super) fn checks(self, joins: &tree::Joins) -> bool {
        matches!(self, Self::Whole) && !joins.groups.is_empty()
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
        joins: tree::Joins,
        base: Option<&Base>,
    ) -> Result<Steps> {
        if let (Self::Rest, Launcher::Template(template)) = (self, launcher) {
            return template.rest(plan, joins.groups);
        }
        let mut trees = Trees::clone_listed(plan)?;
        trees.clone_layers(plan, base)?;
        let notes = trees.give_to_program(plan, launcher).await?;
        let mut script = match self {
            Self::Shared(split) => script::template(plan, split, trees)?,
            Self::Whole | Self::Rest => script::cell(plan, joins, trees)?,
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
    /// Steps that an init has been told, none of which takes a descriptor.
    pub(super) fn told(script: Script) -> Self {
        Self { script: Arc::new(script), fds: Vec::new(), notes: Vec::new() }
    }

    /// What follows on the steps of the ground of a root, which an init has been told.
    pub(super) async fn after_ground(
        ground: Script,
        launcher: &Launcher,
        plan: &Plan,
        joins: tree::Joins,
    ) -> Result<Self> {
        let trees = Trees::clone_listed(plan)?;
        let notes = trees.give_to_program(plan, launcher).await?;
        Self::closing(script::listed(ground, plan, trees)?, plan, joins, notes)
    }

    /// What follows on the steps of a root that an init has been told, or will be with these.
    pub(super) fn closing(
        opening: Script,
        plan: &Plan,
        joins: tree::Joins,
        notes: Vec<MountNote>,
    ) -> Result<Self> {
        let mut script = script::closing(opening, plan, joins)?;
        let fds = std::mem::take(&mut script.fds);
        Ok(Self { script: Arc::new(script), fds, notes })
    }
}
