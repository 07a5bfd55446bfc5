//! How what nodes say to each other about objects becomes bytes, and in which version.
//!
//! A question, its answer and the beginning of a stream carry the version, for everything that follows. A node that
//! hears of another version does nothing and says which it speaks, in bytes that stay as they are in all of them;
//! so who asked can say what is wrong, and does not wait for a node that will never understand.

use bytes::Bytes;
use hashring::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::question::Stream;
use crate::{Code, Refusal};

/// What a question and its answer begin with.
const MARK: u8 = b'A';
/// What the beginning of a stream begins with.
const STREAM: u8 = b'B';
/// The version of what follows. Before the third there was no such byte, and what stood there was 2 at most.
pub(crate) const VERSION: u8 = 6;
/// In the place of a version: it was not understood. The lowest and the highest version follow that are.
const OTHER: u8 = u8::MAX;

/// What was said is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strange {
    /// It is of this version.
    Version(u8),
    /// It is nothing of ours.
    Broken,
}

impl Strange {
    /// What is wrong between this node and another, in words.
    pub(crate) fn refusal(self, node: &NodeId) -> Refusal {
        let detail = match self {
            Self::Version(theirs) => format!(
                "node {node} speaks version {theirs} about objects and this one {VERSION}: bring all \
                 nodes to the same release"
            ),
            Self::Broken => format!("what node {node} says about objects is not understood"),
        };
        Refusal::not_committed(Code::NotReady, detail)
    }
}

/// Whether a request of another node is about objects.
pub fn is_question(body: &[u8]) -> bool {
    body.first() == Some(&MARK)
}

/// Whether a request of another node begins a stream about objects.
pub(crate) fn is_stream(body: &[u8]) -> bool {
    body.first() == Some(&STREAM)
}

/// A question, or an answer.
pub(crate) fn encode<T: Serialize>(said: &T) -> Bytes {
    marked(&[MARK, VERSION], said)
}

/// What begins a stream.
pub(crate) fn begin(stream: &Stream) -> Bytes {
    marked(&[STREAM, VERSION], stream)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Strange> {
    versioned(MARK, bytes)
}

pub(crate) fn begun(bytes: &[u8]) -> Result<Stream, Strange> {
    versioned(STREAM, bytes)
}

/// The answer to a question of another version.
pub(crate) fn not_understood() -> Bytes {
    Bytes::from_static(&[MARK, OTHER, VERSION, VERSION])
}

/// The only frame on a stream of another version.
pub(crate) fn frame_not_understood() -> [u8; 3] {
    [OTHER, VERSION, VERSION]
}

/// What is said within a stream is of the stream's version.
pub(crate) fn say<T: Serialize>(said: &T) -> Vec<u8> {
    postcard::to_stdvec(said).unwrap_or_default()
}

pub(crate) fn plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Strange> {
    if let [OTHER, _, highest] = bytes {
        return Err(Strange::Version(*highest));
    }
    let (said, rest) = postcard::take_from_bytes(bytes).map_err(|_broken| Strange::Broken)?;
    if rest.is_empty() { Ok(said) } else { Err(Strange::Broken) }
}

fn versioned<T: DeserializeOwned>(mark: u8, bytes: &[u8]) -> Result<T, Strange> {
    match bytes {
        [first, VERSION, rest @ ..] if *first == mark => plain(rest),
        [first, OTHER, _, highest] if *first == mark => Err(Strange::Version(*highest)),
        [first, version, ..] if *first == mark && *version != OTHER => {
            Err(Strange::Version(*version))
        }
        _ => Err(Strange::Broken),
    }
}

fn marked<T: Serialize>(begin: &[u8], said: &T) -> Bytes {
    // Plain data: there is nothing postcard could refuse.
    postcard::to_extend(said, begin.to_vec()).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hashring::PartitionId;
    use segment::archive::Upload;

    use super::*;
    use crate::question::{Answer, Ask, Question, Said};

    fn node() -> NodeId {
        "n1".parse().unwrap()
    }

    #[test]
    fn what_is_said_comes_back_and_everything_else_is_nothing() {
        let upload = Upload { node: node(), boot: 3, count: 4 };
        for question in [
            Question::Ask(PartitionId(7), Ask::Fence { node: node(), boot: 9 }),
            Question::Upload(upload),
        ] {
            let bytes = encode(&question);
            assert!(is_question(&bytes) && !is_stream(&bytes));
            assert_eq!(decode(&bytes), Ok(question));
            for cut in 0..bytes.len() {
                assert_eq!(decode::<Question>(&bytes[..cut]), Err(Strange::Broken));
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(decode::<Question>(&longer), Err(Strange::Broken));
        }
        for said in [
            Said::Ready,
            Said::No { full: true, why: "full".to_owned() },
            Said::Held { store: u64::MAX },
        ] {
            assert_eq!(plain(&say(&said)), Ok(said));
        }
        assert!(!is_question(&[]) && !is_stream(&[]));
    }

    /// When this breaks, nodes of two releases no longer understand each other.
    #[test]
    fn a_question_has_the_bytes_it_always_had() {
        let question = Question::Upload(Upload { node: node(), boot: 3, count: 4 });
        let hex: String = encode(&question).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "410602026e310304");
    }

    /// A node of another version changed nothing and said nothing, and was asked again until the time was up.
    #[test]
    fn what_is_of_another_version_is_told_from_noise_and_says_which() {
        let question = Question::Upload(Upload { node: node(), boot: 3, count: 4 });
        let bytes = encode(&question);
        for version in [0, 1, 2, VERSION + 1, 254] {
            let other = [&[bytes[0], version], &bytes[2..]].concat();
            assert_eq!(decode::<Question>(&other), Err(Strange::Version(version)));
            let stream = [&[STREAM, version], &bytes[2..]].concat();
            assert_eq!(begun(&stream).map(drop), Err(Strange::Version(version)));
        }
        // Before there was a version: the first byte of the question itself.
        let before = [&[MARK], &bytes[2..]].concat();
        assert_eq!(decode::<Question>(&before), Err(Strange::Version(2)));
        assert_eq!(decode::<Answer>(&not_understood()), Err(Strange::Version(VERSION)));
        assert_eq!(plain::<Said>(&frame_not_understood()), Err(Strange::Version(VERSION)));
        let refusal = Strange::Version(9).refusal(&node());
        assert!(refusal.is_retryable() && refusal.detail.contains("version 9"), "{refusal:?}");
    }

    /// N20: the original's nodes sent each other pickled objects, which run what they like where they are read.
    #[test]
    fn n20_what_another_node_says_is_data_of_known_shapes_or_nothing() {
        let mut state = 20_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        };
        for _ in 0..20_000 {
            let length = usize::from(byte()) % 64;
            let noise: Vec<u8> = (0..length).map(|_| byte()).collect();
            let marked = [&[MARK, VERSION], &noise[..]].concat();
            // What is understood says the same again; everything else is nothing, and asks for no memory.
            if let Ok(question) = decode::<Question>(&marked) {
                assert_eq!(decode(&encode(&question)), Ok(question));
            }
            if let Ok(said) = plain::<Said>(&noise) {
                assert_eq!(plain(&say(&said)), Ok(said));
            }
            let opening = [&[STREAM, VERSION], &noise[..]].concat();
            if let Ok(stream) = begun(&opening) {
                assert_eq!(begun(&begin(&stream)), Ok(stream));
            }
        }
    }
}
