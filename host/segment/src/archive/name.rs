//! The names of things in the archive, and what they may look like.

use std::fmt;
use std::str::FromStr;

use hashring::NodeId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A collection's name is at most so long, in bytes.
pub const COLLECTION_BYTES_MAX: usize = 64;
/// A key is at most so long, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The name of a collection: 1 to 64 letters, digits, `-`, `_` and `.`, and no dot in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CollectionName(String);

/// The name of an archive in its collection: 1 to 1,024 bytes of UTF-8, without control characters, and
/// without a part `..` between its slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Key(String);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is empty. Nothing was done; give it a name.
    #[error("the name is empty")]
    Empty,
    /// It is too long. Nothing was done; shorten it.
    #[error("the name has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// It has a letter that it must not have. Nothing was done; leave it out.
    #[error("the name must not contain {letter:?}")]
    Letter {
        /// The letter.
        letter: char,
    },
    /// It leads out of its folder. Nothing was done; leave that part out.
    #[error("the name must not have a part {part:?}")]
    Part {
        /// The part.
        part: &'static str,
    },
}

/// Bytes under way from one writer: who writes, in which of its lives, and which of its uploads it is.
/// It is a name for what has no version yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upload {
    /// The node that writes.
    pub node: NodeId,
    /// Its process life.
    pub boot: u64,
    /// Counted from 1 in that life.
    pub count: u64,
}

impl CollectionName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Upload {
    /// Names the upload in every piece of it: 16 bytes of a hash, so that a piece is small and always the
    /// same size.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        let digest = Sha256::new()
            .chain_update(self.boot.to_le_bytes())
            .chain_update(self.count.to_le_bytes())
            .chain_update(self.node.as_str())
            .finalize();
        crate::record::array(&digest, 0)
    }
}

impl FromStr for CollectionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        bounded(text, COLLECTION_BYTES_MAX)?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if let Some(letter) = text.chars().find(|letter| !allowed(*letter)) {
            return Err(InvalidName::Letter { letter });
        }
        if text.starts_with('.') {
            return Err(InvalidName::Letter { letter: '.' });
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Key {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        bounded(text, KEY_BYTES_MAX)?;
        if let Some(letter) = text.chars().find(|letter| letter.is_control()) {
            return Err(InvalidName::Letter { letter });
        }
        if text.split('/').any(|part| part == "..") {
            return Err(InvalidName::Part { part: ".." });
        }
        Ok(Self(text.to_owned()))
    }
}

fn bounded(text: &str, max: usize) -> Result<(), InvalidName> {
    match text.len() {
        0 => Err(InvalidName::Empty),
        bytes if bytes > max => Err(InvalidName::TooLong { bytes, max }),
        _ => Ok(()),
    }
}

impl TryFrom<String> for CollectionName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.boot, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bounded_and_leads_nowhere_else() {
        let long = "k".repeat(1024);
        for good in ["a", "aaa/bbb/ccc", "..a/b..", "ключ", "a//b", long.as_str()] {
            assert!(good.parse::<Key>().is_ok(), "{good}");
        }
        let too_long = "k".repeat(1025);
        let bad = [
            ("", InvalidName::Empty),
            (too_long.as_str(), InvalidName::TooLong { bytes: 1025, max: 1024 }),
            ("a/../b", InvalidName::Part { part: ".." }),
            ("..", InvalidName::Part { part: ".." }),
            ("a\0b", InvalidName::Letter { letter: '\0' }),
            ("a\nb", InvalidName::Letter { letter: '\n' }),
        ];
        for (text, why) in bad {
            assert_eq!(text.parse::<Key>(), Err(why));
        }
    }

    #[test]
    fn a_collection_is_named_in_plain_letters() {
        for good in ["1001", "chats", "a.b-c_d"] {
            assert!(good.parse::<CollectionName>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", ".a", "..", "ä", "a b", &"c".repeat(65)] {
            assert!(bad.parse::<CollectionName>().is_err(), "{bad}");
        }
    }
}
