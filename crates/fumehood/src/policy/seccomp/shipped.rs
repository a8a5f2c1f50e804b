//! The shipped profile, compiled ahead: compiling it takes longer than everything else that a plan
//! does, and gives the same filter on every kernel.

use super::{Arch, Insn, Program};

const X86_64: &[u8] = include_bytes!("shipped/x86_64.bpf");
const AARCH64: &[u8] = include_bytes!("shipped/aarch64.bpf");

impl Program {
    /// The filter of the shipped profile, [`Profile::shipped`](super::Profile::shipped).
    #[must_use]
    pub fn shipped(arch: Arch) -> Self {
        let bytes = match arch {
            Arch::X86_64 => X86_64,
            Arch::Aarch64 => AARCH64,
        };
        let insns = bytes.as_chunks::<8>().0.iter().map(Insn::from_le_bytes).collect();
        Self { insns, flags: 0 }
    }
}

impl Insn {
    /// The files are little-endian, whatever machine reads them.
    fn from_le_bytes(bytes: &[u8; 8]) -> Self {
        let [code0, code1, jt, jf, k @ ..] = *bytes;
        Self { code: u16::from_le_bytes([code0, code1]), jt, jf, k: u32::from_le_bytes(k) }
    }

    #[cfg(test)]
    fn to_le_bytes(self) -> [u8; 8] {
        let [code0, code1] = self.code.to_le_bytes();
        let [k0, k1, k2, k3] = self.k.to_le_bytes();
        [code0, code1, self.jt, self.jf, k0, k1, k2, k3]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Profile, Target, compile};
    use super::*;

    /// `UPDATE_FILTERS=1 cargo test -p fumehood shipped` writes the files anew.
    #[test]
    fn the_files_are_what_the_profile_compiles_to_on_every_kernel() {
        for (arch, name) in [(Arch::X86_64, "x86_64"), (Arch::Aarch64, "aarch64")] {
            let program =
                |kernel| compile(&Profile::shipped(), &Target::new(arch, kernel)).unwrap();
            let newest = program((99, 0));
            assert_eq!(newest, program((3, 5)), "the shipped profile depends on the kernel");
            assert_eq!(newest.flags(), 0);
            newest.require_start(arch).unwrap();
            if std::env::var_os("UPDATE_FILTERS").is_some() {
                let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/seccomp/shipped");
                let bytes: Vec<u8> = newest.insns().iter().flat_map(|i| i.to_le_bytes()).collect();
                std::fs::write(format!("{dir}/{name}.bpf"), bytes).unwrap();
                continue;
            }
            assert_eq!(Program::shipped(arch), newest, "see UPDATE_FILTERS");
        }
    }
}
