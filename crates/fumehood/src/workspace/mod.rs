//! Files that go into sandboxes and come out of projects, by rules that cannot be led astray.

pub(crate) mod beneath;
pub(crate) mod changes;
pub(crate) mod collect;
#[cfg(feature = "export")]
pub mod export;
pub(crate) mod glob;
pub(crate) mod intake;
