//! What profiles mean, held against a second, plain reading of their JSON.

mod compiler;
mod dialect;
mod foreign;
mod oracle;
mod random;
mod shipped;

use super::{Action, Arch, Profile, Program, SeccompData, Target, compile};

const ALLOW: Action = Action::Allow;
const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);

fn target(arch: Arch) -> Target {
    Target::new(arch, (6, 12))
}

fn compiled(json: &str, arch: Arch) -> Program {
    compile(&Profile::from_json(json).unwrap(), &target(arch)).unwrap()
}

/// What a filter answers to a native call, by name.
fn ask(program: &Program, arch: Arch, name: &str, args: [u64; 6]) -> Action {
    let number = arch.number(name).unwrap_or_else(|| panic!("{arch} has no {name}"));
    program.evaluate(&SeccompData::new(arch, number, args))
}
