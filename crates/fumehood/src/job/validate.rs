//! What can be said against a job without looking at the host.

use super::Job;
use crate::{Error, Result};

impl Job {
    /// Checks everything that can be judged without the host.
    ///
    /// # Errors
    ///
    /// [`InvalidJob`](crate::ErrorKind::InvalidJob), which names the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.args.is_empty() {
            return Err(Error::invalid("args", "[]", "must name a program"));
        }
        Ok(())
    }
}
