//! Which names of entries lead where they say.

use super::Refusal;
use crate::sabotage::leaves_out;

/// Longest name in a path (`NAME_MAX`).
const NAME: usize = 255;

/// Longest path. Together with the directory it goes to it must stay below `PATH_MAX`, 4096.
const PATH: usize = 2048;

/// A path as it is written to the cell: relative, without `.`, doubled slashes or a slash at the end.
/// `None` is the base directory itself.
///
/// # Errors
/// A path that is absolute, leads upwards, or that the kernel would not take.
pub(super) fn normal(raw: &[u8], deepest: u32) -> Result<Option<Vec<u8>>, Refusal> {
    let refuse = |problem: String| Err(Refusal::entry(raw, problem));
    if raw.is_empty() {
        return refuse("has no name".to_owned());
    }
    if raw.starts_with(b"/") {
        return refuse("has an absolute path; it must be relative".to_owned());
    }
    if raw.contains(&0) {
        return refuse("has a NUL byte in its name".to_owned());
    }
    let names = || raw.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    if names().any(|name| name == b"..") {
        return refuse("has .. in its path, which could lead out".to_owned());
    }
    if let Some(long) = names().find(|name| name.len() > NAME) {
        return refuse(format!("has a name of {} bytes in its path; at most {NAME}", long.len()));
    }
    let depth = names().count();
    if u32::try_from(depth).unwrap_or(u32::MAX) > deepest {
        return refuse(format!("lies {depth} deep; input_limits.depth is {deepest}"));
    }
    let path = names().collect::<Vec<_>>().join(&b'/');
    if path.len() > PATH {
        return refuse(format!("has a path of {} bytes; at most {PATH}", path.len()));
    }
    Ok(if path.is_empty() { None } else { Some(path) })
}

/// Makes sure that a symbolic link at `path` stays below the base directory, whatever other links
/// there are.
///
/// `..` may come first only. Whoever resolves the link stands in its directory, which is a real one
/// because no entry is written through a link: so going up as many times as that is deep at most
/// ends at the base or below, and every name after that either is no link or one that keeps the
/// same rule.
///
/// # Errors
/// A target that is absolute, leads out, or could.
pub(super) fn link_stays(path: &[u8], target: &[u8]) -> Result<(), Refusal> {
    if leaves_out("input-links") {
        return Ok(());
    }
    let refuse = |problem: &str| Err(Refusal::entry(path, problem));
    if target.is_empty() || target.contains(&0) {
        return refuse("is a symbolic link that says nothing, or has a NUL byte");
    }
    if target.len() > PATH {
        return refuse("is a symbolic link that says too much; at most 2048 bytes");
    }
    if target.starts_with(b"/") {
        return refuse("is a symbolic link to an absolute path, which leads out");
    }
    let deep = path.iter().filter(|&&byte| byte == b'/').count();
    let (mut up, mut down) = (0, false);
    for name in target.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if down => {
                return refuse("is a symbolic link with .. after a name, which could lead out");
            }
            b".." => up += 1,
            _ => down = true,
        }
    }
    if up > deep {
        return refuse("is a symbolic link that leads out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(raw: &[u8]) -> Option<Vec<u8>> {
        normal(raw, 4).unwrap()
    }

    #[test]
    fn paths_are_written_in_one_form() {
        assert_eq!(normalized(b"./a//b/"), Some(b"a/b".to_vec()));
        assert_eq!(normalized(b"./"), None);
        assert_eq!(normalized(b"..."), Some(b"...".to_vec()));
        assert_eq!(normalized(b"a\n\xff"), Some(b"a\n\xff".to_vec()));
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let long = [b'a'; 256];
        for raw in [&b""[..], b"/", b"/a", b"..", b"a/..", b"a/../b", b"a\0b", b"1/2/3/4/5", &long]
        {
            assert!(normal(raw, 4).is_err(), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn links_stay_below_the_base() {
        for (path, target) in [
            ("a", "b"),
            ("a", "."),
            ("a", "b/c"),
            ("d/a", "../b"),
            ("d/e/a", "../.."),
            ("d/a", "./../b"),
        ] {
            assert!(link_stays(path.as_bytes(), target.as_bytes()).is_ok(), "{path} -> {target}");
        }
        for (path, target) in [
            ("a", ".."),
            ("a", "/etc"),
            ("d/a", "../../b"),
            ("d/a", "b/../../.."),
            ("a", ""),
            ("a", "b/.."),
            ("d/a", "../x/.."),
            ("a", "x\0y"),
        ] {
            assert!(link_stays(path.as_bytes(), target.as_bytes()).is_err(), "{path} -> {target}");
        }
    }
}
