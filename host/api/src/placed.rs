//! Where things are, told with every answer to those who may ask about chats.
//!
//! `Carillon-Ring` is the version of the ring that the answering node knows: a client that sees another
//! one than it has looks at the ring again. `Carillon-Primary` names the node that leads the chat when
//! that is another one than the node that answered: the next request can go there and save a hop. An
//! answer without it came from the primary, or from a node that knows of none.

use std::sync::{Mutex, PoisonError};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use model::ChatToken;

use crate::Ask;

/// The version of the ring.
const RING: HeaderName = HeaderName::from_static("carillon-ring");
/// Who leads the chat, if it is another node.
const PRIMARY: HeaderName = HeaderName::from_static("carillon-primary");

/// What was told last. The ring hardly ever changes, and an answer should not cost a number's text.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    version: Mutex<Option<(u64, HeaderValue)>>,
}

impl Placed {
    /// Adds the headers to an answer about `chat`, if it is about one.
    pub(crate) fn tell(&self, ask: &dyn Ask, chat: Option<ChatToken>, headers: &mut HeaderMap) {
        headers.insert(RING, self.version(ask.ring_version()));
        let primary = chat.and_then(|chat| ask.led_elsewhere(chat));
        let primary = primary.and_then(|node| HeaderValue::from_str(node.as_str()).ok());
        if let Some(primary) = primary {
            headers.insert(PRIMARY, primary);
        }
    }

    fn version(&self, version: u64) -> HeaderValue {
        let mut told = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        match &*told {
            Some((same, text)) if *same == version => text.clone(),
            _ => told.insert((version, HeaderValue::from(version))).1.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Placed;

    #[test]
    fn a_version_is_told_as_it_is_now() {
        let placed = Placed::default();
        for version in [0, 4, 4, 7, u64::MAX] {
            assert_eq!(placed.version(version), version.to_string());
        }
    }
}
