//! What backends that are not ours can hold here.

use super::{Doctor, Support, trial};
use crate::backend;
use crate::host::Host;
use crate::plan::Plan;
use crate::{BackendName, Facts, Guarantee, Result, Sandbox};

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
        let job = trial().backend(backend);
        let plan = Plan::foreign(&job, Host::current(), &found)?;
        let mut doctor =
            Doctor { sandbox: self, tries: Vec::new(), notes: Vec::new(), refused: None };
        doctor.notes.push(found.version());
        doctor.notes.extend(found.notes());
        doctor.run(&plan).await;
        let guarantees = Guarantee::ALL
            .into_iter()
            .map(|guarantee| (guarantee, doctor.ability(Some(&plan), guarantee)))
            .collect();
        let Doctor { tries, notes, .. } = doctor;
        let backend = backend.name().to_owned();
        Ok(Support { backend, host: Facts::gather(), guarantees, tries, notes })
    }
}
