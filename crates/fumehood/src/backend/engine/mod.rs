//! Containers of Docker and Podman, asked for over the engine's own socket.
//!
//! An engine makes the walls; all else is as everywhere. The container is made by a [`preset`] that
//! nothing can weaken. Its process 1 is this very binary ([`inside`]), which takes an [`order`], says
//! how the container truly is ([`facts`]), starts the program, and passes on how it ended and which
//! files are wanted. The supervisor times, caps and judges as it does for our own cells.
//!
//! The client speaks HTTP by hyper, which the service has anyway: the usual crate for it, bollard,
//! adds 1.4 MB and a hundred crates for the dozen requests that are made here.

mod api;
mod attach;
mod facts;
mod failure;
mod gc;
mod guard;
mod handshake;
mod http;
mod image;
pub(crate) mod inside;
mod limits;
mod meter;
mod order;
mod outside;
mod preset;
mod progress;
mod refuse;
mod running;
mod socket;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::backend::native::ahead::Ahead;
use crate::backend::native::launch::Launcher;
use crate::backend::native::script::TerminalSize;
use crate::backend::{Backend, Lack, Soon, Started};
use crate::plan::{Identity, Plan};
use crate::{BackendName, Error, ErrorKind, Guarantee, Job, Result, Root};

use api::{Info, Version};
use failure::{failed, not_there};
use http::{Client, Failure};
use image::Reference;

pub(crate) use gc::gc;
pub use progress::on_pull;

/// An engine that answers.
#[derive(Debug)]
pub(crate) struct Engine {
    name: BackendName,
    client: Client,
    /// Podman says so in a header.
    podman: bool,
    info: OnceLock<Info>,
}

/// Looks for an engine.
///
/// # Errors
/// [`ErrorKind::NoBackend`] if it does not answer.
pub(crate) fn find(name: BackendName) -> Result<Arc<dyn Backend>> {
    let client = Client::new(socket::socket(name)?);
    // Podman asks all its parts for theirs when it is asked for its version: half a second.
    let podman = now(client.ping("libpod-api-version"))?.map_err(|failure| match failure {
        Failure::Connect(error) => not_there(name, &error),
        Failure::Broken(error) => not_there(name, &error),
        Failure::Refused { message, .. } => {
            let reason = format!("does not answer: {message}");
            ErrorKind::NoBackend { backend: name, reason, fix: None }.into()
        }
    })?;
    Ok(Arc::new(Engine { name, client, podman: podman.is_some(), info: OnceLock::new() }))
}

/// Waits for an answer where nobody can: on a thread of its own, with a runtime of its own.
fn now<T: Send>(answer: impl Future<Output = T> + Send) -> Result<T> {
    let asked =
        std::thread::scope(|scope| scope.spawn(|| crate::blocking::block_on(answer)).join());
    asked.unwrap_or_else(|_| {
        let source = std::io::Error::other("the thread that asked is gone");
        Err(Error::internal("ask the engine", source))
    })
}

impl Engine {
    /// Whether it is Podman, by whichever name it is used.
    const fn is_podman(&self) -> bool {
        self.podman
    }

    /// What it says about itself; asked once.
    fn info(&self) -> Option<&Info> {
        if let Some(info) = self.info.get() {
            return Some(info);
        }
        let info = now(self.client.info()).ok()?.ok()?;
        Some(self.info.get_or_init(|| info))
    }

    /// The runtime for a job: gVisor if an application kernel is required and the engine has one.
    /// Podman's service takes no runtime from its clients, and lists some that it has not got.
    fn runtime(&self, plan: &Plan) -> Option<String> {
        let wanted = plan.job.require.contains(&Guarantee::KernelBoundary);
        let info = self.info.get().or_else(|| wanted.then(|| self.info()).flatten())?;
        let is_gvisor = |name: &&String| name.as_str() == "runsc" || name.as_str() == "gvisor";
        let found = info.runtimes.keys().find(is_gvisor)?;
        let can_choose = wanted && !self.is_podman();
        (can_choose || is_gvisor(&&info.default_runtime)).then(|| found.clone())
    }

    fn reference(plan: &Plan) -> Result<Reference> {
        match &plan.job.root {
            Root::Image { image, .. } => Reference::parse(image),
            _ => Err(refuse::no_image(&plan.job)),
        }
    }

    /// This binary on the host, which the engine mounts into the container.
    fn init(&self) -> Result<PathBuf> {
        let found = crate::zygote::program().ok_or(ErrorKind::NoLauncher)?;
        let found = std::fs::canonicalize(&found)
            .map_err(|error| Error::internal("find this program's own file", error))?;
        refuse::dynamic(self.name, &found)?;
        Ok(found)
    }

