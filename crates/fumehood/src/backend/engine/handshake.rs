//! From a container that runs to a program in it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::Engine;
use super::attach::{self, Frames, Outputs, Words};
use super::facts::Facts;
use super::http::{Failure, Hijacked};
use super::meter::Asked;
use super::order::{self, Answer, GO, Key, Order, SEAL, Wanted};
use super::preset::directories;
use super::refuse;
use super::running::{Kept, Running, went_away};
use super::standing;
use crate::backend::native::stage::not_written;
use crate::backend::{Started, Tether};
use crate::plan::{Plan, standing as plans};
use crate::workspace::intake::{self, NotFed};
use crate::{
    Error, ErrorKind, Guarantee, Missing, MountNote, MountNoteKind, Result, Standing, StepTime,
};

/// How long a container's init may take to say that it is there. Engines that have much to do take
/// seconds to start one; this clock begins when they say that it is started.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much longer than its job may take a container lives that nobody watches any more.
const ABANDONED: Duration = Duration::from_secs(10);

/// What of a program's complaint on its way up is kept.
const COMPLAINT: usize = 4096;

/// What the set-up took, step by step.
#[derive(Debug)]
pub(super) struct Steps {
    last: Instant,
    done: Vec<StepTime>,
}

impl Steps {
    pub(super) fn begin() -> Self {
        Self { last: Instant::now(), done: Vec::new() }
    }

    pub(super) fn done(&mut self, step: &str) {
        let now = Instant::now();
        let us = u32::try_from((now - self.last).as_micros()).unwrap_or(u32::MAX);
        self.done.push(StepTime { step: step.to_owned(), us });
        self.last = now;
    }
}

/// Gives the init its order and the inputs, judges the container by what it says, and lets the
/// program begin.
pub(super) async fn begin(
    engine: &Engine,
    plan: &Plan,
    kept: Kept,
    streams: Hijacked,
    stdio: Vec<OwnedFd>,
    mut steps: Steps,
) -> Result<Started> {
    let failed = |source: io::Error| Error::internal("connect the program's streams", source);
    let seal = attach::seal().map_err(failed)?;
    let key = attach::random().map_err(failed)?;
    let (reader, mut writer) = tokio::io::split(streams);
    let mut frames = Frames(reader);
    let order = order(plan, seal, key);
    let facts = ready(engine, plan, &order, &mut frames, &mut writer).await?;
    steps.done("init");
    let found = judge(engine, plan, &facts)?;
    let [stdin, stdout, stderr] =
        three(stdio).ok_or_else(|| failed(io::Error::other("there are not three of them")))?;
    writer.write_all(&[GO]).await.map_err(failed)?;
    let sealed = Arc::new(AtomicBool::new(false));
    let to = Outputs { stdout, stderr };
    let words = Words { seal, most: order.longest_end() };
    let pump = tokio::spawn(attach::outputs(frames, to, words, Arc::clone(&sealed)));
    let feed = tokio::spawn(async move {
        // A program that wants no more, or is gone, is no reason to end the run.
        let _ = attach::input(stdin, writer).await;
    });
    let running = Running::new(engine, plan, kept, pump, feed, (sealed, key));
    Ok(Started {
        tether: Tether::Foreign(Box::new(running)),
        group: None,
        changes: None,
        notes: notes(plan),
        steps: steps.done,
        terminal: None,
        since: None,
        found,
    })
}

fn three(stdio: Vec<OwnedFd>) -> Option<[OwnedFd; 3]> {
    stdio.try_into().ok()
}

fn notes(plan: &Plan) -> Vec<MountNote> {
    let below = |mount: &&crate::Mount| {
        mount.access == crate::Access::ReadOnly && refuse::has_mounts_below(&mount.source)
    };
    let detail = "what is mounted below it on the host is not visible: engines cannot make that \
                  read-only along with it";
    let partial = plan.job.mounts.iter().filter(below);
    partial
        .map(|mount| MountNote::new(&mount.target, MountNoteKind::Partial, detail.to_owned()))
        .collect()
}

