//! Plans for backends that are not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::own_root::{self, OwnRoot};
use super::{Namespaces, Plan, candidates, identity, inputs, layout, standing};
use crate::backend::{self, Backend};
use crate::env::Environment;
use crate::host::Host;
use crate::{BackendName, Error, ErrorKind, Job, Network, Result};

impl Plan {
    /// Plans a job that does not name the native backend.
    pub(crate) fn for_others(job: &Job, host: &Host) -> Result<Self> {
        match job.backend {
            BackendName::Native => Self::make(job, host, Vec::new()),
            BackendName::Auto => Self::automatic(job, host),
            name => Self::foreign(job, host, &backend::find(name)?),
        }
    }

    /// The plan of the first backend that holds what the job requires. What could still be refused is
    /// only found out at the start.
    fn automatic(job: &Job, host: &Host) -> Result<Self> {
        let mut first = None;
        for candidate in automatic(job) {
            match Self::for_others(&candidate, host) {
                Ok(plan) => return Ok(plan),
                Err(error) if goes_on(&error, candidate.backend) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(nothing_tried))
    }

    /// Plans a job for a backend that was found.
    pub(crate) fn foreign(job: &Job, host: &Host, backend: &Arc<dyn Backend>) -> Result<Self> {
        job.validate()?;
        let lays_out = backend.lays_out_root(job);
        let own = if lays_out { OwnRoot::of(job)? } else { None };
        let job = &own_root::applied(job, own.as_ref())?;
        let env = own.as_ref().map_or(&[][..], OwnRoot::env);
        let env = Environment::resolve_over(env, &job.env, job.tty, |name| std::env::var_os(name))?;
        let layout = if lays_out {
            layout::layout(job, own.as_ref(), true)?
        } else {
            layout::Layout::default()
        };
        if lays_out {
            inputs::check(job, &layout.root)?;
            inputs::check_for_tools(job)?;
        }
        let net = job.network == Network::None;
        let namespaces = Namespaces { base: true, ipc: true, pid: true, net };
        let mut plan = Self {
            candidates: candidates(job, &env),
            env,
            identity: identity(host, namespaces, own.as_ref().and_then(OwnRoot::user)),
            root_dir: own.as_ref().map(|own| own.dir.clone()),
            image: own.and_then(|own| own.image),
            namespaces,
            root: layout.root.into(),
            listed_from: layout.listed_from,
            filter: None,
            is_root: host.is_real_root && !host.can_be_nobody,
            fence: None,
            guarantees: BTreeMap::new(),
            notes: layout.notes,
            share_root: false,
            job: job.clone(),
            blocked: Vec::new(),
            foreign: Some(Arc::clone(backend)),
        };
        backend.fit(&mut plan)?;
        plan.guarantees = standing::guarantees(&plan);
        plan.refuse_missing()?;
        Ok(plan)
    }
}

/// The jobs that `auto` stands for, in the order in which they are tried: without anything waived on
/// every backend first. They never include one without confinement.
pub(crate) fn automatic(job: &Job) -> Vec<Job> {
    let mut strict = job.clone();
    strict.waive.clear();
    let lenient = (!job.waive.is_empty()).then_some(job);
    let passes = [Some(&strict), lenient].into_iter().flatten();
    passes.flat_map(|job| backend::AUTOMATIC.map(|backend| job.clone().backend(backend))).collect()
}

/// Whether another backend may do what this one refused to.
pub(crate) fn goes_on(error: &Error, backend: BackendName) -> bool {
    match error.kind() {
        ErrorKind::Unsupported { .. } | ErrorKind::NoBackend { .. } => true,
        // What is wrong for ours is wrong; another may lack what ours has.
        ErrorKind::InvalidJob { .. } => backend != BackendName::Native,
        _ => false,
    }
}

pub(crate) fn nothing_tried() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
    Error::internal("choose a backend", source)
}
