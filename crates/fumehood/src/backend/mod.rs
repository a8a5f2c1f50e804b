//! The mechanisms that confine.

pub(crate) mod native;
