//! The confined side of Fumehood: what runs between `clone3(2)` and `execve(2)`, and the init
//! process that watches over the program afterwards.
//!
//! The supervisor decides and this crate obeys. A supervisor compiles its plan to a list of
//! [`Step`]s and sends them over a socket; [`init::main`] does them in order and answers with the
//! index of the first that failed and its errno. Nothing here allocates, takes a lock, or can
//! panic, because it runs in the copied memory of another process, where a lock may be held by a
//! thread that no longer exists (`signal-safety(7)`).
//!
//! Every `unsafe` of the crate is in [`sys`].
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod init;
pub mod janitor;
pub mod launch;
pub mod one;
pub mod prelude;
pub mod program;
pub mod stage;
pub mod step;
pub mod sys;
pub mod template;
pub mod wire;
pub mod zygote;

mod aside;
mod cell;
mod denial;
mod membership;
mod networks;
mod orphans;
mod primed;
mod terminal;
mod watch;

pub use step::{Step, StepError};
pub use sys::{Errno, Fd};
