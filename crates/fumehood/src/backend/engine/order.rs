//! What supervisor and container init say to each other over the streams of a container.
//!
//! The init gets an [`Order`] on its standard input, then the records of the inputs, then one byte
//! that lets it begin; whatever follows is the program's. Its answers come on standard output. Before
//! there is a program nobody else writes there. Afterwards the program does, so the last answer is
//! behind a seal: random bytes of the order that the program never sees, written when nothing of it
//! is left. Its pipe may be left, though: a program can open the other end of its own output, and pass it
//! to one in another container by a socket in a mount of both. That one reads the seal and can write
//! behind it, so how it ended is tagged, by a key of the order that never comes back.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::job::files::Collect;

/// The byte that lets the program begin.
pub(super) const GO: u8 = b'g';

/// Bytes of a seal: nobody guesses 256 bits.
pub(super) const SEAL: usize = 32;

/// What tags are made with.
pub(super) type Key = [u8; 32];

/// More than any order or answer has.
const LONGEST: u32 = 16 << 20;

/// The signal by which the init is told to kill everything but itself. Nothing else uses it: a
/// power failure is no concern of containers.
pub(super) const KILL_ALL: i32 = 30;

/// What the init is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) seal: [u8; SEAL],
    pub(super) key: Key,
    pub(super) args: Vec<String>,
    /// Where the program is looked for.
    pub(super) candidates: Vec<PathBuf>,
    pub(super) env: Vec<(String, Vec<u8>)>,
    pub(super) cwd: PathBuf,
    /// Whether that is below the program's own scratch, and made where it is not there.
    pub(super) makes_cwd: bool,
    /// Whether records of inputs follow.
    pub(super) inputs: bool,
    pub(super) collect: Option<Wanted>,
    /// CPU time of everything in the container together, in microseconds.
    pub(super) cpu_us: Option<u64>,
    /// After how many microseconds the init ends it all by itself, should nobody watch any more.
    pub(super) deadline_us: Option<u64>,
    /// Limits that the engine was asked for.
    pub(super) asked: super::meter::Asked,
    /// Directories in memory whose size is looked at.
    pub(super) scratch: Vec<PathBuf>,
}

/// More than it takes to say how it ended, and to list what was not collected.
const ENDING: u64 = 64 << 20;

/// More than it takes to say which file follows: paths that a call takes have 4096 bytes, and are said
/// with four characters for each at most. Files below longer ones may be cut off.
const ENTRY: u64 = 32 << 10;

impl Order {
    /// More bytes than the init has to say behind the seal.
    pub(super) fn longest_end(&self) -> u64 {
        let files = self
            .collect
            .as_ref()
            .map_or(0, |wanted| wanted.files.saturating_mul(ENTRY).saturating_add(wanted.size));
        files.saturating_add(ENDING)
    }
}

/// What to bring back, within which limits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    paths: Vec<String>,
    files: u64,
    file_size: u64,
    size: u64,
}

impl Wanted {
    pub(super) fn of(collect: &Collect) -> Option<Self> {
        (!collect.paths.is_empty()).then(|| Self {
            paths: collect.paths.clone(),
            files: collect.files,
            file_size: collect.file_size.0,
            size: collect.size.0,
        })
    }

    pub(super) fn collect(&self) -> Collect {
        let mut collect = Collect { paths: self.paths.clone(), ..Collect::default() };
        collect.files = self.files;
        collect.file_size = crate::ByteSize(self.file_size);
        collect.size = crate::ByteSize(self.size);
        collect
    }
}

/// The init's answer to an order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Inputs are written; this is how the container is.
    Ready(Box<super::facts::Facts>),
    /// The working directory could not be made.
    NoDirectory { errno: i32 },
    /// An input could not be written.
    NotStaged { errno: i32, path: Vec<u8> },
}

/// How it all ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ending {
    /// Why the program was not started, if it was not.
    pub(super) failed: Option<Failed>,
    /// The program's wait status.
    pub(super) status: i32,
    /// Somebody told the init by `SIGTERM` to end it all.
    pub(super) asked_to_end: bool,
    /// The CPU time was used up.
    pub(super) cpu_out: bool,
    /// The kernel killed something at the limit of memory.
    pub(super) out_of_memory: bool,
    /// A process was refused at the limit of processes.
    pub(super) pids_denied: bool,
    pub(super) usage: crate::Usage,
}

/// What kept the program from being started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) errno: i32,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// To go to the working directory.
    Chdir,
    /// To execute; nothing was there.
    NotFound,
    /// To execute; its interpreter is not there.
    Interpreter,
    /// To execute something that is there.
    Execute,
}

/// Writes a message with its length before it.
pub(super) fn put(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[len.to_le_bytes().as_slice(), &bytes].concat())?;
    to.flush()
}

/// Reads a message.
pub(super) fn get<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut bytes = vec![0; length(len)?];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Writes a message and its tag.
pub(super) fn put_tagged(
    to: &mut impl Write,
    key: &Key,
    message: &impl Serialize,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    put(&mut bytes, message)?;
    let tag = tag(key, &bytes);
    bytes.extend(tag);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message that has its tag.
///
/// # Errors
/// `InvalidData` if it is another's.
pub(super) fn get_tagged<T: DeserializeOwned>(from: &mut impl Read, key: &Key) -> io::Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut bytes = len.to_vec();
    bytes.resize(len.len() + length(len)?, 0);
    from.read_exact(&mut bytes[len.len()..])?;
    let mut said = [0; 32];
    from.read_exact(&mut said)?;
    if said != tag(key, &bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another tag"));
    }
    get(&mut bytes.as_slice())
}

/// HMAC-SHA-256 (RFC 2104).
fn tag(key: &Key, message: &[u8]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

/// How long a message is.
pub(super) fn length(len: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_le_bytes(len);
    if len > LONGEST {
        return Err(io::Error::other("a message is too long"));
    }
    usize::try_from(len).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_the_standard() {
        // RFC 4231, test case 1.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let hex: String = tag(&key, b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn nobody_changes_a_byte_of_a_tagged_message() {
        let mut bytes = Vec::new();
        put_tagged(&mut bytes, &[1; 32], &"said").unwrap();
        assert_eq!(get_tagged::<String>(&mut bytes.as_slice(), &[1; 32]).unwrap(), "said");
        get_tagged::<String>(&mut bytes.as_slice(), &[2; 32]).unwrap_err();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            get_tagged::<String>(&mut bytes.as_slice(), &[1; 32]).unwrap_err();
        }
    }
}
