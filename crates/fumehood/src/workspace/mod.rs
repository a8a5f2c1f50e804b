//! Files that go into sandboxes and come out of projects, by rules that cannot be led astray.

pub(crate) mod beneath;
pub(crate) mod changes;
#[cfg(feature = "export")]
pub mod export;
