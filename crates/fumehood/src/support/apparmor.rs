//! The AppArmor profile that lets a program make user namespaces.

use std::path::Path;

/// The AppArmor 4 profile that lets the program at this path make user namespaces where the kernel
/// keeps them from programs without one, as Ubuntu's does from 23.10 on. It confines nothing: what
/// the program runs is confined by the program.
///
/// The text belongs in `/etc/apparmor.d/fumehood`.
#[must_use]
pub fn apparmor_profile(executable: &Path) -> String {
    let path = executable.display().to_string();
    // AppArmor reads these as patterns; a quoted name keeps spaces together.
    let path: String = path
        .chars()
        .flat_map(|c| {
            let escaped = matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '"' | '\\' | '@');
            escaped.then_some('\\').into_iter().chain([c])
        })
        .collect();
    format!(
        "# Lets Fumehood make the user namespaces that it confines programs with.\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile fumehood \"{path}\" flags=(unconfined) {{\n\
         \x20 userns,\n\
         \n\
         \x20 include if exists <local/fumehood>\n\
         }}\n"
    )
}
