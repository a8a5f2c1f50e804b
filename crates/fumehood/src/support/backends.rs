//! What backends that are not ours can hold here.

use serde::Serialize;

use super::{Doctor, Support, trial};
use crate::backend;
use crate::host::Host;
use crate::plan::Plan;
use crate::{BackendName, Facts, Guarantee, Result, Sandbox};

/// A backend beside the native one, as it was looked for on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// Its name.
    pub backend: BackendName,
    /// What was found, for people; none if nothing was.
    pub version: Option<String>,
    /// Why it cannot be used, and what would mend that; none if it can.
    pub missing: Option<String>,
}

/// Looks for every backend beside the native one. What each can hold here says
/// [`Sandbox::support_of`].
#[must_use]
pub fn backends() -> Vec<Found> {
    let named = BackendName::ALL
        .into_iter()
        .filter(|name| !matches!(name, BackendName::Native | BackendName::Auto));
    let found = named.map(|backend| match backend::find(backend) {
        Ok(found) => Found { backend, version: Some(found.version()), missing: None },
        Err(error) => Found { backend, version: None, missing: Some(error.to_string()) },
    });
    found.collect()
}

impl Sandbox {
    /// Tries what a backend can hold on this host: looks for it, and runs `true` with it.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`](crate::ErrorKind::NoBackend) if it is not there or does not work.
    pub async fn support_of(&self, backend: BackendName) -> Result<Support> {
        if backend == BackendName::Native {
            return self.support().await;
        }
        let found = backend::find(backend)?;
        let job = found.trial(trial().backend(backend));
        let mut plan = Plan::foreign(&job, Host::current(), &found)?;
        let mut doctor =
            Doctor { sandbox: self, tries: Vec::new(), notes: Vec::new(), refused: None };
        doctor.notes.push(found.version());
        doctor.notes.extend(found.notes());
        if let Some(report) = doctor.run(&plan).await {
            // What was found is more than what was asked for.
            plan.guarantees.extend(report.confinement.guarantees);
        }
        let guarantees = Guarantee::ALL
            .into_iter()
            .map(|guarantee| (guarantee, doctor.ability(Some(&plan), guarantee)))
            .collect();
        let Doctor { tries, notes, .. } = doctor;
        let backend = backend.name().to_owned();
        Ok(Support { backend, host: Facts::gather(), guarantees, tries, notes })
    }
}
