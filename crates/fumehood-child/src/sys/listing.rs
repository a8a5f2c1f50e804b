//! Directories: what is in them.

use core::ffi::CStr;

use linux_raw_sys::general as nr;

use super::{Fd, Result, call};

/// Opens a directory, of which there may be no more than a name (`O_PATH`), to list it.
///
/// # Errors
/// `EACCES`, `ENOTDIR`.
pub fn open_list(dir: Fd) -> Result<Fd> {
    let flags = nr::O_RDONLY | nr::O_DIRECTORY | nr::O_CLOEXEC;
    plain!(__NR_openat, dir.word(), c".".as_ptr(), flags, 0).map(|fd| Fd(fd as i32))
}

/// `getdents64(2)`: some entries, of which [`Names`] knows the names; 0 when there are no more.
///
/// # Errors
/// `EBADF`, `ENOTDIR`, `ENOENT` for a directory that was removed.
pub fn list(dir: Fd, entries: &mut [u8]) -> Result<usize> {
    let address = entries.as_mut_ptr() as usize;
    // SAFETY: the kernel writes at most `entries.len()` bytes there.
    unsafe { call(nr::__NR_getdents64, [dir.word(), address, entries.len(), 0, 0, 0]) }
}

/// The names in what [`list`] gave.
#[derive(Clone, Debug)]
pub struct Names<'a>(&'a [u8]);

impl<'a> Names<'a> {
    /// Of that many bytes.
    #[must_use]
    pub const fn new(entries: &'a [u8]) -> Self {
        Self(entries)
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        // An inode number and an offset of 8 bytes each, the record's length of 2, a type of 1, the
        // name and its NUL.
        let len = self.0.get(16..18)?;
        let len = usize::from(u16::from_ne_bytes([*len.first()?, *len.get(1)?]));
        let (record, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        CStr::from_bytes_until_nul(record.get(19..)?).ok()
    }
}

/// `unlinkat(2)` of an empty directory.
///
/// # Errors
/// `EBUSY` for a control group that has members, `ENOENT`.
pub fn remove_dir(dir: Fd, name: &CStr) -> Result<()> {
    plain!(__NR_unlinkat, dir.word(), name.as_ptr(), nr::AT_REMOVEDIR).map(drop)
}
