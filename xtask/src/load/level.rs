//! So many clients at a time, for so long.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Connection, Reply};
use super::kinds::{Kind, Kinds};
use super::random::Random;
use super::slowest::Span;
use super::stats::Times;

/// What a level of load comes to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Right answers by kind.
    pub(super) answers: BTreeMap<&'static str, Times>,
    /// Requests that the service refused for want of room, with a word of when to come again.
    pub(super) refused: u64,
    pub(super) wrong: Vec<String>,
    /// Requests that got no answer.
    pub(super) lost: Vec<String>,
    /// When what was asked for and answered, be it right or not.
    pub(super) spans: Vec<Span>,
    pub(super) took: Duration,
}

impl Seen {
    fn join(&mut self, other: Self) {
        for (name, times) in other.answers {
            self.answers.entry(name).or_default().join(&times);
        }
        self.refused += other.refused;
        self.wrong.extend(other.wrong);
        self.lost.extend(other.lost);
        self.spans.extend(other.spans);
        self.took = self.took.max(other.took);
    }

    pub(super) fn count(&self) -> usize {
        self.answers.values().map(Times::count).sum()
    }

    /// Right answers a second.
    pub(super) fn throughput(&self) -> f64 {
        let count = u32::try_from(self.count()).unwrap_or(u32::MAX);
        f64::from(count) / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// What the clients of a level ask for.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// Always the same.
    One(&'a Kind),
    /// Everything there is, at random.
    Mixed(&'a Kinds),
}

/// Has so many clients ask, each as soon as it has its answer, until the time is over.
pub(super) fn run(address: SocketAddr, what: What<'_>, clients: usize, time: Duration) -> Seen {
    run_from(address, what, 0..clients, time)
}

/// The same by clients of these numbers: each draws what is its number's.
pub(super) fn run_from(
    address: SocketAddr,
    what: What<'_>,
    clients: Range<usize>,
    time: Duration,
) -> Seen {
    let started = Instant::now();
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let client = |number| {
            let builder = thread::Builder::new().stack_size(256 << 10);
            let work = move || client(address, what, number, started, time);
            builder.spawn_scoped(scope, work).expect("there is room for a thread of 256 KiB")
        };
        let threads: Vec<_> = clients.map(client).collect();
        for thread in threads {
            seen.join(thread.join().expect("a client does not panic"));
        }
    });
    seen
}

fn client(
    address: SocketAddr,
    what: What<'_>,
    number: usize,
    started: Instant,
    time: Duration,
) -> Seen {
    let (mut seen, mut random, mut connection) = (Seen::default(), Random::new(number), None);
    while started.elapsed() < time {
        let kind = match what {
            What::One(kind) => kind,
            What::Mixed(kinds) => kinds.draw(random.next()),
        };
        let asked = Instant::now();
        let answer = ask(&mut connection, address, kind);
        let took = asked.elapsed();
        seen.spans.push(Span { name: kind.name, client: number, began: asked, took });
        match answer {
            Ok(reply) if is_refusal(&reply) => {
                seen.refused += 1;
                // As a client should, and not all at the same moment.
                let base = reply.retry_after.map_or(50, |seconds| seconds * 200);
                thread::sleep(Duration::from_millis(base + random.next() % 50));
            }
            Ok(reply) => match kind.fault(&reply) {
                None => seen.answers.entry(kind.name).or_default().add(took),
                Some(fault) => seen.wrong.push(fault),
            },
            Err(error) => {
                seen.lost.push(format!("{}: no answer: {error}", kind.name));
                connection = None;
            }
        }
    }
    seen.took = started.elapsed();
    seen
}

fn ask(connection: &mut Option<Connection>, address: SocketAddr, kind: &Kind) -> io::Result<Reply> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address)?,
    };
    let reply = open.ask(&kind.request)?;
    if !reply.last {
        *connection = Some(open);
    }
    Ok(reply)
}

/// That nothing was run for want of room is said as the interface can say it.
fn is_refusal(reply: &Reply) -> bool {
    matches!(reply.status, 429 | 503)
        || (reply.status == 500 && reply.body == b"failed to get container\n")
}
