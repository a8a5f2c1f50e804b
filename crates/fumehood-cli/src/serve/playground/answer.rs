//! What a client of the playground gets: the bytes that Go's `encoding/json` would write for the
//! same struct, made piece by piece while they are sent.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// How a run ended, as the protocol says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// For the user: why there is no result. Left out of the object where there is one.
    pub(super) error: Option<&'static str>,
    /// The program's exit status.
    pub(super) exit_code: u8,
    /// `None` is written `null`, which is what Go makes of a buffer that nobody ever wrote to.
    pub(super) stdout: Option<Vec<u8>>,
    /// As `stdout`; empty and not `None` once there was a program.
    pub(super) stderr: Option<Vec<u8>>,
}

impl Answer {
    /// There is no result.
    pub(super) fn error(message: &'static str) -> Self {
        Self { error: Some(message), ..Self::default() }
    }

    /// The object, in an order and layout that clients may have come to rely on.
    pub(super) fn into_pieces(self) -> Pieces {
        let mut head = String::from("{\n");
        if let Some(error) = self.error {
            head += &format!("  \"error\": \"{error}\",\n");
        }
        head += &format!("  \"exitCode\": {},\n  \"stdout\": ", self.exit_code);
        let parts = [
            Part::Text(head.into_bytes()),
            Part::of(self.stdout),
            Part::Text(b",\n  \"stderr\": ".to_vec()),
            Part::of(self.stderr),
            Part::Text(b"\n}".to_vec()),
        ];
        let left = parts.iter().map(Part::len).sum();
        Pieces { parts: parts.into_iter(), current: None, left }
    }
}

/// A part of the object.
#[derive(Debug)]
enum Part {
    /// Goes out as it is.
    Text(Vec<u8>),
    /// Goes out in base64, between quotes. A stream may be as large as memory bears, so there is
    /// never more than a piece of it in base64.
    Stream { bytes: Vec<u8>, sent: usize },
}

/// Bytes that are encoded at a time: a multiple of three, so that only the last piece is padded.
const PIECE: usize = 48 << 10;

impl Part {
    fn of(stream: Option<Vec<u8>>) -> Self {
        match stream {
            None => Self::Text(b"null".to_vec()),
            Some(bytes) => Self::Stream { bytes, sent: 0 },
        }
    }

    /// Bytes that it becomes.
    fn len(&self) -> u64 {
        let len = match self {
            Self::Text(text) => text.len(),
            Self::Stream { bytes, .. } => bytes.len().div_ceil(3) * 4 + QUOTES,
        };
        len as u64
    }
}

const QUOTES: usize = 2;

/// The object's bytes in order, some at a time.
#[derive(Debug)]
pub(super) struct Pieces {
    parts: std::array::IntoIter<Part, 5>,
    current: Option<Part>,
    left: u64,
}

impl Pieces {
    /// How many bytes are still to come.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let piece = match self.current.take().or_else(|| self.parts.next())? {
            Part::Text(text) => text,
            Part::Stream { bytes, sent } => {
                let (piece, sent) = encode(&bytes, sent);
                if sent < bytes.len() {
                    self.current = Some(Part::Stream { bytes, sent });
                }
                piece
            }
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}

/// The next piece of a stream, with its quotes if it is the first or the last, and how far it goes.
fn encode(bytes: &[u8], sent: usize) -> (Vec<u8>, usize) {
    let rest = bytes.get(sent..).unwrap_or(&[]);
    let piece = rest.get(..PIECE).unwrap_or(rest);
    let mut out = String::with_capacity(piece.len().div_ceil(3) * 4 + QUOTES);
    if sent == 0 {
        out.push('"');
    }
    BASE64_STANDARD.encode_string(piece, &mut out);
    let sent = sent + piece.len();
    if sent == bytes.len() {
        out.push('"');
    }
    (out.into_bytes(), sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was sent, after a look at what was announced.
    fn sent(answer: Answer) -> String {
        let mut pieces = answer.into_pieces();
        let announced = pieces.left();
        let bytes: Vec<u8> = pieces.by_ref().flatten().collect();
        assert_eq!(bytes.len() as u64, announced);
        assert_eq!(pieces.left(), 0);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_hello_is_written_as_go_writes_it() {
        let stdout = Some(b"hello\n".to_vec());
        let answer = Answer { stdout, stderr: Some(Vec::new()), ..Answer::default() };
        let wanted = "{\n  \"exitCode\": 0,\n  \"stdout\": \"aGVsbG8K\",\n  \"stderr\": \"\"\n}";
        assert_eq!(sent(answer), wanted);
    }

    #[test]
    fn nothing_is_null() {
        let answer = Answer { exit_code: 3, stderr: Some(b"x".to_vec()), ..Answer::default() };
        let wanted = "{\n  \"exitCode\": 3,\n  \"stdout\": null,\n  \"stderr\": \"eA==\"\n}";
        assert_eq!(sent(answer), wanted);
    }

    #[test]
    fn an_error_comes_first_and_alone() {
        let wanted = "{\n  \"error\": \"Output too large\",\n  \"exitCode\": 0,\n  \"stdout\": null,\n  \
             \"stderr\": null\n}";
        assert_eq!(sent(Answer::error("Output too large")), wanted);
    }

    #[test]
    fn pieces_of_a_long_stream_join_without_a_seam() {
        for len in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 2] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            let whole = BASE64_STANDARD.encode(&bytes);
            let written = sent(Answer { stdout: Some(bytes), ..Answer::default() });
            let wanted = format!(
                "{{\n  \"exitCode\": 0,\n  \"stdout\": \"{whole}\",\n  \"stderr\": null\n}}"
            );
            assert!(written == wanted, "{len} bytes");
        }
    }

    #[test]
    fn no_piece_is_large() {
        let answer = Answer { stdout: Some(vec![0; 10 * PIECE]), ..Answer::default() };
        let largest = answer.into_pieces().map(|piece| piece.len()).max();
        assert_eq!(largest, Some(PIECE / 3 * 4 + 1), "with a quote");
    }
}