fn order(plan: &Plan, seal: [u8; SEAL], key: Key) -> Order {
    use std::os::unix::ffi::OsStrExt;
    let limits = &plan.job.limits;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let wall = limits.wall_time().finite();
    Order {
        seal,
        key,
        args: plan.job.args.clone(),
        candidates: plan.candidates.clone(),
        env: plan
            .env
            .iter()
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .collect(),
        cwd: plan.job.cwd.clone(),
        makes_cwd: refuse::is_in_scratch(plan, &plan.job.cwd),
        inputs: !plan.job.inputs.is_empty(),
        collect: Wanted::of(&plan.job.collect),
        cpu_us: limits.cpu_time().finite().map(micros),
        deadline_us: wall.map(|wall| micros(wall + limits.grace() + ABANDONED)),
        asked: Asked {
            memory: limits.memory().finite().map(|memory| memory.0),
            pids: super::limits::pids(limits),
        },
        scratch: directories(plan).into_iter().map(|(path, _)| path).collect::<Vec<PathBuf>>(),
    }
}

type Reader = Frames<ReadHalf<Hijacked>>;
type Writer = WriteHalf<Hijacked>;

/// Gives the order and the inputs, and waits for the init's answer.
async fn ready(
    engine: &Engine,
    plan: &Plan,
    order: &Order,
    frames: &mut Reader,
    writer: &mut Writer,
) -> Result<Facts> {
    let mut bytes = Vec::new();
    let written = order::put(&mut bytes, order);
    written.map_err(|error| Error::internal("write the order down", error))?;
    // A container that cannot take it says why, or ends.
    let _ = timeout(PATIENCE, writer.write_all(&bytes)).await;
    let mut feeding = (!plan.job.inputs.is_empty()).then(|| feeder(plan)).transpose()?;
    let (done, fed) = oneshot::channel();
    let feed = async {
        if let Some((records, _)) = &mut feeding {
            pass_on(records, writer).await;
        }
        let _ = done.send(());
        // With inputs that were refused on this side no answer comes.
        match &mut feeding {
            Some((_, refused)) => match refused.await {
                Ok(Err(NotFed::Refused(error))) => error,
                _ => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    let answered = tokio::select! {
        error = feed => return Err(error),
        answered = in_time(answer(frames), fed) => answered,
    };
    match answered {
        Ok(Ok(Answer::Ready(facts))) => Ok(*facts),
        Ok(Ok(Answer::NoDirectory { errno })) => Err(not_made(plan, errno)),
        Ok(Ok(Answer::NotStaged { errno, path })) => Err(not_written(plan, errno, &path)),
        Ok(Err(complaint)) => Err(silent(engine, plan, &complaint).await),
        Err(_) => Err(silent(engine, plan, "it said nothing for a minute").await),
    }
}

/// Gives the container its inputs as they come. The caller's may come slowly; who takes none for so long takes
/// no more.
async fn pass_on(records: &mut (impl AsyncRead + Unpin), writer: &mut (impl AsyncWrite + Unpin)) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(len @ 1..) = records.read(&mut piece).await {
        let taken = timeout(PATIENCE, writer.write_all(piece.get(..len).unwrap_or_default())).await;
        if !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(PATIENCE, writer.flush()).await;
}

/// What is answered, also while it is fed, if it comes soon after that.
async fn in_time<T, F>(
    answer: impl Future<Output = T>,
    fed: impl Future<Output = F>,
) -> std::result::Result<T, Elapsed> {
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => return Ok(answer),
        _ = fed => {}
    }
    timeout(PATIENCE, answer).await
}

fn not_made(plan: &Plan, errno: i32) -> Error {
    let limits = &plan.job.limits;
    let source = io::Error::from_raw_os_error(errno);
    let problem = format!(
        "cannot be made inside: {source}; limits.workspace is {}, limits.tmp {}, limits.inodes {}",
        limits.workspace(),
        limits.tmp(),
        limits.inodes()
    );
    Error::invalid("cwd", plan.job.cwd.display(), problem)
}

/// Reads and judges the inputs on a thread of its own, which writes records.
type Feeding = (UnixStream, oneshot::Receiver<std::result::Result<(), NotFed>>);

fn feeder(plan: &Plan) -> Result<Feeding> {
    let failed = |error: io::Error| Error::internal("pass the inputs on", error);
    let (inputs, limits) = (plan.job.inputs.clone(), plan.job.input_limits);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let ours = UnixStream::from_std(ours).map_err(failed)?;
    let (done, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("inputs".to_owned());
    let spawned = thread.spawn(move || {
        let fed = intake::feed(&inputs, limits, &theirs);
        let _ = done.send(fed);
    });
    spawned.map_err(failed)?;
    Ok((ours, receiver))
}

/// The first thing that is said on standard output; what else was said if that never came.
async fn answer(frames: &mut Reader) -> std::result::Result<Answer, String> {
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    loop {
        match frames.next().await {
            Ok(Some((true, piece))) => {
                complaint.extend(piece);
                complaint.truncate(COMPLAINT);
            }
            Ok(Some((false, piece))) => {
                said.extend(piece);
                if let Some(answer) = whole(&said) {
                    return answer.map_err(|error| error.to_string());
                }
            }
            Ok(None) => return Err(String::from_utf8_lossy(&complaint).trim().to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn whole(said: &[u8]) -> Option<io::Result<Answer>> {
    let (len, rest) = said.split_first_chunk::<4>()?;
    let len = match order::length(*len) {
        Ok(len) => len,
        Err(error) => return Some(Err(error)),
    };
    (rest.len() >= len).then(|| order::get(&mut &said[..]))
}

/// A container that ended before its init had said anything.
async fn silent(engine: &Engine, plan: &Plan, complaint: &str) -> Error {
    if let Err(Failure::Connect(source)) = engine.client.ping("api-version").await {
        return went_away(&source);
    }
    let said = if complaint.is_empty() {
        let memory = plan.job.limits.memory();
        let pids = plan.job.limits.pids();
        format!("it ended without a word; limits.memory is {memory}, limits.pids {pids}")
    } else {
        complaint.to_owned()
    };
    let step = format!("start the container's init, by {}", engine.name);
    ErrorKind::Start { step, source: io::Error::other(said) }.into()
}

/// Where every guarantee stands in this very container.
fn judge(engine: &Engine, plan: &Plan, facts: &Facts) -> Result<BTreeMap<Guarantee, Standing>> {
    let required = plans::required(&plan.job, engine.name);
    let mut found = BTreeMap::new();
    let mut missing: Vec<Missing> = Vec::new();
    let ours = [Guarantee::WallTime, Guarantee::Output];
    for guarantee in Guarantee::ALL.into_iter().filter(|guarantee| !ours.contains(guarantee)) {
        let standing = match standing::holds(engine, plan, guarantee, Some(facts)) {
            Ok(by) => Standing::Held { by },
            Err(lack) => {
                let (reason, stand_in) = (lack.reason.clone(), lack.stand_in.clone());
                if required.contains(&guarantee) {
                    missing.push(lack.missing(guarantee));
                }
                Standing::NotHeld { reason, stand_in }
            }
        };
        found.insert(guarantee, standing);
    }
    if missing.is_empty() { Ok(found) } else { Err(ErrorKind::Unsupported { missing }.into()) }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::sleep;

    use super::*;

    const LONG: Duration = Duration::from_secs(66);

    #[tokio::test(start_paused = true)]
    async fn inputs_that_come_slowly_are_no_silence() {
        let (mut ours, mut caller) = duplex(64);
        let (mut writer, mut container) = duplex(1024);
        let feeding = async {
            pass_on(&mut ours, &mut writer).await;
            drop(writer);
        };
        let slowly = async {
            for _ in 0..3 {
                sleep(LONG).await;
                caller.write_all(b"record").await.unwrap();
            }
            drop(caller);
        };
        let mut taken = Vec::new();
        let answer = async { container.read_to_end(&mut taken).await };
        let fed = async { tokio::join!(feeding, slowly) };
        assert_eq!(in_time(answer, fed).await.unwrap().unwrap(), 18);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_takes_nothing_or_answers_nothing_is_silent() {
        let (mut ours, mut caller) = duplex(1024);
        let (mut writer, _container) = duplex(64);
        caller.write_all(&[0; 512]).await.unwrap();
        let began = Instant::now();
        let never = std::future::pending::<()>();
        in_time(never, pass_on(&mut ours, &mut writer)).await.unwrap_err();
        assert_eq!(began.elapsed(), 2 * PATIENCE);
    }
}
