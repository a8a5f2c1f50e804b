//! Files that go into sandboxes and come out of projects, by rules that cannot be led astray.

pub(crate) mod beneath;
#[cfg(feature = "export")]
pub mod export;
