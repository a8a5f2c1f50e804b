//! Images: root file systems with what their makers say about how to run them.
//!
//! An image is imported once from an archive (`docker save`, or an OCI layout in a tar), checked by
//! digest, flattened, and kept in a [`Store`]. A job runs in it with
//! [`Root::image`](crate::Root::image).
//!
//! What an archive says is not believed: see [`Store::import`].

mod config;
#[cfg(feature = "image")]
pub(crate) mod import;
mod store;
mod user;

pub use config::{ImageConfig, ImageUser};
#[cfg(feature = "image")]
pub use import::{ImportLimits, ImportOptions, Imported};
pub(crate) use store::read_small;
pub use store::{Image, Store};
pub(crate) use user::account;

use crate::{Error, ErrorKind};

fn refused(image: impl std::fmt::Display, problem: impl Into<String>) -> Error {
    ErrorKind::Image { image: image.to_string(), problem: problem.into() }.into()
}

/// Turns the failure of a system call into an error of this image or store.
fn failed<E: Into<std::io::Error>>(
    image: impl std::fmt::Display,
    doing: &str,
) -> impl Fn(E) -> Error {
    let image = image.to_string();
    let doing = doing.to_owned();
    move |error| refused(&image, format!("{doing}: {}", error.into()))
}
