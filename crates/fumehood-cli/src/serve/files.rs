//! Descriptors: how many there are, and who gets them.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For everything that is neither a cell nor a connection, and for connections that are being closed.
const OTHERS: u64 = 256;

/// What a program that runs takes: its group's files, its pipes, and what tells of its end.
const RUNNING: u64 = 24;

/// What a cell that is kept ready takes.
const PARKED: u64 = 12;

/// What a connection takes: it is watched beside the one who reads from it.
const CONNECTION: u64 = 2;

/// Asks for as many descriptors as this process may have: the usual 1024 are few for a service.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without it there are fewer programs and connections.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many programs there can be at the same time if these are wanted: one for which there are no
/// descriptors would fail.
pub(crate) fn most_slots(wanted: usize) -> usize {
    slots(limit(), wanted)
}

/// How many connections there can be beside so many programs, and cells that are ready now.
pub(crate) fn most_connections(wanted: usize, slots: usize, parked: usize) -> usize {
    connections(limit(), wanted, slots, parked)
}

/// Three eighths at most are for programs.
fn slots(files: u64, wanted: usize) -> usize {
    at_most(files / 8 * 3 / RUNNING, wanted)
}

/// What cells leave, and an eighth at least.
fn connections(files: u64, wanted: usize, slots: usize, parked: usize) -> usize {
    let cells = RUNNING.saturating_mul(slots as u64) + PARKED.saturating_mul(parked as u64);
    let room = files.saturating_sub(OTHERS.saturating_add(cells)).max(files / 8);
    at_most(room / CONNECTION, wanted)
}

fn at_most(room: u64, wanted: usize) -> usize {
    wanted.min(usize::try_from(room.max(1)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_more_of_anything_than_descriptors() {
        for (files, wanted, parked) in [(1024, 500, 16), (1024, 2, 40), (4096, 500, 64)] {
            let slots = slots(files, wanted);
            let connections = connections(files, 4096, slots, parked);
            let cells = RUNNING * slots as u64 + PARKED * parked as u64;
            let taken = OTHERS + cells + CONNECTION * connections as u64;
            assert!(taken <= files, "{taken} of {files}: {slots}, {connections}");
        }
        assert_eq!((slots(1024, 500), connections(1024, 4096, 16, 16)), (16, 96));
    }

    #[test]
    fn what_there_is_enough_of_is_as_it_is_wanted() {
        assert_eq!((slots(1 << 20, 500), connections(1 << 20, 4096, 500, 64)), (500, 4096));
        assert_eq!((slots(8, 500), connections(8, 4096, 1, 0)), (1, 1));
    }
}
