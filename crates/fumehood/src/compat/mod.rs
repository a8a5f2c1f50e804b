//! The surfaces of sandboxes that callers come from: the same types and rules, on what is here.
//! `docs/migrating.md` says item by item where everything is.

pub mod gowdk;
pub mod shac;
