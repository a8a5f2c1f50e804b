//! Archives that lie, and some that don't, made by code. Shared by the tests of the library, those
//! of the command line, and the fuzz target, which starts from them.

mod cases;
mod tar;

pub(crate) use cases::{Verdict, cases};
