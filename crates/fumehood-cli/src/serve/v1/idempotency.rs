//! Answers that are given again to whoever asks again under the same `Idempotency-Key`.
//!
//! Only for `POST /v1/runs`: clients of the Go playground's protocol send the same key with every
//! request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::serve::access::Caller;
use crate::serve::problem::Problem;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(600);

/// How many are kept at most, and how many bytes all together.
const MOST: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

/// A key, and who uses it: callers cannot guess at each other's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    caller: Arc<str>,
    key: String,
}

impl Key {
    /// The key that these headers have, if any.
    ///
    /// # Errors
    /// 400 for one that is empty, long, or not printable.
    pub(crate) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| {
            Problem::bad_request("Idempotency-Key: must have 1 to 255 printable characters")
        })?;
        Ok(Some(Self { caller: Arc::clone(&caller.name), key: key.to_owned() }))
    }
}

/// Answers by key. Copies share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replies(Arc<Mutex<BTreeMap<Key, Reply>>>);

#[derive(Debug)]
struct Reply {
    digest: [u8; 32],
    since: Instant,
    /// None while the run is in progress.
    text: Option<Bytes>,
}

/// What is known under a key.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The answer.
    Known(Bytes),
    /// Nothing: the run is to be done now.
    New(Promise),
}

/// An answer that is to come. Dropping it forgets the key: nothing was done under it.
#[derive(Debug)]
pub(crate) struct Promise {
    replies: Replies,
    key: Option<Key>,
}

impl Replies {
    fn replies(&self) -> MutexGuard<'_, BTreeMap<Key, Reply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a key up, and enters it if it is new.
    ///
    /// # Errors
    /// 409 while the run is in progress, 422 if the key belongs to another request.
    pub(crate) fn begin(&self, key: Key, digest: [u8; 32]) -> Result<Begun, Problem> {
        let mut replies = self.replies();
        replies.retain(|_, reply| reply.text.is_none() || reply.since.elapsed() < KEPT);
        match replies.get(&key) {
            Some(reply) if reply.digest != digest => {
                let detail = "this key was used with another request";
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency-mismatch",
                    "The Idempotency-Key belongs to another request",
                    detail,
                ))
            }
            Some(Reply { text: Some(text), .. }) => Ok(Begun::Known(text.clone())),
            Some(_) => {
                let detail = "the first request with this key is still in progress";
                let title = "The request is in progress";
                Err(Problem::new(StatusCode::CONFLICT, "idempotency-in-progress", title, detail))
            }
            None => {
                let reply = Reply { digest, since: Instant::now(), text: None };
                replies.insert(key.clone(), reply);
                Ok(Begun::New(Promise { replies: self.clone(), key: Some(key) }))
            }
        }
    }
}

impl Promise {
    /// Keeps the answer for whoever asks again.
    pub(crate) fn keep(mut self, text: Bytes) {
        let Some(key) = self.key.take() else { return };
        let mut replies = self.replies.replies();
        if let Some(reply) = replies.get_mut(&key) {
            (reply.text, reply.since) = (Some(text), Instant::now());
        }
        make_room(&mut replies);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.replies.replies().remove(&key);
        }
    }
}

/// Forgets the oldest answers for as long as there is too much.
fn make_room(replies: &mut BTreeMap<Key, Reply>) {
    let size = |reply: &Reply| reply.text.as_ref().map_or(0, Bytes::len);
    let mut bytes: usize = replies.values().map(size).sum();
    while replies.len() > MOST || bytes > MOST_BYTES {
        let done = replies.iter().filter(|(_, reply)| reply.text.is_some());
        let Some((oldest, reply)) = done.min_by_key(|(_, reply)| reply.since) else { return };
        bytes -= size(reply);
        let oldest = oldest.clone();
        replies.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(caller: &str) -> Key {
        Key { caller: caller.into(), key: "1".into() }
    }

    fn promise(replies: &Replies, caller: &str, digest: u8) -> Promise {
        match replies.begin(key(caller), [digest; 32]).unwrap() {
            Begun::New(promise) => promise,
            Begun::Known(_) => panic!("known"),
        }
    }

    #[test]
    fn the_same_request_gets_the_same_answer() {
        let replies = Replies::default();
        promise(&replies, "a", 1).keep("answer".into());
        let Begun::Known(text) = replies.begin(key("a"), [1; 32]).unwrap() else { panic!("new") };
        assert_eq!(text, "answer");
        assert_eq!(replies.begin(key("a"), [2; 32]).unwrap_err().status, 422);
        let _other = promise(&replies, "b", 2);
    }

    #[test]
    fn a_run_in_progress_is_in_conflict_and_one_that_was_not_done_is_not() {
        let replies = Replies::default();
        let first = promise(&replies, "a", 1);
        assert_eq!(replies.begin(key("a"), [1; 32]).unwrap_err().status, 409);
        drop(first);
        let _again = promise(&replies, "a", 1);
    }

    #[test]
    fn old_answers_make_room() {
        let replies = Replies::default();
        let large = Bytes::from(vec![0; MOST_BYTES / 2]);
        for caller in ["a", "b", "c"] {
            promise(&replies, caller, 1).keep(large.clone());
        }
        let kept: Vec<_> = replies.replies().keys().map(|key| key.caller.to_string()).collect();
        assert_eq!(kept, ["b", "c"]);
    }
}
