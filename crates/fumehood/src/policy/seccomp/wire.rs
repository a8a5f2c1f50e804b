//! The JSON of OCI's `linux.seccomp`, with the additions of Docker and Podman, as it is written.
//!
//! Sources: `config-linux.md` of the OCI runtime specification; the profiles that Docker
//! (`default.json`) and Podman (`seccomp.json`) ship. A key that none of them has is an error: a
//! misspelt `excludes` must not open what its author meant to close.

use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wire {
    pub(super) default_action: String,
    pub(super) default_errno_ret: Option<u64>,
    /// Podman: the same by name.
    pub(super) default_errno: Option<String>,
    /// Accepted and without effect: only the native architecture is ever admitted.
    #[serde(default, rename = "architectures", deserialize_with = "null_is_default")]
    pub(super) _architectures: Vec<String>,
    /// Docker, Podman: accepted and without effect, for the same reason.
    #[serde(default, rename = "archMap", deserialize_with = "null_is_default")]
    pub(super) _arch_map: Vec<WireArch>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) flags: Vec<String>,
    pub(super) listener_path: Option<String>,
    pub(super) listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) syscalls: Vec<WireRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireArch {
    #[serde(rename = "architecture")]
    pub(super) _architecture: String,
    #[serde(default, rename = "subArchitectures", deserialize_with = "null_is_default")]
    pub(super) _sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireRule {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) names: Vec<String>,
    /// Docker, before `names`.
    pub(super) name: Option<String>,
    pub(super) action: String,
    pub(super) errno_ret: Option<u64>,
    /// Podman: the same by name.
    pub(super) errno: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) args: Vec<WireArg>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) comment: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) includes: WireFilter,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) excludes: WireFilter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireArg {
    pub(super) index: u64,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireFilter {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) caps: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) arches: Vec<String>,
    pub(super) min_kernel: Option<String>,
}

/// Go writes an absent list or object as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
