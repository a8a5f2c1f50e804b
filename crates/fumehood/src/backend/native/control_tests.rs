//! What a supervisor makes of an init that says what no init of ours does.

use std::fs::File;

use fumehood_child::wire::Ended;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

/// The line to an init, and its end of it.
fn line() -> (Control, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    (Control::new(ours).unwrap(), theirs)
}

fn say(init: &OwnedFd, kind: Kind, body: &[u8], fds: &[BorrowedFd<'_>]) {
    let len = u32::try_from(body.len()).unwrap();
    send_some(init.as_fd(), [&kind.header(len), body], fds).unwrap();
}

#[tokio::test]
async fn descriptors_that_belong_to_no_message_are_not_hoarded() {
    let (mut control, init) = line();
    let null = File::open("/dev/null").unwrap();
    for _ in 0..=MAX_UNTAKEN {
        say(&init, Kind::Staged, &[], &[null.as_fd()]);
    }
    for _ in 0..MAX_UNTAKEN {
        assert_eq!(control.receive().await.unwrap().unwrap().kind, Kind::Staged);
    }
    let refused = control.receive().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_body_of_any_length_is_refused_before_it_comes() {
    for len in [MAX_BODY + 1, usize::try_from(u32::MAX).unwrap()] {
        let (mut control, init) = line();
        let header = Kind::Ready.header(u32::try_from(len).unwrap());
        send_some(init.as_fd(), [&header, &[]], &[]).unwrap();
        let refused = control.receive().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}

/// Whatever comes in whatever pieces is a message, an error or the end, and holds no more than a message.
#[tokio::test]
async fn noise_is_heard_to_its_end() {
    let null = File::open("/dev/null").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..2000 {
        let (mut control, init) = line();
        for _ in 0..random() % 8 {
            let kind = u32::try_from(random() % 24).unwrap().to_le_bytes();
            let claimed = u32::try_from(random() % 64).unwrap().to_le_bytes();
            let body: Vec<_> = (0..random() % 64).map(|_| random().to_le_bytes()[0]).collect();
            let fds = vec![null.as_fd(); usize::try_from(random() % 12).unwrap()];
            send_some(init.as_fd(), [&[kind, claimed].concat(), &body], &fds).unwrap();
        }
        drop(init);
        while let Ok(Some(Message { kind, body, .. })) = control.receive().await {
            let _ = (kind == Kind::Ended).then(|| Ended::decode(&body));
        }
        assert!(control.fds.len() <= 2 * MAX_UNTAKEN && control.received.len() <= MAX_BODY);
    }
}