    fn labels(plan: &Plan) -> Result<(String, BTreeMap<String, String>)> {
        let owner = crate::backend::native::cgroup::Owner::current();
        let owner = owner.map_err(|error| Error::internal("read /proc/self/stat", error))?;
        let name = owner.name();
        let program = plan.job.args.first().cloned().unwrap_or_default();
        let labels = [(gc::LABEL.to_owned(), name.clone()), ("fumehood.program".into(), program)];
        Ok((name, labels.into()))
    }
}

impl Backend for Engine {
    fn name(&self) -> BackendName {
        self.name
    }

    fn version(&self) -> String {
        let version = now(self.client.version()).ok().and_then(std::result::Result::ok);
        let Version { version, api_version, components } = version.unwrap_or_default();
        let engine = if self.is_podman() { "Podman" } else { "Docker" };
        let parts = components.iter().filter(|part| !part.name.contains("ngine"));
        let parts: Vec<_> = parts.map(|part| format!("{} {}", part.name, part.version)).collect();
        let parts =
            if parts.is_empty() { String::new() } else { format!("; {}", parts.join(", ")) };
        let socket = self.client.socket().display();
        let parts = parts.replace('\n', " ");
        format!("{engine} {version} at {socket}, API {api_version}{parts}")
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(info) = self.info() else { return notes };
        let limits = [
            (info.memory_limit, "memory"),
            (info.pids_limit, "the number of processes"),
            (info.cpu_quota, "CPUs"),
        ];
        for (_, what) in limits.iter().filter(|(can, _)| !can) {
            notes.push(format!("the engine cannot limit {what} on this host"));
        }
        if !self.is_podman() && info.runtimes.keys().any(|name| name == "runsc") {
            notes.push("kernel-boundary can be required: the engine has the runtime runsc".into());
        }
        if info.security_options.iter().flatten().any(|option| option.contains("rootless")) {
            notes.push("the engine is rootless".to_owned());
        }
        notes
    }

    /// Any image will do: the program is this binary, which is in every container.
    fn trial(&self, mut job: Job) -> Job {
        let images = now(self.client.images()).ok().and_then(std::result::Result::ok);
        let image = images.iter().flatten().next().map(|image| image.id.clone());
        let image = image.unwrap_or_else(|| "fumehood-check-needs-an-image".to_owned());
        job.root = Root::Image { image, entrypoint: Some(Vec::new()) };
        job.args = vec![preset::INSIDE.to_owned(), inside::NOTHING.to_owned()];
        job
    }

    fn lays_out_root(&self, _: &Job) -> bool {
        false
    }

    fn fit(&self, plan: &mut Plan) -> Result<()> {
        refuse::unfit(self, plan)?;
        let id = preset::USER;
        plan.identity = Identity { uid: id, gid: id, host_uid: id, host_gid: id, by_root: false };
        plan.is_root = false;
        let reference = Self::reference(plan)?;
        // One that is not there is pulled when the job is run, not when it is looked at.
        if let Some(image) = now(self.find_image(&reference))?? {
            image::apply(plan, &image)?;
        }
        Ok(())
    }

    fn holds(&self, plan: &Plan, guarantee: Guarantee) -> Result<Vec<String>, Lack> {
        standing::holds(self, plan, guarantee, None)
    }

    fn start<'a>(
        &'a self,
        _: &'a Launcher,
        _: Option<Ahead>,
        plan: &'a Plan,
        stdio: Vec<OwnedFd>,
        _: Option<TerminalSize>,
    ) -> Soon<'a, Result<Started>> {
        Box::pin(async move { self.run(plan.clone(), stdio).await })
    }
}

impl Engine {
    /// Makes a container and starts the program in it.
    async fn run(&self, mut plan: Plan, stdio: Vec<OwnedFd>) -> Result<Started> {
        let mut steps = handshake::Steps::begin();
        let reference = Self::reference(&plan)?;
        let image = match self.find_image(&reference).await? {
            Some(image) => image,
            None => self.pull(&reference).await?,
        };
        image::apply(&mut plan, &image)?;
        let (name, labels) = Self::labels(&plan)?;
        let around = preset::Around {
            image: &image.id,
            init: self.init()?,
            labels,
            runtime: self.runtime(&plan),
            podman: self.is_podman(),
        };
        let container = preset::Container::new(&plan, &around)?;
        steps.done("image");
        let kept = running::Kept::create(&self.client, name, container).await;
        let kept = kept.map_err(|failure| match failure {
            Failure::Refused { status: 404, message } => {
                ErrorKind::Image { image: image.id.clone(), problem: message }.into()
            }
            failure => failed(self.name, "create the container", failure),
        })?;
        steps.done("create");
        let streams = self.client.attach(kept.id()).await;
        let streams = streams.map_err(|failure| failed(self.name, "attach", failure))?;
        steps.done("attach");
        let started = self.client.start(kept.id()).await;
        started.map_err(|failure| failed(self.name, "start the container", failure))?;
        steps.done("start");
        handshake::begin(self, &plan, kept, streams, stdio, steps).await
    }
}
