//! What the maker of an image says about running it.

use serde::{Deserialize, Serialize};

/// How an image is meant to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The program and its first arguments, to which those of the job are added.
    pub entrypoint: Vec<String>,
    /// The arguments, if the job has none.
    pub cmd: Vec<String>,
    /// Variables and their values, in the image's order.
    pub env: Vec<(String, String)>,
    /// The working directory, if the job has none of its own.
    pub workdir: Option<String>,
    /// Who the program is, if not root: nothing looks like root in a sandbox.
    pub user: Option<ImageUser>,
}

/// The user of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageUser {
    /// As the image names it: `nobody`, `65532:65532`.
    pub name: String,
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
}

/// The part that is used of an image's configuration (OCI image specification 1.1, and the format of
/// Docker before it).
#[cfg(feature = "image")]
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) config: Option<Section>,
    pub(super) rootfs: RootFs,
}

/// How to run it. What is left out may be null, too.
#[cfg(feature = "image")]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Section {
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) working_dir: Option<String>,
    pub(super) user: Option<String>,
}

/// The layers, by the digests of their archives before compression.
#[cfg(feature = "image")]
#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

#[cfg(feature = "image")]
impl ImageConfig {
    /// All but the user, whose name is looked up in the image's own files.
    pub(super) fn of(section: &Section) -> Result<Self, String> {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let config = Self {
            entrypoint: list(&section.entrypoint),
            cmd: list(&section.cmd),
            env: variables(&list(&section.env))?,
            workdir: section.working_dir.clone().filter(|dir| !dir.is_empty()),
            user: None,
        };
        let texts = config.entrypoint.iter().chain(&config.cmd).chain(&config.workdir);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err("its configuration contains a NUL byte".to_owned());
        }
        Ok(config)
    }
}

#[cfg(feature = "image")]
fn variables(list: &[String]) -> Result<Vec<(String, String)>, String> {
    let variable = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() || text.contains('\0') {
            return Err(format!("its configuration has an impossible variable, {text:?}"));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    list.iter().map(variable).collect()
}
