//! In which control groups this process is, as the kernel says.

use linux_raw_sys::general as nr;

use crate::sys::{self, Errno, Fd, Result};

/// Holds that this process is in the group `name` of just so many hierarchies. Each has a line
/// `number:controllers:path` in `/proc/self/cgroup` (`cgroups(7)`).
///
/// # Errors
/// `EPROTO` if it is in fewer or more; those of reading the file.
pub(crate) fn check(name: &[u8], count: u32) -> Result<()> {
    let file = sys::open(c"/proc/self/cgroup", nr::O_RDONLY)?;
    let found = lines_with(name, file);
    sys::close(file);
    if found? == count { Ok(()) } else { Err(Errno::PROTO) }
}

fn lines_with(name: &[u8], file: Fd) -> Result<u32> {
    let mut lines = Lines::ending_with(name);
    let mut chunk = [0; 2048];
    loop {
        match sys::read(file, &mut chunk)? {
            0 => return Ok(lines.found),
            len => chunk.get(..len).unwrap_or(&[]).iter().for_each(|&byte| lines.take(byte)),
        }
    }
}

/// Counts the lines whose path has this for its last part.
struct Lines<'a> {
    name: &'a [u8],
    /// How much of the name was there since the last slash; none if there was something else.
    matched: Option<usize>,
    found: u32,
}

impl<'a> Lines<'a> {
    const fn ending_with(name: &'a [u8]) -> Self {
        Self { name, matched: None, found: 0 }
    }

    fn take(&mut self, byte: u8) {
        self.matched = match (byte, self.matched) {
            (b'/', _) => Some(0),
            (b'\n', matched) => {
                // A path of nothing but a slash is the root's, whatever is looked for.
                let ends = matched.is_some_and(|matched| matched > 0 && matched == self.name.len());
                self.found = self.found.saturating_add(u32::from(ends));
                None
            }
            (_, Some(at)) if self.name.get(at) == Some(&byte) => Some(at.saturating_add(1)),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    const TEXT: &[u8] = b"9:name=systemd:/\n8:pids:/a/fumehood-1\n4:memory:/b/c/fumehood-1\n\
        3:cpu:/fumehood-1/below\n2:cpuacct:/fumehood-12\n1:fumehood-1:/\n0::/a/fumehood-1";

    fn found(name: &[u8]) -> u32 {
        let mut lines = Lines::ending_with(name);
        TEXT.iter().for_each(|&byte| lines.take(byte));
        lines.found
    }

    #[test]
    fn a_group_is_known_by_its_whole_name_at_the_end_of_a_line() {
        assert_eq!(
            found(b"fumehood-1"),
            2,
            "not below it, not one that begins alike, not half a line"
        );
        assert_eq!(found(b"fumehood-12"), 1);
        assert_eq!(found(b"umehood-1"), 0);
        assert_eq!(found(b""), 0);
    }
}
