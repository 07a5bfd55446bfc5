//! What proves who asks, at nodes that want to know.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of a token; nodes take no longer ones.
const BYTES_MAX: usize = 8 << 10;

/// An access token. It is sent, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Arc<str>);

/// The text cannot be a token. Nothing was sent; it wants one line of visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access token is 1 to {BYTES_MAX} visible ASCII characters")]
pub struct InvalidBearer;

impl Bearer {
    /// The line of a request's head that carries it, with its end.
    pub fn header(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.0)
    }
}

impl FromStr for Bearer {
    type Err = InvalidBearer;

    fn from_str(text: &str) -> Result<Self, InvalidBearer> {
        let fits = (1..=BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidBearer)
        }
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Bearer;

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let bearer: Bearer = "a.b.c".parse().unwrap();
        assert_eq!(bearer.header(), "authorization: Bearer a.b.c\r\n");
        assert!(!format!("{bearer:?}").contains("a.b.c"));
        for bad in ["", "a b", "a\r\nhost: b", "é"] {
            assert!(bad.parse::<Bearer>().is_err(), "{bad}");
        }
    }
}
