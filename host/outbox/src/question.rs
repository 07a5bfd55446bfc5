//! What nodes ask each other about services: the byte `T`, the version and postcard.
//!
//! They travel as requests that one node runs for another, beside the chats' own, which begin with their
//! version: that will not be a letter. A node that does not know them answers as to a request of another
//! version, which counts as silence.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attempts::AttemptRecord;
use crate::view::{DeadLetter, ServiceView};

/// What a question and its answer begin with.
const MARK: [u8; 2] = [b'T', 3];

/// The longest question: a thousand ids and a name.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// What somebody wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// It is there: everything is tried at once.
    Wake,
    /// Nothing is sent to it until it is resumed.
    Pause,
    /// What was stopped goes on.
    Resume,
    /// Another node found it up.
    IsUp,
    /// Another node found it down.
    IsDown,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// That a wish be fulfilled.
    Wish { service: String, wish: Wish },
    /// How all services do.
    List,
    /// The last attempts at one.
    Attempts { service: String },
    /// What one did not take.
    Letters { service: String },
    /// That it be sent again: all of it, or these messages.
    Replay { service: String, events: Option<Vec<String>> },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// How they do here.
    List(Vec<ServiceView>),
    /// The newest first.
    Attempts(Vec<AttemptRecord>),
    /// In the partitions that this node leads.
    Letters {
        letters: Vec<DeadLetter>,
        /// Whether there are more.
        more: bool,
    },
    /// So many.
    Replayed {
        count: u64,
        /// Whether there are more.
        more: bool,
    },
    /// There is no such service here.
    Unknown,
}

/// Whether a request of another node is a question of ours.
pub fn is_question(body: &[u8]) -> bool {
    body.first() == Some(&MARK[0])
}

/// As it is sent.
pub(crate) fn encode<T: Serialize>(said: &T) -> Bytes {
    // Plain data into memory: nothing can fail.
    postcard::to_extend(said, MARK.to_vec()).map(Bytes::from).unwrap_or_default()
}

/// What a question says; nothing if it is of another version, or broken.
pub(crate) fn question(body: &[u8]) -> Option<Question> {
    if body.len() > QUESTION_BYTES_MAX { None } else { decode(body) }
}

/// What an answer says; nothing likewise.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let (said, left) = postcard::take_from_bytes(body.strip_prefix(&MARK)?).ok()?;
    left.is_empty().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When this breaks, nodes of two versions do not understand each other.
    #[test]
    fn a_question_has_the_bytes_it_always_had() {
        let wish = Question::Wish { service: "crm".to_owned(), wish: Wish::Pause };
        assert_eq!(encode(&wish).as_ref(), b"T\x03\x00\x03crm\x01");
        let events = Some(vec!["e".to_owned()]);
        let replay = Question::Replay { service: "crm".to_owned(), events };
        assert_eq!(encode(&replay).as_ref(), b"T\x03\x04\x03crm\x01\x01\x01e");
    }

    #[test]
    fn what_was_asked_comes_back_and_everything_else_is_nothing() {
        let asked = Question::Attempts { service: "crm".to_owned() };
        let bytes = encode(&asked);
        assert!(is_question(&bytes));
        assert_eq!(question(&bytes), Some(asked));
        for cut in 0..bytes.len() {
            assert_eq!(question(&bytes[..cut]), None);
        }
        assert_eq!(question(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(question(&[b"T\x02", &bytes[2..]].concat()), None);
        let answer = Answer::Replayed { count: 7, more: true };
        assert_eq!(decode::<Answer>(&encode(&answer)), Some(answer));
    }
}
