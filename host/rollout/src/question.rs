//! What nodes ask each other about components: the byte `R` and postcard.
//!
//! They travel as requests that one node runs for another, beside the chats' own, which begin with their
//! version: that will not be a letter. A node that does not know them answers as to a request of another
//! version, and the asker asks somebody else.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::beside::Seen;
use crate::preparation::Told;

/// What a question and its answer begin with.
const MARK: u8 = b'R';

/// Bytes of one piece of a component: its answer is no longer than a page of messages, so that nothing
/// waits behind it for long.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Longest name in a question.
const QUESTION_BYTES_MAX: usize = 4 << 10;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// A piece of a component.
    Piece { digest: Digest, offset: u64 },
    /// That a version be prepared, and how far that is. Asked again and again; a new attempt tries anew
    /// what failed.
    Prepare { attempt: u64, name: String, digest: Digest },
    /// Which number is live.
    Live,
    /// That a version that is ready run beside the live one of its name, for so many of a million calls.
    Beside { number: u64, name: String, digest: Digest, sample: u32 },
    /// What came of it so far.
    LookBeside { number: u64 },
    /// That it end, and what came of it.
    EndBeside { number: u64 },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The piece, the length of the whole, and its signatures.
    Piece { total: u64, bytes: Bytes, signatures: Option<Bytes> },
    /// It is not here.
    Unknown,
    /// How far it is.
    Told(Told),
    /// The number; 0: none yet.
    Live(u64),
    /// What is known of the version beside the live one.
    Beside(Seen),
}

/// Whether a request of another node is about components.
pub fn is_question(body: &[u8]) -> bool {
    body.first() == Some(&MARK)
}

/// Whether a request of another node is for a piece of a component: no message waits for one.
pub fn is_piece(body: &[u8]) -> bool {
    is_question(body) && matches!(asked(body), Some(Question::Piece { .. }))
}

pub(crate) fn encode<T: Serialize>(said: &T) -> Bytes {
    // Plain data: there is nothing postcard could refuse.
    postcard::to_extend(said, vec![MARK]).map(Bytes::from).unwrap_or_default()
}

/// `None`: it is of another version.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let said = bytes.strip_prefix(&[MARK])?;
    let (said, rest) = postcard::take_from_bytes(said).ok()?;
    rest.is_empty().then_some(said)
}

/// A question of another node, if it is one.
pub(crate) fn asked(bytes: &[u8]) -> Option<Question> {
    (bytes.len() <= QUESTION_BYTES_MAX).then(|| decode(bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Answer, Question, asked, decode, encode, is_piece, is_question};
    use crate::Digest;
    use crate::beside::Seen;
    use crate::preparation::{Step, Told};

    #[test]
    fn what_is_said_comes_back_and_everything_else_is_nothing() {
        let digest = Digest::of(b"x");
        for question in [
            Question::Piece { digest, offset: 7 },
            Question::Prepare { attempt: 1, name: "p".to_owned(), digest },
            Question::Live,
            Question::Beside { number: 1, name: "p".to_owned(), digest, sample: 7 },
            Question::LookBeside { number: 1 },
            Question::EndBeside { number: 1 },
        ] {
            let bytes = encode(&question);
            assert!(is_question(&bytes));
            assert_eq!(is_piece(&bytes), matches!(question, Question::Piece { .. }));
            assert_eq!(asked(&bytes), Some(question));
            for cut in 0..bytes.len() {
                assert_eq!(asked(&bytes[..cut]), None);
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(asked(&longer), None);
        }
        let bytes = Bytes::from_static(b"bytes");
        for answer in [
            Answer::Piece { total: 9, bytes, signatures: None },
            Answer::Told(Told::Running { done: Some(Step::Linked) }),
            Answer::Live(3),
            Answer::Beside(Seen::Runs(plugin::Comparison::default())),
            Answer::Beside(Seen::Cannot("no".to_owned())),
            Answer::Unknown,
        ] {
            assert_eq!(decode(&encode(&answer)), Some(answer));
        }
        assert!(!is_question(&[1, 2]) && !is_question(&[]));
        let long = Question::Prepare { attempt: 1, name: "p".repeat(5000), digest };
        assert_eq!(asked(&encode(&long)), None);
    }
}
