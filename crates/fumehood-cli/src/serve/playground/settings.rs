//! The table `[playground]` of the settings.

use std::collections::BTreeSet;

use fumehood::{ByteSize, Guarantee};
use serde::{Deserialize, Serialize};

/// What programs that are sent to `/run` get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Memory of a program, its own file included, which lies in memory. Files from 32 MiB on get
    /// 100 MiB more.
    pub(crate) memory: ByteSize,
    /// Processes and threads.
    pub(crate) pids: u64,
    /// Guarantees that this host need not hold, such as `memory` where control groups are not
    /// delegated.
    pub(crate) waive: BTreeSet<Guarantee>,
}

impl Default for Settings {
    fn default() -> Self {
        // Go programs have a thread for every call that blocks.
        Self { memory: ByteSize::mib(100), pids: 256, waive: BTreeSet::new() }
    }
}
